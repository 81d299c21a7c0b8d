"""Keras 3 <-> tf_keras: the same layers, the same weights, the same outputs; both ways."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

from edgepress.optimize import from_tf_keras, to_tf_keras
from edgepress.optimize.errors import UnsupportedModelError
from edgepress.train.layers import DepthToSpace


def zoo():
    """One functional model with nearly every layer of an image network."""
    image = keras.Input((16, 16, 3), name="image")
    x = layers.ZeroPadding2D(((1, 0), (1, 0)))(image)
    x = layers.Cropping2D(((0, 1), (0, 1)))(x)
    x = layers.Conv2D(8, 3, padding="same", groups=1, activation="gelu")(x)
    x = layers.BatchNormalization(epsilon=0.01)(x)
    a = layers.LeakyReLU(negative_slope=0.2)(layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2)(x))
    b = layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")(
        layers.SeparableConv2D(16, 3, padding="same")(x)
    )
    x = layers.Add()([a, b])
    x = layers.Concatenate()([layers.MaxPooling2D()(x), layers.AveragePooling2D(2)(x)])
    x = layers.ReLU(max_value=2.0)(layers.Conv2D(16, 1, dilation_rate=1, use_bias=False)(x))
    x = layers.Activation("silu")(layers.Conv2DTranspose(8, 3, 2, padding="same")(x))
    x = layers.Subtract()([x, layers.UpSampling2D(2, interpolation="bilinear")(layers.MaxPooling2D()(x))])
    x = layers.Dropout(0.5)(DepthToSpace(2)(x))
    y = layers.Dense(12, activation="tanh")(layers.Flatten()(layers.AveragePooling2D(8)(x)))
    y = layers.Reshape((2, 2, 3))(y)
    return keras.Model(image, [x, y], name="zoo")


def randomized(model):
    rng = np.random.default_rng(1)
    for layer in model.layers:
        layer.set_weights(
            [np.abs(rng.standard_normal(w.shape)).astype("float32") * 0.3 for w in layer.get_weights()]
        )
    return model


def test_the_zoo_goes_there_and_back():
    model = randomized(zoo())
    old = to_tf_keras(model)
    new = from_tf_keras(old)
    assert isinstance(old, tf_keras.Model) and isinstance(new, keras.Model)
    names = [layer.name for layer in model.layers if layer.weights]
    assert [layer.name for layer in old.layers if layer.weights] == names
    batch = np.random.default_rng(2).random((2, 16, 16, 3), "float32")
    for theirs in (old(batch, training=False), new(batch, training=False)):
        for a, b in zip(model(batch, training=False), theirs, strict=True):
            assert np.allclose(a, b, atol=1e-5)


def test_shared_layers_stay_shared():
    image = keras.Input((8, 8, 4))
    shared = layers.Conv2D(4, 3, padding="same", name="shared")
    old = to_tf_keras(keras.Model(image, shared(shared(image))))
    assert len(old.weights) == 2
    assert len(from_tf_keras(old).weights) == 2


def test_tfmot_takes_the_result(conv3_rewritten):
    import tensorflow_model_optimization as tfmot

    with pytest.raises(ValueError):
        tfmot.sparsity.keras.prune_low_magnitude(conv3_rewritten)
    layer = to_tf_keras(conv3_rewritten).get_layer("latent")
    assert tfmot.sparsity.keras.prune_low_magnitude(layer).layer is layer


@pytest.mark.parametrize(
    "layer",
    [layers.LayerNormalization(name="odd"), layers.Conv2D(4, 3, activation="hard_sigmoid", name="odd")],
)
def test_what_cannot_cross_is_named(layer):
    image = keras.Input((8, 8, 4))
    with pytest.raises(UnsupportedModelError, match="layer 'odd' cannot cross"):
        to_tf_keras(keras.Model(image, layer(image)))
