"""The figures of the study, redone: distributions, details, and training against validation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from .charts import Chart, log_ticks
from .contender import RGB, ReferenceCodec
from .histograms import MEASURES, Spread, histogram_chart, histogram_figure
from .loadimages import BenchImage, pick_evenly
from .metrics import measure
from .panels import Panel, side_by_side
from .png import to_png
from .study import Study, StudyRow
from .svg import dress, new_figure, series_color, series_gid, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DETAILS = 3  # images of which details are shown
SIDE, ZOOM = 64, 3  # of a detail in pixels, and how often each is repeated


@dataclass(frozen=True)
class Sheet:
    """Details of some images: original, contender and anchor beside each other. png: the bytes of a file so large."""

    row: StudyRow
    images: tuple[str, ...]
    width: int
    height: int
    png: bytes


def spread_charts(study: Study) -> list[Chart]:
    """One chart per measure for a page: every model, and below it the anchor at equal mean SSIM."""
    charts = []
    for name, label in MEASURES:
        title = f"{label} of the images, models and {study.anchor} at equal mean SSIM"
        chart = histogram_chart(f"study-{name}", title, label, _spreads(study, name))
        if chart:
            charts.append(chart)
    return charts


def training_chart(study: Study) -> Chart | None:
    """Loss on training crops (solid) and on held-out images (dashed) by training step; None without any log."""
    logged = [row for row in study.rows if row.log]
    if not logged:
        return None
    words = [
        f"{row.name}: training loss {row.log.losses[0]:.4f} to {row.log.losses[-1]:.4f}, held-out loss "
        f"{row.log.scores[0]:.4f} to {row.log.scores[-1]:.4f}"
        for row in logged
        if row.log
    ]
    title = "Training and held-out loss by training step"
    svg = to_svg(_training_figure(logged), "study-training", title, f"{'; '.join(words)}.")
    return Chart("Training against validation", "Solid: training crops. Dashed: held-out images.", svg)


def png_figures(study: Study, sheets: Sequence[Sheet]) -> dict[str, bytes]:
    """All figures as PNG files, by their names."""
    files = {}
    for name, label in MEASURES:
        spreads = [spread for spread in _spreads(study, name) if spread.values]
        if spreads:
            files[f"study-{name}.png"] = to_png(histogram_figure(label, spreads))
    logged = [row for row in study.rows if row.log]
    if logged:
        files["study-training.png"] = to_png(_training_figure(logged))
    files |= {f"study-details-{_plain(sheet.row.name)}.png": sheet.png for sheet in sheets}
    return files


def detail_sheets(
    study: Study, codecs: Sequence[ReferenceCodec], images: Sequence[BenchImage]
) -> list[Sheet]:
    """Enlarged details of the same images for every row of the study; the first of the codecs is the anchor."""
    chosen = pick_evenly(list(images), DETAILS)
    sheets = []
    for row in study.rows:
        strips = []
        for image in chosen:
            original = image.pixels()
            model = _panel(row.name, codecs[row.number], row.match.point.quality, original)
            anchor = _panel(study.anchor, codecs[0], row.match.anchor.quality, original)
            strips.append(
                side_by_side([Panel(f"original\n{image.name}", original), model, anchor], SIDE, ZOOM)
            )
        sheet = Image.fromarray(np.concatenate(strips))
        file = io.BytesIO()
        sheet.save(file, "PNG", optimize=True)
        sheets.append(Sheet(row, tuple(image.name for image in chosen), *sheet.size, file.getvalue()))
    return sheets


def _spreads(study: Study, name: str) -> list[Spread]:
    spreads = []
    for row in study.rows:
        for number, label, point in (
            (row.number, row.name, row.match.point),
            (0, study.anchor, row.match.anchor),
        ):
            values = [getattr(r, name) for r in point.rows]
            finite = [v for v in values if v is not None and np.isfinite(v)]
            spreads.append(Spread(number, f"{label} at quality {point.quality}", finite))
    return spreads


def _training_figure(rows: Sequence[StudyRow]) -> Figure:
    figure = new_figure()
    axes = figure.subplots()
    for row in rows:
        assert row.log is not None  # the caller takes only rows with a log
        style: dict[str, Any] = {"color": series_color(row.number), "lw": 1.8, "gid": series_gid(row.number)}
        axes.plot(row.log.steps, row.log.losses, label=f"{row.name}, training", **style)
        axes.plot(row.log.steps, row.log.scores, label=f"{row.name}, held out", ls="--", **style)
    axes.set_yscale("log")
    dress(axes, "training step", "loss")
    log_ticks(axes.yaxis)
    axes.legend(frameon=False, fontsize=10, labelcolor="linecolor")
    return figure


def _panel(name: str, codec: ReferenceCodec, quality: int, original: RGB) -> Panel:
    data = codec.encode(original, quality)
    decoded = codec.decode(data)
    found = measure(original, decoded, multiscale=False)
    similarity = "" if found.ssim is None else f", SSIM {found.ssim:.3f}"
    return Panel(f"{name} q{quality}\n{len(data):,} bytes\n{found.psnr:.1f} dB{similarity}", decoded)


def _plain(name: str) -> str:
    """A contender's name as part of a file's: a path or parameters would not do."""
    return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
