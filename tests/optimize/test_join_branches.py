"""Residual branches at 1x1 convolutions become concatenations: the same function, with less noise in int8."""

import keras
import numpy as np
import pytest

from edgepress.optimize.convert import Job, convert
from edgepress.optimize.graph import run
from edgepress.optimize.join_branches import join_branches
from edgepress.optimize.latent_range import fill_int8
from edgepress.optimize.load import bring_in
from edgepress.optimize.split import split
from edgepress.optimize.tflite import TFLite, undelegated
from edgepress.train.layers import DepthToSpace, SpaceToDepth

WIDTHS = np.geomspace(
    1, 30, 24
)  # the channels of a latent differ in range, which is what makes sums expensive


def block(x, inner, name, activation="leaky_relu"):
    y = keras.layers.Conv2D(inner, 1, activation=activation, name=f"{name}_reduce")(x)
    y = keras.layers.Conv2D(inner, 3, padding="same", activation=activation, name=f"{name}_spatial")(y)
    y = keras.layers.Conv2D(x.shape[-1], 1, name=f"{name}_expand")(y)
    return keras.layers.Add(name=f"{name}_add")([x, y])


def autoencoder(activation="leaky_relu", centre=0.4, strength=0.05):
    """A residual block at either side of the latent, between 1x1 convolutions that undo each other."""
    keras.utils.set_random_seed(5)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(3, 1, name="centre")(image)
    x = SpaceToDepth(4)(x)
    x = keras.layers.Conv2D(24, 1, name="direct")(x)
    x = block(x, 8, "analysis", activation)
    x = block(x, 8, "synthesis", activation)
    x = keras.layers.Conv2D(48, 1, name="back")(x)
    model = keras.Model(image, DepthToSpace(4)(x))
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(48, 48)))[0][:, :24] * WIDTHS
    model.get_layer("centre").set_weights([np.eye(3)[None, None], np.full(3, -centre)])
    model.get_layer("direct").set_weights([basis[None, None], rng.normal(0, 0.1, 24)])
    model.get_layer("back").set_weights([(basis / WIDTHS**2).T[None, None], np.full(48, 0.2)])
    for name in ("analysis_expand", "synthesis_expand"):
        layer = model.get_layer(name)
        layer.set_weights([np.asarray(layer.kernel) * strength * WIDTHS, rng.normal(0, 0.05, 24) * WIDTHS])
    return bring_in(model, input_range="0..1").model


@pytest.fixture(scope="module")
def filled(images):
    return fill_int8(split(autoencoder(), "analysis_add"), images)


@pytest.fixture(scope="module")
def joined(filled, images):
    return join_branches(filled, images)


def test_both_kinds_of_sum_go_and_the_function_stays(filled, joined, images):
    kinds = [{type(layer).__name__ for layer in half.layers} for half in (joined.encoder, joined.decoder)]
    assert all("Concatenate" in kind and "Add" not in kind for kind in kinds)
    before, after = filled.halves, joined
    z = run(before.encoder, images[0][None])
    np.testing.assert_allclose(run(after.encoder, images[0][None]), z, atol=1e-3)  # of 127
    np.testing.assert_allclose(run(after.decoder, z), run(before.decoder, z), atol=1e-5)
    assert after.latent == before.latent


def test_the_branch_fills_the_range_of_its_partner(joined, images):
    layer = next(layer for layer in joined.encoder.layers if type(layer) is keras.layers.Concatenate)
    partner, hidden = (np.asarray(t) for t in keras.Model(joined.encoder.input, layer.input)(images[0][None]))
    assert 0.5 * partner.max() < hidden.max() < 1.2 * partner.max()


def test_int8_is_nearer_to_float_and_stays_on_the_fast_path(filled, joined, images, photographs):
    jobs = [
        Job(h.encoder, h.decoder, "int8", filled.int8_scale, filled.zero_point)
        for h in (filled.halves, joined)
    ]
    pairs = convert(jobs, photographs)
    image = photographs[0][:128, :128]
    exact = run(filled.halves.encoder, image[None] / np.float32(255))
    grid = np.clip(np.round(exact), -128, 127)
    pixels = run(filled.halves.decoder, grid)
    errors = []
    for pair in pairs:
        assert not undelegated(pair.encoder) and not undelegated(pair.decoder)
        latent = TFLite(pair.encoder).run((image[None] ^ np.uint8(128)).view(np.int8))
        shown = TFLite(pair.decoder).run(grid.astype(np.int8)).astype(float) + 128
        errors.append((np.mean((latent - exact) ** 2), np.mean((shown - np.clip(pixels, 0, 1) * 255) ** 2)))
    (plain_latent, plain_image), (joined_latent, joined_image) = errors
    assert joined_latent < 0.85 * plain_latent
    assert joined_image < 0.85 * plain_image


def test_what_does_not_fit_is_left_alone(images):
    """A branch that ends in tanh cannot be scaled."""
    filled = fill_int8(split(autoencoder("tanh"), "analysis_add"), images)
    after = join_branches(filled, images)
    assert after.encoder is filled.halves.encoder and after.decoder is filled.halves.decoder


def test_negative_values_find_a_place_beside_pixels_and_nothing_is_rounded_for_it(images, photographs):
    """Pixels are never negative: a leaky branch beside them is shifted, by an addition whose two scales are one."""
    filled = fill_int8(split(autoencoder(centre=0.0), "analysis_add"), images)
    after = join_branches(filled, images)
    shifts = [layer for layer in after.encoder.layers if type(layer) is keras.layers.Rescaling]
    assert len(shifts) == 1 and shifts[0].offset * 255 == pytest.approx(
        round(shifts[0].offset * 255), abs=1e-3
    )
    image = images[0][None]
    np.testing.assert_allclose(run(after.encoder, image), run(filled.halves.encoder, image), atol=1e-3)
    job = Job(after.encoder, after.decoder, "int8", filled.int8_scale, filled.zero_point)
    content = convert([job], photographs)[0].encoder
    assert not undelegated(content)
    network = TFLite(content, delegates=False)
    network.allocate()
    scales = [
        [network.tensors()[op[ends][0]]["quantization"][0] for ends in ("inputs", "outputs")]
        for op in network.operations()
        if op["op_name"] == "ADD"
    ]
    assert len(scales) == 1 and scales[0][0] == pytest.approx(scales[0][1], rel=1e-6)


def test_a_sum_is_joined_through_space_to_depth(images):
    """Of a sum on blocks of pixels, which a transform of larger blocks reads."""
    keras.utils.set_random_seed(5)
    image = keras.Input((None, None, 3))
    x = SpaceToDepth(2, name="blocks")(image)
    x = block(x, 6, "pixels")
    x = keras.layers.Conv2D(24, 1, name="latent")(SpaceToDepth(2, name="larger")(x))
    x = DepthToSpace(4)(keras.layers.Conv2D(48, 1, name="back")(x))
    filled = fill_int8(split(bring_in(keras.Model(image, x), input_range="0..1").model, "latent"), images)
    after = join_branches(filled, images)
    assert not any(type(layer) is keras.layers.Add for layer in after.encoder.layers)
    picture = images[0][None]
    np.testing.assert_allclose(run(after.encoder, picture), run(filled.halves.encoder, picture), atol=2e-3)
