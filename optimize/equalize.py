"""Channels of like range, where that makes int8 lose less: exact factors between the convolutions that make and read a tensor.

A tensor has one scale in int8, which its widest channel decides on; a channel ten times narrower is left with 25 values.
But f(a x) = a f(x), a > 0, for linear, plain and leaky ReLU: a factor of a channel can be put into the filter that makes it and
taken out of the weights that read it (Nagel et al. 2019, "Data-free quantization through weight equalization and bias
correction", section 4.1). Channels that additions, concatenations, space_to_depth or depth_to_space bring together share one.

A wider channel is rounded less, but the weights that read it more: smaller than those beside them, they did not decide on the
steps of their filter. How far each group of channels goes towards the range of the widest, from not at all to all the way,
is what `int8_noise` predicts to cost least.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from .channel_graph import ChannelPlan, plan
from .graph import rebuild, run
from .int8_noise import Floats, NoiseModel, noise_models, opened
from .latent_range import HOMOGENEOUS, passes_factors
from .same import check_same
from .split import Halves

EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0)
# A channel that is far narrower on these images is one that they hardly use: others may make it many times as wide.
MOST = 8.0
SWEEPS = 2  # over all groups, since they meet in tensors and filters
WORTH = 0.99  # of the predicted noise must not be left for a half to be changed
# What channels also get through, besides what passes their factors on: weights that take them, and rearrangements.
_OPEN = ("Conv2D", "DepthwiseConv2D", "SpaceToDepth", "DepthToSpace", "Concatenate")


def equalize(halves: Halves, images: Sequence[np.ndarray]) -> Halves:
    """The halves with the factors that lower the noise of int8; a half that none would help stays the very same object.

    Function, latent, graph and names stay, the function within 1e-5 of the largest output.

    Args:
        images: float32 (H, W, 3) in [0, 1] on which noise is predicted, of a size that the halves take.

    Raises: UnsupportedModelError when a changed half does not give the original's output.
    """
    models = opened(halves.encoder), opened(halves.decoder)
    plans = plan(models[0]), plan(models[1])
    noise = noise_models(models, plans, images)
    batches = [image[None] for image in images[:8]]
    inputs = batches, [run(halves.encoder, batch) for batch in batches]
    made = []
    for half, model, found, part, probes in zip(
        (halves.encoder, halves.decoder), models, plans, noise, inputs, strict=True
    ):
        factors = choose(part, found, frozen(model, found))
        worth = part.noise(factors) <= WORTH * part.noise(np.ones(found.units))
        made.append(_scaled(half, found, factors, probes) if worth else half)
    return replace(halves, encoder=made[0], decoder=made[1])


def frozen(model: Any, found: ChannelPlan) -> set[int]:
    """The units of an `opened` half that cannot take a factor."""
    stuck = set(range(found.units)) - {unit for group in found.groups for unit in group.units}
    for operation in model.operations:
        if operation.name in found.writes and not _lets_through(operation):
            stuck |= {*found.reads[operation.name].tolist(), *found.writes[operation.name].tolist()}
    return stuck


def choose(noise: NoiseModel, found: ChannelPlan, stuck: set[int]) -> Floats:
    """A factor for every unit, 1 for those that are `stuck`: group by group, the exponent that is predicted to cost least."""
    factors = np.ones(found.units)
    free = [[unit for unit in group.units if unit not in stuck] for group in found.groups]
    best = noise.noise(factors)
    for units in [units for units in free if units] * SWEEPS:
        room = _room(noise, factors)[units]
        for exponent in EXPONENTS:
            tried = factors.copy()
            tried[units] = room**exponent
            if (cost := noise.noise(tried)) < best:
                best, factors = cost, tried
    return factors


def _room(noise: NoiseModel, factors: Floats) -> Floats:
    """How many times what it was each unit can be, at most MOST, without widening a tensor; 1 for one that is always zero."""
    ends = noise.ends(factors)
    room = np.full(len(factors), np.inf)
    for t in noise.rounded:
        for end, values in zip(ends[t.span], (t.low, t.high), strict=True):
            some = values != 0
            np.minimum.at(room, t.units[some], end / values[some])
    return np.where(np.isinf(room), 1.0, np.minimum(room, MOST))


def _lets_through(operation: Any) -> bool:
    if type(operation).__name__ == "Activation":
        return operation.activation.__name__ in HOMOGENEOUS
    return type(operation).__name__ in _OPEN or passes_factors(operation)


def _scaled(half: Any, found: ChannelPlan, factors: Floats, batches: Sequence[np.ndarray]) -> Any:
    model = rebuild(half)
    for layer in model.layers:
        if type(layer).__name__ not in ("Conv2D", "DepthwiseConv2D") or layer.name not in found.writes:
            continue
        made = factors[found.writes[layer.name]]
        if type(layer).__name__ == "Conv2D":  # a depthwise one reads and makes the same units
            given = factors[found.reads[layer.name]]
            layer.kernel.assign(np.asarray(layer.kernel, float) * made / given[:, None])
        if layer.use_bias:
            layer.bias.assign(np.asarray(layer.bias, float) * made)
    check_same(half, model, batches, "equalizing its channels")
    return model
