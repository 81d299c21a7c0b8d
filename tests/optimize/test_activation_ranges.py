"""Ranges for int8 clip what is rare when that rounds the rest more finely, and always hold zero."""

import numpy as np
import pytest

from edgepress.optimize.activation_ranges import best_range, best_ranges


def squared_error(values, low, high):
    scale = (high - low) / 255
    zero = np.round(-low / scale)
    rounded = (np.clip(np.round(values / scale) + zero, 0, 255) - zero) * scale
    return float(np.mean((values - rounded) ** 2))


def test_the_rare_overshoot_of_pixels_is_clipped_and_the_error_falls():
    parts = [np.linspace(0, 1, 300_000), np.linspace(1, 1.4, 20), np.linspace(-0.4, 0, 20)]
    values = np.concatenate(parts).astype("float32").reshape(4, -1)
    found = best_ranges(lambda: [(7, part) for part in values])
    low, high = found[7]
    assert set(found) == {7} and -0.4 < low < 0 and 1 < high < 1.4
    assert squared_error(values, low, high) < 0.85 * squared_error(values, -0.4, 1.4)


def test_values_that_fill_their_range_are_left_alone():
    low, high = best_ranges(lambda: [(0, np.linspace(-1, 3, 10001, dtype="float32"))])[0]
    assert low == pytest.approx(-1, abs=0.03) and high == pytest.approx(3, abs=0.05)


def test_zero_is_inside():
    found = best_ranges(lambda: [(0, np.full(9, 2.0, "float32")), (1, np.full(9, -2.0, "float32"))])
    assert found[0] == pytest.approx((0, 2), abs=1e-6) and found[1] == pytest.approx((-2, 0), abs=1e-6)
    assert best_ranges(lambda: [(3, np.zeros(4, "float32"))])[3] == (0, 0)
    assert best_range(np.zeros(4, np.int64), 0.0, 0.0) == (0.0, 0.0)
