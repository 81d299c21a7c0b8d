"""Whether a model that was changed still gives what it gave: the check of every rewrite that is meant to be exact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import UnsupportedModelError
from .graph import run

TOLERANCE = 1e-5  # of the larger of 1 and the largest output


def difference(before: Any, after: Any, batches: Iterable[np.ndarray]) -> float:
    """The largest difference of two models' outputs on float32 batches (B, H, W, C), as a share of the larger of 1 and the
    largest output of `before` on that batch.

    Raises: UnsupportedModelError when their shapes differ.
    """
    worst = np.float64(0)
    for batch in batches:
        a, b = run(before, batch), run(after, batch)
        if a.shape != b.shape:
            raise UnsupportedModelError(
                f"the rewritten model gives shape {b.shape} where the original gives {a.shape}"
            )
        worst = np.maximum(worst, np.abs(a - b).max() / max(1.0, np.abs(a).max()))  # which keeps a NaN
    return float(worst)


def check_same(before: Any, after: Any, batches: Iterable[np.ndarray], doing: str) -> None:
    """Raises UnsupportedModelError, which names what was `doing` it, when `difference` exceeds TOLERANCE."""
    found = difference(before, after, batches)
    if not found <= TOLERANCE:
        raise UnsupportedModelError(
            f"{before.name}: {doing} changes its output by {found:.1e}; please report this"
        )
