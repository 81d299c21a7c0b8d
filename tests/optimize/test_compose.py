"""Two levels of a linear transform become one, exactly, and nothing else does."""

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.optimize.compose import compose
from edgepress.train.layers import SpaceToDepth


def two_levels(activation=None, tapped=False, kernel=1):
    image = keras.Input((None, None, 3))
    x = SpaceToDepth(2, name="blocks")(image)
    y = layers.Conv2D(5, 1, activation=activation, bias_initializer="normal", name="first")(x)
    z = SpaceToDepth(2, name="between")(y)
    out = layers.Conv2D(
        7, kernel, padding="same", activation="relu", bias_initializer="normal", name="second"
    )(z)
    if tapped:
        out = layers.Concatenate()([out, layers.MaxPooling2D(2)(y)])
    return keras.Model(image, out)


def test_two_linear_levels_become_one_convolution_with_the_same_output():
    model = two_levels()
    image = np.random.default_rng(0).random((32, 48, 3), np.float32)
    composed = compose(model, [image])
    assert [layer.name for layer in composed.layers[1:]] == ["blocks", "between", "second"]
    assert composed.get_layer("second").kernel.shape == (1, 1, 48, 7)
    np.testing.assert_allclose(composed(image[None]), model(image[None]), atol=1e-5)


def test_three_levels_become_one():
    image = keras.Input((64, 64, 3))
    x = layers.Conv2D(4, 1)(image)
    for filters in (6, 8):
        x = layers.Conv2D(filters, 1, bias_initializer="normal")(SpaceToDepth(2)(x))
    model = keras.Model(image, x)
    sample = np.random.default_rng(1).random((64, 64, 3), np.float32)
    composed = compose(model, [sample])
    assert sum(isinstance(layer, layers.Conv2D) for layer in composed.layers) == 1
    np.testing.assert_allclose(composed(sample[None]), model(sample[None]), atol=1e-5)


@pytest.mark.parametrize(
    "kept", [{"activation": "relu"}, {"tapped": True}, {"kernel": 3}], ids=["nonlinear", "read twice", "3x3"]
)
def test_what_is_no_such_pair_stays_the_very_same_model(kept):
    model = two_levels(**kept)
    assert compose(model, []) is model
