"""Distributions: how PSNR, SSIM and the compression ratio spread over the images, per contender."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from .charts import Chart, log_ticks
from .levels import Level
from .saved import Saved
from .svg import GRID, INK, MUTED, dress, new_figure, series_color, series_gid, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEASURES = (("psnr", "PSNR [dB]"), ("ssim", "SSIM"), ("ratio", "compression ratio"))
BINS = 24


@dataclass(frozen=True)
class Spread:
    """The values of one contender, drawn in the colour of its number (0, 1, ...)."""

    number: int
    label: str
    values: Sequence[float]

    @property
    def words(self) -> str:
        """What a screen reader says of it."""
        low, high = min(self.values), max(self.values)
        return f"{self.label}: {low:.4g} to {high:.4g}, mean {fmean(self.values):.4g}"


def histograms(saved: Saved, level: Level) -> list[Chart]:
    """One chart per measure: a histogram for each contender, below each other on one scale, at one rate."""
    charts = []
    for measure, label in MEASURES:
        spreads = []
        for n, codec in enumerate(saved.codecs):
            point = level.points[codec.name]
            values = [v for row in point.rows if (v := getattr(row, measure)) is not None]
            spreads.append(Spread(n, f"{codec.name} at quality {point.quality}", values))
        title = f"{label} of the images at about {level.bpp:.2f} bits per pixel"
        chart = histogram_chart(f"hist-{level.name}-{measure}", title, label, spreads)
        if chart:
            charts.append(chart)
    return charts


def histogram_chart(key: str, title: str, label: str, spreads: Sequence[Spread]) -> Chart | None:
    """Histograms below each other for a page, those without values left out; None when none is left."""
    spreads = [spread for spread in spreads if spread.values]
    if not spreads:
        return None
    svg = to_svg(
        histogram_figure(label, spreads), key, title, f"{'; '.join(spread.words for spread in spreads)}."
    )
    heading = label.partition(" [")[0]
    return Chart(heading.capitalize() if heading.islower() else label, "", svg)


def histogram_figure(label: str, spreads: Sequence[Spread]) -> Figure:
    """Histograms below each other on one scale; where ratios spread over more than a factor of 4 it is logarithmic."""
    # One axes for all contenders: a subplot for each would take most of the report's time.
    figure = new_figure(5.4, 0.7 + 0.68 * len(spreads))
    axes = figure.subplots()
    flat = np.concatenate([np.asarray(spread.values) for spread in spreads])
    log = "ratio" in label and flat.max() > 4 * flat.min()
    edges = _edges(float(flat.min()), float(flat.max()), log)
    counts = [np.histogram(spread.values, edges)[0] for spread in spreads]
    highest = max(int(count.max()) for count in counts)
    for row, (spread, count) in enumerate(zip(spreads, counts, strict=True)):
        bottom, heights = len(spreads) - 1 - row, 0.62 * count / highest
        color, gid = series_color(spread.number), series_gid(spread.number)
        axes.stairs(bottom + heights, edges, baseline=bottom, fill=True, color=color, alpha=0.75, gid=gid)
        mean = fmean(spread.values)
        axes.plot([mean, mean], [bottom, bottom + 0.66], color=INK, lw=1.6, gid=gid)
        axes.annotate(
            spread.label.replace("at quality ", "q"),
            (0.005, bottom + 0.7),
            xycoords=("axes fraction", "data"),
            color=MUTED,
            fontsize=10.5,
        )
        axes.axhline(bottom, color=GRID, lw=0.8)
    axes.set_ylim(0, len(spreads))
    if log:
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    dress(axes, label, "")
    axes.grid(False, axis="y")
    axes.set_yticks([])
    return figure


def _edges(low: float, high: float, log: bool) -> np.ndarray:
    """Bin edges, float64[BINS + 1]; a single value gets a range around it."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        return np.linspace(low - 0.5, high + 0.5, BINS + 1)
    return np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)
