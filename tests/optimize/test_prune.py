"""Magnitude pruning by tfmot on the rewritten model."""

from __future__ import annotations

import numpy as np
import pytest

from edgepress.optimize.errors import EdgepressError
from edgepress.optimize.prune import prune
from edgepress.train.losses import hybrid_loss


def test_half_of_the_weights_become_zero_and_names_stay(conv3_rewritten, photographs):
    images = [image.astype("float32") / 255 for image in photographs]
    before = [w.copy() for w in conv3_rewritten.get_weights()]
    seen: list[tuple[int, int, float]] = []
    done = prune(
        conv3_rewritten,
        images,
        hybrid_loss(0.1, 0.0, 0.9),
        sparsity=0.5,
        steps=10,
        batch=2,
        crop=48,
        progress=lambda *args: seen.append(args),
    )
    assert [layer.name for layer in done.model.layers] == [layer.name for layer in conv3_rewritten.layers]
    assert [(step, steps) for step, steps, _ in seen] == [(n, 10) for n in range(1, 11)]
    for name in ("encoder_2", "latent", "decoder_1_conv00"):
        assert done.sparsity[name] == pytest.approx(0.5, abs=0.01)
    # Its kernel has 7 of 16 taps that are zero by construction; it is small, so only those are zero.
    assert done.sparsity["reconstruction_conv"] == pytest.approx(7 / 16, abs=0.01)
    assert done.sparsity["encoder_1"] == 0
    kernel = done.model.get_layer("latent").get_weights()[0]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)
    assert all(np.array_equal(a, b) for a, b in zip(before, conv3_rewritten.get_weights(), strict=True))


def test_unusable_settings_are_refused(conv3_rewritten, photographs):
    with pytest.raises(EdgepressError, match="sparsity must lie"):
        prune(conv3_rewritten, photographs, hybrid_loss(0, 0, 1), sparsity=1.0)
    with pytest.raises(EdgepressError, match="at least 512x512"):
        prune(conv3_rewritten, photographs, hybrid_loss(0, 0, 1), crop=512)
