"""The table of signal-to-noise ratios by layer: it names the layer that loses quality, and says why."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.errors import ConversionError
from edgepress.optimize.graph import run
from edgepress.optimize.layer_noise import CLEAN, layer_noise, worst_layers
from edgepress.optimize.tflite import TFLite
from edgepress.train.layers import DepthToSpace

L = keras.layers


def spoiled() -> tuple[keras.Model, keras.Model]:
    """In `spoilt` one channel has a range a thousand times that of the others, which leaves those a handful of values."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    x = L.Conv2D(8, 4, 4, activation="relu", name="conv2d")(image)
    x = L.Conv2D(8, 1, activation="relu", name="conv2d_1")(x)
    encoder = keras.Model(image, L.Conv2D(4, 1, name="latent")(x))
    latent = keras.Input((None, None, 4))
    x = L.Conv2D(8, 1, activation="relu", name="spoilt")(latent)
    x = L.Conv2D(8, 1, activation="relu", name="conv2d")(x)
    decoder = keras.Model(latent, DepthToSpace(4)(L.Conv2D(48, 1, name="out")(x)))
    kernel, bias = decoder.get_layer("spoilt").get_weights()
    kernel[..., 0] *= 1000
    decoder.get_layer("spoilt").set_weights([kernel, bias + 0.1])
    kernel, bias = decoder.get_layer("conv2d").get_weights()
    kernel[:, :, 0] /= 1000
    decoder.get_layer("conv2d").set_weights([kernel, bias + 0.1])
    return encoder, decoder


@pytest.fixture(scope="module")
def made(photographs):
    halves = spoiled()
    return halves, *convert([Job(*halves, "float32"), Job(*halves)], photographs)


def test_the_layer_that_loses_quality_is_named(made, photographs):
    _, floated, pair = made
    rows = layer_noise(floated, pair, photographs)
    assert worst_layers(rows, 1) == ["spoilt"]
    spoilt = next(row for row in rows if row.layer == "spoilt")
    assert spoilt.rounding < 60 and spoilt.own == min(row.own for row in rows)
    # Layers of both halves by their own names, whatever TensorFlow makes of them.
    assert [row.layer for row in rows if row.operation == "CONV_2D"] == [
        *("conv2d", "conv2d_1", "latent", "spoilt", "conv2d", "out")
    ]


def test_ratios_are_those_of_the_tensors(made, photographs):
    (encoder, _), floated, pair = made
    rows = layer_noise(floated, pair, photographs[:1])
    latent = next(row for row in rows if row.layer == "latent")
    image = photographs[0]
    expected = run(encoder, image[None] / np.float32(255))
    levels = TFLite(pair.encoder, delegates=False).run((image[None] ^ np.uint8(128)).view(np.int8))
    noise = (levels.astype("float32") - pair.zero_point) * pair.scale - expected
    assert latent.sqnr == pytest.approx(10 * np.log10(np.sum(expected**2) / np.sum(noise**2)), abs=0.05)
    rounded = np.clip(np.rint(expected / pair.scale) + pair.zero_point, -128, 127)
    noise = (rounded - pair.zero_point) * pair.scale - expected
    assert latent.rounding == pytest.approx(10 * np.log10(np.sum(expected**2) / np.sum(noise**2)), abs=0.05)
    assert latent.own >= latent.sqnr and latent.saturated < 0.01


def test_the_same_model_has_no_noise_and_another_is_refused(made, pairs, photographs):
    with pytest.raises(ConversionError, match="same operations"):
        layer_noise(pairs["float"], made[2], photographs)
    rows = layer_noise(pairs["float"], pairs["rewritten"], photographs[:1])
    moved = [row for row in rows if row.operation in ("PAD", "DEPTH_TO_SPACE", "CONCATENATION")]
    assert moved and all(row.own > 45 for row in moved)
    assert max(row.own for row in rows) == CLEAN
