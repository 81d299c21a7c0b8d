"""A matplotlib figure as an SVG that lives inside a page: it takes the page's colours, and its points say what they are."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours that stand for the page's own: light and dark mode give them their values when the page is shown.
INK, MUTED, GRID = "#fe0100", "#fe0101", "#fe0102"
COLOR_NAMES = {INK: "--ink", MUTED: "--muted", GRID: "--line"}
PALETTE = 10  # --s0 to --s9

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_HREF = f"{{{_XLINK}}}href"


def series_color(n: int) -> str:
    """The colour of contender n (0, 1, ...), as the page's palette will have it."""
    return f"#fe02{n % PALETTE:02x}"


def series_gid(n: int) -> str:
    """What an artist of contender n is called (`Artist.set_gid`), so that the page can hide it and name its points."""
    return f"series-{n}"


def new_figure(width: float = 5.4, height: float = 4.2) -> Figure:
    """An empty figure of so many inches, drawn without a display and without pyplot's global state."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_visible(False)
    return figure


def dress(axes: Any, xlabel: str, ylabel: str) -> None:
    """The look that all charts share."""
    axes.set_facecolor("none")
    axes.set_xlabel(xlabel, color=INK, fontsize=12)
    axes.set_ylabel(ylabel, color=INK, fontsize=12)
    axes.tick_params(which="both", color=GRID, labelcolor=MUTED, labelsize=11.5)
    axes.grid(True, which="major", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def to_svg(
    figure: Figure, key: str, title: str, text: str, tips: Mapping[int, Sequence[str]] | None = None
) -> str:
    """The figure as an `<svg>` element.

    key: unique on the page, made of letters, digits and `-`. title, text: what a screen reader says.
    tips: for contender n, what each of its marked points says, in the order they were drawn.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    file = io.BytesIO()
    # Text stays text, in the page's font; the salt makes one figure the same bytes every time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": key}):
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(file.getvalue())
    _strip(root)
    _own_ids(root, key)
    _name_points(root, key, tips or {})
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": "chart",
        "role": "img",
        "aria-labelledby": f"{key}-title {key}-text",
    }
    for n, (tag, words) in enumerate((("title", title), ("desc", text))):
        element = ElementTree.Element(f"{{{_SVG}}}{tag}", id=f"{key}-{'title' if tag == 'title' else 'text'}")
        element.text = words
        root.insert(n, element)
    return _page_colors(ElementTree.tostring(root, encoding="unicode"))


def _strip(root: ElementTree.Element) -> None:
    """Leave out what is about files: metadata, and a style that would reach into the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)


def _own_ids(root: ElementTree.Element, key: str) -> None:
    """Keep only the ids that something refers to, and make them this figure's own: a page holds many figures."""
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    for element in root.iter():
        name = element.get("id")
        if name in used:
            element.set("id", f"{key}-{name}")
        elif name and not name.startswith("series-"):
            del element.attrib["id"]
        if element.get(_HREF, "").startswith("#"):
            element.set("href", f"#{key}-{element.attrib.pop(_HREF)[1:]}")
        for attribute, value in element.attrib.items():
            if "url(#" in value:
                element.set(attribute, value.replace("url(#", f"url(#{key}-"))


def _name_points(root: ElementTree.Element, key: str, tips: Mapping[int, Sequence[str]]) -> None:
    for element in root.iter():
        name = element.get("id", "")
        if not name.startswith("series-"):
            continue
        del element.attrib["id"]
        n = int(name.removeprefix("series-"))
        element.set("class", f"series series-{n}")
        points = list(element.iter(f"{{{_SVG}}}use"))
        for point, words in zip(
            points, tips.get(n, ()), strict=False
        ):  # a line and its whiskers share the name
            ElementTree.SubElement(point, f"{{{_SVG}}}title").text = words


def _page_colors(text: str) -> str:
    def named(match: re.Match[str]) -> str:
        color = match.group(0)
        return f"var({COLOR_NAMES.get(color) or f'--s{int(color[-2:], 16)}'})"

    return re.sub("#fe0[12][0-9a-f]{2}", named, text)
