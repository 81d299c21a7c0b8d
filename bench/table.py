"""A benchmark's result as tables on the terminal."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.table import Table

from .bdrate import MEASURES, BdRate
from .curve import Point
from .report import time_ratio
from .run import Result


def print_result(result: Result, console: Console) -> None:
    """Points, BD-rates and the comparison at equal SSIM, and what they were measured with."""
    for curve in result.curves:
        console.print(f"[bold]{curve.codec.name}[/]: {curve.codec.description}", highlight=False)
    for missing in result.missing:
        console.print(f"[yellow]missing:[/] {missing.reason}", highlight=False)
    console.print(points_table(result))
    if result.bd:
        console.print(bd_table(result))
    if result.matches:
        console.print(match_table(result))
    for note in notes(result):
        console.print(note, highlight=False, style="dim")


def points_table(result: Result) -> Table:
    """Every contender at every quality, means over the images; times in milliseconds."""
    count = len(result.images)
    headings = [
        "quality",
        "bpp",
        "ratio",
        "PSNR",
        "SSIM",
        "MS-SSIM",
        *(["FLIP"] if result.flip else []),
        *(["encode", "decode"] if result.times else []),
    ]
    table = _table(f"Means over {count} image{'s' * (count != 1)} (dB, ms)", headings)
    for curve in result.curves:
        for point in curve.points:
            timing = result.times.get((curve.codec.name, point.quality))
            table.add_row(
                curve.codec.name,
                str(point.quality),
                f"{point.bpp:.3f}",
                f"{point.ratio:.2f}",
                _decibels(point.psnr),
                _similarity(point.ssim),
                _similarity(point.ms_ssim),
                *([_similarity(result.flip[curve.codec.name, point.quality])] if result.flip else []),
                *([f"{timing.encode_ms:.2f}", f"{timing.decode_ms:.2f}"] if timing else []),
                end_section=point is curve.points[-1],
            )
    return table


def bd_table(result: Result) -> Table:
    """BD-rates against the anchor: of the mean curves, mean over the images, and the overlap they rest on."""
    table = _table(
        f"BD-rate against {result.anchor.codec.name}: bytes at equal quality",
        ["PSNR", "each image", "overlap", "MS-SSIM", "each image", "overlap"],
    )
    for name, both in result.bd.items():
        mean = result.mean_bd[name]
        table.add_row(name, *(cell for m in MEASURES for cell in _bd_cells(both[m], mean[m])))
    return table


def match_table(result: Result) -> Table:
    """Every contender's point, then the anchor's at equal mean SSIM, then bytes and time as multiples of the anchor's."""
    anchor = result.anchor.codec.name
    point = ["q", "SSIM", "ratio", "PSNR"]
    times = ["time"] if result.times else []
    table = _table(
        f"At equal mean SSIM: contender, {anchor}, contender / {anchor}", [*point, *point, "bytes", *times]
    )
    for i, match in enumerate(result.matches):
        ratio = time_ratio(result, match)
        table.add_row(
            match.codec,
            *_match_cells(match.point, ""),
            *_match_cells(match.anchor, "" if match.in_reach else "!"),
            f"{match.byte_ratio:.2f}",
            *(["-" if ratio is None else f"{ratio:.2f}"] if result.times else []),
            style=None if match.in_reach else "dim",
            end_section=i + 1 == len(result.matches) or result.matches[i + 1].codec != match.codec,
        )
    return table


def _match_cells(point: Point, mark: str) -> tuple[str, str, str, str]:
    return f"{point.quality}{mark}", _similarity(point.ssim), f"{point.ratio:.1f}", _decibels(point.psnr)


def notes(result: Result) -> list[str]:
    """What must be known to read the tables, one line each."""
    lines = []
    for name, both in result.bd.items():
        for measure, bd in both.items():
            if bd.warning:
                lines.append(f"BD-rate of {name} by {measure.replace('_', '-').upper()}: {bd.warning}")
    if not all(match.in_reach for match in result.matches):
        lines.append(
            f"!: no quality of {result.anchor.codec.name} has that SSIM; beside it stands the nearest one"
        )
    unmeasured = sum(r.ms_ssim is None for r in result.anchor.points[0].rows)
    if unmeasured:
        lines.append(
            f"MS-SSIM is not given: {unmeasured} of {len(result.images)} images have a side under 176 pixels"
        )
    if result.times:
        lines.append(
            f"Times: one thread, in memory, warm, median of {result.repeats} interleaved repetitions, "
            f"mean over {len(result.timed_images)} of {len(result.images)} images"
        )
    return lines


def _table(title: str, headings: list[str]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    add_names(table)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _bd_cells(bd: BdRate, mean: float | None) -> tuple[str, str, str]:
    return _percent(bd.percent) + ("!" if bd.warning else ""), _percent(mean), f"{bd.overlap:.0%}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:+.1f}%"


def add_names(table: Table) -> None:
    """The column of the codecs, in which long names take several lines, rather than room from the figures."""
    table.add_column("codec", overflow="fold", min_width=8)


def _decibels(value: float) -> str:
    return "exact" if math.isinf(value) else f"{value:.2f}"


def _similarity(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
