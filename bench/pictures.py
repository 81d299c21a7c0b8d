"""The pictures inside a report: what contenders made of some images, exactly as they came out, within a size."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from .contender import RGB, ReferenceCodec
from .loadimages import BenchImage, pick_evenly
from .workers import Workers

WIDTH, HEIGHT = 432, 324  # of what is shown of an image: artifacts are seen at 1:1, not in a reduced picture
BUDGET = 24_000_000  # characters of all pictures together


@dataclass(frozen=True)
class Picture:
    """A part of an image, as a data URI of lossless WebP. codec is None for the original, then quality is 0.

    bytes: of the contender's whole file of the whole image (0 for the original).
    """

    image: str
    codec: str | None
    quality: int
    bytes: int
    uri: str


def crop(image: RGB) -> RGB:
    """The middle of an image, at most WIDTH x HEIGHT: uint8 HxWx3, a view."""
    top, left = max(0, image.shape[0] - HEIGHT) // 2, max(0, image.shape[1] - WIDTH) // 2
    return image[top : top + HEIGHT, left : left + WIDTH]


def data_uri(image: RGB) -> str:
    """An image as lossless WebP inside a page."""
    file = io.BytesIO()
    # method 2 is half the time of 4 for 1% more bytes
    Image.fromarray(image).save(file, "WEBP", lossless=True, method=2, quality=40)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def make_pictures(
    contenders: Sequence[tuple[ReferenceCodec, Sequence[int]]],
    images: Sequence[BenchImage],
    count: int,
    workers: Workers | None = None,
    progress: Callable[[int], None] | None = None,
    budget: int = BUDGET,
) -> list[Picture]:
    """The originals of `count` images, evenly spread, and as many of the contenders' qualities as the budget allows.

    The ends of every quality grid come first, then its middle, and so on, for all contenders and images alike; what
    would not fit is left out. progress is told 1 for each picture finished.
    """
    chosen = pick_evenly(list(images), count) if count else []
    tasks: list[_Task] = [(image, None, 0) for image in chosen]
    orders = [(codec, _spread(qualities)) for codec, qualities in contenders]
    for turn in range(max((len(order) for _, order in orders), default=0)):
        for image in chosen:
            tasks += [(image, codec, order[turn]) for codec, order in orders if turn < len(order)]
    found: list[Picture] = []
    used = 0
    for made in _batches(tasks, workers or Workers()):
        for picture in made:
            used += len(picture.uri)
            if used > budget and picture.codec is not None:
                return found
            found.append(picture)
            if progress:
                progress(1)
    return found


_Task = tuple[BenchImage, ReferenceCodec | None, int]


def _batches(tasks: Sequence[_Task], workers: Workers, size: int = 24) -> Iterator[Iterator[Picture]]:
    """A batch at a time, so that little is made in vain when the budget ends."""
    for n in range(0, len(tasks), size):
        yield workers.map(_picture, tasks[n : n + size])


def _picture(task: _Task) -> Picture:
    image, codec, quality = task
    pixels, size = image.pixels(), 0
    if codec is not None:
        data = codec.encode(pixels, quality)
        pixels, size = codec.decode(data), len(data)
    return Picture(image.name, codec.name if codec else None, quality, size, data_uri(crop(pixels)))


def _spread(values: Sequence[int]) -> list[int]:
    """All values, the ends first, then middles of what is still open, breadth first."""
    if len(values) < 3:
        return list(values)
    order, gaps = [values[0], values[-1]], [(0, len(values) - 1)]
    while gaps:
        low, high = gaps.pop(0)
        middle = (low + high) // 2
        if middle > low:
            order.append(values[middle])
            gaps += [(low, middle), (middle, high)]
    return order
