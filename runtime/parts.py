"""Images whose pixels are wanted a part at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BAND_PIXELS = (
    1 << 16
)  # which take little enough for memory to stay with the process from one band to the next


def as_array(image: Image.Image) -> NDArray[np.uint8]:
    """The pixels of an image of mode RGB or L, uint8 HxWx3 or HxW; numpy.asarray has to find out what those are."""
    sides = (image.height, image.width)
    return np.frombuffer(image.tobytes(), np.uint8).reshape(sides if image.mode == "L" else (*sides, 3))


class ImageParts:
    """The pixels of a PIL image of mode RGB or L as an array that is made only where it is looked at.

    Pillow lays pixels out in another way than arrays do, so that a large image as a whole would be there twice.
    `ndim`, `shape` and slicing by rows and columns are those of the array uint8 HxWx3 or HxW.
    """

    def __init__(self, image: Image.Image) -> None:
        self._image = image
        sides = (image.height, image.width)
        self.shape: tuple[int, ...] = sides if image.mode == "L" else (*sides, 3)
        self.ndim = len(self.shape)

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[np.uint8]:
        top, bottom, _ = part[0].indices(self.shape[0])
        left, right, _ = part[1].indices(self.shape[1])
        return as_array(self._image.crop((left, top, right, bottom)))


Source = NDArray[np.uint8] | ImageParts


def bands(source: Source, rows: slice, columns: slice) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """A part of an image, from the top: the row of it where each band begins, and its pixels. An array has one band."""
    if isinstance(source, np.ndarray):
        yield 0, source[rows, columns]
        return
    top, bottom, _ = rows.indices(source.shape[0])
    left, right, _ = columns.indices(source.shape[1])
    step = max(1, BAND_PIXELS // (right - left))
    for row in range(top, bottom, step):
        yield row - top, source[row : min(row + step, bottom), left:right]
