"""Encode and decode times that can be compared: in memory, warm, one thread, contenders interleaved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from statistics import fmean, median

import numpy as np

from .contender import RGB, ReferenceCodec
from .host import Host, Visit
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
    energy_mj: float | None = (
        None  # millijoules of the processor to encode and decode, where it has a counter
    )

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
    hosts: Mapping[str, Host] | None = None,
) -> dict[Key, Timing]:
    """Time every contender on every image, `repeats` times; keys are (name, quality).

    Each contender works in a process of its own (see `Host`), one at a time. Every repetition visits all contenders
    once, each time starting with another one, so that a slow moment of the machine hits all of them alike; a
    visit is one or more runs that do not count and a short burst of runs that do, so that it does not matter who
    worked before. `progress` is told 1 for each contender, image and repetition finished.

    hosts: running hosts by the contenders' names; None starts them, and ends them afterwards.
    """
    entries = list({(codec.name, quality): (codec, quality) for codec, quality in contenders}.values())
    if hosts is None:
        with ExitStack() as stack:
            own = {codec.name: codec for codec, _ in entries}
            started = {name: stack.enter_context(Host(codec)) for name, codec in own.items()}
            return time_contenders(entries, images, repeats, progress, started)
    samples: dict[Key, list[list[Visit]]] = {(codec.name, q): [] for codec, q in entries}
    megapixels = []
    for image in images:
        pixels = image if isinstance(image, np.ndarray) else image.pixels()
        megapixels.append(pixels.shape[0] * pixels.shape[1] / 1e6)
        for name in {codec.name: None for codec, _ in entries}:
            hosts[name].take(pixels)
        for visits in samples.values():
            visits.append([])
        for repeat in range(repeats):
            first = repeat * len(entries) // repeats
            for codec, quality in entries[first:] + entries[:first]:
                samples[codec.name, quality][-1].append(hosts[codec.name].visit(quality))
                if progress:
                    progress(1)
    return {key: _summary(of_images, fmean(megapixels)) for key, of_images in samples.items()}


def _summary(of_images: list[list[Visit]], megapixels: float) -> Timing:
    encode = [[visit.encode for visit in visits] for visits in of_images]
    decode = [[visit.decode for visit in visits] for visits in of_images]
    joules = [[visit.joules for visit in visits if visit.joules is not None] for visits in of_images]
    return Timing(
        encode_ms=1e3 * fmean(map(median, encode)),
        decode_ms=1e3 * fmean(map(median, decode)),
        encode_spread_ms=1e3 * fmean(map(_interquartile, encode)),
        decode_spread_ms=1e3 * fmean(map(_interquartile, decode)),
        megapixels=megapixels,
        energy_mj=1e3 * fmean(map(median, joules)) if all(joules) else None,
    )


def _interquartile(values: Sequence[float]) -> float:
    low, high = np.percentile(values, (25, 75))
    return float(high - low)
