"""What int8 will add to the pictures, predicted to first order for any factors of the channels.

A rounding error is as good as random, of variance step^2 / 12. What one of a value or of a weight w does to the picture is
that times the sum of (d pixel / d w)^2 over all pixels; and that sum is the mean of (d (v . pixels) / d w)^2 over random
signs v (Hutchinson 1989): one backward pass an image for all values and weights at once. A channel that is made f times larger
has 1 / f^2 of its own noise and f^2 of that of the weights which read it, while the steps follow from the widest values of a
tensor and from the largest weight of a filter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .channel_graph import ChannelPlan
from .graph import Cloner, rebuild

STEPS = 255  # across the range of a tensor
LEVELS = 127  # of weights, either side of zero
# Operations whose output is made of values of their inputs, so that int8 has one scale for all and rounds nothing.
MOVES = (
    *("SpaceToDepth", "DepthToSpace", "Concatenate", "ZeroPadding2D", "EdgePadding", "Cropping2D"),
    *("MaxPooling2D", "Dropout", "Reshape", "Flatten"),
)
FUSED = ("relu", "relu6")  # TFLite rounds what comes out of these, not what goes in

Floats = NDArray[np.float64]


@dataclass
class Rounded:
    """A tensor that int8 rounds.

    Attributes:
        span: number that it shares with the tensors that have its scale.
        units: int64[C], see `channel_graph`.
        low, high: [C], ends of the values on the images, and zero.
        gain: [C], the squared error in a picture for noise of variance 1 on all of a channel.
    """

    span: int
    units: NDArray[np.int64]
    low: Floats
    high: Floats
    gain: Floats


@dataclass
class Read:
    """The weights of a convolution.

    Attributes:
        units: int64[C], of its inputs.
        largest: [C, filters], magnitudes.
        gain: [C, filters], the squared error in a picture for noise of variance 1 on each.
    """

    units: NDArray[np.int64]
    largest: Floats
    gain: Floats


@dataclass(frozen=True)
class NoiseModel:
    """What the noise that int8 makes in one half depends on."""

    rounded: list[Rounded]
    reads: list[Read]

    def ends(self, factors: Floats) -> dict[int, tuple[float, float]]:
        """The smallest and the largest value of each span."""
        found: dict[int, tuple[float, float]] = {}
        for t in self.rounded:
            f = factors[t.units]
            low, high = found.get(t.span, (0.0, 0.0))
            found[t.span] = min(low, float((t.low * f).min())), max(high, float((t.high * f).max()))
        return found

    def noise(self, factors: Floats) -> float:
        """The squared error in a picture, summed over its values, when each unit is `factors` times what it was."""
        ends = self.ends(factors)
        total = 0.0
        for t in self.rounded:
            low, high = ends[t.span]
            total += ((high - low) / STEPS) ** 2 * float((t.gain / factors[t.units] ** 2).sum())
        for read in self.reads:
            f = factors[read.units][:, None]
            steps = (read.largest / f).max(axis=0) / LEVELS
            total += float((read.gain * (f * steps) ** 2).sum())
        return total / 12


def opened(half: Any) -> Any:
    """A copy of a half in which the activations of convolutions are layers of their own."""
    cloner = Cloner()

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if type(layer).__name__ not in ("Conv2D", "DepthwiseConv2D") or layer.activation.__name__ == "linear":
            return cloner(layer, *args, **kwargs)
        config = {**layer.get_config(), "activation": None, "name": cloner.unique(layer.name)}
        linear = type(layer).from_config(config)
        output = linear(*args, **kwargs)
        linear.set_weights(layer.get_weights())
        name = cloner.unique(f"{layer.name}_activation")
        return keras.layers.Activation(layer.activation, name=name)(output)

    return rebuild(half, None, call)


def noise_models(
    models: tuple[Any, Any], plans: tuple[ChannelPlan, ChannelPlan], images: Sequence[np.ndarray]
) -> tuple[NoiseModel, NoiseModel]:
    """What the noise in encoder and decoder depends on, measured.

    Args:
        models: both, `opened`.
        plans: their channels' units.
        images: float32 (H, W, 3) in [0, 1] of a size that the models take.
    """
    import tensorflow as tf

    parts = [_Part(model, plan) for model, plan in zip(models, plans, strict=True)]
    kernels = [kernel for part in parts for kernel in part.kernels]
    rng = np.random.default_rng(0)
    for image in images:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            x = tf.convert_to_tensor(image[None])
            tape.watch([x, *kernels])
            values = []
            for part in parts:
                *inner, x = part.probe(x, training=False)
                values += inner
            goal = tf.reduce_sum(x * rng.choice(np.array([-1, 1], np.float32), x.shape))
        slopes = tape.gradient(goal, [*values, *kernels], unconnected_gradients=tf.UnconnectedGradients.ZERO)
        squares = [np.square(np.asarray(slope, float)) / len(images) for slope in slopes]
        for t, value, square in zip(
            [t for part in parts for t in part.rounded], values, squares, strict=False
        ):
            value = np.asarray(value).reshape(-1, len(t.units))
            t.low, t.high = np.minimum(t.low, value.min(axis=0)), np.maximum(t.high, value.max(axis=0))
            t.gain += square.reshape(value.shape).sum(axis=0)
        for read, square in zip(
            [r for part in parts for r in part.reads], squares[len(values) :], strict=True
        ):
            read.gain += square.sum(axis=(0, 1))
    encoder, decoder = (NoiseModel(part.rounded, part.reads) for part in parts)
    return encoder, decoder


class _Part:
    """One half, with the tensors and the kernels to look at."""

    def __init__(self, model: Any, plan: ChannelPlan) -> None:
        self.rounded: list[Rounded] = []
        self.reads: list[Read] = []
        self.kernels: list[Any] = []
        numbers = spans(model)
        fused = fused_inputs(model)
        outputs = []
        for operation in model.operations:
            if operation.name not in plan.writes:
                continue  # the input, and what the plan does not know
            if type(operation).__name__ not in MOVES and id(operation.output) not in fused:
                units = plan.writes[operation.name]
                self.rounded.append(Rounded(numbers[id(operation.output)], units, *np.zeros((3, len(units)))))
                outputs.append(operation.output)
            if type(operation).__name__ == "Conv2D":
                largest = np.abs(np.asarray(operation.kernel, float)).max(axis=(0, 1))
                self.reads.append(Read(plan.reads[operation.name], largest, np.zeros(largest.shape)))
                self.kernels.append(operation.kernel.value)
        self.probe = keras.Model(model.input, [*outputs, model.output])


def fused_inputs(model: Any) -> set[int]:
    """The ids of tensors that int8 does not round, since TFLite has the activation that reads them done where they are made."""
    return {
        id(operation.input)
        for operation in model.operations
        if type(operation).__name__ == "Activation" and operation.activation.__name__ in FUSED
    }


def spans(model: Any) -> dict[int, int]:
    """By id of each tensor of a flat model, a number that it shares with all that have its scale in int8."""
    found: dict[int, int] = {}
    for operation in model.operations:
        alike = {id(tensor) for tensor in keras.tree.flatten(operation.output)}
        found.update(dict.fromkeys(alike, len(found)))
        if type(operation).__name__ in MOVES:
            alike |= {id(tensor) for tensor in keras.tree.flatten(operation.input)}
            numbers = {found[tensor] for tensor in alike}
            found = {tensor: min(numbers) if n in numbers else n for tensor, n in found.items()}
    return found
