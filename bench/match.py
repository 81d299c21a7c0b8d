"""Equal quality: the anchor's quality setting whose mean SSIM over the set is nearest to a contender's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .contender import ReferenceCodec
from .curve import Curve, Point, measure_points
from .loadimages import BenchImage
from .workers import Workers


@dataclass(frozen=True)
class Match:
    """A contender's point beside the anchor's at the nearest mean SSIM; bytes, ratio and PSNR are on the points.

    in_reach is False when the contender's SSIM lies outside what the anchor can reach with quality 1..100; then the
    figures are not at equal quality and must be marked so.
    """

    codec: str
    point: Point
    anchor: Point
    in_reach: bool

    @property
    def byte_ratio(self) -> float:
        """The contender's bytes over the anchor's: under 1 is smaller than JPEG."""
        return self.point.bytes / self.anchor.bytes


class AnchorSearch:
    """Finds anchor qualities by bisection, and remembers every point that it has measured.

    known: the anchor's points so far, on the same images (their MS-SSIM is kept; new points lack it).
    """

    def __init__(
        self,
        anchor: ReferenceCodec,
        images: Sequence[BenchImage],
        known: Sequence[Point] = (),
        workers: Workers | None = None,
    ) -> None:
        self._anchor = anchor
        self._images = images
        self._workers = workers
        self._points = {p.quality: p for p in known}

    def nearest(self, ssim: float) -> tuple[Point, bool]:
        """The anchor's point whose mean SSIM is nearest, and whether the anchor reaches that SSIM at all.

        The mean SSIM of JPEG rises with its quality, but for rare steps backwards of 1e-4 or so, more of them the fewer
        images there are; so the qualities beside the one found are measured, too, until none of them is nearer.
        """

        def distance(quality: int) -> float:
            return abs(self._ssim(quality) - ssim)

        low, high = self._bracket(ssim)
        while high - low > 1:
            middle = (low + high) // 2
            if self._ssim(middle) <= ssim:
                low = middle
            else:
                high = middle
        in_reach = self._ssim(low) <= ssim <= self._ssim(high)
        found = min(self._points, key=distance)
        while distance(beside := min(max(1, found - 1), min(100, found + 1), key=distance)) < distance(found):
            found = beside
        return self._points[found], in_reach

    def _bracket(self, ssim: float) -> tuple[int, int]:
        below = [q for q in self._points if self._ssim(q) <= ssim]
        above = [q for q in self._points if self._ssim(q) > ssim]
        low, high = max(below, default=1), min(above, default=100)
        return (low, high) if low < high else (1, 100)

    def _ssim(self, quality: int) -> float:
        if quality not in self._points:
            (point,) = measure_points(
                self._anchor, self._images, [quality], multiscale=False, workers=self._workers
            )
            self._points[quality] = point
        value = self._points[quality].ssim
        assert value is not None  # match_curves asks only for images large enough for SSIM
        return value


def match_curves(
    anchor: Curve, contenders: Sequence[Curve], images: Sequence[BenchImage], workers: Workers | None = None
) -> list[Match]:
    """Every point of every contender with the anchor's at equal mean SSIM; empty when images are too small for SSIM."""
    if any(p.ssim is None for p in anchor.points):
        return []
    search = AnchorSearch(anchor.codec, images, anchor.points, workers)
    matches = []
    for curve in contenders:
        for point in curve.points:
            assert point.ssim is not None
            nearest, in_reach = search.nearest(point.ssim)
            matches.append(Match(curve.codec.name, point, nearest, in_reach))
    return matches
