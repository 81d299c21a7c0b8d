"""What of the images the stages of a run see."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgepress.bench.loadimages import pick_evenly
from edgepress.runtime.errors import EdgepressError

from .keys import Images
from .measure import middle
from .split import Halves

LEAST_CROP = 16  # as in the recipe
JOIN_IMAGES = 64  # on which the branches of residual blocks are scaled, and weights rounded
PART = 256  # side of the crops on which channels are equalized and weights rounded


def parts_of(halves: Halves, images: Images, count: int) -> list[np.ndarray]:
    """The middles of images from all over the set, of a size that the halves take as it is."""
    unit = halves.latent.unit
    side = halves.latent.tile or max(PART, unit)
    return [middle(image, unit, side) for image in pick_evenly(list(images.floats), count)]


def wholes(halves: Halves, images: Images, most: int | None = None) -> list[np.ndarray]:
    """The images, or the first so many, cut to whole strides."""
    return [middle(image, halves.latent.unit, max(image.shape)) for image in images.floats[:most]]


def pieces(latent: dict[str, Any], images: Images) -> list[np.ndarray]:
    """Images of sizes that the model takes: their middles, or where it takes one size alone the tiles of those."""
    unit, tile = latent["unit"], latent["tile"]
    found = [middle(image, unit, max(image.shape)) for image in images.floats]
    if not tile:
        return found
    return [
        whole[y : y + tile, x : x + tile]
        for whole in found
        for y in range(0, whole.shape[0], tile)
        for x in range(0, whole.shape[1], tile)
    ]


def crop_side(tile: int, unit: int, wanted: int, instead: str) -> int:
    """The side of the crops in fine-tuning: what is wanted in whole multiples of `unit`, unless the model takes one size alone.

    instead: what to do about tiles that are too small.
    """
    if 0 < tile < LEAST_CROP:
        raise EdgepressError(
            f"tiles of {tile}x{tile} are too small to fine-tune on (SSIM needs more): {instead} in the recipe"
        )
    return tile or max(wanted // unit, -(-LEAST_CROP // unit)) * unit
