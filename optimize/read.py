"""Model files of every Keras: Keras 3 and Keras 2 (tf_keras) `.keras`, `.h5`, and SavedModel folders that hold layers."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import keras

import edgepress.train.layers  # noqa: F401  registers the custom layers that our .keras files may hold

from .errors import UnsupportedModelError

SAVE = "save the whole model with model.save('model.keras')"


def read_model(path: str | Path) -> Any:
    """The Keras 3 model in a file; what Keras 2 or tf_keras wrote is brought over (see `bridge.from_tf_keras`).

    Raises:
        FileNotFoundError: there is no such file.
        UnsupportedModelError: not a file that holds layers, or layers that are unknown here.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(2, "no such model file", str(path))
    old = _from_keras_2(path)
    try:
        if not old:
            return keras.saving.load_model(path, compile=False)
        import tf_keras

        model = tf_keras.models.load_model(path, compile=False)
    except Exception as error:  # both Kerases raise nearly every type here
        raise UnsupportedModelError(f"{path}: Keras cannot load it: {_reason(error)}") from error
    from .bridge import from_tf_keras

    try:
        return from_tf_keras(model)
    except UnsupportedModelError as error:
        raise UnsupportedModelError(f"{path}: {error}") from None


def _from_keras_2(path: Path) -> bool:
    """Whether Keras 2 wrote the file; UnsupportedModelError for what holds no layers at all."""
    if path.is_dir():
        if not (path / "saved_model.pb").exists():
            raise UnsupportedModelError(f"{path}: a folder without saved_model.pb is no SavedModel; {SAVE}")
        if not (path / "keras_metadata.pb").exists():
            raise UnsupportedModelError(
                f"{path}: this SavedModel holds a computation graph and no Keras layers (as model.export() of Keras 3 "
                f"writes it), and what is optimized are layers; where the model was made, {SAVE}"
            )
        return True
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                written = json.loads(archive.read("metadata.json"))["keras_version"]
        except (KeyError, ValueError, TypeError, zipfile.BadZipFile):
            raise UnsupportedModelError(
                f"{path}: not a .keras file (a zip file without Keras' metadata); {SAVE}"
            ) from None
        return str(written).startswith("2")
    import h5py

    if not h5py.is_hdf5(path):
        raise UnsupportedModelError(
            f"{path}: not a Keras model file (.keras, .h5 or a SavedModel folder); {SAVE}"
        )
    with h5py.File(path) as file:
        if "model_config" not in file.attrs:
            raise UnsupportedModelError(f"{path}: holds weights only, not the layers; {SAVE}")
        version = file.attrs.get("keras_version", b"2")
        return str(version.decode() if isinstance(version, bytes) else version).startswith("2")


def _reason(error: Exception) -> str:
    """One line of what may be pages: what Keras says was the cause, or else the first line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    causes = [
        line.partition("Exception encountered:")[2].strip()
        for line in lines
        if "Exception encountered:" in line
    ]
    return (causes or lines or [type(error).__name__])[-1 if causes else 0][:300]
