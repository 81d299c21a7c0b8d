"""How a feature map is put beside another tensor in one int8 range."""

import keras
import numpy as np
import pytest

from edgepress.optimize.beside import HEADROOM, fit_beside


def fit(x, h, step=None):
    """fit_beside for values x [N, A] and h [N, C], each batch one of them."""
    x, h = (np.asarray(v, "float32")[:, None, None] for v in (x, h))
    a, c = x.shape[-1], h.shape[-1]
    both = keras.Input((1, 1, a + c))
    probe = keras.Model(both, [both[..., :a], both[..., a:]])
    hidden = np.stack([np.minimum(h.min(axis=(0, 1, 2)), 0), np.maximum(h.max(axis=(0, 1, 2)), 0)])
    ends = min(float(x.min()), 0.0), max(float(x.max()), 0.0)
    return fit_beside(probe, [np.concatenate([x, h], axis=-1)], ends, hidden, np.ones(c), step)


RNG = np.random.default_rng(0)


def test_what_lies_on_one_side_is_shifted_to_fill_the_range():
    x = RNG.uniform(-1, 1, (4000, 2))
    h = RNG.uniform(-0.01, 0.5, (4000, 2))
    found = fit(x, h)
    shifted = found.factor * h + found.offset
    assert found.offset < -0.8
    assert -1.01 < shifted.min() < -0.85 and 0.85 < shifted.max() < 1.01


def test_what_lies_on_both_sides_like_its_partner_is_not_shifted():
    found = fit(RNG.uniform(-1, 1, (4000, 2)), RNG.uniform(-3, 3, (4000, 2)))
    assert found.offset == 0 and found.factor == pytest.approx([1 / 3 / HEADROOM] * 2, rel=0.1)


def test_negative_values_find_a_place_beside_pixels_in_whole_steps():
    found = fit(RNG.uniform(0, 1, (4000, 3)), RNG.uniform(-1, 4, (4000, 3)), step=1 / 255)
    assert 0.1 < found.offset < 0.4
    assert found.offset * 255 == pytest.approx(round(found.offset * 255), abs=1e-6)


def test_what_is_always_zero_keeps_its_factor():
    h = np.hstack([RNG.uniform(0, 2, (4000, 1)), np.zeros((4000, 1))])
    assert fit(RNG.uniform(0, 1, (4000, 1)), h).factor[1] == pytest.approx(1, rel=0.2)


def test_beside_what_is_always_zero_there_is_no_place():
    assert fit(np.zeros((100, 1)), RNG.uniform(-1, 1, (100, 1))) is None
