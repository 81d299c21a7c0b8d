"""Losses on images in [0, 1], (B, H, W, 3) float32: SSIM, VGG16 perceptual, MSE and the study's hybrid of the three."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import keras
import numpy as np
from keras import ops

K1, K2 = 0.01, 0.03
WINDOW, SIGMA = 11, 1.5


def ssim(x, y, dynamic_range: float = 1.0):
    """Mean SSIM per image (B,), Gaussian window 11x11, sigma 1.5, valid positions, per channel (Wang et al. 2004).

    Images must be at least 11x11 pixels, of a size that is known when a graph is made.
    """
    return _similarity(x, y, _blur, dynamic_range)


def _similarity(x, y, blur: Callable, dynamic_range: float = 1.0, luminance: bool = True):
    """Mean SSIM per image (B,) under a window, or without its luminance term."""
    c1, c2 = (K1 * dynamic_range) ** 2, (K2 * dynamic_range) ** 2
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    kept = (2 * cov + c2) / (vx + vy + c2)
    if luminance:
        kept = kept * (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return ops.mean(kept, axis=(1, 2, 3))


# Scales of MS-SSIM that a crop of 128x128 has, with their weights (Wang, Simoncelli, Bovik 2003); the last takes the fifth too.
# The finest, with 4% of the weight, is left out: it would cost more time than the others together.
SCALE_WEIGHTS = {2: 0.2856, 3: 0.3001, 4: 0.2363 + 0.1333}
LEAST_SIDE = 88  # of an image that has those scales
STRUCTURE_UNIT = 2000.0  # of structural losses in 255^2 MSE: both parts of a distortion weigh about the same on photographs
FINEST = 5.0  # how many times the loss at those scales 1 - SSIM at the finest is; 3.2 to 5.5 were measured on photographs


def structural_loss(x, y, fine: float = 0.0):
    """1 - MS-SSIM per image (B,), nearly: the weighted mean of the losses at scales 2 to 4 instead of the product.

    fine: 0..1, the share of 1 - SSIM, at the finest scale, instead, divided by FINEST to be of the same size.

    Images must be at least LEAST_SIDE pixels high and wide.
    """
    total = fine / FINEST * (1 - _similarity(x, y, _blur)) if fine else 0.0
    for scale, weight in SCALE_WEIGHTS.items() if fine < 1 else ():
        x, y = (ops.average_pool(t, 2, 2) for t in (x, y))
        share = (1 - fine) * weight / sum(SCALE_WEIGHTS.values())
        kept = _similarity(x, y, _blur, luminance=scale == max(SCALE_WEIGHTS))
        total = total + share * (1 - kept)
    return total


@dataclass(frozen=True)
class Distortion:
    """255^2 MSE and 1 - MS-SSIM, nearly, as one figure of the size of 255^2 MSE.

    structure: 0..1, share of `structural_loss` instead of MSE. fine: 0..1, share of that which is 1 - SSIM at the finest scale.
    """

    structure: float = 0.0
    fine: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Of what `parts` returns."""
        return ("mse", "structural") if self.structure else ("mse",)

    def parts(self, x, y) -> dict:
        """What goes into it, unweighted, each (B,); those without weight are left out."""
        found = {"mse": 255.0**2 * mse(x, y)}
        if self.structure:
            found["structural"] = structural_loss(x, y, self.fine)
        return found

    def total(self, parts: dict):
        """Of what `parts` returned."""
        if not self.structure:
            return parts["mse"]
        return (1 - self.structure) * parts["mse"] + self.structure * STRUCTURE_UNIT * parts["structural"]

    def __call__(self, x, y):
        return self.total(self.parts(x, y))


MSE = Distortion()


def _blur(x):
    """Gaussian window 11x11, sigma 1.5, valid positions, by products with banded matrices: on a CPU twice as fast as a
    depthwise convolution."""
    rows, columns = _band(x.shape[1]), _band(x.shape[2])
    return ops.einsum("ij,bkjc->bkic", columns, ops.einsum("ij,bjkc->bikc", rows, x))


@lru_cache
def _band(side: int) -> np.ndarray:
    x = np.arange(WINDOW) - (WINDOW - 1) / 2
    window = np.exp(-(x**2) / (2 * SIGMA**2))
    matrix = np.zeros((side - WINDOW + 1, side), "float32")
    for row in range(len(matrix)):
        matrix[row, row : row + WINDOW] = window / window.sum()
    return matrix


def mse(x, y):
    """Mean squared error per image (B,)."""
    return ops.mean(ops.square(x - y), axis=(1, 2, 3))


