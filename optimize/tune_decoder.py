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

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime import coder
from edgepress.runtime.tables import QUALITIES, EntropyTables
from edgepress.train.losses import Distortion

from .int8_noise import opened
from .noisy import noisy
from .recipe import DecoderPart
from .tf_fit import ends, random_crop
from .tflite import TFLite, int8_pixels
from .tuning import RelativeAdam, taken_back, trainable


@dataclass(frozen=True)
class Tuned:
    """The decoder with other weights, a moving average, and the mean loss over the first and the last tenth of the steps."""

    decoder: Any
    loss_before: float
    loss_after: float


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

    large = trainable(images, settings, "decoder")
    distortion = Distortion(settings.structure, settings.fine)
    learner = opened(decoder)
    given = (-128 - zero_point) * scale, (127 - zero_point) * scale
    forward = noisy(learner, given, exact, settings.seed)
    variables = learner.trainable_variables
    optimizer = RelativeAdam(variables, settings.learning_rate, settings.steps)

    @tf.function
    def update(latents: Any, pixels: Any, weights: Any) -> Any:
        x = tf.cast(pixels, tf.float32) / 255.0
        z = (tf.cast(latents, tf.float32) - zero_point) * scale
        with tf.GradientTape() as tape:
            total = tf.reduce_mean(weights * distortion(x, forward(z)))
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return total

    losses = []
    for batch in _batches(TFLite(encoder), zero_point, tables, large, settings):
        losses.append(float(update(*batch)))
        progress()
    optimizer.finalize_variable_values(variables)
    return Tuned(taken_back(decoder, learner), *ends(losses))


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
