"""The table of signal-to-noise ratios by layer: it names the layer that loses quality, and says why."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.errors import ConversionError
from edgepress.optimize.graph import run
from edgepress.optimize.layer_noise import CLEAN, layer_noise, worst_layers
from edgepress.optimize.tflite import TFLite, operations, undelegated
from edgepress.train.layers import DepthToSpace

L = keras.layers


def spoiled() -> tuple[keras.Model, keras.Model]:
    """In `spoilt` one channel has a range a thousand times that of the others, which leaves those hardly a value; it shows
    in what reads it."""
    keras.utils.set_random_seed(1)
    image = keras.Input((None, None, 3))
    x = L.Conv2D(8, 4, 4, activation="relu", name="conv2d")(image)
    x = L.Conv2D(8, 1, activation="relu", name="conv2d_1")(x)
    encoder = keras.Model(image, L.Conv2D(4, 1, name="latent")(x))
    latent = keras.Input((None, None, 4))
    x = L.Conv2D(8, 1, activation="relu", name="spoilt")(latent)
    x = L.Conv2D(8, 1, activation="relu", name="reader")(x)
    decoder = keras.Model(latent, DepthToSpace(4)(L.Conv2D(48, 1, name="out")(x)))
    kernel, bias = decoder.get_layer("spoilt").get_weights()
    kernel[..., 0] *= 1000
    bias += [300, *[0.1] * 7]
    decoder.get_layer("spoilt").set_weights([kernel, bias])
    kernel, bias = decoder.get_layer("reader").get_weights()
    kernel[:, :, 0] /= 1000
    decoder.get_layer("reader").set_weights([kernel, bias + 0.1])
    kernel, bias = decoder.get_layer("out").get_weights()
    decoder.get_layer("out").set_weights([kernel, bias + 0.5])  # pixels that are not all black
    return encoder, decoder


@pytest.fixture(scope="module")
def made(photographs):
    halves = spoiled()
    jobs = [
        *(Job(*halves, "float32"), Job(*halves)),
        Job(*halves, fallback=("spoilt", "reader")),
        Job(*halves, fallback=("conv2d", "out")),
    ]
    return halves, *convert(jobs, photographs)


def test_the_layer_that_loses_quality_is_named(made, photographs):
    _, floated, pair, *_ = made
    rows = layer_noise(floated, pair, photographs)
    assert worst_layers(rows, 1) == ["reader"] and len(worst_layers(rows, 3)) == 3
    reader = next(row for row in rows if row.layer == "reader")
    assert reader.own < 10 < 30 < min(row.own for row in rows if row is not reader)
    # Layers of both halves by their own names, whatever TensorFlow makes of them.
    assert [row.layer for row in rows if row.operation == "CONV_2D"] == [
        *("conv2d", "conv2d_1", "latent", "spoilt", "reader", "out")
    ]


def test_ratios_are_those_of_the_tensors(made, photographs):
    (encoder, _), floated, pair, *_ = made
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


def noise(pair, halves, image) -> float:
    """Mean squared difference of the int8 networks' output from the float ones'."""
    encoder, decoder = halves
    expected = run(decoder, run(encoder, image[None] / np.float32(255)))
    first, second = TFLite(pair.encoder), TFLite(pair.decoder)
    scale, zero_point = second.output["quantization"]
    levels = second.run(first.run((image[None] ^ np.uint8(128)).view(np.int8)))
    return float(np.mean(((levels.astype("float32") - zero_point) * scale - np.clip(expected, 0, 1)) ** 2))


def test_the_named_layers_kept_in_float_bring_the_quality_back(made, photographs):
    """`spoilt` is the first layer of the decoder, whose input stays int8 all the same."""
    halves, _, pair, repaired, _ = made
    assert noise(repaired, halves, photographs[0]) < 0.1 * noise(pair, halves, photographs[0])
    assert operations(repaired.decoder)["DEQUANTIZE"] == operations(repaired.decoder)["QUANTIZE"] == 1
    assert not undelegated(repaired.decoder) and not operations(repaired.encoder)["QUANTIZE"]
    assert (repaired.scale, repaired.zero_point) == (pair.scale, pair.zero_point)


def test_layers_at_both_ends_may_stay_float(made, photographs):
    halves, floated, pair, _, ends = made
    assert operations(ends.encoder)["DEQUANTIZE"] == 1  # the first layer reads the image
    rows = {(row.half, row.layer): row for row in layer_noise(floated, ends, photographs[:1])}
    assert rows["encoder", "conv2d"].sqnr > 1.2 * rows["encoder", "conv2d_1"].sqnr
    assert noise(ends, halves, photographs[0]) < 1.2 * noise(pair, halves, photographs[0])


def test_a_layer_that_is_not_there_cannot_stay_float(made):
    with pytest.raises(ConversionError, match="no layer 'other'"):
        convert([Job(*made[0], fallback=("other",))])
