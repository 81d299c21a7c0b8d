"""Equalization keeps the function, gives channels one size, and wakes ReLUs that never fire."""

import keras
import numpy as np
import pytest
import skimage.data

from edgepress.train.equalize import LEAST_RANGE, TYPICAL, equalize
from edgepress.train.klt import start_as_klt
from edgepress.train.models import build


@pytest.fixture(scope="module")
def crops():
    image = skimage.data.coffee()[:384, :576]
    return image.reshape(6, 64, 9, 64, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 64, 64, 3)[::3]


@pytest.fixture
def model(crops):
    model = build("photo", seed=3)
    start_as_klt(model, crops)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.name.endswith("_expand"):  # zero at first; here the blocks must matter
            layer.kernel.assign(rng.normal(0, 0.05, layer.kernel.shape))
    return model


def output_range(model: keras.Model, name: str, crops: np.ndarray) -> np.ndarray:
    part = keras.Model(model.input, model.get_layer(name).output)
    return np.abs(np.asarray(part(crops.astype("float32") / 255))).max(axis=(0, 1, 2))


def test_same_function_with_channels_of_one_size(model, crops):
    x = crops[:4].astype("float32") / 255
    before = np.asarray(model(x))
    assert output_range(model, "analysis2_patch", crops).max() > 5
    equalize(model, crops)
    np.testing.assert_allclose(model(x), before, atol=1e-4)
    for name in (
        "analysis0_patch",
        "analysis2_block1_add",
        "synthesis1_block0_add",
        "synthesis0_block0_reduce",
    ):
        ranges = output_range(model, name, crops)
        assert ranges.max() <= TYPICAL * 1.001
        assert np.median(ranges) > 0.3 * TYPICAL


def test_dead_relus_are_woken_without_changing_the_function(model, crops):
    layer = model.get_layer("synthesis2_block0_spatial")
    layer.bias.assign(np.where(np.arange(64) < 5, -1e3, 0))
    x = crops[:4].astype("float32") / 255
    before = np.asarray(model(x))
    assert (output_range(model, layer.name, crops) <= LEAST_RANGE).sum() >= 5
    assert equalize(model, crops) >= 5
    np.testing.assert_allclose(model(x), before, atol=1e-4)
    assert (output_range(model, layer.name, crops)[:5] > LEAST_RANGE).all()
