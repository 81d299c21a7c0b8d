"""Images in and out: what the codec accepts, as arrays, and the padding that the networks need."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .errors import UnsupportedImageError

Pixels = NDArray[np.uint8]


def to_pixels(image: Any, max_pixels: int) -> Pixels:
    """The pixels of an image: uint8 HxWx3 for RGB, HxW for gray.

    Args:
        image: a PIL.Image of mode RGB, L, 1, P or of any mode with an alpha channel that is opaque everywhere
            (everything that becomes RGB or L without loss), or a uint8 array HxWx3 or HxW.
        max_pixels: the largest H*W that is accepted; checked before the image is loaded.

    Raises:
        UnsupportedImageError: any other type, mode, shape, dtype or size, or image data that cannot be read.
    """
    if isinstance(image, Image.Image):
        check_size(*image.size, max_pixels)
        try:
            image.load()
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            raise UnsupportedImageError(f"the image data cannot be read: {error}") from None
        return np.asarray(_lossless(image))
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


def _lossless(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        if opaque.getchannel("A").getextrema() != (255, 255):
            raise UnsupportedImageError(
                f"mode {image.mode} with transparent pixels cannot be encoded; "
                'flatten it onto a background first, or drop the transparency with image.convert("RGB")'
            )
        return opaque.convert("L" if image.mode in ("L", "LA") else "RGB")
    if image.mode in ("RGB", "L"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "P":
        return image.convert("RGB")
    remedy = "scale it to 8 bits" if image.mode[0] in "IF" else 'use image.convert("RGB")'
    raise UnsupportedImageError(f"mode {image.mode} cannot be encoded without loss; {remedy} first")


def pad(pixels: Pixels, stride: int) -> Pixels:
    """Pixels as a batch (1,H',W',3), sides rounded up to multiples of `stride` by repeating the last row and column.

    Gray pixels are copied to all three channels. RGB pixels that fit already come back as a view.
    """
    height, width = pixels.shape[:2]
    rows, columns = -height % stride, -width % stride
    if pixels.ndim == 3 and rows == columns == 0:
        return pixels[np.newaxis]
    batch = np.empty((1, height + rows, width + columns, 3), np.uint8)
    canvas = batch[0]
    canvas[:height, :width] = pixels if pixels.ndim == 3 else pixels[..., np.newaxis]
    canvas[:height, width:] = canvas[:height, width - 1 : width]
    canvas[height:] = canvas[height - 1]
    return batch


def to_gray(rgb: Pixels) -> Pixels:
    """Rounded mean of the three channels: uint8 HxWx3 -> uint8 HxW."""
    total = rgb[..., 0].astype(np.uint16)
    total += rgb[..., 1]
    total += rgb[..., 2]
    return ((total + 1) // 3).astype(np.uint8)
