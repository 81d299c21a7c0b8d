"""Rules for windows that move over a map: separable and grouped convolutions, average pooling, zero padding."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from .scene import Scene, copy, put

layers = keras.layers


def separable(layer: Any, x: Any, scene: Scene) -> Any:
    """SeparableConv2D -> its depthwise convolution, then its 1x1 convolution: it is nothing else."""
    if type(layer) is not layers.SeparableConv2D:
        return None
    weights = layer.get_weights()
    config = layer.get_config()
    own = ("kernel_size", "strides", "padding", "depth_multiplier", "dilation_rate", "data_format")
    first = layers.DepthwiseConv2D(
        **{key: config[key] for key in own}, use_bias=False, name=scene.name(f"{layer.name}_depthwise")
    )
    second = layers.Conv2D(
        layer.filters, 1, use_bias=layer.use_bias, activation=layer.activation, name=layer.name
    )
    scene.note(layer, "SeparableConv2D -> DepthwiseConv2D + Conv2D 1x1")
    return put(second, put(first, x, weights[:1]), weights[1:])


def grouped(layer: Any, x: Any, scene: Scene) -> Any:
    """A convolution in groups -> one over all channels with zeros between the groups, as TFLite's int8 kernels want it."""
    if type(layer) is not layers.Conv2D or layer.groups == 1:
        return None
    kernel, *bias = layer.get_weights()
    height, width, inner, outer = kernel.shape
    full = np.zeros((height, width, inner * layer.groups, outer), kernel.dtype)
    each = outer // layer.groups
    for group in range(layer.groups):
        rows, columns = slice(group * inner, (group + 1) * inner), slice(group * each, (group + 1) * each)
        full[:, :, rows, columns] = kernel[..., columns]
    scene.note(layer, f"Conv2D in {layer.groups} groups -> Conv2D with zeros between the groups")
    return put(copy(layer, layer.name, groups=1), x, [full, *bias])


def average_pooling(layer: Any, x: Any, scene: Scene) -> Any:
    """AveragePooling2D -> depthwise convolution with the weight 1 / window everywhere.

    Not where windows reach over the border (`same` with windows larger than the stride): those average fewer values.
    """
    if type(layer) is not layers.AveragePooling2D:
        return None
    window, strides = tuple(layer.pool_size), tuple(layer.strides or layer.pool_size)
    if strides[0] != strides[1] or (
        layer.padding == "same" and any(k > s for k, s in zip(window, strides, strict=True))
    ):
        return None
    convolution = layers.DepthwiseConv2D(
        window, strides, padding=layer.padding, use_bias=False, name=layer.name
    )
    channels = x.shape[-1]
    scene.note(layer, f"AveragePooling2D {window[0]}x{window[1]} -> DepthwiseConv2D")
    return put(convolution, x, [np.full((*window, channels, 1), 1 / (window[0] * window[1]), "float32")])


def padding(layer: Any, x: Any, scene: Scene) -> Any:
    """ZeroPadding2D before a convolution with padding `valid` -> padding `same`, where that pads alike.

    `same` pads by kernel - stride where the stride divides the map, which it does for images that the codec pads to
    whole latent positions; the last row and column get the odd one.
    """
    if type(layer) not in (layers.Conv2D, layers.DepthwiseConv2D) or layer.padding != "valid":
        return None
    border = scene.before(x, (layers.ZeroPadding2D,))
    if border is None:
        return None
    wanted = []
    for kernel, stride, dilation in zip(layer.kernel_size, layer.strides, layer.dilation_rate, strict=True):
        total = max((kernel - 1) * dilation + 1 - stride, 0)
        wanted.append((total // 2, total - total // 2))
    if [tuple(pair) for pair in border.padding] != wanted:
        return None
    scene.note(layer, f"{border.name} taken up into padding 'same'")
    return put(copy(layer, layer.name, padding="same"), border.input, layer.get_weights())
