"""What the stages of a run do with models in float. All of `work*` needs TensorFlow, and is imported when a stage is made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from edgepress.runtime.errors import EdgepressError

from .keys import Images
from .made import Made, Trained
from .prune import prune as prune_weights
from .recipe import ChannelsPart, LossPart, ModelPart, PrunePart, Recipe
from .rewrite import rewrite as rewrite_model
from .source import Source
from .split import split
from .work_int8 import fill
from .work_parts import crop_side, pieces

Count = Callable[[int], None]  # is told how many steps were done


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

    found = remove(made.model, pieces(latent, images), latent=latent["layer"])
    facts = {"removed": found.channels, "where": found.where, "max_difference": found.max_difference}
    return Made(found.model, facts)


def cut_channels(
    made: Made, latent: dict[str, Any], images: Images, settings: ChannelsPart, weights: LossPart
) -> Made:
    """Channels removed by importance, without fine-tuning, see `channel_prune.prune_channels`; `latent` as in `Plan.latent`."""
    from .channel_prune import prune_channels

    found = prune_channels(
        made.model,
        pieces(latent, images),
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
        crop=crop_side(latent["tile"], latent["unit"], settings.crop, "set channels.steps = 0"),
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
    crop = crop_side(latent["tile"], latent["unit"], settings.crop, "set prune.steps = 0")
    chosen = {**asdict(settings), "crop": crop}
    found = prune_weights(made.model, images.floats, loss(weights), **chosen, progress=lambda *_: count(1))
    facts = {"sparsity": found.sparsity, "loss_before": found.loss_before, "loss_after": found.loss_after}
    return Made(found.model, facts)


def train_qat(made: Made, latent: str, images: Images, recipe: Recipe, count: Count) -> Trained:
    """Quantization-aware training, see `qat_tfmot.train_quantized`."""
    from .qat_tfmot import train_quantized

    filled = fill(split(made.model, latent), images, recipe.quantize)
    cut = filled.halves.latent
    found = train_quantized(
        filled,
        images.floats,
        loss(recipe.loss),
        steps=recipe.quantize.qat_steps,
        batch=recipe.channels.batch,
        crop=crop_side(cut.tile, cut.unit, recipe.channels.crop, "choose another quantize.mode"),
        learning_rate=recipe.quantize.qat_learning_rate,
        seed=recipe.channels.seed,
        progress=lambda *_: count(1),
    )
    facts = {"loss_before": found.loss_before, "loss_after": found.loss_after}
    return Trained(replace(filled, halves=found.halves), facts)


def loss(weights: LossPart) -> Callable[[Any, Any], Any]:
    """The hybrid loss of fine-tuning; EdgepressError for weights that cannot be."""
    from edgepress.train.losses import hybrid_loss

    try:
        return hybrid_loss(weights.a, weights.b, weights.c, weights.vgg or None)
    except ValueError as error:
        raise EdgepressError(str(error)) from None
