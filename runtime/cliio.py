"""What the encode and decode commands share: which file goes where, and many files with one result each."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import click
from PIL import Image, ImageOps

from .errors import EdgepressError, UnsupportedImageError
from .images import check_size
from .interpreter import choose_interpreter
from .parallel import ordered_map, usable_cores


@dataclass(frozen=True)
class Job:
    """One file to make from another."""

    source: Path
    target: Path


@dataclass(frozen=True)
class Kind:
    """What a command reads and writes.

    Attributes:
        inputs: what it takes from an input folder, for messages.
        is_input: whether it takes this file from an input folder.
        is_output: whether this is a name of a file that it writes.
        suffix: of the files it writes to an output folder.
    """

    inputs: str
    is_input: Callable[[Path], bool]
    is_output: Callable[[Path], bool]
    suffix: str


def plan_jobs(sources: Sequence[Path], output: Path, kind: Kind) -> tuple[list[Job], list[str]]:
    """Which files to make, and what is wrong with the inputs that give none.

    Args:
        sources: files, and folders whose fitting files are taken in alphabetical order.
        output: a file when it has a suffix, is no folder, and there is one input, a file; otherwise a
            folder, which is made when it is missing, for files named as the inputs with the kind's suffix.
        kind: what the command reads and writes.

    Raises:
        EdgepressError: `output` names a file that the command cannot write, or one file for many inputs.
        OSError: a folder cannot be read or made.
    """
    if not output.is_dir() and output.suffix:
        single = len(sources) == 1 and not sources[0].is_dir()
        if single and kind.is_output(output):
            return [Job(sources[0], output)], []
        if single:
            raise EdgepressError(
                f"{output}: files of this name cannot be written; try {kind.suffix}, or a folder"
            )
        if kind.is_output(output):
            raise EdgepressError(f"{output}: several images need a folder to go to, not one file")
    jobs: dict[Path, Job] = {}
    failures: list[str] = []
    for source in _expand(sources, kind, failures):
        target = output / (source.stem + kind.suffix)
        if target in jobs:
            failures.append(f"{source}: {jobs[target].source} goes to {target} already")
        else:
            jobs[target] = Job(source, target)
    if jobs:
        output.mkdir(parents=True, exist_ok=True)
    return list(jobs.values()), failures


def _expand(sources: Iterable[Path], kind: Kind, failures: list[str]) -> Iterator[Path]:
    for path in sources:
        if not path.is_dir():
            yield path
            continue
        found = [file for file in sorted(path.iterdir()) if file.is_file() and kind.is_input(file)]
        if not found:
            failures.append(f"{path}: no {kind.inputs} in this folder")
        yield from found


def run_jobs(
    jobs: list[Job], failures: list[str], work: Callable[[Job], str], threads: int, label: str
) -> None:
    """Do all jobs, several at a time; then name the failures on stderr and, if there are any, exit with code 1.

    Args:
        jobs: what to do, with a progress bar when it is more than one.
        failures: those known before.
        work: does one job; returns the line to print when it is the only one.
        threads: that each job uses already.
        label: of the progress bar.
    """

    done: list[str] = []

    def attempt(job: Job) -> tuple[list[str], str]:
        try:
            return done, work(job)
        except EdgepressError as error:
            return failures, _one_line(job.source, str(error))
        except OSError as error:
            return failures, _one_line(error.filename or job.source, error.strerror or str(error))

    results = ordered_map(attempt, jobs, max(1, min(len(jobs), usable_cores() // threads)))
    shown = len(jobs) > 1 and sys.stderr.isatty()
    with (
        click.progressbar(results, len(jobs), label, file=sys.stderr)
        if shown
        else nullcontext(results) as steps
    ):
        for destination, line in steps:
            destination.append(line)
    if len(jobs) > 1:
        click.echo(f"{len(done)} of {len(jobs)} files written to {jobs[0].target.parent}")
    elif done:
        click.echo(done[0])
    for failure in failures:
        click.echo(f"edgepress: {failure}", err=True)
    if failures:
        raise SystemExit(1)


def _one_line(where: object, what: str) -> str:
    what = " ".join(what.split())
    return what if what.startswith(f"{where}: ") else f"{where}: {what}"


def read_image(path: Path, max_pixels: int) -> Image.Image:
    """The image in a file, loaded and turned upright as its EXIF orientation says.

    Raises:
        UnsupportedImageError: Pillow does not know the format, or the file is damaged or beyond `max_pixels`.
        OSError: the file cannot be read.
    """
    try:
        with Image.open(path) as image:
            check_size(*image.size, max_pixels)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return image
    except Image.UnidentifiedImageError:
        raise UnsupportedImageError("not an image that Pillow can read") from None
    except UnsupportedImageError:
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnsupportedImageError(f"the image cannot be read: {error}") from None
    # Pillow's readers meet damage with these, too.
    except (
        Image.DecompressionBombError,
        SyntaxError,
        ValueError,
        EOFError,
        LookupError,
        struct.error,
    ) as error:
        raise UnsupportedImageError(f"the image cannot be read: {error}") from None


def image_bytes(image: Image.Image, path: Path) -> bytes:
    """The image in the format of the path's suffix; made in memory, so that a failure leaves no file."""
    buffer = io.BytesIO()
    image.save(buffer, _format(path))
    return buffer.getvalue()


def is_readable_image(path: Path) -> bool:
    """Whether the file's name has the suffix of a format that Pillow reads."""
    return _format(path) in Image.OPEN


def is_writable_image(path: Path) -> bool:
    """Whether the file's name has the suffix of a format that Pillow writes."""
    return _format(path) in Image.SAVE


def _format(path: Path) -> str | None:
    suffix = path.suffix.lower()
    Image.preinit()  # the common formats; all the others take 50 ms to import
    return Image.EXTENSION.get(suffix) or Image.registered_extensions().get(suffix)


def choose_quietly() -> None:
    """Choose the interpreter with stderr turned away, on which LiteRT announces its delegate.

    Raises:
        EdgepressError: no interpreter works here.
    """
    sys.stderr.flush()
    with Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            choose_interpreter()
        finally:
            os.dup2(kept, 2)
            os.close(kept)
