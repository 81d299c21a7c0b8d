"""What a budget search may try, and which of it comes next: decisions alone, no models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median
from typing import Protocol

from .budget import Budget

# Modes in the order of their effort: how many times as long the networks take as in plain int8, and what they leave of its
# loss, where nothing has been measured yet.
COSTS = {"ptq": 1.0, "qat": 1.0, "mixed": 1.5}
_LEAVES = {"ptq": 1.0, "qat": 0.5, "mixed": 0.5}
_RECOVERS = 0.2  # share of the loss by cutting that fine-tuning leaves, until a measurement says


@dataclass(frozen=True)
class Candidate:
    """A share of the multiply-adds that stays, and a mode of [quantize]."""

    keep_macs: float
    mode: str

    @property
    def cost(self) -> float:
        """The predicted latency, as a multiple of what the whole network takes in plain int8."""
        return self.keep_macs * COSTS[self.mode]

    def __str__(self) -> str:
        return f"{self.keep_macs:.0%} of the multiply-adds, {self.mode}"


class Judged(Protocol):
    """What is known of a candidate that was evaluated: losses in the unit of the budget."""

    @property
    def candidate(self) -> Candidate: ...

    @property
    def loss(self) -> float: ...

    @property
    def float_loss(self) -> float: ...

    @property
    def inside(self) -> bool: ...

    @property
    def float_failed(self) -> bool: ...


def grid(keep_macs: Sequence[float], modes: Sequence[str]) -> list[Candidate]:
    """All combinations, predicted fastest first, and among equals the least effort first."""
    found = {Candidate(keep, mode) for keep in keep_macs for mode in modes}
    return sorted(found, key=lambda c: (c.cost, list(COSTS).index(c.mode)))


def still_open(candidates: Sequence[Candidate], judged: Sequence[Judged]) -> list[Candidate]:
    """The candidates that could still win, in their order.

    Ruled out are: what is not predicted to be faster than a candidate inside the budget; and, since quality falls with the
    multiply-adds, what keeps no more of them than one that failed, in the same mode or in one that leaves more of the loss
    (ptq), or in any mode where the float network alone had failed already.
    """
    inside = [j.candidate.cost for j in judged if j.inside]
    tried = {j.candidate for j in judged}
    return [
        c
        for c in candidates
        if c not in tried
        and not any(c.cost >= cost for cost in inside)
        and not any(_fails_with(c, j) for j in judged if not j.inside)
    ]


def next_candidate(
    candidates: Sequence[Candidate],
    judged: Sequence[Judged],
    sensitivity: Mapping[float, float],
    budget: Budget,
) -> Candidate | None:
    """What to evaluate now: the fastest open candidate that is predicted to be inside, or else the one nearest to it.

    The first is the whole network in the mode of least effort: what quantization costs by itself says how much is left for
    pruning. None when no candidate is open.

    Args:
        sensitivity: by `keep_macs`, the loss after cutting and before fine-tuning, in the unit of the budget.
    """
    if not judged:
        return max(candidates, key=lambda c: (c.keep_macs, -list(COSTS).index(c.mode)), default=None)
    choice = still_open(candidates, judged)
    predicted = {c: predict(c, judged, sensitivity) for c in choice}
    fitting = [c for c in choice if predicted[c] <= budget.amount]
    return fitting[0] if fitting else min(choice, key=lambda c: predicted[c], default=None)


def predict(candidate: Candidate, judged: Sequence[Judged], sensitivity: Mapping[float, float]) -> float:
    """The loss that is expected: what fine-tuning left elsewhere of the loss by cutting, and what quantization added."""
    left = [
        max(0.0, j.float_loss) / sensitivity[j.candidate.keep_macs]
        for j in judged
        if j.candidate.keep_macs < 1
        and sensitivity.get(j.candidate.keep_macs, 0.0) > 0
        and isfinite(j.float_loss)
    ]
    recovered = median(left) if left else _RECOVERS
    added: dict[str, list[float]] = {}
    for j in judged:
        added.setdefault(j.candidate.mode, []).append(max(0.0, j.loss - j.float_loss))
    if candidate.mode in added:
        quantized = median(added[candidate.mode])
    else:
        quantized = _LEAVES[candidate.mode] * median(added.get("ptq", [0.0]))
    return recovered * sensitivity.get(candidate.keep_macs, 0.0) + quantized


def _fails_with(candidate: Candidate, judged: Judged) -> bool:
    failed = judged.candidate
    if candidate.keep_macs > failed.keep_macs:
        return False
    return judged.float_failed or candidate.mode in (failed.mode, "ptq")
