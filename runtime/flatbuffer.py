"""Reading flatbuffers that nobody vouches for: every offset, length and alignment is checked before it is followed.

A format is described as tables of fields; a field that the description does not have is refused, for what reads the
buffer later may know it and believe it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any

from .errors import BadPackageError

_CODES = {"i8": "b", "u8": "B", "bool": "B", "u16": "H", "i32": "i", "u32": "I", "f32": "f", "i64": "q"}
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in _CODES.items()}
_U32 = _SCALARS["u32"]
_MAX_TABLES = 1 << 16  # tables read in all: shared ones can be reached on very many ways
_MAX_FIELDS = 64

# Field number -> (name, kind). A kind is a scalar (with a default other than 0: "i32=1"), "string", "bytes" (a vector
# that is only located), "[scalar]", the name of a table, "[table]", or "union:FIELD", the table that the named field
# before it chooses.
Fields = Mapping[int, tuple[str, str]]


class FlatBuffer:
    """The tables of a flatbuffer, checked as they are read.

    Args:
        data: the buffer.
        tables: the fields of each table.
        unions: for each "union:FIELD" kind, the table of each number in FIELD.
        identifier: four bytes that a buffer of this format has at offset 4.

    Raises (all methods): BadPackageError: something lies outside the buffer, or is not in the description.
    """

    def __init__(
        self, data: bytes, tables: Mapping[str, Fields], unions: Mapping[int, str], identifier: bytes
    ) -> None:
        self._data = data
        self._tables = tables
        self._unions = unions
        self._count = 0
        if data[4:8] != identifier:
            raise BadPackageError(f"no flatbuffer of the kind {identifier.decode()}")

    def root(self, table: str) -> dict[str, Any]:
        """The root table: field name -> value; absent fields are 0, None (strings, tables) or empty (vectors)."""
        return self._table(self._indirect(0), table)

    def _scalar(self, kind: str, position: int) -> Any:
        scalar = _SCALARS[kind]
        if position % scalar.size or position + scalar.size > len(self._data):
            raise BadPackageError("an offset leads out of the flatbuffer")
        return scalar.unpack_from(self._data, position)[0]

    def _indirect(self, position: int) -> int:
        return position + int(self._scalar("u32", position))

    def _table(self, position: int, table: str) -> dict[str, Any]:
        self._count += 1
        if self._count > _MAX_TABLES:
            raise BadPackageError("the flatbuffer has too many tables")
        vtable = position - self._scalar("i32", position)
        if vtable < 0:
            raise BadPackageError("an offset leads out of the flatbuffer")
        size, inline = self._scalar("u16", vtable), self._scalar("u16", vtable + 2)
        if (
            size < 4
            or size % 2
            or inline < 4
            or position + inline > len(self._data)
            or vtable + size > len(self._data)
        ):
            raise BadPackageError("a table leads out of the flatbuffer")
        slots = struct.unpack_from(f"<{(size - 4) // 2}H", self._data, vtable + 4)
        fields = self._tables[table]
        values = {name: _absent(kind) for name, kind in fields.values()}
        for number, slot in enumerate(slots[:_MAX_FIELDS]):
            if not slot:
                continue
            if number not in fields:
                raise BadPackageError(
                    f"a table {table} has the field {number}, which edgepress does not know"
                )
            name, kind = fields[number]
            kind = kind.partition("=")[0]
            width = _SCALARS.get(kind, _U32).size
            if slot < 4 or slot + width > inline:
                raise BadPackageError(f"the field {table}.{name} lies outside of its table")
            if kind.startswith("union:"):
                chosen = self._unions.get(values[kind[6:]])
                if chosen is None:
                    raise BadPackageError(f"{table}.{name} is of a kind that edgepress does not know")
                kind = chosen
            values[name] = self._value(kind, position + slot)
        if any(slots[_MAX_FIELDS:]):
            raise BadPackageError(f"a table {table} has more fields than edgepress knows")
        return values

    def _value(self, kind: str, position: int) -> Any:
        if kind in _SCALARS:
            return self._scalar(kind, position)
        position = self._indirect(position)
        if kind in self._tables:
            return self._table(position, kind)
        count, first = self._scalar("u32", position), position + 4
        if kind == "string":
            # The terminating zero is outside of the count, and C readers rely on it.
            if first + count >= len(self._data) or self._data[first + count]:
                raise BadPackageError("a string leads out of the flatbuffer")
            return self._data[first : first + count]
        if kind == "bytes":
            if first + count > len(self._data):
                raise BadPackageError("a vector leads out of the flatbuffer")
            return first, count
        item = kind[1:-1]
        size = _SCALARS.get(item, _U32).size
        if first % size or first + count * size > len(self._data):
            raise BadPackageError("a vector leads out of the flatbuffer")
        if item in self._tables:
            return [self._table(self._indirect(first + 4 * i), item) for i in range(count)]
        return list(struct.unpack_from(f"<{count}{_CODES[item]}", self._data, first))


def _absent(kind: str) -> Any:
    scalar, _, default = kind.partition("=")
    if scalar in _SCALARS:
        return int(default or 0)
    return [] if kind[0] == "[" else None
