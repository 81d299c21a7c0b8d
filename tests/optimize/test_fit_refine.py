"""Weights of refinement: found where neighbours tell of a value, none where they do not."""

import numpy as np

from edgepress.optimize.fit_refine import fit_refine
from edgepress.runtime.refine import ONE, refine

STEPS = np.array([16 * 8, 16 * 8, 16 * 8], np.uint16)
RECON = np.zeros((3, 2), np.int8)


def latents(rng, count=12, side=24):
    """Channels of slopes, of noise, and of what is there in the left half alone: int16[3,B,side,side], and their symbols."""
    y, x = np.mgrid[:side, :side] / side
    slopes = rng.uniform(-60, 60, (2, count, 1, 1))
    values = np.stack(
        [
            slopes[0] * x + slopes[1] * y + rng.uniform(-20, 20, (count, 1, 1)),
            rng.normal(0, 20, (count, side, side)),
            np.where(x < 0.5, rng.normal(0, 30, (count, side, side)), 0),
        ]
    )
    values = np.rint(values).astype(np.int16)
    return values, np.rint(values / 8).astype(np.int16)


def test_slopes_get_weights_and_noise_none():
    values, symbols = latents(np.random.default_rng(0))
    found = fit_refine([(values, symbols)], STEPS, RECON, np.array([True, True, False]))
    assert found.shape == (3, 4) and found.dtype == np.uint8
    assert not found[1:].any()
    assert (found[0].reshape(2, 2).sum(axis=1) <= ONE // 4).all() and found[0, 0] > 5 and found[0, 2] > 5
    errors = []
    for weights in (np.zeros_like(found), found):
        seen = (8 * symbols).transpose(1, 2, 3, 0).astype(np.int8)
        for latent in seen:
            refine(latent, 0, STEPS, weights, np.array([False, False, True]))
        errors.append(np.square(seen[..., 0] - values[0]).sum())
    assert errors[1] < 0.6 * errors[0]


def test_only_channels_that_may_be_refined_are():
    values, symbols = latents(np.random.default_rng(1))
    assert not fit_refine([(values, symbols)], STEPS, RECON, np.zeros(3, bool)).any()
    assert not fit_refine([], STEPS, RECON, np.ones(3, bool)).any()


def test_all_sizes_count_and_what_was_lost_matters():
    """Where dequantized values are what they were, there is nothing to refine."""
    values, symbols = latents(np.random.default_rng(2))
    assert not fit_refine([(8 * symbols, symbols)], STEPS, RECON, np.ones(3, bool)).any()
    both = fit_refine(
        [(values[:, :4], symbols[:, :4]), (values[:, 4:, :16], symbols[:, 4:, :16])],
        STEPS,
        RECON,
        np.array([True, False, False]),
    )
    assert both[0].any()
