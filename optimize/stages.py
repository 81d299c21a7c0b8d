"""The table of stages: what each step from the float model to the package brought, measured on held-out images."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.codec import Codec

from .convert import FloatPair, Pair
from .latent_range import LatentRange
from .measure import FINEST, Scores, Stage, score_float, score_int8, weigh
from .split import Halves
from .tflite import TFLite

RGB = NDArray[np.uint8]


def network_stages(
    halves: Mapping[str, Halves],
    floated: Mapping[str, FloatPair],
    pair: Pair,
    filled: LatentRange,
    codec: Codec,
    images: Sequence[RGB],
) -> list[Stage]:
    """Rows, without latency, of the float stages by name and of the int8 networks in `codec`."""
    tables = codec.package.tables
    rows = []
    for name, models in floated.items():
        scores = score_float(
            halves[name].encoder, halves[name].decoder, images, tables, filled.scale, filled.zero_point
        )
        rows.append(_row(name, models, scores))
    rows.append(_row("int8", pair, score_int8(codec, images)))
    return rows


def file_stage(name: str, package: Path, scores: Scores) -> Stage:
    """A row, without latency, of the package file at one quality."""
    content = package.read_bytes()
    size = len(gzip.compress(content, 9, mtime=0))
    return Stage(name, len(content), size, None, None, None, None, None, scores.psnr, scores.ssim, scores.bpp)


def timed(
    stages: Sequence[Stage],
    floated: Mapping[str, FloatPair],
    pair: Pair,
    codec: Codec,
    image: RGB,
    repeats: int,
    count: Callable[[int], None],
) -> list[Stage]:
    """The rows with their latency, all measured in one run on the upper left of `image`.

    Networks run alone at their static shape (128x128); a package encodes and decodes files. `count` is told 1 for
    each repetition.
    """
    side = TFLite(pair.encoder).input["shape"][1]
    square = np.ascontiguousarray(np.pad(image, ((0, side), (0, side), (0, 0)), mode="reflect")[:side, :side])
    contenders = []
    for stage in stages:
        if stage.name in floated:
            models: FloatPair | Pair = floated[stage.name]
        elif stage.name == "int8":
            models = pair
        else:
            quality = int(stage.name.split()[-1]) if stage.name != "package" else FINEST
            contenders.append(_round_trip(codec, square, quality))
            continue
        contenders.append(_pass_through(models, square))
    times = latencies(contenders, repeats, count)
    return [replace(stage, latency_ms=ms) for stage, ms in zip(stages, times, strict=True)]


def latencies(
    contenders: Sequence[Callable[[], None]], repeats: int, count: Callable[[int], None] = lambda _: None
) -> list[float]:
    """Milliseconds of each contender: warm, interleaved so that slow moments of the machine hit all; medians."""
    samples: list[list[float]] = [[] for _ in contenders]
    for once in contenders:
        once()
    for _ in range(repeats):
        for once, times in zip(contenders, samples, strict=True):
            start = perf_counter()
            once()
            times.append(perf_counter() - start)
        count(1)
    return [1e3 * median(times) for times in samples]


def _row(name: str, models: FloatPair | Pair, scores: Scores) -> Stage:
    found = weigh(models.encoder, models.decoder)
    return Stage(
        name,
        found.raw_bytes,
        found.gzip_bytes,
        found.parameters,
        found.nonzero,
        found.macs_per_pixel,
        None,
        found.undelegated,
        scores.psnr,
        scores.ssim,
        scores.bpp,
    )


def _pass_through(models: FloatPair | Pair, image: RGB) -> Callable[[], None]:
    first, second = TFLite(models.encoder), TFLite(models.decoder)
    is_float = first.input["dtype"] == np.float32
    pixels = image[None] / np.float32(255) if is_float else (image[None] ^ np.uint8(128)).view(np.int8)

    def once() -> None:
        second.run(first.run(pixels))

    return once


def _round_trip(codec: Codec, image: RGB, quality: int) -> Callable[[], None]:
    def once() -> None:
        codec.decode_array(codec.encode(image, quality))

    return once
