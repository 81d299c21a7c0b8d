"""Rules for activations that stand alone: into the convolution before them, or into operations that XNNPACK runs in int8.

What XNNPACK takes in int8 (LiteRT 2.3): fused ReLU and ReLU6, LEAKY_RELU with a slope that is not 0, LOGISTIC, TANH (so SiLU,
x sigmoid(x), too) and ELU. It leaves RELU and MINIMUM of their own, PRELU, GELU and HARD_SWISH to TFLite's kernels.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .rewrite_affine import CONVOLUTIONS
from .scene import Scene, copy, depthwise, put

layers = keras.layers
# What TFLite takes a ReLU up into.
FUSING = (*CONVOLUTIONS, layers.Add, layers.Subtract, layers.Multiply)


def fuse(layer: Any, x: Any, scene: Scene) -> Any:
    """An Activation or ReLU layer behind a convolution without one -> the convolution's activation."""
    activation = _activation(layer)
    if activation is None:
        return None
    before = scene.before(x, CONVOLUTIONS)
    if before is None or before.activation is not keras.activations.linear:
        return None
    scene.note(layer, f"{_label(activation)} fused into {before.name}")
    return put(copy(before, layer.name, activation=activation), before.input, before.get_weights())


def capped(layer: Any, x: Any, scene: Scene) -> Any:
    """ReLU(max_value=m) -> m/6 ReLU6(6/m x); the factors go into the convolutions around it."""
    if (
        type(layer) is not layers.ReLU
        or layer.max_value in (None, 6)
        or not _plain(layer)
        or not layer.max_value
    ):
        return None
    factor = float(layer.max_value) / 6
    scene.note(layer, f"ReLU up to {layer.max_value:g} -> scaled ReLU6")
    y = layers.Rescaling(1 / factor, name=scene.name(f"{layer.name}_to_six"))(x)
    y = layers.ReLU(6.0, name=scene.name(f"{layer.name}_six"))(y)
    return layers.Rescaling(factor, name=layer.name)(y)


def alone(layer: Any, x: Any, scene: Scene) -> Any:
    """A ReLU that TFLite cannot take up into what is before it -> a 1x1 depthwise convolution that has one."""
    activation = _activation(layer)
    if activation not in ("relu", "relu6"):
        return None
    source: Any = x
    while type(source._keras_history.operation).__name__ == "DepthToSpace":  # TFLite moves a ReLU before it
        source = source._keras_history.operation.input
    before = scene.before(source, FUSING)
    if before is not None and getattr(before, "activation", None) in (None, keras.activations.linear):
        return None
    scene.note(layer, f"{_label(activation)} -> DepthwiseConv2D 1x1")
    return depthwise(x, 1.0, None, layer.name, activation)


def prelu(layer: Any, x: Any, scene: Scene) -> Any:
    """PReLU -> LeakyReLU where all slopes are one, otherwise x + relu((a - 1) x), or with slopes above 1 in two parts.

    As a x = x + (a - 1) x: for a <= 1 what is added to negative values is never negative.
    """
    if type(layer) is not layers.PReLU or tuple(layer.alpha.shape[:2]) != (1, 1):
        return None  # slopes by position have no such form
    slope = np.asarray(layer.alpha).reshape(-1)
    if slope.max() == slope.min() > 0:
        scene.note(layer, "PReLU with one slope -> LeakyReLU")
        return layers.LeakyReLU(negative_slope=float(slope[0]), name=layer.name)(x)
    if not np.any(slope):
        scene.note(layer, "PReLU without slopes -> ReLU")
        return depthwise(x, 1.0, None, layer.name, "relu")
    less = slope - 1
    if less.max() <= 0:
        part = depthwise(x, less, None, scene.name(f"{layer.name}_negative"), "relu")
    else:
        part = depthwise(x, -1.0, None, scene.name(f"{layer.name}_negative"), "relu")
        part = depthwise(part, -less, None, scene.name(f"{layer.name}_slopes"))
    scene.note(layer, "PReLU -> DepthwiseConv2D 1x1 with ReLU + Add")
    return layers.Add(name=layer.name)([x, part])


def _activation(layer: Any) -> str | None:
    """The name of what an Activation or plain ReLU layer computes, value by value; None for other layers."""
    if type(layer) is layers.Activation:
        name = keras.activations.serialize(layer.activation)
        return name if isinstance(name, str) and name not in ("linear", "softmax") else None
    if type(layer) is layers.ReLU and _plain(layer) and layer.max_value in (None, 6):
        return "relu" if layer.max_value is None else "relu6"
    return "relu" if type(layer) is layers.LeakyReLU and not layer.negative_slope else None


def _plain(layer: Any) -> bool:
    return not layer.negative_slope and not layer.threshold


def _label(activation: str) -> str:
    return {"relu": "ReLU", "relu6": "ReLU6"}.get(activation, activation)