class Perceptual:
    """Mean squared difference of VGG16 feature maps (Johnson et al. 2016), per image (B,).

    Features are taken at the last convolution of each block up to `blocks` and divided by 255, the range of their
    inputs, so that the loss is of the order of the other two. The network is fixed.

    Args:
        weights: an .npz with `block1_conv1/kernel` (HWIO) and `.../bias` arrays (separators `/`, `_` or `.` are taken alike),
            a Keras VGG16 .h5/.weights.h5 file, or "imagenet" (Keras downloads it).
        blocks: 1 to 3.

    Raises: ValueError when the weights lack a layer, FileNotFoundError when the file is missing.
    """

    MEAN_BGR = np.array([103.939, 116.779, 123.68], "float32")
    PLAN = ((1, 2), (2, 2), (3, 3))

    def __init__(self, weights: str | Path, blocks: int = 3):
        self.layers = [
            [self._load(weights, f"block{b}_conv{i}") for i in range(1, n + 1)] for b, n in self.PLAN[:blocks]
        ]

    def __call__(self, x, y):
        fx, fy = self._features(x), self._features(y)
        return sum(mse(a, b) for a, b in zip(fx, fy, strict=True)) / len(fx)

    def _features(self, x) -> list:
        x = x[..., ::-1] * 255.0 - self.MEAN_BGR
        maps = []
        for b, block in enumerate(self.layers):
            if b:
                x = ops.max_pool(x, 2, 2)
            for kernel, bias in block:
                x = ops.relu(ops.conv(x, kernel, padding="same") + bias)
            maps.append(x / 255.0)
        return maps

    def _load(self, weights: str | Path, name: str):
        arrays = self._arrays(weights)
        try:
            return arrays[f"{name}/kernel"], arrays[f"{name}/bias"]
        except KeyError:
            raise ValueError(f"{weights}: no VGG16 layer {name} in it") from None

    def _arrays(self, weights: str | Path) -> dict[str, np.ndarray]:
        if not hasattr(self, "_cache"):
            if str(weights).endswith(".npz"):
                with np.load(weights, allow_pickle=False) as f:
                    raw = {k: np.asarray(f[k]) for k in f.files}
                self._cache = {_key(k): v for k, v in raw.items()}
            else:
                if str(weights) != "imagenet" and not Path(weights).exists():
                    raise FileNotFoundError(2, "no such file of VGG16 weights", str(weights))
                vgg = keras.applications.VGG16(include_top=False, weights=str(weights))
                self._cache = {
                    f"{layer.name}/{part}": np.asarray(value)
                    for layer in vgg.layers
                    for part, value in zip(("kernel", "bias"), layer.get_weights(), strict=False)
                }
        return self._cache


def _key(name: str) -> str:
    """`block1_conv1_kernel`, `block1_conv1.W`, `block1_conv1/kernel` ... -> `block1_conv1/kernel`."""
    layer = name[:12]
    return f"{layer}/{'bias' if name[12:].strip('/._').lower() in ('b', 'bias') else 'kernel'}"


def check_weights(a: float, b: float, c: float, vgg: str | Path | None) -> None:
    """ValueError unless a, b, c are a convex combination and perceptual weights are there when b needs them."""
    if min(a, b, c) < 0 or abs(a + b + c - 1) > 1e-6:
        raise ValueError(
            f"the hybrid loss needs a, b, c >= 0 with a + b + c = 1, not {a} + {b} + {c} = {a + b + c:g}"
        )
    if b > 0 and vgg is None:
        raise ValueError(
            f"the perceptual part (b = {b}) needs VGG16 weights: give an .npz/.h5 file or `imagenet`, or set b to 0"
        )


def hybrid_parts(
    a: float, b: float, c: float, vgg: str | Path | None = None, blocks: int = 3
) -> Callable[..., dict]:
    """The study's L = a (1 - SSIM) + b perceptual + c MSE as a function (x, y) -> {"loss", "ssim", "perceptual", "mse"}.

    Each value is (B,); the parts are unweighted. Raises ValueError as `check_weights` does.
    """
    check_weights(a, b, c, vgg)
    perceptual = Perceptual(vgg, blocks) if b > 0 and vgg is not None else None

    def parts(x, y) -> dict:
        out = {"ssim": ssim(x, y), "mse": mse(x, y)}
        loss = a * (1 - out["ssim"]) + c * out["mse"]
        if perceptual is not None:
            out["perceptual"] = perceptual(x, y)
            loss = loss + b * out["perceptual"]
        return {"loss": loss, **out}

    return parts


def hybrid_loss(
    a: float, b: float, c: float, vgg: str | Path | None = None, blocks: int = 3
) -> Callable[..., object]:
    """`hybrid_parts` as a Keras loss (y_true, y_pred) -> (B,), for `model.compile`."""
    parts = hybrid_parts(a, b, c, vgg, blocks)
    return lambda y_true, y_pred: parts(y_true, y_pred)["loss"]
