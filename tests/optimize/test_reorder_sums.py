"""Branches are summed before their trunk where that is narrower: the same function, the trunk rounded once."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.reorder_sums import reorder_sums

L = keras.layers


def blocks(strengths, tapped=True):
    """Residual blocks on an image, whose branches are `strengths` of it."""
    keras.utils.set_random_seed(7)
    image = x = keras.Input((None, None, 3), name="image")
    for i, strength in enumerate(strengths):
        y = L.Conv2D(8, 3, padding="same", activation="leaky_relu")(x if tapped else image)
        y = L.Conv2D(3, 1, name=f"branch_{i}")(y)
        x = L.Add(name=f"add_{i}")([x, L.Rescaling(strength)(y)])
    return keras.Model(image, x)


@pytest.fixture
def batches():
    return [np.random.default_rng(i).random((1, 16, 24, 3), np.float32) for i in range(3)]


def sums(model) -> list[str]:
    return [layer.name for layer in model.layers if type(layer) is L.Add]


def test_narrow_branches_are_summed_first(batches):
    model = blocks([0.05, 0.05, 0.05])
    made = reorder_sums(model, batches)
    assert sorted(sums(made)) == ["add_0", "add_1", "add_1_branches", "add_2", "add_2_branches"]
    assert made.get_layer("add_2").input[0] is made.input
    np.testing.assert_allclose(made(batches[0]), model(batches[0]), atol=1e-6)


def test_sums_that_nothing_else_reads_go(batches):
    made = reorder_sums(blocks([0.05, 0.05], tapped=False), batches)
    assert sorted(sums(made)) == ["add_1", "add_1_branches"]


def test_a_strong_branch_begins_a_trunk_of_its_own(batches):
    model = blocks([0.05, 4.0, 0.05, 0.05])
    made = reorder_sums(model, batches)
    assert "add_1_branches" not in sums(made)
    assert "add_3_branches" in sums(made)
    np.testing.assert_allclose(made(batches[0]), model(batches[0]), atol=1e-5)


@pytest.mark.parametrize("strengths", [[], [0.05], [4.0, 4.0]])
def test_where_nothing_is_won_the_model_stays_the_very_same(batches, strengths):
    model = blocks([*strengths]) if strengths else keras.Sequential([keras.Input((8, 8, 3)), L.Conv2D(3, 1)])
    assert reorder_sums(model, batches) is model
