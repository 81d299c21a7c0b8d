"""Measures the candidates of a budget search with real networks: every evaluation is a plan of its own whose stages, shared
with the others where they can be, stay in the cache."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from edgepress.bench.bdrate import bd_rate
from edgepress.bench.metrics import EXACT_PSNR
from edgepress.runtime.codec import Codec
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.package import write_package

from .budget import Budget, halve
from .cache import Cache
from .candidates import Candidate
from .keys import Images
from .measure import (
    FINEST,
    ImageScore,
    means,
    score_files,
    score_float,
    score_float_files,
    score_int8,
    weigh,
)
from .package_step import QUALITIES, crops, machine
from .plan import Begin, Plan
from .recipe import Recipe
from .search import Measured, Point
from .source import Source
from .stages import latencies, pass_through, probe
from .step import FIGURES, Kind, Step

_GRID = (*QUALITIES, FINEST)  # of the curves that a BD-rate is taken from
_PERCENT_PER_DB = 20.0  # what a dB of PSNR is worth in bytes, roughly, where a BD-rate has to be guessed
_MODULES = ("evaluate", "measure")
_MEASURED: Kind[Measured] = Kind(
    lambda found: {"figures.json": json.dumps(asdict(found)).encode()},
    lambda members: _measured(json.loads(members["figures.json"])),
)


@dataclass(frozen=True)
class _Rated:
    """An image's point on a rate-distortion curve, as `bd_rate` takes it."""

    bpp: float
    psnr: float
    ssim: float | None = None
    ms_ssim: float | None = None


class Evaluator:
    """Losses of candidates against the original float model, each image by itself.

    Args:
        source, images, held_out, recipe, cache, begin: as of a run; the candidates replace what they stand for.
        budget: its metric says what a loss is.
    """

    def __init__(
        self,
        source: Source,
        images: Images,
        held_out: Images,
        recipe: Recipe,
        budget: Budget,
        cache: Cache,
        begin: Begin,
    ):
        self._source, self._images, self._held_out = source, images, held_out
        self._recipe, self._budget, self._cache, self._begin = recipe, budget, cache, begin
        # The figures against which all is measured need tables: those of the whole network.
        self._whole = self._plan(recipe_for(recipe, Candidate(1.0, "ptq")))

    def sensitivity(self, keep_macs: float) -> float:
        """The mean loss of the cut model before fine-tuning, on the images that choose; a BD-rate is guessed from PSNR."""
        if keep_macs >= 1:
            return 0.0
        plan = self._plan(recipe_for(self._recipe, Candidate(keep_macs, "ptq")))
        assert plan.cut is not None
        cut = plan.cut

        def make() -> float:
            self._begin(f"estimate {keep_macs:.0%}", None)
            guessed = self._budget.metric == "bd-rate"
            metric = "psnr" if guessed else self._budget.metric
            before = self._float_rows(self._whole, "float")
            rows = self._score(cut.get().model)
            return fmean(halve(_losses(metric, before, rows))[0]) * (_PERCENT_PER_DB if guessed else 1.0)

        inputs = [cut, self._whole.tables, self._held_out, self._budget.metric, self._recipe.measure.side]
        return Step(self._cache, "estimate", FIGURES, _MODULES, inputs, make).get()

    def measure(self, candidate: Candidate) -> Measured:
        """Train, convert and measure a candidate, or find it in the cache."""
        plan = self._plan(recipe_for(self._recipe, candidate))

        inputs = [
            plan.tables,
            self._whole.tables,
            self._held_out,
            self._budget.metric,
            self._recipe.measure.side,
        ]
        step = Step(
            self._cache, "evaluation", _MEASURED, _MODULES, inputs, lambda: self._measured(candidate, plan)
        )
        return step.get()

    def timed(self, points: Sequence[Point]) -> list[Point]:
        """The points with the latency of their networks, all in one interleaved run."""
        plans = [self._plan(recipe_for(self._recipe, point.candidate)) for point in points]

        def make() -> list[float]:
            pairs = [plan.int8.get().pair for plan in plans]
            image = crops(self._held_out, self._whole.latent["unit"], self._recipe)[0]
            count = self._begin("time all that was evaluated", self._recipe.measure.repeats)
            contenders = [pass_through(pair, probe(pair, image)) for pair in pairs]
            return latencies(contenders, self._recipe.measure.repeats, count)

        inputs = [[plan.int8 for plan in plans], machine(), self._recipe.measure.repeats]
        times = Step(self._cache, "race", FIGURES, ("evaluate", "stages"), inputs, make).get()
        return [replace(point, latency_ms=ms) for point, ms in zip(points, times, strict=True)]

    def _plan(self, recipe: Recipe) -> Plan:
        return Plan(self._source, self._images, recipe, self._cache, self._begin)

    def _measured(self, candidate: Candidate, plan: Plan) -> Measured:
        made, tables = plan.int8.get(), plan.tables.get()
        last = list(plan.models)[-1]
        float_rows = self._float_rows(plan, last)
        reference = self._float_rows(self._whole, "float")
        self._begin(f"measure {candidate}", None)
        images = crops(self._held_out, self._whole.latent["unit"], self._recipe)
        with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
            package = write_package(
                Path(folder) / "candidate.epm",
                name="candidate",
                architecture="",
                stride=self._whole.latent["stride"],
                tile=self._whole.latent["tile"] or None,
                zero_point=made.pair.zero_point,
                encoder=made.pair.encoder,
                decoder=made.pair.decoder,
                tables=tables,
                smoothing=self._recipe.codec.smoothing,
                provenance={},
                figures={},
                description="",
            )
            codec = Codec(package)
            rows = score_int8(codec, images)
            size = package.path.stat().st_size
            losses, float_losses = self._all_losses(plan, last, codec, images, reference, rows, float_rows)
        found = means(rows)
        macs = weigh(made.pair.encoder, made.pair.decoder).macs_per_pixel
        return Measured(tuple(losses), tuple(float_losses), size, found.psnr, found.ssim, found.bpp, macs)

    def _all_losses(
        self,
        plan: Plan,
        last: str,
        codec: Codec,
        images: Sequence[Any],
        reference: Sequence[ImageScore],
        rows: Sequence[ImageScore],
        float_rows: Sequence[ImageScore],
    ) -> tuple[list[float], list[float]]:
        """Of the int8 networks, and of the float ones before them."""
        metric = self._budget.metric
        if metric != "bd-rate":
            return _losses(metric, reference, rows), _losses(metric, reference, float_rows)
        before = self._curves(self._whole, "float")
        files = [score_files(codec, images, quality) for quality in _GRID]
        return _bd_rates(before, files), _bd_rates(before, self._curves(plan, last))

    def _float_rows(self, plan: Plan, stage: str) -> list[ImageScore]:
        """Each image through the float model of a stage."""
        step = plan.models[stage]

        def make() -> list[dict[str, Any]]:
            self._begin(f"measure {stage}", None)
            return [asdict(score) for score in self._score(step.get().model)]

        inputs = [step, self._whole.tables, self._held_out, self._recipe.measure.side]
        found = Step(self._cache, "scores", FIGURES, _MODULES, inputs, make).get()
        return [ImageScore(**score) for score in found]

    def _score(self, model: Any) -> list[ImageScore]:
        from .split import split  # loads Keras

        halves = split(model, self._whole.layer())
        images = crops(self._held_out, self._whole.latent["unit"], self._recipe)
        latent, tables = self._whole.int8.get().latent, self._whole.tables.get()
        return score_float(halves.encoder, halves.decoder, images, tables, latent.scale, latent.zero_point)

    def _curves(self, plan: Plan, stage: str) -> list[list[ImageScore]]:
        """By quality, each image through the float model of a stage, its latents coded as in a package."""
        from .split import split

        halves = split(plan.models[stage].get().model, self._whole.layer())
        images = crops(self._held_out, self._whole.latent["unit"], self._recipe)
        latent, tables = plan.int8.get().latent, plan.tables.get()
        return [
            score_float_files(
                halves.encoder, halves.decoder, images, tables, latent.scale, latent.zero_point, quality
            )
            for quality in _GRID
        ]


