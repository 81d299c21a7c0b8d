"""A figure made for a page (see svg.py) as a PNG file, in the page's light colours on white."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .svg import COLOR_NAMES, PALETTE, series_color

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = Path(__file__).with_name("templates") / "report.css"
_DOTS_PER_INCH = 160
_COLORED = ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor")


def to_png(figure: Figure) -> bytes:
    """The bytes of a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # makes the ticks, which then keep the colours given to them
    colors = _light_colors()
    for artist in figure.findobj():
        for name in _COLORED:
            _recolor(artist, name, colors)
    figure.patch.set(visible=True, facecolor="white")
    figure.set_dpi(_DOTS_PER_INCH)
    file = io.BytesIO()
    canvas.print_png(file)
    return file.getvalue()


def _recolor(artist: Any, name: str, colors: dict[str, str]) -> None:
    from matplotlib.colors import is_color_like, to_hex

    get, put = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
    if get and put:
        found = get()
        if is_color_like(found) and to_hex(found) in colors:
            put(colors[to_hex(found)])


def _light_colors() -> dict[str, str]:
    """The page's colours in light mode, by the colours that stand for them in figures."""
    named = dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", _STYLE.read_text("utf-8").partition("@media")[0]))
    colors = {stand_in: named[name.removeprefix("--")] for stand_in, name in COLOR_NAMES.items()}
    return colors | {series_color(n): named[f"s{n}"] for n in range(PALETTE)}
