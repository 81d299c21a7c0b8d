"""Entropy tables for converted networks: their latents of a set of images, and the settings of a recipe."""

from __future__ import annotations

import numpy as np

from edgepress.runtime.tables import EntropyTables

from .fit_tables import fit_tables, quality_steps, share_sets
from .keys import Images
from .made import Int8
from .measure import middle
from .recipe import CodecPart
from .tflite import TFLite


def fit_networks(made: Int8, images: Images, stride: int, settings: CodecPart) -> EntropyTables:
    """Tables for the int8 latents that the encoder of `made` gives for the images, cropped to multiples of `stride`."""
    encoder = TFLite(made.pair.encoder)
    latents = []
    for image in images.pixels:
        pixels = middle(image, stride, max(image.shape))
        latents.append(encoder.run((pixels[None] ^ np.uint8(128)).view(np.int8))[0])
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
