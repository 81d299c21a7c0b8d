"""The whole run: split, rewrite, prune, quantize, fit tables, package, and a row of figures for every stage."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.codec import Codec
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.package import Package, write_package
from edgepress.runtime.tables import EntropyTables

from .convert import FloatPair, Job, Pair, convert
from .fit_tables import fit_tables, quality_steps, share_sets
from .graph import in_tiles
from .latent_range import LatentRange, fill_int8
from .measure import FINEST, Scores, Stage, score_files
from .prune import Pruned, prune
from .recipe import Recipe
from .rewrite import Rewritten, rewrite
from .split import Halves, Latent, split
from .stages import file_stage, network_stages, timed
from .tflite import TFLite, undelegated

RGB = NDArray[np.uint8]
LEAST_CROP = 16  # as in the recipe
QUALITIES = (10, 25, 50, 75, 90)  # of the rows that show what the finished package does

# Called when something begins, with its name and the number of steps (None: unknown); gives what counts them.
Begin = Callable[[str, int | None], Callable[[int], None]]


def quiet(_text: str, _steps: int | None) -> Callable[[int], None]:
    """The `Begin` that says nothing."""
    return lambda _count: None


@dataclass(frozen=True)
class Outcome:
    """What a run made and found.

    Attributes:
        package: as written.
        halves: the Keras 3 models by stage: float, rewritten, pruned (unless skipped).
        rewritten: the rewrites and their verification.
        pruned: sparsities and losses; None when pruning was skipped.
        pair: the int8 networks.
        latent_range: how their latents fill int8.
        stages: rows: float, rewritten, pruned (unless skipped), int8, package.
        qualities: rows of the package at QUALITIES.
        undelegated: int8 operations that XNNPACK does not run, by type, "before" and "after" the rewrites.
        recipe: what was asked for.
    """

    package: Package
    halves: dict[str, Halves]
    rewritten: Rewritten
    pruned: Pruned | None
    pair: Pair
    latent_range: LatentRange
    stages: list[Stage]
    qualities: list[Stage]
    undelegated: dict[str, dict[str, int]]
    recipe: Recipe

    def as_dict(self) -> dict[str, Any]:
        """Figures and choices as JSON can hold them."""
        latent = self.halves["float"].latent
        return {
            "package": {
                "path": str(self.package.path),
                "name": self.package.name,
                "model_id": self.package.model_id.hex(),
                "bytes": self.stages[-1].raw_bytes,
            },
            "latent": {**asdict(latent), **_latent_figures(self.latent_range)},
            "rewrites": [asdict(r) for r in self.rewritten.rewrites],
            "max_difference": self.rewritten.max_difference,
            "undelegated": self.undelegated,
            "pruning": self.pruned
            and {
                "sparsity": self.pruned.sparsity,
                "loss_before": self.pruned.loss_before,
                "loss_after": self.pruned.loss_after,
            },
            "stages": [asdict(stage) for stage in self.stages],
            "qualities": [asdict(stage) for stage in self.qualities],
            "recipe": self.recipe.as_dict(),
        }


def optimize(
    model: Any,
    training: Sequence[RGB],
    held_out: Sequence[RGB],
    output: str | Path,
    recipe: Recipe | None = None,
    *,
    name: str | None = None,
    source: str = "",
    begin: Begin = quiet,
) -> Outcome:
    """Turn a trained autoencoder into a codec package.

    Args:
        model: Keras 3 autoencoder in the optimizer's form (`load.load_model`, `load.normalize`).
        training: uint8 (H, W, 3) images for fine-tuning, calibration and entropy tables.
        held_out: uint8 (H, W, 3) images on which stages are measured.
        output: the .epm file.
        recipe: default: all defaults.
        name: of the package; default: the output's stem.
        source: what the model came from, for the package's provenance.
        begin: is told what happens, see `Begin`.

    Raises: EdgepressError for models, recipes or images that cannot be used; OSError when the output cannot be written.
    """
    recipe = recipe or Recipe()
    output = Path(output)
    if not training or not held_out:
        raise EdgepressError("the optimizer needs images: at least one for training and one to measure on")
    if not output.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(output.parent))

    begin("find the latent and split", None)
    halves = {"float": split(model, recipe.model.latent or None)}
    latent = halves["float"].latent
    images = [middle(image, latent.unit, max(recipe.measure.side, latent.unit)) for image in held_out]

    begin("rewrite", None)
    floats = [image.astype("float32") / 255 for image in training]
    rewritten = rewrite(model, floats, keep=(latent.layer,))
    halves["rewritten"] = split(rewritten.model, latent.layer)

    pruned = None
    if recipe.prune.steps:
        if 0 < latent.tile < LEAST_CROP:
            raise EdgepressError(
                f"tiles of {latent.tile}x{latent.tile} are too small to fine-tune on (SSIM needs more): "
                "set prune.steps = 0 in the recipe"
            )
        count = begin("prune and fine-tune", recipe.prune.steps)
        settings = asdict(recipe.prune)
        settings["crop"] = latent.tile or settings["crop"]
        pruned = prune(rewritten.model, floats, _loss(recipe), **settings, progress=lambda *_: count(1))
        halves["pruned"] = split(pruned.model, latent.layer)

    begin("convert to TFLite", None)
    whole = [middle(image, latent.unit, max(image.shape)) for image in floats]
    filled = fill_int8(list(halves.values())[-1], whole, recipe.quantize.latent_unit)
    final = filled.halves
    jobs = [Job(h.encoder, h.decoder, int8=False) for h in halves.values()]
    # As it would be without rewrites, for the report alone.
    jobs.append(Job(halves["float"].encoder, halves["float"].decoder, True, resizable=False))
    pairs = convert(
        [*jobs, Job(final.encoder, final.decoder, True, filled.int8_scale, filled.zero_point)], training
    )
    floated = {stage: p for stage, p in zip(halves, pairs, strict=False) if isinstance(p, FloatPair)}
    plain, pair = pairs[-2:]
    assert isinstance(pair, Pair)
    left = {
        stage: dict(undelegated(made.encoder) + undelegated(made.decoder))
        for stage, made in (("before", plain), ("after", pair))
    }

    begin("fit entropy tables", None)
    tables = fit(pair, filled.gain, training, latent, recipe)

    begin("measure", None)
    details: dict[str, Any] = {
        "name": name or output.stem,
        "architecture": f"{model.name}; latent {latent.layer}: {latent.why}",
        "stride": latent.stride,
        "tile": latent.tile or None,
        "zero_point": pair.zero_point,
        "encoder": pair.encoder,
        "decoder": pair.decoder,
        "tables": tables,
        "provenance": {
            "source": source,
            "recipe": recipe.as_dict(),
            "latent": {**asdict(latent), **_latent_figures(filled)},
            "rewrites": [asdict(r) for r in rewritten.rewrites],
        },
        "description": f"{model.name}, int8, {latent.channels} latent channels at 1/{latent.stride}",
    }
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        # The figures go into the manifest; a first package, without them, is there to be measured.
        codec = Codec(write_package(Path(folder) / "measured.epm", **details, figures={}))
    scores = {quality: score_files(codec, images, quality) for quality in (*QUALITIES, FINEST)}
    stages = network_stages(halves, floated, pair, filled, codec, images)
    package = write_package(output, **details, figures=_figures(scores, len(images)))

    stages.append(file_stage("package", output, scores[FINEST]))
    stages += [file_stage(f"quality {q}", output, scores[q]) for q in QUALITIES]
    count = begin("time", recipe.measure.repeats)
    stages = timed(stages, floated, pair, codec, images[0], recipe.measure.repeats, count)
    rows = len(stages) - len(QUALITIES)
    return Outcome(
        package, halves, rewritten, pruned, pair, filled, stages[:rows], stages[rows:], left, recipe
    )


def fit(
    pair: Pair, gain: NDArray[np.uint16], images: Sequence[RGB], latent: Latent, recipe: Recipe
) -> EntropyTables:
    """Entropy tables for the int8 latents that the encoder of `pair` makes of uint8 images."""
    encoder = TFLite(pair.encoder)
    latents = []
    for image in images:
        pixels = middle(image, latent.unit, max(image.shape))
        stored = (pixels[None] ^ np.uint8(128)).view(np.int8)
        latents.append(in_tiles(encoder.run, stored, latent.tile or None, at_once=1)[0])
    steps = quality_steps(recipe.codec.finest, recipe.codec.coarsest)
    return fit_tables(
        latents,
        pair.zero_point,
        step16=steps,
        set_of=share_sets(steps, recipe.codec.sets),
        gain=gain,
        bank=recipe.codec.bank,
        round256=recipe.codec.rounding,
        thinning=recipe.codec.thinning,
    )


def middle(image: NDArray[Any], unit: int, side: int) -> NDArray[Any]:
    """The middle of an image, at most `side` pixels a side and whole multiples of `unit`, the stride or the tile's side.

    Raises: EdgepressError for an image smaller than the unit.
    """
    height, width = (min(n, side) // unit * unit for n in image.shape[:2])
    if not height or not width:
        raise EdgepressError(
            f"an image of {image.shape[1]}x{image.shape[0]} pixels is smaller than the {unit}x{unit} that the model takes"
        )
    y, x = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def _latent_figures(filled: LatentRange) -> dict[str, Any]:
    return {
        "unit": filled.unit,
        "scale": [float(f"{value:.6g}") for value in filled.scale],
        "zero_point": filled.zero_point,
    }


def _loss(recipe: Recipe) -> Callable[[Any, Any], Any]:
    from edgepress.train.losses import hybrid_loss

    try:
        return hybrid_loss(recipe.loss.a, recipe.loss.b, recipe.loss.c, recipe.loss.vgg or None)
    except ValueError as error:
        raise EdgepressError(str(error)) from None


def _figures(scores: dict[int, Scores], images: int) -> dict[str, Any]:
    """What a package says of itself: the same for the same inputs, so no times."""
    return {"images": images, "qualities": {str(quality): asdict(s) for quality, s in sorted(scores.items())}}
