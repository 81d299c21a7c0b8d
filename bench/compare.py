"""Two benchmarks of the same images, before and after: what changed beyond the noise.

Sizes and qualities have no noise but the rounding of other processors, so a fixed tolerance separates them. Times
do: every point carries the interquartile range of its repetitions. And machines are faster on one day than on another,
so a contender's time is judged relative to the anchor's, which both runs hold; the anchor's own says how much faster
or slower the machine was.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from edgepress.runtime.errors import EdgepressError

from .bdrate import MEASURES, bd_rate
from .saved import Saved, SavedCodec, SavedPoint

# What int8 networks of two processors may differ by, with room to spare: relative for bytes, absolute for the others.
TOLERANCE = {"bpp": 2e-3, "psnr": 0.01, "ssim": 2e-4, "ms_ssim": 2e-4}
LEAST_TIME = 0.05  # times nearer than this, as a share, are not told apart however steady each run was
LEAST_MEMORY = 0.05


@dataclass(frozen=True)
class Change:
    """One figure of a contender, before and after.

    quality: None for a figure of the whole curve. before, after: None where a run lacks it. percent: how much worse
    (positive) or better it became, in percent; None for a quality measure, whose change is `after - before`. noise: what
    a change must exceed to count, in the unit of the change.
    """

    codec: str
    figure: str
    quality: int | None
    before: float | None
    after: float | None
    percent: float | None
    noise: float
    beyond_noise: bool

    @property
    def regression(self) -> float:
        """By how many percent it became worse, beyond the noise; 0 otherwise, and for figures that are not judged."""
        return max(0.0, self.percent or 0.0) if self.beyond_noise else 0.0


@dataclass(frozen=True)
class Comparison:
    """All changes of the contenders that both runs have, noise included, and what only one of them has.

    notes: what to know before reading on (another machine, other versions, times that cannot be judged).
    """

    changes: tuple[Change, ...]
    removed: tuple[str, ...]
    added: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def beyond_noise(self) -> list[Change]:
        return [change for change in self.changes if change.beyond_noise]

    def regressions(self, percent: float) -> list[Change]:
        """What became worse by more than so many percent: bytes at equal quality, time relative to the anchor, memory."""
        return [change for change in self.changes if change.regression > percent]


def compare(before: Saved, after: Saved) -> Comparison:
    """What changed from one benchmark to the other. Raises EdgepressError when they are of different images."""
    _check_images(before, after)
    old, new = ({codec.name: codec for codec in saved.codecs} for saved in (before, after))
    changes: list[Change] = []
    for name in (name for name in old if name in new):
        changes += _curve_changes(old[name], new[name])
        changes += _point_changes(old[name], new[name])
    times, notes = _time_changes(before, after)
    return Comparison(
        tuple(changes + times),
        tuple(name for name in old if name not in new),
        tuple(name for name in new if name not in old),
        tuple(_notes(before, after) + notes),
    )


def to_dict(comparison: Comparison) -> dict[str, Any]:
    """Everything as plain values, ready for JSON."""
    return {
        "changes": [
            vars(change) | {"regression_percent": change.regression} for change in comparison.changes
        ],
        "removed": list(comparison.removed),
        "added": list(comparison.added),
        "notes": list(comparison.notes),
    }


def _check_images(before: Saved, after: Saved) -> None:
    old, new = ({(i.name, i.width, i.height) for i in saved.images} for saved in (before, after))
    if old != new:
        apart = sorted(old ^ new)
        name, width, height = apart[0]
        where = "before" if apart[0] in old else "after"
        raise EdgepressError(
            f"the two benchmarks are of different images ({len(old)} and {len(new)}; only the one {where} has {name}, "
            f"{width}x{height}); run both with the same --images and --limit"
        )


def _curve_changes(old: SavedCodec, new: SavedCodec) -> list[Change]:
    """BD-rate of the contender against its own former self, and memory."""
    found = []
    if len(old.points) > 1 and len(new.points) > 1:
        for measure in MEASURES:
            percent = bd_rate(old.points, new.points, measure).percent
            if percent is not None:
                noise = 100 * TOLERANCE["bpp"]
                name = f"BD-rate {measure.replace('_', '-').upper()}"
                found.append(Change(old.name, name, None, 0.0, percent, percent, noise, abs(percent) > noise))
    was, now = old.peak_memory_mb, new.peak_memory_mb
    if was is not None and now is not None and was > 0:
        percent, noise = 100 * (now / was - 1), 100 * LEAST_MEMORY
        beyond = abs(percent) > noise and abs(now - was) > 1  # MB: allocators round
        found.append(Change(old.name, "peak memory MB", None, was, now, percent, noise, beyond))
    return found


def _point_changes(old: SavedCodec, new: SavedCodec) -> list[Change]:
    found = []
    for was, now in _common_points(old, new):
        percent = 100 * (now.bpp / was.bpp - 1)
        noise = 100 * TOLERANCE["bpp"]
        # Bytes of a point are judged by themselves only where there is no curve: else they may buy quality.
        judged = percent if len(old.points) == 1 or len(new.points) == 1 else None
        found.append(
            Change(old.name, "bpp", was.quality, was.bpp, now.bpp, judged, noise, abs(percent) > noise)
        )
        for measure in ("psnr", "ssim", "ms_ssim"):
            a, b = getattr(was, measure), getattr(now, measure)
            if a is None and b is None:
                continue
            # An exact image has no PSNR: to gain or lose that is always a change.
            beyond = a is None or b is None or abs(b - a) > TOLERANCE[measure]
            found.append(Change(old.name, measure, was.quality, a, b, None, TOLERANCE[measure], beyond))
    return found


def _time_changes(before: Saved, after: Saved) -> tuple[list[Change], list[str]]:
    """Encode and decode times, each as one change over all common qualities, relative to the anchor's."""
    if before.anchor != after.anchor:
        return [], [f"times are not compared: the anchors differ ({before.anchor}, {after.anchor})"]
    found, notes = [], []
    codecs = {codec.name: codec for codec in after.codecs}
    for kind in ("encode", "decode"):
        machine = _drift(before.anchor_codec, after.anchor_codec, kind)
        if machine is None:
            return [], ["times are not compared: the anchor is not timed in both runs"]
        notes.append(
            f"{before.anchor} now takes {machine.factor:.2f} times its former time to {kind}: the machine's part"
        )
        for codec in before.codecs:
            own = _drift(codec, codecs[codec.name], kind) if codec.name in codecs else None
            if own is None or codec.name == before.anchor:
                continue
            change = math.log(own.factor) - math.log(machine.factor)
            noise = max(math.hypot(own.noise, machine.noise), math.log1p(LEAST_TIME))
            percent = 100 * math.expm1(change)
            beyond = abs(change) > noise
            name = f"{kind} time / {before.anchor}'s"
            found.append(
                Change(
                    codec.name, name, None, 1.0, math.exp(change), percent, 100 * math.expm1(noise), beyond
                )
            )
    return found, notes


