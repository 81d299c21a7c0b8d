"""What the command `bench` shows while it works and writes when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgepress.runtime.files import atomic_write

from .htmlreport import html_report
from .pictures import make_pictures
from .plots import plot_curves
from .pointstore import PointStore
from .report import to_csv, to_dict, to_json
from .run import Result, Stage
from .saved import saved_of
from .workers import Workers


def page_of(
    result: Result, count: int, workers: int, stage: Stage, study: Mapping[str, Any] | None = None
) -> bytes:
    """The HTML page, with pictures of `count` images; study: see `html_report`."""
    contenders = [(curve.codec, [point.quality for point in curve.points]) for curve in result.curves]
    with Workers(workers) as pool:
        pictures = make_pictures(contenders, result.images, count, pool, stage("pictures", None))
    return html_report(saved_of(to_dict(result)), pictures, study)


@contextmanager
def kept(points_file: Path | None, json_file: Path | None) -> Iterator[PointStore | None]:
    """The store of this run's measurements; one that nobody asked for goes when the run has come to its end."""
    beside = None
    if json_file and (json_file.is_file() or not json_file.exists()):  # /dev/stdout has no place beside it
        beside = json_file.with_name(json_file.name + ".partial")
    path = points_file or beside
    if path is None:
        yield None
        return
    store = PointStore(path)
    finished = False
    try:
        yield store
        finished = True
    finally:
        store.close(delete=finished and points_file is None)


def write_files(
    result: Result, json_file: Path | None, csv_file: Path | None, plot_file: Path | None
) -> None:
    """Whichever of the files are asked for, each complete or not there."""
    if json_file:
        atomic_write(json_file, to_json(result))
    if csv_file:
        atomic_write(csv_file, to_csv(result))
    if plot_file:
        atomic_write(plot_file, plot_curves(result.curves, len(result.images)))


def progress_bars(console: Console) -> Progress:
    """Bars that vanish when the work is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def stage_on(progress: Progress) -> Stage:
    """A bar for every stage of a benchmark."""

    def begin(name: str, steps: int | None) -> Callable[[int], None]:
        task = progress.add_task(name, total=steps)
        return lambda count: progress.advance(task, count)

    return begin
