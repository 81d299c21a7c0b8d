"""The range of every activation that loses least when int8 divides it into 255 steps.

The largest values of a tensor are rare: a narrower range clips them and rounds all the others more finely. Chosen is the
pair of ends with the smallest mean squared error on a histogram of what was seen (Banner et al. 2019; Nagel et al. 2021,
"A white paper on neural network quantization", section 3.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

BINS = 2048
STEPS = 255
# The ends that are tried, as shares of the largest and of the smallest value seen.
SHARES = np.linspace(0.4, 1.0, 49)

Activations = Callable[[], Iterable[tuple[int, NDArray[np.float32]]]]


def best_ranges(activations: Activations) -> dict[int, tuple[float, float]]:
    """(low, high) for each tensor index, low <= 0 <= high; a tensor that is always zero has (0, 0).

    Args:
        activations: gives the values (index, float32 array) of all tensors on all samples, the same at every call.
    """
    seen: dict[int, tuple[float, float]] = {}
    for index, values in activations():
        low, high = seen.get(index, (0.0, 0.0))  # int8 must hold zero
        seen[index] = min(low, float(values.min())), max(high, float(values.max()))
    counts = {index: np.zeros(BINS, np.int64) for index in seen}
    for index, values in activations():
        low, high = seen[index]
        if low < high:
            counts[index] += np.histogram(values, BINS, seen[index])[0]
    return {index: best_range(counts[index], *ends) for index, ends in seen.items()}


def best_range(counts: NDArray[np.int64], low: float, high: float) -> tuple[float, float]:
    """The best ends within (low, high), low <= 0 <= high, for a histogram of equal bins between them."""
    if not low < high:
        return low, high
    edges = np.linspace(low, high, counts.size + 1)
    centres = (edges[:-1] + edges[1:]) / 2

    def clipped(beyond: NDArray[np.float64]) -> float:
        return float((counts * np.maximum(beyond, 0) ** 2).sum())

    lows = [(low * share, clipped(low * share - centres)) for share in SHARES] if low < 0 else [(0.0, 0.0)]
    highs = (
        [(high * share, clipped(centres - high * share)) for share in SHARES] if high > 0 else [(0.0, 0.0)]
    )
    total = float(counts.sum())
    costs = [
        (lost_low + lost_high + total * ((b - a) / STEPS) ** 2 / 12, a, b)
        for a, lost_low in lows
        for b, lost_high in highs
    ]
    _, a, b = min(costs)
    return a, b
