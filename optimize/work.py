"""What the stages of a run do with models; the one module of a run that needs TensorFlow, imported when a stage is made."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.bench.loadimages import pick_evenly
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.tables import EntropyTables

from .compose import compose
from .convert import COMPARED, SIDE, FloatPair, Job, Pair, convert
from .equalize import equalize
from .graph import run
from .hold_flat import hold_flat
from .join_branches import join_branches
from .keys import Images
from .latent_range import LatentRange, fill_int8
from .layer_noise import layer_noise, worst_layers
from .made import Int8, LatentScale, Made, Trained, read_keras, write_keras
from .measure import middle, undelegated_of
from .merge_spaces import merge_spaces
from .mix_channels import mix_channels
from .prune import prune as prune_weights
from .recipe import ChannelsPart, DecoderPart, LossPart, ModelPart, PrunePart, QuantizePart, RdPart, Recipe
from .reorder_sums import reorder_sums
from .rewrite import rewrite as rewrite_model
from .round_weights import round_weights
from .source import Source
from .split import Halves, Latent, split
from .weight_levels import coarse_levels

Count = Callable[[int], None]  # is told how many steps were done
LEAST_CROP = 16  # as in the recipe
COMPOSE_IMAGES = 8  # on which composed convolutions are checked
MIX_IMAGES = 256  # on which channels between convolutions are mixed: rare extremes decide
JOIN_IMAGES = 64  # on which the branches of residual blocks are scaled
NOISE_IMAGES = 16  # on which sums are reordered, and layers found that stay float or get fewer levels
PART = 256  # side of the crops on which channels are equalized and weights rounded


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


def load(source: Source, images: Images, settings: ModelPart) -> Made:
    """The model of the source, with the latent that was found or asked for."""
    loaded = source.read(images.pixels, settings.input_range or None)
    latent = split(loaded.model, settings.latent or loaded.latent).latent
    return Made(loaded.model, {"latent": {**asdict(latent), "unit": latent.unit}, "notes": loaded.notes})


def rewrite(made: Made, latent: str, images: Images, joined: bool = False) -> Made:
    """Exact rewrites, see `rewrite.rewrite`."""
    found = rewrite_model(made.model, images.floats, (latent,), joined)
    facts = {"rewrites": [asdict(r) for r in found.rewrites], "max_difference": found.max_difference}
    return Made(found.model, facts)


def remove_dead(made: Made, latent: dict[str, Any], images: Images) -> Made:
    """Channels that are never active on the images removed, see `dead_channels.remove_dead`; `latent` as in `Plan.latent`."""
    from .dead_channels import remove_dead as remove

    found = remove(made.model, _pieces(latent, images), latent=latent["layer"])
    facts = {"removed": found.channels, "where": found.where, "max_difference": found.max_difference}
    return Made(found.model, facts)


def cut_channels(
    made: Made, latent: dict[str, Any], images: Images, settings: ChannelsPart, weights: LossPart
) -> Made:
    """Channels removed by importance, without fine-tuning, see `channel_prune.prune_channels`; `latent` as in `Plan.latent`."""
    from .channel_prune import prune_channels

    found = prune_channels(
        made.model,
        _pieces(latent, images),
        settings.keep_macs,
        settings.criterion,
        latent["layer"],
        settings.group,
        loss=loss(weights),
    )
    facts = {
        "macs_before": found.macs_before,
        "macs_after": found.macs_after,
        "channels": found.channels,
        "notes": found.notes,
    }
    return Made(found.model, facts)


def distill(
    made: Made,
    teacher: Made,
    latent: dict[str, Any],
    images: Images,
    settings: ChannelsPart,
    weights: LossPart,
    count: Count,
) -> Made:
    """The fine-tuning of a cut model, see `distill.fine_tune`; `latent` as in `Plan.latent`."""
    from .distill import fine_tune

    found = fine_tune(
        made.model,
        teacher.model,
        images.floats,
        loss=loss(weights),
        steps=settings.steps,
        batch=settings.batch,
        crop=_crop(latent["tile"], latent["unit"], settings.crop, "set channels.steps = 0"),
        learning_rate=settings.learning_rate,
        match=settings.match,
        latent=latent["layer"],
        seed=settings.seed,
        progress=lambda *_: count(1),
    )
    facts = {**made.facts, "loss_before": found.loss_before, "loss_after": found.loss_after}
    return Made(found.model, facts)


def prune(
    made: Made, latent: dict[str, Any], images: Images, settings: PrunePart, weights: LossPart, count: Count
) -> Made:
    """Single weights set to zero, see `prune.prune`; `latent` as in `Plan.latent`."""
    crop = _crop(latent["tile"], latent["unit"], settings.crop, "set prune.steps = 0")
    chosen = {**asdict(settings), "crop": crop}
    found = prune_weights(made.model, images.floats, loss(weights), **chosen, progress=lambda *_: count(1))
    facts = {"sparsity": found.sparsity, "loss_before": found.loss_before, "loss_after": found.loss_after}
    return Made(found.model, facts)


def train_qat(made: Made, latent: str, images: Images, recipe: Recipe, count: Count) -> Trained:
    """Quantization-aware training, see `qat_tfmot.train_quantized`."""
    from .qat_tfmot import train_quantized

    filled = _fill(split(made.model, latent), images, recipe.quantize)
    cut = filled.halves.latent
    found = train_quantized(
        filled,
        images.floats,
        loss(recipe.loss),
        steps=recipe.quantize.qat_steps,
        batch=recipe.channels.batch,
        crop=_crop(cut.tile, cut.unit, recipe.channels.crop, "choose another quantize.mode"),
        learning_rate=recipe.quantize.qat_learning_rate,
        seed=recipe.channels.seed,
        progress=lambda *_: count(1),
    )
    facts = {"loss_before": found.loss_before, "loss_after": found.loss_after}
    return Trained(replace(filled, halves=found.halves), facts)


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
    filled = trained.filled if trained else _fill(list(cut.values())[-1], images, settings)
    facts: dict[str, Any] = {}
    exact = filled.halves
    levels: dict[str, int] = {}
    inputs: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    if not trained:
        filled = replace(filled, halves=mix_channels(exact, _parts(exact, images, MIX_IMAGES)))
        seen = _parts if exact.latent.tile else _whole
        exact = join_branches(filled, seen(exact, images, JOIN_IMAGES))
        parts = _parts(exact, images, JOIN_IMAGES)
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


def tune_both(
    made: Int8,
    step16: NDArray[np.uint16],
    latent: dict[str, Any],
    images: Images,
    settings: RdPart,
    count: Count,
) -> Int8:
    """The same networks trained on for rate and distortion, see `tune_both.tune_both`; `step16` as in `EntropyTables`,
    `latent` as in `Plan.latent`."""
    from .tune_both import tune_both as train

    encoder, decoder = (read_keras(content) for content in made.halves)
    crop = _crop(latent["tile"], latent["unit"], settings.crop, "set rd.steps = 0")
    found = train(
        encoder,
        decoder,
        made.pair.scale,
        made.pair.zero_point,
        step16,
        made.latent.gain,
        images.pixels,
        replace(settings, crop=crop),
        lambda: count(1),
        made.facts.get("float_layers", ()),
    )
    facts = {"trade": found.trade, "loss_before": found.loss_before, "loss_after": found.loss_after}
    halves = _halves(found.encoder, found.decoder, latent)
    least, most = ((end - made.pair.zero_point) * made.pair.scale for end in (-128, 127))
    held = made.latent.coarser(hold_flat(halves, least, most))
    return _again_int8(replace(made, latent=held, facts={**made.facts, "rd": facts}), halves, images)


def tune_decoder(
    made: Int8,
    tables: EntropyTables,
    latent: dict[str, Any],
    images: Images,
    settings: DecoderPart,
    count: Count,
) -> Int8:
    """The same networks with the decoder trained on, see `tune_decoder.tune_decoder`; `latent` as in `Plan.latent`."""
    from .tune_decoder import tune_decoder as train

    encoder, decoder = (read_keras(content) for content in made.halves)
    found = train(
        decoder,
        made.pair.encoder,
        made.pair.scale,
        made.pair.zero_point,
        tables,
        images.pixels,
        replace(settings, crop=_crop(latent["tile"], latent["unit"], settings.crop, "set decoder.steps = 0")),
        lambda: count(1),
        made.facts.get("float_layers", ()),
    )
    facts = {"loss_before": found.loss_before, "loss_after": found.loss_after}
    halves = _halves(encoder, found.decoder, latent)
    tuned = _again_int8(replace(made, facts={**made.facts, "decoder": facts}), halves, images)
    # The encoder stays the one that the tables were fitted to.
    pair = replace(tuned.pair, encoder=made.pair.encoder, layers=(made.pair.layers[0], tuned.pair.layers[1]))
    return replace(tuned, pair=pair)


def _halves(encoder: Any, decoder: Any, latent: dict[str, Any]) -> Halves:
    """`latent` as in `Plan.latent`."""
    return Halves(encoder, decoder, Latent(**{key: value for key, value in latent.items() if key != "unit"}))


def _again_int8(made: Int8, halves: Halves, images: Images) -> Int8:
    """`made` of halves with other weights, its latent and choices as they are."""
    kept = made.facts.get("float_layers", ())
    batches = [part[None] for part in _parts(halves, images, JOIN_IMAGES)]
    inputs = batches, [run(halves.encoder, batch) for batch in batches]
    final = round_weights(halves, inputs, made.facts.get("weight_levels"), kept)
    scale, zero_point = made.pair.scale, made.pair.zero_point
    job = Job(final.encoder, final.decoder, "int8", scale, zero_point, fallback=tuple(kept))
    twin, pair = convert([Job(halves.encoder, halves.decoder, "float32"), job], images.pixels)
    assert isinstance(pair, Pair) and isinstance(twin, FloatPair)
    written = write_keras(halves.encoder), write_keras(halves.decoder)
    return replace(made, pair=pair, twin=twin, halves=written)


def _fill(halves: Halves, images: Images, settings: QuantizePart) -> LatentRange:
    if settings.compose:
        halves = replace(halves, encoder=compose(halves.encoder, _whole(halves, images, COMPOSE_IMAGES)))
    return fill_int8(halves, _whole(halves, images), settings.latent_unit)


def _reordered(halves: Halves, parts: Sequence[np.ndarray]) -> Halves:
    """With sums and rearrangements in the order that costs least."""
    batches = [part[None] for part in parts[:NOISE_IMAGES]]
    encoder = reorder_sums(halves.encoder, batches)
    latents = [run(halves.encoder, batch) for batch in batches]
    decoder = reorder_sums(merge_spaces(halves.decoder, latents), latents)
    return replace(halves, encoder=encoder, decoder=decoder)


def _parts(halves: Halves, images: Images, count: int) -> list[np.ndarray]:
    """The middles of images from all over the set, of a size that the halves take as it is."""
    unit = halves.latent.unit
    side = halves.latent.tile or max(PART, unit)
    return [middle(image, unit, side) for image in pick_evenly(list(images.floats), count)]


def _whole(halves: Halves, images: Images, most: int | None = None) -> list[np.ndarray]:
    return [middle(image, halves.latent.unit, max(image.shape)) for image in images.floats[:most]]


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


def _pieces(latent: dict[str, Any], images: Images) -> list[np.ndarray]:
    """Images of sizes that the model takes: their middles, or where it takes one size alone the tiles of those."""
    unit, tile = latent["unit"], latent["tile"]
    wholes = [middle(image, unit, max(image.shape)) for image in images.floats]
    if not tile:
        return wholes
    return [
        whole[y : y + tile, x : x + tile]
        for whole in wholes
        for y in range(0, whole.shape[0], tile)
        for x in range(0, whole.shape[1], tile)
    ]


def _crop(tile: int, unit: int, wanted: int, instead: str) -> int:
    """The side of the crops in fine-tuning: what is wanted in whole multiples of `unit`, unless the model takes one size alone.

    instead: what to do about tiles that are too small.
    """
    if 0 < tile < LEAST_CROP:
        raise EdgepressError(
            f"tiles of {tile}x{tile} are too small to fine-tune on (SSIM needs more): {instead} in the recipe"
        )
    return tile or max(wanted // unit, -(-LEAST_CROP // unit)) * unit


def _plain_job(halves: Halves) -> Job:
    return Job(halves.encoder, halves.decoder, "int8", resizable=False)


def _float_jobs(stages: Mapping[str, Halves]) -> list[Job]:
    return [Job(halves.encoder, halves.decoder, "float32") for halves in stages.values()]


def _named(stages: Iterable[str], pairs: Iterable[FloatPair | Pair]) -> dict[str, FloatPair]:
    return {name: pair for name, pair in zip(stages, pairs, strict=True) if isinstance(pair, FloatPair)}


def loss(weights: LossPart) -> Callable[[Any, Any], Any]:
    """The hybrid loss of fine-tuning; EdgepressError for weights that cannot be."""
    from edgepress.train.losses import hybrid_loss

    try:
        return hybrid_loss(weights.a, weights.b, weights.c, weights.vgg or None)
    except ValueError as error:
        raise EdgepressError(str(error)) from None
