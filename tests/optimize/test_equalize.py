"""Equalized channels: the same function with less noise in int8, as predicted, and nothing where nothing is won."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.channel_graph import plan
from edgepress.optimize.convert import Job, convert
from edgepress.optimize.equalize import MOST, equalize, frozen
from edgepress.optimize.graph import run
from edgepress.optimize.int8_noise import noise_models, opened
from edgepress.optimize.latent_range import fill_int8
from edgepress.optimize.split import split
from edgepress.optimize.tflite import TFLite
from edgepress.train.layers import DepthToSpace, SpaceToDepth

L = keras.layers


def two_levels(x):
    """A block transform in two levels, whose channels differ in range between them as those of any transform do."""
    x = L.Conv2D(24, 1, name="first")(SpaceToDepth(4)(x))
    x = L.Conv2D(48, 1, name="latent")(SpaceToDepth(2)(x))
    x = DepthToSpace(2)(L.Conv2D(96, 1, name="back")(x))
    return DepthToSpace(4)(L.Conv2D(48, 1, bias_initializer=keras.initializers.Constant(0.5), name="last")(x))


def mixed(x):
    """All that a factor gets through: activations, a depthwise convolution, padding, a sum, a concatenation."""
    x = L.Conv2D(16, 4, 4, activation="relu", name="first")(x)
    y = L.DepthwiseConv2D(3, padding="same", activation="leaky_relu", name="apart")(x)
    y = L.Concatenate()([L.Conv2D(8, 1, name="left")(y), L.Conv2D(8, 1, name="right")(y)])
    x = L.Conv2D(6, 1, activation="relu", bias_initializer="ones", name="latent")(L.Add(name="sum")([x, y]))
    x = L.Conv2D(16, 3, activation="leaky_relu", name="back")(L.ZeroPadding2D(1)(x))
    return DepthToSpace(4)(L.Conv2D(48, 1, activation="sigmoid", name="last")(x))


def bounded(x):
    x = L.Conv2D(16, 4, 4, activation="tanh", name="first")(x)
    x = L.Conv2D(6, 1, activation="sigmoid", name="latent")(x)
    x = L.Conv2D(16, 1, activation="silu", name="back")(x)
    return DepthToSpace(4)(L.Conv2D(48, 1, name="last")(x))


def autoencoder(build, widths: float) -> keras.Model:
    """`widths`: how many times the range of the narrowest channel the widest has, within the halves."""
    keras.utils.set_random_seed(4)
    image = keras.Input((None, None, 3))
    model = keras.Model(image, build(image))
    for maker, reader in (("first", "latent"), ("back", "last")):
        kernel, bias = model.get_layer(maker).get_weights()
        factors = np.geomspace(1, widths, 24 if build is two_levels else 16)
        model.get_layer(maker).set_weights([kernel * np.resize(factors, kernel.shape[-1]), bias])
        if build is not mixed:  # what reads them brings them back to what they were
            kernel, bias = model.get_layer(reader).get_weights()
            model.get_layer(reader).set_weights([kernel / np.resize(factors, kernel.shape[2])[:, None], bias])
    return model


def prepared(build, images, widths=30.0):
    return fill_int8(split(autoencoder(build, widths), "latent"), images)


def int8_errors(filled, versions, photographs) -> list[float]:
    """Mean squared error of int8 against float, in grey levels, of several versions of the same halves."""
    jobs = [Job(h.encoder, h.decoder, "int8", filled.int8_scale, filled.zero_point) for h in versions]
    image = photographs[1][:128, :128]
    exact = run(filled.halves.decoder, run(filled.halves.encoder, image[None] / np.float32(255)))
    errors = []
    for pair in convert(jobs, photographs):
        encoder, decoder = TFLite(pair.encoder), TFLite(pair.decoder)
        pixels = decoder.run(encoder.run((image[None] ^ np.uint8(128)).view(np.int8))).astype(float) + 128
        errors.append(float(np.mean((pixels - np.clip(exact, 0, 1) * 255) ** 2)))
    return errors


@pytest.mark.parametrize("build", [two_levels, mixed])
def test_int8_loses_less_and_the_function_stays(build, images, photographs):
    filled = prepared(build, images)
    after = equalize(filled.halves, images)
    z = run(filled.halves.encoder, images[0][None])
    np.testing.assert_allclose(run(after.encoder, images[0][None]), z, atol=1e-5 * np.abs(z).max())
    np.testing.assert_allclose(run(after.decoder, z), run(filled.halves.decoder, z), atol=1e-5)
    assert [layer.name for layer in after.encoder.layers] == [x.name for x in filled.halves.encoder.layers]
    assert after.latent == filled.halves.latent
    plain, equal = int8_errors(filled, (filled.halves, after), photographs)
    assert equal < 0.8 * plain


def test_channels_that_space_to_depth_parts_share_a_factor(images):
    filled = prepared(two_levels, images)
    after = equalize(filled.halves, images)
    kernels = [np.asarray(h.get_layer("back").kernel)[0, 0] for h in (after.decoder, filled.halves.decoder)]
    factors = np.median(kernels[0] / kernels[1], axis=0).reshape(4, 24)
    np.testing.assert_allclose(factors, factors[:1].repeat(4, 0), rtol=1e-5)
    assert factors[0, 0] > 5 * factors[0, -1] > 0


def test_the_predicted_noise_is_what_int8_makes(images, photographs):
    filled = prepared(two_levels, images)
    models = opened(filled.halves.encoder), opened(filled.halves.decoder)
    plans = plan(models[0]), plan(models[1])
    part = [images[1][:128, :128]]
    noise = noise_models(models, plans, part)
    predicted = sum(half.noise(np.ones(p.units)) for half, p in zip(noise, plans, strict=True))
    (measured,) = int8_errors(filled, [filled.halves], photographs)
    assert measured == pytest.approx(predicted * 255**2 / part[0].size, rel=0.35)


def test_nothing_is_changed_where_nothing_is_won(images):
    """Channels that are alike; and activations that let no factor through, however unlike the channels are."""
    for build, widths in ((two_levels, 1.0), (bounded, 30.0)):
        filled = prepared(build, images, widths)
        after = equalize(filled.halves, images)
        if build is bounded:
            assert after.encoder is filled.halves.encoder and after.decoder is filled.halves.decoder
        again = equalize(after, images)
        assert again.encoder is after.encoder and again.decoder is after.decoder


def test_the_image_and_the_latent_keep_their_scale(images):
    halves = prepared(mixed, images).halves
    model = opened(halves.encoder)
    found = plan(model)
    stuck = frozen(model, found)
    assert {*found.reads["first"].tolist(), *found.writes["latent"].tolist()} <= stuck
    assert not stuck & {*found.writes["sum"].tolist(), *found.writes["apart"].tolist()}


def test_a_channel_that_is_always_zero_is_left_alone(images):
    filled = prepared(two_levels, images)
    layer = filled.halves.encoder.get_layer("first")
    kernel, bias = layer.get_weights()
    kernel[..., 3] = 0
    layer.set_weights([kernel, bias])
    after = equalize(filled.halves, images).encoder.get_layer("first")
    assert not np.asarray(after.kernel)[..., 3].any()
    assert np.isfinite(np.asarray(after.kernel)).all()


def test_a_channel_that_the_images_hardly_use_is_not_widened_without_bound(images):
    """Others may use it: it would drown in the ends of int8, or make the steps of all the others coarse."""
    filled = prepared(two_levels, images, widths=3000.0)
    after = equalize(filled.halves, images)
    kernels = [np.asarray(h.get_layer("back").kernel)[0, 0] for h in (after.decoder, filled.halves.decoder)]
    factors = np.median(kernels[0] / kernels[1], axis=0)
    assert factors.max() == pytest.approx(MOST, rel=1e-3)
