"""Transposed convolutions as convolutions: exact for every kernel, stride and padding."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.optimize.errors import UnsupportedModelError
from edgepress.optimize.rewrite import rewrite, verify
from edgepress.optimize.split import split


def model_of(*args, **kwargs):
    image = keras.Input((None, None, 3))
    layer = layers.Conv2DTranspose(*args, bias_initializer="random_normal", name="up", **kwargs)
    return keras.Model(image, layer(image))


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, (2, 5)])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("filters", [3, 32])  # one convolution, or one for each phase
def test_every_kernel_stride_and_padding_is_exact(kernel, stride, padding, filters):
    model = model_of(filters, kernel, stride, padding=padding, activation="relu")
    done = rewrite(model)
    assert done.max_difference < 1e-5
    assert not any(isinstance(layer, layers.Conv2DTranspose) for layer in done.model.layers)
    assert done.model.layers[-1].name == "up"


def test_conv3_is_exact_on_photographs_and_keeps_its_layer_names(conv3, photographs):
    done = rewrite(conv3, [image.astype("float32") / 255 for image in photographs])
    assert done.max_difference < 1e-5
    assert [r.layer for r in done.rewrites] == ["decoder_1", "decoder_2", "reconstruction"]
    assert {"latent", "decoder_1", "reconstruction"} <= {layer.name for layer in done.model.layers}


def test_phases_stay_one_convolution_where_that_is_asked_for(conv3):
    done = rewrite(conv3, joined=True)
    assert done.max_difference < 1e-5
    kinds = [type(layer).__name__ for layer in split(done.model, "latent").decoder.layers]
    assert kinds.count("Conv2D") == kinds.count("DepthToSpace") == 3


def test_an_activation_over_channels_stays_behind_depth_to_space():
    done = rewrite(model_of(4, 3, 2, padding="same", activation="softmax"))
    assert done.max_difference < 1e-5
    assert done.model.layers[-1].activation is keras.activations.softmax


def test_settings_without_an_exact_form_name_the_layer():
    for kwargs in (
        {"strides": (2, 1)},
        {"strides": 1, "dilation_rate": 2},
        {"strides": 2, "output_padding": 1},
    ):
        with pytest.raises(UnsupportedModelError, match="layer 'up'"):
            rewrite(model_of(4, 3, padding="same", **kwargs))


def test_a_wrong_rewrite_is_noticed(conv3, conv3_rewritten):
    wrong = keras.models.clone_model(conv3_rewritten)
    wrong.set_weights(conv3_rewritten.get_weights())
    kernel, bias = wrong.get_layer("decoder_1_conv00").get_weights()
    kernel[0, 0] = np.roll(kernel[0, 0], 1, axis=0)
    wrong.get_layer("decoder_1_conv00").set_weights([kernel, bias])
    with pytest.raises(UnsupportedModelError, match="differs from the original"):
        verify(conv3, wrong)
