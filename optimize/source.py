"""The model that a run starts from, known by a hash before it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .keys import digest


@dataclass(frozen=True)
class Source:
    """A trained autoencoder.

    Attributes:
        key: hash of all that decides it.
        read: gives it as a Keras 3 model in the optimizer's form (`load.load_model`).
        name: what it is called in reports.
    """

    key: str
    read: Callable[[], Any]
    name: str


def file_source(path: Path) -> Source:
    """The model in a file. Raises FileNotFoundError."""
    if not path.exists():
        raise FileNotFoundError(2, "no such model file", str(path))

    def read() -> Any:
        from .load import load_model  # needs TensorFlow

        return load_model(path)

    return Source(digest(_content(path)), read, path.name)


def model_source(model: Any, name: str = "") -> Source:
    """A Keras 3 model in the optimizer's form."""
    found = hashlib.sha256(model.to_json().encode())
    for value in model.get_weights():
        found.update(np.ascontiguousarray(value).data)
    return Source(found.hexdigest(), lambda: model, name or model.name)


def _content(path: Path) -> list[tuple[str, str]]:
    """Names and hashes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [
        (file.relative_to(path).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files
    ]
