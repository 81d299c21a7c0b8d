"""The report's rate-distortion charts: quality over bits per pixel, for every contender."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .bdrate import decibels
from .plots import MARKERS
from .saved import Saved, SavedPoint
from .svg import dress, new_figure, series_color, series_gid, to_svg

RATE = "bits per pixel, whole file"


@dataclass(frozen=True)
class Chart:
    """An SVG with the heading and the line of help above it."""

    heading: str
    help: str
    svg: str


def rate_charts(saved: Saved) -> list[Chart]:
    """PSNR, SSIM and MS-SSIM over log-rate; a chart without a single point is left out."""
    kinds = (
        ("psnr", "PSNR", "PSNR [dB]", "Higher and further left is better."),
        ("ssim", "SSIM", "SSIM", "Higher and further left is better."),
        ("ms_ssim", "MS-SSIM", "MS-SSIM [dB]", "Higher is better; 10 dB is 0.9, 20 dB is 0.99."),
    )
    charts = []
    for measure, name, label, words in kinds:
        svg = _rate_chart(saved, measure, name, label)
        if svg:
            charts.append(Chart(f"{name} by rate", words, svg))
    return charts


def marker(n: int) -> str:
    """The marker of contender n in all charts."""
    return MARKERS[n % len(MARKERS)]


def line_style(saved: Saved, n: int) -> dict[str, Any]:
    """How contender n is drawn: the anchor dashed, whatever its place."""
    dashed = saved.codecs[n].name == saved.anchor
    return {
        "color": series_color(n),
        "marker": marker(n),
        "ms": 6.5,
        "lw": 1.8,
        "ls": "--" if dashed else "-",
        "gid": series_gid(n),
    }


def log_ticks(axis: Any) -> None:
    """Plain numbers at 1, 2, 5 of every decade, or at 1 alone where there are many; the data must be drawn already."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 400 * low else (1,), numticks=99))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def point_words(name: str, point: SavedPoint) -> str:
    """What a chart says of a point."""
    words = [f"{name}, quality {point.quality}: {point.bpp:.3f} bpp"]
    words.append("exact" if point.psnr is None else f"PSNR {point.psnr:.2f} dB")
    if point.ssim is not None:
        words.append(f"SSIM {point.ssim:.4f}")
    if point.ms_ssim is not None:
        words.append(f"MS-SSIM {point.ms_ssim:.4f}")
    if point.round_trip_ms is not None:
        words.append(f"{point.encode_ms:.2f} + {point.decode_ms:.2f} ms")
    return ", ".join(words)


def _rate_chart(saved: Saved, measure: str, name: str, label: str) -> str | None:
    figure = new_figure()
    axes = figure.subplots()
    tips: dict[int, list[str]] = {}
    spans = []
    for n, codec in enumerate(saved.codecs):
        drawn = [(p, q) for p in codec.points if (q := _quality(p, measure)) is not None]
        if not drawn or codec.exact:  # one point far to the right would squeeze all curves
            continue
        axes.plot([p.bpp for p, _ in drawn], [q for _, q in drawn], **line_style(saved, n))
        tips[n] = [point_words(codec.name, p) for p, _ in drawn]
        ends = [f"{q:.4g} at {p.bpp:.2f} bpp" for p, q in (drawn[0], drawn[-1])]
        spans.append(f"{codec.name}: {' to '.join(ends)}")
    if not tips:
        return None
    axes.set_xscale("log")
    dress(axes, RATE, label)
    log_ticks(axes.xaxis)
    key = f"rate-{measure.replace('_', '-')}"
    return to_svg(figure, key, f"{name} over bits per pixel", f"{'; '.join(spans)}.", tips)


def _quality(point: SavedPoint, measure: str) -> float | None:
    """What is drawn upwards; None for what is unknown or infinite."""
    if measure == "ssim":
        return point.ssim
    value = decibels("psnr" if measure == "psnr" else "ms_ssim", getattr(point, measure))
    return value if value is not None and math.isfinite(value) else None
