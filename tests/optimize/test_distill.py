"""Fine-tuning with the original as the teacher."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edgepress.optimize.distill import fine_tune
from edgepress.optimize.errors import EdgepressError
from edgepress.optimize.graph import run
from edgepress.train.losses import hybrid_loss

L = keras.layers
LOSS = hybrid_loss(0.1, 0.0, 0.9)


def build(width: int, seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    x = image = keras.Input((None, None, 3))
    x = L.Conv2D(width, 4, 4, activation="relu")(x)
    x = L.Conv2D(8, 1, name="latent")(x)
    return keras.Model(image, L.Conv2DTranspose(3, 4, 4, activation="sigmoid")(x))


def tune(student, teacher, images, **settings):
    settings = {"steps": 60, "batch": 4, "crop": 32, "learning_rate": 1e-2, **settings}
    return fine_tune(student, teacher, images, loss=LOSS, **settings)


def test_the_student_learns_and_both_models_stay_as_they_are(images):
    student, teacher = build(8, 1), build(16, 2)
    before = [[w.copy() for w in model.get_weights()] for model in (student, teacher)]
    seen: list[tuple[int, int, float]] = []
    done = tune(student, teacher, images, match=0.0, progress=lambda *args: seen.append(args))
    assert [(step, steps) for step, steps, _ in seen] == [(n, 60) for n in range(1, 61)]
    assert done.loss_after < 0.8 * done.loss_before
    image = images[0][None]
    old, new = (float(np.mean(LOSS(image, run(model, image)))) for model in (student, done.model))
    assert new < 0.9 * old
    for model, weights in zip((student, teacher), before, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), weights, strict=True))
    names = [[layer.name for layer in model.layers[1:]] for model in (done.model, student)]
    assert names[0] == names[1]


def test_the_same_seed_gives_the_same_weights(images):
    student, teacher = build(8, 1), build(16, 2)
    first, again, other = (tune(student, teacher, images, steps=5, seed=s).model for s in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first.get_weights(), again.get_weights(), strict=True))
    assert not np.array_equal(first.get_weights()[0], other.get_weights()[0])


def test_a_whole_match_imitates_the_teacher_whatever_the_image(images):
    student, teacher = build(8, 1), build(8, 2)
    image = images[1][None]
    goal = run(teacher, image)
    done = tune(student, teacher, images, match=1.0)
    before, after = (float(np.square(run(m, image) - goal).mean()) for m in (student, done.model))
    assert after < 0.5 * before


def test_latents_are_matched_where_channels_agree(images):
    student, teacher = build(8, 1), build(16, 2)
    latent = [keras.Model(m.input, m.get_layer("latent").output) for m in (student, teacher)]
    image = images[0][None]
    goal = run(latent[1], image)

    def distance(model) -> float:
        made = keras.Model(model.input, model.get_layer("latent").output)
        return float(np.square(run(made, image) - goal).mean())

    without, with_latent = (
        tune(student, teacher, images, latent=name, learning_rate=3e-3) for name in ("", "latent")
    )
    assert distance(with_latent.model) < 0.9 * distance(without.model)
    narrow = keras.Model(*ends(5))
    assert (
        tune(student, narrow, images, latent="latent", steps=2).loss_after > 0
    )  # 8 and 5 channels: left out


def ends(channels: int):
    image = keras.Input((None, None, 3))
    x = L.Conv2D(channels, 4, 4, name="latent")(image)
    return image, L.Conv2DTranspose(3, 4, 4)(x)


def test_unusable_settings_are_refused(images):
    model = build(8, 1)
    with pytest.raises(EdgepressError, match="match must lie in"):
        tune(model, model, images, match=2.0)
    with pytest.raises(EdgepressError, match="at least 1 step"):
        tune(model, model, images, steps=0)
    with pytest.raises(EdgepressError, match="at least 1024x1024"):
        tune(model, model, images, crop=1024)
