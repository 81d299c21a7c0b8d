"""Files: outputs that are complete or not there, and inputs that are read up to a limit."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def is_special(path: str | os.PathLike[str]) -> bool:
    """Whether something is there that no file can take the place of: a device, a pipe, a folder."""
    return Path(path).exists() and not Path(path).is_file()


@contextlib.contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A file to write to which afterwards is at `path`; readers see the old content or all of the new, never a part.

    It is a temporary file in the same folder, with the same suffix, which is then renamed; a symbolic link keeps pointing
    where it points. When writing fails, nothing is left behind.

    Raises:
        OSError: the folder does not exist, is not writable, is full, or `path` is a folder.
    """
    target = Path(os.path.realpath(path))
    # A short name of its own: the target's may be as long as the file system allows already. The suffix is the one asked for,
    # whatever a symbolic link points to.
    temporary = target.parent / f".{os.urandom(8).hex()}.tmp{Path(path).suffix[:16]}"
    try:
        with temporary.open("xb") as file:
            yield file
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename, error.filename2 = str(path), None  # the file asked for, not the temporary one
        raise


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` by `atomic_file`, or directly to a device or pipe (`/dev/stdout`).

    Raises:
        OSError: as for `atomic_file`.
    """
    if is_special(path):
        _write_through(Path(path), data)
        return
    with atomic_file(path) as file:
        file.write(data)


def _write_through(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)  # a folder raises IsADirectoryError here
    except OSError as error:
        error.filename = str(path)  # which errors of writing itself do not have
        raise


def read_limited(path: str | os.PathLike[str], limit: int) -> bytes | None:
    """The content of the file, or None when it has more than `limit` bytes (endless devices included)."""
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    return data if len(data) <= limit else None
