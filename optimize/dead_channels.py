"""Dead channels: those that never change on the data, or that nothing reads. Removing them changes no output.

A ReLU that is never active, a branch that training has switched off: their value is one constant, which is worth as
much in the bias of the layers that read it. Beyond a padded border a convolution reads zeros instead, so a constant
other than zero is moved only into layers that read no padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .channel_cut import cut
from .channel_graph import MIXES, ChannelPlan, Indices, observe, plan
from .errors import EdgepressError
from .same import TOLERANCE, difference

STILL = 1e-7  # spread of a channel, relative to the largest value of its tensor, that counts as none

Constants = dict[str, tuple[NDArray[np.float32], NDArray[np.bool_]]]


@dataclass(frozen=True)
class Removed:
    """What `remove_dead` made.

    Attributes:
        model: the smaller model, same layer names.
        channels: how many channels were removed, counted where they are made (and where a layer carries them, not again).
        where: of those, how many by layer.
        at_borders: channels by layer that are constant but stay, since padded layers read them.
        max_difference: of the outputs on the images, relative to the larger of 1 and the largest output.
    """

    model: Any
    channels: int
    where: dict[str, int]
    at_borders: dict[str, int]
    max_difference: float


def remove_dead(
    model: Any,
    images: Sequence[np.ndarray],
    *,
    latent: str = "",
    cut_latent: bool = False,
    group: int = 1,
) -> Removed:
    """Remove the channels that are constant on all `images`, and those that all readers multiply by zero.

    Args:
        model: flat functional Keras 3 model; left as it is.
        images: float32 (H, W, 3) in the model's input range; all of them are run.
        latent, cut_latent: as in `channel_graph.plan`.
        group: dead channels stay where fewer would be no multiple of this (1: all go, but one of each group).

    Raises: EdgepressError without images, or when outputs differ by more than 1e-5 after all.
    """
    if not images:
        raise EdgepressError("dead channels are found on images; there are none")
    found = plan(model, latent, cut_latent=cut_latent)
    constants = _constants(found, images)
    dead, bordering = _dead(found, constants)
    kept = np.ones(found.units, bool)
    for members in found.groups:
        units = np.array([unit for unit in members.units if dead[unit]], int)
        alive = len(members.units) - len(units)
        room = max(1, -(-alive // group) * group) - alive
        kept[units[: len(units) - min(room, len(units))]] = False
    smaller = cut(found, kept, _moved(found, constants, kept))
    changed = difference(model, smaller, (image[None] for image in images))
    if not changed <= TOLERANCE:
        raise EdgepressError(
            f"without its dead channels the model differs by {changed:.1e}; please report this"
        )
    where = _by_writer(found, ~kept)
    return Removed(smaller, sum(where.values()), where, _by_writer(found, bordering & kept), changed)


def _constants(found: ChannelPlan, images: Sequence[np.ndarray]) -> Constants:
    """By mixing layer: a value of each input channel, and whether it never has another."""
    ends: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def visit(layer: Any, source: Any) -> None:
        if layer.name not in found.reads or type(layer).__name__ not in MIXES:
            return
        values = np.asarray(source).reshape(-1, source.shape[-1])
        low, high = values.min(axis=0), values.max(axis=0)
        if layer.name in ends:
            low, high = np.minimum(low, ends[layer.name][0]), np.maximum(high, ends[layer.name][1])
        ends[layer.name] = low, high

    for image in images:
        observe(found.model, image[None], visit)
    still = {
        name: high - low <= STILL * max(float(np.abs(low).max()), float(np.abs(high).max()))
        for name, (low, high) in ends.items()
    }
    return {name: (high.astype(np.float32), still[name]) for name, (_, high) in ends.items()}


def _dead(found: ChannelPlan, constants: Constants) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(units that can go, units that are constant and cannot), bool[units] each."""
    dead, constant = np.ones(found.units, bool), np.ones(found.units, bool)
    read = np.zeros(found.units, bool)
    for name, (value, still) in constants.items():
        layer, units = found.model.get_layer(name), found.reads[name]
        read[units] = True
        ignored = _ignored(layer)
        foldable = still & ((value == 0) | _unpadded(layer))
        _clear(dead, units, foldable | ignored)
        _clear(constant, units, still | ignored)
    return dead & read, constant & read & ~dead


def _clear(flags: NDArray[np.bool_], units: Indices, holds: NDArray[np.bool_]) -> None:
    flags[units[~holds]] = False


def _ignored(layer: Any) -> NDArray[np.bool_]:
    """Which input channels a layer multiplies by nothing but zeros."""
    kind, kernel = type(layer).__name__, np.abs(layer.get_weights()[0])
    if kind == "Conv2DTranspose":
        return kernel.sum(axis=(0, 1, 2)) == 0
    if kind == "Dense":
        return kernel.sum(axis=1) == 0
    return kernel.sum(axis=(0, 1, 3)) == 0


def _unpadded(layer: Any) -> bool:
    """Whether a constant input of a layer is a constant of its output, everywhere."""
    kind = type(layer).__name__
    if kind == "Dense":
        return True
    alone = set(layer.kernel_size) == {1}
    return kind == "Conv2D" and (alone or layer.padding == "valid")


def _moved(
    found: ChannelPlan, constants: Constants, kept: NDArray[np.bool_]
) -> dict[str, NDArray[np.float32]]:
    """What the biases of the readers gain from the constants that go."""
    gains = {}
    for name, (value, still) in constants.items():
        layer = found.model.get_layer(name)
        gone = np.where(~kept[found.reads[name]] & still & ~_ignored(layer), value, 0)
        if gone.any():
            kernel = layer.get_weights()[0]
            taps = kernel if kernel.ndim == 2 else kernel.sum(axis=(0, 1))
            gains[name] = (gone @ taps).astype(np.float32)
    return gains


def _by_writer(found: ChannelPlan, units: NDArray[np.bool_]) -> dict[str, int]:
    """How many channels of each mixing layer belong to `units`."""
    counts = {
        name: int(units[made].sum())
        for name, made in found.writes.items()
        if type(found.model.get_layer(name)).__name__ in MIXES
    }
    return {name: count for name, count in counts.items() if count}
