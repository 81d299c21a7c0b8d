"""Lets every latent channel fill int8: per-channel scales, folded into the convolutions on either side of the latent.

TFLite gives an activation tensor one scale, and latent channels differ a hundredfold in range: at the scale of the widest
one a narrow channel has a handful of values, at a finer one the wide channels saturate. Since the scale of a channel can be
moved into the weights that make it and into those that read it (Nagel et al. 2019, cross-layer equalization), each channel
gets an int8 step of its own: the one with the least squared error, as the widest value in a million costs all others more
than it gains. Flat areas of any colour are held, though. The quantizer's steps are then per channel, `EntropyTables.gain`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .best_range import BINS, best_range
from .graph import rebuild, run
from .split import Halves

FLAT = np.array(
    [[[[i & 1, i >> 1 & 1, i >> 2]]] for i in range(8)], np.float32
)  # the corners of the colour cube, 1x1
_WEIGHTED = ("Conv2D", "DepthwiseConv2D", "Dense")
HOMOGENEOUS = ("linear", "relu", "leaky_relu")  # f(a x) = a f(x) for a > 0
# Pass a factor of a channel on.
_TIES = (
    *("Add", "Subtract", "ReLU", "LeakyReLU", "Dropout", "ZeroPadding2D", "EdgePadding", "Cropping2D"),
    "MaxPooling2D",
)


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
    """Measure every latent channel on images and scale the channels to int8.

    Where the layers at the latent do not let a factor through (a sigmoid, say), all channels share the widest one's scale.

    Args:
        images: float32 (H, W, 3) in [0, 1], H and W multiples of the stride.
        unit: of the quantization steps, in values of the latent; 0: the int8 step that the widest channel would have without
            flat colours, which images hardly have, but no less than half of the channels' steps: finer ones say nothing more.
    """
    positive, widest = _widest(halves, images)
    steps = 255 if positive else 127
    step = np.maximum(widest, np.abs(flat(halves)).max(axis=0)) / steps
    unit = unit or max(float(widest.max()) / steps, float(np.median(step)), 1e-6)
    scale = np.where(step > 0, step, max(float(step.max()), 1e-6)).astype(np.float32)
    scaled = fold_latent(halves, scale)
    if scaled is None:
        scale = np.full_like(scale, scale.max())
    gain = np.clip(np.round(256 * unit / scale), 1, 0xFFFF).astype(np.uint16)
    int8_scale = float(scale.max()) if scaled is None else 1.0
    return LatentRange(scaled or halves, scale, int8_scale, -128 if positive else 0, gain, unit)


def _widest(halves: Halves, images: Sequence[np.ndarray]) -> tuple[bool, NDArray[np.float64]]:
    """Whether no latent is ever negative, and the largest magnitude of each channel that is worth holding, float64[C]."""
    encoder, channels = halves.encoder, halves.latent.channels
    low = high = np.zeros(channels)
    for image in images:
        z = run(encoder, image[None])
        low, high = np.minimum(low, z.min(axis=(0, 1, 2))), np.maximum(high, z.max(axis=(0, 1, 2)))
    positive, ends = not (low < 0).any(), np.maximum(high, -low)
    per_bin = np.where(ends > 0, ends, 1) / (BINS - 1e-3)
    counts = np.zeros((channels, BINS), np.int64)
    for image in images:
        bins = (np.abs(run(encoder, image[None])).reshape(-1, channels) / per_bin).astype(np.int64)
        bins += np.arange(channels) * BINS
        counts += np.bincount(bins.ravel(), minlength=counts.size).reshape(counts.shape)
    steps = 255 if positive else 127
    widest = np.array(
        [
            best_range(count, 0.0, end, steps)[1] if end else 0.0
            for count, end in zip(counts, ends, strict=True)
        ]
    )
    return positive, widest


def flat(halves: Halves) -> NDArray[np.float64]:
    """The latents of flat areas of any colour, float64[N,C], borders and all."""
    side = halves.latent.tile or 4 * halves.latent.unit
    seen = [run(halves.encoder, np.broadcast_to(colour, (1, side, side, 3))) for colour in FLAT]
    return np.concatenate(seen).reshape(-1, seen[0].shape[-1]).astype(float)


def fold_latent(halves: Halves, scale: NDArray[np.float32]) -> Halves | None:
    """Copies of the halves whose latent is divided by `scale`; None when a layer stands in the way."""
    encoder, decoder = rebuild(halves.encoder), rebuild(halves.decoder)
    groups = [_group(encoder, encoder.output), _group(decoder, decoder.input)]
    for group in groups:
        if group is None:
            return None
        for layer in group.makers:
            depthwise = type(layer).__name__ == "DepthwiseConv2D"
            factor = scale.reshape(layer.kernel.shape[2:]) if depthwise else scale
            layer.kernel.assign(np.asarray(layer.kernel) / factor)
            if layer.use_bias:
                layer.bias.assign(np.asarray(layer.bias) / scale)
        for layer in group.readers:
            layer.kernel.assign(np.asarray(layer.kernel) * scale[:, None])
    return replace(halves, encoder=encoder, decoder=decoder)


@dataclass
class _Group:
    """Tensors that must share a scale per channel, since additions tie them, and the layers that make and read them."""

    makers: list[Any]
    readers: list[Any]


def _group(half: Any, latent: Any) -> _Group | None:
    """The group of the latent, the output or the input of `half`; None when a layer cannot take a factor."""
    group = _Group([], [])
    seen: set[int] = set()
    waiting = [latent]
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        source = tensor._keras_history.operation
        if len(getattr(source, "_inbound_nodes", ())) > 1:
            return None
        if passes_factors(source):
            waiting += keras.tree.flatten(source.input)
        elif _takes_factor(source) and source.activation.__name__ in HOMOGENEOUS:
            group.makers.append(source)
        elif tensor is not half.input or tensor is not latent:
            return None  # the image, or something else that has a scale of its own
        for reader in half.layers:
            if not any(t is tensor for node in reader._inbound_nodes for t in node.input_tensors):
                continue
            if passes_factors(reader):
                waiting.append(reader.output)
            elif (
                _takes_factor(reader) and type(reader).__name__ != "Dense" and len(reader._inbound_nodes) == 1
            ):
                group.readers.append(reader)
            else:
                return None
    return group


def passes_factors(layer: Any) -> bool:
    """Whether a layer without weights gives f times its output for f > 0 times its input, channel by channel."""
    plain = getattr(layer, "max_value", None) is None and not getattr(layer, "threshold", 0)
    return type(layer).__name__ in _TIES and plain


def _takes_factor(layer: Any) -> bool:
    return type(layer).__name__ in _WEIGHTED and getattr(layer, "groups", 1) == 1
