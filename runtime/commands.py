"""The root command `edgepress`: finds each room's commands without importing the other rooms."""

from __future__ import annotations

import gc
import importlib
import os
import sys

import click

from .errors import EdgepressError

# command: (module, extra that brings its dependencies, one line of help)
COMMANDS = {
    "encode": ("edgepress.runtime.cli", None, "Compress images into .epx files."),
    "decode": ("edgepress.runtime.cli", None, "Turn .epx files back into images."),
    "info": ("edgepress.runtime.infocli", None, "Describe an .epm package or an .epx file."),
    "models": ("edgepress.runtime.infocli", None, "List the codec packages that are installed."),
    "bench": ("edgepress.bench.cli", "bench", "Measure speed, size and quality against JPEG."),
    "train": ("edgepress.train.cli", "train", "Train an autoencoder on a folder of images."),
    "optimize": ("edgepress.optimize.cli", "train", "Turn a Keras autoencoder into a codec package."),
    "demo": ("edgepress.optimize.demo", "train", "The whole way on built-in data."),
}


class LazyGroup(click.Group):
    """A click group that imports a command's module only when that command runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, extra, _ = COMMANDS[name]
        if extra is not None:
            gc.enable()  # which `main` turned off for the short ones
        elif "numpy" not in sys.modules:
            # numpy's linear algebra, which the codec does without, would start threads that wait for work at full speed.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        try:
            return getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            if extra is None or (error.name or "").startswith("edgepress"):
                raise
            raise click.ClickException(
                f"`edgepress {name}` needs {error.name}, which is not installed: pip install 'edgepress[{extra}]'"
            ) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup)
@click.version_option(package_name="edgepress")
def cli() -> None:
    """edgepress: image codecs from Keras autoencoders, for small boards."""


def run() -> None:
    """Run the command line; bad input ends in one line on stderr and exit code 1, never a traceback."""
    try:
        cli(prog_name="edgepress")
    except EdgepressError as error:
        click.echo(f"edgepress: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"edgepress: {where}{error.strerror or error}", err=True)
        sys.exit(1)
