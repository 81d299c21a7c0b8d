"""Entropy tables for converted networks: their latents of a set of images, and the settings of a recipe."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.tables import EntropyTables

from .fit_tables import fit_tables, quality_steps, share_sets
from .keys import Images
from .made import Int8
from .measure import middle
from .recipe import CodecPart
from .tflite import TFLite, int8_pixels


def fit_networks(made: Int8, images: Images, latent: dict[str, Any], settings: CodecPart) -> EntropyTables:
    """Tables for the int8 latents that the encoder of `made` gives for the images; `latent` as in `Plan.latent`."""
    encoder = TFLite(made.pair.encoder)
    latents = []
    for image in images.pixels:
        pixels = middle(image, latent["unit"], max(image.shape))
        latents.append(_run(encoder, int8_pixels(pixels), latent["tile"])[0])
    steps = quality_steps(settings.finest, settings.coarsest)
    return fit_tables(
        latents,
        made.pair.zero_point,
        step16=steps,
        set_of=share_sets(steps, settings.sets),
        gain=made.latent.gain,
        bank=settings.bank,
        round256=settings.rounding,
        thinning=settings.thinning,
    )


def _run(encoder: TFLite, batch: NDArray[np.int8], tile: int) -> NDArray[np.int8]:
    if not tile:
        return encoder.run(batch)
    from .graph import in_tiles  # loads Keras

    return in_tiles(encoder.run, batch, tile, at_once=1)
