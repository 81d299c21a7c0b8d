"""What a rewriting rule works with: the graph as it is being rebuilt, and a way to look at what comes before and after.

A rule is called for every layer of a flat model in the order they run. It returns the tensor that stands for the layer's
output, made of other layers, or None where it has nothing to do. A layer that a rule takes up into another one is simply left
behind: only what leads to the model's output becomes part of the new model. The last layer that a rule makes takes the name
of the one that it replaces, so that layers can be named (the latent's, say) before and after.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .graph import Cloner, free_name, readers, rebuild

# (layer, tensor(s) that it reads, scene) -> the tensor that replaces its output, or None
Rule = Callable[[Any, Any, "Scene"], Any]


@dataclass(frozen=True)
class Rewrite:
    """One rewritten layer: its name and what became of it."""

    layer: str
    what: str


class Scene:
    """A flat model while rules rebuild it.

    Args:
        model: the flat functional Keras 3 model.
        keep: names of layers whose output must stay a tensor of its own.
        joined: phases of a convolution that makes a larger map are never convolutions of their own.
    """

    def __init__(self, model: Any, keep: Collection[str] = (), joined: bool = False) -> None:
        self.joined = joined
        self.done: list[Rewrite] = []
        self._model, self._keep = model, frozenset(keep)
        self._readers = readers(model)
        self._cloner = Cloner()
        self._taken = {operation.name for operation in model.operations}

    def rebuild(self, rules: Sequence[Rule]) -> Any:
        """The model in which every layer went through the first of `rules` that has something to do there."""

        def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
            if args:
                for rule in rules:
                    output = rule(operation, args[0], self)
                    if output is not None:
                        return output
            return self._cloner(operation, *args, **kwargs)

        return rebuild(self._model, None, call)

    def name(self, base: str) -> str:
        """A name for an additional layer: `base`, or `base` with a number when it is taken."""
        return free_name(base, self._taken)

    def only_reader(self, layer: Any) -> Any:
        """The one layer that reads the output of `layer`; None when there are several, or the output must stay."""
        found = self._readers.get(layer.name, [])
        return found[0] if len(found) == 1 and layer.name not in self._keep else None

    def before(self, x: Any, kinds: tuple[type, ...]) -> Any:
        """The layer of one of `kinds` that makes the tensor `x` and that may vanish, since only one layer reads `x`."""
        layer = x._keras_history.operation
        if type(layer) not in kinds or len(layer._inbound_nodes) != 1:
            return None
        found = self._readers.get(layer.name, [None])
        return layer if len(found) == 1 and layer.name not in self._keep else None

    def note(self, layer: Any, what: str) -> None:
        """Record that `layer` was rewritten."""
        self.done.append(Rewrite(layer.name, what))


def put(layer: Any, x: Any, weights: Sequence[np.ndarray | None] = ()) -> Any:
    """Apply a new layer to `x` and give it its weights, those that are not None."""
    output = layer(x)
    if weights:
        layer.set_weights([w for w in weights if w is not None])
    return output


def copy(layer: Any, name: str, **changes: Any) -> Any:
    """A new layer of the same type and settings but `changes`; it has no weights yet."""
    return type(layer).from_config({**layer.get_config(), "name": name, **changes})


def depthwise(
    x: Any, scale: np.ndarray | float, shift: np.ndarray | None, name: str, activation: str | None = None
) -> Any:
    """activation(scale x + shift) by channel (float32[C]), as a 1x1 depthwise convolution, which XNNPACK runs in int8."""
    layer = keras.layers.DepthwiseConv2D(1, use_bias=shift is not None, activation=activation, name=name)
    channels = x.shape[-1]
    kernel = np.broadcast_to(np.asarray(scale, "float32"), (channels,)).reshape(1, 1, channels, 1)
    bias = None if shift is None else np.broadcast_to(np.asarray(shift, "float32"), (channels,))
    return put(layer, x, [kernel, bias])
