"""Channels between two linear convolutions are mixed: the same function, less noise where int8 rounds, nothing else touched."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize import mix_channels as module
from edgepress.optimize.graph import run
from edgepress.optimize.latent_range import fill_int8
from edgepress.optimize.mix_channels import mix_channels
from edgepress.optimize.split import Halves, split
from edgepress.train.layers import DepthToSpace, SpaceToDepth

L = keras.layers


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 60)


@pytest.fixture(scope="module")
def images(photographs):
    return [photo[:128, :128].astype("float32") / 255 for photo in photographs]


def autoencoder(bias: bool = True, activation: str = "linear", reader: int = 1, tapped: bool = False):
    """A transform in two levels to the latent and back: channels of very different range at either level."""
    keras.utils.set_random_seed(3)
    some = {"use_bias": bias, "bias_initializer": "normal"} if bias else {"use_bias": False}
    image = keras.Input((None, None, 3))
    u = L.Conv2D(24, 1, activation=activation, name="first", **some)(SpaceToDepth(4)(image))
    x = L.Conv2D(24, reader, padding="same", name="latent", **some)(SpaceToDepth(2)(u))
    y = DepthToSpace(2)(L.Conv2D(96, 1, activation=activation, name="back", **some)(x))
    z = L.Conv2D(48, reader, padding="same", name="last", **some)(y)
    if tapped:
        z = L.Add()([z, L.Conv2D(48, 3, padding="same")(y)])
    model = keras.Model(image, DepthToSpace(4)(z))
    widths = np.geomspace(8, 0.5, 24)  # of the channels of u, as a transform of pixels has them
    for name in ("first", "back"):
        layer = model.get_layer(name)
        layer.kernel.assign(np.asarray(layer.kernel) * np.tile(widths, layer.filters // 24))
    return model


def halves_of(model, images) -> Halves:
    return fill_int8(split(model, "latent"), images).halves


def lost(half, layer: str, batch: np.ndarray) -> float:
    """The mean squared error of the output when what a layer makes is rounded to 256 levels."""
    values = keras.Model(half.input, half.get_layer(layer).output)(batch)
    low, high = min(0.0, float(np.min(values))), max(0.0, float(np.max(values)))
    step = (high - low) / 255
    rest = half.layers[half.layers.index(half.get_layer(layer)) + 1 :]
    x = np.round(np.asarray(values) / step) * step
    for following in rest:
        x = following(x)
    return float(np.mean(np.square(np.asarray(x) - run(half, batch))))


@pytest.mark.parametrize("bias", [True, False])
def test_the_function_stays_and_rounding_costs_less(images, bias):
    halves = halves_of(autoencoder(bias), images)
    mixed = mix_channels(halves, images)
    batch = images[0][None]
    latent = run(halves.encoder, batch)
    for before, after, values, layer in (
        (halves.encoder, mixed.encoder, batch, "first"),
        (halves.decoder, mixed.decoder, latent, "back"),
    ):
        assert [layer.name for layer in before.layers] == [layer.name for layer in after.layers]
        exact = run(before, values)
        np.testing.assert_allclose(run(after, values), exact, atol=1e-5 * max(1, np.abs(exact).max()))
        assert lost(after, layer, values) < 0.6 * lost(before, layer, values)


@pytest.mark.parametrize(
    "kept", [{"activation": "relu"}, {"reader": 3}, {"tapped": True}], ids=["nonlinear", "3x3", "read twice"]
)
def test_what_is_no_such_pair_stays_the_very_same_model(images, kept):
    halves = halves_of(autoencoder(**kept), images)
    mixed = mix_channels(halves, images)
    assert mixed.decoder is halves.decoder
    assert "tapped" in kept or mixed.encoder is halves.encoder


def test_channels_that_never_change_do_no_harm(images):
    model = autoencoder()
    first = model.get_layer("first")
    first.kernel.assign(np.asarray(first.kernel) * (np.arange(24) > 4))
    halves = halves_of(model, images)
    batch = images[0][None]
    exact = run(halves.encoder, batch)
    np.testing.assert_allclose(run(mix_channels(halves, images).encoder, batch), exact, atol=2e-3)  # of 127
