"""The commands encode, decode, info and models."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import click
from PIL import Image

from .cliio import (
    Job,
    Kind,
    choose_quietly,
    image_bytes,
    is_readable_image,
    is_writable_image,
    plan_jobs,
    read_image,
    run_jobs,
)
from .codec import Codec, codec_for, default_name
from .describe import as_text, describe_file, describe_package
from .files import atomic_write
from .package import shipped
from .stream import parse_header, read_stream

_PATH = click.Path(path_type=Path)
_THREADS = click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Threads for each image's network.",
)


_TO_EPX = Kind("images", is_readable_image, lambda path: path.suffix.lower() == ".epx", ".epx")
_FROM_EPX = Kind(".epx files", _TO_EPX.is_output, is_writable_image, ".png")


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_PATH)
@click.option(
    "-o", "--output", metavar="OUT", required=True, type=_PATH, help="An .epx file, or a folder for many."
)
@click.option("-q", "--quality", type=click.IntRange(1, 100), default=75, show_default=True)
@click.option("-m", "--model", help="The name of an installed package, or the path of an .epm file.")
@_THREADS
def encode(inputs: tuple[Path, ...], output: Path, quality: int, model: str | None, threads: int) -> None:
    """Compress images (files, or folders of them) into .epx files."""
    jobs, failures = plan_jobs(inputs, output, _TO_EPX)
    choose_quietly()
    codec = Codec.load(model, threads)
    # Pillow warns of large images; the codec's own limit speaks for itself.
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)

    def work(job: Job) -> str:
        image = read_image(job.source, codec.max_pixels)
        data = codec.encode(image, quality)
        atomic_write(job.target, data)
        bpp = len(data) * 8 / (image.width * image.height)
        return f"{job.target}: {len(data)} bytes, {bpp:.3f} bits per pixel"

    run_jobs(jobs, failures, work, threads, "encoding")


@click.command()
@click.argument("inputs", metavar="IN...", nargs=-1, required=True, type=_PATH)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    type=_PATH,
    help="An image file, or a folder for .png files.",
)
@click.option("-m", "--model", help="The package that made the files, when it is not an installed one.")
@_THREADS
def decode(inputs: tuple[Path, ...], output: Path, model: str | None, threads: int) -> None:
    """Turn .epx files (or folders of them) back into images."""
    jobs, failures = plan_jobs(inputs, output, _FROM_EPX)
    choose_quietly()
    chosen = Codec.load(model, threads) if model else None

    def work(job: Job) -> str:
        data = read_stream(job.source)
        codec = chosen or codec_for(parse_header(data).model_id, threads)
        image = codec.decode(data)
        atomic_write(job.target, image_bytes(image, job.target))
        return f"{job.target}: {image.width}x{image.height} {image.mode}"

    run_jobs(jobs, failures, work, threads, "decoding")


@click.command()
@click.argument("file", type=_PATH)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(file: Path, as_json: bool) -> None:
    """Describe an .epm package or an .epx file."""
    description = describe_file(file)
    click.echo(json.dumps(description, indent=2) if as_json else as_text(description))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(as_json: bool) -> None:
    """List the codec packages that are installed."""
    # By the names that -m takes.
    rows = [{**describe_package(path), "name": name} for name, path in shipped().items()]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    if not rows:
        click.echo("no codec packages are installed")
    for row in rows:
        default = " (default)" if row["name"] == default_name() else ""
        click.echo(
            f"{row['name']}{default}: model {row['model_id']}, {row['bytes']} bytes. {row['description']}"
        )
