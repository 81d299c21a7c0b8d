"""Two depth_to_space behind a convolution become one, and nothing else does."""

import keras
import numpy as np
import pytest

from edgepress.optimize.graph import run
from edgepress.optimize.merge_spaces import merge_spaces
from edgepress.train.layers import DepthToSpace

BATCH = np.random.default_rng(0).normal(size=(1, 5, 6, 4)).astype("float32")


def half(a=2, b=3, tapped=False, kernel=1, groups=1):
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 4), name="latent")
    x = keras.layers.Conv2D(
        2 * a * a * b * b,
        kernel,
        padding="same",
        activation="sigmoid",
        bias_initializer="normal",
        groups=groups,
        name="conv",
    )(image)
    y = DepthToSpace(a, name="first")(x)
    z = DepthToSpace(b, name="second")(y)
    if tapped:
        z = keras.layers.Add()([z, keras.layers.UpSampling2D(b)(y[..., :2])])
    return keras.Model(image, z, name="decoder")


@pytest.mark.parametrize(("a", "b", "kernel"), [(2, 4, 1), (3, 2, 3)])
def test_one_rearrangement_gives_the_same(a, b, kernel):
    model = half(a, b, kernel=kernel)
    made = merge_spaces(model, [BATCH])
    assert [layer.block for layer in made.layers if isinstance(layer, DepthToSpace)] == [a * b]
    np.testing.assert_allclose(run(made, BATCH), run(model, BATCH), atol=1e-6)


@pytest.mark.parametrize("kept", [{"tapped": True}, {"groups": 4}], ids=["read by others", "in groups"])
def test_what_cannot_be_reordered_stays_the_very_same_model(kept):
    model = half(**kept)
    assert merge_spaces(model, [BATCH]) is model


def test_one_alone_stays():
    image = keras.Input((None, None, 4))
    model = keras.Model(image, DepthToSpace(2)(keras.layers.Conv2D(8, 1)(image)))
    assert merge_spaces(model, [BATCH]) is model
