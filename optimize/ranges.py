"""Which values a model takes for black and white: [0, 1], [-1, 1] or 0-255, on either side, found out or given.

A model says it by its layers where it can: a Rescaling at the input, a sigmoid, tanh or Rescaling at the output. Otherwise
every pair of ranges that remains is tried, and the one wins with which the model gives images back best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .graph import natural_side, run

# name: (value of black, value of white)
RANGES = {"0..1": (0.0, 1.0), "-1..1": (-1.0, 1.0), "0..255": (0.0, 255.0)}
PICTURES = 4  # are tried
UNLIKE = 1.1  # how much better a pair of unlike ranges must be than a pair of like ones


@dataclass(frozen=True)
class ValueRanges:
    """Names in RANGES of what a model takes and gives, and one sentence on how that is known."""

    source: str
    goal: str
    why: str


def find_ranges(model: Any, images: Sequence[np.ndarray] = (), given: str | None = None) -> ValueRanges:
    """The value ranges of a flat model's input and output.

    Args:
        model: flat Keras 3 model, RGB to RGB.
        images: uint8 (H, W, 3) to try where the layers do not tell; without any, a smooth picture made here.
        given: the input's range, in RANGES; the output's is then the same unless its last layer says otherwise.
    """
    source, source_why = (given, "given") if given else _from_first_layers(model)
    goal, goal_why = _from_last_layers(model)
    if given and not goal:
        goal, goal_why = given, "taken to be the input's"
    if not source or not goal:
        errors = _errors(
            model, images, [source] if source else list(RANGES), [goal] if goal else list(RANGES)
        )
        best = min(errors, key=lambda pair: errors[pair])
        others = [error for pair, error in errors.items() if pair != best]
        why = f"gives pictures back best, RMSE {errors[best]:.3f}" + (
            f" against {min(others):.3f}" if others else ""
        )
        if not source:
            source, source_why = best[0], why
        if not goal:
            goal, goal_why = best[1], why
    return ValueRanges(source, goal, f"input {source} ({source_why}), output {goal} ({goal_why})")


def with_ranges(model: Any, found: ValueRanges) -> Any:
    """`model` with what takes [0, 1] to its range before it, and what brings its output back behind it."""
    if found.source == found.goal == "0..1":
        return model
    image = keras.Input(model.inputs[0].shape[1:], name="image")
    x = image
    if found.source != "0..1":
        low, high = RANGES[found.source]
        x = keras.layers.Rescaling(high - low, low, name="to_own_range")(x)
    x = model(x)
    if found.goal != "0..1":
        low, high = RANGES[found.goal]
        x = keras.layers.Rescaling(1 / (high - low), -low / (high - low), name="from_own_range")(x)
    return keras.Model(image, x, name=model.name)


def _from_first_layers(model: Any) -> tuple[str, str]:
    """The input's range by a Rescaling that is the only reader of the image, or ""."""
    first = [layer for layer in model.layers if any(t is model.input for t in _inputs(layer))]
    if len(first) != 1 or type(first[0]).__name__ != "Rescaling":
        return "", ""
    scale = float(np.ravel(first[0].scale)[0])
    if scale < 0.05:  # 1/255 or 1/127.5: what comes in are grey levels
        return "0..255", f"by its layer {first[0].name!r}"
    if scale > 1:  # [0, 1] to [-1, 1] or to grey levels
        return "0..1", f"by its layer {first[0].name!r}"
    return "-1..1", f"by its layer {first[0].name!r}"


def _from_last_layers(model: Any) -> tuple[str, str]:
    layer = model.output._keras_history.operation
    while type(layer).__name__ in ("DepthToSpace", "Cropping2D", "ZeroPadding2D", "UpSampling2D"):
        layer = layer.input._keras_history.operation
    why = f"by its layer {layer.name!r}"
    if type(layer).__name__ == "Rescaling":
        scale = float(np.ravel(layer.scale)[0])
        return ("0..255", why) if scale > 5 else ("", "")
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    return {"sigmoid": ("0..1", why), "tanh": ("-1..1", why)}.get(activation, ("", ""))


def _inputs(layer: Any) -> list[Any]:
    return [tensor for node in layer._inbound_nodes for tensor in node.input_tensors]


def _errors(
    model: Any, images: Sequence[np.ndarray], sources: list[str], goals: list[str]
) -> dict[tuple[str, str], float]:
    """Root mean squared error of the model's pictures, in [0, 1], by (input range, output range)."""
    side = natural_side(model) or 64
    pictures = [image[:side, :side] / np.float32(255) for image in images if min(image.shape[:2]) >= side]
    batch = np.stack(pictures[:PICTURES] or [_picture(side)]).astype("float32")
    found = {}
    for source in sources:
        low, high = RANGES[source]
        made = run(model, batch * (high - low) + low)
        for goal in goals:
            black, white = RANGES[goal]
            error = float(np.sqrt(np.mean(np.square((made - black) / (white - black) - batch))))
            error *= 1 if source == goal else UNLIKE
            found[source, goal] = error if np.isfinite(error) else float("inf")
    return found


def _picture(side: int) -> np.ndarray:
    """A smooth picture with a few edges, in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side
    waves = [
        0.5 + 0.3 * np.sin(5 * x + k) * np.cos(4 * y + k) + 0.2 * ((x + k / 3) % 1 > y) for k in range(3)
    ]
    return np.clip(np.stack(waves, axis=-1), 0, 1)
