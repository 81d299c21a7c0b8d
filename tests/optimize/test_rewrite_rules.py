"""Every rewriting rule: exact, noted, and without the layer that it is there to remove."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.optimize.errors import UnsupportedModelError
from edgepress.optimize.graph import run
from edgepress.optimize.rewrite import rewrite

NORMAL = "random_normal"


def model_of(*chain, image=None):
    """The layers one behind the other, all weights random (so that no bias and no shift is zero)."""
    image = image if image is not None else keras.Input((None, None, 3))
    x = image
    for layer in chain:
        x = layer(x)
    return randomized(keras.Model(image, x))


def randomized(model):
    rng = np.random.default_rng(0)
    for layer in model.layers:
        positive = isinstance(layer, layers.BatchNormalization)
        weights = [rng.normal(0, 0.5, w.shape).astype("float32") for w in layer.get_weights()]
        layer.set_weights([np.abs(w) + 0.1 for w in weights] if positive else weights)
    return model


def kinds(model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers[1:]]


@pytest.fixture
def pictures(photographs):
    return [image.astype("float32") / 255 for image in photographs[:1]]


C = layers.Conv2D
CASES = {
    "normalization behind a convolution": (
        lambda: [C(5, 3, padding="same", use_bias=False), layers.BatchNormalization()],
        ["Conv2D"],
    ),
    "normalization behind a transposed one": (
        lambda: [layers.Conv2DTranspose(5, 3, 2, "same"), layers.BatchNormalization(), layers.ReLU()],
        ["ZeroPadding2D", "Conv2D", "DepthToSpace"],
    ),
    "normalization behind a depthwise one": (
        lambda: [
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            layers.BatchNormalization(scale=False),
        ],
        ["DepthwiseConv2D"],
    ),
    "normalization in front of a convolution without border": (
        lambda: [
            layers.MaxPooling2D(1),
            layers.BatchNormalization(),
            C(5, 2, 2),
            layers.BatchNormalization(),
        ],
        ["MaxPooling2D", "Conv2D"],
    ),
    "normalization in front of a depthwise one": (
        lambda: [layers.BatchNormalization(), layers.DepthwiseConv2D(2, 2, depth_multiplier=2)],
        ["DepthwiseConv2D"],
    ),
    "normalization in front of a border stays": (
        lambda: [layers.BatchNormalization(), C(5, 3, padding="same")],
        ["DepthwiseConv2D", "Conv2D"],
    ),
    "normalization without a shift goes even there": (
        lambda: [layers.Rescaling(0.3), C(5, 3, padding="same")],
        ["Conv2D"],
    ),
    "tanh to [0, 1] is a sigmoid": (
        lambda: [C(3, 3, padding="same", activation="tanh"), layers.Rescaling(0.5, 0.5)],
        ["Conv2D"],
    ),
    "separable": (
        lambda: [layers.SeparableConv2D(5, 3, 2, "same", activation="relu")],
        ["DepthwiseConv2D", "Conv2D"],
    ),
    "grouped": (lambda: [C(6, 1), C(4, 3, groups=2, padding="same")], ["Conv2D", "Conv2D"]),
    "average pooling": (lambda: [layers.AveragePooling2D((2, 4), 2)], ["DepthwiseConv2D"]),
    "average pooling, same": (lambda: [layers.AveragePooling2D(2, 4, "same")], ["DepthwiseConv2D"]),
    "average pooling over borders stays": (
        lambda: [layers.AveragePooling2D(3, 2, "same")],
        ["AveragePooling2D"],
    ),
    "padding by hand": (lambda: [layers.ZeroPadding2D(((0, 1), (0, 1))), C(4, 3, 2)], ["Conv2D"]),
    "padding as no convolution pads": (
        lambda: [layers.ZeroPadding2D(1), C(4, 3, 2)],
        ["ZeroPadding2D", "Conv2D"],
    ),
    "ReLU": (lambda: [C(4, 3), layers.ReLU()], ["Conv2D"]),
    "ReLU6 and tanh": (
        lambda: [C(4, 3), layers.ReLU(6.0), C(4, 3), layers.Activation("tanh")],
        ["Conv2D", "Conv2D"],
    ),
    "ReLU with a ceiling": (lambda: [C(4, 3), layers.ReLU(0.7), C(4, 3)], ["Conv2D", "Conv2D"]),
    "ReLU on a pooled map": (
        lambda: [layers.MaxPooling2D(), layers.ReLU()],
        ["MaxPooling2D", "DepthwiseConv2D"],
    ),
    "a LeakyReLU without leak": (
        lambda: [C(4, 3), layers.LeakyReLU(negative_slope=0.0)],
        ["Conv2D"],
    ),
    "PReLU": (
        lambda: [C(8, 3), layers.PReLU(shared_axes=[1, 2])],
        ["Conv2D", "DepthwiseConv2D", "Add"],
    ),
    "nearest upsampling alone": (lambda: [layers.UpSampling2D(3)], ["Concatenate", "DepthToSpace"]),
    "bilinear upsampling": (
        lambda: [layers.UpSampling2D(2, interpolation="bilinear")],
        ["EdgePadding", *["DepthwiseConv2D"] * 4, "Concatenate", "DepthToSpace"],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rules_are_exact_and_leave_what_runs_well(case, pictures):
    make, expected = CASES[case]
    model = model_of(*make())
    done = rewrite(model, pictures)
    assert kinds(done.model) == expected
    assert done.max_difference < 1e-5
    assert done.model.layers[-1].name == model.layers[-1].name
    assert done.rewrites or expected == kinds(model)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(("kernel", "stride"), [(7, 2), (7, 4), (4, 4), (2, 4), ((3, 7), 3)])
def test_more_transposed_convolutions(kernel, stride, padding):
    model = model_of(layers.Conv2DTranspose(4, kernel, stride, padding, activation="relu"))
    assert rewrite(model).max_difference < 1e-5


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (2, 1), (3, 1), (5, 1), ((7, 2), 1), (3, 2)])
def test_nearest_upsampling_goes_into_the_convolution_borders_included(kernel, dilation, factor, padding):
    model = model_of(
        layers.UpSampling2D(factor),
        C(4, kernel, padding=padding, dilation_rate=dilation, activation="relu"),
    )
    done = rewrite(model)
    assert done.max_difference < 1e-5
    assert "UpSampling2D" not in kinds(done.model) and "Concatenate" not in kinds(done.model)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
def test_bilinear_upsampling_by_any_factor(factor):
    assert (
        rewrite(model_of(C(4, 1), layers.UpSampling2D(factor, interpolation="bilinear"))).max_difference
        < 1e-5
    )


@pytest.mark.parametrize(
    ("slopes", "expected"),
    [
        ([0.3, 0.3, 0.3], ["LeakyReLU"]),
        ([0.0, 0.0, 0.0], ["DepthwiseConv2D"]),
        ([0.0, -0.4, 1.0], ["DepthwiseConv2D", "Add"]),
        ([0.5, 1.5, -2.0], ["DepthwiseConv2D", "DepthwiseConv2D", "Add"]),
    ],
)
def test_slopes_of_a_prelu(slopes, expected):
    model = model_of(layers.PReLU(shared_axes=[1, 2]))
    model.layers[-1].set_weights([np.array(slopes, "float32").reshape(1, 1, 3)])
    done = rewrite(model)
    assert kinds(done.model) == expected and done.max_difference < 1e-5


def test_what_others_read_stays():
    """A convolution whose output is also added elsewhere must not get the activation of one of its readers."""
    image = keras.Input((None, None, 3))
    x = C(4, 3, padding="same")(image)
    y = layers.BatchNormalization()(layers.ReLU()(x))
    done = rewrite(randomized(keras.Model(image, layers.Add()([x, y]))))
    assert done.max_difference < 1e-5
    assert kinds(done.model).count("DepthwiseConv2D") == 2  # the ReLU and the normalization


def test_the_latent_stays_a_tensor_of_its_own():
    model = model_of(C(4, 3, 2, "same", name="latent"), layers.BatchNormalization(), layers.ReLU(), C(4, 1))
    free, kept = rewrite(model), rewrite(model, keep=("latent",))
    assert "latent" not in [layer.name for layer in free.model.layers]
    image = np.random.default_rng(0).random((1, 64, 64, 3), "float32")
    latents = [run(keras.Model(m.input, m.get_layer("latent").output), image) for m in (model, kept.model)]
    assert np.allclose(*latents, atol=1e-6)


def test_shared_upsampling_is_not_taken_up_twice():
    image = keras.Input((None, None, 3))
    up = layers.UpSampling2D(2)(image)
    model = keras.Model(image, layers.Add()([C(3, 3, padding="same")(up), up]))
    done = rewrite(model)
    assert done.max_difference < 1e-5 and "Concatenate" in kinds(done.model)


def test_unequal_factors_are_refused_with_the_layers_name():
    for interpolation in ("nearest", "bilinear"):
        model = model_of(layers.UpSampling2D((2, 1), interpolation=interpolation, name="up"))
        with pytest.raises(UnsupportedModelError, match=r"layer 'up': .*use equal factors"):
            rewrite(model)
