"""Flat areas of any colour held by int8 latents once more, where training has made channels grow.

A channel that saturates there gets a coarser int8 step, by a factor that moves, exactly, from the convolution that makes the
latent into those that read it. Halves in which something else stands at the latent are left as they are.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .graph import readers
from .latent_range import flat
from .split import Halves

ROOM = 1.01  # for what int8 rounds before the latent


def hold_flat(halves: Halves, least: float, most: float) -> NDArray[np.float32]:
    """Make the latents of flat areas of any colour, the corners of the colour cube, fit between `least` and `most`.

    The halves are changed in place; the function of both together stays.

    Returns: float32[C], what each channel of the latent was multiplied by, at most 1.
    """
    z = flat(halves)
    filled = np.maximum(z / most, z / least if least < 0 else 0.0).max(axis=0)
    factors = (1 / np.maximum(1.0, ROOM * filled)).astype(np.float32)
    maker = halves.encoder.output._keras_history.operation
    found = reading(halves.decoder)
    linear = type(maker) is keras.layers.Conv2D and maker.activation.__name__ == "linear"
    if not linear or found is None or (factors == 1).all():
        return np.ones_like(factors)
    maker.kernel.assign(np.asarray(maker.kernel) * factors)
    if maker.use_bias:
        maker.bias.assign(np.asarray(maker.bias) * factors)
    for layer, first in found:
        kernel = np.array(layer.kernel)
        kernel[:, :, first : first + len(factors)] /= factors[:, None]
        layer.kernel.assign(kernel)
    return factors


def reading(decoder: Any) -> list[tuple[Any, int]] | None:
    """The convolutions that read the input of a flat decoder, alone or as a part of a concatenation, and from which channel on;
    None when anything else does."""
    by_name = readers(decoder)
    found = []
    for reader in by_name[decoder.inputs[0].name]:
        first, using = 0, [reader]
        if type(reader) is keras.layers.Concatenate:
            parts = keras.tree.flatten(reader.input)
            place = [part is decoder.input for part in parts]
            if place.count(True) != 1:
                return None
            first, using = sum(part.shape[-1] for part in parts[: place.index(True)]), by_name[reader.name]
        if any(type(layer) is not keras.layers.Conv2D or layer.groups > 1 for layer in using):
            return None
        found += [(layer, first) for layer in using]
    return found
