"""Rate-distortion curves: every contender at every quality on every image, as rows, points and curves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from edgepress.runtime.errors import EdgepressError

from .contender import RGB, ReferenceCodec
from .loadimages import BenchImage
from .metrics import bits_per_pixel, compression_ratio, mean_psnr, measure
from .pointstore import PointStore
from .workers import Workers

Progress = Callable[[int], None]  # is told how many measurements have been finished since the last call


@dataclass(frozen=True)
class Row:
    """One contender at one quality on one image. Bytes are those of the whole file."""

    image: str
    width: int
    height: int
    source_bytes: int | None
    quality: int
    bytes: int
    psnr: float
    ssim: float | None
    ms_ssim: float | None

    @property
    def bpp(self) -> float:
        return bits_per_pixel(self.bytes, self.width, self.height)

    @property
    def ratio(self) -> float:
        return compression_ratio(self.bytes, self.width, self.height)

    @property
    def source_ratio(self) -> float | None:
        """Bytes of the source file over those of the compressed one; None for an image without a file."""
        return self.source_bytes / self.bytes if self.source_bytes else None


@dataclass(frozen=True)
class Point:
    """One contender at one quality: means over the images of the rows beside it.

    A mean of a measure that some image lacks (too small for it) is None, so that all means speak of the same images.
    """

    quality: int
    rows: tuple[Row, ...]

    @property
    def bpp(self) -> float:
        return fmean(r.bpp for r in self.rows)

    @property
    def bytes(self) -> float:
        return fmean(r.bytes for r in self.rows)

    @property
    def ratio(self) -> float:
        return fmean(r.ratio for r in self.rows)

    @property
    def source_ratio(self) -> float | None:
        return _mean([r.source_ratio for r in self.rows])

    @property
    def psnr(self) -> float:
        return mean_psnr([r.psnr for r in self.rows])

    @property
    def ssim(self) -> float | None:
        return _mean([r.ssim for r in self.rows])

    @property
    def ms_ssim(self) -> float | None:
        return _mean([r.ms_ssim for r in self.rows])


@dataclass(frozen=True)
class Curve:
    """A contender and its points, by ascending quality."""

    codec: ReferenceCodec
    points: tuple[Point, ...]


def _mean(values: list[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return fmean(known) if known and len(known) == len(values) else None


def measure_row(codec: ReferenceCodec, image: BenchImage, quality: int, multiscale: bool = True) -> Row:
    """Encode and decode one image and measure the result. `multiscale=False` saves the time of MS-SSIM."""
    return _measure_rows((codec, image, (quality,), multiscale))[0]


def measure_points(
    codec: ReferenceCodec,
    images: Sequence[BenchImage],
    qualities: Sequence[int],
    multiscale: bool = True,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> tuple[Point, ...]:
    """The points of one contender at the given qualities; see `measure_row` and `measure_curves`."""
    tasks: list[Task] = [(codec, image, tuple(qualities), multiscale) for image in images]
    return _points(qualities, _run(tasks, workers, progress))


def measure_curves(
    codecs: Sequence[ReferenceCodec],
    images: Sequence[BenchImage],
    qualities: Sequence[int] | None = None,
    workers: Workers | None = None,
    progress: Progress | None = None,
) -> list[Curve]:
    """Rate and distortion (not time) of every contender.

    qualities: 1..100, for all contenders that have a quality to set; None takes each one's own grid.
    Raises EdgepressError for other qualities, and whatever a contender raises for an image it cannot take.
    """
    grids = [grid_of(codec, qualities) for codec in codecs]
    tasks: list[Task] = [
        (codec, image, grid, True) for codec, grid in zip(codecs, grids, strict=True) for image in images
    ]
    results = _run(tasks, workers, progress)
    per_codec = [results[n : n + len(images)] for n in range(0, len(results), len(images))]
    return [
        Curve(codec, _points(grid, rows)) for codec, grid, rows in zip(codecs, grids, per_codec, strict=True)
    ]


def grid_of(codec: ReferenceCodec, qualities: Sequence[int] | None) -> tuple[int, ...]:
    """The qualities to measure a contender at: those asked for, ascending, unless it has none to set."""
    if qualities is None or len(codec.qualities) == 1:
        return tuple(codec.qualities)
    wrong = [q for q in qualities if not 1 <= q <= 100]
    if wrong or not qualities:
        raise EdgepressError(f"qualities are numbers from 1 to 100, got {wrong[0] if wrong else 'none'}")
    return tuple(sorted(set(qualities)))


Task = tuple[ReferenceCodec, BenchImage, tuple[int, ...], bool]


def _run(tasks: list[Task], workers: Workers | None, progress: Progress | None) -> list[list[Row]]:
    """The rows of every task, in order: from the workers' store what it has, the others measured and put there."""
    workers = workers or Workers()
    known = [_stored(task, workers.store) for task in tasks]
    left = [
        (codec, image, tuple(q for q in qualities if q not in rows), multiscale)
        for (codec, image, qualities, multiscale), rows in zip(tasks, known, strict=True)
    ]
    for rows in known:
        if progress and rows:
            progress(len(rows))
    todo = [(i, task) for i, task in enumerate(left) if task[2]]
    measured = workers.map(_measure_rows, [task for _, task in todo])
    for (i, task), found in zip(todo, measured, strict=True):
        for row in found:
            known[i][row.quality] = row
            if workers.store:
                key = workers.store.key(task[0], task[1], row.quality, task[3])
                workers.store.put(key, (row.bytes, row.psnr, row.ssim, row.ms_ssim))
        if progress:
            progress(len(found))
    return [[rows[q] for q in task[2]] for task, rows in zip(tasks, known, strict=True)]


def _stored(task: Task, store: PointStore | None) -> dict[int, Row]:
    codec, image, qualities, multiscale = task
    rows = {}
    for quality in qualities if store else ():
        assert store is not None
        figures = store.get(store.key(codec, image, quality, multiscale))
        if figures:
            rows[quality] = _row(image, quality, *figures)
    return rows


def _points(qualities: Sequence[int], of_images: list[list[Row]]) -> tuple[Point, ...]:
    return tuple(
        Point(quality, rows) for quality, rows in zip(qualities, zip(*of_images, strict=True), strict=True)
    )


def _measure_rows(task: Task) -> list[Row]:
    codec, image, qualities, multiscale = task
    original = image.pixels()
    rows = []
    for quality in qualities:
        size, decoded = _round_trip(codec, image.name, original, quality)
        q = measure(original, decoded, multiscale)
        rows.append(_row(image, quality, size, q.psnr, q.ssim, q.ms_ssim))
    return rows


def _row(
    image: BenchImage, quality: int, size: int, psnr: float, ssim: float | None, ms_ssim: float | None
) -> Row:
    return Row(image.name, image.width, image.height, image.source_bytes, quality, size, psnr, ssim, ms_ssim)


def _round_trip(codec: ReferenceCodec, name: str, original: RGB, quality: int) -> tuple[int, RGB]:
    """The bytes of the file and the image that comes back; whatever goes wrong names contender and image."""
    try:
        data = codec.encode(original, quality)
        decoded = codec.decode(data)
    except Exception as error:  # contenders are other people's code, and raise what they like
        raise EdgepressError(f"{codec.name} at quality {quality} failed on {name}: {error}") from error
    if decoded.shape != original.shape:
        raise EdgepressError(f"{codec.name} made {decoded.shape} of {name}, which is {original.shape}")
    return len(data), decoded
