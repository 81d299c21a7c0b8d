"""What contenders cost on one machine: time, memory, model and multiply-adds, as a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from .table import add_names


def cost_table(title: str, found: dict[str, Any]) -> Table:
    """One line per contender of a result in the form of `report.to_dict`.

    Times from the cheapest to the dearest of its qualities, in ms; memory in MB; the model in kB; multiply-adds a pixel.
    """
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    add_names(table)
    for heading in ("encode", "decode", "memory", "model", "MAC/px"):
        table.add_column(heading, justify="right", no_wrap=True)
    for codec in found["codecs"]:
        facts = codec.get("facts", {})
        table.add_row(
            codec["name"],
            _range([p["encode_ms"] for p in codec["points"]]),
            _range([p["decode_ms"] for p in codec["points"]]),
            _number(codec["peak_memory_mb"], 1, 1),
            _number(facts.get("model_bytes"), 1e3, 1),
            _number(facts.get("macs_per_pixel"), 1, 0),
        )
    return table


def _range(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    if not known:
        return "-"
    low, high = f"{min(known):.2f}", f"{max(known):.2f}"
    return low if low == high else f"{low} - {high}"


def _number(value: float | None, unit: float, digits: int) -> str:
    return "-" if value is None else f"{value / unit:,.{digits}f}"
