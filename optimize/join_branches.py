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

from edgepress.train.layers import SpaceToDepth

from .beside import fit_beside
from .branch_matches import Match, find_matches
from .early_sums import find_blocks, sum_early
from .graph import Cloner, rebuild, run, trace
from .int8_noise import MOVES
from .latent_range import LatentRange
from .pointwise import matrix_and_bias, pointwise
from .same import check_same
from .split import Halves

PROBE = 256  # side of the image for which graphs are traced
PIXEL = 1 / 255  # the step of an image
CHECKED = 8  # batches on which a result is checked


@dataclass(frozen=True)
class _Pending:
    """A linear 1x1 convolution that is not applied yet."""

    layer: Any
    x: Any


@dataclass(frozen=True)
class _Sum:
    """x + E h, not added yet, after space_to_depth has put so many `positions` of both side by side."""

    x: Any
    branch: _Pending
    positions: int = 1


@dataclass(frozen=True)
class _Side:
    """What stands side by side, x and h, the layer that shifts h, and the convolution that reads both."""

    x: Any
    hidden: Any
    shift: Any
    layer: Any


def join_branches(filled: LatentRange, images: Sequence[np.ndarray]) -> Halves:
    """The halves of `filled` without sums that int8 would round at 1x1 convolutions; exact within 1e-5 of their largest output.

    Args:
        filled: from `fill_int8`.
        images: float32 (H, W, 3) in [0, 1], on which ranges are measured, of a size that the halves take as it is.

    Raises: UnsupportedModelError when a joined half does not give the original's output.
    """
    halves, scale, zero = filled.halves, np.float32(filled.int8_scale), filled.zero_point
    batches = [image[None] for image in images]
    probe = halves.latent.tile or PROBE
    encoder = _join(halves.encoder, (probe, probe, 3), batches, PIXEL)
    side = probe // halves.latent.stride
    latents = [np.round(run(encoder, batch) / scale) for batch in batches]
    latents = [np.clip(z, -128 - zero, 127 - zero) * scale for z in latents]
    shape = (side, side, halves.latent.channels)
    decoder = _join(halves.decoder, shape, latents, float(scale))
    return replace(halves, encoder=encoder, decoder=_join_early(decoder, shape, latents, float(scale)))


def _join_early(decoder: Any, shape: tuple[int, ...], latents: Sequence[np.ndarray], step: float) -> Any:
    """The decoder with the blocks behind depth_to_space joined, too, where all of them can be."""
    early = sum_early(decoder, latents[:CHECKED])
    if early is decoder:
        return decoder
    joined = _join(early, shape, latents, step)
    moved = {match.add.name for match in find_blocks(trace(decoder, shape))}
    left = moved & {layer.name for layer in joined.layers if type(layer) is keras.layers.Add}
    return decoder if left else joined


def _join(model: Any, shape: tuple[int, ...], batches: Sequence[np.ndarray], step: float) -> Any:
    """`model` with the branches of all sums joined that can be; `step`: of its input in int8."""
    skipped: set[str] = set()  # sums that cannot
    while True:
        matches = [match for match in find_matches(trace(model, shape)) if match.add.name not in skipped]
        if not matches:
            return model
        joined, sides = _joined(model, matches)
        unfit = {add for add, side in sides.items() if not _scale_hidden(joined, side, batches, step)}
        if not unfit:  # one that is joined may let others be
            joined = _without_idle_offsets(joined)
            check_same(model, joined, batches[:CHECKED], "joining its branches")
            model = joined
        skipped |= unfit


