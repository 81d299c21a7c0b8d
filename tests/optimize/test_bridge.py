"""Keras 3 <-> tf_keras: the same layers, the same weights, the same outputs; both ways."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from keras import layers

from edgepress.optimize import from_tf_keras, to_tf_keras
from edgepress.optimize.errors import UnsupportedModelError
from edgepress.optimize.served import SETTINGS
from edgepress.train.layers import DepthToSpace, EdgePadding, SpaceToDepth


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


FAMILIES = {
    "Conv2D": lambda x: layers.Conv2D(6, (3, 5), 2, "valid", dilation_rate=1, groups=2, activation="relu6")(
        x
    ),
    "Conv2D dilated": lambda x: layers.Conv2D(6, 3, padding="same", dilation_rate=2, use_bias=False)(x),
    "SeparableConv2D": lambda x: layers.SeparableConv2D(
        6, 3, 2, "same", depth_multiplier=2, activation="silu"
    )(x),
    "DepthwiseConv2D": lambda x: layers.DepthwiseConv2D(3, 2, "valid", depth_multiplier=2, activation="tanh")(
        x
    ),
    "Conv2DTranspose same": lambda x: layers.Conv2DTranspose(5, 4, 3, "same", activation="sigmoid")(x),
    "Conv2DTranspose valid": lambda x: layers.Conv2DTranspose(5, (3, 2), 2, "valid", use_bias=False)(x),
    "Conv2DTranspose output_padding": lambda x: layers.Conv2DTranspose(5, 3, 2, "same", output_padding=1)(x),
    "Dense bottleneck": lambda x: layers.Reshape((2, 3, 4))(layers.Dense(24, "gelu")(layers.Flatten()(x))),
    "Dense on maps": lambda x: layers.Dense(5, use_bias=False)(x),
    "Permute": lambda x: layers.Permute((2, 1, 3))(x),
    "BatchNormalization": lambda x: layers.BatchNormalization(epsilon=0.02, center=False)(x),
    "BatchNormalization unscaled": lambda x: layers.BatchNormalization(scale=False)(x),
    "ReLU": lambda x: layers.ReLU(max_value=0.4, negative_slope=0.1, threshold=0.05)(x),
    "LeakyReLU": lambda x: layers.LeakyReLU(negative_slope=0.25)(x),
    "PReLU": lambda x: layers.PReLU()(x),
    "PReLU by channel": lambda x: layers.PReLU(shared_axes=[1, 2])(x),
    "ELU": lambda x: layers.ELU(alpha=0.5)(x),
    "Softmax": lambda x: layers.Softmax()(x),
    "sigmoid": lambda x: layers.Activation("sigmoid")(x),
    "tanh": lambda x: layers.Activation("tanh")(x),
    "gelu": lambda x: layers.Activation("gelu")(x),
    "silu": lambda x: layers.Activation("silu")(x),
    "MaxPooling2D": lambda x: layers.MaxPooling2D(3, 2, "same")(x),
    "AveragePooling2D": lambda x: layers.AveragePooling2D((2, 3), padding="valid")(x),
    "GlobalAveragePooling2D": lambda x: layers.GlobalAveragePooling2D(keepdims=True)(x),
    "GlobalMaxPooling2D": lambda x: layers.GlobalMaxPooling2D()(x),
    "UpSampling2D nearest": lambda x: layers.UpSampling2D((2, 3))(x),
    "UpSampling2D bilinear": lambda x: layers.UpSampling2D(3, interpolation="bilinear")(x),
    "ZeroPadding2D": lambda x: layers.ZeroPadding2D(((1, 2), (0, 3)))(x),
    "Cropping2D": lambda x: layers.Cropping2D(((1, 2), (0, 3)))(x),
    "Add": lambda x: layers.Add()([x, layers.Conv2D(4, 1)(x)]),
    "Subtract": lambda x: layers.Subtract()([x, layers.Conv2D(4, 1)(x)]),
    "Multiply": lambda x: layers.Multiply()([x, layers.Conv2D(4, 1)(x)]),
    "Average": lambda x: layers.Average()([x, layers.Conv2D(4, 1)(x)]),
    "Maximum": lambda x: layers.Maximum()([x, layers.Conv2D(4, 1)(x)]),
    "Minimum": lambda x: layers.Minimum()([x, layers.Conv2D(4, 1)(x)]),
    "Concatenate": lambda x: layers.Concatenate()([x, layers.Conv2D(2, 1)(x), x]),
    "Dropout": lambda x: layers.SpatialDropout2D(0.5)(layers.Dropout(0.5)(layers.GaussianNoise(1.0)(x))),
    "Rescaling": lambda x: layers.Rescaling(1 / 127.5, -1.0)(x),
    "operators": lambda x: 2.0 - keras.ops.relu(x / 4) + x * 0.5,
    "DepthToSpace": lambda x: DepthToSpace(2)(x),
    "SpaceToDepth": lambda x: SpaceToDepth(3)(x),
    "EdgePadding": lambda x: EdgePadding()(x),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_of_layers_crosses_both_ways(family):
    """Each alone; both directions compare outputs on noise themselves, and this test once more on other numbers."""
    image = keras.Input((12, 15, 4))
    model = randomized(keras.Model(image, FAMILIES[family](image)))
    old = to_tf_keras(model)
    new = from_tf_keras(old)
    batch = np.random.default_rng(3).normal(size=(2, 12, 15, 4)).astype("float32")
    expected = np.asarray(model(batch, training=False))
    assert np.ptp(expected) > 0
    for theirs in (old, new):
        assert np.allclose(expected, theirs(batch, training=False), atol=1e-5)


def test_the_table_is_covered():
    """Every layer type that may cross is in one of the families, so a wrong setting cannot hide."""
    used: set[str] = set()
    for make in FAMILIES.values():
        image = keras.Input((12, 15, 4))
        used |= {type(layer).__name__ for layer in keras.Model(image, make(image)).layers}
    assert used >= set(SETTINGS)


def test_operators_of_keras_2_become_layers():
    image = tf_keras.Input((8, 8, 4))
    x = tf_keras.layers.Conv2D(4, 3, padding="same")(image / 255.0)
    x = tf.concat([tf.nn.relu(1.0 - x), tf.maximum(x, image) * x], axis=-1)
    old = tf_keras.Model(image, x + 0.5)
    new = from_tf_keras(old)
    batch = np.random.default_rng(4).random((2, 8, 8, 4), "float32")
    assert np.allclose(old(batch), new(batch), atol=1e-6)
    with pytest.raises(UnsupportedModelError, match=r"layer '.*reduce_mean.*' cannot cross"):
        from_tf_keras(tf_keras.Model(image, tf.reduce_mean(image, axis=-1, keepdims=True)))


def test_nested_models_and_shared_layers_come_back_from_tf_keras():
    inner = tf_keras.Sequential([tf_keras.Input((8, 8, 4)), tf_keras.layers.Conv2D(4, 3, padding="same")])
    image = tf_keras.Input((8, 8, 4))
    old = tf_keras.Model(image, inner(inner(image)))
    new = from_tf_keras(old)
    assert len(new.weights) == 2
    batch = np.random.default_rng(4).random((2, 8, 8, 4), "float32")
    assert np.allclose(old(batch), new(batch), atol=1e-6)


def test_the_example_in_the_documentation_runs(tmp_path, monkeypatch):
    text = (Path(__file__).parents[2] / "docs" / "bridge.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(code, names)
    assert np.mean(names["pruned"].get_layer("wide").get_weights()[0] == 0) == pytest.approx(0.5, abs=0.01)
