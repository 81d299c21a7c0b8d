"""Pixels in and out of tensors: uint8 pixels as whatever the networks' inputs and outputs store.

The real value of a pixel p is p/255. Integer tensors need a mapping of bytes to bytes; the usual ones are one to three numpy
operations, several times faster than a table look-up. All functions write into an array that is there already, an interpreter's
own or the final image, so that no pixel is copied twice; that of pixels stored as bytes may be the one they come from.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .errors import BadPackageError
from .interpreter import Tensor

Bytes = NDArray[np.uint8]
Move = Callable[
    [np.ndarray, np.ndarray], None
]  # from the first array to the second, of the same shape or broadcast to it
_ALL = np.arange(256, dtype=np.uint8)
_TOP_BIT = np.uint8(128)
_SEVEN = np.uint8(7)
_PIXEL_DTYPES = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.float32))


def pixel_writer(tensor: Tensor, label: str) -> Move:
    """A function (pixels, stored) that writes uint8 pixels as the values that an input tensor stores.

    Raises:
        BadPackageError: a dtype other than uint8, int8 and float32, or an integer without a scale.
    """
    _check(tensor, label)
    dtype = tensor.dtype
    if dtype == np.float32:
        return _write_floats
    limits = np.iinfo(dtype)
    stored = np.rint(_ALL / 255 / tensor.scale) + tensor.zero_point
    return _byte_map(np.clip(stored, limits.min, limits.max).astype(dtype).view(np.uint8))


def pixel_reader(tensor: Tensor, label: str) -> Move:
    """A function (stored, pixels) that writes the values of an output tensor as uint8 pixels.

    Raises:
        BadPackageError: a dtype other than uint8, int8 and float32, or an integer without a scale.
    """
    _check(tensor, label)
    dtype = tensor.dtype
    if dtype == np.float32:
        return _read_floats
    stored = _ALL.view(dtype).astype(np.float64)
    # Halves go down, so that the common scale of 1/256 (a sigmoid's) is q - (q >> 7) exactly.
    pixels = np.ceil((stored - tensor.zero_point) * tensor.scale * 255 - 0.5)
    return _byte_map(np.clip(pixels, 0, 255).astype(np.uint8))


def _check(tensor: Tensor, label: str) -> None:
    if tensor.dtype not in _PIXEL_DTYPES:
        raise BadPackageError(f"the {label} must store pixels as uint8, int8 or float32, not {tensor.dtype}")
    if tensor.dtype != np.float32 and not 0 < tensor.scale < np.inf:
        raise BadPackageError(f"the {label} has integer pixels without a scale")


def _write_floats(pixels: np.ndarray, stored: np.ndarray) -> None:
    np.multiply(pixels, np.float32(1 / 255), out=stored)


def _read_floats(stored: np.ndarray, pixels: np.ndarray) -> None:
    values = np.nan_to_num(stored)
    np.clip(values, 0, 1, out=values)
    values *= 255
    np.rint(values, out=values)
    pixels[...] = values


def _byte_map(table: Bytes) -> Move:
    """The cheapest function that maps each byte (of uint8 or int8 arrays) as `table` (uint8[256]) does."""
    shortcuts: tuple[Move, ...] = (_keep, _flip, _shrink, _flip_and_shrink)
    mapped = np.empty_like(_ALL)
    for shortcut in shortcuts:
        shortcut(_ALL, mapped)
        if np.array_equal(mapped, table):
            return lambda source, target: shortcut(source.view(np.uint8), target.view(np.uint8))
    translation = table.tobytes()

    def translate(source: np.ndarray, target: np.ndarray) -> None:
        # bytes.translate is faster than indexing with uint8.
        found = np.frombuffer(source.tobytes().translate(translation), np.uint8)
        target.view(np.uint8)[...] = found.reshape(source.shape)

    return translate


def _keep(source: Bytes, target: Bytes) -> None:
    np.copyto(target, source)


def _flip(source: Bytes, target: Bytes) -> None:
    """int8 with zero point -128."""
    np.bitwise_xor(source, _TOP_BIT, out=target)


def _shrink(source: Bytes, target: Bytes) -> None:
    """Scale 1/256: q - (q >> 7)."""
    np.subtract(source, source >> _SEVEN, out=target)


def _flip_and_shrink(source: Bytes, target: Bytes) -> None:
    """Both. With q = s ^ 128, the top bits of q and s differ, and q - (q >> 7) = s + 127 + (s >> 7) modulo 256."""
    np.add(source, source >> _SEVEN, out=target)
    np.add(target, np.uint8(127), out=target)
