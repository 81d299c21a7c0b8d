"""Finding the sums whose residual branch can be joined to a 1x1 convolution (see join_branches.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

from edgepress.train.layers import SpaceToDepth

from .graph import Step, wiring
from .latent_range import HOMOGENEOUS
from .pointwise import is_linear, is_pointwise


@dataclass(frozen=True)
class Match:
    """One sum: the layers that add, end the branch (E), and make the branch's last feature map h."""

    add: Any
    expand: Any
    hidden: Any
    kind: str  # "read" or "made"
    linear: Any  # D or T
    others: tuple[Any, ...] = ()  # the layers R
    between: tuple[Any, ...] = ()  # space_to_depth on the way from the sum to D

    def roles(self) -> list[tuple[Any, str]]:
        """The layers that change, and what each is."""
        return [
            *((self.add, "add"), (self.expand, "expand"), (self.linear, "linear")),
            *((layer, "other") for layer in self.others),
            *((layer, "between") for layer in self.between),
        ]


def find_matches(steps: list[Step]) -> list[Match]:
    """The sums of a traced graph that can be joined, no layer in two of them."""
    maker, readers = wiring(steps)
    uses: dict[int, int] = {}
    for step in steps:
        uses[id(step.operation)] = uses.get(id(step.operation), 0) + 1
    found: list[Match] = []
    taken: set[int] = set()
    for step in steps:
        if type(step.operation) is not keras.layers.Add or len(step.reads) != 2:
            continue
        ends = [maker.get(tensor) for tensor in step.reads]
        for branch, other in (ends, ends[::-1]):
            match = branch and _match(step, branch, other, maker, readers)
            layers = [layer for layer, _ in match.roles()] if match else []
            if match and not any(id(layer) in taken or uses[id(layer)] > 1 for layer in layers):
                found.append(match)
                taken |= {id(layer) for layer in layers}
                break
    return found


def _match(
    add: Step, branch: Step, other: Step | None, maker: dict[int, Step], readers: dict[int, list[Step]]
) -> Match | None:
    if not is_linear(branch.operation) or readers[id(branch.output)] != [add]:
        return None
    hidden = maker.get(branch.reads[0])
    if (
        hidden is None
        or readers[id(hidden.output)] != [branch]
        or not _passes_factors(hidden, maker, readers)
    ):
        return None
    if other is not None and is_linear(other.operation):
        others = [step for step in readers[id(other.output)] if step is not add]
        if all(is_pointwise(step.operation) for step in others):
            return Match(
                *(add.operation, branch.operation, hidden.operation, "made", other.operation),
                tuple(step.operation for step in others),
            )
    between = []
    after = readers.get(id(add.output), [])
    while len(after) == 1 and isinstance(after[0].operation, SpaceToDepth):
        between.append(after[0].operation)
        after = readers.get(id(after[0].output), [])
    if len(after) == 1 and is_pointwise(after[0].operation):
        ends = add.operation, branch.operation, hidden.operation
        return Match(*ends, "read", after[0].operation, between=tuple(between))
    return None


def _passes_factors(step: Step, maker: dict[int, Step], readers: dict[int, list[Step]]) -> bool:
    """Whether factors of the channels that `step` makes can be moved into a convolution's weights."""
    layer = step.operation
    if isinstance(layer, SpaceToDepth):
        before = maker.get(step.reads[0])
        if before is None or readers[id(before.output)] != [step]:
            return False
        return _passes_factors(before, maker, readers)
    if isinstance(layer, (keras.layers.ReLU, keras.layers.LeakyReLU)):
        before = maker.get(step.reads[0])
        plain = getattr(layer, "max_value", None) is None and not getattr(layer, "threshold", 0)
        return plain and before is not None and readers[id(before.output)] == [step] and _is_conv(before)
    return _is_conv(step)


def _is_conv(step: Step) -> bool:
    layer = step.operation
    return type(layer) is keras.layers.Conv2D and layer.activation.__name__ in HOMOGENEOUS
