"""Two linear 1x1 convolutions around a space_to_depth as one, exactly: int8 need not round what lies between them.

A transform of two levels, W1 on small blocks and W2 on b x b of their coefficients, is one of larger blocks, with i the
position in the b x b:

    sum over i, m of W2[(i, m), o] (W1[c, m] x[(i, c)] + b1[m]) + b2[o] = sum over i, c of W[(i, c), o] x[(i, c)] + b[o]
    W[(i, c), o] = sum over m of W1[c, m] W2[(i, m), o]

Training wants the two levels: fewer weights, and a good start. int8 wants the one where what it rounds in between costs
more than the multiply-adds (`photo`: 0.8 of MSE at 600 MAC per pixel, none at 864).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgepress.train.layers import SpaceToDepth

from .graph import Cloner, Step, rebuild, trace, wiring
from .pointwise import is_linear, is_pointwise, matrix_and_bias, pointwise
from .same import check_same

PROBE = 256  # side of the image for which the graph is traced, unless it has one


def compose(encoder: Any, images: Sequence[np.ndarray]) -> Any:
    """`encoder` with every such pair as one convolution; the very same object where there is none.

    Args:
        encoder: functional, from images (B, H, W, 3).
        images: float32 (H, W, 3) on which the result is checked, of a size that the encoder takes.

    Raises: UnsupportedModelError when the result differs by more than 1e-5 of the largest output.
    """
    shape = tuple(PROBE if side is None else side for side in encoder.input.shape[1:])
    pairs = find_pairs(trace(encoder, shape))
    if not pairs:
        return encoder
    firsts, seconds = {id(first) for first, _ in pairs}, {id(second): first for first, second in pairs}
    cloner = Cloner()

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if id(operation) in firsts:
            return args[0]
        if id(operation) in seconds:
            return _joined(seconds[id(operation)], operation, args[0], cloner)
        return cloner(operation, *args, **kwargs)

    made = rebuild(encoder, None, call)
    check_same(encoder, made, (image[None] for image in images), "composing its convolutions")
    return compose(made, images)  # a third level is joined to the first two


def find_pairs(steps: Sequence[Step]) -> list[tuple[Any, Any]]:
    """The pairs (first, second) of a traced graph, no layer in two: nothing else reads what the first makes, nor its
    rearrangement.
    """
    maker, readers = wiring(steps)
    uses = [id(step.operation) for step in steps]
    found: list[tuple[Any, Any]] = []
    for step in steps:
        between = maker.get(step.reads[0]) if step.reads else None
        if between is None or not isinstance(between.operation, SpaceToDepth):
            continue
        first = maker.get(between.reads[0])
        if first is None or not (is_linear(first.operation) and is_pointwise(step.operation)):
            continue
        if any(first.operation is taken for pair in found for taken in pair):
            continue
        alone = all(len(readers[id(s.output)]) == 1 for s in (first, between))
        if alone and all(uses.count(id(s.operation)) == 1 for s in (first, between, step)):
            found.append((first.operation, step.operation))
    return found


def _joined(first: Any, second: Any, x: Any, cloner: Cloner) -> Any:
    (w1, b1), (w2, b2) = matrix_and_bias(first), matrix_and_bias(second)
    positions = w2.reshape(-1, w1.shape[1], w2.shape[1])
    matrix = np.einsum("cm,imo->ico", w1, positions).reshape(-1, w2.shape[1])
    bias = b2 + np.einsum("m,imo->o", b1, positions)
    return pointwise(second, x, [matrix, bias], cloner.unique(second.name))[0]
