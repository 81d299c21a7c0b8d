"""Grays at zero in channels that hold colours, and the function of both halves stays."""

import keras
import numpy as np
import pytest

from edgepress.optimize.center_grays import GRAYS, center_grays
from edgepress.optimize.graph import run
from edgepress.optimize.split import Halves, Latent

LUMA, COLOUR, OTHER = range(3)


def halves(activation="linear", kernel=1, bias=True):
    """A channel of gray, one of colour that has grays at about 7, one that has them at -2; the decoder reads them twice."""
    image = keras.Input((None, None, 3))
    z = keras.layers.Conv2D(3, 1, activation=activation)(image)
    latent = keras.Input((None, None, 3))
    inner = keras.layers.Conv2D(4, kernel, padding="same", activation="relu", use_bias=bias)(latent)
    both = keras.layers.Concatenate()([inner, latent])
    made = Halves(
        keras.Model(image, z),
        keras.Model(latent, keras.layers.Conv2D(3, 1)(both)),
        Latent("latent", 1, 3, 3.0, ""),
    )
    weights = np.array([[40.0, 30.0, 5.0], [40.0, -20.0, -5.0], [40.0, -9.0, 0.0]], "float32")
    made.encoder.layers[-1].set_weights([weights[None, None], np.array([-50.0, 7.0, -2.0], "float32")])
    return made


def grays(made):
    """The latents of GRAYS."""
    return run(made.encoder, np.broadcast_to(GRAYS[:, None, None, None], (7, 8, 8, 3)))[:, 4, 4]


def test_grays_become_zero_and_the_output_stays():
    made = halves()
    image = np.random.default_rng(0).random((1, 8, 8, 3)).astype("float32")
    before, luma = run(made.decoder, run(made.encoder, image)), grays(made)[:, LUMA]
    taken = center_grays(made, -128.0)
    assert taken == pytest.approx([0, 7.5, -2], abs=1e-4)
    np.testing.assert_allclose(grays(made)[:, LUMA], luma)
    assert np.abs(grays(made)[:, OTHER]).max() < 1e-4 and abs(grays(made)[:, COLOUR].mean()) < 1e-4
    np.testing.assert_allclose(
        run(made.decoder, run(made.encoder, image)), before, atol=1e-4 * np.abs(before).max()
    )


@pytest.mark.parametrize(
    ("given", "least"),
    [({"activation": "relu"}, -128.0), ({"kernel": 3}, -128.0), ({"bias": False}, -128.0), ({}, 0.0)],
)
def test_what_cannot_give_it_back_stays(given, least):
    made = halves(**given)
    before = [*made.encoder.get_weights(), *made.decoder.get_weights()]
    assert not center_grays(made, least).any()
    for old, new in zip(before, [*made.encoder.get_weights(), *made.decoder.get_weights()], strict=True):
        np.testing.assert_array_equal(old, new)
