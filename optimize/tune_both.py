"""Encoder and decoder trained on together, for rate and distortion, with what int8 and the codec do to them in place.

Training has shown the networks float latents, rounded to nearest in steps of one size. Here, every tensor that int8 rounds
gets noise (`noisy`), in both networks, and latents go through the codec itself: rounded to int8, quantized to the steps of a
random quality with its wide zero and without dear ones, coded and decoded with tables that were fitted before, so that
the decoder sees what files hold. Gradients pass straight through all of that (Minnen and Singh 2020). The loss is that of
`edgepress train --loss rd`: R + lambda D, R being the bits of noisy latents under a smooth model of the coder
(`train.rate`), which learns along, and D 255^2 MSE and 1 - MS-SSIM. The networks stay what they are but for their weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.runtime import coder
from edgepress.runtime.tables import QUALITIES, EntropyTables
from edgepress.train.losses import distortion, mse, structural_loss
from edgepress.train.rate import ContextRate

from .int8_noise import opened
from .noisy import noisy
from .recipe import RdPart
from .tf_fit import random_crop
from .tuning import RelativeAdam, ends, taken_back, trainable

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
    tables: EntropyTables,
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
        tables: of these networks' latents.
        images: uint8 (H, W, 3); those smaller than the crop are left out.
        settings: see `RdPart`.
        progress: called after each step.
        exact: names of layers that stay float.

    Raises: EdgepressError for images that are all too small, or crops too small for MS-SSIM.
    """
    import tensorflow as tf

    large = trainable(images, settings.crop, settings.structure, "rd")
    least, most = -128 - zero_point, 127 - zero_point
    learners = opened(encoder), opened(decoder)
    analysis = noisy(learners[0], (0.0, 1.0), exact, settings.seed)
    synthesis = noisy(learners[1], (least * scale, most * scale), exact, settings.seed + 1)
    rate = ContextRate(tables.channels)
    rate.build()
    alone = round(ALONE * settings.steps)
    together = settings.steps - alone
    variables = [*(v for learner in learners for v in learner.trainable_variables)]
    optimizer = RelativeAdam(variables, settings.learning_rate, max(1, together))
    follower = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE_PACE, settings.steps))
    follower.build(rate.trainable_variables)
    random = tf.random.Generator.from_seed(settings.seed)
    steps = tf.constant(_steps(tables), tf.float32)
    units = tf.constant(tables.step16 / 16, tf.float32)

    def coded(codes: NDArray[np.int8], qualities: NDArray[np.int32]) -> tuple[NDArray, NDArray]:
        """Symbols, and the latents that come back, without their zero point; float32 (B, h, w, C) both."""
        found = [_coded(*pair, zero_point, tables) for pair in zip(codes, qualities, strict=True)]
        symbols, seen = (np.stack(arrays).astype("float32") for arrays in zip(*found, strict=True))
        return symbols, seen - zero_point

    def latents(forward: Callable[[Any], Any], x: Any, qualities: Any) -> tuple[Any, Any, Any]:
        """Of images, what the decoder gets, bits per pixel, and the steps in units (B,)."""
        z = tf.clip_by_value(forward(x) / scale, least, most)  # no gradient beyond: see `train.objective`
        codes = tf.cast(tf.round(z) + zero_point, tf.int8)
        symbols, seen = tf.numpy_function(coded, [codes, qualities], [tf.float32, tf.float32])
        in_steps = z / tf.gather(steps, qualities - 1)[:, None, None]
        near = in_steps + random.uniform(tf.shape(z), -0.5, 0.5)
        unit = tf.gather(units, qualities - 1)
        log_unit = tf.math.log(unit)[:, None, None, None]
        bits = rate(near, _straight(in_steps, symbols), log_unit)
        return _straight(z, seen) * scale, bits / settings.crop**2, unit

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
            y = synthesis(seen)
            lost = 255.0**2 * mse(x, y)
            if settings.structure:
                lost = distortion(lost, structural_loss(x, y, settings.fine), settings.structure)
            # Every quality moves the same share of its own loss when R + lambda D is weighted by the step.
            total = tf.reduce_mean(bpp * unit + trade / unit * lost)
        weights = rate.trainable_variables
        slopes, others = tape.gradient(total, [variables, weights])
        optimizer.apply_gradients(zip(slopes, variables, strict=True))
        follower.apply_gradients(zip(others, weights, strict=True))
        return total

    batches = _batches(large, settings)
    trade = settings.trade or _trade(encoder, decoder, scale, tables, next(batches)[0][:PROBES])
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


def _straight(x: Any, value: Any) -> Any:
    """`value`, of unknown shape, with the gradient of x."""
    import tensorflow as tf

    return x + tf.stop_gradient(tf.ensure_shape(value, x.shape) - x)


def _steps(tables: EntropyTables) -> NDArray[np.float64]:
    """[qualities, channels], of the latent in int8."""
    return np.stack([tables.steps(quality) for quality in range(1, QUALITIES + 1)]) / 16


def _coded(
    codes: NDArray[np.int8], quality: np.int32, zero_point: int, tables: EntropyTables
) -> tuple[NDArray[np.int16], NDArray[np.int8]]:
    """A latent's symbols and what a file gives back of it, both (h, w, C)."""
    height, width, channels = codes.shape
    shape = channels, height, width
    stream = coder.encode_latent(codes, zero_point, tables, int(quality))
    symbols = coder.decode_symbols(stream, shape, tables, int(quality))
    return symbols.transpose(1, 2, 0), coder.decode_latent(stream, shape, zero_point, tables, int(quality))


def _trade(
    encoder: Any, decoder: Any, scale: float, tables: EntropyTables, pixels: NDArray[np.uint8]
) -> float:
    """Lambda times the squared step in units, as high-rate theory has it: n / (2 ln 2 k) with n latents a pixel, where noise
    of a quantizer of one unit adds k to 255^2 MSE (dR = -n dlog2(step), dD = 2 k step dstep)."""
    x = pixels.astype("float32") / 255
    z = np.asarray(encoder(x, training=False))
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, z.shape) * tables.gain / 256 * scale
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
