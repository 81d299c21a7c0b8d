"""A residual block behind depth_to_space is read and added before it: the same function, the picture rounded once in int8."""

import keras
import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.early_sums import sum_early
from edgepress.optimize.graph import run
from edgepress.optimize.join_branches import join_branches
from edgepress.optimize.latent_range import fill_int8
from edgepress.optimize.load import bring_in
from edgepress.optimize.split import split
from edgepress.optimize.tflite import TFLite, undelegated
from edgepress.train.layers import DepthToSpace, SpaceToDepth


def autoencoder(kernel=1, tapped=False, bare=False):
    """Blocks of 4x4 pixels to 24 values and back, and a residual block on half the resolution behind them."""
    keras.utils.set_random_seed(3)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(24, 1, name="latent")(SpaceToDepth(4)(image))
    x = keras.layers.Conv2D(48, kernel, padding="same", name="back")(x)
    x = DepthToSpace(2, name="half")(x)
    y = keras.layers.Conv2D(6, 1, activation="leaky_relu", name="reduce")(x)
    y = keras.layers.Conv2D(6, 3, padding="same", activation="leaky_relu", name="spatial")(y)
    if tapped:
        y = keras.layers.Add(name="twice")([y, keras.layers.Conv2D(6, 3, padding="same", name="tap")(x)])
    y = keras.layers.Conv2D(12, 1, name="expand")(x if bare else y)
    x = keras.layers.Add(name="sum")([x, y])
    model = keras.Model(image, DepthToSpace(2)(x))
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(48, 48)))[0][:, :24]
    model.get_layer("latent").set_weights([basis[None, None] * 4, rng.normal(0, 0.1, 24)])
    back = np.zeros(model.get_layer("back").kernel.shape)
    back[kernel // 2, kernel // 2] = basis.T / 4
    model.get_layer("back").set_weights([back, np.full(48, 0.2)])
    return bring_in(model, input_range="0..1").model


@pytest.fixture(scope="module")
def filled(images):
    return fill_int8(split(autoencoder(), "latent"), images)


def latents(filled, images):
    return [np.clip(np.round(run(filled.halves.encoder, image[None])), -128, 127) for image in images[:4]]


def test_the_sum_comes_before_depth_to_space_and_the_function_stays(filled, images):
    decoder = filled.halves.decoder
    early = sum_early(decoder, latents(filled, images))
    names = [layer.name for layer in early.layers]
    assert names.index("sum") < names.index("half")
    assert early.get_layer("expand").kernel.shape == (1, 1, 24, 48)
    assert early.get_layer("reduce").kernel.shape == (1, 1, 48, 24)
    z = latents(filled, images)[0]
    np.testing.assert_allclose(run(early, z), run(decoder, z), atol=1e-5)


@pytest.mark.parametrize(
    "kept",
    [{"tapped": True}, {"bare": True}],
    ids=["read by a 3x3 convolution", "the branch is one convolution"],
)
def test_what_cannot_be_joined_afterwards_stays_the_very_same_model(kept, images):
    filled = fill_int8(split(autoencoder(**kept), "latent"), images)
    assert sum_early(filled.halves.decoder, latents(filled, images)) is filled.halves.decoder


def test_joined_it_rounds_less_than_before(filled, images, photographs):
    joined = join_branches(filled, images)
    assert not any(type(layer) is keras.layers.Add for layer in joined.decoder.layers)
    jobs = [
        Job(filled.halves.encoder, decoder, "int8", filled.int8_scale, filled.zero_point)
        for decoder in (filled.halves.decoder, joined.decoder)
    ]
    grid = latents(filled, images)[0]
    exact = np.clip(run(filled.halves.decoder, grid), 0, 1) * 255
    plain, early = (pair.decoder for pair in convert(jobs, photographs))
    assert not undelegated(early)
    errors = [
        np.mean((TFLite(d).run(grid.astype(np.int8)).astype(float) + 128 - exact) ** 2)
        for d in (plain, early)
    ]
    assert errors[1] < 0.9 * errors[0]
