"""The budget search: evaluates candidates in a sensible order until none that is left could win."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from .budget import Budget, halve
from .candidates import Candidate, next_candidate


@dataclass(frozen=True)
class Measured:
    """What an evaluation gives, of the networks of a candidate.

    Attributes:
        losses, float_losses: for each held-out image, of the int8 networks and of the float ones that they were made of,
            against the original float model, in the unit of the budget.
        bytes: of the package.
        psnr, ssim, bpp: means over all held-out images, of the int8 networks at the finest step.
        macs_per_pixel: of both.
    """

    losses: tuple[float, ...]
    float_losses: tuple[float, ...]
    bytes: int
    psnr: float
    ssim: float | None
    bpp: float | None
    macs_per_pixel: float


@dataclass(frozen=True)
class Point:
    """An evaluated candidate.

    Attributes:
        loss: upper bound of the mean loss on the half of the held-out images that chooses (`Budget.bound`).
        choosing, verifying: mean loss on that half, and on the other one.
        float_loss: mean loss of the float network on the first half.
        inside: whether `loss` and `verifying` both are inside the budget.
        float_failed: whether the float network is outside already, so that no quantization can help.
        latency_ms: of both networks on one 128x128 image; 0 until the search is over, as all are timed in one run.
    """

    candidate: Candidate
    measured: Measured
    loss: float
    choosing: float
    verifying: float
    float_loss: float
    inside: bool
    float_failed: bool
    latency_ms: float = 0.0

    @property
    def bytes(self) -> int:
        return self.measured.bytes

    @property
    def quality(self) -> float:
        return self.measured.psnr


def judge(candidate: Candidate, measured: Measured, budget: Budget) -> Point:
    """A point: the losses on either half of the images against the budget."""
    choosing, verifying = halve(measured.losses)
    float_loss = fmean(halve(measured.float_losses)[0])
    loss = budget.bound(choosing)
    held = fmean(verifying)
    return Point(
        candidate,
        measured,
        loss,
        fmean(choosing),
        held,
        float_loss,
        loss <= budget.amount and held <= budget.amount,
        float_loss > budget.amount,
    )


def search(
    candidates: Sequence[Candidate],
    budget: Budget,
    evaluate: Callable[[Candidate], Measured],
    sensitivity: Mapping[float, float],
    tell: Callable[[Point], None] = lambda _: None,
) -> list[Point]:
    """All points evaluated, in order; `fastest` says which one wins.

    Args:
        evaluate: measures a candidate; called once at most for each.
        sensitivity: see `candidates.next_candidate`.
        tell: is given every point when it is known.
    """
    points: list[Point] = []
    while (candidate := next_candidate(candidates, points, sensitivity, budget)) is not None:
        points.append(judge(candidate, evaluate(candidate), budget))
        tell(points[-1])
    return points


def fastest(points: Sequence[Point]) -> Point | None:
    """The point inside the budget that takes the least time; None when none is inside."""
    inside = [point for point in points if point.inside]
    return min(inside, key=lambda p: (p.latency_ms, p.candidate.cost, p.loss), default=None)
