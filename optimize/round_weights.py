"""Weights rounded to int8 so that their errors make up for each other, instead of each to what is nearest.

A filter reads much the same vector all over a picture, so what rounding does to its weights, each by itself, adds up to an
offset of areas. Here the error of each weight is taken back, as far as the weights that are not rounded yet, and at last the
bias, can do it for the inputs seen on images (Frantar et al. 2022, "GPTQ", after Hassibi and Stork 1993, "optimal brain
surgeon"). Levels and speed of the network stay the same.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from .graph import rebuild
from .split import Halves
from .weight_levels import FULL

POSITIONS = 512  # of each image, at which the inputs of a layer are seen
WINDOW = 64  # side of the part of a feature map that they are taken from
DAMPING = 0.01  # of the mean square of a layer's inputs, so that what is not seen is not relied on


def round_weights(
    halves: Halves,
    inputs: tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    levels: Mapping[str, int] | None = None,
    but: Collection[str] = (),
) -> Halves:
    """Copies of the halves with the kernels of their convolutions rounded; zeros stay zeros.

    Args:
        inputs: float32 batches (1, H, W, C) for the encoder (images) and for the decoder (latents).
        levels: by layer, either side of zero; default 127.
        but: layers that stay as they are.
    """
    encoder, decoder = (
        _rounded(half, batches, levels or {}, but)
        for half, batches in zip((halves.encoder, halves.decoder), inputs, strict=True)
    )
    return replace(halves, encoder=encoder, decoder=decoder)


def _rounded(
    half: Any, batches: Sequence[np.ndarray], levels: Mapping[str, int], but: Collection[str]
) -> Any:
    model = rebuild(half)
    layers = [layer for layer in model.layers if _is_plain(layer) and layer.name not in but]
    if not layers:
        return half
    products = _products(model, layers, batches)
    for layer, product in zip(layers, products, strict=True):
        kernel = np.asarray(layer.kernel, float)
        bias = np.asarray(layer.bias, float) if layer.use_bias else np.zeros(layer.filters)
        if not layer.use_bias:
            product[-1, :-1] = product[:-1, -1] = 0  # nothing takes an offset
        done = compensated(
            np.vstack([kernel.reshape(-1, layer.filters), bias]), product, levels.get(layer.name, FULL)
        )
        layer.kernel.assign(done[:-1].reshape(kernel.shape))
        if layer.use_bias:
            layer.bias.assign(done[-1])
    return model


def compensated(rows: np.ndarray, product: np.ndarray, levels: int) -> np.ndarray:
    """Weights (n, filters) on the grid of each filter, float64, and the bias that goes with them in the last row.

    Args:
        rows: weights and, in the last row, biases.
        product: (n + 1, n + 1), the mean of x x^T over inputs x with a 1 at the end.
        levels: of a filter's grid, from its largest magnitude to zero; that weight keeps its value.
    """
    rows, count = rows.copy(), len(rows) - 1
    weights = np.abs(rows[:-1])
    largest = weights.max(axis=0)
    step = np.where(largest > 0, largest, 1) / levels
    kept = (weights == 0) | (weights == largest)
    exact = rows.copy()
    seen = np.diag(product)[:-1]
    damped = product + np.diag([*np.full(count, DAMPING * seen.mean() + 1e-12), 0])
    order = np.append(np.argsort(-seen, kind="stable"), count)  # what matters most first, the bias last
    upper = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    for i, row in enumerate(order[:-1]):
        rounded = np.clip(np.round(rows[row] / step), -levels, levels) * step
        rounded[kept[row]] = exact[row, kept[row]]
        rows[order[i + 1 :]] -= np.outer(upper[i, i + 1 :], (rows[row] - rounded) / upper[i, i])
        rows[row] = rounded
    return rows


def _products(model: Any, layers: Sequence[Any], batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The mean of x x^T for each layer, x being what a filter reads at one position, and 1."""
    import tensorflow as tf

    probe = keras.Model(model.input, [layer.input for layer in layers])
    rng = np.random.default_rng(0)
    totals: list[Any] = [0.0] * len(layers)
    for batch in batches:
        for i, (layer, value) in enumerate(
            zip(layers, keras.tree.flatten(probe(batch, training=False)), strict=True)
        ):
            y, x = (int(rng.integers(max(0, side - WINDOW) + 1)) for side in value.shape[1:3])
            patches = tf.image.extract_patches(
                value[:, y : y + WINDOW, x : x + WINDOW],
                *((1, *n, 1) for n in (layer.kernel_size, layer.strides, layer.dilation_rate)),
                layer.padding.upper(),
            )
            read = np.asarray(patches).reshape(-1, patches.shape[-1])
            read = read[rng.permutation(len(read))[:POSITIONS]]
            read = np.hstack([read, np.ones((len(read), 1), np.float32)])
            totals[i] = totals[i] + (read.T @ read).astype(float) / (len(read) * len(batches))
    return totals


def _is_plain(layer: Any) -> bool:
    return type(layer) is keras.layers.Conv2D and layer.groups == 1 and len(layer._inbound_nodes) == 1
