"""The table of stages: what each step from the float model to the package brought, measured on held-out images."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgepress.runtime.codec import Codec

from .convert import FloatPair, Pair
from .measure import FINEST, Scores, Stage, means, score_float, score_int8, score_pair, weigh
from .tflite import TFLite, int8_pixels

if TYPE_CHECKING:
    from .split import Halves

RGB = NDArray[np.uint8]


def float_stage(
    name: str,
    halves: Halves,
    models: FloatPair,
    scale: NDArray[np.float32],
    codec: Codec,
    images: Sequence[RGB],
) -> Stage:
    """A row, without latency, of a float stage; its rate is that on the grid of `scale`, float32[C], under `codec`'s tables."""
    package = codec.package
    scores = score_float(halves.encoder, halves.decoder, images, package.tables, scale, package.zero_point)
    return _row(name, models, means(scores))


def compared_stage(mode: str, models: FloatPair, images: Sequence[RGB], tile: int) -> Stage:
    """A row, without latency, of networks in a mode that packages are not made of; `tile` as in `score_pair`."""
    return _row(mode, models, score_pair(models, images, tile))


def int8_stage(pair: Pair, codec: Codec, images: Sequence[RGB]) -> Stage:
    """A row, without latency, of the int8 networks in `codec`."""
    return _row("int8", pair, means(score_int8(codec, images)))


def file_stage(name: str, content: bytes, scores: Scores) -> Stage:
    """A row, without latency, of a package file at one quality."""
    size = len(gzip.compress(content, 9, mtime=0))
    return Stage(name, len(content), size, None, None, None, None, None, scores.psnr, scores.ssim, scores.bpp)


def time_stages(
    names: Sequence[str],
    networks: Mapping[str, FloatPair | Pair],
    codec: Codec,
    image: RGB,
    repeats: int,
    count: Callable[[int], None],
) -> list[float]:
    """The latency in ms of every row, by name, all measured in one run on the upper left of `image`.

    Networks run alone at their static shape (128x128); a package encodes and decodes files. `count` is told 1 for
    each repetition.
    """
    square = probe(networks["int8"], image)
    contenders = []
    for name in names:
        if name in networks:
            contenders.append(pass_through(networks[name], square))
        else:
            quality = int(name.split()[-1]) if name != "package" else FINEST
            contenders.append(_round_trip(codec, square, quality))
    return latencies(contenders, repeats, count)


def probe(networks: FloatPair | Pair, image: RGB) -> RGB:
    """The upper left of `image` at the static shape of the networks, mirrored where it is too small."""
    side = TFLite(networks.encoder).input["shape"][1]
    return np.ascontiguousarray(np.pad(image, ((0, side), (0, side), (0, 0)), mode="reflect")[:side, :side])


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


def pass_through(models: FloatPair | Pair, image: RGB) -> Callable[[], None]:
    """What runs the encoder and then the decoder on `image`."""
    first, second = TFLite(models.encoder), TFLite(models.decoder)
    is_float = first.input["dtype"] == np.float32
    pixels = image[None] / np.float32(255) if is_float else int8_pixels(image)

    def once() -> None:
        second.run(first.run(pixels))

    return once


def _round_trip(codec: Codec, image: RGB, quality: int) -> Callable[[], None]:
    def once() -> None:
        codec.decode_array(codec.encode(image, quality))

    return once
