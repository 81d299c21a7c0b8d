"""A float Keras model as a contender: the study's way of storing a latent, without loading TensorFlow into the benchmark."""

import importlib.util
import pickle
import subprocess
import sys

import numpy as np
import pytest
import skimage.data

from edgepress.bench.codecs import make_codec, make_codecs
from edgepress.bench.contender import MissingCodecError
from edgepress.bench.metrics import psnr
from edgepress.runtime import EdgepressError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An autoencoder that knows the image by heart: 2x2 pixels to 12 channels and back."""
    keras = pytest.importorskip("keras")
    path = tmp_path_factory.mktemp("float") / "float.keras"
    image = keras.Input((None, None, 3))
    identity = np.eye(12, dtype="float32").reshape(2, 2, 3, 12)
    latent = keras.layers.Conv2D(12, 2, 2, name="latent", use_bias=False)
    back = keras.layers.Conv2DTranspose(3, 2, 2, use_bias=False)
    whole = keras.Model(image, back(latent(image)))
    latent.set_weights([identity])
    back.set_weights([identity])
    whole.save(path)
    return path


def test_it_gives_images_back_of_any_size(model):
    codec = make_codec(str(model))
    for photo in (skimage.data.coffee()[:97, :131], np.zeros((8, 8, 3), np.uint8)):
        data = codec.encode(photo, 100)
        decoded = codec.decode(data)
        assert decoded.shape == photo.shape and decoded.dtype == np.uint8
        assert psnr(photo, decoded) > 48  # 8 bits between the smallest and the largest value of the latent
        assert data == pickle.loads(pickle.dumps(codec)).encode(photo, 100)
    assert len(data) < 50 and codec.qualities == (100,)


def test_it_says_what_it_computes(model):
    facts = make_codec(str(model)).facts()
    assert facts["model_bytes"] == model.stat().st_size
    assert facts["encoder_macs_per_pixel"] == facts["decoder_macs_per_pixel"] == 2 * 2 * 3 * 12 / 4
    assert facts["macs_per_pixel"] == 72


def test_tensorflow_is_loaded_with_the_first_image_and_not_before(model):
    code = f"""
import sys
from edgepress.bench.codecs import make_codecs
codecs, _ = make_codecs(["jpeg", {str(model)!r}, {str(model)!r}])
print([codec.name for codec in codecs], "tensorflow" in sys.modules or "keras" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['jpeg', 'float.keras'] False"


def test_without_the_extra_it_is_missing(model, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "edgepress.optimize.kerascodec.find_spec", lambda name: None if name == "tensorflow" else found(name)
    )
    with pytest.raises(MissingCodecError, match=r"need tensorflow.*edgepress\[train\]"):
        make_codec(str(model))
    assert [m.spec for m in make_codecs(["jpeg", str(model)])[1]] == [str(model)]


def test_what_is_no_model_is_one_clear_line(tmp_path):
    path = tmp_path / "bad.keras"
    path.write_bytes(b"no model")
    with pytest.raises(EdgepressError, match="not a Keras model file"):
        make_codec(str(path)).encode(skimage.data.coffee(), 100)
    with pytest.raises(EdgepressError, match=r"no such \.keras file"):
        make_codec(str(tmp_path / "none.keras"))


def test_a_model_of_fixed_size_codes_tiles(tmp_path):
    keras = pytest.importorskip("keras")
    image = keras.Input((16, 16, 3))
    x = keras.layers.Dense(30, "sigmoid", name="code")(keras.layers.Flatten()(image))
    x = keras.layers.Reshape((16, 16, 3))(keras.layers.Dense(768, "sigmoid")(x))
    model = keras.Model(image, x)
    model.save(tmp_path / "fixed.keras")
    codec = make_codec(str(tmp_path / "fixed.keras"))
    pixels = np.random.default_rng(0).integers(0, 256, (16, 23, 3), np.uint8)
    decoded = codec.decode(codec.encode(pixels, 100))
    assert decoded.shape == pixels.shape
    expected = np.asarray(model(pixels[None, :, :16] / np.float32(255)))[0] * 255
    # Its latents take 8 bits, and between 0 and 1 that is hardly seen.
    assert np.abs(decoded[:, :16] - expected).max() < 3
    assert codec.facts()["macs_per_pixel"] == 2 * 30 * 768 / 256
