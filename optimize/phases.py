"""Convolutions that make larger maps, read by phases of the output: small convolutions of the input and depth_to_space.

A transposed convolution with stride s spreads every input value over k x k outputs that lie s apart; a convolution behind
nearest-neighbour upsampling by s reads every input value s times over. Read by output phase, output s n + p for each p in
0..s-1, both are ordinary small convolutions of the input, and depth_to_space interleaves the phases (Shi et al. 2016, "Is the
deconvolution layer the same as a convolutional layer?"). The weights are the same numbers, or sums of them.

Phases with equal taps can be one convolution; k = 3, s = 2: a 2x2 convolution with 4x filters, where however 7 of 16
taps are zero. With many filters it is faster to give each phase a convolution of its own (2x2, 2x1, 1x2 and 1x1 taps). Where
channels go afterwards it may not be, and a fine-tuned network gains by the zeros: `joined` leaves them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgepress.train.layers import DepthToSpace

from .scene import Scene, put

# From this many filters on, separate phases beat zeros in a common kernel (measured: 13-20% at 32 and 48; 16 is even).
WIDE = 32
# Activations that work value by value may run before depth_to_space, where TFLite fuses them into the convolution.
ELEMENTWISE = {
    *("linear", "relu", "relu6", "leaky_relu", "sigmoid", "tanh", "elu", "gelu", "silu", "softplus"),
    "hard_sigmoid",
}


@dataclass(frozen=True)
class Axis:
    """One axis of such a convolution as convolutions of its input.

    Attributes:
        taps: for each phase, {offset of the input value: indices into the kernel, whose weights add up}.
        blocks: further blocks of s outputs after the last input.
        crop: surplus outputs at the end.
    """

    taps: tuple[dict[int, list[int]], ...]
    blocks: int
    crop: int


def transposed_axis(k: int, s: int, padding: str) -> Axis:
    """Of a transposed convolution: output o collects x[i] w[t] over o + cut = i s + t, cut being the cropping of `same`.

    With o = n s + p that is i = n + (p + cut) // s - j and t = (p + cut) % s + j s, j = 0, 1, ...: for each phase p
    a convolution over n whose taps have the offsets i - n.
    """
    overhang = max(k - s, 0)
    cut = overhang // 2 if padding == "same" else 0
    blocks = 0 if padding == "same" else -(-overhang // s)
    taps = []
    for p in range(s):
        shift, first = divmod(p + cut, s)
        taps.append({shift - j: [t] for j, t in enumerate(range(first, k, s))})
    return Axis(tuple(taps), blocks, blocks * s - overhang if padding == "valid" else 0)


def upsampled_axis(k: int, s: int, dilation: int, padding: str) -> Axis:
    """Of a convolution behind nearest upsampling: output o = n s + p collects x[(o + t - cut) // s] w[t].

    The zeros of `same` padding lie where the index is outside of x, too, so borders are exact.
    """
    reach = (k - 1) * dilation
    cut = reach // 2 if padding == "same" else 0
    taps: list[dict[int, list[int]]] = []
    for p in range(s):
        taps.append({})
        for t in range(k):
            taps[p].setdefault((p + t * dilation - cut) // s, []).append(t)
    return Axis(tuple(taps), 0, reach if padding == "valid" else 0)


def by_phases(
    layer: Any, x: Any, s: int, rows: Axis, columns: Axis, kernel: np.ndarray, scene: Scene
) -> tuple[Any, str]:
    """Apply a layer to `x` as padding, convolution(s) and depth_to_space; the last one takes the layer's name.

    Args:
        layer: what is replaced: its filters, bias, activation and name count.
        s: the factor by which the map grows.
        kernel: float32 (kh, kw, in, out).

    Returns: (output tensor, description of the convolutions).
    """
    early = layer.activation.__name__ in ELEMENTWISE
    phases = [(py, px) for py in range(s) for px in range(s)]
    fused = _taps(rows, columns, phases)
    zeros = any(
        len(rows.taps[py]) < len(fused[0]) or len(columns.taps[px]) < len(fused[1]) for py, px in phases
    )
    groups = (
        [[phase] for phase in phases] if zeros and layer.filters >= WIDE and not scene.joined else [phases]
    )

    # Each step: (suffix of the layer's name, what to apply). The last one takes the name itself.
    crops = (rows.crop, columns.crop)
    name = layer.name
    tail: list[tuple[str, Any]] = []
    if len(groups) > 1:
        tail.append(("join", keras.layers.Concatenate))
    if s > 1:
        tail.append(("space", lambda name: DepthToSpace(s, name=name)))
    if any(crops):
        tail.append(("crop", lambda name: keras.layers.Cropping2D(((0, crops[0]), (0, crops[1])), name=name)))
    if not early:
        tail.append(("act", lambda name: keras.layers.Activation(layer.activation, name=name)))

    parts = []
    shapes = []
    for group in groups:
        label = "conv" if len(groups) == 1 else "conv{}{}".format(*group[0])
        own = scene.name(f"{name}_{label}") if tail else name
        part, shape = _convolve(layer, x, rows, columns, kernel, group, early, own, scene)
        parts.append(part)
        shapes.append(shape)
    y = parts if len(parts) > 1 else parts[0]
    for i, (suffix, make) in enumerate(tail):
        y = make(name=name if i == len(tail) - 1 else scene.name(f"{name}_{suffix}"))(y)
    what = " + ".join(f"Conv2D {height}x{width}" for height, width in shapes)
    filters = layer.filters * len(groups[0])
    return y, f"{what}, {filters} filters" + (f", depth_to_space {s}" if s > 1 else "")


def _convolve(
    layer: Any,
    x: Any,
    rows: Axis,
    columns: Axis,
    kernel: np.ndarray,
    phases: list[tuple[int, int]],
    early: bool,
    name: str,
    scene: Scene,
) -> tuple[Any, tuple[int, int]]:
    """One convolution that makes the given phases: its output and kernel size."""
    ys, xs = _taps(rows, columns, phases)
    weights = np.zeros((len(ys), len(xs), kernel.shape[2], len(phases), kernel.shape[3]), kernel.dtype)
    for i, (py, px) in enumerate(phases):
        for y, oy in enumerate(ys):
            for z, ox in enumerate(xs):
                for ty in rows.taps[py].get(oy, ()):
                    for tx in columns.taps[px].get(ox, ()):
                        weights[y, z, :, i] += kernel[ty, tx]
    pads = [(-o[0], o[-1] + axis.blocks) for o, axis in ((ys, rows), (xs, columns))]
    same = all(p == ((len(o) - 1) // 2, len(o) // 2) for p, o in zip(pads, (ys, xs), strict=True))
    if not same:
        # Offsets on one side of the position only: a negative padding is a crop.
        if any(min(pair) > 0 or max(pair) > 0 for pair in pads):
            border = [(max(a, 0), max(b, 0)) for a, b in pads]
            x = keras.layers.ZeroPadding2D(border, name=scene.name(f"{name}_pad"))(x)
        if any(min(pair) < 0 for pair in pads):
            border = [(max(-a, 0), max(-b, 0)) for a, b in pads]
            x = keras.layers.Cropping2D(border, name=scene.name(f"{name}_cut"))(x)
    convolution = keras.layers.Conv2D(
        layer.filters * len(phases),
        (len(ys), len(xs)),
        padding="same" if same else "valid",
        use_bias=layer.use_bias,
        activation=layer.activation if early else None,
        name=name,
    )
    bias = np.tile(np.asarray(layer.bias), len(phases)) if layer.use_bias else None
    flat = weights.reshape(len(ys), len(xs), kernel.shape[2], -1)
    return put(convolution, x, [flat, bias]), (len(ys), len(xs))


def _taps(rows: Axis, columns: Axis, phases: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """The input offsets that a convolution for these phases reads, as contiguous ranges for rows and for columns."""
    spans = []
    for axis, wanted in ((rows, {py for py, _ in phases}), (columns, {px for _, px in phases})):
        used = [offset for phase in wanted for offset in axis.taps[phase]] or [0]
        spans.append(list(range(min(used), max(used) + 1)))
    return spans[0], spans[1]
