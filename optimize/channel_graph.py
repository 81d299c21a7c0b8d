"""Which channels of a model must be cut together: the plan that dead-channel removal and channel pruning work from.

Every channel of every tensor belongs to a unit. A layer that mixes channels (a convolution, Dense) starts new units; a layer
that works channel by channel hands them on; an addition makes two units one, a concatenation puts them side by side,
depth_to_space makes the b^2 channels that become one channel one unit. Removing a unit then means removing its indices
from every weight that makes, carries or reads it (the dependency graph of Fang et al. 2023, "DepGraph: towards any
structural pruning", by index instead of by layer). `channel_cut.cut` does that.

The image, the output and (unless asked for) the latent are fixed, and so is all that reaches a layer which is unknown here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .errors import UnsupportedModelError
from .graph import Step, as_functional, replay, trace

PROBE = 256  # side of the image where the model leaves it open
# Layers that mix channels: what they write are new units.
MIXES = ("Conv2D", "Conv2DTranspose", "SeparableConv2D", "Dense")
# Layers and operations that work channel by channel and keep their number.
KEEPS = (
    *("BatchNormalization", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU"),
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "Identity", "Rescaling"),
    *("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D"),
    *("UpSampling2D", "ZeroPadding2D", "Cropping2D"),
    *("Relu", "Relu6", "LeakyRelu", "Sigmoid", "Tanh", "Silu", "Gelu"),  # keras.ops in a functional model
)
# Several tensors, combined value by value.
TIES = ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum")

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Cost:
    """Multiply-adds of a layer: `mixing` for each pair of input and output channels, `single` for each input channel.

    Both per pixel of the image.
    """

    mixing: float
    single: float


@dataclass(frozen=True)
class Group:
    """Units that the same layers make and read; the number of those that remain is what SIMD lanes care for.

    Attributes:
        units: their numbers.
        writers, readers: names of the mixing layers that make and that read them.
    """

    units: tuple[int, ...]
    writers: tuple[str, ...]
    readers: tuple[str, ...]


@dataclass(frozen=True)
class ChannelPlan:
    """The units of a model.

    Attributes:
        model: the model that was planned.
        reads, writes: by layer name, the unit of every input channel (of the first input) and output channel.
        costs: by name, of the layers that multiply.
        groups: of the units that may be cut.
        units: how many there are in all; they are numbered from 0.
    """

    model: Any
    reads: dict[str, Indices]
    writes: dict[str, Indices]
    costs: dict[str, Cost]
    groups: tuple[Group, ...]
    units: int

    def macs(self, kept: NDArray[np.bool_] | None = None) -> float:
        """Multiply-adds per image pixel when only the units `kept` (bool[units]) remain; None: all."""
        kept = np.ones(self.units, bool) if kept is None else kept
        total = 0.0
        for name, cost in self.costs.items():
            given, made = int(kept[self.reads[name]].sum()), int(kept[self.writes[name]].sum())
            total += cost.mixing * given * made + cost.single * given
        return total


def plan(model: Any, latent: str = "", *, cut_latent: bool = False) -> ChannelPlan:
    """Find the units of a flat functional Keras 3 model and group those that may be cut.

    Args:
        model: image to image, channels last; before or after `rewrite`.
        latent: the layer whose output is coded; its channels stay unless `cut_latent`.

    Raises: UnsupportedModelError when the model has no layer `latent`.
    """
    shape = tuple(PROBE if n is None else n for n in as_functional(model).inputs[0].shape[1:])
    steps = trace(model, shape)
    if latent and all(step.name != latent for step in steps):
        raise UnsupportedModelError(f"the model has no layer {latent!r} whose channels could be kept")
    units = _Units()
    walk = _Walk(units, shape)
    for step in steps:
        walk.step(step)
        if step.name == latent and not cut_latent:
            units.fix(walk.tensors[id(step.output)])
    for tensor in keras.tree.flatten(steps[-1].output):
        units.fix(walk.tensors[id(tensor)])
    numbers = units.numbers()
    reads, writes = ({name: numbers[u] for name, u in part.items()} for part in (walk.reads, walk.writes))
    fixed = set(numbers[sorted(units.fixed)].tolist())
    return ChannelPlan(
        model, reads, writes, walk.costs, _groups(reads, writes, walk.mixing, fixed), int(numbers.max()) + 1
    )


def observe(model: Any, batch: Any, visit: Callable[[Any, Any], None]) -> Any:
    """Run a flat model on a batch, layer by layer, telling `visit` (layer, first input) of each; gives the output."""

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        visit(operation, keras.tree.flatten(args)[0])
        return operation(*args, **kwargs)

    return replay(model, [keras.ops.convert_to_tensor(batch)], call)[0]


class _Units:
    """Numbers that can be made equal (a union-find forest); some are fixed."""

    def __init__(self) -> None:
        self._parents: list[int] = []
        self.fixed: set[int] = set()

    def new(self, count: int) -> Indices:
        first = len(self._parents)
        self._parents += range(first, first + count)
        return np.arange(first, first + count)

    def root(self, unit: int) -> int:
        while self._parents[unit] != unit:
            self._parents[unit] = self._parents[self._parents[unit]]
            unit = self._parents[unit]
        return unit

    def tie(self, first: Indices, second: Indices) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            a, b = self.root(a), self.root(b)
            self._parents[max(a, b)] = min(a, b)

    def fix(self, units: Indices) -> None:
        self.fixed.update(units.tolist())

    def numbers(self) -> Indices:
        """For every number given out, its unit, numbered without gaps."""
        roots = [self.root(unit) for unit in range(len(self._parents))]
        return np.unique(roots, return_inverse=True)[1].astype(np.int64)


class _Walk:
    """Goes through the steps of a model and notes the units of every tensor and layer."""

    def __init__(self, units: _Units, image: tuple[int, ...]) -> None:
        self.tensors: dict[int, Indices] = {}
        self.reads: dict[str, Indices] = {}
        self.writes: dict[str, Indices] = {}
        self.costs: dict[str, Cost] = {}
        self.mixing: set[str] = set()
        self._units = units
        self._shapes: dict[int, tuple[int, ...]] = {}
        self._image = image

    def step(self, step: Step) -> None:
        for tensor in step.reads:
            if tensor not in self.tensors:  # the image
                self._shapes[tensor] = self._image
                self.tensors[tensor] = self._units.new(self._image[-1])
                self._units.fix(self.tensors[tensor])
        sources = [self.tensors[tensor] for tensor in step.reads]
        shapes = [self._shapes[tensor] for tensor in step.reads]
        single = bool(sources) and not isinstance(step.output, (list, tuple))
        written = self._written(step, sources, shapes) if single else None
        if written is None:  # nothing is known of this one: all that goes in or comes out stays
            for source in sources:
                self._units.fix(source)
        for output in keras.tree.flatten(step.output):
            shape = tuple(output.shape[1:])
            if written is None:
                fresh = self._units.new(shape[-1] if shape else 1)
                self._units.fix(fresh)
            self._shapes[id(output)] = shape
            self.tensors[id(output)] = fresh if written is None else written
        if written is not None:
            self._note(step, sources[0], written)

    def _note(self, step: Step, source: Indices, written: Indices) -> None:
        """Remember what a layer reads and writes; one that is called again must lose the same channels in both calls."""
        if step.name in self.writes:
            self._units.tie(self.writes[step.name], written)
            self._units.tie(self.reads[step.name], source)
        self.reads[step.name], self.writes[step.name] = source, written
        if type(step.operation).__name__ in MIXES:
            self.mixing.add(step.name)
        cost = self._cost(step)
        if cost is not None:
            old = self.costs.get(step.name, Cost(0, 0))
            self.costs[step.name] = Cost(old.mixing + cost.mixing, old.single + cost.single)

    def _written(self, step: Step, sources: list[Indices], shapes: list[tuple[int, ...]]) -> Indices | None:
        """The units of a step's output; None where the layer is not known."""
        layer, kind, source = step.operation, type(step.operation).__name__, sources[0]
        channels = step.output.shape[-1]
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            return None
        if kind in MIXES:
            return self._units.new(channels) if getattr(layer, "groups", 1) == 1 else None
        if kind == "DepthwiseConv2D":
            return np.repeat(source, layer.depth_multiplier)
        if kind in KEEPS:
            return source if _by_channel(layer, len(shapes[0])) and len(source) == channels else None
        if kind in TIES:
            if any(len(other) != channels for other in sources):
                return None  # broadcast
            for other in sources[1:]:
                self._units.tie(source, other)
            return source if len(sources) > 1 else None
        if kind == "Concatenate":
            rank = len(shapes[0])
            if layer.axis in (-1, rank):
                return np.concatenate(sources)
            for other in sources[1:]:
                self._units.tie(source, other)
            return source
        if kind == "DepthToSpace":
            phases = source.reshape(-1, channels)
            for phase in phases[1:]:
                self._units.tie(phases[0], phase)
            return phases[0]
        if kind == "SpaceToDepth":
            return np.tile(source, layer.block**2)
        if kind in ("Flatten", "Reshape"):
            return self._reshaped(source, shapes[0], tuple(step.output.shape[1:]))
        return None

    def _reshaped(self, source: Indices, old: tuple[int, ...], new: tuple[int, ...]) -> Indices | None:
        if len(new) == 1:
            return np.tile(source, int(np.prod(old[:-1])))
        if len(old) == 1:
            places = source.reshape(-1, new[-1])
            for place in places[1:]:
                self._units.tie(places[0], place)
            return places[0]
        return source if old[-1] == new[-1] else None

    def _cost(self, step: Step) -> Cost | None:
        layer, kind = step.operation, type(step.operation).__name__
        if kind not in (*MIXES, "DepthwiseConv2D"):
            return None
        shape = self._shapes[step.reads[0]] if kind == "Conv2DTranspose" else step.output.shape[1:]
        places = float(np.prod(shape[:-1])) / float(np.prod(self._image[:-1]))
        if kind == "Dense":
            return Cost(places, 0)
        taps = float(np.prod(layer.kernel_size))
        if kind == "DepthwiseConv2D":
            return Cost(0, places * taps * layer.depth_multiplier)
        if kind == "SeparableConv2D":
            return Cost(places * layer.depth_multiplier, places * taps * layer.depth_multiplier)
        return Cost(places * taps, 0)


