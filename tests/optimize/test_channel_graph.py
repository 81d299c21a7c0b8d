"""Which channels go together, and the smaller model: cutting channels whose weights are zero changes no output."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.channel_cut import cut
from edgepress.optimize.channel_graph import plan
from edgepress.optimize.errors import EdgepressError, UnsupportedModelError
from edgepress.optimize.graph import run
from edgepress.optimize.rewrite import rewrite
from edgepress.train.layers import DepthToSpace, SpaceToDepth
from edgepress.train.photo import photo

L = keras.layers


def plain(x):
    x = L.Conv2D(16, 3, 2, padding="same", activation="relu", name="wide")(x)
    x = L.BatchNormalization(name="norm")(x)
    x = L.PReLU(shared_axes=(1, 2), name="slope")(x)
    x = L.Conv2D(4, 3, padding="same", name="latent")(L.MaxPooling2D()(L.ZeroPadding2D(2)(x)))
    x = L.UpSampling2D(4)(L.Cropping2D(1)(x))
    return L.Conv2D(3, 1, activation="sigmoid")(x)


def residual(x):
    x = L.Conv2D(8, 4, 4, name="trunk")(x)
    y = L.Conv2D(16, 1, activation="relu", name="expand")(x)
    x = L.Add()([x, L.Conv2D(8, 3, padding="same", name="project")(y)])
    x = L.Add()([x, L.Conv2D(8, 1, name="branch")(L.LeakyReLU(negative_slope=0.1)(x))])
    return L.Conv2DTranspose(3, 4, 4)(L.Conv2D(2, 1, name="latent")(x))


def concatenated(x):
    x = L.Conv2D(6, 3, 2, padding="same", name="stem")(x)
    y = L.Concatenate()([x, L.Conv2D(10, 3, padding="same", name="side")(x)])
    z = L.Conv2D(16, 1, name="mixed")(y)
    y = L.Add()([y, z])  # its first 6 channels belong to `stem`, the others to `side`
    return L.Conv2DTranspose(3, 3, 2, padding="same")(L.Conv2D(4, 1, name="latent")(y))


def depthwise(x):
    x = L.Conv2D(6, 3, 2, padding="same", name="first")(x)
    x = L.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="deep")(x)
    x = L.SeparableConv2D(8, 3, padding="same", depth_multiplier=2, activation="relu", name="apart")(x)
    return L.Conv2DTranspose(3, 2, 2)(L.Conv2D(4, 1, name="latent")(x))


def shuffled(x):
    x = L.Conv2D(8, 3, padding="same", name="fine")(x)
    x = L.Conv2D(4, 1, name="latent")(SpaceToDepth(2)(x))
    x = L.Conv2D(24, 3, padding="same", activation="relu", name="coarse")(x)
    return L.Conv2D(3, 3, padding="same")(DepthToSpace(2)(x))


def flattened(x):
    x = L.Conv2D(6, 3, 4, padding="same", activation="relu", name="map")(x)
    x = L.Dense(5, name="latent")(L.Flatten()(x))
    x = L.Reshape((8, 8, 7))(L.Dense(8 * 8 * 7, activation="relu", name="back")(x))
    return L.Conv2DTranspose(3, 4, 4)(x)


BODIES = (plain, residual, concatenated, depthwise, shuffled, flattened)


def build(body, side: int | None = 32) -> keras.Model:
    keras.utils.set_random_seed(7)
    image = keras.Input((side, side, 3))
    model = keras.Model(image, body(image))
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if layer.weights:
            layer.set_weights([rng.normal(0.1, 0.3, w.shape) ** 2 + 0.05 for w in layer.get_weights()])
    return model


def silence(model, found, kept) -> None:
    """Set to zero what reads the units that are to go, which is all that makes them matter."""
    for name, units in found.reads.items():
        layer, gone = model.get_layer(name), ~kept[units]
        kind = type(layer).__name__
        if kind not in ("Conv2D", "Conv2DTranspose", "SeparableConv2D", "Dense"):
            continue
        kernel, *others = (w.copy() for w in layer.get_weights())
        if kind == "Conv2DTranspose":
            kernel[..., gone] = 0
        elif kind == "Dense":
            kernel[gone] = 0
        else:
            kernel[:, :, gone] = 0
        layer.set_weights([kernel, *others])


@pytest.mark.parametrize("rewritten", [False, True], ids=["as is", "rewritten"])
@pytest.mark.parametrize("body", BODIES, ids=lambda body: body.__name__)
def test_without_channels_that_nothing_reads_the_output_is_the_same(body, rewritten):
    model = build(body)
    if rewritten and body is not flattened:
        model = rewrite(build(body, None)).model
    found = plan(model, "latent")
    assert found.groups
    kept = np.ones(found.units, bool)
    for group in found.groups:
        kept[list(group.units[:: 2 if len(group.units) > 1 else 1])] = False
        kept[group.units[-1]] = True
    silence(model, found, kept)
    smaller = cut(found, kept)
    image = np.random.default_rng(1).random((2, 32, 32, 3), "float32")
    expected = run(model, image)
    np.testing.assert_allclose(run(smaller, image), expected, atol=1e-5 * np.abs(expected).max())
    assert smaller.count_params() < model.count_params()
    assert smaller.get_layer("latent").output.shape == model.get_layer("latent").output.shape
    assert plan(smaller, "latent").macs() == pytest.approx(found.macs(kept))
    assert found.macs(kept) < found.macs()


def sizes(body) -> dict[tuple[str, ...], int]:
    return {group.writers: len(group.units) for group in plan(build(body), "latent").groups}


def test_additions_tie_and_concatenations_put_side_by_side():
    assert sizes(residual) == {("trunk", "project", "branch"): 8, ("expand",): 16}
    assert sizes(concatenated) == {("stem", "mixed"): 6, ("side", "mixed"): 10}


def test_rearrangements_make_groups_of_block_squared_channels():
    found = plan(build(shuffled), "latent")
    fine, coarse = (group for group in found.groups)
    assert (fine.writers, len(fine.units)) == (("fine",), 8)
    assert (coarse.writers, len(coarse.units)) == (("coarse",), 6)
    kept = np.ones(found.units, bool)
    kept[coarse.units[2]] = kept[fine.units[0]] = False
    smaller = cut(found, kept)
    assert smaller.get_layer("coarse").filters == 20  # four phases of one channel
    assert smaller.get_layer("latent").kernel.shape[2] == 28  # and four places of another
    # which phases: the third channel of each of the four
    left = np.delete(np.arange(24), [2, 8, 14, 20])
    expected = np.asarray(found.model.get_layer("coarse").kernel)[..., left]
    np.testing.assert_array_equal(smaller.get_layer("coarse").kernel, expected)


def test_depthwise_layers_and_flattened_maps_follow():
    assert sizes(depthwise) == {("first",): 6, ("apart",): 8}
    assert sizes(flattened) == {("map",): 6, ("back",): 7}


def test_image_latent_and_output_stay():
    found = plan(build(plain), "latent")
    assert {group.writers for group in found.groups} == {("wide",)}
    with_latent = plan(build(plain), "latent", cut_latent=True)
    assert {group.writers for group in with_latent.groups} == {("wide",), ("latent",)}
    kept = np.ones(found.units, bool)
    kept[found.writes["latent"][0]] = False
    with pytest.raises(EdgepressError, match="cannot be cut"):
        cut(found, kept)
    with pytest.raises(UnsupportedModelError, match="no layer 'bottleneck'"):
        plan(build(plain), "bottleneck")


def test_a_residual_trunk_of_pixels_stays_whole():
    """`photo` adds to the image itself; only what is between the levels of its transform and inside its branches may be cut."""
    writers = {name for group in plan(photo(), "latent").groups for name in group.writers}
    branches = {name for name in writers if name.endswith(("_reduce", "_spatial"))}
    assert branches and writers - branches == {"analysis_8x8", "synthesis_16x16"}


def test_what_is_unknown_is_left_alone():
    def body(x):
        x = L.Conv2D(8, 2, 2, name="before")(x)
        x = L.LayerNormalization()(x)
        x = L.Conv2D(8, 1, groups=2, name="grouped")(L.Conv2D(8, 1, name="between")(x))
        x = L.Conv2D(8, 1, name="latent")(x)
        return L.Conv2DTranspose(3, 2, 2)(L.Activation("softmax")(L.Conv2D(8, 1)(x)))

    assert not plan(build(body), "latent").groups


def test_a_layer_that_is_called_twice_loses_the_same_channels():
    def body(x):
        shared = L.Conv2D(8, 3, padding="same", activation="relu", name="shared")
        x = shared(shared(L.Conv2D(8, 2, 2, name="before")(x)))
        return L.Conv2DTranspose(3, 2, 2)(L.Conv2D(4, 1, name="latent")(x))

    assert sizes(body) == {("before", "shared"): 8}
