"""A bridge between Keras 3 and tf_keras (Keras 2): the same graph, the same weights, outputs compared.

tensorflow-model-optimization works on tf_keras objects only, while `import keras` gives Keras 3 since TensorFlow 2.16.

    from edgepress.optimize import from_tf_keras, to_tf_keras
    old = to_tf_keras(model)        # e.g. for tfmot.sparsity.keras.prune_low_magnitude(old)
    new = from_tf_keras(old)

Both build layer by layer from an explicit list of settings, so that nothing is lost silently: a layer type that is not
listed is an error that names the layer, and so is an output that differs.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tf_keras

from edgepress.train.layers import DepthToSpace, EdgePadding, SpaceToDepth

from .errors import UnsupportedModelError
from .graph import Cloner, as_functional, replay
from .operators import as_layer
from .served import RENAMED, SETTINGS

TOLERANCE = 1e-5

# Activations that mean the same in both (hard_sigmoid, for one, does not).
ACTIVATIONS = {
    *(
        "linear",
        "relu",
        "relu6",
        "sigmoid",
        "tanh",
        "softmax",
        "elu",
        "selu",
        "softplus",
        "softsign",
        "exponential",
    ),
    *("gelu", "silu", "swish", "leaky_relu"),
}


@tf_keras.saving.register_keras_serializable("edgepress")
class TFDepthToSpace(tf_keras.layers.Layer):
    """edgepress.train.layers.DepthToSpace for tf_keras."""

    def __init__(self, block: int = 2, **kwargs: Any):
        super().__init__(**kwargs)
        self.block = block

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        return tf.nn.depth_to_space(inputs, self.block)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "block": self.block}


@tf_keras.saving.register_keras_serializable("edgepress")
class TFSpaceToDepth(TFDepthToSpace):
    """edgepress.train.layers.SpaceToDepth for tf_keras."""

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        return tf.nn.space_to_depth(inputs, self.block)


@tf_keras.saving.register_keras_serializable("edgepress")
class TFEdgePadding(tf_keras.layers.Layer):
    """edgepress.train.layers.EdgePadding for tf_keras."""

    def call(self, inputs: Any) -> Any:
        import tensorflow as tf

        x = tf.concat([inputs[:, :1], inputs, inputs[:, -1:]], axis=1)
        return tf.concat([x[:, :, :1], x, x[:, :, -1:]], axis=2)


# Layers of ours: (for Keras 3, for tf_keras).
OWN = {
    "DepthToSpace": (DepthToSpace, TFDepthToSpace),
    "SpaceToDepth": (SpaceToDepth, TFSpaceToDepth),
    "EdgePadding": (EdgePadding, TFEdgePadding),
}


def to_tf_keras(model: Any, *, compare: bool = True) -> Any:
    """The tf_keras twin of a Keras 3 model: functional or Sequential, nested models flattened.

    Args:
        model: Keras 3 model with any number of inputs, all of rank >= 2.
        compare: run both on random input and compare the outputs.

    Raises: UnsupportedModelError naming the layer that has no twin, or when outputs differ by more than 1e-5.
    """
    source = as_functional(model)
    names = Cloner()
    twins: dict[int, Any] = {}
    inputs = [tf_keras.Input(t.shape[1:], name=t.name.split(":")[0], dtype=t.dtype) for t in source.inputs]

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            axis = getattr(operation, "axis", None)
            return _operator(operation, type(operation).__name__, (args, kwargs), axis, names, tf_keras)
        fresh = id(operation) not in twins
        if fresh:
            twins[id(operation)] = _twin(operation, names.unique(operation.name), tf_keras)
        _check_call(operation, kwargs)
        output = twins[id(operation)](*args)
        if fresh:
            twins[id(operation)].set_weights(operation.get_weights())
        return output

    twin = tf_keras.Model(_one_or_all(inputs), _one_or_all(replay(source, inputs, call)), name=model.name)
    if compare:
        _compare(model, twin)
    return twin


def from_tf_keras(model: Any, *, compare: bool = True) -> Any:
    """The Keras 3 twin of a tf_keras model; arguments and errors as in `to_tf_keras`."""
    names = Cloner()
    twins: dict[int, Any] = {}
    inputs = [
        keras.Input(tuple(t.shape[1:]), name=t.name.split(":")[0], dtype=t.dtype.name) for t in model.inputs
    ]

    def walk(source: Any, values: list[Any]) -> list[Any]:
        # tf_keras keys tensors by the text of their id and pops one value for each use.
        def store(symbols: Any, values: list[Any]) -> None:
            for symbol, value in zip(symbols, values, strict=True):
                key = str(id(symbol))
                tensors[key] = [value] * source._tensor_usage_count[key]

        tensors: dict[str, list[Any]] = {}
        store(source.inputs, values)
        for depth in sorted(source._nodes_by_depth, reverse=True):
            for node in source._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                layer = node.layer
                args, kwargs = node.map_arguments(tensors)
                if isinstance(layer, tf_keras.Model):
                    results = walk(_tf_functional(layer), keras.tree.flatten(args))
                else:
                    results = [apply(layer, args, kwargs)]
                outputs = node.outputs if isinstance(node.outputs, (list, tuple)) else [node.outputs]
                store(outputs, results)
        return [tensors[str(id(t))].pop() for t in source.outputs]

    def apply(layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        if type(layer).__name__ == "TFOpLambda":
            axis = kwargs.pop("axis", None)
            return _operator(layer, layer.symbol, (args, kwargs), axis, names, keras)
        _check_call(layer, kwargs)
        fresh = id(layer) not in twins
        if fresh:
            twins[id(layer)] = _twin(layer, names.unique(layer.name), keras)
        output = twins[id(layer)](*args)
        if fresh:
            twins[id(layer)].set_weights(layer.get_weights())
        return output

    twin = keras.Model(_one_or_all(inputs), _one_or_all(walk(_tf_functional(model), inputs)), name=model.name)
    if compare:
        _compare(twin, model)
    return twin


def _twin(layer: Any, name: str, target: Any) -> Any:
    """An unbuilt layer of the other Keras (`target`: the module) with the settings of `layer`."""
    kind = type(layer).__name__.removeprefix("TF")
    if kind not in SETTINGS:
        raise _unsupported(layer, f"layers of type {type(layer).__name__} have no twin here")
    renamed = RENAMED.get(kind, {})
    config = layer.get_config()
    settings: dict[str, Any] = {"name": name}
    for setting in SETTINGS[kind]:
        old = renamed.get(setting, setting)
        source, goal = (setting, old) if target is tf_keras else (old, setting)
        if setting == "activation":
            settings[goal] = _activation(layer)
        elif source in config:
            settings[goal] = config[source]
    if kind == "ReLU":
        # One of the two Kerases writes arrays or None where the other wants plain numbers.
        settings.update(
            {k: None if v is None else float(np.asarray(v)) for k, v in settings.items() if k != "name"}
        )
    if kind == "BatchNormalization" and target is keras:
        settings["axis"] = int(np.ravel(settings["axis"])[0])  # a list in tf_keras
    if kind == "LeakyReLU":
        settings.update({k: float(np.asarray(v)) for k, v in settings.items() if k != "name"})
    if kind in OWN:
        return OWN[kind][target is tf_keras](**settings)
    return getattr(target.layers, kind)(**settings)


def _operator(layer: Any, kind: str, given: Any, axis: Any, names: Cloner, target: Any) -> Any:
    """The other Keras's output of an operation on tensors."""
    values = [v for v in keras.tree.flatten(given) if v is not None and not isinstance(v, str)]
    # tf_keras records `1 - x` with the number as a tensor.
    values = [float(v) if hasattr(v, "numpy") and len(v.shape) == 0 else v for v in values]
    name = names.unique(layer.name.replace(".", "_"))
    made = as_layer(kind, values, lambda v: hasattr(v, "shape"), axis, target.layers, name)
    if made is None:
        raise _unsupported(layer, f"no layer does what the operation {kind} does")
    return made[0](made[1])


