"""Residual branches summed before they meet their trunk, exactly: int8 rounds a wide trunk once instead of after every block.

    x1 = x + e1,  x2 = x1 + e2    becomes    x1 = x + e1,  x2 = x + (e1 + e2)

In int8 a sum is rounded to 256 levels across its range, and x1's rounding stays in all that follows. What the branches add is
mostly far narrower than the trunk, so e1 + e2 is rounded more finely; x1, where something else reads it, is still made, but its
rounding reaches x2 only by way of the next branch. The price is one more addition a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .graph import Cloner, rebuild
from .same import check_same

WORTH = 0.5  # of the variance of rounding must not be left for a sum to be changed


def reorder_sums(half: Any, batches: Sequence[np.ndarray]) -> Any:
    """A flat half with all such sums reordered that are worth it; the very same object where there are none.

    Args:
        batches: float32 (1, H, W, C), what the half sees, of a size that it takes.

    Raises: UnsupportedModelError when the changed half does not give the original's output.
    """
    reordered = _find(half, batches)
    if not any(before for _, before in reordered.values()):
        return half
    cloner = Cloner()
    sums: dict[str, tuple[Any, Any]] = {}  # by name of an addition: trunk and branches

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if operation.name not in reordered:
            return cloner(operation, *args, **kwargs)
        side, before = reordered[operation.name]
        trunk, branch = args[0][side], args[0][1 - side]
        if before:
            trunk, earlier = sums[before]
            branch = keras.layers.Add(name=cloner.unique(f"{operation.name}_branches"))([earlier, branch])
        sums[operation.name] = trunk, branch
        return cloner(operation, [trunk, branch])

    made = rebuild(half, None, call)
    check_same(half, made, batches, "reordering its sums")
    return made


def _find(half: Any, batches: Sequence[np.ndarray]) -> dict[str, tuple[int, str]]:
    """By name of each addition of two: which of its inputs is the trunk, and the addition before it whose trunk it takes
    instead, or ""."""
    adds = [layer for layer in half.layers if type(layer) is keras.layers.Add and _is_plain(layer)]
    if len(adds) < 2:
        return {}
    tensors = [tensor for add in adds for tensor in (*add.input, add.output)]
    probe = keras.Model(half.input, tensors)
    seen = [[np.asarray(value) for value in probe(batch, training=False)] for batch in batches]
    values = {id(tensor): [row[i] for row in seen] for i, tensor in enumerate(tensors)}
    makers = {id(add.output): add.name for add in adds}
    roots: dict[str, Any] = {}  # the tensor that is the trunk of an addition
    found = {}
    for add in adds:
        spans = [_span(values[id(tensor)]) for tensor in add.input]
        side = int(spans[1] > spans[0])
        roots[add.name] = trunk = add.input[side]
        found[add.name] = side, ""
        if before := makers.get(id(trunk), ""):
            root = roots[before]
            pairs = zip(values[id(add.output)], values[id(root)], strict=True)
            if _span([total - part for total, part in pairs]) ** 2 <= WORTH * _span(values[id(trunk)]) ** 2:
                roots[add.name] = root
                found[add.name] = side, before
    return found


def _span(values: Sequence[np.ndarray]) -> float:
    """Of what int8 must hold, zero included."""
    return max(0.0, *(float(v.max()) for v in values)) - min(0.0, *(float(v.min()) for v in values))


def _is_plain(layer: Any) -> bool:
    """Of two tensors of one shape, called once."""
    if len(layer._inbound_nodes) != 1 or len(layer.input) != 2:
        return False
    return layer.input[0].shape == layer.input[1].shape
