"""The rate model is a probability model, and quantization-aware clones change nothing but rounding."""

import numpy as np
import pytest
from keras import ops

from edgepress.train.rate import ContextRate


def test_likelihoods_of_all_values_sum_to_one():
    layer = ContextRate(4)
    rounded = np.random.default_rng(0).integers(-3, 4, (1, 3, 3, 4)).astype("float32")
    log_step = np.zeros((1, 1, 1, 1), "float32")
    layer(rounded, rounded, log_step)
    # vary the last symbol of the last channel: nothing else depends on it
    total = 0.0
    base = None
    for value in range(-60, 61):
        r = rounded.copy()
        r[0, -1, -1, -1] = value
        bits = float(layer(r, r, log_step)[0])
        if base is None:
            without = rounded.copy()
            without[0, -1, -1, -1] = 1e6
            base = float(layer(without, without, log_step)[0]) + np.log2(1e-7)
        total += 2.0 ** (base - bits)
    assert total == pytest.approx(1, abs=2e-3)


def test_contexts_are_causal():
    """A symbol's own and later values must not change what earlier channels cost."""
    layer = ContextRate(3)
    rng = np.random.default_rng(1)
    x = rng.integers(-2, 3, (1, 4, 4, 3)).astype("float32")
    log_step = np.ones((1, 1, 1, 1), "float32")
    layer(x, x, log_step)
    layer.set_weights([rng.normal(0, 0.3, w.shape).astype("float32") for w in layer.get_weights()])

    def first_channel_bits(z):
        only = ops.concatenate([z[..., :1], np.full_like(z[..., 1:], 1e6)], axis=-1)
        return float(layer(only, z, log_step)[0])

    changed = x.copy()
    changed[..., 1:] += 5
    assert first_channel_bits(x) == pytest.approx(first_channel_bits(changed), rel=1e-6)


def test_sparse_latents_cost_less():
    layer = ContextRate(8)
    log_step = np.zeros((1, 1, 1, 1), "float32")
    zeros = np.zeros((1, 8, 8, 8), "float32")
    noise = np.random.default_rng(0).integers(-4, 5, zeros.shape).astype("float32")
    assert float(layer(zeros, zeros, log_step)[0]) < 0.5 * float(layer(noise, noise, log_step)[0])
