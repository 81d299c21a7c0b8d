"""Pictures side by side: the same detail of several versions of an image, each with a label above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

GAP, MARGIN, FONT = 8, 6, 14


@dataclass(frozen=True)
class Panel:
    """A label of one or more lines, and the whole image, uint8 (H, W, 3)."""

    label: str
    pixels: NDArray[np.uint8]


def side_by_side(panels: Sequence[Panel], side: int = 160, zoom: int = 2) -> NDArray[np.uint8]:
    """The middle `side` x `side` pixels of every panel, enlarged `zoom` times without smoothing, in one row.

    Returns: uint8 (H, W, 3). All panels must be of one image size.
    """
    height, width = panels[0].pixels.shape[:2]
    tall, wide = min(side, height), min(side, width)
    top, left = (height - tall) // 2, (width - wide) // 2
    font = ImageFont.load_default(FONT)
    lines = max(panel.label.count("\n") + 1 for panel in panels)
    header = lines * (FONT + 5) + 2 * MARGIN
    sheet = Image.new("RGB", (len(panels) * (wide * zoom + GAP) - GAP, header + tall * zoom), "white")
    draw = ImageDraw.Draw(sheet)
    for i, panel in enumerate(panels):
        x = i * (wide * zoom + GAP)
        draw.multiline_text((x + MARGIN, MARGIN), panel.label, fill="black", font=font)
        detail = Image.fromarray(panel.pixels[top : top + tall, left : left + wide])
        sheet.paste(detail.resize((wide * zoom, tall * zoom), Image.Resampling.NEAREST), (x, header))
    return np.asarray(sheet)
