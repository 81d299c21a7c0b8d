"""A run of the optimizer as one HTML page that needs nothing else, in the manner of the benchmark's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgepress.bench.environment import environment
from edgepress.bench.htmlpage import template

from .budget import UNITS
from .convert import COMPARED, MODES
from .measure import Stage
from .pipeline import Outcome
from .recipe import recipe_text
from .searchchart import search_chart

_TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class Column:
    """A column of the table of stages.

    Attributes:
        key, label, help: attribute of `Stage`, and what is said of it.
        digits, scale: how a value is written.
        relative: whether a change is given in percent rather than as a difference.
        lower: whether less is better.
    """

    key: str
    label: str
    help: str
    digits: int
    relative: bool
    lower: bool
    scale: float = 1.0


COLUMNS = (
    Column("raw_bytes", "kB", "both TFLite models, or the package file", 1, True, True, 1e-3),
    Column("gzip_bytes", "gzip kB", "each with gzip -9", 1, True, True, 1e-3),
    Column("parameters", "Parameters", "weights and biases of both models", 0, True, True),
    Column("nonzero", "Nonzero", "of those, the ones that are not zero", 0, True, True),
    Column("macs_per_pixel", "MAC/px", "multiply-adds of both models per image pixel", 0, True, True),
    Column("latency_ms", "ms", "128x128 pixels, one thread, median", 2, True, True),
    Column("undelegated", "Undelegated", "operations that XNNPACK does not run", 0, False, True),
    Column("psnr", "PSNR dB", "mean over the held-out images", 2, False, False),
    Column("ssim", "SSIM", "mean over the held-out images", 4, False, False),
    Column("bpp", "bpp", "bits per pixel", 3, False, True),
)
OF_FILES = ("latency_ms", "psnr", "ssim", "bpp")  # what differs between the qualities of a package


@dataclass(frozen=True)
class Cell:
    """A figure of a stage; `change` against the stage before, and whether that is for the better (None: as good)."""

    value: float | None
    text: str
    change: str = ""
    better: bool | None = None


def html_page(outcome: Outcome) -> bytes:
    """The page, UTF-8."""
    samples: dict[int, list[Any]] = {}
    for sample in outcome.details.samples if outcome.details else ():
        samples.setdefault(sample.image, []).append(sample)
    text = template("optimize.html.j2", _TEMPLATES).render(
        outcome=outcome,
        columns=COLUMNS,
        of_files=[column for column in COLUMNS if column.key in OF_FILES],
        stages=[
            (stage.name, row) for stage, row in zip(outcome.stages, _changes(outcome.stages), strict=True)
        ],
        compared=[(stage.name, MODES[stage.name]) for stage in outcome.stages if stage.name in COMPARED],
        qualities=[(stage.name.removeprefix("quality "), _plain(stage)) for stage in outcome.qualities],
        cards=_cards(outcome),
        chart=outcome.found and search_chart(outcome.found),
        points=outcome.found.as_dict()["points"] if outcome.found else [],
        unit=UNITS[outcome.found.budget.metric].strip() if outcome.found else "",
        samples=list(samples.values()),
        environment=environment(),
        recipe=recipe_text(outcome.recipe),
    )
    return text.encode()


def _changes(stages: Sequence[Stage]) -> list[list[Cell]]:
    """The rows of the table; each stage beside the one before it. Modes that are only compared come from the stage before
    them, and nothing comes from them."""
    rows, before = [], None
    for stage in stages:
        rows.append([_cell(column, before, stage) for column in COLUMNS])
        if stage.name not in COMPARED:
            before = stage
    return rows


def _plain(stage: Stage) -> list[Cell]:
    return [_cell(column, None, stage) for column in COLUMNS if column.key in OF_FILES]


def _cell(column: Column, before: Stage | None, stage: Stage) -> Cell:
    value = getattr(stage, column.key)
    if value is None:
        return Cell(None, "–")
    text = f"{value * column.scale:,.{column.digits}f}"
    old = getattr(before, column.key) if before else None
    if old is None:
        return Cell(value, text)
    change = 100 * (value / old - 1) if column.relative and old else value - old
    written = f"{change:+.1f}%" if column.relative else f"{change:+,.{column.digits}f}"
    if float(written.rstrip("%").replace(",", "")) == 0:
        return Cell(value, text, "=")
    return Cell(value, text, written.replace("-", "−"), (change < 0) == column.lower)


def _cards(outcome: Outcome) -> list[dict[str, str]]:
    """The figures at the head of the page."""
    first, last = outcome.stages[0], outcome.stages[-1]
    int8 = next(stage for stage in outcome.stages if stage.name == "int8")
    assert first.latency_ms and int8.latency_ms and first.parameters
    weights = 4 * first.parameters
    return [
        {
            "label": "Package",
            "figure": f"{last.raw_bytes / 1000:,.1f} kB",
            "note": f"{weights / last.raw_bytes:.1f} times smaller than the float32 weights",
        },
        {
            "label": "Networks, 128x128",
            "figure": f"{int8.latency_ms:.2f} ms",
            "note": f"{first.latency_ms / int8.latency_ms:.1f} times faster than the float model in TFLite",
        },
        {
            "label": "int8 against float",
            "figure": f"{int8.psnr - first.psnr:+.2f} dB".replace("-", "−"),
            "note": f"PSNR {int8.psnr:.2f} dB, the float model {first.psnr:.2f} dB",
        },
        {
            "label": "Outside XNNPACK",
            "figure": f"{int8.undelegated}",
            "note": f"operations of the int8 networks; {first.undelegated} of the float model",
        },
    ]
