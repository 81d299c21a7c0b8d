"""The package of a run, with the figures that it carries, and the rows of the stage table: two last steps of a plan."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.bench.environment import environment
from edgepress.runtime.codec import Codec
from edgepress.runtime.package import write_package

from .cache import Cache
from .convert import FloatPair, Pair
from .keys import Images
from .measure import FINEST, Scores, Stage, means, middle, score_files, undelegated_of
from .plan import Begin, Plan
from .recipe import Recipe
from .stages import compared_stage, file_stage, float_stage, int8_stage, time_stages
from .step import FIGURES, Kind, Step

QUALITIES = (10, 25, 50, 75, 90)  # of the rows that show what the finished package does


@dataclass(frozen=True)
class Packed:
    """The bytes of a package, and what a report says of it.

    Attributes:
        rows: of the stage table, without latencies, those of QUALITIES last.
        facts: by stage, what was found or done there (see `made`).
    """

    content: bytes
    rows: list[Stage]
    facts: dict[str, dict[str, Any]]


PACKED: Kind[Packed] = Kind(
    lambda made: {
        "package.epm": made.content,
        "rows.json": json.dumps([asdict(row) for row in made.rows]).encode(),
        "facts.json": json.dumps(made.facts).encode(),
    },
    lambda members: Packed(
        members["package.epm"],
        [Stage(**row) for row in json.loads(members["rows.json"])],
        json.loads(members["facts.json"]),
    ),
)
# What a latency depends on besides the networks: another machine measures its own.
_MACHINE = ("cpu", "interpreter", "entropy_coder", "governor")


def package_step(
    plan: Plan, held_out: Images, recipe: Recipe, name: str, source: str, cache: Cache, begin: Begin
) -> Step[Packed]:
    """The package called `name`, made of a model that came from `source`, measured on the images held out."""

    def make() -> Packed:
        tables, made, floats = plan.tables.get(), plan.int8.get(), plan.floats.get()
        others = plan.compared.get() if recipe.measure.compare else {}
        models = {stage: step.get() for stage, step in plan.models.items()}
        trained = plan.qat and plan.qat.get()
        begin("measure", None)
        from .split import split  # loads Keras

        halves = {stage: split(model.model, plan.layer()) for stage, model in models.items()}
        latent = plan.latent
        images = crops(held_out, latent["unit"], recipe)
        first = models["float"].model.name
        details: dict[str, Any] = {
            "name": name,
            "architecture": f"{first}; latent {latent['layer']}: {latent['why']}",
            "stride": latent["stride"],
            "tile": latent["tile"] or None,
            "zero_point": made.pair.zero_point,
            "encoder": made.pair.encoder,
            "decoder": made.pair.decoder,
            "tables": tables,
            "smoothing": recipe.codec.smoothing,
            "provenance": {
                "source": source,
                "recipe": recipe.as_dict(),
                "latent": {**latent, **made.latent.facts()},
                "rewrites": models["rewritten"].facts["rewrites"],
            },
            "description": f"{first}, int8, {latent['channels']} latent channels at 1/{latent['stride']}",
        }
        with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
            path = Path(folder) / "measured.epm"
            # The figures go into the manifest; a first package, without them, is there to be measured.
            codec = Codec(write_package(path, **details, figures={}))
            scores = {quality: means(score_files(codec, images, quality)) for quality in (*QUALITIES, FINEST)}
            scale = made.latent.scale
            rows = [
                float_stage(stage, halves[stage], floats[stage], scale, codec, images) for stage in models
            ]
            if trained:
                steps = np.full_like(scale, trained.filled.int8_scale)  # its latent is in int8 steps already
                rows.append(float_stage("qat", trained.filled.halves, made.twin, steps, codec, images))
            rows += [compared_stage(mode, pair, images, latent["tile"]) for mode, pair in others.items()]
            rows.append(int8_stage(made.pair, codec, images))
            write_package(path, **details, figures=_figures(scores, len(images)))
            content = path.read_bytes()
        rows.append(file_stage("package", content, scores[FINEST]))
        rows += [file_stage(f"quality {q}", content, scores[q]) for q in QUALITIES]
        facts = {stage: model.facts for stage, model in models.items()}
        if trained:
            facts["qat"] = trained.facts
        facts |= {part: made.facts[part] for part in ("rd", "decoder") if part in made.facts}
        left = {"before": plan.as_it_came.get(), "after": undelegated_of(made.pair)}
        facts["int8"] = {**made.latent.facts(), **made.facts, "undelegated": left}
        return Packed(content, rows, facts)

    modules = ("package_step", "measure", "stages")
    inputs = [plan.tables, plan.int8, plan.floats, plan.as_it_came, held_out, recipe, name, source]
    return Step(cache, "package", PACKED, modules, inputs, make)


def timing_step(
    plan: Plan, packed: Step[Packed], held_out: Images, recipe: Recipe, cache: Cache, begin: Begin
) -> Step[list[float]]:
    """The latency in ms of every row of `packed`."""

    def make() -> list[float]:
        made, networks = packed.get(), dict[str, FloatPair | Pair](plan.floats.get())
        if recipe.measure.compare:
            networks |= plan.compared.get()
        networks |= {"qat": plan.int8.get().twin, "int8": plan.int8.get().pair}
        image = crops(held_out, plan.latent["unit"], recipe)[0]
        count = begin("time", recipe.measure.repeats)
        names = [row.name for row in made.rows]
        with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
            path = Path(folder) / "timed.epm"
            path.write_bytes(made.content)
            return time_stages(names, networks, Codec.load(path), image, recipe.measure.repeats, count)

    return Step(cache, "timing", FIGURES, ("package_step", "stages"), [packed, machine()], make)


def machine() -> dict[str, Any]:
    """What a latency depends on besides the networks."""
    here = environment()
    return {fact: here[fact] for fact in _MACHINE}


def crops(images: Images, unit: int, recipe: Recipe) -> list[Any]:
    """The parts of the images that are measured, uint8 (H, W, 3)."""
    return [middle(image, unit, max(recipe.measure.side, unit)) for image in images.pixels]


def _figures(scores: dict[int, Scores], images: int) -> dict[str, Any]:
    """What a package says of itself: the same for the same inputs, so no times."""
    return {"images": images, "qualities": {str(quality): asdict(s) for quality, s in sorted(scores.items())}}
