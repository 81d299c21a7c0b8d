"""A network with the rounding of int8 in it, as noise, so that it can be trained to put up with it.

Every tensor that int8 rounds gets uniform noise of one step, the 255th part of its range in the batch at hand. Unlike simulated
rounding it leaves gradients alone, clips nothing that a batch happens not to contain, and through the range it tells the
weights that make the widest values what those cost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .graph import replay
from .int8_noise import FUSED, MOVES, STEPS, spans

SHIFTS = ("Rescaling",)  # rounds nothing, see `beside`


def noisy(model: Any, given: float, seed: int = 0) -> Callable[[Any], Any]:
    """What a flat model, `opened`, makes of a tensor under the rounding of int8; its output is not rounded.

    given: span of the model's input in int8, from the value of -128 to that of 127.
    seed: of the noise.
    """
    import tensorflow as tf

    numbers = spans(model)
    random = tf.random.Generator.from_seed(seed)
    end = model.output
    while type(end._keras_history.operation).__name__ in MOVES:
        end = end._keras_history.operation.input
    fused = {
        id(operation.input)
        for operation in model.operations
        if type(operation).__name__ == "Activation" and operation.activation.__name__ in FUSED
    }
    exact = {id(end), *fused}

    def forward(x: Any) -> Any:
        known = {numbers[id(model.input)]: tf.constant(given, tf.float32)}

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            output = operation(*args, **kwargs)
            if type(operation).__name__ in (*MOVES, *SHIFTS) or id(operation.output) in exact:
                return output
            number = numbers[id(operation.output)]
            span = tf.maximum(tf.reduce_max(output), 0.0) - tf.minimum(tf.reduce_min(output), 0.0)
            # What stands beside it may be wider, and was there before: a branch follows what it is joined to.
            known[number] = span = tf.maximum(span, known.get(number, 0.0))
            return output + span / STEPS * random.uniform(tf.shape(output), -0.5, 0.5)

        return replay(model, [x], call)[0]

    return forward
