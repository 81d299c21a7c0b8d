"""A network with the rounding of int8 in it, as noise, so that it can be trained to put up with it.

Every tensor that int8 rounds gets uniform noise of one step, the 255th part of its range in the batch at hand. Unlike simulated
rounding it leaves gradients alone, clips nothing that a batch happens not to contain, and through the range it tells the
weights that make the widest values what those cost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import keras

from .graph import replay
from .int8_noise import MOVES, STEPS, fused_inputs, spans


def noisy(
    model: Any, given: tuple[float, float], exact: Collection[str] = (), seed: int = 0
) -> Callable[[Any], Any]:
    """What a flat model, `opened`, makes of a tensor under the rounding of int8; its output is not rounded.

    Args:
        given: ends of the model's input in int8, the values of -128 and 127; what shares its scale is cut to them.
        exact: names of layers that stay float.
        seed: of the noise.
    """
    import tensorflow as tf

    numbers = spans(model)
    random = tf.random.Generator.from_seed(seed)
    unrounded = _unrounded(model)

    def forward(x: Any) -> Any:
        known: dict[int, Any] = {}

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            output = operation(*args, **kwargs)
            number = numbers[id(operation.output)]
            if number == numbers[id(model.input)]:
                output = tf.clip_by_value(output, *given)
            if id(operation.output) in unrounded or operation.name in exact:
                return output
            span = tf.maximum(tf.reduce_max(output), 0.0) - tf.minimum(tf.reduce_min(output), 0.0)
            # What stands beside it may be wider, and was there before: a branch follows what it is joined to.
            known[number] = span = tf.maximum(span, known.get(number, 0.0))
            if number == numbers[id(model.input)]:
                span = given[1] - given[0]
            return output + span / STEPS * random.uniform(tf.shape(output), -0.5, 0.5)

        return replay(model, [x], call)[0]

    return forward


def _unrounded(model: Any) -> set[int]:
    """The tensors that int8 does not round, or not there: moved or shifted ones, what a fused activation reads, the output."""
    found = fused_inputs(model)
    for operation in model.operations:
        kind = type(operation).__name__
        shifts = kind == "Rescaling" and operation.scale == 1  # see `beside`
        if kind in MOVES or shifts:
            found.add(id(operation.output))
    waiting = [model.output]
    while waiting:
        end = waiting.pop()
        found.add(id(end))
        maker = end._keras_history.operation
        if type(maker).__name__ in MOVES:
            waiting += keras.tree.flatten(maker.input)
    return found
