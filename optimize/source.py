"""The model that a run starts from, known by a hash before it is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
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
        read: gives it as `load.Loaded`; takes uint8 images on which value ranges are tried, and the input range or None.
        name: what it is called in reports.
    """

    key: str
    read: Callable[[Sequence[np.ndarray], str | None], Any]
    name: str


def file_source(path: Path | tuple[Path, Path]) -> Source:
    """The model in a file or folder, or (encoder, decoder) in two. Raises FileNotFoundError."""
    parts = path if isinstance(path, tuple) else (path,)
    for part in parts:
        if not part.exists():
            raise FileNotFoundError(2, "no such model file", str(part))

    def read(images: Sequence[np.ndarray], input_range: str | None) -> Any:
        from .load import load  # loads Keras

        return load(path, images, input_range)

    return Source(digest(*map(_content, parts)), read, " + ".join(part.name for part in parts))


def model_source(model: Any, name: str = "") -> Source:
    """A Keras 3 model, whole."""
    found = hashlib.sha256(model.to_json().encode())
    for value in model.get_weights():
        found.update(np.ascontiguousarray(value).data)

    def read(images: Sequence[np.ndarray], input_range: str | None) -> Any:
        from .load import bring_in

        return bring_in(model, name=name or model.name, images=images, input_range=input_range)

    return Source(found.hexdigest(), read, name or model.name)


def _content(path: Path) -> list[tuple[str, str]]:
    """Names and hashes of a file, or of all files of a folder."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [
        (file.relative_to(path).as_posix(), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files
    ]
