"""The commands encode and decode."""

from __future__ import annotations

import warnings
from pathlib import Path

import click
from PIL import Image

from .cliio import Done, Job, Kind, choose_quietly, plan_jobs, run_jobs
from .codec import Codec, codec_for
from .errors import EdgepressError
from .imagefiles import (
    carried,
    format_of,
    is_readable_image,
    is_srgb,
    is_writable_image,
    read_image,
    write_image,
)
from .modes import Background
from .stdio import STDIO, label, standard_input, write_output
from .stream import parse_header, read_open, read_stream

_PATH = click.Path(path_type=Path, readable=False)  # what cannot be read is named among the failures
_THREADS = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads for each image's network.",
)


_TO_EPX = Kind("images", is_readable_image, lambda path: path.suffix.lower() == ".epx", ".epx")


def _colour(_: click.Context, __: click.Parameter, value: str | None) -> Background | None:
    if value is None:
        return None
    from PIL import ImageColor

    try:
        colour = ImageColor.getrgb(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is no colour; try '#ffffff' or white") from None
    if len(colour) != 3:
        raise click.BadParameter(f"{value!r} is transparent itself")
    return colour


def _image_suffix(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    if value is None:
        return None
    suffix = "." + value.lower().removeprefix(".")
    if format_of(suffix) not in Image.SAVE:
        raise click.BadParameter(f"{value!r} is no format that can be written; try png, jpg, webp or ppm")
    return suffix


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_PATH)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    type=_PATH,
    help="An .epx file, a folder for many, or - for standard output.",
)
@click.option("-q", "--quality", type=click.IntRange(1, 100), default=75, show_default=True)
@click.option("-m", "--model", help="The name of an installed package, or the path of an .epm file.")
@click.option(
    "--background",
    metavar="COLOUR",
    callback=_colour,
    help="What to put behind transparent pixels, as '#ffffff' or white.",
)
@click.option(
    "--metadata/--no-metadata",
    default=False,
    show_default=True,
    help="Keep EXIF and colour profile; they may well be larger than the picture, and tell where it was taken.",
)
@_THREADS
def encode(
    inputs: tuple[Path, ...],
    output: Path,
    quality: int,
    model: str | None,
    background: Background | None,
    metadata: bool,
    threads: int,
) -> None:
    """Compress images (files, folders of them, or - for standard input) into .epx files.

    EXIF orientation is applied. Of an animation the first image is taken.
    """
    jobs, failures = plan_jobs(inputs, output, _TO_EPX)
    choose_quietly()
    codec = Codec.load(model, threads)
    # Pillow warns of large images and odd EXIF; what matters here is said in lines of our own.
    warnings.filterwarnings("ignore", module=r"PIL\.")

    def work(job: Job) -> Done:
        source = standard_input() if job.source == STDIO else job.source
        image, notes = read_image(source, codec.max_pixels)
        found = carried(image)
        if not metadata and not is_srgb(found.get("icc_profile", b"sRGB")):
            notes.append("its colour profile is left out, which changes its colours; --metadata keeps it")
        kept = found if metadata else {}
        data = codec.encode(image, quality, background=background, consume=True, **kept)
        write_output(job.target, data)
        bpp = len(data) * 8 / (image.width * image.height)
        return Done(f"{label(job.target, 'output')}: {len(data)} bytes, {bpp:.3f} bits per pixel", notes)

    run_jobs(jobs, failures, work, threads, "encoding")


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_PATH)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    type=_PATH,
    help="An image file, a folder for many, or - for standard output.",
)
@click.option("-m", "--model", help="The package that made the files, when it is not an installed one.")
@click.option(
    "--format",
    "suffix",
    metavar="FORMAT",
    callback=_image_suffix,
    help="Of images in a folder or on standard output: png (the default), jpg, webp, ...",
)
@click.option(
    "--metadata/--no-metadata",
    default=True,
    show_default=True,
    help="Keep the EXIF and colour profile that the files carry.",
)
@_THREADS
def decode(
    inputs: tuple[Path, ...],
    output: Path,
    model: str | None,
    suffix: str | None,
    metadata: bool,
    threads: int,
) -> None:
    """Turn .epx files (files, folders of them, or - for standard input) back into images."""
    kind = Kind(".epx files", _TO_EPX.is_output, is_writable_image, suffix or ".png")
    jobs, failures = plan_jobs(inputs, output, kind)
    if suffix and output.suffix and [job.target for job in jobs] == [output]:
        raise EdgepressError(f"{output}: this name says the format; --format is for folders and -")
    choose_quietly()
    chosen = Codec.load(model, threads, lazy=True) if model else None

    def work(job: Job) -> Done:
        data = read_open(standard_input()) if job.source == STDIO else read_stream(job.source)
        codec = chosen or codec_for(parse_header(data).model_id, threads)
        image = codec.decode(data)
        kept = carried(image) if metadata else {}
        write_image(job.target, image, job.target.suffix or kind.suffix, kept)
        return Done(f"{label(job.target, 'output')}: {image.width}x{image.height} {image.mode}")

    run_jobs(jobs, failures, work, threads, "decoding")
