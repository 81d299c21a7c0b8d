"""The trainings behind int8: networks trained on for what files will hold, and converted again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.tables import EntropyTables

from .center_grays import center_grays
from .convert import FloatPair, Job, Pair, convert
from .graph import run
from .hold_flat import hold_flat
from .keys import Images
from .made import Int8, read_keras, write_keras
from .recipe import DecoderPart, RdPart
from .round_weights import round_weights
from .split import Halves, Latent
from .work_parts import JOIN_IMAGES, crop_side, parts_of


def tune_both(
    made: Int8,
    step16: NDArray[np.uint16],
    latent: dict[str, Any],
    images: Images,
    settings: RdPart,
    count: Callable[[int], None],
) -> Int8:
    """The same networks trained on for rate and distortion, see `tune_both.tune_both`; `step16` as in `EntropyTables`,
    `latent` as in `Plan.latent`."""
    from .tune_both import tune_both as train

    encoder, decoder = (read_keras(content) for content in made.halves)
    crop = crop_side(latent["tile"], latent["unit"], settings.crop, "set rd.steps = 0")
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
    center_grays(halves, least)
    held = made.latent.coarser(hold_flat(halves, least, most))
    return _again_int8(replace(made, latent=held, facts={**made.facts, "rd": facts}), halves, images)


def tune_decoder(
    made: Int8,
    tables: EntropyTables,
    latent: dict[str, Any],
    images: Images,
    settings: DecoderPart,
    count: Callable[[int], None],
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
        replace(
            settings, crop=crop_side(latent["tile"], latent["unit"], settings.crop, "set decoder.steps = 0")
        ),
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
    batches = [part[None] for part in parts_of(halves, images, JOIN_IMAGES)]
    inputs = batches, [run(halves.encoder, batch) for batch in batches]
    final = round_weights(halves, inputs, made.facts.get("weight_levels"), kept)
    scale, zero_point = made.pair.scale, made.pair.zero_point
    job = Job(final.encoder, final.decoder, "int8", scale, zero_point, fallback=tuple(kept))
    twin, pair = convert([Job(halves.encoder, halves.decoder, "float32"), job], images.pixels)
    assert isinstance(pair, Pair) and isinstance(twin, FloatPair)
    written = write_keras(halves.encoder), write_keras(halves.decoder)
    return replace(made, pair=pair, twin=twin, halves=written)
