"""The zip files that codec packages are, read strictly: members stored or deflated, a directory at the very end, no more.

Python's zipfile knows much that no package has, and takes longer to import than a small image takes to decode.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from .errors import BadPackageError

STORED, DEFLATED = 0, 8
_END = struct.Struct("<4s4H2IH")  # of the file, where its directory is found
_ENTRY = struct.Struct("<4s6H3I5H2I")  # of the directory, before the member's name
_LOCAL = struct.Struct("<4s5H3I2H")  # before each member's content, and its name once more
_FLAGS = 0x80E  # that say nothing about the bytes: how hard deflate tried, sizes also after them, UTF-8 names


class Member(NamedTuple):
    """An entry of the directory: the CRC-32 and size of the content, its method and bytes as stored, and where it begins."""

    name: str
    method: int
    crc: int
    stored: int
    size: int
    at: int


def directory(data: bytes, most: int) -> list[Member]:
    """The members of a zip file, in its directory's order; nothing of their contents is looked at.

    Args:
        data: the whole file.
        most: the number of members that is accepted.

    Raises:
        BadPackageError: not a zip file as they are here, a damaged one, or one of too many members.
    """
    end = len(data) - _END.size
    if end < 0:
        raise _damaged("too short for a zip file")
    magic, *disks, here, count, length, start, comment = _END.unpack_from(data, end)
    if magic != b"PK\5\6" or any(disks) or here != count or comment or start + length != end:
        raise _damaged("no zip directory at its end")
    if count > most:
        raise BadPackageError(f"the package has {count} members, and {most} is the limit")
    members = []
    for _ in range(count):
        member, start = _entry(data, start, end)
        members.append(member)
    if start != end:
        raise _damaged("a directory of another length")
    return members


def content(data: bytes, member: Member) -> bytes:
    """The content of a member, of which no more than `member.size` bytes are ever made.

    Raises:
        BadPackageError: it is damaged, or not of the size or CRC-32 that the directory says.
    """
    if member.at + _LOCAL.size > len(data):
        raise _damaged(f"no {member.name} where it should be")
    fields = _LOCAL.unpack_from(data, member.at)
    name = member.at + _LOCAL.size
    start = name + fields[9] + fields[10]
    if fields[0] != b"PK\3\4" or data[name : name + fields[9]] != member.name.encode():
        raise _damaged(f"no {member.name} where it should be")
    found = data[start : start + member.stored]
    if member.method == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            found = inflater.decompress(found, member.size + 1)  # a limit of 0 would be none
        except zlib.error as error:
            raise _damaged(f"{member.name}: {error}") from None
        if not inflater.eof or inflater.unused_data:
            raise _damaged(f"{member.name} has another size than it says")
    elif member.method != STORED:
        raise BadPackageError(f"{member.name} is compressed by a method other than deflate")
    if len(found) != member.size or zlib.crc32(found) != member.crc:
        raise _damaged(f"{member.name} does not match its checksum")
    return found


def _entry(data: bytes, start: int, end: int) -> tuple[Member, int]:
    """The directory's entry at `start`, and where the next one begins."""
    if start + _ENTRY.size > end:
        raise _damaged("a directory that is cut")
    magic, _, _, flags, method, _, _, crc, stored, size, name, extra, comment, _, _, _, at = (
        _ENTRY.unpack_from(data, start)
    )
    start += _ENTRY.size
    following = start + name + extra + comment
    if magic != b"PK\1\2" or following > end:
        raise _damaged("a directory that cannot be read")
    if flags & ~_FLAGS:
        raise _damaged("a member that is encrypted, or stored in another unusual way")
    try:
        text = data[start : start + name].decode()
    except UnicodeDecodeError:
        raise _damaged("a name that is no text") from None
    return Member(text, method, crc, stored, size, at), following


def _damaged(what: str) -> BadPackageError:
    return BadPackageError(f"not a codec package, or a damaged one ({what})")
