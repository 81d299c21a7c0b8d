"""Weights rounded for the inputs they see: on int8's own grid, with a fraction of the error of nearest rounding."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.graph import rebuild, run
from edgepress.optimize.latent_range import fill_int8
from edgepress.optimize.round_weights import compensated, round_weights
from edgepress.optimize.split import split
from edgepress.optimize.tflite import TFLite
from edgepress.optimize.weight_levels import on_grid

L = keras.layers


@pytest.fixture(scope="module")
def filled(conv3_rewritten, images):
    return fill_int8(split(conv3_rewritten), images)


@pytest.fixture(scope="module")
def inputs(filled, images):
    batches = [image[None] for image in images]
    return batches, [run(filled.halves.encoder, batch) for batch in batches]


def convolutions(half) -> list:
    return [layer for layer in half.layers if type(layer) is L.Conv2D]


def nearest(half):
    copy = rebuild(half)
    for layer in convolutions(copy):
        layer.kernel.assign(on_grid(np.asarray(layer.kernel), 127))
    return copy


def error(half, other, batch) -> float:
    return float(np.mean((run(half, batch) - run(other, batch)) ** 2))


def test_the_error_is_a_fraction_of_that_of_the_nearest_values(filled, inputs):
    """Judged on a picture that the rounding did not see."""
    done = round_weights(filled.halves, (inputs[0][:2], inputs[1][:2]))
    for name, batch in (("encoder", inputs[0][2]), ("decoder", inputs[1][2])):
        half = getattr(filled.halves, name)
        assert error(half, getattr(done, name), batch) < 0.5 * error(half, nearest(half), batch)


def test_int8_has_these_very_weights(filled, inputs, photographs):
    done = round_weights(filled.halves, inputs)
    (pair,) = convert(
        [Job(done.encoder, done.decoder, "int8", filled.int8_scale, filled.zero_point)], photographs
    )
    for content, half in ((pair.encoder, done.encoder), (pair.decoder, done.decoder)):
        model = TFLite(content, delegates=False)
        model.allocate()
        details = model.tensors()
        found = []
        for operation in model.operations():
            if operation["op_name"] == "CONV_2D":
                weights = int(operation["inputs"][1])
                scales = details[weights]["quantization_parameters"]["scales"]
                found.append(model.constant(weights).transpose(1, 2, 3, 0) * scales)
        kernels = [np.asarray(layer.kernel) for layer in convolutions(half)]
        assert len(found) == len(kernels) >= 3
        for kernel in kernels:
            same = [w for w in found if w.shape == kernel.shape and np.allclose(w, kernel, atol=1e-6)]
            assert len(same) == 1


def test_weights_lie_on_the_grid_zeros_and_the_largest_stay(filled, inputs):
    layer = filled.halves.encoder.get_layer("encoder_2")
    before = layer.get_weights()
    kernel = before[0].copy()
    kernel[:, :, ::3] = 0
    layer.set_weights([kernel, before[1]])
    try:
        after = round_weights(filled.halves, inputs, {"encoder_2": 15}).encoder.get_layer("encoder_2")
    finally:
        layer.set_weights(before)
    largest = np.abs(kernel).max(axis=(0, 1, 2))
    levels = np.asarray(after.kernel) / largest * 15
    np.testing.assert_allclose(levels, np.round(levels), atol=1e-4)
    np.testing.assert_allclose(np.abs(levels).max(axis=(0, 1, 2)), 15, rtol=1e-5)
    assert not levels[:, :, ::3].any()
    assert np.abs(np.asarray(after.bias) - before[1]).max() > 0


def test_layers_that_stay_float_keep_their_weights(filled, inputs):
    done = round_weights(filled.halves, inputs, but=("latent",))
    for name, same in (("latent", True), ("encoder_2", False)):
        kernels = [np.asarray(h.encoder.get_layer(name).kernel) for h in (filled.halves, done)]
        assert np.array_equal(*kernels) == same


def test_without_a_bias_the_others_make_up_for_an_error():
    rng = np.random.default_rng(2)
    x = np.hstack([rng.random((500, 40)), np.ones((500, 1))])
    rows = np.vstack([rng.normal(size=(40, 6)), np.zeros(6)])
    product = x.T @ x / len(x)
    product[-1, :-1] = product[:-1, -1] = 0
    done = compensated(rows, product, 7)
    assert not done[-1].any()
    plain = on_grid(rows[:-1], 7)
    errors = [np.square(x[:, :-1] @ (weights - rows[:-1])).mean() for weights in (done[:-1], plain)]
    assert errors[0] < 0.5 * errors[1]
