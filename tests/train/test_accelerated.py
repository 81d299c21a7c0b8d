"""Training under JAX with the images in the accelerator's memory: the crops and the weights of Keras' own loop."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from edgepress.train.data import ImageFolder, crop_batch

pytest.importorskip("jax")

# In a process of its own, since Keras has one backend for as long as it lives.
SCRIPT = """
import sys
from pathlib import Path
import jax
import numpy as np
from rich.console import Console
from edgepress.train import accelerated, loop
from edgepress.train.config import TrainConfig
from edgepress.train.data import ImageFolder

assert not accelerated.available() or jax.default_backend() != "cpu"
folder, out = Path(sys.argv[1]), Path(sys.argv[2])
images = ImageFolder(folder, min_side=32)
pixels = accelerated._Pixels(images)
places = pixels.places(images, 6, 32, 5, range(3, 5))
crops = [pixels.cut(pixels.flat, *(p[step] for p in places), 32) for step in range(2)]
np.save(out / "crops.npy", np.stack([np.asarray(c) for c in crops]))

def run(name, steps, on_device):
    accelerated.available = lambda: on_device
    config = TrainConfig(model="conv3", crop=32, batch=4, steps=steps, epoch_steps=3, warmup=2)
    rows = loop.train(config, folder, out / f"{name}.keras", out / name, None, Console(quiet=True))["rows"]
    weights = loop.keras.models.load_model(out / f"{name}.keras").get_weights()
    np.savez(out / f"{name}.npz", *weights, loss=[row["loss"] for row in rows], val=[row["val_score"] for row in rows])

accelerated.CHUNK = 2
run("keras", 6, False)
run("device", 6, True)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder, out = tmp_path_factory.mktemp("photos"), tmp_path_factory.mktemp("out")
    for name, side in (("astronaut", 96), ("coffee", 64), ("chelsea", 128)):
        pixels = getattr(skimage.data, name)()
        Image.fromarray(pixels[100 : 100 + side, 80 : 80 + side + 16]).save(folder / f"{name}.png")
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, folder, out],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder, out


def test_the_crops_are_those_of_the_processor(made):
    folder, out = made
    images = ImageFolder(folder, min_side=32)
    expected = [crop_batch(images, 6, 32, seed=5, step=step) for step in (3, 4)]
    assert np.array_equal(np.load(out / "crops.npy"), np.stack(expected))


def test_the_weights_and_the_log_are_those_of_keras_loop(made):
    _, out = made
    with np.load(out / "keras.npz") as one, np.load(out / "device.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_allclose(other[name], one[name], atol=2e-5, err_msg=name)
        assert len(one["loss"]) == 2 and one["loss"][0] != one["loss"][1]
