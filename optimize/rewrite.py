"""Exact rewrites of layers that are slow on the device; each is verified against the original.

A transposed convolution with stride s (Conv2DTranspose, any kernel size, `same` or `valid`) spreads every input value
over k x k outputs that lie s apart. Read by output phase instead, each of the s^2 phases is an ordinary small convolution
of the input, and depth_to_space interleaves the phases (Shi et al. 2016, "Is the deconvolution layer the same as a
convolutional layer?"). The weights are the same numbers in another arrangement.

Phases with equal taps can be one convolution; k = 3, s = 2: a 2x2 convolution with 4x filters, where however 7 of 16
taps are zero. With many filters it is faster to give each phase a convolution of its own (2x2, 2x1, 1x2 and 1x1 taps).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgepress.train.layers import DepthToSpace

from .errors import UnsupportedModelError
from .graph import Cloner, rebuild, run

TOLERANCE = 1e-5
# From this many filters on, separate phases beat zeros in a common kernel (measured: 13-20% at 32 and 48; 16 is even).
WIDE = 32
# Activations that work value by value may run before depth_to_space, where TFLite fuses them into the convolution.
ELEMENTWISE = {
    *(
        "linear",
        "relu",
        "relu6",
        "leaky_relu",
        "sigmoid",
        "tanh",
        "elu",
        "gelu",
        "silu",
        "softplus",
        "hard_sigmoid",
    ),
}


@dataclass(frozen=True)
class Rewrite:
    """One rewritten layer: its name and what became of it."""

    layer: str
    what: str


@dataclass(frozen=True)
class Rewritten:
    """A rewritten model and how far its output is from the original's at most (model output units)."""

    model: Any
    rewrites: tuple[Rewrite, ...]
    max_difference: float


@dataclass(frozen=True)
class _Axis:
    """One axis of a transposed convolution as convolutions of its input.

    Attributes:
        taps: for each phase, {offset of the input value: index into the transposed kernel}.
        blocks: further blocks of s outputs after the last input (`valid` padding).
        crop: surplus outputs at the end.
    """

    taps: tuple[dict[int, int], ...]
    blocks: int
    crop: int


def rewrite(model: Any, images: Sequence[np.ndarray] = ()) -> Rewritten:
    """Rewrite every Conv2DTranspose of a flat model, keeping layer names (the last part takes the original name).

    Args:
        model: flat functional Keras 3 model (load.normalize).
        images: float32 (H, W, 3) in [0, 1]; the two models are compared on them and on noise.

    Raises: UnsupportedModelError for settings that have no exact form here, or when outputs differ by more than 1e-5
        (relative to the largest output where that exceeds 1).
    """
    cloner = Cloner()
    done: list[Rewrite] = []

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(operation, keras.layers.Conv2DTranspose):
            return cloner(operation, *args, **kwargs)
        output, what = sub_pixel(operation, args[0], cloner.unique)
        done.append(Rewrite(operation.name, what))
        return output

    rewritten = rebuild(model, None, call)
    return Rewritten(rewritten, tuple(done), verify(model, rewritten, images))


def sub_pixel(layer: Any, x: Any, unique: Callable[[str], str] = str) -> tuple[Any, str]:
    """Apply a Conv2DTranspose layer to the Keras tensor `x` as padding, convolution(s) and depth_to_space.

    `unique` makes layer names unique. Returns: (output tensor, description of what was built).
    Raises: UnsupportedModelError, naming layer and setting, for what has no exact form here.
    """
    s = layer.strides[0]
    if (
        layer.strides[0] != layer.strides[1]
        or set(layer.dilation_rate) != {1}
        or layer.output_padding is not None
    ):
        raise UnsupportedModelError(
            f"layer {layer.name!r}: a Conv2DTranspose with unequal strides, dilation or output_padding has no exact "
            "sub-pixel form; use equal strides and padding 'same' or 'valid'"
        )
    if layer.data_format != "channels_last":
        raise UnsupportedModelError(f"layer {layer.name!r}: channels_first is not served; use channels_last")
    rows, columns = (_axis(k, s, layer.padding) for k in layer.kernel_size)
    early = layer.activation.__name__ in ELEMENTWISE
    phases = [(py, px) for py in range(s) for px in range(s)]
    fused = _taps(rows, columns, phases)
    zeros = any(
        len(rows.taps[py]) < len(fused[0]) or len(columns.taps[px]) < len(fused[1]) for py, px in phases
    )
    groups = [[phase] for phase in phases] if zeros and layer.filters >= WIDE else [phases]

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
        own = unique(f"{name}_{label}") if tail else unique(name)
        part, shape = _convolve(layer, x, rows, columns, group, early, own, unique)
        parts.append(part)
        shapes.append(shape)
    y = parts if len(parts) > 1 else parts[0]
    for i, (suffix, make) in enumerate(tail):
        y = make(name=unique(name if i == len(tail) - 1 else f"{name}_{suffix}"))(y)
    what = f"Conv2DTranspose {layer.kernel_size[0]}x{layer.kernel_size[1]}/{s} -> " + " + ".join(
        f"Conv2D {height}x{width}" for height, width in shapes
    )
    filters = layer.filters * len(groups[0])
    return y, f"{what}, {filters} filters" + (f", depth_to_space {s}" if s > 1 else "")


