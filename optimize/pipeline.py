"""The whole run: from a trained autoencoder to a package, with a row of figures for every stage."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write
from edgepress.runtime.package import Package, read_package

from .autosearch import Found, search_recipe
from .cache import Cache
from .details import Details, details
from .keys import Images
from .measure import Stage
from .package_step import QUALITIES, package_step, timing_step
from .plan import Begin, Plan, quiet
from .recipe import Recipe
from .source import Source, model_source

RGB = NDArray[np.uint8]


@dataclass(frozen=True)
class Outcome:
    """What a run made and found.

    Attributes:
        package: as written.
        facts: by stage of the models, what its making said: `latent` of float, `rewrites` and `max_difference` of rewritten,
            `sparsity` ... of pruned, and so on; of int8: the latent's scale.
        stages: rows: float, rewritten, the stages that the recipe asks for, int8, package.
        qualities: rows of the package at QUALITIES.
        recipe: what was asked for; after a search, with what it chose.
        found: by the search inside a budget; None when none was asked for.
        details: layers, and the pictures of the HTML page; None unless asked for.
    """

    package: Package
    facts: dict[str, dict[str, Any]]
    stages: list[Stage]
    qualities: list[Stage]
    recipe: Recipe
    found: Found | None = None
    details: Details | None = None

    @property
    def latent(self) -> dict[str, Any]:
        """The tensor that is coded, see `split.Latent`."""
        return self.facts["float"]["latent"]

    def as_dict(self) -> dict[str, Any]:
        """Figures and choices as JSON can hold them."""
        int8 = self.facts["int8"]
        return {
            "package": {
                "path": str(self.package.path),
                "name": self.package.name,
                "model_id": self.package.model_id.hex(),
                "bytes": self.stages[-1].raw_bytes,
            },
            "latent": {**self.latent, **{key: int8[key] for key in ("unit", "scale", "zero_point")}},
            **self.facts["rewritten"],
            "undelegated": int8["undelegated"],
            "float_layers": int8.get("float_layers", []),
            "weight_levels": int8.get("weight_levels", {}),
            "dead": self.facts.get("dead"),
            "channels": self.facts.get("channels"),
            "pruning": self.facts.get("pruned"),
            "qat": self.facts.get("qat"),
            "rd": self.facts.get("rd"),
            "decoder": self.facts.get("decoder"),
            "stages": [asdict(stage) for stage in self.stages],
            "qualities": [asdict(stage) for stage in self.qualities],
            "layers": self.details and [asdict(layer) for layer in self.details.layers],
            "search": self.found and self.found.as_dict(),
            "recipe": self.recipe.as_dict(),
        }


def optimize(
    model: Any,
    training: Sequence[RGB],
    held_out: Sequence[RGB],
    output: str | Path,
    recipe: Recipe | None = None,
    *,
    name: str | None = None,
    source: str = "",
    begin: Begin = quiet,
    cache: Cache | None = None,
    with_layers: bool = False,
    with_pictures: bool = False,
) -> Outcome:
    """Turn a trained autoencoder into a codec package.

    Args:
        model: Keras 3 autoencoder in the optimizer's form (`load.load_model`, `load.normalize`), or a `Source`.
        training: uint8 (H, W, 3) images for fine-tuning, calibration and entropy tables.
        held_out: uint8 (H, W, 3) images on which stages are measured.
        output: the .epm file.
        recipe: default: all defaults.
        name: of the package; default: the output's stem.
        source: what the model came from, for the package's provenance.
        begin: is told what happens, see `plan.Begin`.
        cache: where finished stages are kept and found; None keeps nothing.
        with_layers, with_pictures: also look at every layer of the package, and at pictures as well.

    Raises: EdgepressError for models, recipes or images that cannot be used; OSError when the output cannot be written.
    """
    recipe = recipe or Recipe()
    output = Path(output)
    if not training or not held_out:
        raise EdgepressError("the optimizer needs images: at least one for training and one to measure on")
    if not output.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(output.parent))
    start = model if isinstance(model, Source) else model_source(model, source)
    with tempfile.TemporaryDirectory(prefix="edgepress-") as folder:
        kept = cache or Cache(Path(folder))
        images, seen = Images(training), Images(held_out)
        found = None
        if recipe.search.max_drop:
            recipe, found = search_recipe(start, images, seen, recipe, kept, begin)
        plan = Plan(start, images, recipe, kept, begin)
        packed = package_step(plan, seen, recipe, name or output.stem, source, kept, begin)
        times = timing_step(plan, packed, seen, recipe, kept, begin)
        rows = [replace(row, latency_ms=ms) for row, ms in zip(packed.get().rows, times.get(), strict=True)]
        atomic_write(output, packed.get().content)
        package = read_package(output)
        shown = None
        if with_layers or with_pictures:
            shown = details(plan, packed, seen, recipe, kept, begin, with_pictures)
        first = len(rows) - len(QUALITIES)
        return Outcome(package, packed.get().facts, rows[:first], rows[first:], recipe, found, shown)
