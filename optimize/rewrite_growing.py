"""Rules for layers that enlarge a map: transposed convolutions, and upsampling with or without a convolution behind it."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from edgepress.train.layers import DepthToSpace, EdgePadding

from .errors import UnsupportedModelError
from .phases import by_phases, transposed_axis, upsampled_axis
from .scene import Scene, put

layers = keras.layers


def transposed(layer: Any, x: Any, scene: Scene) -> Any:
    """Conv2DTranspose -> convolution(s) and depth_to_space, see `phases`.

    Raises: UnsupportedModelError, naming layer and setting, for what has no exact form here.
    """
    if type(layer) is not layers.Conv2DTranspose:
        return None
    s = layer.strides[0]
    if layer.strides[1] != s or set(layer.dilation_rate) != {1} or layer.output_padding is not None:
        raise UnsupportedModelError(
            f"layer {layer.name!r}: a Conv2DTranspose with unequal strides, dilation or output_padding has no exact "
            "sub-pixel form; use equal strides and padding 'same' or 'valid'"
        )
    rows, columns = (transposed_axis(k, s, layer.padding) for k in layer.kernel_size)
    kernel = np.asarray(layer.kernel).swapaxes(2, 3)  # Keras has (kh, kw, out, in) here
    y, what = by_phases(layer, x, s, rows, columns, kernel, scene)
    scene.note(layer, f"Conv2DTranspose {layer.kernel_size[0]}x{layer.kernel_size[1]}/{s} -> {what}")
    return y


def upsampled(layer: Any, x: Any, scene: Scene) -> Any:
    """A convolution behind nearest upsampling -> sub-pixel convolution(s) on the small map, borders included."""
    if not _convolves(layer):
        return None
    before = scene.before(x, (layers.UpSampling2D,))
    if before is None or not _nearest(before):
        return None
    s = before.size[0]
    rows, columns = (
        upsampled_axis(k, s, d, layer.padding)
        for k, d in zip(layer.kernel_size, layer.dilation_rate, strict=True)
    )
    y, what = by_phases(layer, before.input, s, rows, columns, np.asarray(layer.kernel), scene)
    scene.note(layer, f"UpSampling2D {s} + Conv2D {layer.kernel_size[0]}x{layer.kernel_size[1]} -> {what}")
    return y


def nearest(layer: Any, x: Any, scene: Scene) -> Any:
    """Nearest upsampling that no convolution takes up -> copies side by side as channels, and depth_to_space."""
    if type(layer) is not layers.UpSampling2D or layer.interpolation != "nearest":
        return None
    if not _nearest(layer):
        _refuse(layer)
    if _convolves(scene.only_reader(layer)):
        return None  # `upsampled` will take it up
    s = layer.size[0]
    scene.note(layer, f"UpSampling2D {s} -> Concatenate + depth_to_space")
    copies = layers.Concatenate(name=scene.name(f"{layer.name}_copies"))([x] * s**2)
    return DepthToSpace(s, name=layer.name)(copies)


def bilinear(layer: Any, x: Any, scene: Scene) -> Any:
    """Bilinear upsampling -> depthwise convolutions of the map with its edge repeated, one for each phase.

    TFLite's RESIZE_BILINEAR has its output size written into the model, so that it could not take images of any size.
    Output s n + p lies at n + f, f = (p + 1/2) / s - 1/2, between two inputs; beyond the border the edge goes on.
    """
    if type(layer) is not layers.UpSampling2D or layer.interpolation != "bilinear":
        return None
    s, across = layer.size
    if s != across:
        _refuse(layer)
    lines = []
    for p in range(s):
        f = (p + 0.5) / s - 0.5
        lines.append([max(-f, 0), 1 - abs(f), max(f, 0)])
    padded = EdgePadding(name=scene.name(f"{layer.name}_edge"))(x)
    parts = []
    for py in range(s):
        for px in range(s):
            part = layers.DepthwiseConv2D(3, use_bias=False, name=scene.name(f"{layer.name}_{py}{px}"))
            kernel = np.repeat(np.outer(lines[py], lines[px])[:, :, None, None], x.shape[-1], axis=2)
            parts.append(put(part, padded, [kernel.astype("float32")]))
    joined = layers.Concatenate(name=scene.name(f"{layer.name}_join"))(parts) if s > 1 else parts[0]
    scene.note(layer, f"UpSampling2D {s}, bilinear -> {s * s} DepthwiseConv2D 3x3, depth_to_space")
    return DepthToSpace(s, name=layer.name)(joined)


def _convolves(layer: Any) -> bool:
    return type(layer) is layers.Conv2D and tuple(layer.strides) == (1, 1) and layer.groups == 1


def _nearest(layer: Any) -> bool:
    return layer.interpolation == "nearest" and layer.size[0] == layer.size[1]


def _refuse(layer: Any) -> None:
    raise UnsupportedModelError(
        f"layer {layer.name!r}: UpSampling2D by {layer.size[0]} down and {layer.size[1]} across has no form that runs "
        "on the device; use equal factors"
    )
