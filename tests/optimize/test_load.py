"""Files, halves, value ranges and fixed sizes: what comes in, and what is refused with a reason."""

from __future__ import annotations

import json
import zipfile

import keras
import numpy as np
import pytest
import tf_keras
from keras import layers

from edgepress.optimize.errors import UnsupportedModelError
from edgepress.optimize.graph import run
from edgepress.optimize.load import bring_in, load, normalize
from edgepress.optimize.ranges import find_ranges
from edgepress.optimize.split import find_latent, split


def small(k):
    image = k.Input((None, None, 3))
    x = k.layers.Conv2D(4, 3, 2, "same", name="down")(image)
    return k.Model(image, k.layers.Conv2DTranspose(3, 3, 2, "same", activation="sigmoid", name="up")(x))


@pytest.mark.parametrize(
    ("library", "file"),
    [(keras, "m.keras"), (keras, "m.h5"), (tf_keras, "m.keras"), (tf_keras, "m.h5"), (tf_keras, "folder")],
)
def test_files_of_both_kerases_hold_the_same_model(tmp_path, library, file):
    model = small(library)
    model.save(tmp_path / file)
    image = np.random.default_rng(0).random((1, 32, 48, 3), "float32")
    loaded = load(tmp_path / file, input_range="0..1")
    assert np.allclose(model(image, training=False), run(loaded.model, image), atol=1e-6)


def test_files_without_layers_say_what_to_do(tmp_path):
    model = small(keras)
    model.export(tmp_path / "exported", verbose=False)
    model.save_weights(tmp_path / "only.weights.h5")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme", "no model")
    for name, message in {
        "exported": "holds a computation graph and no Keras layers",
        "only.weights.h5": "holds weights only",
        "empty": "no SavedModel",
        "other.keras": "without Keras' metadata",
    }.items():
        with pytest.raises(UnsupportedModelError, match=message) as error:
            load(tmp_path / name)
        assert "model.save('model.keras')" in str(error.value) and "\n" not in str(error.value)


def test_damage_and_unknown_classes_are_one_line(tmp_path):
    small(keras).save(tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    config["config"]["layers"][1] |= {"module": "somewhere", "class_name": "Odd", "registered_name": "Odd"}
    members["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(tmp_path / "bad.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(UnsupportedModelError, match=r"Keras cannot load it: .*Odd") as error:
        load(tmp_path / "bad.keras")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda x: layers.LayerNormalization(name="odd")(x),
            "layer 'odd': layers of type LayerNormalization are not",
        ),
        (
            lambda x: layers.Conv2D(3, 1, activation="selu", name="odd")(x),
            "'odd': its activation 'selu' has no int8",
        ),
        (
            lambda x: layers.BatchNormalization(name="odd")(layers.Flatten()(x)),
            "'odd': a BatchNormalization on a fl",
        ),
        (
            lambda x: layers.Reshape((16, 64, 3), name="odd")(x),
            r"'odd': it reshapes \(32, 32, 3\) to \(16, 64, 3\)",
        ),
        (lambda x: keras.ops.cos(x), "layer 'cos.*': the operation Cos is not served"),
    ],
)
def test_layers_that_cannot_be_served_are_named_with_what_to_do(make, message):
    image = keras.Input((32, 32, 3))
    y = make(layers.Conv2D(3, 1)(image))
    y = y if len(y.shape) == 4 else layers.Reshape((32, 32, 3))(y)
    with pytest.raises(UnsupportedModelError, match=message) as error:
        normalize(keras.Model(image, layers.Conv2D(3, 1)(layers.Reshape((32, 32, 3))(y))))
    assert ";" in str(error.value)  # what to do instead


def test_a_layer_that_cannot_be_served_is_no_matter_of_size():
    image = keras.Input((None, None, 3))
    x = layers.LayerNormalization(name="odd")(layers.Conv2D(3, 1)(image))
    with pytest.raises(UnsupportedModelError, match=r"layer 'odd': .* are not served") as error:
        normalize(keras.Model(image, x))
    assert "size" not in str(error.value)


def test_a_fixed_size_that_is_not_square_is_refused():
    image = keras.Input((32, 64, 3))
    x = layers.Dense(8)(layers.Flatten()(image))
    x = layers.Reshape((32, 64, 3))(layers.Dense(32 * 64 * 3)(x))
    with pytest.raises(UnsupportedModelError, match="its own size is 32x64"):
        normalize(keras.Model(image, x))


