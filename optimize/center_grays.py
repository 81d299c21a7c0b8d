"""Grays put at zero in the channels that hold colours, so that no quality's steps tint them.

Zero is the one value that the steps of all qualities share. Where training has left grays beside it, flat ones come back up to
half a coarse step too warm or too cold, and noise decides which. A constant taken from a channel of the latent can be given
back, exactly, by the biases of the 1x1 convolutions that read it; where anything else does, the halves stay as they are.
"""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from .graph import run
from .hold_flat import reading
from .split import Halves

GRAYS = np.linspace(1, 7, 7, dtype=np.float32) / 8


def center_grays(halves: Halves, least: float) -> NDArray[np.float32]:
    """Take from each channel of the latent its mean over grays, unless it tells grays apart.

    The halves are changed in place; the function of both together stays.

    least: the least value that int8 holds of the latent; where it is not below zero, all stays as it is.

    Returns: float32[C], what was taken from each channel; zeros where the halves do not allow it.
    """
    side = halves.latent.tile or 4 * halves.latent.unit
    z = np.stack([_middle(run(halves.encoder, np.full((1, side, side, 3), gray))) for gray in GRAYS])
    mean = z.mean(axis=0)
    taken = np.where(np.abs(mean) > z.std(axis=0), mean, 0).astype(np.float32)
    maker = halves.encoder.output._keras_history.operation
    linear = type(maker) is keras.layers.Conv2D and maker.activation.__name__ == "linear" and maker.use_bias
    found = reading(halves.decoder)
    if least >= 0 or not linear or found is None or not all(_gives_back(layer) for layer, _ in found):
        return np.zeros_like(taken)
    maker.bias.assign(np.asarray(maker.bias) - taken)
    for layer, first in found:
        kernel = np.asarray(layer.kernel)[0, 0, first : first + len(taken)]
        layer.bias.assign(np.asarray(layer.bias) + taken @ kernel)
    return taken


def _middle(latent: NDArray[np.float32]) -> NDArray[np.float32]:
    """[C]: the mean of the positions away from the borders, of [1,H,W,C]."""
    height, width = latent.shape[1:3]
    inner = latent[0, height // 4 : -(height // 4) or None, width // 4 : -(width // 4) or None]
    return inner.mean(axis=(0, 1))


def _gives_back(layer: keras.layers.Layer) -> bool:
    return layer.kernel_size == (1, 1) and layer.use_bias
