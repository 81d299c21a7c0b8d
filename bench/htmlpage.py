"""What self-contained HTML pages share: where templates, styles and scripts are found, and how numbers are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .summary import signed

if TYPE_CHECKING:
    from jinja2 import Template

_OURS = Path(__file__).with_name("templates")


def template(name: str, folder: Path = _OURS) -> Template:
    """A template of `folder`, which may import from those of the benchmark and include their styles and scripts."""
    # Imported on use: only reports need it.
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    page = Environment(
        loader=FileSystemLoader([folder, _OURS]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page.filters |= {
        "signed": signed,
        "num": _number,
        "similarity": _similarity,
        "decibels": _decibels,
        "svg": Markup,
    }
    page.globals["part"] = lambda part: Markup((_OURS / part).read_text("utf-8"))  # our own files
    return page.get_template(name)


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.2f}"


def _similarity(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