def test_two_halves_meet_at_the_latent_even_if_it_is_not_the_narrowest():
    image, latent = keras.Input((None, None, 3)), keras.Input((None, None, 8))
    x = layers.Conv2D(2, 3, 4, "same", name="narrow")(image)
    encoder = keras.Model(image, layers.Conv2D(8, 3, padding="same", name="meeting")(x))
    decoder = keras.Model(latent, layers.Conv2DTranspose(3, 3, 4, "same")(latent))
    loaded = bring_in(encoder, decoder, input_range="0..1")
    assert loaded.latent == "meeting" and find_latent(loaded.model).layer != "meeting"
    halves = split(loaded.model, loaded.latent)
    picture = np.random.default_rng(0).random((1, 32, 32, 3), "float32")
    assert np.allclose(run(halves.encoder, picture), encoder(picture), atol=1e-6)


def test_vectors_between_two_halves():
    image, code = keras.Input((16, 16, 3)), keras.Input((20,))
    x = layers.BatchNormalization()(layers.Dense(20)(layers.Flatten()(layers.Conv2D(4, 3, 2, "same")(image))))
    encoder = keras.Model(image, layers.PReLU(alpha_initializer="random_normal", name="code")(x))
    x = layers.Reshape((8, 8, 4))(layers.Dense(256, "relu")(layers.Dense(30, "tanh")(code)))
    decoder = keras.Model(code, layers.Conv2DTranspose(3, 3, 2, "same", activation="sigmoid")(x))
    loaded = bring_in(encoder, decoder, input_range="0..1")
    halves = split(loaded.model, loaded.latent)
    assert (halves.latent.layer, halves.latent.channels, halves.latent.tile) == ("code", 20, 16)
    picture = np.random.default_rng(0).random((1, 32, 48, 3), "float32")
    found = run(halves.decoder, run(halves.encoder, picture))
    for y in range(0, 32, 16):
        for x in range(0, 48, 16):
            tile = picture[:, y : y + 16, x : x + 16]
            assert np.allclose(found[:, y : y + 16, x : x + 16], decoder(encoder(tile)), atol=1e-5)


def identity(first=(), last=()):
    """A model that gives images back, between other layers; what it takes for white shows in its error alone."""
    image = keras.Input((None, None, 3))
    x = image
    for layer in first:
        x = layer(x)
    code = layers.Conv2D(3, 1, name="code")
    x = code(x)
    code.set_weights([np.eye(3).reshape(1, 1, 3, 3), np.zeros(3)])
    for layer in last:
        x = layer(x)
    return keras.Model(image, x)


@pytest.mark.parametrize(
    ("model", "source", "goal"),
    [
        (lambda: identity(), "0..1", "0..1"),
        (lambda: identity([layers.Rescaling(1 / 255)], [layers.Rescaling(255.0)]), "0..255", "0..255"),
        (lambda: identity([layers.Rescaling(1 / 127.5, -1)]), "0..255", "-1..1"),
        (lambda: identity([layers.Rescaling(2.0, -1)]), "0..1", "-1..1"),
        # Nothing but the pictures tells: white is 1 at one end and 255 at the other; below zero nothing comes through.
        (lambda: identity([layers.ReLU(max_value=1.0)], [layers.Rescaling(255.0)]), "0..1", "0..255"),
        (lambda: identity([layers.ReLU(max_value=255.0)], [layers.Rescaling(1 / 255)]), "0..255", "0..1"),
        (lambda: identity([], [layers.Activation("sigmoid")]), None, "0..1"),
        (lambda: identity([], [layers.Activation("tanh")]), None, "-1..1"),
    ],
)
def test_value_ranges_are_found(model, source, goal, photographs):
    for images in (photographs, []):  # or on a picture made there
        found = find_ranges(normalize_raw(model()), images)
        assert source in (found.source, None) and found.goal == goal


def normalize_raw(model):
    from edgepress.optimize.load import _flatten

    return _flatten([model], None)[0]


def test_a_given_range_is_taken(photographs):
    loaded = bring_in(identity(), images=photographs, input_range="-1..1")
    assert "input -1..1 (given), output -1..1" in loaded.notes[0]
    image = photographs[0][None, :64, :64] / np.float32(255)
    assert np.allclose(run(loaded.model, image), image, atol=1e-5)
    with pytest.raises(UnsupportedModelError, match="must be one of"):
        bring_in(identity(), input_range="0..2")
