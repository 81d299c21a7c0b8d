"""A folder of finished stages, each under a hash of all that decides it, so that a run goes on where another one ended.

An entry is one file: a mark, the SHA-256 of the rest, and a zip of named members (models, arrays, JSON; nothing is ever
unpickled). It is written under another name and renamed, so that what a killed run leaves is whole or not there; one
that does not match its hash is passed over with a warning and made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from edgepress.runtime.files import atomic_write

MARK = b"EPstage1"
_DIGEST = 32
_STALE = 3600.0  # seconds after which a temporary file cannot belong to a run that still writes it


class Cache:
    """Entries in a folder, which is made when the first one is written; delete it whenever you like.

    Attributes:
        reused, made: names of the stages that were read and written so far, in order.

    Raises OSError, also from the methods, when the folder cannot be read or written.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda _: None):
        self.folder = folder
        self.reused: list[str] = []
        self.made: list[str] = []
        self._warn = warn
        if folder.is_dir():
            self._sweep()

    def path(self, name: str, key: str) -> Path:
        """Where the entry of stage `name` (letters and dashes) with the hexadecimal `key` is or would be."""
        return self.folder / f"{name}-{key[:40]}.stage"

    def read(self, name: str, key: str) -> dict[str, bytes] | None:
        """The members of an entry; None when it is not there or damaged."""
        path = self.path(name, key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        payload = content[len(MARK) + _DIGEST :]
        if content[: len(MARK) + _DIGEST] != MARK + hashlib.sha256(payload).digest():
            self.damaged(name, key)
            return None
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            members = {member: archive.read(member) for member in archive.namelist()}
        self.reused.append(name)
        return members

    def write(self, name: str, key: str, members: Mapping[str, bytes]) -> None:
        """Keep an entry; it is on the disk when this returns."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for member, content in members.items():
                archive.writestr(member, content)
        payload = buffer.getvalue()
        self.folder.mkdir(parents=True, exist_ok=True)
        atomic_write(self.path(name, key), MARK + hashlib.sha256(payload).digest() + payload)
        self.made.append(name)

    def damaged(self, name: str, key: str) -> None:
        """Say that an entry is of no use; it will be written anew."""
        self._warn(f"{self.path(name, key)} is damaged; {name} is made again")

    def _sweep(self) -> None:
        """Remove what runs that were killed while writing have left."""
        for file in self.folder.glob(".*.tmp"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > _STALE:
                    file.unlink()
