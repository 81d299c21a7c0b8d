"""From models in float to int8 networks, and what else the converter makes of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgepress.bench.loadimages import pick_evenly

from .compose import compose
from .convert import COMPARED, SIDE, FloatPair, Job, Pair, convert
from .equalize import equalize
from .graph import run
from .join_branches import join_branches
from .keys import Images
from .latent_range import LatentRange, fill_int8
from .layer_noise import layer_noise, worst_layers
from .made import Int8, LatentScale, Made, Trained, write_keras
from .measure import middle, undelegated_of
from .merge_spaces import merge_spaces
from .mix_channels import mix_channels
from .recipe import QuantizePart
from .reorder_sums import reorder_sums
from .round_weights import round_weights
from .split import Halves, split
from .weight_levels import coarse_levels
from .work_parts import JOIN_IMAGES, parts_of, wholes

COMPOSE_IMAGES = 8  # on which composed convolutions are checked
MIX_IMAGES = 256  # on which channels between convolutions are mixed: rare extremes decide
NOISE_IMAGES = 16  # on which sums are reordered, and layers found that stay float or get fewer levels


@dataclass(frozen=True)
class Converted:
    """What one process of the converter made.

    Attributes:
        int8: the networks of the package.
        floats: the stages as float32, see `floats`.
        as_it_came: see there; None unless asked for.
    """

    int8: Int8
    floats: dict[str, FloatPair]
    as_it_came: dict[str, int] | None


def int8(
    stages: Mapping[str, Made],
    trained: Trained | None,
    latent: str,
    images: Images,
    settings: QuantizePart,
    as_it_came: bool,
) -> Converted:
    """The last stage, or what was `trained` of it, as int8, and what else can be had while the converter's process is there.

    as_it_came: also count the undelegated operations of the model without rewrites.
    """
    cut = {name: split(made.model, latent) for name, made in stages.items()}
    filled = trained.filled if trained else fill(list(cut.values())[-1], images, settings)
    facts: dict[str, Any] = {}
    exact = filled.halves
    levels: dict[str, int] = {}
    inputs: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    if not trained:
        filled = replace(filled, halves=mix_channels(exact, parts_of(exact, images, MIX_IMAGES)))
        seen = parts_of if exact.latent.tile else wholes
        exact = join_branches(filled, seen(exact, images, JOIN_IMAGES))
        parts = parts_of(exact, images, JOIN_IMAGES)
        exact = equalize(_reordered(exact, parts), parts)
        batches = [part[None] for part in parts]
        inputs = batches, [run(exact.encoder, batch) for batch in batches]
        if settings.weight_noise:
            some = inputs[0][:NOISE_IMAGES], inputs[1][:NOISE_IMAGES]
            levels = coarse_levels(exact, some, settings.weight_noise)
            facts["weight_levels"] = levels

    def rounded(but: Collection[str]) -> Halves:
        """Halves that were trained under simulated int8 stay as they are."""
        return exact if trained else round_weights(exact, inputs, levels, but)

    final = rounded(())
    job = Job(final.encoder, final.decoder, "int8", filled.int8_scale, filled.zero_point)
    jobs = [*_float_jobs(cut), Job(exact.encoder, exact.decoder, "float32"), job]
    if as_it_came:
        jobs.append(_plain_job(cut["float"]))
    others = convert(jobs, images.pixels)
    plain = undelegated_of(others.pop()) if as_it_came else None
    *others, twin, pair = others
    assert isinstance(pair, Pair) and isinstance(twin, FloatPair)
    if settings.mode == "mixed":
        pair, mixed = _mixed(job, rounded, twin, pair, final.latent.unit, images, settings)
        facts |= mixed
    halves = write_keras(exact.encoder), write_keras(exact.decoder)
    return Converted(Int8(pair, LatentScale.of(filled), twin, halves, facts), _named(cut, others), plain)


def floats(stages: Mapping[str, Made], latent: str) -> dict[str, FloatPair]:
    """The stages as float32 TFLite, in one process."""
    cut = {name: split(made.model, latent) for name, made in stages.items()}
    return _named(cut, convert(_float_jobs(cut)))


def as_it_came(first: Made, latent: str, images: Images) -> dict[str, int]:
    """The operations of a model's int8 conversion without rewrites that XNNPACK does not run, by type."""
    return undelegated_of(convert([_plain_job(split(first.model, latent))], images.pixels)[0])


def compared(made: Made, latent: str, images: Images) -> dict[str, FloatPair]:
    """A model in the modes that packages are not made of, by mode."""
    halves = split(made.model, latent)
    jobs = [Job(halves.encoder, halves.decoder, mode) for mode in COMPARED]
    return _named(COMPARED, convert(jobs, images.pixels))


def fill(halves: Halves, images: Images, settings: QuantizePart) -> LatentRange:
    """The latent scaled to int8, see `latent_range.fill_int8`, behind convolutions composed where the settings say so."""
    if settings.compose:
        halves = replace(halves, encoder=compose(halves.encoder, wholes(halves, images, COMPOSE_IMAGES)))
    return fill_int8(halves, wholes(halves, images), settings.latent_unit)


def _reordered(halves: Halves, parts: Sequence[np.ndarray]) -> Halves:
    """With sums and rearrangements in the order that costs least."""
    batches = [part[None] for part in parts[:NOISE_IMAGES]]
    encoder = reorder_sums(halves.encoder, batches)
    latents = [run(halves.encoder, batch) for batch in batches]
    decoder = reorder_sums(merge_spaces(halves.decoder, latents), latents)
    return replace(halves, encoder=encoder, decoder=decoder)


def _mixed(
    job: Job,
    rounded: Callable[[Collection[str]], Halves],
    twin: FloatPair,
    pair: Pair,
    unit: int,
    images: Images,
    settings: QuantizePart,
) -> tuple[Pair, dict[str, Any]]:
    """The pair with the layers that add most noise left in float."""
    probes = [
        middle(image, unit, max(SIDE, unit)) for image in pick_evenly(list(images.pixels), NOISE_IMAGES)
    ]
    worst = worst_layers(layer_noise(twin, pair, probes), settings.fallback)
    if worst:
        halves = rounded(worst)
        job = replace(job, encoder=halves.encoder, decoder=halves.decoder, fallback=tuple(worst))
        mixed = convert([job], images.pixels)[0]
        assert isinstance(mixed, Pair)
        pair = mixed
    return pair, {"float_layers": worst}


def _plain_job(halves: Halves) -> Job:
    return Job(halves.encoder, halves.decoder, "int8", resizable=False)


def _float_jobs(stages: Mapping[str, Halves]) -> list[Job]:
    return [Job(halves.encoder, halves.decoder, "float32") for halves in stages.values()]


def _named(stages: Iterable[str], pairs: Iterable[FloatPair | Pair]) -> dict[str, FloatPair]:
    return {name: pair for name, pair in zip(stages, pairs, strict=True) if isinstance(pair, FloatPair)}
