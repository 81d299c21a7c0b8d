"""`edgepress optimize --encoder --decoder` with a model of fixed size: the whole run, in tiles."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
import tf_keras
from click.testing import CliRunner
from PIL import Image

from edgepress.bench.metrics import measure
from edgepress.optimize.cli import optimize
from edgepress.optimize.errors import EdgepressError
from edgepress.runtime.codec import Codec

RECIPE = """
[prune]
steps = 3
batch = 2
sparsity = 0.0
learning_rate = 1e-6
[codec]
sets = 1
bank = 12
[measure]
images = 1
side = 64
repeats = 2
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, photographs):
    """(folder, printed text, JSON): a Keras 3 encoder and a tf_keras decoder on [-1, 1], blocks of 16x16 as vectors."""
    folder = tmp_path_factory.mktemp("halves")
    (folder / "data").mkdir()
    # Many small ones, so that the one held out has no darker and brighter blocks than the others.
    for i, image in enumerate(photographs):
        for k, part in enumerate((image[:96, :130], image[96:, :130], image[:96, 126:], image[96:, 126:])):
            Image.fromarray(part).save(folder / "data" / f"{i}{k}.png")
    (folder / "recipe.toml").write_text(RECIPE)
    image = keras.Input((16, 16, 3))
    encoder = keras.Model(image, keras.layers.Dense(64, name="code")(keras.layers.Flatten()(image)))
    code = tf_keras.Input((64,))
    x = tf_keras.layers.Reshape((16, 16, 3))(tf_keras.layers.Dense(768)(code))
    decoder = tf_keras.Model(code, x)
    # The principal components of blocks of photographs: an autoencoder that needs no training.
    blocks = np.concatenate(
        [p.reshape(12, 16, 16, 16, 3).swapaxes(1, 2).reshape(-1, 768) / 127.5 - 1 for p in photographs]
    )
    mean = blocks.mean(axis=0)
    basis = np.linalg.svd(blocks - mean, full_matrices=False)[2][:64]
    encoder.set_weights([basis.T, -mean @ basis.T])
    decoder.set_weights([basis, mean])
    encoder.save(folder / "encoder.keras")
    decoder.save(folder / "decoder.h5")
    arguments = [
        "--encoder",
        folder / "encoder.keras",
        "--decoder",
        folder / "decoder.h5",
        "--data",
        folder / "data",
    ]
    arguments += ["--recipe", folder / "recipe.toml", "-o", folder / "out.epm", "--json", folder / "out.json"]
    # An affine projection gives back what is in its range whatever the units, so the range has to be stated.
    arguments += ["--input-range", "-1..1"]
    result = CliRunner().invoke(optimize, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return folder, result.output, json.loads((folder / "out.json").read_text())


def test_choices_are_told(made):
    _, text, figures = made
    assert (
        "input -1..1 (given), output -1..1" in text
        and "tiles of 16x16" in text
        and "latent: code, where the two files meet" in text
    )
    assert figures["latent"]["layer"] == "code" and figures["latent"]["tile"] == 16
    assert figures["undelegated"]["after"] == {} and "none after" in text.replace("\n", " ")
    assert figures["max_difference"] < 1e-5


def test_every_stage_measures_the_same_pictures(made):
    stages = {row["name"]: row for row in made[2]["stages"]}
    assert stages["float"]["psnr"] == pytest.approx(stages["rewritten"]["psnr"], abs=0.01)
    assert stages["float"]["psnr"] > 25
    assert stages["package"]["psnr"] > stages["float"]["psnr"] - 1.5
    assert stages["int8"]["bpp"] < stages["package"]["bpp"] < 1.1 * stages["int8"]["bpp"] + 0.1


def test_images_larger_than_the_model_are_coded(made, photographs):
    codec = Codec.load(made[0] / "out.epm")
    assert codec.package.tile == codec.package.stride == 16
    image = photographs[1][3:94, 5:128]
    assert measure(image, codec.decode_array(codec.encode(image, 100)), multiscale=False).psnr > 24


def test_a_model_too_small_for_the_loss_says_what_to_do(made, tmp_path):
    folder = made[0]
    image = keras.Input((8, 8, 3))
    x = keras.layers.Dense(192)(keras.layers.Dense(24)(keras.layers.Flatten()(image)))
    keras.Model(image, keras.layers.Reshape((8, 8, 3))(x)).save(tmp_path / "small.keras")
    arguments = [tmp_path / "small.keras", "--data", folder / "data", "-o", tmp_path / "out.epm"]
    with pytest.raises(EdgepressError, match=r"tiles of 8x8 are too small .* prune\.steps = 0"):
        CliRunner().invoke(
            optimize, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False
        )


def test_either_a_model_or_both_halves(made, tmp_path):
    folder = made[0]
    model = str(folder / "encoder.keras")
    rest = ["--data", str(folder / "data"), "-o", str(tmp_path / "out.epm")]
    for arguments in ([], ["--encoder", model], [model, "--decoder", model], [model, "--encoder", model]):
        with pytest.raises(EdgepressError, match="a MODEL file, or both --encoder and --decoder"):
            CliRunner().invoke(optimize, [*arguments, *rest], catch_exceptions=False, standalone_mode=False)
    with pytest.raises(EdgepressError, match="its output has shape"):
        CliRunner().invoke(optimize, [model, *rest], catch_exceptions=False, standalone_mode=False)
