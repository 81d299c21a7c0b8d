"""Reading a trained autoencoder, from one file or two, into the optimizer's form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from .canonical import Canonical
from .errors import UnsupportedModelError
from .graph import as_functional, natural_side, rebuild, replay, run
from .ranges import RANGES, find_ranges, with_ranges
from .read import read_model
from .split import find_latent

MAX_SIDE = 4096  # of a model of fixed size: the runtime's limit


@dataclass(frozen=True)
class Loaded:
    """An autoencoder in the optimizer's form.

    Attributes:
        model: flat functional Keras 3 model, (B, H, W, 3) in [0, 1] -> the same shape; H and W free, or both fixed to one
            side, and larger images are then coded in tiles of it.
        latent: the layer where two files meet; None for one file, whose latent is still to be found.
        notes: sentences for people: value ranges, fixed size.
    """

    model: Any
    latent: str | None
    notes: tuple[str, ...]


def load(
    path: str | Path | Sequence[str | Path],
    images: Sequence[np.ndarray] = (),
    input_range: str | None = None,
) -> Loaded:
    """Read an autoencoder: a model file (see `read.read_model`), or (encoder file, decoder file).

    Args:
        path: `.keras` and `.h5` of Keras 3, Keras 2 and tf_keras, or a SavedModel folder of the latter two.
        images: uint8 (H, W, 3), tried where the model's layers do not tell its value ranges.
        input_range: what the model takes for black and white: "0..1", "-1..1" or "0..255"; None: found out.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedModelError: a file or layer that cannot be served (it says why, and what to do), or no
            image-to-image model.
    """
    paths = [path] if isinstance(path, (str, Path)) else path
    name = " + ".join(map(str, paths))
    return bring_in(*map(read_model, paths), name=name, images=images, input_range=input_range)


def load_model(path: str | Path) -> Any:
    """The model of `load`, for one file."""
    return load(path).model


def normalize(model: Any, name: str = "the model") -> Any:
    """The model of `bring_in`, for a whole Keras 3 autoencoder."""
    return bring_in(model, name=name).model


def bring_in(
    model: Any,
    decoder: Any = None,
    *,
    name: str = "the model",
    images: Sequence[np.ndarray] = (),
    input_range: str | None = None,
) -> Loaded:
    """A Keras 3 autoencoder, whole or as encoder and decoder, in the optimizer's form; arguments and errors as in `load`."""
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError("the optimizer needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow")
    if input_range is not None and input_range not in RANGES:
        raise UnsupportedModelError(
            f"the input range must be one of {', '.join(RANGES)}, not {input_range!r}"
        )
    parts = [model] if decoder is None else [model, decoder]
    try:
        _check_ends(parts)
        flat, latent = _of_any_size(parts)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{name}: {error}") from error
    found = find_ranges(flat, images, input_range)
    notes = [found.why]
    if latent:
        notes.append(f"latent: {latent}, where the two files meet")
    side = flat.inputs[0].shape[1]
    if side:
        notes.append(f"fixed size: images are coded in tiles of {side}x{side}")
    return Loaded(rebuild(with_ranges(flat, found)), latent, tuple(notes))


def _check_ends(parts: list[Any]) -> None:
    for part in parts:
        source = as_functional(part)
        if len(source.inputs) != 1 or len(source.outputs) != 1:
            raise UnsupportedModelError(
                f"an autoencoder has one input and one output, this model has {len(source.inputs)} inputs and "
                f"{len(source.outputs)} outputs; make one with keras.Model(image, reconstruction)"
            )
    ends = (("input", as_functional(parts[0]).inputs[0]), ("output", as_functional(parts[-1]).outputs[0]))
    for end, tensor in ends:
        if len(tensor.shape) != 4 or tensor.shape[-1] != 3:
            raise UnsupportedModelError(
                f"its {end} has shape {tuple(tensor.shape)}; needed is (batch, height, width, 3), RGB"
            )


def _of_any_size(parts: list[Any]) -> tuple[Any, str | None]:
    """`_flatten` for images of any size, or else for those of the model's own."""
    height, width = as_functional(parts[0]).inputs[0].shape[1:3]
    square = height is not None and height == width <= MAX_SIDE
    try:
        made = _flatten(parts, None)
        _check_size(made[0])
        if square:
            find_latent(*made)  # a map of positions that are no whole pixels can be coded for one size only
        return made
    except UnsupportedModelError as error:
        if height is None:  # it says itself which layer, and what to do
            raise
        reason = str(error)
    except Exception as error:  # Keras raises nearly every type for a shape that does not fit
        reason = (str(error) or type(error).__name__).splitlines()[0]
    if not square:
        own = "is not fixed" if height is None else f"is {height}x{width}"
        raise UnsupportedModelError(
            f"it cannot take images of any size ({reason}), and its own size {own}; needed is a fully "
            f"convolutional network, or a fixed square input of at most {MAX_SIDE}x{MAX_SIDE}"
        )
    try:
        made = _flatten(parts, height)
    except UnsupportedModelError:
        raise
    except Exception as error:
        raise UnsupportedModelError((str(error) or type(error).__name__).splitlines()[0]) from error
    _check_size(made[0])
    return made


def _flatten(parts: list[Any], side: int | None) -> tuple[Any, str | None]:
    """(the parts as one flat model for images of `side`, the layer that makes what goes from part to part)."""
    image = keras.Input((side, side, 3), name="image")
    call = Canonical()
    value: Any = image
    latent = None
    for part in parts:
        (value,) = replay(part, [value], call)
        if part is not parts[-1]:
            made = getattr(value, "map", value)  # a Vector
            latent = made._keras_history.operation.name
    if not isinstance(value, keras.KerasTensor):
        raise UnsupportedModelError("the model's output is a vector, not an image (batch, height, width, 3)")
    return keras.Model(image, value, name=parts[-1].name if len(parts) == 1 else "autoencoder"), latent


def _check_size(flat: Any) -> None:
    side = natural_side(flat)
    shape = (1, side or 128, 2 * (side or 128), 3)
    made = run(flat, np.zeros(shape, "float32")).shape
    if made != shape:
        raise UnsupportedModelError(
            f"it turns a {shape[1]}x{shape[2]} image into {made[1]}x{made[2]}; sizes must stay"
        )
