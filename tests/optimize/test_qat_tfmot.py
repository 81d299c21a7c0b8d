"""Quantization-aware training by tfmot: what int8 costs shrinks, and the halves stay those that `convert` takes."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.graph import run
from edgepress.optimize.latent_range import fill_int8
from edgepress.optimize.qat_tfmot import train_quantized
from edgepress.optimize.split import split
from edgepress.optimize.tflite import TFLite
from edgepress.train.layers import DepthToSpace
from edgepress.train.losses import mse

L = keras.layers


@pytest.fixture(scope="module")
def floats(photographs) -> list[np.ndarray]:
    return [image.astype("float32") / 255 for image in photographs]


@pytest.fixture(scope="module")
def filled(floats):
    """Untrained, with what rewritten models are made of."""
    keras.utils.set_random_seed(2)
    x = image = keras.Input((None, None, 3))
    x = L.Conv2D(8, 4, 4, activation="relu", name="first")(x)
    x = L.Add()([x, L.DepthwiseConv2D(3, padding="same")(x)])
    x = L.Conv2D(6, 1, activation="relu", bias_initializer="ones", name="latent")(x)
    parts = [L.Conv2D(8, 1, activation="relu")(L.ZeroPadding2D(1)(x)) for _ in range(2)]
    x = L.Cropping2D(1)(L.Concatenate()(parts))
    x = DepthToSpace(4)(L.Conv2D(48, 1, activation="sigmoid", name="out")(x))
    return fill_int8(split(keras.Model(image, x), "latent"), floats)


def settings(**more):
    return {"steps": 30, "batch": 4, "crop": 32, "learning_rate": 3e-3, **more}


def test_int8_networks_get_better_by_it(filled, floats, photographs):
    before = [w.copy() for w in filled.halves.encoder.get_weights()]
    seen: list[tuple[int, int, float]] = []
    done = train_quantized(filled, floats, mse, **settings(progress=lambda *args: seen.append(args)))
    assert [(step, steps) for step, steps, _ in seen] == [(n, 30) for n in range(1, 31)]
    assert done.loss_after < 0.8 * done.loss_before
    jobs = [
        Job(h.encoder, h.decoder, "int8", filled.int8_scale, filled.zero_point)
        for h in (filled.halves, done.halves)
    ]
    errors = []
    for pair in convert(jobs, photographs):
        assert (pair.scale, pair.zero_point) == (filled.int8_scale, filled.zero_point)
        encoder, decoder = TFLite(pair.encoder), TFLite(pair.decoder)
        codes = encoder.run((photographs[0][None] ^ np.uint8(128)).view(np.int8))
        pixels = (decoder.run(codes).astype("float32") + 128) / 256
        errors.append(float(np.mean((pixels - floats[0]) ** 2)))
    assert errors[1] < 0.9 * errors[0]
    assert all(np.array_equal(a, b) for a, b in zip(before, filled.halves.encoder.get_weights(), strict=True))


def test_without_learning_the_halves_come_back_as_they_were(filled, floats):
    """So weights go to the right layers on the way there and back, and the change of the latent's size is undone."""
    done = train_quantized(filled, floats, mse, **settings(steps=1, learning_rate=1e-12))
    image = floats[0][None]
    latent = run(filled.halves.encoder, image)
    np.testing.assert_allclose(run(done.halves.encoder, image), latent, atol=1e-4 * np.abs(latent).max())
    np.testing.assert_allclose(
        run(done.halves.decoder, latent), run(filled.halves.decoder, latent), atol=1e-4
    )
