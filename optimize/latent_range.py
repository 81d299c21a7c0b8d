"""Lets every latent channel fill int8: per-channel scales, folded into the convolutions on either side of the latent.

TFLite gives an activation tensor one scale, and latent channels differ a hundredfold in range: at the scale of the widest
one a narrow channel has a handful of values, at a finer one the wide channels saturate. Since the scale of a channel can be
moved into the weights that make it and into those that read it (Nagel et al. 2019, cross-layer equalization), each channel
gets the finest int8 step that holds it. The quantizer's steps are then per channel, `EntropyTables.gain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .graph import rebuild, run
from .split import Halves

HEADROOM = 1.1  # over the largest latent on the images, before int8 saturates
_MAKERS = ("Conv2D", "DepthwiseConv2D", "Dense")
_HOMOGENEOUS = ("linear", "relu", "leaky_relu")  # f(a x) = a f(x) for a > 0
_PASSED_BACK = ("Add", "Subtract", "ReLU", "LeakyReLU", "Dropout")
_PASSED_ON = ("ZeroPadding2D", "Dropout")


@dataclass(frozen=True)
class LatentRange:
    """A model prepared for int8 latents.

    Attributes:
        halves: encoder and decoder whose latent is in int8 steps of `int8_scale`, less the zero point.
        scale: float32[C], value of the original latent that one int8 step of each channel stands for.
        int8_scale: what one int8 step is in the latent of `halves`; 1 where the channels' scales could be folded in.
        zero_point: -128 for latents that are never negative, otherwise 0.
        gain: uint16[C], `unit` in 1/256 of the int8 step of each channel.
        unit: of quantization steps, in values of the original latent.
    """

    halves: Halves
    scale: NDArray[np.float32]
    int8_scale: float
    zero_point: int
    gain: NDArray[np.uint16]
    unit: float


def fill_int8(halves: Halves, images: Sequence[np.ndarray], unit: float = 0.0) -> LatentRange:
    """Measure the range of every latent channel on images and scale the channels to int8.

    Where the layers at the latent do not let a factor through (a sigmoid, say), all channels share the widest one's scale.

    Args:
        images: float32 (H, W, 3) in [0, 1], H and W multiples of the stride.
        unit: of the quantization steps, in values of the latent; 0: the int8 step of the widest channel.
    """
    low = high = np.zeros(halves.latent.channels, np.float32)
    for image in images:
        z = run(halves.encoder, image[None])
        low, high = np.minimum(low, z.min(axis=(0, 1, 2))), np.maximum(high, z.max(axis=(0, 1, 2)))
    positive = not (low < 0).any()
    widest = (high if positive else np.maximum(high, -low)) * HEADROOM / (255 if positive else 127)
    scale = np.where(widest > 0, widest, max(float(widest.max()), 1e-6)).astype(np.float32)
    scaled = _folded(halves, scale)
    if scaled is None:
        scale = np.full_like(scale, scale.max())
    unit = unit or float(scale.max())
    gain = np.clip(np.round(256 * unit / scale), 1, 0xFFFF).astype(np.uint16)
    int8_scale = float(scale.max()) if scaled is None else 1.0
    return LatentRange(scaled or halves, scale, int8_scale, -128 if positive else 0, gain, unit)


def _folded(halves: Halves, scale: NDArray[np.float32]) -> Halves | None:
    """Copies of the halves whose latent is divided by `scale`; None when a layer stands in the way."""
    encoder, decoder = rebuild(halves.encoder), rebuild(halves.decoder)
    makers, readers = _makers(encoder.output), _readers(decoder)
    if makers is None or readers is None:
        return None
    for layer in makers:
        depthwise = type(layer).__name__ == "DepthwiseConv2D"
        factor = scale.reshape(layer.kernel.shape[2:]) if depthwise else scale
        layer.kernel.assign(np.asarray(layer.kernel) / factor)
        if layer.use_bias:
            layer.bias.assign(np.asarray(layer.bias) / scale)
    for layer in readers:
        layer.kernel.assign(np.asarray(layer.kernel) * scale[:, None])
    return replace(halves, encoder=encoder, decoder=decoder)


def _makers(tensor: Any) -> list[Any] | None:
    """The layers whose weights set the scale of a tensor's channels; None when something else does, too."""
    layer = tensor._keras_history.operation
    kind = type(layer).__name__
    if len(layer._inbound_nodes) != 1:
        return None
    if kind in _MAKERS and getattr(layer, "groups", 1) == 1:
        return [layer] if layer.activation.__name__ in _HOMOGENEOUS else None
    if kind in _PASSED_BACK:
        found: list[Any] = []
        for source in keras.tree.flatten(layer.input):
            makers = _makers(source)
            if makers is None or any(m is f for m in makers for f in found):
                return None
            found += makers
        return found
    return None


def _readers(decoder: Any) -> list[Any] | None:
    """The layers that read the latent first, through what keeps zeros zero; None when one cannot take a factor."""
    waiting, found = [decoder.input], []
    while waiting:
        tensor = waiting.pop()
        for layer in decoder.layers:
            if not any(source is tensor for node in layer._inbound_nodes for source in node.input_tensors):
                continue
            kind = type(layer).__name__
            if len(layer._inbound_nodes) != 1:
                return None
            if kind in _PASSED_ON:
                waiting.append(layer.output)
            elif kind in ("Conv2D", "DepthwiseConv2D") and getattr(layer, "groups", 1) == 1:
                found.append(layer)
            else:
                return None
    return found
