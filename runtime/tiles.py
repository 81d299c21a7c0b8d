"""Cutting an image into tiles of one size that overlap: where each begins, and what of its result is kept."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Span:
    """A tile along one axis, in latent positions: it covers [start, stop), and [keep, keep_stop) of it is used."""

    start: int
    stop: int
    keep: int
    keep_stop: int

    @functools.cached_property
    def size(self) -> int:
        """How much the tile covers."""
        return self.stop - self.start

    @functools.cached_property
    def covered(self) -> slice:
        """What the tile covers, as positions of the axis."""
        return slice(self.start, self.stop)

    @functools.cached_property
    def kept(self) -> slice:
        """What is kept, as positions of the axis."""
        return slice(self.keep, self.keep_stop)

    @functools.cached_property
    def inner(self) -> slice:
        """What is kept, as positions of the tile."""
        return slice(self.keep - self.start, self.keep_stop - self.start)

    def times(self, stride: int) -> Span:
        """The same in pixels."""
        return Span(self.start * stride, self.stop * stride, self.keep * stride, self.keep_stop * stride)


@dataclass(frozen=True)
class Tile:
    """A rectangle of an image."""

    rows: Span
    columns: Span

    @functools.cached_property
    def size(self) -> tuple[int, int]:
        """How many rows and columns the tile covers."""
        return self.rows.size, self.columns.size

    @functools.cached_property
    def kept(self) -> tuple[slice, slice]:
        """What is kept, as an index into the image."""
        return self.rows.kept, self.columns.kept

    @functools.cached_property
    def inner(self) -> tuple[slice, slice]:
        """What is kept, as an index into the tile."""
        return self.rows.inner, self.columns.inner

    def times(self, stride: int) -> Tile:
        """The same in pixels."""
        return Tile(self.rows.times(stride), self.columns.times(stride))


class Piece(NamedTuple):
    """A tile in latent positions, and the same in pixels."""

    tile: Tile
    there: Tile


@functools.lru_cache(maxsize=64)  # as making them takes a hundredth of a small image's time
def pieces(
    rows: int, columns: int, halo: int | None, limit: int, stride: int, side: int = 0
) -> tuple[Piece, ...]:
    """What `tiles` yields, or, with a side in pixels, `grid`; stride: pixels per position."""
    cut = grid(rows, columns, side // stride) if side else tiles(rows, columns, halo, limit)
    return tuple(Piece(tile, tile.times(stride)) for tile in cut)


def tiles(rows: int, columns: int, halo: int | None, limit: int) -> Iterator[Tile]:
    """Tiles that together keep every position of an image once, from the top left on.

    All are of one size, so that one interpreter serves them: those at the far borders begin earlier instead of being
    smaller. Where a tile ends inside the image, `halo` positions more than are kept are covered.

    Args:
        rows, columns: the size of the image, at least 1.
        halo: neighbours that a kept position needs on each side; None when that is not known, and nothing is cut.
        limit: the area of a tile that is not exceeded, unless the halo alone fills more than half of a side.
    """
    if halo is None or rows * columns <= limit:
        yield Tile(Span(0, rows, 0, rows), Span(0, columns, 0, columns))
        return
    side = max(math.isqrt(limit), 4 * halo + 1)
    height = min(rows, side)
    width = min(columns, max(limit // height, side))
    height = min(rows, max(limit // width, side))  # a narrow image has long tiles
    for down in _spans(rows, height, halo):
        for across in _spans(columns, width, halo):
            yield Tile(down, across)


def grid(rows: int, columns: int, side: int) -> Iterator[Tile]:
    """Tiles of `side` x `side` positions side by side, for networks that take nothing else: rows and columns are
    multiples of it, and all of every tile is kept.
    """
    for top in range(0, rows, side):
        for left in range(0, columns, side):
            yield Tile(Span(top, top + side, top, top + side), Span(left, left + side, left, left + side))


def _spans(length: int, size: int, halo: int) -> Iterator[Span]:
    if size < length:  # as many tiles as are needed, but no larger than that many need
        count = -(-(length - 2 * halo) // (size - 2 * halo))
        size = -(-(length - 2 * halo) // count) + 2 * halo
    kept = 0
    while kept < length:
        start = max(0, min(kept - halo, length - size))
        stop = start + size
        end = length if stop >= length else stop - halo
        yield Span(start, min(stop, length), kept, end)
        kept = end
