"""Starts `photo` as a transform codec: its patch convolutions become a hierarchical Karhunen-Loeve transform.

A patch convolution with stride = kernel size is a block transform. Setting it to the principal components of what it
sees on training crops, level by level, and the synthesis to the transposes, gives an orthonormal codec of 16x16 blocks
before the first step; the residual blocks start at zero (`photo.bottleneck`). From random weights the network spends
most of a short run on finding these rotations and the right gain (500 steps: 26 dB from random weights).
"""

from __future__ import annotations

import keras
import numpy as np

from .photo import LATENT_SCALE, STAGES

HEADROOM = 0.9  # of the int8 range, what the largest latent on the crops may take


def start_as_klt(model: keras.Model, crops: np.ndarray) -> None:
    """Set the weights of a `photo` model from crops (N, H, W, 3) uint8, H and W multiples of 16; a few hundred will do."""
    x = crops.astype("float32") / 255
    for level, (width, _, _) in enumerate(STAGES):
        patch = 4 if level == 0 else 2
        channels = x.shape[-1]
        blocks = _blocks(x, patch)
        mean, basis = _components(blocks.reshape(-1, blocks.shape[-1]), width)
        _assign(model, f"analysis{level}_patch", basis.reshape(patch, patch, channels, width), -mean @ basis)
        _assign(model, f"synthesis{level}_out", basis.T[None, None], mean)
        x = (blocks - mean) @ basis
    # Block means exceed int8 at the gain that suits the rest: they are coded more coarsely.
    limit = HEADROOM * 127 * LATENT_SCALE
    gain = np.minimum(1, limit / np.abs(x).max(axis=(0, 1, 2)))
    _assign(model, "latent", np.diag(gain)[None, None], np.zeros_like(gain))
    _assign(model, "synthesis2_in", np.diag(1 / gain)[None, None], np.zeros_like(gain))


def _blocks(x: np.ndarray, patch: int) -> np.ndarray:
    """(N, H, W, C) -> (N, H/p, W/p, p p C), in the order of convolution kernels and of depth_to_space."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // patch, patch, w // patch, patch, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // patch, w // patch, patch * patch * c)


def _components(rows: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and the first `number` principal components (d, number), orthonormal columns."""
    mean = rows.mean(axis=0)
    centred = (rows - mean).astype("float64")
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, vectors[:, ::-1][:, :number].astype("float32")


def _assign(model: keras.Model, name: str, kernel: np.ndarray, bias: np.ndarray) -> None:
    layer = model.get_layer(name)
    layer.kernel.assign(kernel.astype("float32"))
    layer.bias.assign(bias.astype("float32"))
