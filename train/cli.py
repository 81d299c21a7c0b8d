"""`edgepress train`."""

from __future__ import annotations

from pathlib import Path

import click

from .config import load_config
from .data import DataError
from .quiet import import_tensorflow_quietly


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder of training images.")
@click.option(
    "--val",
    "validation",
    type=click.Path(path_type=Path),
    help="Folder of validation images; default: one in 50 of --data.",
)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The .keras file to write."
)
@click.option("--recipe", help="A TOML recipe, or the name of a shipped one (conv3-start, conv3, photo).")
@click.option("--model", help="conv3, conv5, conv7, conv10 or photo.")
@click.option("--loss", type=click.Choice(["hybrid", "rd"]))
@click.option("-a", type=float, help="Hybrid loss: weight of 1 - SSIM.")
@click.option("-b", type=float, help="Hybrid loss: weight of the perceptual part.")
@click.option("-c", type=float, help="Hybrid loss: weight of the MSE.")
@click.option("--vgg", help="VGG16 weights for the perceptual part: .npz, .h5 or `imagenet`.")
@click.option("--init", help="Start from the weights of this .keras file.")
@click.option("--steps", type=int)
@click.option("--batch", type=int)
@click.option("--crop", type=int, help="Side of the training crops in pixels.")
@click.option("--lr", type=float)
@click.option("--seed", type=int)
@click.option("--patience", type=int, help="Stop after so many epochs without progress (0: never).")
@click.option("--epoch-steps", type=int, help="Steps between validations and checkpoints.")
@click.option(
    "--run", type=click.Path(path_type=Path), help="Folder of checkpoints; default runs/OUTPUT's name."
)
def train(
    data: Path, validation: Path | None, output: Path, recipe: str | None, run: Path | None, **flags
) -> None:
    """Train an autoencoder on a folder of images. The same command again goes on where it was stopped."""
    if output.suffix != ".keras":
        raise click.ClickException(f"{output}: the output must end in .keras")
    try:
        config = load_config(recipe, **flags)
        import_tensorflow_quietly()
        from .loop import train as run_training

        progress = run_training(config, data, output, run or Path("runs") / output.stem, validation)
    except (DataError, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        raise click.ClickException("stopped; the same command goes on from the last checkpoint") from None
    click.echo(f"{output}: best validation score {progress['best']:.5g} after epoch {progress['best_epoch']}")
