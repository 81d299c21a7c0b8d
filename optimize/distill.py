"""Fine-tuning a smaller model with the original as its teacher (Hinton et al. 2015, by regression)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .errors import EdgepressError
from .graph import rebuild
from .tf_fit import WARMUP, crops, ends, large_enough

AVERAGED = 0.998  # of the moving average of the weights that is the result
LATENT_WEIGHT = 0.001  # of the latents' relative squared difference


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned copy of the student, and the mean loss over the first and the last tenth of the steps."""

    model: Any
    loss_before: float
    loss_after: float


def fine_tune(
    student: Any,
    teacher: Any,
    images: Sequence[np.ndarray],
    *,
    loss: Callable[[Any, Any], Any],
    steps: int = 1000,
    batch: int = 8,
    crop: int = 64,
    learning_rate: float = 1e-3,
    match: float = 0.5,
    latent: str = "",
    seed: int = 0,
    progress: Callable[[int, int, float], None] | None = None,
) -> FineTuned:
    """Train `student` on (1 - match) loss(image, output) + match * mean squared difference from the teacher's output.

    Args:
        student, teacher: flat Keras 3 autoencoders, RGB in [0, 1] to the same; both left as they are.
        images: float32 (H, W, 3) in [0, 1], each at least `crop` on a side (smaller ones are left out).
        loss: (target, output) -> loss per image, on backend tensors; usually `train.losses.hybrid_loss`.
        steps, batch, crop, learning_rate: steps, crops a step, their side in pixels, Adam's highest rate (linear rise over
            a fifth, then cosine decay to 0).
        match: share of the teacher, 0..1.
        latent: name of the layer that both code; where it has as many channels in both, the mean squared difference of
            latents, relative to the teacher's mean square, is added a thousandth. "" leaves it out.
        seed: of the crops. The same arguments give the same weights on the same machine.
        progress: called as (step, steps, loss) after each step.

    Raises: EdgepressError for settings out of range or images that are all too small.
    """
    if not 0 <= match <= 1:
        raise EdgepressError(f"match must lie in 0..1, not {match}")
    if steps < 1:
        raise EdgepressError(f"fine-tuning needs at least 1 step, not {steps}")
    large_enough(images, crop)
    learner = rebuild(student)
    first, second = (_with_latent(model, latent) for model in (learner, teacher))
    weight = LATENT_WEIGHT if len(first.outputs) > 1 and _alike(first, second) else 0.0
    optimizer = keras.optimizers.Adam(
        _rate(learning_rate, steps), use_ema=True, ema_momentum=_momentum(steps)
    )
    optimizer.build(learner.trainable_variables)
    update = _step(first, second, loss, optimizer, match, weight)
    losses = []
    for step, (batch_in, _) in enumerate(crops(images, steps, batch, crop, seed), 1):
        losses.append(float(update(batch_in)))
        if progress:
            progress(step, steps, losses[-1])
    optimizer.finalize_variable_values(learner.trainable_variables)
    return FineTuned(learner, *ends(losses))


def _with_latent(model: Any, latent: str) -> Any:
    """The model with its latent as a second output, where there is one of that name."""
    outputs = [model.output]
    if latent and any(layer.name == latent for layer in model.layers):
        outputs.append(model.get_layer(latent).output)
    return keras.Model(model.input, outputs)


def _alike(first: Any, second: Any) -> bool:
    return [t.shape[-1] for t in first.outputs] == [t.shape[-1] for t in second.outputs]


def _rate(peak: float, steps: int) -> Any:
    # Adam's first steps at the full rate would undo what was learnt; so the rate rises first.
    warmup = max(1, round(WARMUP * steps))
    return keras.optimizers.schedules.CosineDecay(
        0.0, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )


def _momentum(steps: int) -> float:
    """Of the average of weights: over a twentieth of the steps, at most what AVERAGED looks back."""
    return min(AVERAGED, 1 - 20 / max(20, steps))


def _step(
    first: Any,
    second: Any,
    loss: Callable[[Any, Any], Any],
    optimizer: Any,
    match: float,
    latent_weight: float,
) -> Callable[[Any], Any]:
    """One compiled step of training: crops -> loss."""
    import tensorflow as tf

    @tf.function
    def update(pixels: Any) -> Any:
        goal, *goal_latent = keras.tree.flatten(second(pixels, training=False))
        with tf.GradientTape() as tape:
            output, *latent = keras.tree.flatten(first(pixels, training=True))
            total = (1 - match) * tf.reduce_mean(loss(pixels, output))
            total += match * tf.reduce_mean(tf.square(goal - output))
            if latent_weight:
                power = tf.reduce_mean(tf.square(goal_latent[0])) + 1e-12
                total += latent_weight * tf.reduce_mean(tf.square(goal_latent[0] - latent[0])) / power
        variables = first.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        return total

    return update
