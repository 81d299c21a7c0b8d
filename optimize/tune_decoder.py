"""The decoder trained on for what it will get: latents of the int8 encoder, quantized and coded as in a file.

Training has shown it float latents, rounded to steps of one size. What files hold is rounded to the int8 steps of each channel
first, with a wider zero and without those ones that cost too much, and comes back as the values that lie there on average, in
finer steps at the best qualities than training foresaw; and every tensor of the decoder is rounded to 8 bits (`noisy`). To
train for that costs nothing afterwards: the same network, the same files, another set of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.runtime import coder
from edgepress.runtime.tables import QUALITIES, EntropyTables
from edgepress.train.losses import LEAST_SIDE, distortion, mse, structural_loss

from .errors import EdgepressError
from .graph import rebuild
from .int8_noise import opened
from .noisy import noisy
from .recipe import DecoderPart
from .tf_fit import large_enough, random_crop
from .tflite import TFLite, int8_pixels

WARMUP = 50  # steps in which the rate of learning rises
AVERAGED = 0.995  # of the moving average of the weights that is the result
LEAST_SIZE = 0.01  # of a variable, in terms of the median: zeros would stay zeros


@dataclass(frozen=True)
class Tuned:
    """The decoder with other weights, a moving average, and the mean loss over the first and the last tenth of the steps."""

    decoder: Any
    loss_before: float
    loss_after: float


class _Relative(keras.optimizers.Adam):
    """Adam whose rate of learning is a share of each variable's own size: the halves' weights differ a hundredfold, since
    factors of channels have been moved about."""

    def build(self, variables: Sequence[Any]) -> None:
        super().build(variables)
        sizes = [float(np.sqrt(np.mean(np.square(v.numpy())))) for v in variables]
        self.sizes = [max(size, LEAST_SIZE * float(np.median(sizes))) for size in sizes]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        size = self.sizes[self._get_variable_index(variable)]
        super().update_step(gradient, variable, learning_rate * size)


def tune_decoder(
    decoder: Any,
    encoder: bytes,
    scale: float,
    zero_point: int,
    tables: EntropyTables,
    images: Sequence[NDArray[np.uint8]],
    settings: DecoderPart,
    progress: Callable[[], None] = lambda: None,
    exact: Collection[str] = (),
) -> Tuned:
    """Train a decoder on coded crops of random qualities, on 255^2 MSE and 1 - MS-SSIM, each crop by 1 / its latent step.

    Args:
        decoder: flat Keras 3 model, int8 latents times `scale` to RGB in [0, 1], left as it is.
        encoder: int8 TFLite model, whose latents have this scale and zero point.
        tables: of the encoder's latents.
        images: uint8 (H, W, 3); those smaller than the crop are left out.
        settings: see `DecoderPart`.
        progress: called after each step.
        exact: names of the decoder's layers that stay float.

    Raises: EdgepressError for images that are all too small, or crops too small for MS-SSIM.
    """
    import tensorflow as tf

    side = settings.crop
    if settings.structure and side < LEAST_SIDE:
        raise EdgepressError(
            f"decoder.structure needs crops of at least {LEAST_SIDE} pixels, not {side}: "
            "raise decoder.crop, or set decoder.structure = 0"
        )
    large = large_enough(images, side)
    learner = opened(decoder)
    ends = (-128 - zero_point) * scale, (127 - zero_point) * scale
    forward = noisy(learner, ends, exact, settings.seed)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, settings.steps - WARMUP),
        warmup_target=settings.learning_rate,
        warmup_steps=min(WARMUP, settings.steps),
    )
    optimizer = _Relative(rate, epsilon=1e-12, use_ema=True, ema_momentum=AVERAGED, name="relative_adam")
    optimizer.build(learner.trainable_variables)

    @tf.function
    def update(latents: Any, pixels: Any, weights: Any) -> Any:
        x = tf.cast(pixels, tf.float32) / 255.0
        z = (tf.cast(latents, tf.float32) - zero_point) * scale
        with tf.GradientTape() as tape:
            y = forward(z)
            lost = 255.0**2 * mse(x, y)
            if settings.structure:
                lost = distortion(lost, structural_loss(x, y, settings.fine), settings.structure)
            total = tf.reduce_mean(weights * lost)
        variables = learner.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return total

    losses = []
    for batch in _batches(TFLite(encoder), zero_point, tables, large, settings):
        losses.append(float(update(*batch)))
        progress()
    optimizer.finalize_variable_values(learner.trainable_variables)
    made = rebuild(decoder)
    for layer in made.layers:
        if layer.weights:
            layer.set_weights(learner.get_layer(layer.name).get_weights())
    window = max(1, settings.steps // 10)
    return Tuned(made, float(np.mean(losses[:window])), float(np.mean(losses[-window:])))


def _batches(
    encoder: TFLite,
    zero_point: int,
    tables: EntropyTables,
    images: Sequence[NDArray[np.uint8]],
    settings: DecoderPart,
) -> Iterator[tuple[NDArray[np.int8], NDArray[np.uint8], NDArray[np.float32]]]:
    """The decoder's input, the pixels behind it, and what they count, of random crops at random qualities."""
    rng = np.random.default_rng(settings.seed)
    finest = float(np.mean(tables.steps(QUALITIES)))

    def one() -> tuple[NDArray[np.int8], NDArray[np.uint8], float]:
        part = random_crop(images, settings.crop, rng)
        quality = int(rng.integers(1, QUALITIES + 1))
        latent = encoder.run(int8_pixels(part))[0]
        stream = coder.encode_latent(latent, zero_point, tables, quality)
        height, width, channels = latent.shape
        seen = coder.decode_latent(stream, (channels, height, width), zero_point, tables, quality)
        return seen, part, finest / float(np.mean(tables.steps(quality)))

    for _ in range(settings.steps):
        latents, pixels, weights = zip(*(one() for _ in range(settings.batch)), strict=True)
        yield np.stack(latents), np.stack(pixels), np.array(weights, np.float32)
