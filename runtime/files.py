"""Files: outputs that are complete or not there, and inputs that are read up to a limit."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def atomic_write(path: str | os.PathLike[str], data: bytes) -> None:
    """Write `data` to `path` so that readers see the old content or all of the new, never a part.

    The bytes go to a temporary file in the same folder, which is then renamed; a symbolic link keeps pointing where it
    points, and devices and pipes (`/dev/stdout`) are written directly. When writing fails, nothing is left behind.

    Raises:
        OSError: the folder does not exist, is not writable, is full, or `path` is a folder.
    """
    asked = Path(path)
    if asked.exists() and not asked.is_file():
        _write_through(asked, data)
        return
    target = Path(os.path.realpath(path))
    # A short name of its own: the target's may be as long as the file system allows already.
    temporary = target.parent / f".{os.urandom(8).hex()}.tmp"
    try:
        # Mode 0o666 lets the umask decide, as for any new file; tempfile would make it private.
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None  # the file asked for, not the temporary one
        raise


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
