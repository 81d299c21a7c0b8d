"""Magnitude pruning with tensorflow-model-optimization: small weights become zero, the others are fine-tuned.

Zhu and Gupta 2017, "To prune, or not to prune": sparsity rises along a cubic schedule while training goes on. Nothing
gets faster by it (XNNPACK has no sparse int8 kernels), but zeros compress, so the package becomes smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bridge import from_tf_keras, to_tf_keras
from .errors import EdgepressError
from .tf_fit import fit

# Layers with fewer weights than this (in effect the first and the last) bring few bytes and are the most sensitive.
SMALL = 1000
RAMP = 0.6  # share of the steps in which sparsity rises; the rest is fine-tuning at full sparsity
PRUNABLE = ("Conv2D", "Conv2DTranspose", "Dense")


@dataclass(frozen=True)
class Pruned:
    """A pruned Keras 3 model, its sparsity by layer (share of zero kernel weights), and the loss first and last."""

    model: Any
    sparsity: dict[str, float]
    loss_before: float
    loss_after: float


def prune(
    model: Any,
    images: Sequence[np.ndarray],
    loss: Callable[[Any, Any], Any],
    *,
    sparsity: float = 0.3,
    steps: int = 300,
    batch: int = 8,
    crop: int = 64,
    learning_rate: float = 1e-3,
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> Pruned:
    """Prune and fine-tune a flat Keras 3 autoencoder (usually the rewritten one).

    Args:
        model: flat Keras 3 model, RGB in [0, 1] to the same; left as it is.
        images: float32 (H, W, 3) in [0, 1], each at least `crop` on a side.
        loss: (target, output) -> loss per image, on backend tensors; the training loss.
        sparsity: share of the weights that are to be zero, 0..0.95, of those that were not zero by construction: a
            rewritten transposed convolution has zeros for missing taps, which come on top.
        steps, batch, crop, learning_rate: fine-tuning steps, crops per step, their side in pixels, Adam's highest rate
            (linear rise, then cosine decay to 0).
        seed: of the crops.
        progress: called as (step, steps, loss) after each step.

    Returns: `Pruned`, its model being Keras 3 with the same layer names.

    Raises: EdgepressError for a sparsity or images that cannot be used; UnsupportedModelError from the bridge.
    """
    if not 0 <= sparsity <= 0.95:
        raise EdgepressError(f"sparsity must lie in 0..0.95, not {sparsity}")
    import tensorflow_model_optimization as tfmot
    import tf_keras

    source = to_tf_keras(model)

    def wrap(layer: Any) -> Any:
        if type(layer).__name__ not in PRUNABLE:
            return layer
        kernel = layer.get_weights()[0]
        structural = float(np.mean(kernel == 0))
        wanted = sparsity if np.count_nonzero(kernel) >= SMALL else 0.0
        final = 1 - (1 - structural) * (1 - wanted)
        if final == 0:
            return layer
        schedule = tfmot.sparsity.keras.PolynomialDecay(
            initial_sparsity=structural,
            final_sparsity=final,
            begin_step=0,
            end_step=max(1, round(RAMP * steps)),
            frequency=max(1, steps // 50),
        )
        return tfmot.sparsity.keras.prune_low_magnitude(layer, pruning_schedule=schedule)

    wrapped = tf_keras.models.clone_model(source, clone_function=wrap)
    before, after = fit(
        wrapped,
        images,
        loss,
        steps=steps,
        batch=batch,
        crop=crop,
        learning_rate=learning_rate,
        seed=seed,
        progress=progress,
        callbacks=[tfmot.sparsity.keras.UpdatePruningStep()],
    )
    stripped = from_tf_keras(tfmot.sparsity.keras.strip_pruning(wrapped))
    zeros = {
        layer.name: float(np.mean(layer.get_weights()[0] == 0))
        for layer in stripped.layers
        if type(layer).__name__ in PRUNABLE
    }
    return Pruned(stripped, zeros, before, after)
