"""From Pillow's modes to the two that are coded, RGB and L: without loss, or not at all."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from .errors import EdgepressError, UnsupportedImageError

Background: TypeAlias = tuple[int, int, int]

_GRAY = ("1", "L", "LA", "La")
_COLOUR = ("RGB", "RGBA", "RGBa", "RGBX")
_PALETTE = ("P", "PA")
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}  # Pillow converts these to nothing else


def as_coded(image: Image.Image, background: Background | None = None) -> Image.Image:
    """The image as RGB or L; the image itself when it is that already.

    Lossless: 1, L, RGB, RGBX; palettes (L when the colours are all gray); any alpha channel or transparent colour under
    which no pixel is transparent; 16 bits that repeat 8, as tools write them that widen an image.

    Args:
        image: loaded, of any mode.
        background: what to put behind pixels that are transparent (red, green, blue, 0..255).

    Raises:
        UnsupportedImageError: something would be lost: transparency without a background, depth, or a colour space.
    """
    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        return _eight_bits(image)
    if image.mode not in (*_GRAY, *_COLOUR, *_PALETTE):
        remedy = "scale it to 8 bits" if image.mode[0] in "IF" else 'convert it with image.convert("RGB")'
        raise UnsupportedImageError(f"mode {image.mode} cannot be encoded without loss: {remedy} first")
    gray = image.mode in _GRAY or (image.mode in _PALETTE and _is_gray_palette(image))
    if image.has_transparency_data:
        straight = image.convert(_PREMULTIPLIED.get(image.mode, image.mode))
        layer = straight.convert("RGBA")
        if layer.getchannel("A").getextrema() == (255, 255):
            return layer.convert("L" if gray else "RGB")
        if background is None:
            raise UnsupportedImageError(
                f"mode {image.mode} with transparent pixels cannot be encoded: give the colour to put behind "
                "them, background=(red, green, blue) or --background '#ffffff'"
            )
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(layer, mask=layer)
        return canvas.convert("L" if gray and len(set(background)) == 1 else "RGB")
    return image.convert("L" if gray else "RGB")


def check_background(background: Any) -> Background | None:
    """The background, if it is one or None.

    Raises:
        EdgepressError: it is something else than three integers from 0 to 255.
    """
    if background is None:
        return None
    values = tuple(background) if isinstance(background, (tuple, list)) else ()
    if len(values) != 3 or not all(type(value) is int and 0 <= value <= 255 for value in values):
        raise EdgepressError(f"background must be (red, green, blue), each from 0 to 255, not {background!r}")
    return values


def _eight_bits(image: Image.Image) -> Image.Image:
    values = np.asarray(image)
    high = (values >> 8).astype(np.uint8)
    if "transparency" in image.info or np.any(high.astype(np.uint16) * 257 != values):
        raise UnsupportedImageError(
            f"mode {image.mode} cannot be encoded without loss: scale it to 8 bits first"
        )
    return Image.fromarray(high)


def _is_gray_palette(image: Image.Image) -> bool:
    # A colour profile goes with a palette of colours, gray ones too; on an L image it would not fit.
    if image.info.get("icc_profile"):
        return False
    used = np.flatnonzero(image.getchannel(0).histogram())
    colours = np.zeros((256, 3), np.uint8)  # Pillow takes indices beyond the palette for black
    palette = np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)
    colours[: len(palette)] = palette
    return bool(np.all(colours[used] == colours[used, :1]))