def _by_channel(layer: Any, rank: int) -> bool:
    """Whether a layer of KEEPS really treats channels apart, with settings that do not belong to single channels."""
    kind = type(layer).__name__
    if kind == "Activation":
        return layer.activation.__name__ not in ("softmax", "log_softmax")
    if kind == "BatchNormalization":
        return layer.axis in (-1, rank)
    return kind != "Rescaling" or (np.ndim(layer.scale) == 0 and np.ndim(layer.offset) == 0)


def _groups(
    reads: dict[str, Indices], writes: dict[str, Indices], mixing: set[str], fixed: set[int]
) -> tuple[Group, ...]:
    users: dict[int, tuple[set[str], set[str]]] = {}
    for part, name in ((part, name) for part in (0, 1) for name in mixing):
        for unit in set((writes, reads)[part][name].tolist()) - fixed:
            users.setdefault(unit, (set(), set()))[part].add(name)
    order = list(writes)
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[int]] = {}
    for unit, (writers, readers) in users.items():
        key = (tuple(sorted(writers, key=order.index)), tuple(sorted(readers, key=order.index)))
        alike.setdefault(key, []).append(unit)
    found = [Group(tuple(sorted(units)), *key) for key, units in alike.items()]
    return tuple(sorted(found, key=lambda group: group.units))
