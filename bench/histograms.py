"""The report's distributions: how PSNR, SSIM and the compression ratio spread over the images, per contender."""

from __future__ import annotations

from statistics import fmean

import numpy as np

from .charts import Chart, log_ticks
from .levels import Level
from .saved import Saved
from .svg import GRID, INK, MUTED, dress, new_figure, series_color, series_gid, to_svg

MEASURES = (("psnr", "PSNR [dB]"), ("ssim", "SSIM"), ("ratio", "compression ratio"))
BINS = 24


def histograms(saved: Saved, level: Level) -> list[Chart]:
    """One chart per measure: a histogram for each contender, below each other on one scale, at one rate."""
    charts = []
    for measure, label in MEASURES:
        values = {
            n: [v for row in level.points[codec.name].rows if (v := getattr(row, measure)) is not None]
            for n, codec in enumerate(saved.codecs)
        }
        values = {n: found for n, found in values.items() if found}
        if values:
            svg = _chart(saved, level, measure, label, values)
            charts.append(
                Chart(label.partition(" [")[0].capitalize() if measure == "ratio" else label, "", svg)
            )
    return charts


def _chart(saved: Saved, level: Level, measure: str, label: str, values: dict[int, list[float]]) -> str:
    # One axes for all contenders: a subplot for each would take most of the report's time.
    figure = new_figure(5.4, 0.7 + 0.68 * len(values))
    axes = figure.subplots()
    flat = np.concatenate([np.asarray(found) for found in values.values()])
    log = measure == "ratio" and flat.max() > 4 * flat.min()
    edges = _edges(float(flat.min()), float(flat.max()), log)
    counts = {n: np.histogram(found, edges)[0] for n, found in values.items()}
    highest = max(int(count.max()) for count in counts.values())
    words = []
    for row, (n, found) in enumerate(values.items()):
        bottom, heights = len(values) - 1 - row, 0.62 * counts[n] / highest
        color, gid = series_color(n), series_gid(n)
        axes.stairs(bottom + heights, edges, baseline=bottom, fill=True, color=color, alpha=0.75, gid=gid)
        mean = fmean(found)
        axes.plot([mean, mean], [bottom, bottom + 0.66], color=INK, lw=1.6, gid=gid)
        name, quality = saved.codecs[n].name, level.points[saved.codecs[n].name].quality
        axes.annotate(
            f"{name} q{quality}",
            (0.005, bottom + 0.7),
            xycoords=("axes fraction", "data"),
            color=MUTED,
            fontsize=10.5,
        )
        axes.axhline(bottom, color=GRID, lw=0.8)
        low, high = min(found), max(found)
        words.append(f"{name} at quality {quality}: {low:.4g} to {high:.4g}, mean {mean:.4g}")
    axes.set_ylim(0, len(values))
    if log:
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
    dress(axes, label, "")
    axes.grid(False, axis="y")
    axes.set_yticks([])
    title = f"{label} of the images at about {level.bpp:.2f} bits per pixel"
    return to_svg(figure, f"hist-{level.name}-{measure}", title, f"{'; '.join(words)}.")


def _edges(low: float, high: float, log: bool) -> np.ndarray:
    """Bin edges, float64[BINS + 1]; a single value gets a range around it."""
    if high - low < 1e-9 * max(1.0, abs(high)):
        return np.linspace(low - 0.5, high + 0.5, BINS + 1)
    return np.geomspace(low, high, BINS + 1) if log else np.linspace(low, high, BINS + 1)
