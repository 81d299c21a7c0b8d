"""Hashes of what a stage depends on: images, settings, versions of libraries, and the source of our own modules."""

from __future__ import annotations

import functools
import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, is_dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

RGB = NDArray[np.uint8]

_ROOMS = {room: Path(__file__).parents[1] / room for room in ("runtime", "bench", "train", "optimize")}
_IMPORT = re.compile(
    r"^\s*(?:from\s+(\.\w*|edgepress[\w.]*)\s+import\s+([\w ,]+|\()|import\s+(edgepress[\w.]*))", re.M
)
# What computes, besides our own code: other versions give other weights, models and figures.
_LIBRARIES = ("tensorflow", "keras", "tf-keras", "tensorflow-model-optimization", "ai-edge-litert", "numpy")


class Images:
    """Images of a run, with the hash of their pixels.

    Attributes:
        pixels: uint8 (H, W, 3).
    """

    def __init__(self, pixels: Sequence[RGB]):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    @cached_property
    def key(self) -> str:
        """Hash of shapes and pixels, in order."""
        found = hashlib.sha256()
        for image in self.pixels:
            found.update(repr(image.shape).encode())
            found.update(np.ascontiguousarray(image).data)
        return found.hexdigest()

    @cached_property
    def floats(self) -> list[NDArray[np.float32]]:
        """The same as float32 in [0, 1]."""
        return [image.astype(np.float32) / np.float32(255) for image in self.pixels]


def digest(*parts: Any) -> str:
    """Hash, 64 hexadecimal digits, of anything that JSON can hold, dataclasses, and objects with a `key` of their own."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def fingerprint(*modules: str) -> str:
    """Hash of the source of modules of this room and of all of ours that they import, and of the libraries' versions.

    `work*`, which call them, are part of every hash, but not what they import, or no stage would survive a change to another.
    """
    waiting = [_ROOMS["optimize"] / f"{module}.py" for module in modules]
    seen: dict[Path, str] = {}
    while waiting:
        path = waiting.pop()
        if path not in seen:
            source = path.read_text(encoding="utf-8")
            seen[path] = hashlib.sha256(source.encode()).hexdigest()
            waiting += _imported(path.parent, source)
    names = {f"{path.parent.name}/{path.name}": found for path, found in seen.items()}
    for work in _ROOMS["optimize"].glob("work*.py"):
        names[work.name] = hashlib.sha256(work.read_bytes()).hexdigest()
    return digest(names, {name: _version(name) for name in _LIBRARIES})


def _imported(room: Path, source: str) -> Iterable[Path]:
    """Our own modules that a source file imports, wherever it does so."""
    for base, names, plain in _IMPORT.findall(source):
        parts = (plain or base).split(".")
        folder, rest = (
            (room, parts[1:]) if base.startswith(".") else (_ROOMS.get("".join(parts[1:2])), parts[2:])
        )
        if folder is None:
            continue
        modules = [part for part in rest[:1] if part] or [
            name.split(" as ")[0].strip() for name in names.split(",")
        ]
        yield from (path for module in modules if (path := folder / f"{module}.py").is_file())


def _plain(value: Any) -> Any:
    if hasattr(value, "key"):
        return value.key
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} has no place in a key")


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None
