"""Two depth_to_space in a row as one, exactly: the filters of the convolution before them are put into another order.

A value that is rearranged by a and then by b is found by (row of a, column of a, row of b, column of b, channel), by a b at
once by (row of a, row of b, column of a, column of b, channel). Every rearrangement is a pass over the whole picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from edgepress.train.layers import DepthToSpace

from .graph import Cloner, Step, rebuild, trace, wiring
from .same import check_same


def merge_spaces(half: Any, batches: Sequence[np.ndarray]) -> Any:
    """A flat half with every such pair behind a convolution as one; the very same object where there is none.

    Args:
        batches: float32 (1, H, W, C), what the half sees, on which the result is checked.

    Raises: UnsupportedModelError when the changed half does not give the original's output.
    """
    triples = _find(trace(half, batches[0].shape[1:]))
    if not triples:
        return half
    convolutions = {conv: (half.get_layer(a).block, half.get_layer(b).block) for conv, a, b in triples}
    skipped = {a for _, a, _ in triples}
    blocks = {b: half.get_layer(a).block * half.get_layer(b).block for _, a, b in triples}
    cloner = Cloner()

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if operation.name in skipped:
            return args[0]
        if operation.name in blocks:
            return DepthToSpace(blocks[operation.name], name=cloner.unique(operation.name))(*args)
        output = cloner(operation, *args, **kwargs)
        if operation.name in convolutions:
            clone = output._keras_history.operation
            order = _order(operation.filters, *convolutions[operation.name])
            clone.set_weights([np.asarray(weights)[..., order] for weights in operation.get_weights()])
        return output

    made = rebuild(half, None, call)
    check_same(half, made, batches, "merging its rearrangements")
    return made


def _order(filters: int, a: int, b: int) -> np.ndarray:
    """By filter of the new convolution, that of the old one: int64[filters]."""
    old = np.arange(filters).reshape(a, a, b, b, -1)
    return old.transpose(0, 2, 1, 3, 4).ravel()


def _find(steps: Sequence[Step]) -> list[tuple[str, str, str]]:
    """Names of a convolution and the two rearrangements behind it, which nothing else reads."""
    maker, readers = wiring(steps)
    uses = [step.name for step in steps]
    found: list[tuple[str, str, str]] = []
    for last in steps:
        first = maker.get(last.reads[0]) if isinstance(last.operation, DepthToSpace) else None
        conv = maker.get(first.reads[0]) if first and isinstance(first.operation, DepthToSpace) else None
        if first is None or conv is None or type(conv.operation) is not keras.layers.Conv2D:
            continue
        if conv.operation.groups > 1:  # whose filters do not read the same channels
            continue
        names = conv.name, first.name, last.name
        alone = all(len(readers[id(step.output)]) == 1 for step in (conv, first))
        if alone and all(uses.count(name) == 1 for name in names):
            found.append(names)
    return found
