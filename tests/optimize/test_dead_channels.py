"""Dead channels: found on data, removed without a trace, left where a border would show."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.dead_channels import remove_dead
from edgepress.optimize.errors import EdgepressError
from edgepress.optimize.graph import run

L = keras.layers


@pytest.fixture
def images() -> list[np.ndarray]:
    return [np.random.default_rng(seed).random((32, 48, 3), "float32") for seed in range(3)]


def build(reader: int, padding: str = "same", activation: str = "relu") -> keras.Model:
    """`dead` makes 16 channels, of which 3 are never active: 1 and 4 are zero; 7 is worth its activation at -9."""
    keras.utils.set_random_seed(3)
    x = image = keras.Input((None, None, 3))
    x = L.Conv2D(16, 4, 4, name="dead")(x)
    x = L.Activation(activation)(x)
    x = L.Conv2D(4, reader, padding=padding, use_bias=False, name="latent")(x)
    if padding == "valid":
        x = L.ZeroPadding2D(reader // 2)(x)
    model = keras.Model(image, L.Conv2DTranspose(3, 4, 4)(x))
    kernel, bias = model.get_layer("dead").get_weights()
    kernel[..., [1, 4, 7]] = 0
    bias[:] = 0.5
    bias[[1, 4, 7]] = -9 if activation == "relu" else 0.25
    model.get_layer("dead").set_weights([kernel, bias])
    return model


def test_channels_that_are_never_active_go(images):
    model = build(3)
    removed = remove_dead(model, images, latent="latent")
    assert (removed.channels, removed.where) == (3, {"dead": 3})
    assert removed.model.get_layer("dead").filters == 13
    assert removed.max_difference < 1e-6
    np.testing.assert_allclose(run(removed.model, images[0][None]), run(model, images[0][None]), atol=1e-6)


@pytest.mark.parametrize(("reader", "padding"), [(1, "same"), (3, "valid")])
def test_a_constant_moves_into_the_bias_of_what_reads_it(images, reader, padding):
    model = build(reader, padding, "linear")
    removed = remove_dead(model, images, latent="latent")
    assert removed.where == {"dead": 3} and not removed.at_borders
    latent = removed.model.get_layer("latent")
    kernel = np.asarray(model.get_layer("latent").kernel)
    expected = 0.25 * kernel[:, :, [1, 4, 7]].sum(axis=(0, 1, 2))
    assert latent.use_bias and np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(latent.bias, expected, rtol=1e-4, atol=1e-6)


def test_a_constant_that_padding_would_show_stays_and_is_named(images):
    removed = remove_dead(build(3, "same", "linear"), images, latent="latent")
    assert removed.channels == 0 and removed.at_borders == {"dead": 3}


def test_channels_that_nothing_reads_go(images):
    model = build(3)
    kernel = model.get_layer("latent").get_weights()[0]
    kernel[:, :, [0, 2]] = 0
    model.get_layer("latent").set_weights([kernel])
    assert remove_dead(model, images, latent="latent").where == {"dead": 5}


def test_whole_simd_groups_on_request_and_never_all_channels(images):
    model = build(3)
    assert remove_dead(model, images, latent="latent", group=8).channels == 0  # 13 live ones need 16 places
    assert remove_dead(model, images, latent="latent", group=7).where == {"dead": 2}
    kernel, bias = model.get_layer("dead").get_weights()
    model.get_layer("dead").set_weights([kernel * 0, bias * 0 - 1])
    assert remove_dead(model, images, latent="latent").where == {"dead": 15}


def test_a_live_branch_keeps_what_an_addition_ties_to_it(images):
    image = keras.Input((None, None, 3))
    trunk = L.Conv2D(8, 2, 2, name="trunk")(image)
    silent = keras.initializers.Constant(-9)
    branch = L.Conv2D(8, 1, activation="relu", bias_initializer=silent, name="branch")(trunk)
    x = L.Conv2D(4, 1, name="latent")(L.Add()([trunk, branch]))
    removed = remove_dead(keras.Model(image, L.Conv2DTranspose(3, 2, 2)(x)), images, latent="latent")
    assert removed.channels == 0


def test_images_are_needed():
    with pytest.raises(EdgepressError, match="there are none"):
        remove_dead(build(3), [])
