"""Cross-layer equalization of `photo` (Nagel et al. 2019): the same function with activations of one size, for int8.

int8 gives a whole tensor one scale. In the trunks of `photo` block means are a hundred times larger than details, which
would leave the details a few levels. A channel may be scaled where it is made and unscaled where it is used: residual
additions, depth_to_space and ReLU pass a positive factor on. After this every channel spans about the same range.
"""

from __future__ import annotations

import keras
import numpy as np

from .photo import STAGES

TYPICAL = 1.0  # range that every channel is scaled to
LEAST_RANGE = 1e-3  # channels with less activity are left alone, lest their noise be amplified


def equalize(model: keras.Model, crops: np.ndarray, seed: int = 0) -> int:
    """Rescale the channels of a `photo` model in place by their ranges on crops (N, H, W, 3) uint8; exact up to rounding.

    ReLUs that are never active on the crops start anew: random weights before them, zero after them, so that the function
    stays as it is and training can use them again. Returns how many.
    """
    rng = np.random.default_rng(seed)
    revived = 0
    ranges = _ranges(model, crops.astype("float32") / 255)
    for level, (_, _, blocks) in enumerate(STAGES):
        analysis, synthesis = (f"{side}{level}" for side in ("analysis", "synthesis"))
        deepest = level == len(STAGES) - 1
        # encoder trunk: made by the patch convolution, used by the next one or by the latent
        trunk = [f"{analysis}_patch", *(f"{analysis}_block{b}_add" for b in range(blocks))]
        gain = _gain(ranges, trunk)
        _scale_output(model, f"{analysis}_patch", gain)
        _scale_input(model, "latent" if deepest else f"analysis{level + 1}_patch", gain)
        revived += _scale_blocks(model, analysis, blocks, gain, ranges, rng)
        # decoder trunk: made by synthesis2_in or, through depth_to_space, by the stage below
        maker = "synthesis2_in" if deepest else f"synthesis{level + 1}_out"
        made = maker if deepest else f"synthesis{level + 1}_unpatch"
        gain = _gain(ranges, [made, *(f"{synthesis}_block{b}_add" for b in range(blocks))])
        _scale_output(model, maker, gain if deepest else np.tile(gain, 4))
        _scale_input(model, f"{synthesis}_out", gain)
        revived += _scale_blocks(model, synthesis, blocks, gain, ranges, rng)
    return revived


def _scale_blocks(
    model: keras.Model, stage: str, blocks: int, gain: np.ndarray, ranges: dict, rng: np.random.Generator
) -> int:
    revived = 0
    for b in range(blocks):
        name = f"{stage}_block{b}"
        _scale_input(model, f"{name}_reduce", gain)
        for maker, user in (("reduce", "spatial"), ("spatial", "expand")):
            inner = _gain(ranges, [f"{name}_{maker}"])
            _scale_output(model, f"{name}_{maker}", inner)
            _scale_input(model, f"{name}_{user}", inner)
            dead = ranges[f"{name}_{maker}"] <= LEAST_RANGE
            _start_anew(model, f"{name}_{maker}", f"{name}_{user}", dead, rng)
            revived += int(dead.sum())
        _scale_output(model, f"{name}_expand", gain)
    return revived


def _start_anew(
    model: keras.Model, maker: str, user: str, dead: np.ndarray, rng: np.random.Generator
) -> None:
    """He-normal weights (He et al. 2015) for the dead outputs of `maker`, zeros where `user` takes them."""
    before, after = model.get_layer(maker), model.get_layer(user)
    kernel, bias = (keras.ops.convert_to_numpy(v).copy() for v in (before.kernel, before.bias))
    fresh = rng.normal(0, np.sqrt(2 / np.prod(kernel.shape[:3])), kernel.shape)
    kernel[..., dead], bias[dead] = fresh[..., dead], 0
    before.kernel.assign(kernel)
    before.bias.assign(bias)
    kernel = keras.ops.convert_to_numpy(after.kernel).copy()
    kernel[:, :, dead] = 0
    after.kernel.assign(kernel)


def _ranges(model: keras.Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """Largest magnitude of every channel of every layer's output, (C,)."""
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    watch = keras.Model(model.input, [layer.output for layer in layers])
    found = {layer.name: np.zeros(layer.output.shape[-1]) for layer in layers}
    for start in range(0, len(x), 16):
        for layer, y in zip(layers, watch(x[start : start + 16]), strict=True):
            largest = np.abs(keras.ops.convert_to_numpy(y)).max(axis=(0, 1, 2))
            found[layer.name] = np.maximum(found[layer.name], largest)
    return found


def _gain(ranges: dict[str, np.ndarray], tensors: list[str]) -> np.ndarray:
    largest = np.max([ranges[name] for name in tensors], axis=0)
    return np.where(largest > LEAST_RANGE, TYPICAL / np.maximum(largest, LEAST_RANGE), 1.0).astype("float32")


def _scale_output(model: keras.Model, name: str, gain: np.ndarray) -> None:
    layer = model.get_layer(name)
    layer.kernel.assign(keras.ops.convert_to_numpy(layer.kernel) * gain)
    layer.bias.assign(keras.ops.convert_to_numpy(layer.bias) * gain)


def _scale_input(model: keras.Model, name: str, gain: np.ndarray) -> None:
    layer = model.get_layer(name)
    layer.kernel.assign(keras.ops.convert_to_numpy(layer.kernel) / gain[:, None])
