"""Where to cut the range of a tensor for int8: what lies beyond is clipped, what lies inside gets finer steps."""

from __future__ import annotations

import numpy as np

BINS = 4096
STEPS = 255
CUTS = np.linspace(1.0, 0.3, 71)  # of a range that are tried

Range = tuple[float, float]


def best_range(counts: np.ndarray, low: float, high: float, steps: int = STEPS, slope: float = 1.0) -> Range:
    """The part of low..high (containing 0) that in so many `steps` gives the least mean squared error.

    Args:
        counts: how many values lie in each of as many equal bins between `low` and `high`.
        slope: what the reader multiplies negative values with, and their errors (a leaky ReLU).
    """
    width = (high - low) / len(counts)
    centres = low + (np.arange(len(counts)) + 0.5) * width
    weighted = counts * np.where(centres < 0, slope**2, 1.0)

    def error(ends: Range) -> float:
        beyond = np.maximum(0, np.maximum(ends[0] - centres, centres - ends[1]))
        step = (ends[1] - ends[0]) / steps
        # Zeros (of ReLUs, of padding) are exact whatever the step; they must not speak for small steps.
        inside = weighted[(beyond == 0) & (np.abs(centres) > width)].sum()
        return float((weighted * np.square(beyond)).sum() + inside * step**2 / 12)

    high = min(((low, high * cut) for cut in CUTS), key=error)[1]
    return min(((low * cut, high) for cut in CUTS), key=error)
