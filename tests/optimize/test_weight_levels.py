"""Coarser weights where the output hardly notices, and only there; the int8 model then compresses better."""

import zlib
from dataclasses import replace

import keras
import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.graph import rebuild, run
from edgepress.optimize.load import bring_in
from edgepress.optimize.split import split
from edgepress.optimize.weight_levels import coarse_levels, on_grid
from edgepress.train.layers import DepthToSpace, SpaceToDepth


@pytest.fixture(scope="module")
def halves():
    """A block transform with a branch, wide but faint, that hardly matters."""
    keras.utils.set_random_seed(2)
    image = keras.Input((None, None, 3))
    x = SpaceToDepth(8)(image)
    y = keras.layers.Conv2D(64, 3, padding="same", activation="relu", name="branch")(x)
    y = keras.layers.Conv2D(
        192, 1, name="expand", kernel_initializer=keras.initializers.RandomNormal(0, 1e-3)
    )(y)
    x = keras.layers.Conv2D(64, 1, name="latent")(keras.layers.Add()([x, y]))
    x = keras.layers.Conv2D(192, 1, name="back")(x)
    model = keras.Model(image, DepthToSpace(8)(x))
    basis = np.linalg.qr(np.random.default_rng(0).normal(size=(192, 192)))[0][:, :64]
    model.get_layer("latent").set_weights([basis[None, None], np.zeros(64)])
    model.get_layer("back").set_weights([basis.T[None, None], np.zeros(192)])
    return split(bring_in(model, input_range="0..1").model, "latent")


def inputs(halves, photographs):
    images = [photo[None].astype("float32") / 255 for photo in photographs[:2]]
    return images, [run(halves.encoder, image) for image in images]


def with_levels(halves, levels):
    """The halves with these kernels on their grids."""

    def put(half):
        copy = rebuild(half)
        for name, count in levels.items():
            if any(layer.name == name for layer in copy.layers):
                kernel = copy.get_layer(name).kernel
                kernel.assign(on_grid(np.array(kernel), count))
        return copy

    return replace(halves, encoder=put(halves.encoder), decoder=put(halves.decoder))


def noise(halves, other, image):
    return float(np.mean((run(halves.encoder, image) - run(other.encoder, image)) ** 2))


def test_the_grid_holds_the_largest_weight_and_as_many_steps():
    kernel = np.random.default_rng(1).normal(size=(3, 3, 8, 4)).astype("float32")
    rounded = on_grid(kernel, 15)
    assert all(len(np.unique(rounded[..., c])) <= 31 for c in range(4))
    largest = np.abs(kernel).max(axis=(0, 1, 2))
    np.testing.assert_allclose(np.abs(rounded).max(axis=(0, 1, 2)), largest, rtol=1e-6)
    assert (np.abs(rounded - kernel) <= largest / 30 + 1e-6).all()
    assert not on_grid(np.zeros((1, 1, 2, 2), "float32"), 15).any()


def test_what_hardly_matters_gets_few_levels_and_compresses_better(halves, photographs):
    batches = inputs(halves, photographs)
    levels = coarse_levels(halves, batches, 0.02)
    coarse = with_levels(halves, levels)
    assert levels["branch"] == levels["expand"] == 15
    assert "latent" not in levels and "back" not in levels
    image = batches[0][0]
    int8 = with_levels(halves, {"latent": 127})
    assert 0 < noise(halves, coarse, image) < 0.1 * noise(halves, int8, image)
    before, after = convert([Job(h.encoder, h.decoder, "int8") for h in (halves, coarse)], photographs)
    assert len(zlib.compress(after.encoder)) < 0.75 * len(zlib.compress(before.encoder))
    assert len(after.encoder) == len(before.encoder)


def test_no_share_changes_nothing(halves, photographs):
    assert not coarse_levels(halves, inputs(halves, photographs), 0.0)
