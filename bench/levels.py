"""Rates at which contenders can be set side by side: each with the quality whose files are nearest in size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .saved import Saved, SavedCodec, SavedPoint


@dataclass(frozen=True)
class Level:
    """A rate in bits per pixel, with a name, and every contender's point nearest to it (by the ratio of the rates)."""

    name: str
    bpp: float
    points: dict[str, SavedPoint]


def levels(saved: Saved) -> list[Level]:
    """A low, a middle and a high rate, spread over the rates that all curves reach.

    Contenders of a single quality stand at every level as they are. Where the curves have no rate in common, the
    anchor's range is taken.
    """
    curves = [codec for codec in saved.codecs if len(codec.points) > 1] or [saved.anchor_codec]
    low, high = max(_ends(c)[0] for c in curves), min(_ends(c)[1] for c in curves)
    if low >= high:
        low, high = _ends(saved.anchor_codec)
    found = []
    for name, share in (("low", 1 / 8), ("middle", 1 / 2), ("high", 7 / 8)):
        bpp = low * (high / low) ** share
        found.append(Level(name, bpp, {codec.name: nearest(codec, bpp) for codec in saved.codecs}))
    return found


def nearest(codec: SavedCodec, bpp: float) -> SavedPoint:
    """The point whose rate is nearest, as a ratio."""
    return min(codec.points, key=lambda point: abs(math.log(point.bpp / bpp)))


def _ends(codec: SavedCodec) -> tuple[float, float]:
    rates = [point.bpp for point in codec.points]
    return min(rates), max(rates)
