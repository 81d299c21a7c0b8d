"""The study's models: depth, strides, latent, equations; and `photo` within its budget."""

import keras
import numpy as np
import pytest

from edgepress.train.layers import DepthToSpace, SpaceToDepth
from edgepress.train.models import CONV_MODELS, build, split


@pytest.mark.parametrize(("name", "convolutions"), [("conv3", 3), ("conv5", 5), ("conv7", 7), ("conv10", 10)])
def test_conv_models_have_the_convolutions_of_their_name(name, convolutions):
    encoder, decoder = split(build(name))
    conv = [x for x in encoder.layers if type(x) is keras.layers.Conv2D]
    transposed = [x for x in decoder.layers if isinstance(x, keras.layers.Conv2DTranspose)]
    assert len(conv) == len(transposed) == convolutions
    assert {x.kernel_size for x in conv + transposed} == {(3, 3)}
    assert all(x.activation is keras.activations.relu for x in conv)
    assert transposed[-1].activation is keras.activations.sigmoid
    assert encoder.compute_output_shape((1, 128, 64, 3)) == (1, 16, 8, 32)
    assert decoder.compute_output_shape((1, 16, 8, 32)) == (1, 128, 64, 3)


def test_split_composes_to_the_whole_model():
    model = build("conv5", seed=3)
    encoder, decoder = split(model)
    x = np.random.default_rng(0).random((2, 32, 48, 3), np.float32)
    np.testing.assert_allclose(decoder(encoder(x)), model(x), atol=1e-6)


def test_the_seed_decides_the_weights():
    a, b, c = (build("conv3", seed=s).get_weights()[0] for s in (1, 1, 2))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"conv4.*conv3.*photo"):
        build("conv4")


def multiply_adds(model: keras.Model, height: int, width: int) -> int:
    fixed = keras.models.clone_model(model, input_tensors=keras.Input((height, width, model.input.shape[-1])))
    convolutions = [x for x in fixed.layers if isinstance(x, keras.layers.Conv2D)]
    return sum(x.output.shape[1] * x.output.shape[2] * int(np.prod(x.kernel.shape)) for x in convolutions)


def test_photo_stays_within_two_thousand_macs_per_pixel_a_side():
    encoder, decoder = split(build("photo"))
    assert multiply_adds(encoder, 128, 128) / 128**2 <= 2000
    assert multiply_adds(decoder, 8, 8) / 128**2 <= 2000


def test_space_to_depth_is_the_inverse_of_depth_to_space():
    x = np.random.default_rng(0).random((2, 4, 6, 3), np.float32)
    y = SpaceToDepth(2)(x)
    assert y.shape == (2, 2, 3, 12) == SpaceToDepth(2).compute_output_shape(x.shape)
    np.testing.assert_array_equal(
        y, x.reshape(2, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 2, 3, 12)
    )
    np.testing.assert_array_equal(DepthToSpace(2)(y), x)


def test_depth_to_space_is_tensorflows_in_any_backend():
    import tensorflow as tf

    x = np.random.default_rng(0).random((2, 3, 5, 12), np.float32)
    y = DepthToSpace(2)(x)
    np.testing.assert_array_equal(y, tf.nn.depth_to_space(x, 2))
    # what other backends compute, spelled out in numpy
    z = x.reshape(2, 3, 5, 2, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 10, 3)
    np.testing.assert_array_equal(y, z)


def test_all_conv_models_are_registered():
    assert list(CONV_MODELS) == ["conv3", "conv5", "conv7", "conv10"]
