"""Starts `photo` as a transform codec: its linear layers become Karhunen-Loeve transforms of 8x8 and of 16x16 blocks.

The principal components of 8x8 blocks of training crops, those of two by two of such blocks' coefficients, and the
transposes of both in the synthesis make an orthonormal block codec before the first step; the residual blocks start as the
identity. From random weights the network spends most of a short run on finding this rotation and the right gain (500
steps: 26 dB).
"""

from __future__ import annotations

import keras
import numpy as np

from .photo import ANALYSIS, BLOCK_LATENTS, LATENTS, SYNTHESIS


def start_as_klt(model: keras.Model, crops: np.ndarray) -> None:
    """Set the weights of a `photo` model from crops (N, H, W, 3) uint8, H and W multiples of 16; a few hundred will do."""
    blocks = _blocks(crops.astype("float32") / 255, 8)
    mean, first = _components(blocks.reshape(-1, blocks.shape[-1]), BLOCK_LATENTS)
    _assign(model, ANALYSIS[0], first, -mean @ first)
    # The synthesis rearranges 8x8 pixels in two steps, 2x2 and 4x4.
    order = np.arange(192).reshape(2, 4, 2, 4, 3).transpose(0, 2, 1, 3, 4).ravel()
    _assign(model, SYNTHESIS[1], first.T[:, order], mean[order])

    rows = _blocks((blocks - mean) @ first, 2)
    mean, second = _components(rows.reshape(-1, rows.shape[-1]), LATENTS)
    _assign(model, ANALYSIS[1], second, -mean @ second)
    _assign(model, SYNTHESIS[0], second.T, mean)


def _blocks(x: np.ndarray, size: int) -> np.ndarray:
    """(N, H, W, C) -> (N, H/s, W/s, s s C), in the order of space_to_depth."""
    n, h, w, c = x.shape
    x = x.reshape(n, h // size, size, w // size, size, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // size, w // size, size * size * c)


def _components(rows: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and the first `number` principal components (d, number), orthonormal columns."""
    mean = rows.mean(axis=0)
    centred = (rows - mean).astype("float64")
    _, vectors = np.linalg.eigh(centred.T @ centred)
    return mean, vectors[:, ::-1][:, :number].astype("float32")


def _assign(model: keras.Model, name: str, matrix: np.ndarray, bias: np.ndarray) -> None:
    layer = model.get_layer(name)
    layer.kernel.assign(matrix[None, None].astype("float32"))
    layer.bias.assign(bias.astype("float32"))