@dataclass(frozen=True)
class _Drift:
    """How a contender's times changed: the geometric mean of after / before, and the log of what spread explains."""

    factor: float
    noise: float


def _drift(old: SavedCodec, new: SavedCodec, kind: str) -> _Drift | None:
    logs, noises = [], []
    for was, now in _common_points(old, new):
        a, b = getattr(was, f"{kind}_ms"), getattr(now, f"{kind}_ms")
        if a and b:
            logs.append(math.log(b / a))
            noises.append(math.hypot(_spread(was, kind) / a, _spread(now, kind) / b))
    # The spread of a run's points has causes in common, so it is not divided by their number.
    return _Drift(math.exp(fmean(logs)), fmean(noises)) if logs else None


def _spread(point: SavedPoint, kind: str) -> float:
    return getattr(point, f"{kind}_spread_ms") or 0.0


def _common_points(old: SavedCodec, new: SavedCodec) -> Sequence[tuple[SavedPoint, SavedPoint]]:
    points = {point.quality: point for point in new.points}
    return [(point, points[point.quality]) for point in old.points if point.quality in points]


def _notes(before: Saved, after: Saved) -> list[str]:
    notes = []
    keys = list(dict.fromkeys([*before.environment, *after.environment]))
    for key in keys:
        was, now = before.environment.get(key), after.environment.get(key)
        if was != now:
            notes.append(f"{key.replace('_', ' ')}: {was} before, {now} after")
    old, new = ({codec.name: codec.spec for codec in saved.codecs} for saved in (before, after))
    notes += [f"{n}: {old[n]} before, {new[n]} after" for n in old if n in new and old[n] != new[n]]
    for codec in before.codecs:
        lacking = {p.quality for p in codec.points} ^ {
            p.quality for other in after.codecs if other.name == codec.name for p in other.points
        }
        if codec.name in new and lacking:
            notes.append(f"{codec.name}: only one run has quality {', '.join(map(str, sorted(lacking)))}")
    return notes
