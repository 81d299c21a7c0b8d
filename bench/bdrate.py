"""BD-rate: how many percent fewer or more bytes a contender needs than the anchor at equal quality.

Bjontegaard's measure (VCEG-M33, 2001), computed by the `bjontegaard` package: log-rate as a function of quality,
interpolated through all points (pchip or akima), averaged over the qualities that both curves reach. Quality is the
mean PSNR in dB, or the mean MS-SSIM on the usual dB scale, -10 log10(1 - MS-SSIM).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .curve import Point, Row

Measure = Literal["psnr", "ms_ssim"]
Method = Literal["pchip", "akima"]

MEASURES: tuple[Measure, ...] = ("psnr", "ms_ssim")
WEAK_OVERLAP = 0.5


@dataclass(frozen=True)
class BdRate:
    """percent: negative means fewer bytes than the anchor; None when it cannot be computed, then `warning` says why.

    overlap: the qualities that both curves reach, as a share (0..1) of those that either reaches.
    low, high: the ends of the common range, in dB (None without one).
    """

    percent: float | None
    overlap: float
    low: float | None = None
    high: float | None = None
    warning: str | None = None


def bd_rate(
    anchor: Sequence[Point | Row],
    test: Sequence[Point | Row],
    measure: Measure = "psnr",
    method: Method = "pchip",
) -> BdRate:
    """The BD-rate of `test` against `anchor`: points of means, or rows of one image, two or more on a rising curve.

    Points that a cheaper point of the same curve equals or beats are left out (a quality setting that only costs
    bytes), and so are exact reconstructions, whose PSNR is infinite.
    """
    a, t = _rising(anchor, measure), _rising(test, measure)
    for curve in (a, t):
        if len(curve) < 2:
            whose = "the anchor" if curve is a else "the contender"
            return BdRate(None, 0.0, warning=f"{whose} has fewer than two usable points")
    low, high = max(a[0][1], t[0][1]), min(a[-1][1], t[-1][1])
    if high <= low:
        return BdRate(None, 0.0, warning="the curves have no quality in common")
    overlap = (high - low) / (max(a[-1][1], t[-1][1]) - min(a[0][1], t[0][1]))
    percent = _percent(a, t, method)
    if overlap >= WEAK_OVERLAP:
        return BdRate(percent, overlap, low, high)
    return BdRate(
        percent,
        overlap,
        low,
        high,
        f"weak: the curves share {overlap:.0%} of their quality ({low:.1f}-{high:.1f} dB)",
    )


def mean_bd_rate(
    anchor: Sequence[Point], test: Sequence[Point], measure: Measure = "psnr", method: Method = "pchip"
) -> float | None:
    """The mean over the images of each image's own BD-rate, in percent; None when no image has one.

    The BD-rate of mean curves also judges how a contender spreads its bytes over the images: one that aims at the
    same PSNR everywhere (JPEG 2000 here) looks worse there, and one that aims at the same rate better, than it is
    on any image. This figure does not depend on it.
    """
    values = []
    for own, others in zip(_by_image(test), _by_image(anchor), strict=True):
        percent = bd_rate(others, own, measure, method).percent
        if percent is not None:
            values.append(percent)
    return float(np.mean(values)) if values else None


def decibels(measure: Measure, value: float | None) -> float | None:
    """A quality on the scale of BD-rates and plots: PSNR as it is, MS-SSIM as -10 log10(1 - value); None stays None."""
    if value is None or measure == "psnr":
        return value
    return -10 * math.log10(1 - value) if value < 1 else math.inf


Pairs = list[tuple[float, float]]  # (bits per pixel, dB), both rising


def _by_image(points: Sequence[Point]) -> list[list[Row]]:
    return [list(rows) for rows in zip(*(p.rows for p in points), strict=True)]


def _rising(points: Sequence[Point | Row], measure: Measure) -> Pairs:
    pairs: Pairs = []
    for point in sorted(points, key=lambda p: p.bpp):
        quality = decibels(measure, getattr(point, measure))
        if quality is not None and math.isfinite(quality) and (not pairs or quality > pairs[-1][1]):
            pairs.append((point.bpp, quality))
    return pairs


def _percent(anchor: Pairs, test: Pairs, method: Method) -> float:
    # Imported on use: the package pulls in matplotlib and scipy, a second that only reports should pay.
    from bjontegaard import bd_rate as bjontegaard_rate

    # min_overlap=0: the overlap is ours to judge, in the result rather than as a Python warning.
    return float(
        bjontegaard_rate(
            *zip(*anchor, strict=True),
            *zip(*test, strict=True),
            method=method,
            require_matching_points=False,
            min_overlap=0,
        )
    )
