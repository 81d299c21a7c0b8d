"""Sums that int8 need not round: a residual branch is joined to the convolution that reads or makes the sum.

Where x + E h (E a linear 1x1 convolution, the end of a residual block) meets another 1x1 convolution, the two are one
convolution of x and h side by side, exactly:

    read    D (x + E h) = [D, D E] (x, h)            the sum is read by D alone
    made    T f + E h   = [T, E] (f, h)              and what else reads T f, R, becomes R T on f

In int8 an addition rounds its result to 256 levels across the range of the widest channel. On a latent whose channels all
fill int8 that is as much noise as the latent's own grid, for every block (`photo`: 0.5 to 0.65 of MSE each). A concatenation
rounds nothing, once the channels of h are scaled to the range of their partner (Nagel et al. 2019); h comes from a leaky or
plain ReLU, which lets factors through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from .best_range import BINS, best_range
from .branch_matches import Match, find_matches
from .graph import Cloner, rebuild, run, trace
from .latent_range import LatentRange
from .same import check_same
from .split import Halves

PROBE = 256  # side of the image for which graphs are traced
INT8_STEPS = 255
HEADROOM = 1.05  # of the partner's range over the largest h seen


@dataclass(frozen=True)
class _Pending:
    """A linear 1x1 convolution that is not applied yet."""

    layer: Any
    x: Any


@dataclass(frozen=True)
class _Sum:
    """x + E h, not added yet."""

    x: Any
    branch: _Pending


@dataclass(frozen=True)
class _Side:
    """What stands side by side, x and h, and the convolution that reads both."""

    kind: str
    x: Any
    hidden: Any
    layer: Any


def join_branches(filled: LatentRange, images: Sequence[np.ndarray]) -> Halves:
    """The halves of `filled` without sums that int8 would round at 1x1 convolutions; exact within 1e-5 of their largest output.

    Args:
        filled: from `fill_int8`.
        images: float32 (H, W, 3) in [0, 1], on which ranges are measured; sides multiples of the stride.

    Raises: UnsupportedModelError when a joined half does not give the original's output.
    """
    halves, scale, zero = filled.halves, np.float32(filled.int8_scale), filled.zero_point
    batches = [image[None] for image in images]
    encoder = _join(halves.encoder, (PROBE, PROBE, 3), batches)
    side = PROBE // halves.latent.stride
    latents = [np.round(run(encoder, batch) / scale) for batch in batches]
    latents = [np.clip(z, -128 - zero, 127 - zero) * scale for z in latents]
    decoder = _join(halves.decoder, (side, side, halves.latent.channels), latents)
    return replace(halves, encoder=encoder, decoder=decoder)


def _join(
    model: Any, shape: tuple[int, ...], batches: Sequence[np.ndarray], skipped: frozenset[str] = frozenset()
) -> Any:
    """`model` with the branches of all sums joined that can be, except those named in `skipped`."""
    matches = [match for match in find_matches(trace(model, shape)) if match.add.name not in skipped]
    if not matches:
        return model
    cloner = Cloner()
    by_role = {id(layer): (match, role) for match in matches for layer, role in match.roles()}
    sides: dict[str, _Side] = {}  # by the sum that is no more

    def joined(match: Match, layer: Any, x: Any, hidden: Any, weights: list[np.ndarray], name: str) -> Any:
        both = keras.layers.Concatenate(name=cloner.unique(f"{name}_sides"))([x, hidden])
        output, made = pointwise(layer, both, weights, cloner.unique(name))
        sides[match.add.name] = _Side(match.kind, x, hidden, made)
        return output

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if id(operation) not in by_role:
            return cloner(operation, *args, **kwargs)
        match, role = by_role[id(operation)]
        if role == "expand" or (role == "linear" and match.kind == "made"):
            return _Pending(operation, args[0])
        if role == "add":
            left, right = args[0]
            branch, x = (right, left) if _is(right, match.expand) else (left, right)
            if match.kind == "read":
                return _Sum(x, branch)
            (t, t_bias), (e, e_bias) = matrix_and_bias(x.layer), matrix_and_bias(branch.layer)
            weights = [np.concatenate([t, e]), t_bias + e_bias]
            return joined(match, x.layer, x.x, branch.x, weights, match.add.name)
        if role == "linear":
            total = args[0]
            (d, d_bias), (e, e_bias) = matrix_and_bias(operation), matrix_and_bias(total.branch.layer)
            weights = [np.concatenate([d, e @ d]), e_bias @ d + d_bias]
            return joined(match, operation, total.x, total.branch.x, weights, operation.name)
        (r, r_bias), (t, t_bias) = matrix_and_bias(operation), matrix_and_bias(match.linear)
        return pointwise(operation, args[0].x, [t @ r, t_bias @ r + r_bias], cloner.unique(operation.name))[0]

    result = rebuild(model, None, call)
    unfit = {add for add, side in sides.items() if not _scale_hidden(result, side, batches)}
    if unfit:
        return _join(model, shape, batches, skipped | unfit)
    check_same(model, result, batches[:8], "joining its branches")
    return result


def _scale_hidden(model: Any, side: _Side, batches: Sequence[np.ndarray]) -> bool:
    """Give the channels of h the range of x, and take the factors back in the layer that reads both.

    False when that range has no place for them (x is never negative and h is), or when the weights of a strong branch,
    which share their int8 step with those of x, would make more noise than the sum did.
    """
    channels = side.x.shape[-1]
    probe = keras.Model(model.input, [side.x, side.hidden, side.layer.output])
    ends = [np.zeros((2, tensor.shape[-1])) for tensor in probe.outputs]
    power = np.zeros(channels + side.hidden.shape[-1])
    for batch in batches:
        values = [np.asarray(t) for t in probe(batch, training=False)]
        for (low, high), t in zip(ends, values, strict=True):
            np.minimum(low, t.min(axis=(0, 1, 2)), out=low)
            np.maximum(high, t.max(axis=(0, 1, 2)), out=high)
        power += np.concatenate([np.square(t).mean(axis=(0, 1, 2)) for t in values[:2]]) / len(batches)
    partner, hidden, output = ends
    low, high = float(partner[0].min()), float(partner[1].max())
    if (low == 0 and hidden[0].min() < 0) or (high == 0 and hidden[1].max() > 0):
        return False
    room = np.full(hidden.shape, np.inf)
    np.divide([[low], [high]], HEADROOM * hidden, out=room, where=hidden != 0)
    factor = room.min(axis=0)
    factor[np.isinf(factor)] = 1  # a channel that is always zero
    if side.x is not model.input:  # a latent's range is given, that of others will be cut
        factor *= _share(probe, batches, factor, (low, high))

    kernel = np.array(side.layer.kernel, np.float64)
    kernel[:, :, channels:] /= factor[:, None]
    power[channels:] *= factor**2
    alone, together = kernel[0, 0, :channels], kernel[0, 0]
    if side.kind == "made":
        rounded = kernel.shape[-1] * _noise(float(np.ptp(output)))
    else:
        rounded = float(np.square(alone).sum()) * _noise(high - low)
    if _weight_noise(together, power) >= _weight_noise(alone, power[:channels]) + rounded:
        return False

    maker = side.hidden._keras_history.operation
    while not hasattr(maker, "kernel"):
        maker = maker.input._keras_history.operation
    maker.kernel.assign(np.asarray(maker.kernel) * factor)
    if maker.use_bias:
        maker.bias.assign(np.asarray(maker.bias) * factor)
    side.layer.kernel.assign(kernel)
    return True


def _share(probe: Any, batches: Sequence[np.ndarray], factor: np.ndarray, ends: tuple[float, float]) -> float:
    """What else to multiply h with, at most 1, so that its range, once both are cut for int8, lies inside that of x."""
    counts = np.zeros((2, BINS), np.int64)
    for batch in batches:
        x, hidden, _ = probe(batch, training=False)
        for count, values in zip(counts, (x, np.asarray(hidden) * factor), strict=True):
            count += np.histogram(values, BINS, ends)[0]
    (low, high), (least, most) = (best_range(count, *ends) for count in counts)
    return min(1.0, low / least if least < 0 else 1.0, high / most if most > 0 else 1.0)


def _noise(span: float) -> float:
    """The mean squared error of rounding to 256 levels over `span`."""
    return (span / INT8_STEPS) ** 2 / 12


def _weight_noise(matrix: np.ndarray, power: np.ndarray) -> float:
    """What rounding a matrix (in, out) to int8 with a step for each output adds, for inputs of mean square `power` (in,)."""
    return float((_noise(2) * np.square(np.abs(matrix).max(axis=0))).sum() * power.sum())


def _is(value: Any, layer: Any) -> bool:
    return isinstance(value, _Pending) and value.layer is layer


def matrix_and_bias(layer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Matrix (in, out) and bias (out,) of a 1x1 convolution, in float64 so that products are exact enough."""
    kernel = np.asarray(layer.kernel, np.float64)[0, 0]
    return kernel, np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(kernel.shape[1])


def pointwise(layer: Any, x: Any, weights: list[np.ndarray], name: str) -> tuple[Any, Any]:
    """A 1x1 convolution of `x` with the activation of `layer`: its output, and itself."""
    matrix, bias = weights
    made = keras.layers.Conv2D(matrix.shape[1], 1, activation=layer.activation, name=name)
    output = made(x)
    made.set_weights([matrix[None, None].astype("float32"), bias.astype("float32")])
    return output, made
