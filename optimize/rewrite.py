"""Exact rewrites of layers that are slow on the device, or that XNNPACK does not run in int8; verified against the original.

Rules (see `scene`) are applied in passes, each over the whole model, since some make what others take up: first layers
become plainer ones, then factors and activations go into convolutions, then what enlarges maps becomes convolutions of the
small map.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import UnsupportedModelError
from .graph import natural_side
from .rewrite_activations import alone, capped, fuse, prelu
from .rewrite_affine import affine, affine_before
from .rewrite_growing import bilinear, nearest, transposed, upsampled
from .rewrite_windows import average_pooling, grouped, padding, separable
from .same import TOLERANCE, difference
from .scene import Rewrite, Rule, Scene

PASSES: tuple[tuple[Rule, ...], ...] = (
    (padding,),
    (separable, grouped, average_pooling, capped),
    (affine, fuse),
    (affine_before,),
    (transposed, upsampled, nearest, bilinear, prelu, alone),
)


@dataclass(frozen=True)
class Rewritten:
    """A rewritten model and how far its output is from the original's at most (model output units)."""

    model: Any
    rewrites: tuple[Rewrite, ...]
    max_difference: float


def rewrite(
    model: Any, images: Sequence[np.ndarray] = (), keep: Collection[str] = (), joined: bool = False
) -> Rewritten:
    """Rewrite a flat model, keeping layer names (the last layer of a rewritten part takes the original name).

    Args:
        model: flat functional Keras 3 model (load.normalize).
        images: float32 (H, W, 3) in [0, 1]; after every pass the models are compared on them and on noise.
        keep: names of layers whose output must stay a tensor of its own: the latent's.
        joined: never give the phases of a convolution that makes a larger map convolutions of their own (see `phases`): what
            is faster once channels have gone, and zeros that fine-tuning may use.

    Raises: UnsupportedModelError for settings that have no exact form here, or when outputs differ by more than 1e-5
        (relative to the largest output where that exceeds 1).
    """
    current = model
    done: list[Rewrite] = []
    worst = 0.0
    for rules in PASSES:
        scene = Scene(current, keep, joined)
        current = scene.rebuild(rules)
        if scene.done:
            worst = max(worst, verify(model, current, images, scene.done))
        done += scene.done
    return Rewritten(current, tuple(done), worst)


def verify(
    model: Any, rewritten: Any, images: Sequence[np.ndarray] = (), done: Sequence[Rewrite] = ()
) -> float:
    """The largest difference of two models' outputs on noise, on extreme inputs and on images.

    Raises: UnsupportedModelError when it exceeds 1e-5 of the larger of 1 and the largest output; it names `done`.
    """
    channels = model.inputs[0].shape[-1]
    unit = natural_side(model) or 64
    rng = np.random.default_rng(0)
    probes = [
        rng.random((2, unit, 2 * unit, channels), "float32"),
        rng.standard_normal((1, unit, unit, channels), "float32"),
    ]
    probes += [
        image[None, : image.shape[0] // unit * unit, : image.shape[1] // unit * unit] for image in images[:4]
    ]
    # An image may be smaller than the model's own size.
    worst = difference(model, rewritten, [probe for probe in probes if probe.size])
    if not worst <= TOLERANCE:
        what = "; ".join(f"{r.layer}: {r.what}" for r in done) or "unknown"
        raise UnsupportedModelError(
            f"the rewritten model differs from the original by {worst:.1e}; please report this (rewritten: {what})"
        )
    return worst
