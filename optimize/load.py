"""Reading a trained autoencoder: from a `.keras` file to a flat functional model of any image size."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

import edgepress.train.layers  # noqa: F401  registers the custom layers that our .keras files may hold

from .errors import UnsupportedModelError
from .graph import as_functional, rebuild, run


def load_model(path: str | Path) -> Any:
    """Read an autoencoder from a Keras 3 `.keras` file and bring it into the optimizer's form.

    Returns: a flat functional Keras 3 model, (B, H, W, 3) in [0, 1] -> the same shape, H and W free.

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedModelError: not a Keras file, layers that are unknown here, or not an image-to-image model.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such model file", str(path))
    if not path.is_file() or not zipfile.is_zipfile(path):
        raise UnsupportedModelError(
            f"{path}: not a Keras 3 .keras file; save the model with model.save('model.keras')"
        )
    try:
        model = keras.saving.load_model(path, compile=False)
    except Exception as error:  # Keras raises nearly every type here
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnsupportedModelError(f"{path}: Keras cannot load it: {reason}") from error
    return normalize(model, str(path))


def normalize(model: Any, name: str = "the model") -> Any:
    """A flat copy of `model` for any image size; UnsupportedModelError when it does not map RGB images to RGB images."""
    if keras.backend.backend() != "tensorflow":
        raise UnsupportedModelError("the optimizer needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow")
    source = as_functional(model)
    if len(source.inputs) != 1 or len(source.outputs) != 1:
        found = f"{len(source.inputs)} inputs and {len(source.outputs)} outputs"
        raise UnsupportedModelError(
            f"{name}: an autoencoder has one input and one output, this model has {found}"
        )
    for end, tensor in (("input", source.inputs[0]), ("output", source.outputs[0])):
        if len(tensor.shape) != 4 or tensor.shape[-1] != 3:
            raise UnsupportedModelError(
                f"{name}: its {end} has shape {tuple(tensor.shape)}; needed is (batch, height, width, 3), RGB in [0, 1]"
            )
    try:
        flat = rebuild(model, (None, None, 3))
    except UnsupportedModelError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnsupportedModelError(
            f"{name}: it cannot take images of any size, which needs a fully convolutional network: {reason}"
        ) from error
    probe = run(flat, np.zeros((1, 128, 192, 3), "float32"))
    if probe.shape != (1, 128, 192, 3):
        raise UnsupportedModelError(
            f"{name}: turns a 128x192 image into {probe.shape[1]}x{probe.shape[2]}; sizes must stay"
        )
    return flat
