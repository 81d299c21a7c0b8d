"""Images in and out: what the codec accepts, as arrays."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import UnsupportedImageError
from .modes import as_coded, check_background
from .parts import ImageParts, Source, as_array

Pixels = NDArray[np.uint8]
WHOLE_PIXELS = 1 << 16  # of a PIL image that becomes an array as a whole, which takes as much memory again

# What Pillow's readers raise when they meet damage.
READ_ERRORS = (
    Image.DecompressionBombError,
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    struct.error,
)


def to_pixels(image: Any, max_pixels: int, background: Any = None) -> Source:
    """The pixels of an image: uint8 HxWx3 for RGB, HxW for gray.

    Args:
        image: a PIL.Image that becomes RGB or L without loss (see modes.py), or a uint8 array HxWx3 or HxW. Of an
            image with several frames it is the current one.
        max_pixels: the largest H*W that is accepted; checked before the image is loaded.
        background: the colour (red, green, blue), 0..255, to put behind transparent pixels.

    Raises:
        EdgepressError: the background is no colour.
        UnsupportedImageError: any other type, mode, shape, dtype or size, or image data that cannot be read.
    """
    behind = check_background(background)
    if isinstance(image, Image.Image):
        check_size(*image.size, max_pixels)
        try:
            image.load()
        except READ_ERRORS as error:
            raise UnsupportedImageError(f"the image data cannot be read: {error}") from None
        coded = as_coded(image, behind)
        return as_array(coded) if image.width * image.height <= WHOLE_PIXELS else ImageParts(coded)
    if not isinstance(image, np.ndarray):
        raise UnsupportedImageError(f"an image is a PIL.Image or a uint8 array, not {type(image).__name__}")
    if image.dtype != np.uint8:
        raise UnsupportedImageError(f"image arrays must be uint8 (0..255), not {image.dtype}")
    if image.ndim != 2 and not (image.ndim == 3 and image.shape[2] == 3):
        raise UnsupportedImageError(f"image arrays must be HxWx3 or HxW, not of shape {image.shape}")
    check_size(image.shape[1], image.shape[0], max_pixels)
    return image


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raise UnsupportedImageError unless 1 <= width * height <= max_pixels."""
    if width < 1 or height < 1:
        raise UnsupportedImageError(f"the image is empty ({width}x{height})")
    if width * height > max_pixels:
        raise UnsupportedImageError(
            f"the image has {width}x{height} pixels, but the limit is {max_pixels} (max_pixels raises it)"
        )


def to_image(rgb: Pixels, mode: str) -> Image.Image:
    """An image of its own, RGB or L, of pixels uint8 HxWx3, which may be a part of larger rows."""
    if mode == "L":
        return Image.fromarray(to_gray(rgb))
    height, width, _ = rgb.shape
    stride = rgb.strides[0]
    if not rgb.flags.c_contiguous:  # all from the first pixel to the last one, beside which are others
        rgb = np.lib.stride_tricks.as_strided(rgb, ((height - 1) * stride + 3 * width,), (1,))
    image = Image.new(mode, (width, height), None)
    image.frombytes(rgb.data, "raw", mode, stride, 1)
    return image


def to_gray(rgb: Pixels) -> Pixels:
    """Rounded mean of the three channels: uint8 HxWx3 -> uint8 HxW."""
    total = rgb[..., 0].astype(np.uint16)
    total += rgb[..., 1]
    total += rgb[..., 2]
    return ((total + 1) // 3).astype(np.uint8)
