"""`edgepress bench`: codecs against each other on the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from rich.console import Console

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write
from edgepress.runtime.parallel import usable_cores

from .codecs import ANCHOR, Missing, default_specs, describe_codecs, make_codecs
from .comparecli import compare_command
from .contender import ReferenceCodec
from .costtable import cost_table
from .device import Device, Job, run_on_all
from .loadimages import load_images
from .outputs import kept, page_of, progress_bars, stage_on, write_files
from .perceptual import check_flip, flip_of_points
from .published import SIDE
from .report import to_dict
from .run import run_bench
from .study import QUALITIES, with_study
from .studycli import StudyOptions, study_options
from .studypage import study_section
from .studytables import print_study
from .table import print_result
from .tiles import cut
from .workers import Workers

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


@click.group(invoke_without_command=True)
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
@click.option("--no-time", is_flag=True, help="Measure neither times nor memory.")
@click.option(
    "--workers", type=click.IntRange(1), help="Processes for everything but timing; default: one per core."
)
@click.option("--json", "json_file", type=_File, metavar="F", help="Write everything as JSON.")
@click.option(
    "--csv", "csv_file", type=_File, metavar="F", help="Write one line per contender, quality and image."
)
@click.option(
    "--points",
    "points_file",
    type=_File,
    metavar="F",
    help="Keep every measured rate and quality in F and take those that are there already. Default with --json: a file "
    "beside it, so that an interrupted run goes on when it is started again; removed in the end.",
)
@click.option(
    "--device",
    "devices",
    multiple=True,
    metavar="ssh://USER@HOST[:PORT][/PYTHON]",
    help="Measure on that machine, too, over OpenSSH; repeat for more. Its Python needs numpy, pillow, click and a "
    "TFLite interpreter.",
)
@click.option("--plot", "plot_file", type=_File, metavar="F.png", help="Draw the rate-distortion curves.")
@click.option(
    "--anchor", default=ANCHOR, show_default=True, metavar="SPEC", help="What all others are compared with."
)
@click.option(
    "--report",
    "report_file",
    type=_File,
    metavar="F.html",
    help="Write everything as one self-contained page.",
)
@click.option(
    "--report-images",
    type=click.IntRange(0),
    default=3,
    show_default=True,
    help="How many images the page's viewer shows. Its pictures take 24 MB at the most: fewer images, more qualities.",
)
@click.option(
    "--flip", is_flag=True, help="Also measure FLIP, how visible errors are; needs edgepress[perceptual]."
)
@study_options
@click.pass_context
def bench(
    ctx: click.Context,
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
    points_file: Path | None,
    devices: tuple[str, ...],
    plot_file: Path | None,
    anchor: str,
    report_file: Path | None,
    report_images: int,
    flip: bool,
    **study_settings: Any,
) -> None:
    """Measure size, quality and speed of codecs, against JPEG.

    The anchor of all comparisons is Pillow's JPEG, optimized, 4:2:0, or what --anchor says; it takes part even when it
    is not asked for.
    """
    if ctx.invoked_subcommand:
        given = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if given:
            raise click.UsageError(
                f"`edgepress bench {ctx.invoked_subcommand}` takes its own options, after its name"
            )
        return
    redone = StudyOptions(**study_settings)
    redone.check(anchor)
    outputs = [path for path in (json_file, csv_file, plot_file, report_file) if path]
    machines = [Device.parse(text) for text in devices]
    for path in [*outputs, *([points_file] if points_file else [])]:
        if not path.parent.is_dir():
            raise EdgepressError(f"{path}: the folder {path.parent} does not exist")
    if flip:
        check_flip()
    console, errors = Console(), Console(stderr=True)
    if redone.study:
        wanted, lacking = redone.contenders(specs, errors)
        qualities = qualities or list(QUALITIES)
    else:
        wanted, lacking = list(specs) or default_specs(), []
    codecs, missing = make_codecs([anchor, *wanted])
    missing += lacking
    _check_anchor(anchor, codecs, missing)
    if not specs and len(codecs) == 1:
        errors.print("no codec package is installed: measuring JPEG alone", style="yellow")

    def skipped(line: str) -> None:
        errors.print(f"skipped: {line}", style="yellow", soft_wrap=True)

    pictures = load_images(images, None if redone.study else limit, skipped)
    if redone.study:
        pictures = cut(pictures, SIDE, limit, skipped)
    for machine in machines:
        machine.check()  # now, rather than after all has been measured here
    with progress_bars(errors) as progress, kept(points_file, json_file) as store:
        result = run_bench(
            codecs,
            pictures,
            qualities,
            repeats=0 if no_time else repeats,
            time_images=time_images,
            workers=workers or usable_cores(),
            missing=missing,
            stage=stage_on(progress),
            store=store,
        )
        if flip:
            steps = sum(len(curve.points) for curve in result.curves) * len(pictures)
            with Workers(workers or usable_cores()) as pool:
                count = stage_on(progress)("FLIP", steps)
                result = replace(result, flip=flip_of_points(result.curves, pictures, pool, count))
        if machines:
            # Already now: nothing of it may be lost while devices take their time.
            write_files(result, json_file, csv_file, plot_file)
            job = Job(codecs, pictures, qualities, 0 if no_time else repeats, time_images, workers)
            result = replace(result, devices=run_on_all(machines, job, stage_on(progress)))
        study = section = None
        if redone.study:
            pool = Workers(workers or usable_cores(), store)
            study = redone.redo(result, pool, stage_on(progress), skipped)
            result = with_study(result, study)
            section = study_section(study, redone.draw(result, study))
    print_result(result, console)
    if result.times:
        console.print(cost_table("Cost here (ms, MB, kB)", to_dict(result)))
    failed = {name: found["error"] for name, found in result.devices.items() if "error" in found}
    for name, found in result.devices.items():
        if name not in failed:
            console.print(cost_table(f"Cost on {name}, {found['environment']['cpu']} (ms, MB, kB)", found))
    if study:
        print_study(study, console)
    write_files(result, json_file, csv_file, plot_file)
    if report_file:
        with progress_bars(errors) as progress:
            page = page_of(result, report_images, workers or usable_cores(), stage_on(progress), section)
        atomic_write(report_file, page)
    for path in outputs:
        errors.print(f"wrote {path}")
    if failed:
        raise EdgepressError(f"not measured everywhere: {'; '.join(failed.values())}")


def _check_anchor(anchor: str, codecs: list[ReferenceCodec], missing: list[Missing]) -> None:
    """The first contender is the anchor of a run, and must be what was asked for."""
    lacking = [m.reason for m in missing if m.spec == anchor]
    if lacking:
        raise EdgepressError(f"the anchor is missing: {lacking[0]}")
    if len(codecs[0].qualities) == 1:
        raise EdgepressError(
            f"{anchor} has no quality to set, and cannot be the anchor; take jpeg or webp, for example"
        )


bench.add_command(compare_command)
