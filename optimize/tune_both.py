"""Encoder and decoder trained on together, for rate and distortion, with int8 in place.

Training has shown the networks exact tensors. Here every tensor that int8 rounds gets noise (`noisy`), in both networks, and
latents are rounded to int8 before they are to the steps of a random quality. The loss is that of `edgepress train --loss rd`:
R + lambda D, R being the bits of noisy latents under a smooth model of the coder (`train.rate`), which learns along, D 255^2
MSE and 1 - MS-SSIM, and gradients pass straight through rounding (Minnen and Singh 2020). The networks stay what they are
but for their weights.

Latents are rounded to nearest, as in training, though the coder has a wider zero and leaves out ones that cost too much:
with the coder's own choices in place the encoder learns to lift values above what is left out, and undoes what that saves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.tables import QUALITIES, channel_steps
from edgepress.train.losses import Distortion
from edgepress.train.rate import ContextRate

from .int8_noise import opened
from .noisy import noisy
from .recipe import RdPart
from .tf_fit import ends, random_crop
from .tuning import RelativeAdam, taken_back, trainable

ALONE = 0.1  # share of the steps in which the rate model alone learns
RATE_PACE = 4e-3  # its rate of learning at most
PROBES = 16  # crops on which lambda is measured


@dataclass(frozen=True)
class TunedBoth:
    """Both networks with other weights, moving averages; lambda times the squared step in units; and the mean loss over the
    first and the last tenth of the steps in which they learned."""

    encoder: Any
    decoder: Any
    trade: float
    loss_before: float
    loss_after: float


def tune_both(
    encoder: Any,
    decoder: Any,
    scale: float,
    zero_point: int,
    step16: NDArray[np.uint16],
    gain: NDArray[np.uint16],
    images: Sequence[NDArray[np.uint8]],
    settings: RdPart,
    progress: Callable[[], None] = lambda: None,
    exact: Collection[str] = (),
) -> TunedBoth:
    """Train both on crops of random qualities.

    Args:
        encoder: flat Keras 3 model, RGB in [0, 1] to int8 latents times `scale`, left as it is.
        decoder: the same way back.
        scale, zero_point: of the latent in int8.
        step16, gain: of the qualities and of the channels, as in `EntropyTables`.
        images: uint8 (H, W, 3); those smaller than the crop are left out.
        settings: see `RdPart`.
        progress: called after each step.
        exact: names of layers that stay float.

    Raises: EdgepressError for images that are all too small, or crops too small for MS-SSIM.
    """
    import tensorflow as tf

    large = trainable(images, settings, "rd")
    distortion = Distortion(settings.structure, settings.fine)
    least, most = -128 - zero_point, 127 - zero_point
    learners = opened(encoder), opened(decoder)
    analysis = noisy(learners[0], (0.0, 1.0), exact, settings.seed)
    synthesis = noisy(learners[1], (least * scale, most * scale), exact, settings.seed + 1)
    rate = ContextRate(len(gain))
    rate.build()
    alone = round(ALONE * settings.steps)
    together = settings.steps - alone
    variables = [*(v for learner in learners for v in learner.trainable_variables)]
    optimizer = RelativeAdam(variables, settings.learning_rate, max(1, together))
    follower = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE_PACE, settings.steps))
    follower.build(rate.trainable_variables)
    random = tf.random.Generator.from_seed(settings.seed)
    steps = tf.constant(np.stack([channel_steps(int(step), gain) for step in step16]) / 16, tf.float32)
    units = tf.constant(step16 / 16, tf.float32)

    def latents(forward: Callable[[Any], Any], x: Any, qualities: Any) -> tuple[Any, Any, Any]:
        """Of images, what the decoder gets, bits per pixel, and the steps in units (B,)."""
        z = tf.clip_by_value(forward(x) / scale, least, most)  # no gradient beyond: see `train.objective`
        step, unit = tf.gather(steps, qualities - 1)[:, None, None], tf.gather(units, qualities - 1)
        in_steps = z / step
        near = in_steps + random.uniform(tf.shape(z), -0.5, 0.5)
        symbols = in_steps + tf.stop_gradient(tf.round(tf.round(z) / step) - in_steps)
        bits = rate(near, symbols, tf.math.log(unit)[:, None, None, None])
        return symbols * step * scale, bits / settings.crop**2, unit

    @tf.function
    def follow(pixels: Any, qualities: Any) -> None:
        with tf.GradientTape() as tape:
            _, bpp, unit = latents(learners[0], tf.cast(pixels, tf.float32) / 255.0, qualities)
            total = tf.reduce_mean(bpp * unit)
        weights = rate.trainable_variables
        follower.apply_gradients(zip(tape.gradient(total, weights), weights, strict=True))

    @tf.function
    def update(pixels: Any, qualities: Any) -> Any:
        x = tf.cast(pixels, tf.float32) / 255.0
        with tf.GradientTape() as tape:
            seen, bpp, unit = latents(analysis, x, qualities)
            lost = distortion(x, synthesis(seen))
            # Every quality moves the same share of its own loss when R + lambda D is weighted by the step.
            total = tf.reduce_mean(bpp * unit + trade / unit * lost)
        weights = rate.trainable_variables
        slopes, others = tape.gradient(total, [variables, weights])
        optimizer.apply_gradients(zip(slopes, variables, strict=True))
        follower.apply_gradients(zip(others, weights, strict=True))
        return total

    batches = _batches(large, settings)
    probes = next(batches)[0][:PROBES]
    trade = settings.trade or _trade(encoder, decoder, scale, gain, probes)
    losses = []
    for step, batch in enumerate(batches):
        if step < alone:
            follow(*batch)
        else:
            losses.append(float(update(*batch)))
        progress()
    optimizer.finalize_variable_values(variables)
    made = [taken_back(*pair) for pair in zip((encoder, decoder), learners, strict=True)]
    before, after = ends(losses)
    return TunedBoth(made[0], made[1], trade, before, after)


def _trade(
    encoder: Any, decoder: Any, scale: float, gain: NDArray[np.uint16], pixels: NDArray[np.uint8]
) -> float:
    """Lambda times the squared step in units, as high-rate theory has it: n / (2 ln 2 k) with n latents a pixel, where noise
    of a quantizer of one unit adds k to 255^2 MSE (dR = -n dlog2(step), dD = 2 k step dstep)."""
    x = pixels.astype("float32") / 255
    z = np.asarray(encoder(x, training=False))
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, z.shape) * gain / 256 * scale
    with_noise, without = (
        np.asarray(decoder(latent.astype("float32"), training=False)) for latent in (z + noise, z)
    )
    added = 255.0**2 * float(np.mean(np.square(with_noise - without)))
    n = z[0].size / (x.shape[1] * x.shape[2])
    return n / (2 * math.log(2) * max(added, 1e-9))


def _batches(
    images: Sequence[NDArray[np.uint8]], settings: RdPart
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int32]]]:
    """Crops and their qualities: one batch for the first look, then one a step."""
    rng = np.random.default_rng(settings.seed)
    for _ in range(1 + settings.steps):
        crops = [random_crop(images, settings.crop, rng) for _ in range(settings.batch)]
        yield np.stack(crops), rng.integers(1, QUALITIES + 1, settings.batch).astype(np.int32)
