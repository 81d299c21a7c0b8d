"""The .epx container: a small header, the entropy-coded payload, a checksum.

    b"EPX" | version << 4 | mode | model id (3 bytes) | quality | width | height | payload | CRC-32

`mode` is 0 for RGB and 1 for gray (L), width and height are LEB128 numbers, and the CRC-32 (little-endian) covers
everything before it. An image up to 16383 pixels a side has 16 bytes beside its payload.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass

from .errors import CorruptStreamError
from .files import read_limited

MAGIC = b"EPX"
VERSION = 1
MODES = ("RGB", "L")
MAX_BYTES = 1 << 28  # of a stream; the largest image that is decoded needs less, even when it is noise
_FIXED = 8  # bytes before the width
_CRC = 4
_MAX_SIDE = (1 << 31) - 1


@dataclass(frozen=True)
class Header:
    """What an .epx file says about its image: `mode` RGB or L, sides in pixels, quality 1..100, 3-byte model id."""

    mode: str
    model_id: bytes
    quality: int
    width: int
    height: int


def pack(header: Header, payload: bytes) -> bytes:
    """The bytes of an .epx file."""
    body = b"".join(
        (
            MAGIC,
            bytes((VERSION << 4 | MODES.index(header.mode),)),
            header.model_id,
            bytes((header.quality,)),
            _to_varint(header.width),
            _to_varint(header.height),
            payload,
        )
    )
    return body + zlib.crc32(body).to_bytes(_CRC, "little")


def parse(data: bytes | bytearray | memoryview) -> tuple[Header, bytes]:
    """The header and the payload of an .epx file.

    Raises:
        CorruptStreamError: not an .epx file, a newer version of the format, truncated, or damaged.
    """
    data = _as_bytes(data)
    header, start = _parse_header(data)
    end = len(data) - _CRC
    if end < start:
        raise CorruptStreamError("the .epx stream is truncated")
    if zlib.crc32(memoryview(data)[:end]) != int.from_bytes(data[end:], "little"):
        raise CorruptStreamError("the .epx stream is damaged: its checksum does not match")
    return header, data[start:end]


def parse_header(data: bytes | bytearray | memoryview) -> Header:
    """The header alone, from the first bytes of a file (18 suffice); the checksum is not looked at.

    Raises:
        CorruptStreamError: as for `parse`, but for damage outside the header.
    """
    return _parse_header(_as_bytes(data))[0]


def read_stream(path: str | os.PathLike[str]) -> bytes:
    """The content of a file that should be an .epx stream; it is not parsed yet.

    Raises:
        CorruptStreamError: it is larger than a stream can be.
        OSError: the file cannot be read.
    """
    data = read_limited(path, MAX_BYTES)
    if data is None:
        raise CorruptStreamError(f"larger than {MAX_BYTES >> 20} MB, so it is not an .epx stream")
    return data


def _as_bytes(data: bytes | bytearray | memoryview) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise CorruptStreamError(f"an .epx stream is a bytes object, not {type(data).__name__}")
    return bytes(data)  # no copy when it is bytes already


def _parse_header(data: bytes) -> tuple[Header, int]:
    if data[: len(MAGIC)] != MAGIC:
        raise CorruptStreamError("this is not an .epx stream")
    if len(data) < _FIXED:
        raise CorruptStreamError("the .epx stream is truncated")
    version, mode = data[3] >> 4, data[3] & 15
    if version != VERSION:
        raise CorruptStreamError(
            f"the .epx stream has format version {version}, and this edgepress reads {VERSION}: "
            "it is damaged or needs a newer edgepress"
        )
    if mode >= len(MODES):
        raise CorruptStreamError(f"the .epx stream is damaged: unknown image mode {mode}")
    quality = data[7]
    if not 1 <= quality <= 100:
        raise CorruptStreamError(f"the .epx stream is damaged: quality {quality}")
    width, position = _from_varint(data, _FIXED)
    height, position = _from_varint(data, position)
    return Header(MODES[mode], bytes(data[4:7]), quality, width, height), position


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
