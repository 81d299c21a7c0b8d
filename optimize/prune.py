"""Magnitude pruning with tensorflow-model-optimization: small weights become zero, the others are fine-tuned.

Zhu and Gupta 2017, "To prune, or not to prune": sparsity rises along a cubic schedule while training goes on. Nothing
gets faster by it (XNNPACK has no sparse int8 kernels), but zeros compress, so the package becomes smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .bridge import from_tf_keras, to_tf_keras
from .errors import EdgepressError

# Layers with fewer weights than this (in effect the first and the last) bring few bytes and are the most sensitive.
SMALL = 1000
RAMP = 0.6  # share of the steps in which sparsity rises; the rest is fine-tuning at full sparsity
WARMUP = 0.2  # share of the steps in which the learning rate rises
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
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot
    import tf_keras

    if not any(min(image.shape[:2]) >= crop for image in images):
        raise EdgepressError(f"fine-tuning needs images of at least {crop}x{crop} pixels; the data has none")
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
    # Adam's first steps at the full rate would undo training; so the rate rises first.
    warmup = max(1, round(WARMUP * steps))
    rate = tf_keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=learning_rate, warmup_steps=warmup
    )
    wrapped.compile(tf_keras.optimizers.Adam(rate), loss=loss)
    history = _History(progress, steps)
    callbacks = [tfmot.sparsity.keras.UpdatePruningStep(), _callback(tf_keras, history)]
    # Losses need the static shape, which Keras does not see in a plain generator.
    shape = tf.TensorSpec((batch, crop, crop, 3), tf.float32)
    data = tf.data.Dataset.from_generator(
        lambda: crops(images, steps, batch, crop, seed), output_signature=(shape, shape)
    )
    wrapped.fit(data.prefetch(2), epochs=1, callbacks=callbacks, verbose=0)
    stripped = from_tf_keras(tfmot.sparsity.keras.strip_pruning(wrapped))
    zeros = {
        layer.name: float(np.mean(layer.get_weights()[0] == 0))
        for layer in stripped.layers
        if type(layer).__name__ in PRUNABLE
    }
    window = max(1, steps // 10)
    return Pruned(
        stripped, zeros, float(np.mean(history.losses[:window])), float(np.mean(history.losses[-window:]))
    )


def crops(
    images: Sequence[np.ndarray], steps: int, batch: int, size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`steps` batches of random crops, mirrored at random, as (input, target) float32 (batch, size, size, 3)."""
    large = [image for image in images if min(image.shape[:2]) >= size]
    rng = np.random.default_rng(seed)

    def one() -> np.ndarray:
        image = large[rng.integers(len(large))]
        y, x = (int(rng.integers(n - size + 1)) for n in image.shape[:2])
        part = image[y : y + size, x : x + size]
        return part[:, ::-1] if rng.random() < 0.5 else part

    for _ in range(steps):
        pictures = np.stack([one() for _ in range(batch)]).astype("float32")
        yield pictures, pictures


class _History:
    """Losses of the single steps (Keras reports a running mean, from which they are recovered)."""

    def __init__(self, progress: Callable[[int, int, float], None] | None, steps: int):
        self.losses: list[float] = []
        self._progress, self._steps, self._sum = progress, steps, 0.0

    def __call__(self, step: int, mean: float) -> None:
        total = mean * (step + 1)
        self.losses.append(total - self._sum)
        self._sum = total
        if self._progress:
            self._progress(step + 1, self._steps, self.losses[-1])


def _callback(tf_keras: Any, history: _History) -> Any:
    return tf_keras.callbacks.LambdaCallback(on_batch_end=lambda step, logs: history(step, logs["loss"]))