def _measured(figures: dict[str, Any]) -> Measured:
    tuples = {key: tuple(figures[key]) for key in ("losses", "float_losses")}
    return Measured(**{**figures, **tuples})


def recipe_for(recipe: Recipe, candidate: Candidate) -> Recipe:
    """The recipe of a run, without a search, that makes what a candidate stands for."""
    return replace(
        recipe,
        channels=replace(recipe.channels, keep_macs=candidate.keep_macs),
        quantize=replace(recipe.quantize, mode=candidate.mode),
        search=replace(recipe.search, max_drop=0.0),
    )


def _losses(metric: str, before: Sequence[ImageScore], after: Sequence[ImageScore]) -> list[float]:
    """What each image loses, in dB of PSNR or in SSIM."""
    return [_quality(metric, a) - _quality(metric, b) for a, b in zip(before, after, strict=True)]


def _quality(metric: str, score: ImageScore) -> float:
    if metric == "psnr":
        return min(score.psnr, EXACT_PSNR)
    if score.ssim is None:
        raise EdgepressError("a budget of SSIM needs held-out images of at least 11x11 pixels")
    return score.ssim


def _bd_rates(before: Sequence[Sequence[ImageScore]], after: Sequence[Sequence[ImageScore]]) -> list[float]:
    """For each image, percent more bytes at equal PSNR; infinite where the curves have no quality in common."""
    losses = []
    for old, new in zip(zip(*before, strict=True), zip(*after, strict=True), strict=True):
        first, second = ([_Rated(score.bpp, score.psnr) for score in curve] for curve in (old, new))
        percent = bd_rate(first, second).percent
        losses.append(math.inf if percent is None else percent)
    return losses
