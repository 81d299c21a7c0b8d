"""The commands info and models."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .codec import default_name
from .describe import as_text, describe_file, describe_input, describe_package
from .package import shipped
from .stdio import STDIO, standard_input


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(file: Path, as_json: bool) -> None:
    """Describe an .epm package or an .epx file (or - for standard input)."""
    description = describe_input(standard_input()) if file == STDIO else describe_file(file)
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
