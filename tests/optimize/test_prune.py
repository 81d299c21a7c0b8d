"""Magnitude pruning by tfmot on the rewritten model."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.errors import EdgepressError
from edgepress.optimize.prune import prune
from edgepress.optimize.rewrite import rewrite
from edgepress.train.losses import hybrid_loss


@pytest.fixture(scope="module")
def small():
    """A rewritten autoencoder of three layers, of which only the middle one has weights enough to prune."""
    x = image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(16, 3, 2, padding="same", activation="relu", name="first")(x)
    x = keras.layers.Conv2D(24, 3, padding="same", activation="relu", name="latent")(x)
    x = keras.layers.Conv2DTranspose(3, 3, 2, padding="same", activation="sigmoid", name="last")(x)
    return rewrite(keras.Model(image, x)).model


def test_half_of_the_weights_become_zero_and_names_stay(small, photographs):
    images = [image.astype("float32") / 255 for image in photographs]
    before = [w.copy() for w in small.get_weights()]
    seen: list[tuple[int, int, float]] = []
    done = prune(
        small,
        images,
        hybrid_loss(0.1, 0.0, 0.9),
        sparsity=0.5,
        steps=10,
        batch=2,
        crop=48,
        progress=lambda *args: seen.append(args),
    )
    assert [layer.name for layer in done.model.layers] == [layer.name for layer in small.layers]
    assert [(step, steps) for step, steps, _ in seen] == [(n, 10) for n in range(1, 11)]
    assert done.sparsity["latent"] == pytest.approx(0.5, abs=0.01)
    # Its kernel has 7 of 16 taps that are zero by construction; it is small, so only those are zero.
    assert done.sparsity["last_conv"] == pytest.approx(7 / 16, abs=0.01)
    assert done.sparsity["first"] == 0
    kernel = done.model.get_layer("latent").get_weights()[0]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)
    assert all(np.array_equal(a, b) for a, b in zip(before, small.get_weights(), strict=True))


def test_unusable_settings_are_refused(small, photographs):
    with pytest.raises(EdgepressError, match="sparsity must lie"):
        prune(small, photographs, hybrid_loss(0, 0, 1), sparsity=1.0)
    with pytest.raises(EdgepressError, match="at least 512x512"):
        prune(small, photographs, hybrid_loss(0, 0, 1), crop=512)
