"""Walking and rebuilding functional Keras 3 graphs, the ground on which split, rewrite and bridge stand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .errors import UnsupportedModelError

# What stands for one operation of the model: (operation, *args, **kwargs) -> its output tensor(s).
Call = Callable[..., Any]


@dataclass(frozen=True)
class Step:
    """One operation of a traced graph: its name, the operation, and ids of the tensors it reads and writes."""

    name: str
    operation: Any
    reads: tuple[int, ...]
    output: Any


def as_functional(model: Any) -> Any:
    """The functional graph of a model; raises UnsupportedModelError for subclassed models, which have none."""
    if isinstance(model, keras.Sequential):
        model = model._functional
    if model is None or not hasattr(model, "_run_through_graph"):
        raise UnsupportedModelError(
            "the model is neither functional nor Sequential (or was never built); rebuild it with keras.Model(inputs, outputs)"
        )
    return model


def replay(model: Any, inputs: Sequence[Any], call: Call) -> list[Any]:
    """Walk `model` in topological order, `call`ing on every operation; nested models are walked through.

    Args:
        model: functional or Sequential Keras 3 model.
        inputs: one value for each input of the model, of whatever kind `call` works with.
        call: gets the operation and the values of its arguments, and returns the value(s) of its outputs.

    Returns: the values of the model's outputs.
    """

    def visit(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(operation, keras.Model):
            results = replay(operation, keras.tree.flatten(args), call)
            return results[0] if len(results) == 1 else results
        return call(operation, *args, **kwargs)

    return keras.tree.flatten(as_functional(model)._run_through_graph(list(inputs), call_fn=visit))


def free_name(base: str, taken: set[str]) -> str:
    """`base`, or `base_2`, `base_3` ... when it is taken; it is taken afterwards."""
    name, n = base, 1
    while name in taken:
        n += 1
        name = f"{base}_{n}"
    taken.add(name)
    return name


class Cloner:
    """Copies layers with unique names and with their weights: the default `call` of `rebuild`.

    Each is copied once, and called as often as the original; or (`shared` false) copied for every call.
    """

    def __init__(self, shared: bool = True) -> None:
        self._shared = shared
        self._clones: dict[int, Any] = {}
        self._names: set[str] = set()

    def unique(self, name: str) -> str:
        """A name that no clone has yet (nested models may repeat names)."""
        return free_name(name, self._names)

    def __call__(self, operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(operation, keras.layers.Layer):
            return operation(*args, **kwargs)
        if id(operation) in self._clones:
            return self._clones[id(operation)](*args, **kwargs)
        config = {**operation.get_config(), "name": self.unique(operation.name)}
        clone = type(operation).from_config(config)
        output = clone(*args, **kwargs)
        clone.set_weights(operation.get_weights())
        if self._shared:
            self._clones[id(operation)] = clone
        return output


def rebuild(model: Any, input_shape: tuple[int | None, ...] | None = None, call: Call | None = None) -> Any:
    """A copy of `model` as one flat functional model that shares nothing with it.

    Args:
        model: functional or Sequential, one input and one output.
        input_shape: without batch; None keeps the model's own.
        call: replaces operations on the way (see `replay`); None copies each.
    """
    source = as_functional(model)
    image = keras.Input(input_shape or source.inputs[0].shape[1:], name=source.inputs[0].name.split(":")[0])
    return keras.Model(image, replay(source, [image], call or Cloner())[0], name=model.name)


def trace(model: Any, input_shape: tuple[int | None, ...]) -> list[Step]:
    """The operations of a flat copy of `model` in the order they run, with static shapes where `input_shape` has."""
    steps: list[Step] = []
    cloner = Cloner()

    def record(operation: Any, *args: Any, **kwargs: Any) -> Any:
        output = cloner(operation, *args, **kwargs)
        reads = tuple(id(t) for t in keras.tree.flatten((args, kwargs)) if isinstance(t, keras.KerasTensor))
        steps.append(Step(operation.name, operation, reads, output))
        return output

    rebuild(model, input_shape, record)
    return steps


def wiring(steps: Sequence[Step]) -> tuple[dict[int, Step], dict[int, list[Step]]]:
    """Of a traced graph: by id of each tensor, the step that makes it, and those that read it, once for every time they do."""
    reading: dict[int, list[Step]] = {}
    for step in steps:
        for tensor in step.reads:
            reading.setdefault(tensor, []).append(step)
    return {id(step.output): step for step in steps}, reading


def readers(model: Any) -> dict[str, list[Any]]:
    """By name of each operation of a flat model: the operations that read its output, once for every time they do."""
    found: dict[str, list[Any]] = {}

    def note(operation: Any, *args: Any, **kwargs: Any) -> str:
        for name in keras.tree.flatten((args, kwargs)):
            if isinstance(name, str):
                found.setdefault(name, []).append(operation)
        return operation.name

    for name in replay(model, [model.inputs[0].name], note):
        found.setdefault(name, []).append(None)  # the model's output is read by whoever calls it
    return found


def fixed_side(model: Any) -> int | None:
    """The side of the only square input (B, side, side, C) that a model takes; None for models of any size."""
    return model.inputs[0].shape[1]


# Sides with many divisors, powers of two first: some of them is a multiple of the stride of any usual model.
SIDES = (64, 128, 256, 72, 144, 288, 60, 120, 240, 112, 224)


def natural_side(model: Any) -> int | None:
    """Side of an image that a model gives back with the same size: its own one, or the first of SIDES; None: of none."""
    if side := fixed_side(model):
        return side
    for side in SIDES:
        with suppress(ValueError):  # a map that vanishes, or two that do not fit together
            if tuple(model.compute_output_shape((1, side, side, 3))[1:3]) == (side, side):
                return side
    return None


def run(model: Any, batch: np.ndarray) -> np.ndarray:
    """The model's output for a float32 batch (B, H, W, C), in inference mode, as float32.

    A model of fixed size runs on tiles of its size, which must divide H and W, and its outputs are laid side by side.
    """
    whole = batch.astype("float32", copy=False)
    return in_tiles(lambda part: np.asarray(model(part, training=False)), whole, fixed_side(model))


def in_tiles(
    call: Callable[[np.ndarray], np.ndarray], batch: np.ndarray, side: int | None, at_once: int = 64
) -> np.ndarray:
    """What `call` gives for (B, H, W, C), in tiles of `side`, at most `at_once` in a batch; side None: in one piece."""
    if side is None or batch.shape[1:3] == (side, side):
        return call(batch)
    count, rows, columns = batch.shape[0], batch.shape[1] // side, batch.shape[2] // side
    parts = (
        batch.reshape(count, rows, side, columns, side, -1)
        .swapaxes(2, 3)
        .reshape(-1, side, side, batch.shape[3])
    )
    made = np.concatenate([call(parts[i : i + at_once]) for i in range(0, len(parts), at_once)])
    there = made.shape[1:]
    whole = made.reshape(count, rows, columns, *there).swapaxes(2, 3)
    return whole.reshape(count, rows * there[0], columns * there[1], there[2])
