"""The Pareto front of what a search evaluated, and three picks on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar


class Weighed(Protocol):
    """What counts of a point: bytes and milliseconds, the fewer the better, and quality, the more the better."""

    @property
    def bytes(self) -> int: ...

    @property
    def latency_ms(self) -> float: ...

    @property
    def quality(self) -> float: ...


P = TypeVar("P", bound=Weighed)


def front(points: Sequence[P]) -> list[P]:
    """The points that no other one equals or beats in all three ways and beats in one, fastest first."""
    kept = [p for p in points if not any(_beats(q, p) for q in points)]
    return sorted(kept, key=lambda p: (p.latency_ms, p.bytes, -p.quality))


def picks(points: Sequence[P]) -> Mapping[str, P]:
    """Quality: the best; Compact: the fewest bytes; Balanced: the nearest to the best of all three at once, each way scaled
    to 0..1 between the ends of the front. Empty without points."""
    ahead = front(points)
    if not ahead:
        return {}
    scales = [_scale([_costs(p)[axis] for p in ahead]) for axis in range(3)]

    def distance(point: P) -> float:
        return sum(((v - low) / span) ** 2 for v, (low, span) in zip(_costs(point), scales, strict=True))

    return {
        "Quality": max(ahead, key=lambda p: (p.quality, -p.latency_ms)),
        "Balanced": min(ahead, key=distance),
        "Compact": min(ahead, key=lambda p: (p.bytes, p.latency_ms)),
    }


def _costs(point: Weighed) -> tuple[float, float, float]:
    return point.bytes, point.latency_ms, -point.quality


def _beats(a: Weighed, b: Weighed) -> bool:
    pairs = list(zip(_costs(a), _costs(b), strict=True))
    return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)


def _scale(values: Sequence[float]) -> tuple[float, float]:
    return min(values), max(values) - min(values) or 1.0