def _check_call(layer: Any, kwargs: dict[str, Any]) -> None:
    """Only plain calls have a twin; Keras 3 records `training` and `mask` even when nobody gave them."""
    extra = [
        name for name, value in kwargs.items() if value is not None and (name, value) != ("training", False)
    ]
    if extra:
        raise _unsupported(layer, f"it is called with {', '.join(extra)}")


def _one_or_all(tensors: list[Any]) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors


def _activation(layer: Any) -> str:
    name = getattr(layer.activation, "__name__", None) or type(layer.activation).__name__
    if name not in ACTIVATIONS:
        raise _unsupported(layer, f"its activation {name!r} does not mean the same in both")
    return "swish" if name == "silu" else name


def _tf_functional(model: Any) -> Any:
    if not hasattr(model, "_nodes_by_depth") or not model.inputs:
        raise UnsupportedModelError("the tf_keras model is neither functional nor a built Sequential")
    return model


def _unsupported(layer: Any, why: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"layer {layer.name!r} cannot cross between Keras 3 and tf_keras: {why}")


def _compare(new: Any, old: Any) -> None:
    """Run Keras 3 `new` and tf_keras `old` on the same noise; UnsupportedModelError when outputs differ."""
    rng = np.random.default_rng(0)
    shapes = [[2, *[32 if n is None else n for n in t.shape[1:]]] for t in new.inputs]
    batch = _one_or_all([rng.random(shape, "float32") for shape in shapes])
    a, b = (keras.tree.flatten(model(batch, training=False)) for model in (new, old))
    for x, y in zip(a, b, strict=True):
        x, y = np.asarray(x), np.asarray(y)
        if x.shape != y.shape or not np.abs(x - y).max() <= TOLERANCE * max(1.0, float(np.abs(x).max())):
            raise UnsupportedModelError(
                "the model gives other outputs on the other side of the bridge; please report this"
            )
