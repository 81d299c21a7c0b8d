"""One stage of a run: its key is known before anything is computed, its value is made or read when first asked for.

So a run is a graph of steps that hold each other's keys, and asking for its end makes only what is missing: where the end
is in the cache nothing else is even read, and TensorFlow is not imported.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .cache import Cache
from .keys import digest, fingerprint

T = TypeVar("T")


@dataclass(frozen=True)
class Kind(Generic[T]):
    """How values become the members of a cache entry, and members values; `unpack` raises ValueError, KeyError, OSError
    or zipfile.BadZipFile for members that it cannot use."""

    pack: Callable[[T], Mapping[str, bytes]]
    unpack: Callable[[dict[str, bytes]], T]


# Anything that JSON can hold; tuples come back as lists.
FIGURES: Kind[Any] = Kind(
    lambda value: {"figures.json": json.dumps(value).encode()},
    lambda members: json.loads(members["figures.json"]),
)


class Step(Generic[T]):
    """A value that `make` gives, kept in `cache`.

    Args:
        name: of the stage, letters and dashes.
        kind: see `Kind`.
        modules: those of this room whose source (and that of what they import) decides the value.
        inputs: everything else that decides it: settings, hashes, other steps (see `keys.digest`).
        make: computes the value.
    """

    def __init__(
        self,
        cache: Cache,
        name: str,
        kind: Kind[T],
        modules: tuple[str, ...],
        inputs: Any,
        make: Callable[[], T],
    ):
        self.name = name
        self.key = digest(name, fingerprint(*modules), inputs)
        self._cache, self._kind, self._make = cache, kind, make
        self._value: list[T] = []

    def get(self) -> T:
        """The value; errors are those of its making, and OSError from the cache."""
        if not self._value:
            self._value.append(self._found())
        return self._value[0]

    def there(self) -> bool:
        """Whether the value is known or in the cache, whole or not."""
        return bool(self._value) or self._cache.path(self.name, self.key).exists()

    def put(self, value: T) -> None:
        """Give the value that another step made along the way, unless it is known already."""
        if not self.there():
            self._value.append(value)
            self._cache.write(self.name, self.key, self._kind.pack(value))

    def _found(self) -> T:
        members = self._cache.read(self.name, self.key)
        if members is not None:
            try:
                return self._kind.unpack(members)
            except (ValueError, KeyError, OSError, zipfile.BadZipFile):
                self._cache.damaged(self.name, self.key)
        value = self._make()
        self._cache.write(self.name, self.key, self._kind.pack(value))
        return value
