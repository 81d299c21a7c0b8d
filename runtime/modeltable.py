"""Reading tables of a flatbuffer by field number: the little that looking into a .tflite model takes.

Offsets are followed where they lead, and `struct.error` tells of those that leave the data; no size is believed before the
data is seen to be as long.
"""

from __future__ import annotations

import struct


class Table:
    """A table of a flatbuffer.

    Args:
        data: the whole flatbuffer.
        at: where the table begins.
    """

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self._vtable = at - _unpack("<i", data, at)

    @classmethod
    def root(cls, data: bytes) -> Table:
        """The table that a flatbuffer is about."""
        return cls(data, _unpack("<I", data, 0))

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """A scalar field; `kind` is its `struct` character."""
        at = self._field(field)
        return _unpack("<" + kind, self._data, at) if at else default

    def numbers(self, field: int, kind: str) -> tuple[int, ...]:
        """A vector of scalars, empty when the field is missing."""
        at, count = self._vector(field)
        return struct.unpack_from(f"<{count}{kind}", self._data, at) if count else ()

    def length(self, field: int) -> int:
        """How many elements a vector has."""
        return self._vector(field)[1]

    def table(self, field: int) -> Table | None:
        """A table within this one."""
        at = self._field(field)
        return Table(self._data, at + _unpack("<I", self._data, at)) if at else None

    def tables(self, field: int) -> list[Table]:
        """A vector of tables, empty when the field is missing."""
        at, count = self._vector(field)
        if 4 * count > len(self._data):
            raise struct.error("a vector that is longer than the data")
        places = range(at, at + 4 * count, 4)
        return [Table(self._data, place + _unpack("<I", self._data, place)) for place in places]

    def _field(self, field: int) -> int:
        """Where a field is, or 0 when it has its default."""
        slot = 4 + 2 * field
        if slot >= _unpack("<H", self._data, self._vtable):
            return 0
        offset = _unpack("<H", self._data, self._vtable + slot)
        return self._at + offset if offset else 0

    def _vector(self, field: int) -> tuple[int, int]:
        """Where the elements of a vector begin, and how many there are."""
        at = self._field(field)
        if not at:
            return 0, 0
        at += _unpack("<I", self._data, at)
        return at + 4, _unpack("<I", self._data, at)


def _unpack(kind: str, data: bytes, at: int) -> int:
    if at < 0:  # which struct would count from the end
        raise struct.error("an offset before the data")
    return struct.unpack_from(kind, data, at)[0]
