"""A feature map h beside another tensor x in one range, as a concatenation in int8 asks for it.

Its channels get factors, and where that lets h use more of the range, all of it an offset: h comes from a leaky or plain ReLU,
so that for the most part it lies on one side of zero. Beside an x that lies on both sides it would leave nearly half of the 256
levels empty, and beside pixels, which are never negative, it has no place at all. Half the step is a quarter of the noise, for
the addition of a number that rounds nothing (`_convert_worker._tie_shift`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .best_range import BINS, best_range

HEADROOM = 1.05  # of the range of x over the largest h seen
PLACES = np.linspace(0, 1, 41)  # of the zero of h in the range of x that are tried
WORTH = 0.7  # of the noise without an offset must not be left for one to be used: it costs an addition

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """What h becomes beside x: `factor` (float64[C]) times itself, and `offset` more."""

    factor: Floats
    offset: float


def fit_beside(
    probe: Any,
    batches: Sequence[np.ndarray],
    ends: tuple[float, float],
    hidden: Floats,
    cost: Floats,
    step: float | None,
) -> Fit | None:
    """How h fits into the range of x with the least noise; None when it does not.

    Args:
        probe: model of x and h, [..., C] or [..., n C] where space_to_depth put n of each channel side by side.
        batches: what it sees.
        ends: of x, with zero between them.
        hidden: float64[2, C], ends of the channels of h, with zero between them.
        cost: float64[C], what noise of variance 1 on a channel of h costs.
        step: of x in int8, where it is given; an offset is a multiple of it. None: the range of x will be cut for int8
            (`best_range`), and so will that of h.
    """
    low, high = ends
    places = low + PLACES * (high - low)
    plain, best = (
        min((_noise(hidden, low, high, offset, cost), offset) for offset in offsets)
        for offsets in ([0.0], np.round(places / step) * step if step else places)
    )
    noise, offset = best if best[0] <= WORTH * plain[0] else plain
    if not np.isfinite(noise):
        return None
    factor = _factor(hidden, low, high, offset)
    if step:
        return Fit(factor, offset)
    counts = np.zeros((2, BINS), np.int64)
    whole = ends, (float((hidden[0] * factor).min()), float((hidden[1] * factor).max()))
    for batch in batches:
        x, h = (np.asarray(value) for value in probe(batch, training=False))
        h = h * np.tile(factor, h.shape[-1] // len(factor))
        for count, values, (least, most) in zip(counts, (x, h), whole, strict=True):
            count += np.histogram(values, BINS, (least, most) if least < most else (0.0, 1.0))[0]
    (low, high), (least, most) = (best_range(count, *end) for count, end in zip(counts, whole, strict=True))
    offset = low + (offset - ends[0]) / (ends[1] - ends[0]) * (high - low) if offset else 0.0
    below = (low - offset) / least if least < 0 else 1.0
    above = (high - offset) / most if most > 0 else 1.0
    return Fit(factor * min(1.0, below, above), offset)


def _factor(hidden: Floats, low: float, high: float, offset: float) -> Floats:
    """The largest factors with which channels stay between `low` and `high`; 1 for one that is always zero."""
    room = np.full(hidden.shape, np.inf)
    np.divide([[low - offset], [high - offset]], HEADROOM * hidden, out=room, where=hidden != 0)
    factor = room.min(axis=0)
    factor[np.isinf(factor)] = 1
    return factor


def _noise(hidden: Floats, low: float, high: float, offset: float, cost: Floats) -> float:
    """What rounding h costs, in squares of the range's step; inf where it has no place."""
    factor = _factor(hidden, low, high, offset)
    return float((cost / factor**2).sum()) if factor.min() > 0 else np.inf
