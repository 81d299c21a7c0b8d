"""Encode and decode times that can be compared: in memory, warm, one thread, contenders interleaved."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from time import perf_counter

import numpy as np

from .contender import RGB, ReferenceCodec
from .loadimages import BenchImage

Entry = tuple[ReferenceCodec, int]  # a contender at a quality
Key = tuple[str, int]  # its name and quality


@dataclass(frozen=True)
class Timing:
    """Milliseconds for one image, from the pixel array to the bytes of the file and back, entropy coding included.

    Each is the median over the repetitions, then the mean over the images; the spread is the interquartile range
    over the repetitions, likewise averaged.
    """

    encode_ms: float
    decode_ms: float
    encode_spread_ms: float
    decode_spread_ms: float
    megapixels: float  # of an image, on average

    @property
    def round_trip_ms(self) -> float:
        return self.encode_ms + self.decode_ms

    @property
    def encode_mps(self) -> float:
        """Megapixels a second."""
        return 1000 * self.megapixels / self.encode_ms

    @property
    def decode_mps(self) -> float:
        """Megapixels a second."""
        return 1000 * self.megapixels / self.decode_ms


def time_contenders(
    contenders: Sequence[Entry],
    images: Sequence[BenchImage | RGB],
    repeats: int = 5,
    progress: Callable[[int], None] | None = None,
) -> dict[Key, Timing]:
    """Time every contender on every image, `repeats` times after one warming run; keys are (name, quality).

    Every repetition runs all contenders once, each time starting with another one, so that a slow moment of the
    machine hits all of them alike. The garbage collector rests meanwhile. `progress` is told 1 for each
    contender, image and repetition finished.
    """
    entries = list({(codec.name, quality): (codec, quality) for codec, quality in contenders}.values())
    samples: dict[Key, list[list[tuple[float, float]]]] = {(codec.name, q): [] for codec, q in entries}
    megapixels = []
    for image in images:
        pixels = image if isinstance(image, np.ndarray) else image.pixels()
        megapixels.append(pixels.shape[0] * pixels.shape[1] / 1e6)
        for codec, quality in entries:  # warm: caches, lazily built tables, interpreters for this size
            _time_once(codec, quality, pixels)
            samples[codec.name, quality].append([])
        for repeat in range(repeats):
            first = repeat * len(entries) // repeats
            for codec, quality in entries[first:] + entries[:first]:
                samples[codec.name, quality][-1].append(_time_once(codec, quality, pixels))
                if progress:
                    progress(1)
    return {key: _summary(of_images, fmean(megapixels)) for key, of_images in samples.items()}


def _time_once(codec: ReferenceCodec, quality: int, pixels: RGB) -> tuple[float, float]:
    """Seconds to encode and to decode."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        start = perf_counter()
        data = codec.encode(pixels, quality)
        encoded = perf_counter()
        codec.decode(data)
        return encoded - start, perf_counter() - encoded
    finally:
        if was_enabled:
            gc.enable()


def _summary(of_images: list[list[tuple[float, float]]], megapixels: float) -> Timing:
    columns = [list(zip(*pairs, strict=True)) for pairs in of_images]
    encode = [column[0] for column in columns]
    decode = [column[1] for column in columns]
    return Timing(
        encode_ms=1e3 * fmean(map(median, encode)),
        decode_ms=1e3 * fmean(map(median, decode)),
        encode_spread_ms=1e3 * fmean(map(_interquartile, encode)),
        decode_spread_ms=1e3 * fmean(map(_interquartile, decode)),
        megapixels=megapixels,
    )


def _interquartile(values: Sequence[float]) -> float:
    low, high = np.percentile(values, (25, 75))
    return float(high - low)
