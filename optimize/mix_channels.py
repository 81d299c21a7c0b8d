"""Channels between two linear convolutions mixed, exactly, so that rounding them to int8 costs least.

Where u = A x + a is read by a 1x1 convolution B u + b alone, any invertible matrix may stand between the two, and any offset:

    v = T (u - m),    B u + b = (B T^-1) v + (b + B m)

at no cost, also where depth_to_space or space_to_depth moves values in between (T is then the same at each position). It
decides on how much int8 loses: all of v has one step, which the widest channel sets, and an error e of v becomes B T^-1 e. For
errors of equal variance the product of the two is least with T^T T = C^-1/2 (C^1/2 G C^1/2)^1/2 C^-1/2, C being the covariance
of u and G what errors of u cost (by Cauchy and Schwarz), and any rotation behind it that makes the channels equally wide, as
for the activations of language models (Ashkboos et al. 2024, "QuaRot"). The rest is descent: from there T follows the gradient
of the noise that is predicted, that of the weights of A included, with norms of high order in place of the largest values (Liu
et al. 2024, "SpinQuant", learn rotations alone).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from edgepress.train.layers import DepthToSpace, SpaceToDepth

from .graph import Step, rebuild, trace, wiring
from .pointwise import is_pointwise
from .same import check_same
from .split import Halves

PROBE = 256  # side of the image for which graphs are traced, unless they have one
CHECKED = 8  # images on which the result is checked
POSITIONS = 512  # of each image, at which u is seen
NORM = 8  # that stands in for the extremes of a tensor ...
EXTREME = 2.0  # ... and what a range that int8 is cut to is in multiples of it
WEIGHT_NORM = 8  # likewise of a filter
WEIGHTS = 0.5  # share of the noise of nearest weights that `round_weights` leaves
STEPS, BATCH, RATE = 1000, 4096, 3e-3  # of the descent: 20 s for 80 channels
WIDEST = 256  # channels for which there is one
WORTH = 0.9  # of the predicted noise must not be left for a pair to be changed

Floats = NDArray[np.float64]


@dataclass
class Pair:
    """Two convolutions, and what is known of u between them.

    Attributes:
        first, second: layers.
        between: the tensor u, of as many channels as the narrower side of a rearrangement has.
        weights: of `first`, [what a filter reads, positions of a rearrangement, C].
        seen: [N, C], values of u.
        gain: [C, C], mean of g g^T, g being what u does to a picture (see `int8_noise`), at one position.
        power: sum of the variances of what a filter of `first` reads.
    """

    first: Any
    second: Any
    between: Any
    weights: Floats
    seen: Floats
    gain: Floats
    power: float = 0.0


def mix_channels(halves: Halves, images: Sequence[np.ndarray]) -> Halves:
    """The halves with the channels of all such pairs mixed; a half that has none stays the very same object.

    Function, latent, graph and names stay, the function within 1e-5 of the largest output.

    Args:
        images: float32 (H, W, 3) in [0, 1] on which noise is predicted, of a size that the halves take.

    Raises: UnsupportedModelError when a changed half does not give the original's output.
    """
    parts = [rebuild(halves.encoder), rebuild(halves.decoder)]
    encoder, decoder = parts
    shape = tuple(PROBE if side is None else side for side in encoder.input.shape[1:])
    pairs = [find_pairs(encoder, shape), find_pairs(decoder, encoder.compute_output_shape((1, *shape))[1:])]
    if not any(pairs):
        return halves
    _measure(parts, pairs, images)
    done = []
    for half, part, found in zip((halves.encoder, halves.decoder), parts, pairs, strict=True):
        mixed = [_mix(pair) for pair in found]
        done.append(part if any(mixed) else half)
    made = replace(halves, encoder=done[0], decoder=done[1])
    batches = [image[None] for image in images[:CHECKED]]
    latents = [np.asarray(halves.encoder(batch, training=False)) for batch in batches]
    check_same(halves.encoder, made.encoder, batches, "mixing its channels")
    check_same(halves.decoder, made.decoder, latents, "mixing its channels")
    return made


def find_pairs(half: Any, shape: tuple[int, ...]) -> list[Pair]:
    """The pairs of a flat half, no layer in two of them, nothing measured yet."""
    steps = trace(half, shape)
    maker, readers = wiring(steps)
    uses = [step.name for step in steps]
    found: list[Pair] = []
    taken: set[str] = set()
    for step in steps:
        if not is_pointwise(step.operation):
            continue
        before = maker.get(step.reads[0])
        between = []
        while before is not None and isinstance(before.operation, (DepthToSpace, SpaceToDepth)):
            between.append(before)
            before = maker.get(before.reads[0])
        names = {step.name, *(s.name for s in between), *((before.name,) if before else ())}
        if before is None or len(between) > 1 or not _is_linear(before) or names & taken:
            continue
        alone = all(len(readers[id(s.output)]) == 1 for s in (before, *between))
        if alone and all(uses.count(name) == 1 for name in names):
            first, second = half.get_layer(before.name), half.get_layer(step.name)
            narrow = min(first.output, second.input, key=lambda tensor: tensor.shape[-1])
            channels = narrow.shape[-1]
            weights = np.asarray(first.kernel, float).reshape(-1, first.filters // channels, channels)
            seen, gain = np.zeros((0, channels)), np.zeros((channels, channels))
            found.append(Pair(first, second, narrow, weights, seen, gain))
            taken |= names
    return found


def predicted(matrix: Any, centred: Any, pair: Pair) -> Any:
    """The noise that int8 is predicted to make of a pair with T = `matrix`, for values u - m; float32 tensors."""
    import tensorflow as tf

    back = tf.linalg.inv(matrix)
    gain = tf.constant(pair.gain, tf.float32)
    gains = tf.linalg.diag_part(tf.matmul(back, tf.matmul(gain, back), transpose_a=True))
    wide = _norm(tf.matmul(centred, matrix, transpose_b=True), NORM, None)
    total = tf.square(2 * EXTREME * wide / 255) * tf.reduce_sum(gains)
    mixed = tf.einsum("apk,jk->apj", tf.constant(pair.weights, tf.float32), matrix)
    largest = _norm(mixed, WEIGHT_NORM, 0) * len(mixed) ** (1 / WEIGHT_NORM)
    noise = tf.reduce_sum(tf.reduce_mean(tf.square(largest / 127), axis=0) * gains)
    return (total + WEIGHTS * pair.power * noise) / 12


def _norm(values: Any, order: int, axis: int | None) -> Any:
    """The mean of |values|^order, to the power 1 / order."""
    import tensorflow as tf

    largest = tf.stop_gradient(tf.reduce_max(tf.abs(values))) + 1e-30
    return largest * tf.reduce_mean((tf.abs(values) / largest) ** order + 1e-30, axis=axis) ** (1 / order)


def _mix(pair: Pair) -> bool:
    """Put a matrix and an offset between the two layers; False where none is predicted to be worth it."""
    biased = pair.first.use_bias and pair.second.use_bias
    mean = pair.seen.mean(axis=0) if biased else np.zeros(len(pair.gain))
    centred = pair.seen - mean
    matrix = _descend(_start(centred, pair.gain), centred, pair)
    wide = np.abs(pair.seen).max(axis=0)
    alone = np.diag(1 / np.where(wide > 0, wide, 1))  # what equalization can do
    cost, before = (
        float(predicted(m.astype("float32"), values.astype("float32"), pair))
        for m, values in ((matrix, centred), (alone, pair.seen))
    )
    if not cost <= WORTH * before:
        return False
    back, channels = np.linalg.inv(matrix), len(matrix)
    pair.first.kernel.assign((pair.weights @ matrix.T).reshape(pair.first.kernel.shape))
    reader = np.asarray(pair.second.kernel, float)[0, 0]
    parts = reader.reshape(-1, channels, reader.shape[-1])
    pair.second.kernel.assign(np.einsum("pko,kj->pjo", parts, back).reshape(1, 1, *reader.shape))
    if pair.first.use_bias:
        bias = np.asarray(pair.first.bias, float).reshape(-1, channels) - mean
        pair.first.bias.assign((bias @ matrix.T).ravel())
    if biased:
        pair.second.bias.assign(np.asarray(pair.second.bias, float) + np.einsum("k,pko->o", mean, parts))
    return True


def _start(centred: Floats, gain: Floats) -> Floats:
    """The best matrix for noise of equal variance, and a rotation at random, which makes all channels about equally wide."""
    channels = len(gain)
    ridge = 1e-6 * np.eye(channels)  # a channel that never changes, or that nothing depends on
    covariance = centred.T @ centred / len(centred)
    covariance += ridge * np.trace(covariance) / channels
    gain = gain + ridge * np.trace(gain) / channels
    root = _power(covariance, 0.5)
    inverse = _power(covariance, -0.5)
    shape = _power(inverse @ _power(root @ gain @ root, 0.5) @ inverse, 0.5)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(channels, channels)))[0]
    return rotation @ shape


def _descend(matrix: Floats, centred: Floats, pair: Pair) -> Floats:
    import tensorflow as tf

    if len(matrix) > WIDEST:
        return matrix
    scale = np.abs(matrix).mean()  # Adam's steps have a size of their own
    variable = tf.Variable(matrix / scale, dtype=tf.float32)  # a factor of T changes nothing
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(RATE, STEPS))
    optimizer.build([variable])
    rng = np.random.default_rng(0)
    values = centred.astype("float32")

    @tf.function
    def step(batch: Any) -> None:
        with tf.GradientTape() as tape:
            cost = tf.math.log(predicted(variable, batch, pair))
        optimizer.apply_gradients([(tape.gradient(cost, variable), variable)])

    for _ in range(STEPS):
        step(values[rng.integers(len(values), size=BATCH)])
    return np.asarray(variable, float)


def _power(matrix: Floats, exponent: float) -> Floats:
    """Of a symmetric matrix without negative eigenvalues."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.maximum(values, 1e-12 * values.max()) ** exponent) @ vectors.T


