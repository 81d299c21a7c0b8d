"""`edgepress bench compare A.json B.json`: what changed beyond the noise, on the terminal."""

from __future__ import annotations

import json
from pathlib import Path

import click
from rich import box
from rich.console import Console
from rich.table import Table

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write

from .compare import Change, Comparison, compare, to_dict
from .saved import read_saved
from .table import add_names

REGRESSED = 3  # the exit code; 1 and 2 are for wrong input

_Input = click.Path(dir_okay=False, path_type=Path)


@click.command(name="compare")
@click.argument("before", type=_Input, metavar="A.json")
@click.argument("after", type=_Input, metavar="B.json")
@click.option(
    "--json", "json_file", type=_Input, metavar="F", help="Write every change as JSON, noise included."
)
@click.option(
    "--fail-on-regression",
    "limit",
    type=click.FloatRange(0),
    metavar="PCT",
    help="End with exit code 3 when a codec of A became worse by more than PCT percent beyond the noise (bytes at equal "
    "quality, time relative to the anchor's, memory), or is gone.",
)
@click.pass_context
def compare_command(
    ctx: click.Context, before: Path, after: Path, json_file: Path | None, limit: float | None
) -> None:
    """Say what changed from A.json to B.json, two files of `edgepress bench --json` of the same images."""
    if json_file and not json_file.parent.is_dir():
        raise EdgepressError(f"{json_file}: the folder {json_file.parent} does not exist")
    found = compare(read_saved(before), read_saved(after))
    print_comparison(found, Console())
    errors = Console(stderr=True)
    if json_file:
        text = json.dumps(to_dict(found), indent=1, ensure_ascii=False, allow_nan=False)
        atomic_write(json_file, f"{text}\n".encode())
        errors.print(f"wrote {json_file}")
    if limit is None:
        return
    reasons = [f"{name} is gone" for name in found.removed]
    reasons += [f"{c.codec}: {c.figure} {c.regression:.1f}% worse" for c in found.regressions(limit)]
    for reason in reasons:
        errors.print(f"regression: {reason}", style="red", highlight=False)
    if reasons:
        ctx.exit(REGRESSED)


def print_comparison(found: Comparison, console: Console) -> None:
    """The changes beyond the noise as a table, and what to know beside it."""
    for note in found.notes:
        console.print(note, highlight=False, style="dim", markup=False)
    for names, what in ((found.removed, "only in A"), (found.added, "only in B")):
        if names:
            console.print(f"{what}: {', '.join(names)}", highlight=False, markup=False)
    changes = found.beyond_noise
    within = len(found.changes) - len(changes)
    if changes:
        console.print(_table(changes))
        console.print(
            f"{within} other figures changed by no more than the noise", highlight=False, style="dim"
        )
    else:
        console.print(f"nothing changed beyond the noise ({within} figures)", highlight=False)


def _table(changes: list[Change]) -> Table:
    table = Table(
        title="Changed beyond the noise", title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    add_names(table)
    table.add_column("figure", no_wrap=True)
    for heading in ("q", "A", "B", "change", "noise"):
        table.add_column(heading, justify="right", no_wrap=True)
    for i, change in enumerate(changes):
        table.add_row(
            change.codec,
            change.figure.upper().replace("_", "-")
            if change.figure in ("psnr", "ssim", "ms_ssim")
            else change.figure,
            "" if change.quality is None else str(change.quality),
            *_values(change),
            style="red" if change.regression else "green" if (change.percent or 0) < 0 else None,
            end_section=i + 1 == len(changes) or changes[i + 1].codec != change.codec,
        )
    return table


def _values(change: Change) -> tuple[str, str, str, str]:
    """Before, after, the change and the noise it is measured against."""
    lack = "exact" if change.figure == "psnr" else "–"
    before, after = (lack if v is None else f"{v:.4g}" for v in (change.before, change.after))
    if change.figure == "bpp" and change.before and change.after:
        return before, after, f"{100 * (change.after / change.before - 1):+.1f}%", f"{change.noise:.1f}%"
    if change.percent is not None:
        return before, after, f"{change.percent:+.1f}%", f"{change.noise:.1f}%"
    if change.before is None or change.after is None:
        return before, after, "", f"{change.noise:g}"
    return before, after, f"{change.after - change.before:+.4f}", f"{change.noise:g}"
