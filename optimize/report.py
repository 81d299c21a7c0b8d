"""A run of the optimizer on the terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from edgepress.bench.environment import environment
from edgepress.bench.report import finite

from .autosearch import Found
from .budget import UNITS
from .convert import COMPARED, MODES
from .measure import Stage
from .pipeline import Outcome

WORST = 3  # layers that are named
TUNED = {
    "rd": "both networks, trained on for rate and distortion",
    "decoder": "decoder, trained behind the quantizer",
}


def print_outcome(outcome: Outcome, console: Console) -> None:
    """Choices, the table of stages, and what the package does at other qualities."""
    for note in outcome.facts["float"]["notes"]:
        console.print(note, highlight=False)
    console.print(f"latent: {outcome.latent['layer']}, {outcome.latent['why']}", highlight=False)
    rewritten = outcome.facts["rewritten"]
    for rewrite in rewritten["rewrites"]:
        console.print(f"rewritten: {rewrite['layer']}: {rewrite['what']}", highlight=False)
    console.print(
        f"largest difference of the rewritten model: {rewritten['max_difference']:.1e}", highlight=False
    )
    left = {
        stage: ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())) or "none"
        for stage, counts in outcome.facts["int8"]["undelegated"].items()
    }
    console.print(
        f"int8 operations that XNNPACK does not run: {left['before']} before the rewrites, {left['after']} after",
        highlight=False,
    )
    for line in (*_channels(outcome.facts), *_int8(outcome)):
        console.print(line, highlight=False)
    if outcome.found:
        for reason in outcome.found.impossible:
            console.print(f"not to be had: {reason}", highlight=False)
        console.print(search_table(outcome.found))
        console.print(verdict(outcome.found), style="bold", highlight=False)
    console.print(stage_table("Stage by stage", outcome.stages))
    console.print(stage_table("The package by quality", outcome.qualities))
    for note in NOTES:
        console.print(note, style="dim", highlight=False)


def _channels(facts: dict[str, Any]) -> Iterator[str]:
    """What became of channels, and remarks on it."""
    if dead := facts.get("dead"):
        where = ", ".join(f"{layer} {n}" for layer, n in dead["where"].items()) or "none"
        yield f"channels never active, removed: {where}"
    if cut := facts.get("channels"):
        widths = ", ".join(f"{layer} {old} -> {new}" for layer, (old, new) in cut["channels"].items())
        yield f"multiply-adds per pixel: {cut['macs_before']:,.0f} -> {cut['macs_after']:,.0f}; channels: {widths}"
        yield from cut["notes"]


def _int8(outcome: Outcome) -> Iterator[str]:
    """Layers that lose most by int8 and those that did not become int8, and what there is to know of modes that were only
    compared."""
    layers = [layer for layer in outcome.details.layers if layer.own is not None] if outcome.details else []
    if layers:
        worst = sorted(layers, key=lambda layer: layer.own or 0.0)[:WORST]
        named = ", ".join(f"{layer.name} {layer.own:.1f}" for layer in worst)
        yield f"layers that add most noise in int8, by own signal-to-noise ratio in dB: {named}"
    if kept := outcome.facts["int8"].get("float_layers"):
        yield f"left in float, since they add most noise: {', '.join(kept)}"
    for part, what in TUNED.items():
        if tuned := outcome.facts.get(part):
            yield f"{what}: loss {tuned['loss_before']:.4g} -> {tuned['loss_after']:.4g}"
    yield from (f"{stage.name}: {MODES[stage.name]}" for stage in outcome.stages if stage.name in COMPARED)


def search_table(found: Found) -> Table:
    """What a budget search evaluated, in that order."""
    unit = UNITS[found.budget.metric].strip()
    title = (
        f"Evaluated for a budget of {found.budget}; losses in {unit}, {found.left_out} candidates left out"
    )
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 0), pad_edge=False)
    for heading in ("MACs", "mode"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ms", "kB", "PSNR", "float", "choosing", "at most", "verifying"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    names = {id(point): [name] for name, point in (("chosen", found.chosen),)}
    for name, point in found.picks.items():
        names.setdefault(id(point), []).append(name)
    for point in found.points:
        losses = (point.float_loss, point.choosing, point.loss, point.verifying)
        table.add_row(
            f"{point.candidate.keep_macs:.0%}",
            point.candidate.mode,
            f"{point.latency_ms:.2f}",
            f"{point.bytes / 1000:.1f}",
            f"{point.quality:.2f}",
            *(f"{loss:.3g}" for loss in losses),
            ", ".join([*names.get(id(point), []), *([] if point.inside else ["outside"])]),
        )
    return table


def verdict(found: Found) -> str:
    """One sentence on what the search chose."""
    point = found.chosen
    return (
        f"chosen: {point.candidate}, which loses {point.choosing:.3g} (at most {point.loss:.3g}, "
        f"{found.budget.confidence:.0%} sure) on the images that chose it and {point.verifying:.3g} on the others"
    )


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
    return (json.dumps(_finite(document), indent=1, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for, as the loss of a curve that meets the other nowhere."""
    if isinstance(value, dict):
        return {key: _finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    return finite(value) if isinstance(value, float) else value


def _number(value: float | int | None, form: str) -> str:
    return "-" if value is None else format(value, form)
