"""What may travel with an image: an EXIF block and an ICC colour profile, as bytes inside an .epx file.

A block of metadata is a row of records, each of them

    kind (1 byte) | length (4 bytes, little-endian, not 0) | content

with ascending kinds, 1 for EXIF and 2 for ICC. Kinds that are not known are passed over, for files of later versions.
"""

from __future__ import annotations

from typing import NamedTuple

from .errors import CorruptStreamError, EdgepressError

MAX_BYTES = 1 << 22  # of a block; EXIF in a JPEG has at most 64 kB, the largest printer profiles 2 MB
_EXIF, _ICC = 1, 2
_HEAD = 5  # bytes before a record's content
# Pillow and JPEG files put this before EXIF, where it says nothing that the record's kind does not say.
_EXIF_PREFIX = b"Exif\0\0"


class Metadata(NamedTuple):
    """EXIF (from its "II" or "MM" on) and ICC profile; empty bytes where there is none. False when both are empty."""

    exif: bytes = b""
    icc_profile: bytes = b""

    def __bool__(self) -> bool:
        return bool(self.exif or self.icc_profile)

    @classmethod
    def of(cls, exif: bytes | None, icc_profile: bytes | None) -> Metadata:
        """From what callers give, EXIF with or without its b"Exif\\0\\0".

        Raises:
            EdgepressError: one of them is not bytes, or together they are more than `MAX_BYTES`.
        """
        for name, value in (("exif", exif), ("icc_profile", icc_profile)):
            if value is not None and not isinstance(value, bytes):
                raise EdgepressError(f"{name} must be bytes, not {type(value).__name__}")
        metadata = cls((exif or b"").removeprefix(_EXIF_PREFIX), icc_profile or b"")
        size = len(metadata.exif) + len(metadata.icc_profile) + 2 * _HEAD
        if size > MAX_BYTES:
            raise EdgepressError(
                f"EXIF and ICC profile have {size} bytes, and the limit is {MAX_BYTES}: leave them out"
            )
        return metadata

    def to_bytes(self) -> bytes:
        """The block of records."""
        records = ((_EXIF, self.exif), (_ICC, self.icc_profile))
        return b"".join(
            bytes((kind,)) + len(content).to_bytes(4, "little") + content
            for kind, content in records
            if content
        )

    @classmethod
    def from_bytes(cls, block: bytes) -> Metadata:
        """The metadata in a block.

        Raises:
            CorruptStreamError: the records do not fill the block exactly, are empty or out of order.
        """
        found = {}
        position = last = 0
        while position < len(block):
            kind = block[position]
            start = position + _HEAD
            # A head that is cut gives a length that is too small or 0, and a start beyond the block.
            position = start + int.from_bytes(block[position + 1 : start], "little")
            if kind <= last or not start < position <= len(block):
                raise CorruptStreamError("the .epx stream is damaged: its metadata cannot be read")
            found[kind] = block[start:position]
            last = kind
        return cls(found.get(_EXIF, b""), found.get(_ICC, b""))

    def as_info(self) -> dict[str, bytes]:
        """As Pillow has them in `image.info` and takes them in `image.save`: what is there, under its name."""
        info = {}
        if self.exif:
            info["exif"] = _EXIF_PREFIX + self.exif
        if self.icc_profile:
            info["icc_profile"] = self.icc_profile
        return info
