"""Starts `photo` as a transform codec: its one linear layer becomes a Karhunen-Loeve transform of 16x16 blocks.

The principal components of the blocks of training crops, and their transposes in the synthesis, make an orthonormal block
codec before the first step; the residual blocks start as the identity. From random weights the network spends most of a short
run on finding this rotation and the right gain (500 steps: 26 dB from random weights).
"""

from __future__ import annotations

import keras
import numpy as np

from .photo import DIRECT, LATENTS


def start_as_klt(model: keras.Model, crops: np.ndarray) -> None:
    """Set the weights of a `photo` model from crops (N, H, W, 3) uint8, H and W multiples of 16; a few hundred will do."""
    rows = crops.astype("float32") / 255
    for size in (4, 2, 2):  # as the model rearranges them
        rows = _blocks(rows, size)
    mean, basis = _components(rows.reshape(-1, rows.shape[-1]), LATENTS)
    _assign(model, DIRECT[0], basis[None, None], -mean @ basis)
    _assign(model, DIRECT[1], basis.T[None, None], mean)


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


def _assign(model: keras.Model, name: str, kernel: np.ndarray, bias: np.ndarray) -> None:
    layer = model.get_layer(name)
    layer.kernel.assign(kernel.astype("float32"))
    layer.bias.assign(bias.astype("float32"))
