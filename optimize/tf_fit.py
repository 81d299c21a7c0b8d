"""Fine-tuning of tf_keras models on random crops, as tensorflow-model-optimization needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from .errors import EdgepressError

WARMUP = 0.2  # share of the steps in which the learning rate rises

Progress = Callable[[int, int, float], None]


def fit(
    model: Any,
    images: Sequence[np.ndarray],
    loss: Callable[[Any, Any], Any],
    *,
    steps: int,
    batch: int,
    crop: int,
    learning_rate: float,
    seed: int,
    progress: Progress | None = None,
    callbacks: Sequence[Any] = (),
) -> tuple[float, float]:
    """Train an autoencoder in place with Adam (linear rise, then cosine decay to 0), `batch` crops a step.

    Arguments as in `prune.prune`, `callbacks` being tf_keras's.

    Returns: the mean loss of the first and of the last tenth of the steps.

    Raises: EdgepressError when no image is as large as `crop`.
    """
    import tensorflow as tf
    import tf_keras

    large_enough(images, crop)
    # Adam's first steps at the full rate would undo training; so the rate rises first.
    warmup = max(1, round(WARMUP * steps))
    rate = tf_keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=learning_rate, warmup_steps=warmup
    )
    model.compile(tf_keras.optimizers.Adam(rate), loss=loss)
    history = _History(progress, steps)
    counted = tf_keras.callbacks.LambdaCallback(on_batch_end=lambda step, logs: history(step, logs["loss"]))
    # Losses need the static shape, which Keras does not see in a plain generator.
    shape = tf.TensorSpec((batch, crop, crop, 3), tf.float32)
    data = tf.data.Dataset.from_generator(
        lambda: crops(images, steps, batch, crop, seed), output_signature=(shape, shape)
    )
    model.fit(data.prefetch(2), epochs=1, callbacks=[*callbacks, counted], verbose=0)
    return ends(history.losses)


def ends(losses: Sequence[float]) -> tuple[float, float]:
    """The mean losses of the first and of the last tenth of the steps."""
    window = max(1, len(losses) // 10)
    return float(np.mean(losses[:window])), float(np.mean(losses[-window:]))


def crops(
    images: Sequence[np.ndarray], steps: int, batch: int, size: int, seed: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """`steps` batches of random crops, mirrored at random, as (input, target) float32 (batch, size, size, 3)."""
    large = large_enough(images, size)
    rng = np.random.default_rng(seed)
    for _ in range(steps):
        pictures = np.stack([random_crop(large, size, rng) for _ in range(batch)]).astype("float32")
        yield pictures, pictures


def large_enough(images: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
    """The images (H, W, C) with crops of size x size pixels; EdgepressError when there are none."""
    large = [image for image in images if min(image.shape[:2]) >= size]
    if not large:
        raise EdgepressError(f"fine-tuning needs images of at least {size}x{size} pixels; the data has none")
    return large


def random_crop(images: Sequence[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """A part (size, size, C) of one of the images, which must have it, mirrored at random: a view."""
    image = images[int(rng.integers(len(images)))]
    y, x = (int(rng.integers(n - size + 1)) for n in image.shape[:2])
    part = image[y : y + size, x : x + size]
    return part[:, ::-1] if rng.random() < 0.5 else part


class _History:
    """Losses of the single steps (Keras reports a running mean, from which they are recovered)."""

    def __init__(self, progress: Progress | None, steps: int):
        self.losses: list[float] = []
        self._progress, self._steps, self._sum = progress, steps, 0.0

    def __call__(self, step: int, mean: float) -> None:
        total = mean * (step + 1)
        self.losses.append(total - self._sum)
        self._sum = total
        if self._progress:
            self._progress(step + 1, self._steps, self.losses[-1])
