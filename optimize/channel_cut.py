"""Building the smaller model: a copy without some units of a `ChannelPlan`, all other weights being the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from .channel_graph import ChannelPlan
from .errors import EdgepressError
from .graph import Cloner, rebuild

# The setting that says how many channels a layer makes.
_SIZE = {"Conv2D": "filters", "Conv2DTranspose": "filters", "SeparableConv2D": "filters", "Dense": "units"}


def cut(
    plan: ChannelPlan, kept: NDArray[np.bool_], extra_bias: Mapping[str, NDArray[np.float32]] | None = None
) -> Any:
    """A copy of the planned model with only the units `kept`.

    Args:
        kept: bool[plan.units]; units that no group lists must be kept.
        extra_bias: by name of a mixing layer, float32 for each of its output channels (before the cut), added to its bias.

    Returns: a flat Keras 3 model with the same layer names.

    Raises: EdgepressError when a layer would be left without channels or a fixed unit would be removed.
    """
    free = {unit for group in plan.groups for unit in group.units}
    if any(unit not in free for unit in np.flatnonzero(~kept).tolist()):
        raise EdgepressError("channels of the image, the latent or the output cannot be cut")
    cloner = Cloner()
    clones: dict[int, Any] = {}

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if id(operation) in clones:
            return clones[id(operation)](*args, **kwargs)
        name = operation.name
        more = (extra_bias or {}).get(name)
        whole = name not in plan.writes or (kept[plan.reads[name]].all() and kept[plan.writes[name]].all())
        if not isinstance(operation, keras.layers.Layer) or (whole and more is None):
            return cloner(operation, *args, **kwargs)
        given, made = kept[plan.reads[name]], kept[plan.writes[name]]
        if not made.any() or not given.any():
            raise EdgepressError(f"layer {name!r} would be left without channels")
        layer = _resized(operation, cloner.unique(name), int(made.sum()), more is not None)
        output = layer(*args, **kwargs)
        layer.set_weights(_weights(operation, given, made, more))
        clones[id(operation)] = layer
        return output

    return rebuild(plan.model, None, call)


def _resized(layer: Any, name: str, channels: int, biased: bool) -> Any:
    config = {**layer.get_config(), "name": name}
    kind = type(layer).__name__
    if kind in _SIZE:
        config[_SIZE[kind]] = channels
    if kind == "Reshape":
        config["target_shape"] = (*tuple(config["target_shape"])[:-1], channels)
    if biased:
        config["use_bias"] = True
    return type(layer).from_config(config)


def _weights(
    layer: Any, given: NDArray[np.bool_], made: NDArray[np.bool_], more: NDArray[np.float32] | None
) -> list[np.ndarray]:
    """The weights of `layer` without the channels that go."""
    kind, weights = type(layer).__name__, layer.get_weights()
    if not weights:
        return []
    if kind == "PReLU":
        return [weights[0][..., made] if weights[0].shape[-1] == len(made) else weights[0]]
    if kind == "BatchNormalization":
        return [weight[made] for weight in weights]
    if kind == "Conv2D":
        kernels = [weights[0][:, :, given][..., made]]
    elif kind == "Conv2DTranspose":
        kernels = [weights[0][:, :, made][..., given]]
    elif kind == "Dense":
        kernels = [weights[0][given][:, made]]
    elif kind == "DepthwiseConv2D":
        kernels = [weights[0][:, :, given]]
    elif kind == "SeparableConv2D":
        inner = np.repeat(given, layer.depth_multiplier)
        kernels = [weights[0][:, :, given], weights[1][:, :, inner][..., made]]
    else:
        raise EdgepressError(f"layer {layer.name!r}: weights of a {kind} cannot be cut")
    if layer.use_bias or more is not None:
        bias = weights[-1] if layer.use_bias else np.zeros(len(made), np.float32)
        kernels.append((bias if more is None else bias + more)[made])
    return kernels
