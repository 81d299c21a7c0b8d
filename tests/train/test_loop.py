"""Training end to end on real photographs: resume after a kill is exact, bad data is named, logs and models are written."""

import csv
import warnings

import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

from edgepress.train.config import load_config
from edgepress.train.data import DataError, ImageFolder, crop_batch
from edgepress.train.loop import train


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name, suffix in (("astronaut", "png"), ("chelsea", "jpg"), ("coffee", "webp")):
        Image.fromarray(getattr(skimage.data, name)()[:256, :256]).save(folder / f"{name}.{suffix}")
    return folder


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("held_out")
    Image.fromarray(skimage.data.rocket()[100:212, 300:412]).save(folder / "rocket.png")
    return folder


def small(**changes):
    base = dict(steps=4, epoch_steps=2, batch=2, crop=32, warmup=1)
    return load_config(None, **{**base, **changes})


@pytest.mark.parametrize(
    "config",
    [
        small(model="conv3"),
        small(model="photo", loss="rd", lr=3e-4),
        small(model="photo", loss="rd", klt=True, structure=0.2, fine=0.5, crop=96),
    ],
    ids=["hybrid", "rd", "rd-structure"],
)
def test_a_killed_run_resumes_to_the_very_same_weights(photos, held_out, tmp_path, config):
    whole = train(config, photos, tmp_path / "whole.keras", tmp_path / "a", held_out)

    class Killed(Exception):
        pass

    def kill(*_):
        raise Killed

    with pytest.MonkeyPatch.context() as patch:
        from edgepress.train import loop

        original = loop._EpochEnd.on_epoch_end

        def die_in_second_epoch(self, epoch, logs=None):
            if epoch == 1:
                kill()
            original(self, epoch, logs)

        patch.setattr(loop._EpochEnd, "on_epoch_end", die_in_second_epoch)
        with pytest.raises(Killed):
            train(config, photos, tmp_path / "part.keras", tmp_path / "b", held_out)
    assert not (tmp_path / "part.keras").exists()
    resumed = train(config, photos, tmp_path / "part.keras", tmp_path / "b", held_out)

    a, b = (keras.models.load_model(tmp_path / r / "last.keras", compile=False) for r in "ab")
    for u, v in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(u, v)
    assert whole["rows"] == resumed["rows"]
    with (tmp_path / "part.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [r["step"] for r in rows] == ["2", "4"]
    assert {"loss", "mse"} <= set(rows[0])
    assert any(k.startswith("val_psnr") for k in rows[0])
    assert any(k.startswith(("val_ssim", "val_structural")) for k in rows[0])


def test_training_lowers_the_loss(photos, held_out, tmp_path):
    config = small(model="conv3", steps=90, epoch_steps=30, lr=5e-3, ema=0.8)
    rows = train(config, photos, tmp_path / "m.keras", tmp_path / "run", held_out)["rows"]
    assert rows[-1]["mse"] < 0.7 * rows[0]["mse"]
    assert rows[-1]["val_psnr"] > rows[0]["val_psnr"]
    model = keras.models.load_model(tmp_path / "m.keras", compile=False)
    assert model.name == "conv3"


def test_early_stopping_keeps_the_best_model(photos, held_out, tmp_path):
    config = small(model="conv3", steps=20, lr=1e-12, ema=0.5, patience=2)
    progress = train(config, photos, tmp_path / "m.keras", tmp_path / "run", held_out)
    assert progress["epoch"] < 10
    assert progress["epoch"] - progress["best_epoch"] == 2


def test_a_run_folder_with_other_settings_is_refused(photos, tmp_path):
    train(small(), photos, tmp_path / "m.keras", tmp_path / "run")
    with pytest.raises(ValueError, match=r"other settings \(lr\)"):
        train(small(lr=0.5), photos, tmp_path / "m.keras", tmp_path / "run")


def test_damaged_and_small_images_are_named_and_skipped(photos, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    whole = (photos / "chelsea.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    Image.new("RGB", (8, 8)).save(tmp_path / "tiny.png")
    Image.new("L", (64, 64)).save(tmp_path / "gray.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        images = ImageFolder(tmp_path, min_side=32)
        batch = crop_batch(images, 8, 32, seed=0, step=0)
    told = " ".join(str(w.message) for w in caught)
    assert all(name in told for name in ("broken.png", "cut.jpg", "tiny.png"))
    assert [p.name for p in images.paths] == ["gray.png"]
    assert batch.shape == (8, 32, 32, 3)


def test_hold_out_takes_one_image_at_least(photos):
    images = ImageFolder(photos)
    names = [p.name for p in images.paths]
    held = images.hold_out()
    assert len(held) == 1 and len(images) == len(names) - 1


def test_structure_needs_crops_with_all_its_scales():
    with pytest.raises(ValueError, match="structure needs crops"):
        load_config(None, model="photo", loss="rd", structure=0.5, crop=64)


@pytest.mark.parametrize(
    "wrong", [{"crop": 100}, {"vgg_blocks": 4}, {"ema": 1.0}, {"klt": True}, {"loss": "rd"}, {"lr": -1.0}]
)
def test_settings_that_cannot_work_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        load_config(None, model="conv3", **wrong)


def test_empty_and_missing_folders_are_clear_errors(tmp_path):
    with pytest.raises(DataError, match="no image"):
        ImageFolder(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        ImageFolder(tmp_path / "none")


def test_crops_depend_on_seed_and_step_only(photos):
    images = ImageFolder(photos)
    first = crop_batch(images, 4, 48, seed=5, step=7)
    crop_batch(images, 4, 48, seed=5, step=8)
    assert np.array_equal(first, crop_batch(ImageFolder(photos, cache_bytes=0), 4, 48, seed=5, step=7))
    assert not np.array_equal(first, crop_batch(images, 4, 48, seed=6, step=7))


def test_recipes_are_checked(tmp_path):
    assert load_config("photo").loss == "rd"
    (tmp_path / "r.toml").write_text("[schedule]\nstepz = 3\n")
    with pytest.raises(ValueError, match="unknown key 'stepz'"):
        load_config(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("steps = 'many'")
    with pytest.raises(ValueError, match="steps must be of type int"):
        load_config(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text("steps = ")
    with pytest.raises(ValueError, match="not a TOML recipe"):
        load_config(tmp_path / "r.toml")
    with pytest.raises(FileNotFoundError):
        load_config("no-such-recipe")
