"""Random damage, for the fuzzers and the tests: the same changes again for the same random generator."""

from __future__ import annotations

import random
from collections.abc import Sequence

_BORDERS = (
    0,
    1,
    2,
    7,
    8,
    16,
    127,
    128,
    255,
    256,
    32767,
    65535,
    1 << 24,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
)


def mutant(data: bytes, source: random.Random, places: Sequence[int] = (), changes: int = 4) -> bytes:
    """`data` with 1 to `changes` changes: bits, bytes, integers, and pieces removed, repeated, inserted or moved.

    Args:
        data: what to damage; may be empty.
        source: decides everything.
        places: offsets to which nine of ten changes go; empty means anywhere.
        changes: how many changes at most.
    """
    result = bytearray(data)
    for _ in range(source.randint(1, changes)):
        where = source.choice(places) if places and source.random() < 0.9 else source.randrange(len(data) + 1)
        where = min(where, len(result))
        kind = source.randrange(9)
        length = source.randint(1, 8)
        if kind == 0 and where < len(result):
            result[where] ^= 1 << source.randrange(8)
        elif kind == 1:
            result[where : where + 1] = source.randbytes(1)
        elif kind == 2:
            size = source.choice((1, 2, 4))
            value = source.choice(_BORDERS) + source.choice((0, 0, 1, -1))
            result[where : where + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        elif kind == 3:
            result[where : where + length] = source.choice((b"\0", b"\xff")) * length
        elif kind == 4 and where < len(result):
            result[where] = (result[where] + source.choice((-1, 1))) & 255
        elif kind == 5:
            del result[where : where + length]
        elif kind == 6:
            result[where:where] = result[where : where + length]
        elif kind == 7:
            result[where:where] = source.randbytes(length)
        else:
            start = source.randrange(len(result) + 1)
            result[where : where + length] = result[start : start + length]
    return bytes(result)


def in_place(data: bytes, source: random.Random, places: Sequence[int] = (), changes: int = 4) -> bytes:
    """As `mutant`, but of the same length, so that what was not hit stays where it was."""
    result = bytearray(data)
    for _ in range(source.randint(1, changes)):
        where = source.choice(places) if places and source.random() < 0.9 else source.randrange(len(data))
        kind = source.randrange(4)
        size = min(source.choice((1, 2, 4)), len(data) - where)
        if kind == 0:
            result[where] ^= 1 << source.randrange(8)
        elif kind == 1:
            result[where : where + size] = source.randbytes(size)
        elif kind == 2:
            value = source.choice(_BORDERS) + source.choice((0, 0, 1, -1))
            result[where : where + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        else:
            result[where] = (result[where] + source.choice((-1, 1))) & 255
    return bytes(result)
