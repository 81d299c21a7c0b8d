"""Finding the latent of an autoencoder and cutting it there into encoder and decoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from edgepress.train.layers import DepthToSpace, SpaceToDepth

from .errors import UnsupportedModelError
from .graph import Cloner, Step, fixed_side, natural_side, rebuild, replay, run, trace

MAX_STRIDE, MAX_CHANNELS = 256, 4096  # the runtime's limits
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
        tile: side in pixels of the only image that the model takes; 0: it takes any size.
        block: for such a model whose latent map does not divide its side: the side of that map, which the encoder then
            gives as one position with block^2 times the channels; otherwise 1.
    """

    layer: str
    stride: int
    channels: int
    per_pixel: float
    why: str
    tile: int = 0
    block: int = 1

    @property
    def unit(self) -> int:
        """Images are coded in whole multiples of so many pixels, each way."""
        return self.tile or self.stride


@dataclass(frozen=True)
class Halves:
    """An autoencoder cut at its latent: two Keras 3 models, of any spatial size unless `latent.tile` says otherwise."""

    encoder: Any
    decoder: Any
    latent: Latent


def find_latent(model: Any, layer: str | None = None) -> Latent:
    """Choose the tensor to code: the narrowest one (elements per input pixel) that every path runs through.

    Among equally narrow ones a layer called latent, bottleneck or code wins, otherwise the first with the activation
    or normalization that follows it. `layer` overrides the choice.

    Raises: UnsupportedModelError when there is no such layer or tensor, or it is no (B, H/s, W/s, C) map.
    """
    tile = fixed_side(model) or 0
    side = natural_side(model) or 256
    steps = trace(model, (side, side, 3))
    cuts = _cut_points(steps)
    if layer is not None:
        named = [step for step in cuts if step.name == layer]
        if not named:
            known = "no such layer"
            if steps[-1].name == layer:
                known = "it makes the output"
            elif any(step.name == layer for step in steps):
                known = "not on every path from input to output"
            choice = ", ".join(step.name for step in cuts)
            raise UnsupportedModelError(f"cannot cut at {layer!r} ({known}); possible are: {choice}")
        return _describe(named[-1], side, tile, "asked for")
    if not cuts:
        raise UnsupportedModelError(
            "every layer is bypassed by a skip connection: there is no single tensor to code"
        )
    narrowest = min(_width(step, side) for step in cuts)
    tied = [i for i, step in enumerate(cuts) if _width(step, side) == narrowest]
    chosen = next((i for i in tied if any(n in cuts[i].name.lower() for n in NAMES)), None)
    if chosen is None:
        chosen = tied[0]
        while chosen + 1 in tied and type(cuts[chosen + 1].operation).__name__ in TRAILING:
            chosen += 1
    why = f"the narrowest of {len(cuts)} tensors that every path runs through"
    if len(tied) > 1:
        others = ", ".join(cuts[i].name for i in tied if i != chosen)
        why += f" (as narrow, but not chosen: {others})"
    return _describe(cuts[chosen], side, tile, why)


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
    # A second copy for the decoder: from a new input, so that the two halves share no layers.
    positions = latent.tile // latent.stride or None
    entry = keras.Input((positions, positions, latent.channels), name="latent_in")
    given, taken = found["latent"], entry
    if latent.block > 1:
        given = SpaceToDepth(latent.block, name="latent_as_one")(given)
        taken = DepthToSpace(latent.block, name="latent_as_map")(taken)
    encoder = keras.Model(whole.input, given, name="encoder")
    tail = keras.Model(found["latent"], whole.output)
    decoder = keras.Model(entry, replay(tail, [taken], Cloner())[0], name="decoder")
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


def _width(step: Step, side: int) -> float:
    return float(np.prod(step.output.shape[1:])) / side**2


def _describe(step: Step, side: int, tile: int, why: str) -> Latent:
    shape = tuple(step.output.shape[1:])
    if len(shape) != 3 or shape[0] != shape[1] or (not tile and side % shape[0]):
        raise UnsupportedModelError(
            f"the latent {step.name!r} has shape {shape} for a {side}x{side} image; needed is a map (H/s, W/s, C): "
            "name another layer with --latent"
        )
    block = 1 if side % shape[0] == 0 else shape[0]
    stride, channels = (side // shape[0], shape[2]) if block == 1 else (side, shape[2] * block**2)
    if stride > MAX_STRIDE or channels > MAX_CHANNELS:
        raise UnsupportedModelError(
            f"the latent {step.name!r} has {channels} values for every {stride}x{stride} pixels, and up to "
            f"{MAX_CHANNELS} for {MAX_STRIDE}x{MAX_STRIDE} are served: name another layer with --latent"
        )
    width = _width(step, side)
    why = f"{why}: {shape[2]} channels at 1/{stride}, {width:g} values per pixel (the image has 3)"
    if block > 1:
        why = f"{why.partition(':')[0]}: {block}x{block}x{shape[2]} values for a {side}x{side} image (which has {3 * side**2})"
    return Latent(step.name, stride, channels, width, why, tile, block)


def _check(model: Any, encoder: Any, decoder: Any, latent: Latent) -> None:
    image = np.random.default_rng(0).random((1, 2 * latent.unit, 3 * latent.unit, 3), "float32")
    whole, halves = run(model, image), run(decoder, run(encoder, image))
    if whole.shape != image.shape or not np.allclose(whole, halves, atol=1e-5):
        raise UnsupportedModelError(
            f"cut at {latent.layer!r} the model does not give its own output for a "
            f"{image.shape[1]}x{image.shape[2]} image (output {halves.shape}); name another layer with --latent"
        )