def _joined(model: Any, matches: Sequence[Match]) -> tuple[Any, dict[str, _Side]]:
    """The model with the branches of `matches` joined as they are, and what stands side by side, by the sum that is no more."""
    cloner = Cloner()
    by_role = {id(layer): (match, role) for match in matches for layer, role in match.roles()}
    sides: dict[str, _Side] = {}

    def joined(match: Match, layer: Any, x: Any, hidden: Any, weights: list[np.ndarray], name: str) -> Any:
        shift = keras.layers.Rescaling(1.0, name=cloner.unique(f"{name}_offset"))
        both = keras.layers.Concatenate(name=cloner.unique(f"{name}_sides"))([x, shift(hidden)])
        output, made = pointwise(layer, both, weights, cloner.unique(name))
        sides[match.add.name] = _Side(x, hidden, shift, made)
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
        if role == "between":
            total, block = args[0], operation.block
            there = SpaceToDepth(block, name=cloner.unique(f"{operation.name}_hidden"))(total.branch.x)
            branch = _Pending(total.branch.layer, there)
            return _Sum(cloner(operation, total.x), branch, total.positions * block**2)
        if role == "linear":
            total = args[0]
            (d, d_bias), (e, e_bias) = matrix_and_bias(operation), matrix_and_bias(total.branch.layer)
            e, e_bias = np.kron(np.eye(total.positions), e), np.tile(e_bias, total.positions)
            weights = [np.concatenate([d, e @ d]), e_bias @ d + d_bias]
            return joined(match, operation, total.x, total.branch.x, weights, operation.name)
        (r, r_bias), (t, t_bias) = matrix_and_bias(operation), matrix_and_bias(match.linear)
        return pointwise(operation, args[0].x, [t @ r, t_bias @ r + r_bias], cloner.unique(operation.name))[0]

    return rebuild(model, None, call), sides


def _scale_hidden(model: Any, side: _Side, batches: Sequence[np.ndarray], step: float) -> bool:
    """Give the channels of h the range of x, and take factors and offset back in the layer that reads both; False when that
    range has no place for them."""
    channels = side.x.shape[-1]
    maker = side.hidden._keras_history.operation
    while not hasattr(maker, "kernel"):
        maker = maker.input._keras_history.operation
    probe = keras.Model(model.input, [side.x, side.hidden])
    partner, hidden = (np.zeros((2, tensor.shape[-1])) for tensor in probe.outputs)
    for batch in batches:
        for (low, high), t in zip(
            (partner, hidden), map(np.asarray, probe(batch, training=False)), strict=True
        ):
            np.minimum(low, t.min(axis=(0, 1, 2)), out=low)
            np.maximum(high, t.max(axis=(0, 1, 2)), out=high)
    kernel = np.array(side.layer.kernel, np.float64)
    rows = kernel[0, 0, channels:]
    copies = len(rows) // maker.filters  # of a channel, which space_to_depth put side by side
    low, high = hidden.reshape(2, copies, -1)
    fit = fit_beside(
        probe,
        batches,
        (float(partner[0].min()), float(partner[1].max())),
        np.stack([low.min(axis=0), high.max(axis=0)]),
        np.square(rows).sum(axis=1).reshape(copies, -1).sum(axis=0),
        step if _is_given(model, side.x) else None,
    )
    if fit is None:
        return False
    maker.kernel.assign(np.asarray(maker.kernel) * fit.factor)
    if maker.use_bias:
        maker.bias.assign(np.asarray(maker.bias) * fit.factor)
    rows /= np.tile(fit.factor, copies)[:, None]
    side.layer.kernel.assign(kernel)
    side.layer.bias.assign(np.asarray(side.layer.bias, np.float64) - fit.offset * rows.sum(axis=0))
    side.shift.offset = float(fit.offset)
    return True


def _is_given(model: Any, x: Any) -> bool:
    """Whether the range of x is that of the model's input, an image's or a latent's, since int8 only moves its values."""
    maker = x._keras_history.operation
    if type(maker).__name__ in MOVES:
        return any(_is_given(model, tensor) for tensor in keras.tree.flatten(maker.input))
    return x is model.input


def _without_idle_offsets(model: Any) -> Any:
    cloner = Cloner()

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if type(operation) is keras.layers.Rescaling and operation.scale == 1.0 and operation.offset == 0.0:
            return args[0]
        return cloner(operation, *args, **kwargs)

    return rebuild(model, None, call)


def _is(value: Any, layer: Any) -> bool:
    return isinstance(value, _Pending) and value.layer is layer
