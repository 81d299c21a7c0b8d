"""The .epx container: a small header, the entropy-coded payload, a checksum.

    b"EPX" | version << 4 | mode | model id (3 bytes) | quality | width | height | [metadata] | payload | CRC-32

`mode` is 0 for RGB and 1 for gray (L), with 8 added when there is metadata: its length (4 bytes, little-endian), then a
block as in metadata.py. Width and height are LEB128 numbers, and the CRC-32 (little-endian) covers everything before it.
An image up to 16383 pixels a side has 16 bytes beside its payload and metadata.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import IO, NamedTuple

from .errors import CorruptStreamError
from .metadata import MAX_BYTES as MAX_METADATA
from .metadata import Metadata

MAGIC = b"EPX"
VERSION = 2  # 1, of development versions, had two states in its entropy code
MODES = ("RGB", "L")
MAX_BYTES = 1 << 28  # of a stream; the largest image that is decoded needs less, even when it is noise
_HAS_METADATA = 8
_FIXED = 8  # bytes before the width
_LONGEST = _FIXED + 2 * 5  # bytes before metadata or payload
_LENGTH = 4  # bytes of the metadata's length
_CRC = 4
_MAX_SIDE = (1 << 31) - 1
_TRUNCATED = "the .epx stream is truncated"
NO_METADATA = Metadata()


class Header(NamedTuple):
    """What an .epx file says about its image: `mode` RGB or L, sides in pixels, quality 1..100, 3-byte model id."""

    mode: str
    model_id: bytes
    quality: int
    width: int
    height: int


def pack(header: Header, payload: bytes, metadata: Metadata = NO_METADATA) -> bytes:
    """The bytes of an .epx file."""
    block = metadata.to_bytes() if metadata else b""
    flag = _HAS_METADATA if block else 0
    start = b"".join(
        (
            MAGIC,
            bytes((VERSION << 4 | flag | MODES.index(header.mode),)),
            header.model_id,
            bytes((header.quality,)),
            _to_varint(header.width),
            _to_varint(header.height),
            len(block).to_bytes(_LENGTH, "little") + block if block else b"",
        )
    )
    checksum = zlib.crc32(payload, zlib.crc32(start))
    return b"".join((start, payload, checksum.to_bytes(_CRC, "little")))


def parse(data: bytes | bytearray | memoryview) -> tuple[Header, bytes]:
    """The header and the payload of an .epx file; raises as `parse_whole`."""
    header, _, payload = parse_whole(data)
    return header, payload


def parse_whole(data: bytes | bytearray | memoryview) -> tuple[Header, Metadata, bytes]:
    """The header, the metadata and the payload of an .epx file.

    Raises:
        CorruptStreamError: not an .epx file, a newer version of the format, truncated, or damaged.
    """
    data = _as_bytes(data)
    header, flagged, start = _parse_header(data)
    end = len(data) - _CRC
    if end < start:
        raise CorruptStreamError(_TRUNCATED)
    if zlib.crc32(memoryview(data)[:end]) != int.from_bytes(data[end:], "little"):
        raise CorruptStreamError("the .epx stream is damaged: its checksum does not match")
    metadata = NO_METADATA
    if flagged:
        metadata, start = _parse_metadata(memoryview(data)[:end], start)
    return header, metadata, data[start:end]


def parse_header(data: bytes | bytearray | memoryview) -> Header:
    """The header alone, from the first bytes of a file (18 suffice); the checksum is not looked at.

    Raises:
        CorruptStreamError: as for `parse`, but for damage outside the header.
    """
    return _parse_header(_as_bytes(data))[0]


def parse_metadata(data: bytes | bytearray | memoryview) -> Metadata:
    """The metadata in an .epx file, empty when it has none; the checksum is not looked at.

    Raises:
        CorruptStreamError: as for `parse`, but for damage behind the metadata.
    """
    data = _as_bytes(data)
    _, flagged, position = _parse_header(data)
    return _parse_metadata(memoryview(data), position)[0] if flagged else NO_METADATA


def read_start(file: IO[bytes]) -> tuple[Header, Metadata]:
    """Header and metadata from a file at its start, of which little more is read; the checksum is not looked at.

    Raises:
        CorruptStreamError: as for `parse`, but for damage behind the metadata.
        OSError: the file cannot be read.
    """
    start = file.read(_LONGEST + _LENGTH)
    header, flagged, position = _parse_header(start)
    if not flagged:
        return header, NO_METADATA
    end = position + _LENGTH + _metadata_length(start, position)
    start += file.read(max(0, end - len(start)))
    return header, _parse_metadata(memoryview(start), position)[0]


def read_stream(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that should be an .epx stream; it is not parsed yet.

    Raises:
        CorruptStreamError: it is larger than a stream can be.
        OSError: the file cannot be read.
    """
    with Path(path).open("rb") as file:
        return read_open(file)


def read_open(file: IO[bytes]) -> bytes:
    """The rest of an open file that should be an .epx stream; raises as `read_stream`."""
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise CorruptStreamError(f"larger than {MAX_BYTES >> 20} MB, so it is not an .epx stream")
    return data


def _as_bytes(data: bytes | bytearray | memoryview) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise CorruptStreamError(f"an .epx stream is a bytes object, not {type(data).__name__}")
    return bytes(data)  # no copy when it is bytes already


def _parse_header(data: bytes) -> tuple[Header, bool, int]:
    """The header, whether metadata follows it, and where it ends."""
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptStreamError("this is not an .epx stream")
    if len(data) < _FIXED:
        raise CorruptStreamError(_TRUNCATED)
    version, flagged, mode = data[3] >> 4, bool(data[3] & _HAS_METADATA), data[3] & 7
    if version != VERSION:
        reason = "is of a development version" if version < VERSION else "needs a newer edgepress"
        raise CorruptStreamError(
            f"the .epx stream has format version {version}, and this edgepress reads {VERSION}: it is damaged or {reason}"
        )
    if mode >= len(MODES):
        raise CorruptStreamError(
            f"the .epx stream has the unknown image mode {mode}: it is damaged or needs a newer edgepress"
        )
    quality = data[7]
    if not 1 <= quality <= 100:
        raise CorruptStreamError(f"the .epx stream is damaged: quality {quality}")
    width, position = _from_varint(data, _FIXED)
    height, position = _from_varint(data, position)
    return Header(MODES[mode], bytes(data[4:7]), quality, width, height), flagged, position


def _metadata_length(data: bytes | memoryview, position: int) -> int:
    length = int.from_bytes(data[position : position + _LENGTH], "little")
    if len(data) < position + _LENGTH:
        raise CorruptStreamError(_TRUNCATED)
    if not 0 < length <= MAX_METADATA:
        raise CorruptStreamError(f"the .epx stream is damaged: {length} bytes of metadata")
    return length


def _parse_metadata(data: memoryview, position: int) -> tuple[Metadata, int]:
    """The metadata that starts at `position`, and where it ends."""
    start = position + _LENGTH
    end = start + _metadata_length(data, position)
    if end > len(data):
        raise CorruptStreamError(_TRUNCATED)
    return Metadata.from_bytes(bytes(data[start:end])), end


def _to_varint(value: int) -> bytes:
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def _from_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(data) and shift < 35:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            # One way to write each number: 0 and leading zero groups are damage.
            if byte == 0 or value > _MAX_SIDE:
                break
            return value, position
    raise CorruptStreamError("the .epx stream is damaged: its width or height cannot be read")