def _measure(halves: Sequence[Any], pairs: Sequence[list[Pair]], images: Sequence[np.ndarray]) -> None:
    """Fill in what is known of u, by one backward pass an image (see `int8_noise`)."""
    import tensorflow as tf

    probes = []
    for half, found in zip(halves, pairs, strict=True):
        seen = [tensor for pair in found for tensor in (pair.between, pair.first.input)]
        probes.append(keras.Model(half.input, [*seen, half.output]))
    rng = np.random.default_rng(0)
    for image in images:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            x = tf.convert_to_tensor(image[None])
            tape.watch(x)
            values = []
            for probe in probes:
                *inner, x = keras.tree.flatten(probe(x, training=False))
                values += inner
            goal = tf.reduce_sum(x * rng.choice(np.array([-1, 1], np.float32), x.shape))
        known = [pair for found in pairs for pair in found]
        slopes = tape.gradient(goal, values[::2], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for pair, u, read, slope in zip(known, values[::2], values[1::2], slopes, strict=True):
            channels = len(pair.gain)
            slope = np.asarray(slope, float).reshape(-1, channels)
            pair.gain += slope.T @ slope / len(slope) / len(images)
            u = np.asarray(u, float).reshape(-1, channels)
            pair.seen = np.concatenate([pair.seen, u[rng.permutation(len(u))[:POSITIONS]]])
            taps = int(np.prod(pair.first.kernel_size))
            pair.power += taps * float(np.asarray(read).var(axis=(0, 1, 2)).sum()) / len(images)


def _is_linear(step: Step) -> bool:
    layer = step.operation
    return type(layer) is keras.layers.Conv2D and layer.groups == 1 and layer.activation.__name__ == "linear"
