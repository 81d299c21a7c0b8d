"""EXIF and ICC profile in the .epx container, and in what the codec takes and gives."""

import io
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgepress.runtime import CorruptStreamError, EdgepressError
from edgepress.runtime.metadata import MAX_BYTES, Metadata
from edgepress.runtime.stream import Header, pack, parse, parse_header, parse_metadata, read_start

HEADER = Header("RGB", b"abc", 75, 300, 200)
BOTH = Metadata(b"II*\0 some EXIF", b"some profile")
METADATA = st.builds(Metadata, st.binary(max_size=300), st.binary(max_size=300))


def with_checksum(body):
    return body + zlib.crc32(body).to_bytes(4, "little")


@given(METADATA, st.binary(max_size=100))
def test_what_is_packed_is_parsed(metadata, payload):
    data = pack(HEADER, payload, metadata)
    assert parse(data) == (HEADER, payload)
    assert parse_header(data[:18]) == HEADER
    assert parse_metadata(data) == metadata
    file = io.BytesIO(data + b"x" * 100_000)
    assert read_start(file) == (HEADER, metadata)
    assert file.tell() <= max(len(data), 22)  # what follows stays unread


def test_layout_is_the_documented_one():
    block = b"\x01\x03\0\0\0MM*" + b"\x02\x02\0\0\0pr"
    header = b"EPX\x29abc\x4b\x05\x06"
    data = pack(Header("L", b"abc", 75, 5, 6), b"payload", Metadata(b"MM*", b"pr"))
    assert data == with_checksum(header + len(block).to_bytes(4, "little") + block + b"payload")


@given(st.binary(max_size=40))
def test_without_metadata_a_stream_is_what_it_was(payload):
    data = pack(HEADER, payload, Metadata())
    assert data == with_checksum(b"EPX\x20abc\x4b\xac\x02\xc8\x01" + payload)
    assert not parse_metadata(data)


def test_kinds_of_later_versions_are_passed_over():
    block = BOTH.to_bytes() + b"\x09\x04\0\0\0data"
    assert Metadata.from_bytes(block) == BOTH
    assert Metadata.from_bytes(b"\x09\x04\0\0\0data") == Metadata()


@given(st.binary(max_size=60))
def test_any_bytes_are_a_block_or_an_error(block):
    try:
        metadata = Metadata.from_bytes(block)
    except CorruptStreamError:
        return
    assert len(metadata.exif) + len(metadata.icc_profile) < max(1, len(block))


@pytest.mark.parametrize(
    "block",
    [
        b"\x01",
        b"\x01\x01\0\0",
        b"\x01\x00\0\0\0",  # empty
        b"\x01\x05\0\0\0abc",  # too long
        b"\x01\xff\xff\xff\xffabc",
        b"\x00\x01\0\0\0a",  # kind 0
        b"\x02\x01\0\0\0a\x01\x01\0\0\0a",  # not in order
        b"\x01\x01\0\0\0a\x01\x01\0\0\0a",  # twice
        b"\x01\x01\0\0\0a\x02",
    ],
)
def test_blocks_that_cannot_be(block):
    with pytest.raises(CorruptStreamError, match="metadata"):
        Metadata.from_bytes(block)
    start = b"EPX\x28abc\x4b\x05\x06" + len(block).to_bytes(4, "little") + block
    for read in (parse, parse_metadata):
        with pytest.raises(CorruptStreamError):
            read(with_checksum(start + b"payload"))
    with pytest.raises(CorruptStreamError):
        read_start(io.BytesIO(start))


@pytest.mark.parametrize("length", [0, MAX_BYTES + 1, 2**32 - 1])
def test_absurd_lengths_are_damage_and_read_nothing(length):
    class Counting(io.BytesIO):
        asked = 0

        def read(self, size=-1):
            self.asked += size
            return super().read(size)

    start = b"EPX\x28abc\x4b\x05\x06" + length.to_bytes(4, "little")
    for read in (parse, parse_metadata):
        with pytest.raises(CorruptStreamError, match=f"{length} bytes of metadata"):
            read(with_checksum(start))
    file = Counting(start + b"x" * 100)
    with pytest.raises(CorruptStreamError, match=f"{length} bytes of metadata"):
        read_start(file)
    assert file.asked == 22


def test_every_truncation_and_every_flipped_bit_is_noticed():
    data = pack(HEADER, b"payload", BOTH)
    for end in range(len(data)):
        with pytest.raises(CorruptStreamError):
            parse(data[:end])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStreamError):
            parse(damaged)


@given(st.data())
def test_mutations_behind_the_checksum(data):
    whole = bytearray(pack(HEADER, b"payload", BOTH)[:-4])
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(whole)))
        whole[start : start + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    stream = with_checksum(bytes(whole))
    try:
        _, payload = parse(stream)
    except CorruptStreamError:
        return
    metadata = parse_metadata(stream)
    assert len(payload) + len(metadata.exif) + len(metadata.icc_profile) < len(stream)


def test_the_codec_carries_both(tiny_codec, astronaut):
    image = Image.fromarray(astronaut[:40, :56])
    image.info.update(exif=b"Exif\0\0not asked for", icc_profile=b"not asked for")
    plain = tiny_codec.encode(image)
    assert tiny_codec.decode(plain).info == {}
    for exif in (BOTH.exif, b"Exif\0\0" + BOTH.exif):
        data = tiny_codec.encode(image, exif=exif, icc_profile=BOTH.icc_profile)
        assert len(data) == len(plain) + 4 + 2 * 5 + len(BOTH.exif) + len(BOTH.icc_profile)
        decoded = tiny_codec.decode(data)
        assert decoded.info == {"exif": b"Exif\0\0" + BOTH.exif, "icc_profile": BOTH.icc_profile}
        assert decoded.tobytes() == tiny_codec.decode(plain).tobytes()
    assert tiny_codec.decode(tiny_codec.encode(image, icc_profile=b"p")).info == {"icc_profile": b"p"}
    assert tiny_codec.encode(image, exif=b"", icc_profile=b"") == plain
    assert tiny_codec.encode(image, exif=b"Exif\0\0") == plain


def test_a_small_colour_image_has_16_bytes_beside_its_payload(tiny_codec, astronaut):
    data = tiny_codec.encode(astronaut[:128, :128])
    assert len(data) - len(parse(data)[1]) == 16


def test_metadata_that_cannot_be(tiny_codec, astronaut):
    image = astronaut[:8, :8]
    with pytest.raises(EdgepressError, match="exif must be bytes, not str"):
        tiny_codec.encode(image, exif="text")
    with pytest.raises(EdgepressError, match="icc_profile must be bytes, not bytearray"):
        tiny_codec.encode(image, icc_profile=bytearray(b"x"))
    with pytest.raises(EdgepressError, match=f"limit is {MAX_BYTES}: leave them out"):
        tiny_codec.encode(image, exif=bytes(MAX_BYTES // 2), icc_profile=bytes(MAX_BYTES // 2))
    largest = bytes(MAX_BYTES - 10)
    assert tiny_codec.decode(tiny_codec.encode(image, icc_profile=largest)).info["icc_profile"] == largest
