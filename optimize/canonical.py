"""A model in the optimizer's form: one flat graph of layers on maps (B, H, W, C), for images of any size or of its own.

Operations become the layers that do the same, every call of a shared layer gets a layer of its own, what matters in
training only is left out, and vectors become maps of one position: a Flatten and a Dense on it are a convolution as large as
the map, a Dense on a vector is a 1x1 convolution, and a Reshape back to a square map is depth_to_space. All of it is the same
arithmetic on the same weights.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgepress.train.layers import DepthToSpace

from .errors import UnsupportedModelError
from .graph import Cloner
from .operators import as_layer
from .scene import copy, put
from .served import ACTIVATIONS, SERVED

layers = keras.layers
MAX_CHANNELS = 1 << 16  # the runtime's limit
TRAINING_ONLY = (
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "AlphaDropout", "Identity"),
    *("ActivityRegularization", "InputLayer"),
)
# Layers that work value by value, so that it does not matter whether a map stands for a vector.
BY_VALUE = ("Activation", "ReLU", "LeakyReLU", "ELU", "Rescaling", "Add", "Subtract", "Multiply", "Average")


class Vector:
    """A map of fixed size that stands for the vector which Flatten makes of it."""

    def __init__(self, map: Any) -> None:
        self.map = map

    @property
    def size(self) -> int:
        """How many values it has."""
        return int(np.prod(self.map.shape[1:]))

    @property
    def is_column(self) -> bool:
        """Whether the map has one position only."""
        return tuple(self.map.shape[1:3]) == (1, 1)


class Canonical:
    """The `call` of `graph.rebuild` that makes the optimizer's form. Raises UnsupportedModelError, naming the layer."""

    def __init__(self) -> None:
        self._cloner = Cloner(shared=False)

    def __call__(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(operation, layers.Layer):
            return self._operation(operation, list(args), kwargs)
        kind = type(operation).__name__
        if kind in TRAINING_ONLY or (
            kind == "Activation" and operation.activation is keras.activations.linear
        ):
            return args[0]
        if kind not in SERVED:
            raise refusal(operation, f"layers of type {kind} are not served", SERVED_HINT)
        if getattr(operation, "data_format", "channels_last") != "channels_last":
            raise refusal(
                operation, "it has channels_first", "build the model with data_format='channels_last'"
            )
        activation = _activation(operation)
        if activation not in ACTIVATIONS:
            raise refusal(
                operation,
                f"its activation {activation!r} has no int8 form",
                f"use {', '.join(sorted(ACTIVATIONS))}",
            )
        x = args[0]
        if kind == "Flatten":
            return x if isinstance(x, Vector) else Vector(_fixed(operation, x))
        if kind == "Dense":
            return self._dense(operation, x)
        if kind == "Reshape":
            return self._reshape(operation, x)
        if kind in ("GlobalAveragePooling2D", "GlobalMaxPooling2D"):
            return self._global(operation, x)
        if any(isinstance(value, Vector) for value in keras.tree.flatten(args)):
            return self._on_vectors(operation, args[0])
        return self._cloner(operation, *args, **kwargs)

    def _operation(self, operation: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """A keras.ops operation as a layer."""
        made = as_layer(
            type(operation).__name__,
            [value for value in keras.tree.flatten((args, kwargs)) if value is not None],
            lambda value: isinstance(value, (keras.KerasTensor, Vector)),
            getattr(operation, "axis", None),
            layers,
            operation.name,
        )
        if made is None:
            raise refusal(operation, f"the operation {type(operation).__name__} is not served", SERVED_HINT)
        return self._on_vectors(*made)

    def _dense(self, layer: Any, x: Any) -> Any:
        if layer.units > MAX_CHANNELS:
            raise refusal(
                layer,
                f"it has {layer.units} units",
                f"at most {MAX_CHANNELS} are served: make the map smaller",
            )
        kernel, *bias = layer.get_weights()
        window = (1, 1)
        if isinstance(x, Vector):
            window = tuple(x.map.shape[1:3])
        name = self._cloner.unique(layer.name)
        part = layers.Conv2D(
            layer.units, window, use_bias=layer.use_bias, activation=layer.activation, name=name
        )
        source = x.map if isinstance(x, Vector) else x
        y = put(part, source, [kernel.reshape(*window, source.shape[-1], layer.units), *bias])
        return Vector(y) if isinstance(x, Vector) else y

    def _reshape(self, layer: Any, x: Any) -> Any:
        source = x.map if isinstance(x, Vector) else _fixed(layer, x)
        shape, size = tuple(source.shape[1:]), int(np.prod(source.shape[1:]))
        target = list(layer.target_shape)
        if -1 in target:
            known = int(np.prod([n for n in target if n != -1]))
            target[target.index(-1)] = size // known
        if len(target) == 1:
            return Vector(source)
        if tuple(target) == shape:
            return source
        if len(target) == 3 and shape[:2] == (1, 1) and target[0] == target[1]:
            return DepthToSpace(target[0], name=self._cloner.unique(layer.name))(source)
        raise refusal(
            layer,
            f"it reshapes {shape} to {tuple(target)}",
            "only vectors reshaped to square maps (side, side, channels) are served",
        )

    def _global(self, layer: Any, x: Any) -> Any:
        source = _fixed(layer, x)
        kind = layers.AveragePooling2D if "Average" in type(layer).__name__ else layers.MaxPooling2D
        pooled = kind(tuple(source.shape[1:3]), name=self._cloner.unique(layer.name))(source)
        return pooled if layer.keepdims else Vector(pooled)

    def _on_vectors(self, layer: Any, x: Any) -> Any:
        """A layer on maps some of which stand for vectors: of one position, or any map where order does not matter."""
        kind = type(layer).__name__
        flat = keras.tree.flatten(x)
        vectors = [value for value in flat if isinstance(value, Vector)]
        if not vectors:
            return self._cloner(layer, x)
        if len(vectors) < len(flat) or not (kind in BY_VALUE or all(v.is_column for v in vectors)):
            raise refusal(
                layer,
                f"a {kind} on a flattened map is not served",
                "put it before the Flatten or behind the Dense",
            )
        maps = [value.map for value in vectors]
        if kind == "BatchNormalization":
            new = copy(layer, self._cloner.unique(layer.name), axis=-1)
            return Vector(put(new, maps[0], layer.get_weights()))
        if kind == "PReLU":
            new = copy(layer, self._cloner.unique(layer.name), shared_axes=[1, 2])
            return Vector(put(new, maps[0], [layer.get_weights()[0].reshape(1, 1, -1)]))
        return Vector(self._cloner(layer, maps if isinstance(x, (list, tuple)) else maps[0]))


SERVED_HINT = "replace it by convolutions and activations, or cut it off the model"


def refusal(layer: Any, why: str, instead: str) -> UnsupportedModelError:
    """The error that names a layer, says why it cannot be served, and what to do."""
    return UnsupportedModelError(f"layer {layer.name!r}: {why}; {instead}")


def _activation(layer: Any) -> str:
    function = getattr(layer, "activation", None)
    return "linear" if function is None else getattr(function, "__name__", type(function).__name__)


def _fixed(layer: Any, x: Any) -> Any:
    """The map `x`, when its size is known."""
    if isinstance(x, Vector):
        return x.map
    if None in x.shape[1:]:
        raise refusal(
            layer,
            "it needs a map of known size",
            "give the model an input of fixed size, keras.Input((side, side, 3))",
        )
    return x
