"""Latent channels that fill int8: the same function, every channel at its own scale, and what stands in the way."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import skimage.data

from edgepress.optimize.graph import run
from edgepress.optimize.latent_range import FLAT, fill_int8
from edgepress.optimize.rewrite import rewrite
from edgepress.optimize.split import split
from edgepress.train.klt import start_as_klt
from edgepress.train.models import build


def autoencoder(activation: str) -> keras.Model:
    x = image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(6, 4, 4, activation=activation, name="latent")(x)
    x = keras.layers.Conv2DTranspose(3, 4, 4)(keras.layers.Conv2D(8, 3, padding="same")(x))
    return keras.Model(image, x)


def pooled() -> keras.Model:
    """A pooled latent, its edge repeated by the decoder, and slopes by channel: all of them let factors through."""
    x = image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(6, 4, 4)(image)
    x = keras.layers.MaxPooling2D(2, name="latent")(x)
    x = keras.layers.UpSampling2D(2, interpolation="bilinear")(x)
    x = keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")(x)
    model = keras.Model(image, keras.layers.Conv2DTranspose(3, 4, 4)(x))
    return rewrite(model, keep=("latent",)).model


def residual() -> keras.Model:
    """`photo` with trained-looking blocks: additions tie the latent to tensors inside both halves."""
    model = build("photo", seed=3)
    start_as_klt(model, skimage.data.coffee()[None, :384, :576])
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_expand"):
            layer.kernel.assign(rng.normal(0, 0.02, layer.kernel.shape))
            layer.bias.assign(rng.normal(0, 0.02, layer.bias.shape))
    return model


@pytest.mark.parametrize(
    "model",
    [
        lambda: autoencoder("relu"),
        lambda: autoencoder("linear"),
        lambda: autoencoder("leaky_relu"),
        residual,
        pooled,
    ],
    ids=["relu", "linear", "leaky", "residual", "pooled"],
)
def test_every_channel_fills_int8_and_the_function_stays(model):
    halves = split(model(), "latent")
    images = [skimage.data.astronaut()[:256, :256].astype("float32") / 255]
    filled = fill_int8(halves, images)
    before, after = run(halves.encoder, images[0][None]), run(filled.halves.encoder, images[0][None])
    np.testing.assert_allclose(after * filled.scale, before, atol=1e-4 * np.abs(before).max())
    whole = run(halves.decoder, before)
    np.testing.assert_allclose(run(filled.halves.decoder, after), whole, atol=2e-4)

    positive = before.min() >= 0
    largest = np.abs(after).max(axis=(0, 1, 2))
    most = 255 if positive else 127
    flat = run(filled.halves.encoder, np.repeat(np.repeat(FLAT, 64, 1), 64, 2))
    held = np.maximum(largest, np.abs(flat).max(axis=(0, 1, 2)))
    seen = largest > 0
    assert np.abs(flat).max() <= most * 1.001
    assert held[seen].min() > 0.99 * most and largest.max() <= most / 0.3 * 1.001
    assert filled.zero_point == (-128 if positive else 0) and filled.int8_scale == 1
    # a unit is the int8 step of the widest channel, or less where flat colours made that wider
    # (a channel that is nearly dead would need more than 16 bits)
    np.testing.assert_allclose(filled.gain, np.minimum(256 * filled.unit / filled.scale, 0xFFFF), atol=0.51)
    assert filled.unit <= filled.scale.max() * 1.001
    wider = np.abs(flat).max(axis=(0, 1, 2)) > 1.001 * largest
    assert (filled.gain[~wider] >= 256).all()


def test_a_rare_value_does_not_decide_on_the_step():
    halves = split(autoencoder("linear"), "latent")
    rng = np.random.default_rng(0)
    image = (0.5 + 0.02 * rng.normal(size=(512, 512, 3))).astype("float32")
    image[:4, :4] = rng.random((4, 4, 3))  # one position that is busier than all others
    filled = fill_int8(halves, [image])
    largest = np.abs(run(halves.encoder, image[None])).max(axis=(0, 1, 2))
    flat = np.abs(run(halves.encoder, np.repeat(np.repeat(FLAT, 64, 1), 64, 2))).max(axis=(0, 1, 2))
    cut = largest > 1.2 * flat
    assert cut.any() and (127 * filled.scale[cut] < 0.95 * largest[cut]).all()
    assert (127 * filled.scale >= flat * 0.999).all()


def test_channels_share_a_scale_where_factors_do_not_pass():
    halves = split(autoencoder("sigmoid"), "latent")
    filled = fill_int8(halves, [skimage.data.coffee()[:64, :64].astype("float32") / 255], unit=0.5)
    assert filled.halves is halves
    assert len(set(filled.scale.tolist())) == 1 and filled.int8_scale == filled.scale[0]
    assert (filled.gain == round(256 * 0.5 / filled.scale[0])).all()


def test_a_ceiling_lets_no_factor_through():
    x = image = keras.Input((None, None, 3))
    x = keras.layers.ReLU(6.0, name="latent")(keras.layers.Conv2D(6, 4, 4)(x))
    model = keras.Model(image, keras.layers.Conv2DTranspose(3, 4, 4)(x))
    filled = fill_int8(split(model, "latent"), [skimage.data.coffee()[:64, :64].astype("float32") / 255])
    assert len(set(filled.scale.tolist())) == 1


def test_a_dead_channel_gets_a_scale_that_works():
    model = autoencoder("relu")
    layer = model.get_layer("latent")
    layer.kernel.assign(np.asarray(layer.kernel) * np.array([1, 1, 0, 1, 1, 1]))
    filled = fill_int8(split(model, "latent"), [skimage.data.coffee()[:64, :64].astype("float32") / 255])
    assert np.isfinite(filled.scale).all() and (filled.scale > 0).all() and (filled.gain > 0).all()
