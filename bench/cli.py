"""`edgepress bench`: codecs against each other on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write
from edgepress.runtime.parallel import usable_cores

from .codecs import ANCHOR, default_specs, describe_codecs, make_codecs
from .loadimages import load_images
from .plots import plot_curves
from .report import to_csv, to_json
from .run import Result, run_bench
from .table import print_result

_File = click.Path(dir_okay=False, writable=True, path_type=Path)


def _list_codecs(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(describe_codecs())
        ctx.exit()


def _qualities(_: click.Context, __: click.Parameter, text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 10,50,90") from None


@click.command()
@click.option(
    "--images", type=click.Path(path_type=Path), help="Folder of images; default: built-in photographs."
)
@click.option("--limit", type=click.IntRange(1), help="Use only so many of them, evenly spread.")
@click.option(
    "--codec",
    "specs",
    multiple=True,
    metavar="SPEC",
    help="A contender, name[:param=value,...]; repeat for more. Default: jpeg and the default package. "
    "See --list-codecs.",
)
@click.option(
    "--list-codecs",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_codecs,
    help="Say what SPEC can be.",
)
@click.option(
    "--qualities", callback=_qualities, metavar="Q,Q,...", help="Instead of each contender's own grid."
)
@click.option(
    "--repeats", type=click.IntRange(1), default=5, show_default=True, help="Repetitions of every timing."
)
@click.option(
    "--time-images", type=click.IntRange(1), default=4, show_default=True, help="How many images to time."
)
@click.option("--no-time", is_flag=True, help="Measure no times.")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes for everything but timing; default: one per core."
)
@click.option("--json", "json_file", type=_File, metavar="F", help="Write everything as JSON.")
@click.option(
    "--csv", "csv_file", type=_File, metavar="F", help="Write one line per contender, quality and image."
)
@click.option("--plot", "plot_file", type=_File, metavar="F.png", help="Draw the rate-distortion curves.")
def bench(
    images: Path | None,
    limit: int | None,
    specs: tuple[str, ...],
    qualities: list[int] | None,
    repeats: int,
    time_images: int,
    no_time: bool,
    workers: int | None,
    json_file: Path | None,
    csv_file: Path | None,
    plot_file: Path | None,
) -> None:
    """Measure size, quality and speed of codecs, against JPEG.

    The anchor of all comparisons is Pillow's JPEG, optimized, 4:2:0; it takes part even when it is not asked for.
    """
    outputs = [path for path in (json_file, csv_file, plot_file) if path]
    for path in outputs:
        if not path.parent.is_dir():
            raise EdgepressError(f"{path}: the folder {path.parent} does not exist")
    console, errors = Console(), Console(stderr=True)
    codecs, missing = make_codecs([ANCHOR, *(specs or default_specs())])
    if not specs and len(codecs) == 1:
        errors.print("no codec package is installed: measuring JPEG alone", style="yellow")
    pictures = load_images(images, limit, lambda line: errors.print(f"skipped: {line}", style="yellow"))
    with _progress(errors) as progress:
        result = run_bench(
            codecs,
            pictures,
            qualities,
            repeats=0 if no_time else repeats,
            time_images=time_images,
            workers=workers or usable_cores(),
            missing=missing,
            stage=_stage(progress),
        )
    print_result(result, console)
    _write(result, json_file, csv_file, plot_file)
    for path in outputs:
        errors.print(f"wrote {path}")


def _write(result: Result, json_file: Path | None, csv_file: Path | None, plot_file: Path | None) -> None:
    if json_file:
        atomic_write(json_file, to_json(result))
    if csv_file:
        atomic_write(csv_file, to_csv(result))
    if plot_file:
        atomic_write(plot_file, plot_curves(result.curves, len(result.images)))


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _stage(progress: Progress) -> Callable[[str, int | None], Callable[[int], None]]:
    def begin(name: str, steps: int | None) -> Callable[[int], None]:
        task = progress.add_task(name, total=steps)
        return lambda count: progress.advance(task, count)

    return begin
