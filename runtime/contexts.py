"""The integer context model in numpy: predictions, activity and contexts from symbols already coded.

This is the reference for `_coder.c`. All functions take arrays whose last two axes are H and W (leading axes are
images of a batch), so that the fitting of the tables computes exactly what the coder will.

Method: context quantization of a weighted sum of neighbouring magnitudes, as in lossless image coding (Weinberger,
Seroussi, Sapiro: LOCO-I, 2000; Wu and Memon: CALIC, 1997), here over space and over the channels coded before.
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


def near(magnitudes: Ints) -> tuple[Ints, Ints]:
    """(left + top, top-left + top-right) magnitudes of the same plane, int32, zero outside."""
    straight, diagonal = np.zeros_like(magnitudes), np.zeros_like(magnitudes)
    straight[..., 1:] += magnitudes[..., :-1]
    straight[..., 1:, :] += magnitudes[..., :-1, :]
    diagonal[..., 1:, 1:] += magnitudes[..., :-1, :-1]
    diagonal[..., 1:, :-1] += magnitudes[..., :-1, 1:]
    return straight, diagonal


class Maps:
    """Running averages of the magnitudes of the planes coded so far, per position: `fast` and `slow`, int32."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.fast: Ints = np.zeros(shape, np.int32)
        self.slow: Ints = np.zeros(shape, np.int32)

    def around(self) -> Ints:
        """The sum of `slow` at the four neighbours; outside counts as the position itself."""
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
        return total

    def base(self, weights: NDArray[np.uint8]) -> Ints:
        """The part of 16 * activity that is known before the plane is coded; `weights` is `ctx_w` (uint8[6])."""
        _, _, fast, slow, around, one = (int(w) for w in weights)
        total = fast * self.fast + slow * self.slow + 16 * one
        return total + ((around * self.around()) >> 2) if around else total

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


def activity(base: Ints, magnitudes: Ints, weights: NDArray[np.uint8]) -> Ints:
    """t, the expected magnitude of each residual on the channel's own scale; `weights` is `ctx_w` (uint8[6])."""
    straight, diagonal = near(magnitudes)
    return (base + 16 * (int(weights[0]) * straight + int(weights[1]) * diagonal)) >> 4


def bucket(activities: Ints) -> NDArray[np.uint8]:
    """The context 0..23 of each activity: 0 below 4, then two per octave."""
    return _BUCKET_ARRAY[np.minimum(activities, LAST_ACTIVITY)]
