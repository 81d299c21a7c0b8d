"""Finds how far dequantized values are to move toward their neighbours (`edgepress.runtime.refine`): by least squares."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.purecoder import dequantize
from edgepress.runtime.refine import ONE, around

LEAST = 0.03  # of a channel's squared error that must go for it to be worth the time
MOST = ONE // 4  # both weights together: a value does not move beyond its neighbours
_TINY = 1e-9

Group = tuple[
    NDArray[np.int16], NDArray[np.int16]
]  # latents less their zero point and their symbols, [C,B,H,W]


def fit_refine(
    groups: Iterable[Group], steps: NDArray[np.uint16], recon: NDArray[np.int8], refined: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Weights of one table set, uint8[C,4] as in `EntropyTables.refine_w`.

    Args:
        groups: latents of photographs, by size. That int8 clips around a zero point is neglected.
        steps: uint16[C], the quantizer's, in 1/16 of an int8 step.
        recon: int8[C,2], see `EntropyTables`.
        refined: bool[C], the channels that may be; all others are zeros.
    """
    weights = np.zeros((len(steps), 4), np.uint8)
    if not refined.any():
        return weights
    found = _Sums(int(refined.sum()))
    for values, symbols in groups:
        for image in range(values.shape[1]):
            coded, original = symbols[refined, image], values[refined, image].transpose(1, 2, 0)
            seen = dequantize(coded, 0, steps[refined], recon[refined])
            busy = symbols[~refined, image].any(axis=0)
            found.add(original - seen.astype(np.int64), *around(seen, steps[refined]), busy)
    weights[refined] = found.solve()
    return weights


class _Sums:
    """Sums of products over positions, for each channel, where nothing else is coded [0] and where something is [1]."""

    def __init__(self, channels: int) -> None:
        self._squares = np.zeros((2, channels, 2, 2))  # of what moves a value
        self._products = np.zeros((2, channels, 2))  # with its error
        self._errors = np.zeros(channels)

    def add(
        self,
        error: NDArray[np.int64],
        straight: NDArray[np.int32],
        diagonal: NDArray[np.int32],
        busy: NDArray[np.bool_],
    ) -> None:
        """Errors [H,W,C], what neighbours would add to them, and where anything else is coded [H,W]."""
        self._errors += np.square(error).sum(axis=(0, 1))
        for k, here in enumerate((~busy, busy)):
            moves = np.stack([straight[here], diagonal[here]], -1).astype(np.float64)
            self._squares[k] += np.einsum("ncj,nck->cjk", moves, moves)
            self._products[k] += np.einsum("ncj,nc->cj", moves, error[here].astype(np.float64))

    def solve(self) -> NDArray[np.uint8]:
        """uint8[C,4]."""
        made = np.zeros((len(self._errors), 4), np.uint8)
        for c, error in enumerate(self._errors):
            both = [_least(self._squares[k, c], self._products[k, c]) for k in range(2)]
            gone = sum(
                2 * w @ self._products[k, c] - w @ self._squares[k, c] @ w
                for k, w in enumerate(np.array(both) / ONE)
            )
            if gone > LEAST * error:
                made[c] = np.concatenate(both)
        return made


def _least(squares: NDArray[np.float64], products: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The two weights of least squared error, in 1/ONE: none is below zero, and they are not too large together."""
    w = np.linalg.solve(squares + _TINY * np.eye(2), products)
    for k in range(2):
        if w[k] < 0:
            w[k], w[1 - k] = 0, products[1 - k] / max(squares[1 - k, 1 - k], _TINY)
    w = np.maximum(ONE * w, 0)
    return np.floor(w * min(1, MOST / max(w.sum(), _TINY)) + (0.5 if w.sum() < MOST - 1 else 0)).astype(
        np.uint8
    )
