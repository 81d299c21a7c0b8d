"""BD-rate: how many percent fewer or more bytes a contender needs than the anchor at equal quality; and BD-PSNR.

Bjontegaard's measures (VCEG-M33, 2001), computed by the `bjontegaard` package: log-rate as a function of quality,
interpolated through all points (pchip or akima), averaged over the qualities that both curves reach; BD-PSNR the
other way round, in dB at equal rate. Quality is the mean PSNR in dB, or the mean MS-SSIM (or SSIM, for images that are
too small for it) on the usual dB scale, -10 log10(1 - MS-SSIM).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

Measure = Literal["psnr", "ssim", "ms_ssim"]
Method = Literal["pchip", "akima"]

MEASURES: tuple[Measure, ...] = ("psnr", "ms_ssim")  # that reports give
WEAK_OVERLAP = 0.5


class Measured(Protocol):
    """Rate and quality of one image, or means over a set, measured in this run or read back from a file."""

    @property
    def bpp(self) -> float: ...

    @property
    def psnr(self) -> float | None: ...

    @property
    def ssim(self) -> float | None: ...

    @property
    def ms_ssim(self) -> float | None: ...


class MeasuredSet(Measured, Protocol):
    """Means, with the images that they are over."""

    @property
    def rows(self) -> Sequence[Measured]: ...


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


@dataclass(frozen=True)
class BdPsnr:
    """gain: dB of quality more than the anchor at equal rate; None when it cannot be computed, then `warning` says why.

    overlap: the rates that both curves reach, as a share (0..1, of log-rate) of those that either reaches.
    low, high: the ends of the common range, in bits per pixel (None without one).
    """

    gain: float | None
    overlap: float
    low: float | None = None
    high: float | None = None
    warning: str | None = None


def bd_rate(
    anchor: Sequence[Measured],
    test: Sequence[Measured],
    measure: Measure = "psnr",
    method: Method = "pchip",
) -> BdRate:
    """The BD-rate of `test` against `anchor`: points of means, or rows of one image, two or more on a rising curve.

    Points that a cheaper point of the same curve equals or beats are left out (a quality setting that only costs
    bytes), and so are exact reconstructions, whose PSNR is infinite.
    """
    a, t = _rising(anchor, measure), _rising(test, measure)
    if lack := _too_short(a, t):
        return BdRate(None, 0.0, warning=lack)
    low, high, overlap = _common([q for _, q in a], [q for _, q in t])
    if high <= low:
        return BdRate(None, 0.0, warning="the curves have no quality in common")
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


def bd_psnr(
    anchor: Sequence[Measured],
    test: Sequence[Measured],
    measure: Measure = "psnr",
    method: Method = "pchip",
) -> BdPsnr:
    """The BD-PSNR of `test` against `anchor`, or its like for MS-SSIM in dB, from the same points as `bd_rate`."""
    a, t = _rising(anchor, measure), _rising(test, measure)
    if lack := _too_short(a, t):
        return BdPsnr(None, 0.0, warning=lack)
    low, high, overlap = _common([math.log(r) for r, _ in a], [math.log(r) for r, _ in t])
    if high <= low:
        return BdPsnr(None, 0.0, warning="the curves have no rate in common")
    low, high = math.exp(low), math.exp(high)
    weak = f"weak: the curves share {overlap:.0%} of their rates ({low:.2f}-{high:.2f} bpp)"
    return BdPsnr(_gain(a, t, method), overlap, low, high, None if overlap >= WEAK_OVERLAP else weak)


def mean_bd_rate(
    anchor: Sequence[MeasuredSet],
    test: Sequence[MeasuredSet],
    measure: Measure = "psnr",
    method: Method = "pchip",
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
    """A quality on the scale of BD-rates and plots: PSNR as it is, the others as -10 log10(1 - value); None stays None."""
    if value is None or measure == "psnr":
        return value
    return -10 * math.log10(1 - value) if value < 1 else math.inf


Pairs = list[tuple[float, float]]  # (bits per pixel, dB), both rising


def _by_image(points: Sequence[MeasuredSet]) -> list[list[Measured]]:
    return [list(rows) for rows in zip(*(p.rows for p in points), strict=True)]


def _too_short(anchor: Pairs, test: Pairs) -> str | None:
    for curve, whose in ((anchor, "the anchor"), (test, "the contender")):
        if len(curve) < 2:
            return f"{whose} has fewer than two usable points"
    return None


def _common(anchor: list[float], test: list[float]) -> tuple[float, float, float]:
    """The ends of what two rising lists have in common, and its share of what they span together."""
    low, high = max(anchor[0], test[0]), min(anchor[-1], test[-1])
    return low, high, (high - low) / (max(anchor[-1], test[-1]) - min(anchor[0], test[0]))


def _rising(points: Sequence[Measured], measure: Measure) -> Pairs:
    pairs: Pairs = []
    for point in sorted(points, key=lambda p: p.bpp):
        quality = decibels(measure, getattr(point, measure))
        if quality is not None and math.isfinite(quality) and (not pairs or quality > pairs[-1][1]):
            pairs.append((point.bpp, quality))
    return pairs


def _percent(anchor: Pairs, test: Pairs, method: Method) -> float:
    # Imported on use: the package pulls in matplotlib and scipy, a second that only reports should pay.
    from bjontegaard import bd_rate as bjontegaard_rate

    return _bjontegaard(bjontegaard_rate, anchor, test, method)


def _gain(anchor: Pairs, test: Pairs, method: Method) -> float:
    from bjontegaard import bd_psnr as bjontegaard_psnr

    return _bjontegaard(bjontegaard_psnr, anchor, test, method)


def _bjontegaard(function: Callable[..., float], anchor: Pairs, test: Pairs, method: Method) -> float:
    # min_overlap=0: the overlap is ours to judge, in the result rather than as a Python warning.
    settings = {"method": method, "require_matching_points": False, "min_overlap": 0}
    return float(function(*zip(*anchor, strict=True), *zip(*test, strict=True), **settings))
