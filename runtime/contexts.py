"""The integer context model in numpy: predictions, activity and contexts from symbols already coded.

This is the reference for `_coder.c`. All functions take arrays whose last two axes are H and W (leading axes are
images of a batch), so that the fitting of the tables computes exactly what the coder will.

Method: context quantization of a weighted sum of neighbouring magnitudes, as in lossless image coding (Weinberger,
Seroussi, Sapiro: LOCO-I, 2000; Wu and Memon: CALIC, 1997), here over space and over the channels coded before. A plane is
coded in three passes, as in interlaced images: positions of even rows and columns, those of odd rows and columns, which lie
between four of the first, and the rest, which lie between four of both. No context needs a symbol of its own
pass, so that a decoder can work on several symbols at once. Channels with a prediction use the neighbours to the left and
above instead, and are coded in waves over four rows each, so that there, too, several symbols wait for none of each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .tables import CONTEXTS, MAX_SYMBOL

Ints = NDArray[np.int32]

LAST_ACTIVITY = 1 << 13  # activities from here on share the last context


def _bucket_of(t: int) -> int:
    if t < 4:
        return 0
    octave = t.bit_length() - 1
    return min(CONTEXTS - 1, 2 * octave - 3 + ((t >> (octave - 1)) & 1))


BUCKETS = [_bucket_of(t) for t in range(LAST_ACTIVITY + 1)]
_BUCKET_ARRAY = np.array(BUCKETS, np.uint8)


def causal(plane: NDArray) -> tuple[Ints, Ints, Ints, Ints]:
    """The left, top, top-left and top-right neighbours of each symbol, int32, with the borders filled in.

    A missing left neighbour is the top one; in the first row the top ones are the left one; a missing top-left or
    top-right neighbour is the top one; the first symbol of the plane sees zeros.
    """
    left, top, top_left, top_right = (np.zeros(plane.shape, np.int32) for _ in range(4))
    left[..., 1:] = plane[..., :-1]
    top[..., 1:, :] = plane[..., :-1, :]
    left[..., 1:, 0] = top[..., 1:, 0]
    top_left[..., 1:, 1:] = plane[..., :-1, :-1]
    top_left[..., 0] = top[..., 0]
    top_right[..., 1:, :-1] = plane[..., :-1, 1:]
    top_right[..., -1] = top[..., -1]
    for neighbour in (top, top_left, top_right):
        neighbour[..., 0, :] = left[..., 0, :]
    return left, top, top_left, top_right


def predict(plane: NDArray, weights: NDArray[np.int8]) -> Ints:
    """The predicted symbol of each position, int32 in -255..255, from `mean_w` of the channel (int8[4])."""
    if not weights.any():
        return np.zeros(plane.shape, np.int32)
    total = sum(int(w) * neighbour for w, neighbour in zip(weights, causal(plane), strict=True))
    return np.clip((total + 32) >> 6, -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)


def magnitude(residual: Ints) -> Ints:
    """min(|r|, 255): what the activity features are made of."""
    return np.minimum(np.abs(residual), MAX_SYMBOL)


def pass_of(height: int, width: int) -> NDArray[np.uint8]:
    """The pass 0..2 in which each position is coded, uint8[H,W]; within a pass it is row by row."""
    y, x = np.indices((height, width)) % 2
    return np.where(y == x, y, 2).astype(np.uint8)


def wave(height: int, width: int) -> NDArray[np.intp]:
    """The positions of a plane with a prediction in the order of coding: y * width + x, of height * width.

    In each group of four rows a row is two positions behind the one above it, whose symbol to the upper right it needs.
    """
    y, x = np.indices((height, width)).reshape(2, -1)
    row = y % 4
    return np.lexsort((row, x + 2 * row, y // 4))


def _shifted(values: Ints, rows: int, columns: int) -> Ints:
    """The value `rows` below and `columns` to the right of each position, zero outside; -1, 0 or 1."""
    height, width = values.shape[-2:]
    result = np.zeros_like(values)
    result[..., max(-rows, 0) : height - max(rows, 0), max(-columns, 0) : width - max(columns, 0)] = values[
        ..., max(rows, 0) : height - max(-rows, 0), max(columns, 0) : width - max(-columns, 0)
    ]
    return result


def near(magnitudes: Ints, predicted: bool) -> tuple[Ints, Ints]:
    """The sums of the (straight, diagonal) neighbours' magnitudes that are known when a position is coded, int32."""
    up, down, left, right = (_shifted(magnitudes, *by) for by in ((-1, 0), (1, 0), (0, -1), (0, 1)))
    if predicted:
        return left + up, _shifted(up, 0, -1) + _shifted(up, 0, 1)
    diagonal = sum(_shifted(row, 0, by) for row in (up, down) for by in (-1, 1))
    step = pass_of(*magnitudes.shape[-2:])
    return np.where(step == 2, up + down + left + right, 0), np.where(step == 1, diagonal, 0)


class Maps:
    """Running averages of the magnitudes of the planes coded so far, per position: `fast` and `slow`, int32."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.fast: Ints = np.zeros(shape, np.int32)
        self.slow: Ints = np.zeros(shape, np.int32)

    def around(self) -> Ints:
        """The mean of `slow` at the four neighbours, rounded down; outside counts as the position itself."""
        slow = self.slow
        total = np.empty_like(slow)
        total[..., 1:] = slow[..., :-1]
        total[..., 0] = slow[..., 0]
        total[..., :-1] += slow[..., 1:]
        total[..., -1] += slow[..., -1]
        total[..., 1:, :] += slow[..., :-1, :]
        total[..., 0, :] += slow[..., 0, :]
        total[..., :-1, :] += slow[..., 1:, :]
        total[..., -1, :] += slow[..., -1, :]
        return total >> 2

    def known(self, weights: NDArray[np.uint8], predicted: bool) -> Ints:
        """The part of 16 * activity that is known before the plane is coded; `weights` is `ctx_w` (uint8[3,6])."""
        height, width = self.slow.shape[-2:]
        each = weights[0] if predicted else weights[pass_of(height, width)]
        _, _, fast, slow, around, one = np.moveaxis(each.astype(np.int32), -1, 0)
        return fast * self.fast + slow * self.slow + around * self.around() + 16 * one

    def update(self, magnitudes: Ints) -> None:
        """Take in the magnitudes of the plane just coded."""
        self.fast += (magnitudes << 4) - (self.fast >> 2)
        self.slow += (magnitudes << 4) - (self.slow >> 4)

    def select(self, images: NDArray[np.bool_]) -> Maps:
        """The maps of some images of a batch (bool[B])."""
        part = Maps((0,))
        part.fast, part.slow = self.fast[images], self.slow[images]
        return part

    def decay(self) -> None:
        """Take in a plane of zeros."""
        self.fast -= self.fast >> 2
        self.slow -= self.slow >> 4


def activity(known: Ints, magnitudes: Ints, weights: NDArray[np.uint8], predicted: bool) -> Ints:
    """t, the expected magnitude of each residual on the channel's own scale; `weights` is `ctx_w` (uint8[3,6])."""
    straight, diagonal = near(magnitudes, predicted)
    w = weights[:, :2].astype(np.int32)
    if predicted:
        return (known + 16 * (w[0, 0] * straight + w[0, 1] * diagonal)) >> 4
    return (known + 16 * (w[2, 0] * straight + w[1, 1] * diagonal)) >> 4


def bucket(activities: Ints) -> NDArray[np.uint8]:
    """The context 0..23 of each activity: 0 below 4, then two per octave."""
    return _BUCKET_ARRAY[np.minimum(activities, LAST_ACTIVITY)]
