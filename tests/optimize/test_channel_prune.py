"""Channel pruning to a share of the multiply-adds: what goes, what stays, and in multiples of what."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.channel_graph import plan
from edgepress.optimize.channel_prune import choose, prune_channels
from edgepress.optimize.channel_scores import CRITERIA, score
from edgepress.optimize.errors import EdgepressError
from edgepress.optimize.graph import run

L = keras.layers
USELESS = (0, 3, 5, 8, 9, 12, 17, 20, 21, 22, 25, 26, 28, 29, 30, 31)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return [np.random.default_rng(seed).random((32, 32, 3), "float32") for seed in range(4)]


@pytest.fixture(scope="module")
def half_useless():
    """16 of the 32 channels of `wide` hardly matter, by any criterion."""
    keras.utils.set_random_seed(5)
    image = keras.Input((None, None, 3))
    x = L.Conv2D(32, 4, 4, name="wide")(image)
    x = L.BatchNormalization(name="norm")(x)
    x = L.Conv2D(8, 3, padding="same", name="latent")(L.LeakyReLU(negative_slope=0.3)(x))
    model = keras.Model(image, L.Conv2DTranspose(3, 4, 4, name="out")(x))
    rest = list(USELESS)
    kernel, bias = model.get_layer("wide").get_weights()
    kernel[..., rest] *= 1e-4
    model.get_layer("wide").set_weights([kernel, bias])
    gamma, beta, mean, variance = model.get_layer("norm").get_weights()
    gamma[rest] = 1e-4
    model.get_layer("norm").set_weights([gamma, beta, mean, variance])
    return model


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_finds_what_does_not_matter(half_useless, images, criterion):
    done = prune_channels(half_useless, images, 0.65, criterion, "latent")
    assert done.channels == {"wide": (32, 16)}
    assert not done.notes
    left = np.delete(np.arange(32), USELESS)
    kernel = np.asarray(half_useless.get_layer("wide").kernel)[..., left]
    np.testing.assert_array_equal(done.model.get_layer("wide").kernel, kernel)
    assert done.macs_after <= 0.65 * done.macs_before
    assert plan(done.model).macs() == pytest.approx(done.macs_after)
    difference = np.abs(run(done.model, images[0][None]) - run(half_useless, images[0][None])).max()
    assert difference < 1e-3


def test_without_batch_normalization_magnitude_stands_in_and_is_noted(conv3, images):
    by_scale = prune_channels(conv3, [], 0.5, "bn_scale", "latent")
    by_magnitude = prune_channels(conv3, [], 0.5, "magnitude", "latent")
    assert by_scale.channels == by_magnitude.channels
    assert "no layer is followed by a batch normalization" in by_scale.notes[0]


def test_taylor_is_the_change_of_the_loss(half_useless, images):
    """To first order: against the loss measured with the reader's weights for a unit a little smaller."""
    from edgepress.train.losses import mse

    found = plan(half_useless, "latent")
    scores, _ = score(found, images[:1], "taylor")
    unit = int(found.writes["wide"][1])
    layer = half_useless.get_layer("latent")
    kernel, bias = layer.get_weights()

    def lost(factor: float) -> float:
        changed = kernel.copy()
        changed[:, :, 1] *= factor
        layer.set_weights([changed, bias])
        value = float(np.mean(mse(images[0][None], run(half_useless, images[0][None]))))
        layer.set_weights([kernel, bias])
        return value

    slope = (lost(1.01) - lost(0.99)) / 0.02
    assert scores[unit] == pytest.approx(slope**2, rel=0.02)


@pytest.mark.parametrize("rewritten", [False, True])
@pytest.mark.parametrize("keep", [0.8, 0.5, 0.25])
def test_what_remains_are_multiples_of_eight_under_the_share(conv3, conv3_rewritten, images, keep, rewritten):
    model = conv3_rewritten if rewritten else conv3
    done = prune_channels(model, images, keep, "activation", "latent")
    assert done.macs_after <= keep * done.macs_before
    assert done.macs_after > (keep - 0.12) * done.macs_before  # what fits again was given back
    assert done.channels and all(after % 8 == 0 for _, after in done.channels.values())
    assert run(done.model, images[0][None]).shape == (1, 32, 32, 3)
    assert done.model.get_layer("latent").output.shape[-1] == 32


def test_odd_numbers_of_channels_come_down_to_multiples():
    image = keras.Input((None, None, 3))
    x = L.Conv2D(20, 4, 4, name="odd")(image)
    x = L.Conv2D(4, 1, name="latent")(x)
    found = plan(keras.Model(image, L.Conv2DTranspose(3, 4, 4)(x)), "latent")
    importance = np.arange(found.units, dtype=float)
    for keep, count in ((0.9, 16), (0.6, 8)):
        kept = choose(found, importance, keep, 8)
        assert kept[found.writes["odd"]].sum() == count
        assert kept[found.writes["odd"]][-count:].all()  # the most important ones


def test_the_latent_is_cut_on_request_only(conv3, images):
    whole = prune_channels(conv3, images, 0.3, "activation", "latent")
    assert "latent" not in whole.channels
    cut = prune_channels(conv3, images, 0.3, "activation", "latent", cut_latent=True)
    assert cut.channels["latent"][1] < 32


def test_settings_that_cannot_be_met_are_refused(conv3, images):
    with pytest.raises(EdgepressError, match=r"keep_macs cannot be 0\.001"):
        prune_channels(conv3, images, 0.001, "magnitude", "latent")
    with pytest.raises(EdgepressError, match="keep_macs must lie above 0"):
        prune_channels(conv3, images, 0.0)
    with pytest.raises(EdgepressError, match="no criterion is called 'luck'"):
        prune_channels(conv3, images, 0.5, "luck")
    with pytest.raises(EdgepressError, match="needs images"):
        prune_channels(conv3, [], 0.5, "taylor")
    with pytest.raises(EdgepressError, match="group must be at least 1"):
        prune_channels(conv3, images, 0.5, group=0)
