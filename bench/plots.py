"""Rate-distortion plots as PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

from .bdrate import Measure, decibels
from .curve import Curve

MARKERS = "osD^vPX*<>"


def plot_curves(curves: Sequence[Curve], images: int) -> bytes:
    """PSNR and MS-SSIM (in dB) over bits per pixel, all contenders, as the bytes of a PNG file.

    images: how many the points are means over, for the title. Exact points, of infinite quality, are left out.
    """
    # The object interface draws without a display and leaves pyplot's global state alone.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    panels: tuple[tuple[Measure, str], ...] = (
        ("psnr", "PSNR [dB]"),
        ("ms_ssim", "MS-SSIM [dB: -10 log10(1 - x)]"),
    )
    for axes, (measure, label) in zip(figure.subplots(1, 2), panels, strict=True):
        for n, curve in enumerate(curves):
            pairs = _pairs(curve, measure)
            if pairs:
                axes.plot(
                    *zip(*pairs, strict=True),
                    marker=MARKERS[n % len(MARKERS)],
                    ms=5,
                    label=curve.codec.name,
                )
        axes.set_xscale("log")
        axes.set_xlabel("bits per pixel, whole file")
        axes.set_ylabel(label)
        axes.grid(True, which="both", alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.suptitle(f"Rate and distortion, means over {images} images")
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue()


def _pairs(curve: Curve, measure: Measure) -> list[tuple[float, float]]:
    pairs = []
    for point in curve.points:
        quality = decibels(measure, getattr(point, measure))
        if quality is not None and math.isfinite(quality):
            pairs.append((point.bpp, quality))
    return pairs
