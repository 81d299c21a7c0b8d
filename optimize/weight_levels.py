"""Fewer levels for the weights that do not need all of int8: a smaller package, at the same speed and hardly more noise.

A weight takes 8 bits in the network, but what it takes in the compressed package is its entropy. Kernels whose rounding
hardly shows in the output (those of faint residual branches, say) are put on a coarser grid, of which the int8 values are a
part (`round_weights` does that); how coarse is found layer by layer from the noise at the output (mixed precision by
sensitivity, as in Dong et al. 2019, HAWQ, with the error itself in place of its estimate).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from .graph import rebuild, run
from .split import Halves

FULL = 127  # levels either side of zero
COARSE = (15, 31, 63)
LEAST = 4096  # weights of a kernel that is worth it


def coarse_levels(
    halves: Halves, inputs: tuple[Sequence[np.ndarray], Sequence[np.ndarray]], share: float
) -> dict[str, int]:
    """By layer, the levels either side of zero of those kernels that need fewer than FULL.

    Args:
        halves: as they will be converted.
        inputs: float32 batches for the encoder (images) and for the decoder (latents), on which noise is measured.
        share: of the noise (mean squared error at the half's output) that int8 makes of all its weights together, what one
            layer may add.
    """
    return _of_half(halves.encoder, inputs[0], share) | _of_half(halves.decoder, inputs[1], share)


def _of_half(half: Any, batches: Sequence[np.ndarray], share: float) -> dict[str, int]:
    model = rebuild(half)
    layers = [layer for layer in model.layers if type(layer) is keras.layers.Conv2D]
    exact = [run(model, batch) for batch in batches]
    kernels = {layer.name: np.array(layer.kernel) for layer in layers}

    def noise() -> float:
        return float(
            np.mean([np.mean((run(model, b) - e) ** 2) for b, e in zip(batches, exact, strict=True)])
        )

    for layer in layers:
        layer.kernel.assign(on_grid(kernels[layer.name], FULL))
    allowed = share * noise()
    for layer in layers:
        layer.kernel.assign(kernels[layer.name])
    chosen = {}
    for layer in layers:
        kernel = kernels[layer.name]
        for levels in COARSE if kernel.size >= LEAST else ():
            layer.kernel.assign(on_grid(kernel, levels))
            if noise() <= allowed:
                chosen[layer.name] = levels
                break
        layer.kernel.assign(kernel)
    return chosen


def on_grid(kernel: np.ndarray, levels: int) -> np.ndarray:
    """A kernel (..., out) rounded to `levels` equal steps up to the largest magnitude of each output channel."""
    largest = np.abs(kernel).max(axis=tuple(range(kernel.ndim - 1)))
    step = np.where(largest > 0, largest, 1) / levels
    return (np.round(kernel / step) * step).astype(kernel.dtype)
