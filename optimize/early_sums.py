"""Residual blocks behind depth_to_space that are read and added before it, exactly: int8 then need not round the trunk there.

    y = depth_to_space(L u),  h = f(R y),  y + E h     becomes     h = f(depth_to_space(R' L u)),  depth_to_space(L u + E' h')

with h' = space_to_depth(h), and the matrices of R and E once for each of the positions that lie side by side in R' and E'. It
costs multiply-adds, since those are mostly zeros, but `join_branches` makes one convolution of R' L and one of L and E'. So y,
which is as wide as the picture, is rounded once, in what comes out, instead of twice (`photo`: 0.12 of squared error).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgepress.train.layers import DepthToSpace, SpaceToDepth

from .graph import Cloner, Step, rebuild, trace, wiring
from .pointwise import is_linear, is_pointwise, matrix_and_bias, pointwise
from .same import check_same

MOST = 1024  # weights that R or E may have: they become as many times more as positions lie side by side, squared


@dataclass(frozen=True)
class Match:
    """The layers of one such block: depth_to_space, what reads its output (R), the end of the branch (E), the sum."""

    space: Any
    readers: tuple[Any, ...]
    expand: Any
    add: Any


def sum_early(half: Any, batches: Sequence[np.ndarray]) -> Any:
    """A flat half with all such blocks read and added at the lower resolution; the very same object where there are none.

    Args:
        batches: float32 (1, H, W, C), what the half sees, of a size that it takes.

    Raises: UnsupportedModelError when the changed half does not give the original's output.
    """
    matches = find_blocks(trace(half, batches[0].shape[1:]))
    if not matches:
        return half
    cloner = Cloner()
    roles: dict[str, tuple[Match, str]] = {}
    for match in matches:
        roles |= {layer.name: (match, "reader") for layer in match.readers}
        roles |= {match.space.name: (match, "space"), match.expand.name: (match, "expand")}
        roles[match.add.name] = match, "add"

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        match, role = roles.get(operation.name, (None, ""))
        if match is None:
            return cloner(operation, *args, **kwargs)
        block = match.space.block
        if role == "space":
            return args[0]  # what reads it is at the lower resolution now
        if role == "add":
            total = cloner(operation, *args, **kwargs)
            return DepthToSpace(block, name=cloner.unique(match.space.name))(total)
        x = args[0]
        if role == "expand":
            x = SpaceToDepth(block, name=cloner.unique(f"{operation.name}_to_depth"))(x)
        matrix, bias = matrix_and_bias(operation)
        weights = [np.kron(np.eye(block**2), matrix), np.tile(bias, block**2)]
        output = pointwise(operation, x, weights, cloner.unique(operation.name))[0]
        if role == "expand":
            return output
        return DepthToSpace(block, name=cloner.unique(f"{operation.name}_to_space"))(output)

    made = rebuild(half, None, call)
    check_same(half, made, batches, "summing before depth_to_space")
    return made


def find_blocks(steps: Sequence[Step]) -> list[Match]:
    """The blocks of a traced graph whose two convolutions `join_branches` can then join, no layer in two of them."""
    maker, readers = wiring(steps)
    names = [step.name for step in steps]
    found: list[Match] = []
    taken: set[str] = set()
    for step in steps:
        if not isinstance(step.operation, DepthToSpace):
            continue
        made = maker.get(step.reads[0])
        after = readers.get(id(step.output), [])
        adds = [s for s in after if type(s.operation) is keras.layers.Add and len(s.reads) == 2]
        others = [s for s in after if s not in adds]
        if made is None or len(adds) != 1 or not is_linear(made.operation):
            continue
        if readers[id(made.output)] != [step] or not all(is_pointwise(s.operation) for s in others):
            continue
        branch = next((maker.get(tensor) for tensor in adds[0].reads if tensor != id(step.output)), None)
        if branch is None or branch in others or not is_linear(branch.operation):
            continue
        layers = [s.name for s in (step, *others, branch, adds[0])]
        weights = max(int(np.prod(s.operation.kernel.shape)) for s in (*others, branch))
        alone = readers[id(branch.output)] == adds and all(names.count(name) == 1 for name in layers)
        if alone and weights <= MOST and not taken & set(layers):
            taken |= set(layers)
            read_by = tuple(s.operation for s in others)
            found.append(Match(step.operation, read_by, branch.operation, adds[0].operation))
    return found
