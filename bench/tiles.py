"""Pictures cut into squares of one size, as the study's images are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from edgepress.runtime.errors import EdgepressError

from .loadimages import BenchImage, pick_evenly


def cut(
    images: Sequence[BenchImage],
    side: int,
    limit: int | None = None,
    skipped: Callable[[str], None] | None = None,
) -> list[BenchImage]:
    """Every full square of `side` pixels, from the top left on; an image of just that size is itself.

    limit: at most so many squares, spread evenly over all. skipped: is told, in one line, of every image that is too
    small. Raises EdgepressError when no square is left.
    """
    places = []
    for image in images:
        if min(image.width, image.height) < side and skipped:
            skipped(f"{image.name}: {image.width}x{image.height} is smaller than {side}x{side}")
        rows, columns = image.height // side, image.width // side
        places += [(image, row * side, column * side) for row in range(rows) for column in range(columns)]
    if not places:
        raise EdgepressError(f"no image is as large as {side}x{side} pixels")
    squares: list[BenchImage] = []
    source, pixels = None, None
    for image, top, left in pick_evenly(places, limit):
        if (image.width, image.height) == (side, side):
            squares.append(image)
            continue
        if image is not source or pixels is None:  # squares of an image follow each other: read it once
            source, pixels = image, image.pixels()
        square = np.ascontiguousarray(pixels[top : top + side, left : left + side])
        squares.append(BenchImage.from_array(f"{image.name} at {left},{top}", square))
    return squares
