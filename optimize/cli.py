"""`edgepress optimize`."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from edgepress.bench.loadimages import BenchImage, load_images, pick_evenly
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write
from edgepress.train.quiet import import_tensorflow_quietly

from .recipe import DEFAULT, Recipe, load_recipe

# TensorFlow takes seconds to import, so it has to wait until there is work; but a missing one is said at once.
for _module in ("tensorflow", "keras", "tf_keras", "tensorflow_model_optimization"):
    if importlib.util.find_spec(_module) is None:
        raise ModuleNotFoundError(f"No module named {_module!r}", name=_module)


def _dump_recipe(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        click.echo(DEFAULT.read_text(encoding="utf-8"), nl=False)
        context.exit()


@click.command()
@click.argument("model", type=click.Path(path_type=Path), required=False)
@click.option("--encoder", type=click.Path(path_type=Path), help="Instead of MODEL: the encoder's file ...")
@click.option("--decoder", type=click.Path(path_type=Path), help="... and the decoder's.")
@click.option(
    "--input-range",
    type=click.Choice(["0..1", "-1..1", "0..255"]),
    help="What the model takes for black and white; default: found out.",
)
@click.option(
    "--data", required=True, type=click.Path(path_type=Path), help="Folder of images like those to be coded."
)
@click.option(
    "--val",
    "validation",
    type=click.Path(path_type=Path),
    help="Folder of images to measure on; default: some of --data.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The .epm package to write."
)
@click.option(
    "--recipe", "recipe_file", type=click.Path(path_type=Path), help="TOML file, see --dump-recipe."
)
@click.option("--dump-recipe", is_flag=True, is_eager=True, expose_value=False, callback=_dump_recipe,
              help="Print the commented default recipe and exit.")  # fmt: skip
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Write all figures to this file.")
@click.option("--name", help="Name of the package; default: the output's name without suffix.")
@click.option("--latent", help="Layer whose output is coded; default: the narrowest tensor.")
@click.option(
    "--latent-unit",
    type=float,
    help="Unit of the recipe's latent steps; default: the int8 step of the widest channel.",
)
@click.option("--sparsity", type=float, help="Share of the weights to set to zero, 0..0.95.")
@click.option("--steps", type=int, help="Fine-tuning steps while pruning; 0: do not prune.")
@click.option("--seed", type=int, help="Of the crops in fine-tuning.")
def optimize(
    model: Path | None,
    encoder: Path | None,
    decoder: Path | None,
    input_range: str | None,
    data: Path,
    validation: Path | None,
    output: Path,
    recipe_file: Path | None,
    json_file: Path | None,
    name: str | None,
    latent: str | None,
    latent_unit: float | None,
    sparsity: float | None,
    steps: int | None,
    seed: int | None,
) -> None:
    """Turn a trained Keras autoencoder into a codec package.

    MODEL is a .keras or .h5 file of any Keras, or a SavedModel folder of Keras 2. Finds the latent and splits there,
    rewrites exactly what is slow on the device, prunes with fine-tuning, converts to int8 TFLite, fits the entropy
    tables, and measures every stage on images held out of the data.
    """
    flags: dict[str, dict[str, Any]] = {
        "model": {"latent": latent},
        "quantize": {"latent_unit": latent_unit},
        "prune": {"sparsity": sparsity, "steps": steps, "seed": seed},
    }
    given = {part: {k: v for k, v in values.items() if v is not None} for part, values in flags.items()}
    recipe = load_recipe(recipe_file, given)
    if output.suffix != ".epm":
        raise EdgepressError(f"{output}: the output must end in .epm")
    source = model_files(model, encoder, decoder)

    def skipped(why: str) -> None:
        click.echo(f"skipped: {why}", err=True)

    images = load_images(data, skipped=skipped)
    training, held_out = divide(
        images, load_images(validation, skipped=skipped) if validation else [], recipe
    )
    console = Console()
    with progress(console) as begin:
        begin("load the model", None)
        quiet_tensorflow()
        from .load import load
        from .pipeline import optimize as run

        loaded = load(source, training, input_range)
        for note in loaded.notes:
            console.print(note, highlight=False, soft_wrap=True)
        if loaded.latent and not recipe.model.latent:
            recipe = replace(recipe, model=replace(recipe.model, latent=loaded.latent))
        label = " + ".join(path.name for path in (model, encoder, decoder) if path)
        outcome = run(loaded.model, training, held_out, output, recipe, name=name, source=label, begin=begin)
    from .report import print_outcome, to_json

    print_outcome(outcome, console)
    console.print(f"{output}: {output.stat().st_size:,} bytes", highlight=False)
    if json_file:
        atomic_write(json_file, to_json(outcome))


def model_files(model: Path | None, encoder: Path | None, decoder: Path | None) -> Path | tuple[Path, Path]:
    """What `load.load` takes; EdgepressError unless there is either a model or both of its halves."""
    if model and not encoder and not decoder:
        return model
    if encoder and decoder and not model:
        return encoder, decoder
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


def quiet_tensorflow() -> None:
    """Import TensorFlow without its start-up messages and without a search for a GPU."""
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import_tensorflow_quietly()


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str, int | None], Callable[[int], None]]]:
    """A display of what runs (see `pipeline.Begin`), gone when done."""
    columns: list[Any] = [SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def begin(text: str, steps: int | None) -> Callable[[int], None]:
            bar.reset(task, description=text, total=steps)
            return lambda count: bar.advance(task, count)

        yield begin
