"""A whole benchmark: curves, BD-rates, matches at equal SSIM and times, put together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from edgepress.runtime.errors import EdgepressError

from .bdrate import MEASURES, BdRate, Measure, bd_rate, mean_bd_rate
from .codecs import Missing
from .contender import ReferenceCodec
from .curve import Curve, grid_of, measure_curves
from .host import Host
from .loadimages import BenchImage, pick_evenly
from .match import Match, match_curves
from .pointstore import PointStore
from .timing import Key, Timing, time_contenders
from .workers import Workers

Stage = Callable[[str, int | None], Callable[[int], None]]
"""Called when a stage begins, with its name and the number of steps (None: unknown); gives what counts them."""


def unwatched(_name: str, _steps: int | None) -> Callable[[int], None]:
    """The `Stage` of work that nobody watches."""
    return lambda _count: None


@dataclass(frozen=True)
class Result:
    """All that a benchmark found. The first curve is the anchor's; `bd` and `matches` speak of the others.

    bd: contender -> {"psnr": BdRate, "ms_ssim": BdRate} of the mean curves; mean_bd: the same, as the mean over the
    images of each one's BD-rate in percent. times: (name, quality) -> Timing, for every point of every
    curve and for the anchor's matched points; empty when nothing was timed. timed_images: which images they are from.
    facts: what contenders say of themselves, by name (multiply-adds, model bytes). memory: the peak of each contender's
    own process in bytes (see `Host.peak_memory`); empty when nothing was timed. devices: what other machines found,
    by their names, in the form of `report.to_dict`, or {"error": why there is nothing}. extra: further sections of the
    JSON, by their names. flip: (name, quality) -> mean FLIP error, see perceptual.py; empty unless asked for.
    """

    images: Sequence[BenchImage]
    curves: list[Curve]
    bd: dict[str, dict[Measure, BdRate]]
    mean_bd: dict[str, dict[Measure, float | None]]
    matches: list[Match]
    times: dict[Key, Timing]
    timed_images: list[str]
    repeats: int
    missing: list[Missing] = field(default_factory=list)
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: dict[str, int | None] = field(default_factory=dict)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    flip: dict[Key, float] = field(default_factory=dict)

    @property
    def anchor(self) -> Curve:
        return self.curves[0]


def run_bench(
    codecs: Sequence[ReferenceCodec],
    images: Sequence[BenchImage],
    qualities: Sequence[int] | None = None,
    repeats: int = 5,
    time_images: int | None = 4,
    workers: int = 1,
    missing: Sequence[Missing] = (),
    stage: Stage | None = None,
    store: PointStore | None = None,
    compare: bool = True,
) -> Result:
    """Measure all contenders against the first, which must have a quality to set.

    qualities: see `measure_curves`. repeats: 0 measures neither times nor memory. time_images: how many of the images,
    evenly spread, are timed (None: all). workers: processes for rate and quality; times and memory are measured
    when they have ended, each contender in a process of its own. store: keeps rates and qualities for a later
    run; times must come from one run to be comparable, and are taken anew. compare: compute BD-rates, which needs
    the bench extra.
    """
    if not codecs or not images:
        raise EdgepressError("a benchmark needs at least one contender and one image")
    begin = stage or unwatched
    with Workers(workers, store) as pool:
        steps = sum(len(grid_of(codec, qualities)) for codec in codecs) * len(images)
        curves = measure_curves(codecs, images, qualities, pool, begin("rate and quality", steps))
        anchor, others = curves[0], curves[1:]
        count = begin("equal SSIM", len(others))
        matches: list[Match] = []
        for curve in others:
            matches += match_curves(anchor, [curve], images, pool)
            count(1)
        telling = [codec for codec in codecs if hasattr(codec, "facts")]
        facts = {c.name: found for c, found in zip(telling, pool.map(_facts, telling), strict=True)}
    timed = pick_evenly(list(images), time_images) if repeats else []
    entries = [(curve.codec, point.quality) for curve in curves for point in curve.points]
    entries += [(anchor.codec, match.anchor.quality) for match in matches]
    entries = list({(codec.name, quality): (codec, quality) for codec, quality in entries}.values())
    times, memory = {}, {}
    if timed:
        with ExitStack() as stack:
            hosts = {codec.name: stack.enter_context(Host(codec)) for codec in codecs}
            memory = _peaks(curves, hosts, images, begin("memory", len(codecs)))
            steps = len(entries) * len(timed) * repeats
            times = time_contenders(entries, timed, repeats, begin("time", steps), hosts)
    return Result(
        images,
        curves,
        {c.codec.name: {m: bd_rate(anchor.points, c.points, m) for m in MEASURES} for c in others if compare},
        {
            c.codec.name: {m: mean_bd_rate(anchor.points, c.points, m) for m in MEASURES}
            for c in others
            if compare
        },
        matches,
        times,
        [image.name for image in timed],
        repeats,
        list(missing),
        facts,
        memory,
    )


def _facts(codec: ReferenceCodec) -> dict[str, Any]:
    return codec.facts()  # type: ignore[attr-defined]  # only contenders that have more to say have it


def _peaks(
    curves: Sequence[Curve],
    hosts: Mapping[str, Host],
    images: Sequence[BenchImage],
    count: Callable[[int], None],
) -> dict[str, int | None]:
    """The peak memory of each contender on the largest image at its highest quality."""
    pixels = max(images, key=lambda image: image.width * image.height).pixels()
    peaks = {}
    for curve in curves:
        name = curve.codec.name
        peaks[name] = hosts[name].peak_memory(pixels, curve.points[-1].quality)
        count(1)
    return peaks
