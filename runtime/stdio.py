"""Standard input and output as files of the command line, under the name `-`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import IO

from .errors import EdgepressError
from .files import atomic_write

STDIO = Path("-")
_MAX_INPUT = (
    1 << 29
)  # bytes; the largest image that is encoded, uncompressed and with alpha, has half of that


def label(path: Path, direction: str = "input") -> str:
    """The name of a file for messages; `direction` is what `-` stands for, "input" or "output"."""
    return f"standard {direction}" if path == STDIO else str(path)


def standard_input() -> IO[bytes]:
    """All of standard input, as a file in memory.

    Raises:
        EdgepressError: it is closed, a terminal, or larger than any image here.
        OSError: it cannot be read.
    """
    if sys.stdin is None:
        raise EdgepressError("standard input is closed")
    if sys.stdin.isatty():
        raise EdgepressError("standard input is a terminal: give it a file (< FILE) or a pipe")
    data = sys.stdin.buffer.read(_MAX_INPUT + 1)
    if len(data) > _MAX_INPUT:
        raise EdgepressError(f"larger than {_MAX_INPUT >> 20} MB, so it is no image for edgepress")
    return io.BytesIO(data)


def check_standard_output() -> None:
    """Raise EdgepressError where bytes of an image should not go: a terminal, or nowhere."""
    if sys.stdout is None:
        raise EdgepressError("standard output is closed")
    if sys.stdout.isatty():
        raise EdgepressError("standard output is a terminal: give it a file (> FILE) or a pipe")


def write_output(path: Path, data: bytes) -> None:
    """Write a file, complete or not at all, or to standard output.

    Raises:
        BrokenPipeError: nobody reads standard output any more.
        OSError: it cannot be written.
    """
    if path != STDIO:
        atomic_write(path, data)
        return
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError as error:
        error.filename = label(path, "output")
        raise
