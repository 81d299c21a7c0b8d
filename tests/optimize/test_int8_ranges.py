"""Ranges that are cut where an outlier would make all steps coarse, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.optimize.best_range import BINS, best_range


def error(values: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / 255
    rounded = np.clip(np.round((values - low) / step), 0, 255) * step + low
    return float(np.mean((rounded - values) ** 2))


def found(values: np.ndarray) -> tuple[float, float]:
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    return best_range(np.histogram(values, BINS, (low, high))[0], low, high)


def test_an_outlier_is_cut_off():
    values = np.append(np.random.default_rng(0).normal(0, 1, 200_000), 9.0)
    low, high = found(values)
    assert high < 7 and error(values, low, high) < 0.9 * error(values, float(values.min()), 9.0)


def test_even_values_keep_their_range():
    assert found(np.random.default_rng(0).uniform(-1, 2, 100_000)) == pytest.approx((-1, 2), abs=0.02)


def test_zeros_do_not_speak_for_small_steps():
    """A ReLU that is hardly ever active: its zeros are exact whatever the step."""
    active = np.random.default_rng(0).uniform(1, 2, 1000)
    alone, among_zeros = found(active), found(np.append(active, np.zeros(1_000_000)))
    assert alone == pytest.approx(among_zeros, abs=1e-3)
    assert alone == (0.0, pytest.approx(2, abs=0.04))


def test_what_a_leaky_relu_shrinks_counts_for_less():
    """Twice as wide below zero, but behind the slope only a fifth of it is left: cut there, for finer steps above."""
    values = np.random.default_rng(0).laplace(-2, 2, 200_000)
    low, high = float(values.min()), float(values.max())
    counts = np.histogram(values, BINS, (low, high))[0]
    plain, leaky = best_range(counts, low, high), best_range(counts, low, high, slope=0.2)
    assert leaky[0] > plain[0]

    def behind(ends: tuple[float, float]) -> float:
        step = (ends[1] - ends[0]) / 255
        rounded = np.clip(np.round((values - ends[0]) / step), 0, 255) * step + ends[0]
        errors = rounded - values
        return float(np.mean(np.where(values < 0, 0.2 * errors, errors) ** 2))

    assert behind(leaky) < 0.9 * behind(plain)