def _convolve(
    layer: Any,
    x: Any,
    rows: _Axis,
    columns: _Axis,
    phases: list[tuple[int, int]],
    early: bool,
    name: str,
    unique: Callable[[str], str],
) -> tuple[Any, tuple[int, int]]:
    """One convolution that makes the given phases of a transposed convolution: its output and kernel size."""
    ys, xs = _taps(rows, columns, phases)
    kernel = np.asarray(layer.kernel)  # (kh, kw, out, in)
    weights = np.zeros((len(ys), len(xs), kernel.shape[3], len(phases), kernel.shape[2]), kernel.dtype)
    for i, (py, px) in enumerate(phases):
        for y, oy in enumerate(ys):
            for z, ox in enumerate(xs):
                if oy in rows.taps[py] and ox in columns.taps[px]:
                    weights[y, z, :, i] = kernel[rows.taps[py][oy], columns.taps[px][ox]].T
    pads = [(-o[0], o[-1] + axis.blocks) for o, axis in ((ys, rows), (xs, columns))]
    same = all(p == ((len(o) - 1) // 2, len(o) // 2) for p, o in zip(pads, (ys, xs), strict=True))
    if not same:
        # Offsets on one side of the position only: a negative padding is a crop.
        if any(min(pair) > 0 or max(pair) > 0 for pair in pads):
            x = keras.layers.ZeroPadding2D(
                [(max(a, 0), max(b, 0)) for a, b in pads], name=unique(f"{name}_pad")
            )(x)
        if any(min(pair) < 0 for pair in pads):
            x = keras.layers.Cropping2D(
                [(max(-a, 0), max(-b, 0)) for a, b in pads], name=unique(f"{name}_cut")
            )(x)
    convolution = keras.layers.Conv2D(
        layer.filters * len(phases),
        (len(ys), len(xs)),
        padding="same" if same else "valid",
        use_bias=layer.use_bias,
        activation=layer.activation if early else None,
        name=name,
    )
    output = convolution(x)
    values = [weights.reshape(len(ys), len(xs), kernel.shape[3], -1)]
    if layer.use_bias:
        values.append(np.tile(np.asarray(layer.bias), len(phases)))
    convolution.set_weights(values)
    return output, (len(ys), len(xs))


def _taps(rows: _Axis, columns: _Axis, phases: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """The input offsets that a convolution for these phases reads, as contiguous ranges for rows and for columns."""
    spans = []
    for axis, wanted in ((rows, {py for py, _ in phases}), (columns, {px for _, px in phases})):
        used = [offset for phase in wanted for offset in axis.taps[phase]] or [0]
        spans.append(list(range(min(used), max(used) + 1)))
    return spans[0], spans[1]


def verify(model: Any, rewritten: Any, images: Sequence[np.ndarray] = ()) -> float:
    """The largest difference of two models' outputs on noise, on extreme inputs and on images.

    Raises: UnsupportedModelError when it exceeds 1e-5 of the larger of 1 and the largest output.
    """
    channels = model.inputs[0].shape[-1]
    rng = np.random.default_rng(0)
    probes = [
        rng.random((2, 64, 96, channels), "float32"),
        rng.standard_normal((1, 64, 64, channels), "float32"),
    ]
    probes += [image[None, : image.shape[0] // 32 * 32, : image.shape[1] // 32 * 32] for image in images[:4]]
    worst = 0.0
    for probe in probes:
        a, b = run(model, probe), run(rewritten, probe)
        if a.shape != b.shape:
            raise UnsupportedModelError(
                f"the rewritten model gives shape {b.shape} where the original gives {a.shape}"
            )
        worst = max(worst, float(np.abs(a - b).max()) / max(1.0, float(np.abs(a).max())))
    if not worst <= TOLERANCE:
        raise UnsupportedModelError(
            f"the rewritten model differs from the original by {worst:.1e}; please report this"
        )
    return worst


def _axis(k: int, s: int, padding: str) -> _Axis:
    """Output o collects x[i] w[t] over o + cut = i s + t, cut being TensorFlow's `same` cropping.

    With o = n s + p that is i = n + (p + cut) // s - j and t = (p + cut) % s + j s, j = 0, 1, ...: for each phase p
    a convolution over n whose taps have the offsets i - n.
    """
    overhang = max(k - s, 0)
    cut = overhang // 2 if padding == "same" else 0
    blocks = 0 if padding == "same" else -(-overhang // s)
    taps = []
    for p in range(s):
        shift, first = divmod(p + cut, s)
        taps.append({shift - j: t for j, t in enumerate(range(first, k, s))})
    return _Axis(tuple(taps), blocks, blocks * s - overhang if padding == "valid" else 0)
