"""Channels that saturate in flat colours get coarser int8 steps, and the function of both halves stays."""

import keras
import numpy as np
import pytest

from edgepress.optimize.graph import run
from edgepress.optimize.hold_flat import ROOM, hold_flat
from edgepress.optimize.latent_range import flat
from edgepress.optimize.split import Halves, Latent


def halves(wide, activation="linear", pooled=False):
    """One channel fits, one is `wide`; the decoder reads the latent twice, once beside a branch and behind it."""
    image = keras.Input((None, None, 3))
    z = keras.layers.Conv2D(2, 1, activation=activation)(image)
    latent = keras.Input((None, None, 2))
    inner = keras.layers.Conv2D(3, 3, padding="same", activation="relu")(latent)
    both = keras.layers.Concatenate()([inner, keras.layers.MaxPooling2D(1)(latent) if pooled else latent])
    made = Halves(
        keras.Model(image, z),
        keras.Model(latent, keras.layers.Conv2D(3, 1)(both)),
        Latent("latent", 1, 2, 2.0, ""),
    )
    kernel = np.array([[50.0, wide], [30.0, -wide], [-20.0, wide]], "float32")
    made.encoder.layers[-1].set_weights([kernel[None, None], np.array([1.0, 2.0], "float32")])
    return made


def test_what_saturates_fits_and_the_output_stays():
    made = halves(100.0)
    image = np.random.default_rng(0).random((1, 8, 8, 3)).astype("float32")
    before = run(made.decoder, run(made.encoder, image))
    highest = np.abs(flat(made)).max(axis=0)
    factors = hold_flat(made, -128.0, 127.0)
    assert factors[0] == 1 and factors[1] == pytest.approx(127 / (ROOM * highest[1]), rel=1e-5)
    assert flat(made).max() <= 127 / ROOM * 1.0001 and flat(made).min() >= -128
    after = run(made.decoder, run(made.encoder, image))
    np.testing.assert_allclose(after, before, atol=1e-5 * np.abs(before).max())


@pytest.mark.parametrize(
    "given", [{"wide": 60.0}, {"wide": 100.0, "activation": "tanh"}, {"wide": 100.0, "pooled": True}]
)
def test_what_fits_or_takes_no_factor_stays(given):
    made = halves(**given)
    before = [*made.encoder.get_weights(), *made.decoder.get_weights()]
    assert (hold_flat(made, -128.0, 127.0) == 1).all()
    for old, new in zip(before, [*made.encoder.get_weights(), *made.decoder.get_weights()], strict=True):
        np.testing.assert_array_equal(old, new)


def test_latents_that_are_never_negative():
    """Where int8 has no room below zero, what lies there says nothing of how far a channel must reach."""
    made = halves(200.0)
    factors = hold_flat(made, 0.0, 255.0)
    assert factors[0] == 1 and 0.5 < factors[1] < 0.7
