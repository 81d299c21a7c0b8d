"""FLIP, a perceptual measure that needs no network: how visible a difference is when two images take turns in one place
(Andersson, Nilsson, Akenine-Moller, Oskarsson, Astrom, Fairchild 2020, for images of 8 bits).

Computed by NVIDIA's own package `flip-evaluator`, the extra `perceptual`; it is compiled for x86-64 alone, and takes longer
than all other measures together, so it is asked for (`edgepress bench --flip`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from statistics import fmean

import numpy as np

from edgepress.runtime.errors import EdgepressError

from .contender import RGB, ReferenceCodec
from .curve import Curve
from .loadimages import BenchImage
from .timing import Key
from .workers import Workers

PIXELS_PER_DEGREE = 67.0  # FLIP's own default: a 0.7 m wide display of 3840 pixels seen from 0.7 m


def check_flip() -> None:
    """Raise EdgepressError when the package is not installed."""
    if find_spec("flip_evaluator") is None:
        raise EdgepressError(
            "--flip needs flip-evaluator, which is not installed (wheels exist for x86-64): "
            "pip install 'edgepress[perceptual]'"
        )


def flip(a: RGB, b: RGB) -> float:
    """The mean FLIP error of two images, 0 (equal) to 1; a, b: uint8 HxWx3 of one shape, a the original."""
    import flip_evaluator

    first, second = (np.asarray(image, np.float32) / 255 for image in (a, b))
    settings = {"ppd": PIXELS_PER_DEGREE}
    return float(flip_evaluator.evaluate(first, second, "LDR", applyMagma=False, parameters=settings)[1])


def flip_of_points(
    curves: Sequence[Curve],
    images: Sequence[BenchImage],
    workers: Workers,
    progress: Callable[[int], None] | None = None,
) -> dict[Key, float]:
    """The mean FLIP error over the images of every point; progress is told 1 for each image and point."""
    tasks = [(c.codec, p.quality, image) for c in curves for p in c.points for image in images]
    found: dict[Key, list[float]] = {}
    for (codec, quality, _), value in zip(tasks, workers.map(_measure, tasks), strict=True):
        found.setdefault((codec.name, quality), []).append(value)
        if progress:
            progress(1)
    return {key: fmean(values) for key, values in found.items()}


def _measure(task: tuple[ReferenceCodec, int, BenchImage]) -> float:
    codec, quality, image = task
    original = image.pixels()
    return flip(original, codec.decode(codec.encode(original, quality)))
