"""Finding the latent and cutting there."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from keras import layers

from edgepress.optimize.errors import UnsupportedModelError
from edgepress.optimize.graph import run
from edgepress.optimize.load import load_model, normalize
from edgepress.optimize.split import find_latent, split
from edgepress.train.models import build
from edgepress.train.photo import LATENTS


def test_conv3_is_cut_at_its_narrowest_tensor(conv3, photographs):
    halves = split(conv3)
    assert (halves.latent.layer, halves.latent.stride, halves.latent.channels) == ("latent", 8, 32)
    assert "0.5 values per pixel" in halves.latent.why
    image = photographs[0][None] / np.float32(255)
    assert np.allclose(run(halves.decoder, run(halves.encoder, image)), run(conv3, image), atol=1e-6)


def test_a_latent_called_so_wins_among_equally_narrow_tensors():
    latent = find_latent(normalize(build("photo")))
    assert (latent.layer, latent.stride, latent.channels) == ("latent", 16, LATENTS)
    assert "synthesis_sixteenth_add" in latent.why


def nested():
    inner = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(4, 3, 2, "same"), layers.ReLU()], name="enc"
    )
    outer = keras.Sequential(
        [keras.Input((None, None, 4)), layers.Conv2DTranspose(3, 4, 2, "same")], name="dec"
    )
    image = keras.Input((None, None, 3))
    return keras.Model(image, outer(inner(image)))


def test_nested_models_are_flattened_and_the_activation_belongs_to_the_latent():
    halves = split(normalize(nested()))
    assert halves.latent.layer.startswith("re_lu")
    assert halves.latent.stride == 2
    assert run(halves.encoder, np.ones((1, 8, 8, 3))).min() >= 0


def test_a_layer_can_be_named():
    model = normalize(build("conv3"))
    assert find_latent(model, "encoder_2").stride == 4
    with pytest.raises(UnsupportedModelError, match=r"'nonsense' \(no such layer\); possible are: encoder_1"):
        find_latent(model, "nonsense")


def test_what_skips_bypass_is_no_latent():
    image = keras.Input((None, None, 3))
    down = layers.Conv2D(2, 3, 2, "same", name="down")(image)
    up = layers.UpSampling2D(2, name="up")(down)
    out = layers.Conv2D(3, 1)(layers.Concatenate()([up, image]))
    with pytest.raises(UnsupportedModelError, match="not on every path"):
        find_latent(normalize(keras.Model(image, out)), "down")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            lambda: keras.Sequential([keras.Input((64, 64, 1)), layers.Conv2D(1, 3, padding="same")]),
            "needed is",
        ),
        (
            lambda: keras.Sequential([keras.Input((64, 64, 3)), layers.Flatten(), layers.Dense(3)]),
            "needed is",
        ),
        (lambda: keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(3, 3, 2)]), "sizes must stay"),
    ],
)
def test_models_that_map_no_images_to_images_are_refused(model, message):
    with pytest.raises(UnsupportedModelError, match=message):
        normalize(model())


def test_files_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "absent.keras")
    (tmp_path / "text.keras").write_text("not a model")
    with pytest.raises(UnsupportedModelError, match=r"not a Keras model file"):
        load_model(tmp_path / "text.keras")


def test_a_saved_model_comes_back(tmp_path, conv3):
    conv3.save(tmp_path / "model.keras")
    image = np.random.default_rng(0).random((1, 16, 24, 3))
    assert np.array_equal(run(load_model(tmp_path / "model.keras"), image), run(conv3, image))
