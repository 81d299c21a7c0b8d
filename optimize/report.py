"""A run of the optimizer on the terminal and as JSON."""

from __future__ import annotations

import json
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from edgepress.bench.environment import environment

from .measure import Stage
from .pipeline import Outcome


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Choices, the table of stages, and what the package does at other qualities."""
    latent = outcome.halves["float"].latent
    console.print(f"latent: {latent.layer}, {latent.why}", highlight=False)
    for rewrite in outcome.rewritten.rewrites:
        console.print(f"rewritten: {rewrite.layer}: {rewrite.what}", highlight=False)
    console.print(
        f"largest difference of the rewritten model: {outcome.rewritten.max_difference:.1e}", highlight=False
    )
    left = {
        stage: ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none"
        for stage, counts in outcome.undelegated.items()
    }
    console.print(
        f"int8 operations that XNNPACK does not run: {left['before']} before the rewrites, {left['after']} after",
        highlight=False,
    )
    console.print(stage_table("Stage by stage", outcome.stages))
    console.print(stage_table("The package by quality", outcome.qualities))
    for note in NOTES:
        console.print(note, style="dim", highlight=False)


NOTES = (
    "kB, gzip: both TFLite models as they are and with gzip -9, or the package file; MAC/px: multiply-adds of both per "
    "image pixel; undel: operations that XNNPACK does not run",
    "ms: both networks on one 128x128 image, one thread, median of interleaved repetitions; packages: encode + decode",
    "PSNR, SSIM: means over held-out images. bpp: whole files for packages (stage `package`: quality 100); before, the "
    "code length of the latents at the finest step under the package's tables",
)


def stage_table(title: str, stages: list[Stage]) -> Table:
    """Stages as rows; a dash where a figure has no meaning."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    table.add_column("stage", no_wrap=True)
    for heading in ("kB", "gzip", "params", "nonzero", "MAC/px", "ms", "undel", "PSNR", "SSIM", "bpp"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage in stages:
        table.add_row(
            stage.name,
            f"{stage.raw_bytes / 1000:.1f}",
            f"{stage.gzip_bytes / 1000:.1f}",
            _number(stage.parameters, ",d"),
            _number(stage.nonzero, ",d"),
            _number(stage.macs_per_pixel, ",.0f"),
            _number(stage.latency_ms, ".2f"),
            _number(stage.undelegated, "d"),
            _number(stage.psnr, ".2f"),
            _number(stage.ssim, ".4f"),
            _number(stage.bpp, ".3f"),
        )
    return table


def to_json(outcome: Outcome) -> bytes:
    """The outcome and the environment, for `--json`."""
    document: dict[str, Any] = {"environment": environment(), **outcome.as_dict()}
    return (json.dumps(document, indent=1) + "\n").encode()


def _number(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)
