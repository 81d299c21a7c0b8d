"""Finding the latent of an autoencoder and cutting it there into encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from .errors import UnsupportedModelError
from .graph import Cloner, Step, rebuild, replay, run, trace

PROBE = 256  # side of the image on which tensors are measured; a multiple of any stride up to 256
NAMES = ("latent", "bottleneck", "code")
# Layers that keep the shape and belong to the latent when they follow it: what they make is what should be coded.
TRAILING = ("Activation", "ReLU", "LeakyReLU", "PReLU", "ELU", "BatchNormalization", "Dropout")


@dataclass(frozen=True)
class Latent:
    """The tensor that is coded.

    Attributes:
        layer: name of the layer that makes it.
        stride: image pixels per latent position, each way.
        channels: latent channels.
        per_pixel: latent elements per image pixel (the image itself has 3).
        why: one sentence that explains the choice.
    """

    layer: str
    stride: int
    channels: int
    per_pixel: float
    why: str


@dataclass(frozen=True)
class Halves:
    """An autoencoder cut at its latent: two Keras 3 models of any spatial size."""

    encoder: Any
    decoder: Any
    latent: Latent


def find_latent(model: Any, layer: str | None = None) -> Latent:
    """Choose the tensor to code: the narrowest one (elements per input pixel) that every path runs through.

    Among equally narrow ones a layer called latent, bottleneck or code wins, otherwise the first with the activation
    or normalization that follows it. `layer` overrides the choice.

    Raises: UnsupportedModelError when there is no such layer or tensor, or it is no (B, H/s, W/s, C) map.
    """
    steps = trace(model, (PROBE, PROBE, 3))
    cuts = _cut_points(steps)
    if layer is not None:
        named = [step for step in cuts if step.name == layer]
        if not named:
            known = (
                "not on every path from input to output"
                if any(s.name == layer for s in steps)
                else "no such layer"
            )
            choice = ", ".join(step.name for step in cuts)
            raise UnsupportedModelError(f"cannot cut at {layer!r} ({known}); possible are: {choice}")
        return _describe(named[-1], "asked for")
    if not cuts:
        raise UnsupportedModelError(
            "every layer is bypassed by a skip connection: there is no single tensor to code"
        )
    narrowest = min(_width(step) for step in cuts)
    tied = [i for i, step in enumerate(cuts) if _width(step) == narrowest]
    chosen = next((i for i in tied if any(n in cuts[i].name.lower() for n in NAMES)), None)
    if chosen is None:
        chosen = tied[0]
        while chosen + 1 in tied and type(cuts[chosen + 1].operation).__name__ in TRAILING:
            chosen += 1
    why = f"the narrowest of {len(cuts)} tensors that every path runs through"
    if len(tied) > 1:
        others = ", ".join(cuts[i].name for i in tied if i != chosen)
        why += f" (as narrow, but not chosen: {others})"
    return _describe(cuts[chosen], why)


def split(model: Any, layer: str | None = None) -> Halves:
    """Cut a flat model (see load.normalize) at its latent; both halves are copies.

    Raises: UnsupportedModelError as `find_latent`, and when the halves do not reproduce the model.
    """
    latent = find_latent(model, layer)
    found: dict[str, Any] = {}
    cloner = Cloner()

    def until_latent(operation: Any, *args: Any, **kwargs: Any) -> Any:
        output = cloner(operation, *args, **kwargs)
        if operation.name == latent.layer:
            found["latent"] = output
        return output

    whole = rebuild(model, None, until_latent)
    encoder = keras.Model(whole.input, found["latent"], name="encoder")
    # A second copy for the decoder: from a new input, so that the two halves share no layers.
    entry = keras.Input((None, None, latent.channels), name="latent_in")
    tail = keras.Model(found["latent"], whole.output)
    decoder = keras.Model(entry, replay(tail, [entry], Cloner())[0], name="decoder")
    _check(model, encoder, decoder, latent)
    return Halves(encoder, decoder, latent)


def _cut_points(steps: list[Step]) -> list[Step]:
    """Steps after which nothing but their output is still needed: those tensors separate input from output.

    Sound for any topological order, since a tensor that is made before and read after would be a way around.
    """
    last_read = {tensor: i for i, step in enumerate(steps) for tensor in step.reads}
    cuts = []
    alive: set[int] = set()
    for i, step in enumerate(steps[:-1]):
        if isinstance(step.output, (list, tuple)):
            continue
        alive = {t for t in alive | set(step.reads) | {id(step.output)} if last_read.get(t, -1) > i}
        if alive == {id(step.output)}:
            cuts.append(step)
    return cuts


def _width(step: Step) -> float:
    return float(np.prod(step.output.shape[1:])) / PROBE**2


def _describe(step: Step, why: str) -> Latent:
    shape = tuple(step.output.shape[1:])
    if len(shape) != 3 or shape[0] != shape[1] or PROBE % shape[0]:
        raise UnsupportedModelError(
            f"the latent {step.name!r} has shape {shape} for a {PROBE}x{PROBE} image; needed is a map (H/s, W/s, C)"
        )
    width = _width(step)
    stride = PROBE // shape[0]
    why = f"{why}: {shape[2]} channels at 1/{stride}, {width:g} values per pixel (the image has 3)"
    return Latent(step.name, stride, shape[2], width, why)


def _check(model: Any, encoder: Any, decoder: Any, latent: Latent) -> None:
    image = np.random.default_rng(0).random((1, 2 * latent.stride, 3 * latent.stride, 3), "float32")
    whole, halves = run(model, image), run(decoder, run(encoder, image))
    if whole.shape != image.shape or not np.allclose(whole, halves, atol=1e-5):
        raise UnsupportedModelError(
            f"cut at {latent.layer!r} the model does not give its own output for a "
            f"{image.shape[1]}x{image.shape[2]} image (output {halves.shape}); name another layer with --latent"
        )
