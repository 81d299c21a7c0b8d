"""Pixels in and out of tensors: uint8 pixels as whatever the networks' inputs and outputs store.

The real value of a pixel p is p/255. Integer tensors need a mapping of bytes to bytes; the usual ones
are one or two numpy operations, several times faster than a table look-up.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .errors import BadPackageError
from .interpreter import Tensor

Bytes = NDArray[np.uint8]
_ALL = np.arange(256, dtype=np.uint8)
_TOP_BIT = np.uint8(128)
_SEVEN = np.uint8(7)
_PIXEL_DTYPES = (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.float32))


def pixel_writer(tensor: Tensor, label: str) -> Callable[[Bytes], np.ndarray]:
    """A function that turns uint8 pixels into the values that an input tensor stores, of the same shape.

    Raises:
        BadPackageError: a dtype other than uint8, int8 and float32, or an integer without a scale.
    """
    _check(tensor, label)
    dtype = tensor.dtype
    if dtype == np.float32:
        return lambda pixels: np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)
    limits = np.iinfo(dtype)
    stored = np.rint(_ALL / 255 / tensor.scale) + tensor.zero_point
    mapping = _byte_map(np.clip(stored, limits.min, limits.max).astype(dtype).view(np.uint8))
    return lambda pixels: mapping(pixels).view(dtype)


def pixel_reader(tensor: Tensor, label: str) -> Callable[[np.ndarray], Bytes]:
    """A function that turns the values of an output tensor into uint8 pixels, of the same shape.

    Raises:
        BadPackageError: a dtype other than uint8, int8 and float32, or an integer without a scale.
    """
    _check(tensor, label)
    dtype = tensor.dtype
    if dtype == np.float32:
        return lambda values: np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.uint8)
    stored = _ALL.view(dtype).astype(np.float64)
    # Halves go down, so that the common scale of 1/256 (a sigmoid's) is q - (q >> 7) exactly.
    pixels = np.ceil((stored - tensor.zero_point) * tensor.scale * 255 - 0.5)
    mapping = _byte_map(np.clip(pixels, 0, 255).astype(np.uint8))
    return lambda values: mapping(values.view(np.uint8))


def _check(tensor: Tensor, label: str) -> None:
    if tensor.dtype not in _PIXEL_DTYPES:
        raise BadPackageError(f"the {label} must store pixels as uint8, int8 or float32, not {tensor.dtype}")
    if tensor.dtype != np.float32 and not 0 < tensor.scale < np.inf:
        raise BadPackageError(f"the {label} has integer pixels without a scale")


def _byte_map(table: Bytes) -> Callable[[Bytes], Bytes]:
    """The cheapest function on uint8 arrays that maps each byte as `table` (uint8[256]) does."""
    shortcuts: tuple[Callable[[Bytes], Bytes], ...] = (
        lambda array: array,
        lambda array: array ^ _TOP_BIT,  # int8 with zero point -128
        lambda array: array - (array >> _SEVEN),  # scale 1/256
        lambda array: (array ^ _TOP_BIT) - ((array ^ _TOP_BIT) >> _SEVEN),  # both
    )
    for shortcut in shortcuts:
        if np.array_equal(shortcut(_ALL), table):
            return shortcut
    translation = table.tobytes()
    # bytes.translate is faster than indexing with uint8.
    return lambda array: np.frombuffer(array.tobytes().translate(translation), np.uint8).reshape(array.shape)
