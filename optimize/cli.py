"""`edgepress optimize`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edgepress.bench.loadimages import BenchImage, load_images, pick_evenly
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write

from .budget import parse_budget
from .cache import Cache
from .page import html_page
from .pipeline import optimize as run
from .recipe import CRITERIA, MODES, RANGES, Recipe, load_recipe, recipe_text, shipped_recipes
from .report import print_outcome, to_json
from .source import Source, file_source

# TensorFlow takes seconds to import, so it has to wait until there is work; but a missing one is said at once.
for _module in ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"):
    if importlib.util.find_spec(_module) is None:
        raise ModuleNotFoundError(f"No module named {_module!r}", name=_module)

CACHE = ".edgepress-cache"  # beside the output

_path = click.Path(path_type=Path)


@click.command()
@click.argument("model", type=_path, required=False)
@click.option("--data", type=_path, help="Folder of images like those to be coded.")
@click.option(
    "--val", "validation", type=_path, help="Folder of images to measure on; default: some of --data."
)
@click.option("-o", "--output", type=_path, help="The .epm package to write.")
@click.option("--recipe", "recipe_file", help=f"TOML file, or a shipped one: {', '.join(shipped_recipes())}.")
@click.option("--dump-recipe", is_flag=True, help="Print the recipe with all that is given here, and exit.")
@click.option("--max-drop", help="Find the fastest package that loses at most so much against the float model: "
              "dB of PSNR (0.2), or ssim=0.005, or bd-rate=2 (percent).")  # fmt: skip
@click.option("--json", "json_file", type=_path, help="Write all figures to this file.")
@click.option("--report", "report_file", type=_path, help="Write a self-contained HTML page to this file.")
@click.option(
    "--cache",
    "cache_folder",
    type=_path,
    help=f"Folder of finished stages; default: {CACHE} beside the output.",
)
@click.option("--no-cache", is_flag=True, help="Neither read nor keep finished stages.")
@click.option("--name", help="Name of the package; default: the output's name without suffix.")
@click.option("--latent", help="Layer whose output is coded; default: the narrowest tensor.")
@click.option(
    "--latent-unit",
    type=float,
    help="Unit of the recipe's latent steps; default: the int8 step of the widest channel.",
)
@click.option("--encoder", type=_path, help="Encoder file, in place of MODEL; with --decoder.")
@click.option("--decoder", type=_path, help="Decoder file.")
@click.option(
    "--input-range",
    type=click.Choice(RANGES),
    help="What the model takes for black and white; default: found out.",
)
@click.option("--dead/--no-dead", default=None, help="Remove channels that are never active.")
@click.option("--keep-macs", type=float, help="Share of the multiply-adds to keep, 0.05..1; 1: all channels.")
@click.option("--criterion", type=click.Choice(CRITERIA), help="Importance of a channel.")
@click.option("--distill-steps", type=int, help="Fine-tuning steps after channels are removed.")
@click.option("--mode", type=click.Choice(MODES), help="How to quantize.")
@click.option("--qat-steps", type=int, help="Training steps of --mode qat.")
@click.option("--sparsity", type=float, help="Share of the weights to set to zero, 0..0.95.")
@click.option("--steps", type=int, help="Fine-tuning steps while pruning weights; 0: do not prune them.")
@click.option("--seed", type=int, help="Of the crops in fine-tuning.")
@click.option(
    "--compare", is_flag=True, default=None, help="Also measure float16, dynamic-range and int16x8."
)
def optimize(
    model: Path | None,
    data: Path | None,
    validation: Path | None,
    output: Path | None,
    recipe_file: str | None,
    dump_recipe: bool,
    max_drop: str | None,
    json_file: Path | None,
    report_file: Path | None,
    cache_folder: Path | None,
    no_cache: bool,
    name: str | None,
    encoder: Path | None,
    decoder: Path | None,
    **flags: Any,
) -> None:
    """Turn a trained Keras autoencoder into a codec package.

    MODEL is a .keras or .h5 file of any Keras, or a SavedModel folder of Keras 2. Finds the latent and splits there,
    rewrites exactly what is slow on the device, removes channels and weights as far as asked for, with fine-tuning,
    converts to int8 TFLite, fits the entropy tables, and measures every stage on images held out of the data. Finished
    stages are kept: the same command again goes on where it was stopped.
    """
    recipe = load_recipe(recipe_file, _overrides(flags, max_drop))
    if dump_recipe:
        click.echo(recipe_text(recipe), nl=False)
        return
    if data is None or output is None:
        raise click.UsageError(f"Missing option '{'--data' if data is None else '-o'}'.")
    start = _source(model, encoder, decoder)
    if output.suffix != ".epm":
        raise EdgepressError(f"{output}: the output must end in .epm")
    # A run may take hours: what cannot be written is said before it.
    for file in (output, json_file, report_file):
        if file and not file.parent.is_dir():
            raise FileNotFoundError(2, "no such folder", str(file.parent))

    def skipped(why: str) -> None:
        click.echo(f"skipped: {why}", err=True)

    images = load_images(data, skipped=skipped)
    training, held_out = divide(
        images, load_images(validation, skipped=skipped) if validation else [], recipe
    )
    console = Console()
    cache = None
    if not no_cache:
        cache = Cache(
            cache_folder or output.parent / CACHE, lambda why: click.echo(f"cache: {why}", err=True)
        )
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # no search for a GPU
    try:
        with progress(console) as begin:
            outcome = run(
                start,
                training,
                held_out,
                output,
                recipe,
                name=name,
                source=start.name,
                begin=begin,
                cache=cache,
                with_layers=json_file is not None,
                with_pictures=report_file is not None,
            )
    except KeyboardInterrupt:
        hint = "" if no_cache else "; the same command goes on from the last finished stage"
        raise click.ClickException(f"stopped{hint}") from None

    print_outcome(outcome, console)
    if cache:
        made, read = len(cache.made), len(cache.reused)
        console.print(f"{made} stages made, {read} read from {cache.folder}", highlight=False)
    console.print(f"{output}: {output.stat().st_size:,} bytes", highlight=False)
    if json_file:
        atomic_write(json_file, to_json(outcome))
    if report_file:
        atomic_write(report_file, html_page(outcome))


def _source(model: Path | None, encoder: Path | None, decoder: Path | None) -> Source:
    """The model file, or the two that stand for it."""
    if encoder and decoder and not model:
        return file_source((encoder, decoder))
    if model and not encoder and not decoder:
        return file_source(model)
    raise EdgepressError("give a MODEL file, or both --encoder and --decoder")


def divide(
    images: list[BenchImage], validation: list[BenchImage], recipe: Recipe
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(training, measuring) pixels: without validation images a quarter at most is held out; one image serves for both."""
    if validation:
        held = pick_evenly(validation, recipe.measure.images)
    else:
        held = pick_evenly(images, min(recipe.measure.images, max(1, len(images) // 4)))
    rest = [image for image in images if image not in held] or held
    return [i.pixels() for i in pick_evenly(rest, recipe.measure.training_images)], [i.pixels() for i in held]


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    """A display of what runs (see `plan.Begin`), gone when done."""
    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def begin(text: str, steps: int | None) -> Callable[[int], None]:
            bar.reset(task, description=text, total=steps)
            return lambda count: bar.advance(task, count)

        yield begin


# Flags that stand for keys of the recipe: (part, key).
_KEYS = {
    "latent": ("model", "latent"),
    "input_range": ("model", "input_range"),
    "dead": ("channels", "dead"),
    "keep_macs": ("channels", "keep_macs"),
    "criterion": ("channels", "criterion"),
    "distill_steps": ("channels", "steps"),
    "mode": ("quantize", "mode"),
    "qat_steps": ("quantize", "qat_steps"),
    "latent_unit": ("quantize", "latent_unit"),
    "sparsity": ("prune", "sparsity"),
    "steps": ("prune", "steps"),
    "compare": ("measure", "compare"),
}


def _overrides(flags: dict[str, Any], max_drop: str | None) -> dict[str, dict[str, Any]]:
    """What the flags that were given change in the recipe, {part: {key: value}}."""
    changed: dict[str, dict[str, Any]] = {}
    for flag, value in flags.items():
        if value is None:
            continue
        places = [(part, "seed") for part in ("channels", "prune")] if flag == "seed" else [_KEYS[flag]]
        for part, key in places:
            changed.setdefault(part, {})[key] = value
    if max_drop is not None:
        metric, amount = parse_budget(max_drop)
        changed["search"] = {"metric": metric, "max_drop": amount}
    return changed
