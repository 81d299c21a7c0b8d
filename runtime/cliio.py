"""What the encode and decode commands share: which file goes where, and many files with one result each."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import click

from .errors import EdgepressError
from .interpreter import choose_interpreter
from .parallel import ordered_map, usable_cores
from .stdio import STDIO, check_standard_output, label


class Job(NamedTuple):
    """One file to make from another."""

    source: Path
    target: Path


class Done(NamedTuple):
    """One file made: the line to print when it is the only one, and what is worth knowing about it."""

    line: str
    notes: Sequence[str] = ()


class Kind(NamedTuple):
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
        sources: files, `-`, and folders whose fitting files are taken in alphabetical order.
        output: `-`, or a file when it has a suffix and is no folder, or a device or pipe, if there is one input, a file;
            otherwise a folder, which is made when it is missing, for files named as the inputs with the kind's suffix.
        kind: what the command reads and writes.

    Raises:
        EdgepressError: `output` names a file that the command cannot write, or one file for many inputs, or is
            standard output where that is a terminal.
        OSError: a folder cannot be read or made.
    """
    single = len(sources) == 1 and (sources[0] == STDIO or not sources[0].is_dir())
    if output in (STDIO, Path("/dev/stdout")):
        if not single:
            raise EdgepressError("several images need a folder to go to, not standard output")
        check_standard_output()
        return [Job(sources[0], STDIO)], []
    if not output.is_dir() and output.suffix:
        if single and kind.is_output(output):
            return [Job(sources[0], output)], []
        if single:
            raise EdgepressError(
                f"{output}: files of this name cannot be written; try {kind.suffix}, or a folder"
            )
        if kind.is_output(output):
            raise EdgepressError(f"{output}: several images need a folder to go to, not one file")
    elif output.exists() and not output.is_dir():
        if single and not output.is_file():
            return [Job(sources[0], output)], []
        raise EdgepressError(f"{output}: this is neither a folder nor a file name with a suffix")
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
        if path == STDIO:
            failures.append(f"{label(path)}: it has no name for a folder; give -o a file or -")
            continue
        if not path.is_dir():
            yield path
            continue
        found = [file for file in sorted(path.iterdir()) if file.is_file() and kind.is_input(file)]
        if not found:
            failures.append(f"{path}: no {kind.inputs} in this folder")
        yield from found


def run_jobs(
    jobs: list[Job], failures: list[str], work: Callable[[Job], Done], threads: int, title: str
) -> None:
    """Do all jobs, several at a time; then name the failures on stderr and, if there are any, exit with code 1.

    Args:
        jobs: what to do, with a progress bar on stderr when it is more than one.
        failures: those known before.
        work: does one job.
        threads: that each job uses already.
        title: of the progress bar.

    Raises:
        BrokenPipeError: nobody reads standard output any more.
    """

    def attempt(job: Job) -> tuple[Job, Done | str]:
        try:
            return job, work(job)
        except EdgepressError as error:
            return job, _one_line(label(job.source), str(error))
        except BrokenPipeError:
            raise  # click ends the command in silence then, as a pipe's reader that has enough expects
        except OSError as error:
            return job, _one_line(error.filename or label(job.source), error.strerror or str(error))

    if len(jobs) > 1:
        gc.enable()  # which `main` turned off for the short commands
    results = ordered_map(attempt, jobs, max(1, min(len(jobs), usable_cores() // threads)))
    shown = len(jobs) > 1 and sys.stderr.isatty()
    lines: list[str] = []
    notes: dict[str, list[str]] = {}
    with (
        click.progressbar(results, len(jobs), title, file=sys.stderr)
        if shown
        else nullcontext(results) as steps
    ):
        for job, outcome in steps:
            if isinstance(outcome, str):
                failures.append(outcome)
                continue
            lines.append(outcome.line)
            for note in outcome.notes:
                notes.setdefault(note, []).append(label(job.source))
    if len(jobs) > 1:
        click.echo(f"{len(lines)} of {len(jobs)} files written to {jobs[0].target.parent}")
    elif lines:
        click.echo(
            lines[0], err=not jobs[0].target.is_file()
        )  # the picture itself may have gone to standard output
    for note, (first, *others) in notes.items():
        more = f" and {len(others)} more" if others else ""
        click.echo(f"edgepress: note: {first}{more}: {note}", err=True)
    for failure in failures:
        click.echo(f"edgepress: {failure}", err=True)
    if failures:
        raise SystemExit(1)


def _one_line(where: object, what: str) -> str:
    what = " ".join(what.split())
    return what if what.startswith((f"{where}: ", f"{where} ")) else f"{where}: {what}"


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
