"""1x1 convolutions as the matrices that they are."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


def is_pointwise(layer: Any) -> bool:
    """A 1x1 convolution with stride 1."""
    return (
        type(layer) is keras.layers.Conv2D
        and layer.kernel_size == (1, 1)
        and layer.strides == (1, 1)
        and layer.groups == 1
    )


def is_linear(layer: Any) -> bool:
    """A 1x1 convolution with stride 1 and no activation."""
    return is_pointwise(layer) and layer.activation.__name__ == "linear"


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
