"""Rules for what multiplies and adds by channel, BatchNormalization and Rescaling: into a convolution where that is exact."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .scene import Scene, copy, depthwise, put

layers = keras.layers
CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)


def affine(layer: Any, x: Any, scene: Scene) -> Any:
    """BatchNormalization or Rescaling -> into the convolution before it, or a 1x1 depthwise convolution.

    As (tanh(y) + 1) / 2 = sigmoid(2 y), the usual step from [-1, 1] to [0, 1] at the end of a model costs nothing either.
    """
    if type(layer) not in (layers.Rescaling, layers.BatchNormalization):
        return None
    scale, shift = factors(layer, x.shape[-1])
    kind = type(layer).__name__
    before = scene.before(x, CONVOLUTIONS)
    linear = before is not None and before.activation is keras.activations.linear
    halved = before is not None and before.activation is keras.activations.tanh
    halved = halved and np.allclose(scale, 0.5) and np.allclose(shift, 0.5)
    if not linear and not halved:
        scene.note(layer, f"{kind} -> DepthwiseConv2D 1x1")
        return depthwise(x, scale, shift if np.any(shift) else None, layer.name)
    if halved:
        scale, shift = np.full_like(scale, 2), np.zeros_like(shift)
    kernel, *bias = before.get_weights()
    old = bias[0] if bias else np.zeros_like(shift)
    new = copy(before, layer.name, use_bias=True, **({"activation": "sigmoid"} if halved else {}))
    scene.note(layer, f"{kind} folded into {before.name}" + (", tanh as sigmoid" if halved else ""))
    return put(new, before.input, [_scaled(before, kernel, scale), old * scale + shift])


def affine_before(layer: Any, x: Any, scene: Scene) -> Any:
    """A convolution behind a 1x1 depthwise one (what `affine` made of a normalization) -> both as one.

    Exact where the convolution sees no zeros of a border, or nothing was added: zeros would have stayed zeros.
    """
    if type(layer) not in (layers.Conv2D, layers.DepthwiseConv2D):
        return None
    before = scene.before(x, (layers.DepthwiseConv2D,))
    if (
        before is None
        or tuple(before.kernel_size) != (1, 1)
        or tuple(before.strides) != (1, 1)
        or before.depth_multiplier != 1
        or before.activation is not keras.activations.linear
    ):
        return None
    first, *added = before.get_weights()
    scale = first.reshape(-1)
    shift = added[0] if added else np.zeros_like(scale)
    if np.any(shift) and not sees_no_border(layer):
        return None
    kernel, *bias = layer.get_weights()
    # Both kinds of kernel have the input's channels on axis 2: (h, w, in, out) and (h, w, in, multiplier).
    shifted = kernel * shift[:, None]
    axes = (0, 1) if isinstance(layer, layers.DepthwiseConv2D) else (0, 1, 2)
    extra = shifted.sum(axis=axes).reshape(-1)
    new = copy(layer, layer.name, use_bias=True)
    scene.note(layer, f"takes up {before.name}")
    return put(new, before.input, [kernel * scale[:, None], extra + (bias[0] if bias else 0)])


def factors(layer: Any, channels: int) -> tuple[np.ndarray, np.ndarray]:
    """(scale, shift), float32[C] each, of a Rescaling or BatchNormalization."""
    if type(layer) is layers.Rescaling:
        scale, shift = (np.asarray(value, "float32") for value in (layer.scale, layer.offset))
        return np.broadcast_to(scale, (channels,)).copy(), np.broadcast_to(shift, (channels,)).copy()
    gamma = np.asarray(layer.gamma) if layer.scale else np.ones(channels, "float32")
    beta = np.asarray(layer.beta) if layer.center else np.zeros(channels, "float32")
    scale = gamma / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
    return scale, beta - np.asarray(layer.moving_mean) * scale


def sees_no_border(layer: Any) -> bool:
    """Whether a convolution pads nothing, given that its stride divides the map."""
    sizes = zip(layer.kernel_size, layer.dilation_rate, layer.strides, strict=True)
    return layer.padding == "valid" or all((k - 1) * d + 1 <= s for k, d, s in sizes)


def _scaled(layer: Any, kernel: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The kernel with its outputs multiplied by `scale`."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel * scale.reshape(kernel.shape[2:])
    if isinstance(layer, layers.Conv2DTranspose):
        return kernel * scale[:, None]  # (h, w, out, in)
    return kernel * scale
