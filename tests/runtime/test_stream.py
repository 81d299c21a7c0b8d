"""The .epx container."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepress.runtime import CorruptStreamError
from edgepress.runtime.stream import Header, pack, parse, parse_header

HEADER = Header("RGB", b"\x01\x02\x03", 75, 640, 480)
SIDES = st.integers(1, 2**31 - 1)


@given(
    st.sampled_from(["RGB", "L"]),
    st.binary(min_size=3, max_size=3),
    st.integers(1, 100),
    SIDES,
    SIDES,
    st.binary(),
)
def test_what_is_packed_is_parsed(mode, model_id, quality, width, height, payload):
    header = Header(mode, model_id, quality, width, height)
    data = pack(header, payload)
    assert parse(data) == (header, payload)
    assert parse_header(data[:18]) == header


def test_layout_is_the_documented_one():
    body = b"EPX" + bytes([0x21, 0xAA, 0xBB, 0xCC, 50, 5, 0x80, 0x02]) + b"payload"
    data = pack(Header("L", b"\xaa\xbb\xcc", 50, 5, 256), b"payload")
    assert data[:-4] == body
    assert parse(bytearray(data)) == parse(memoryview(data)) == parse(data)


def test_at_most_16_bytes_beside_the_payload():
    assert len(pack(Header("RGB", b"abc", 75, 16383, 16383), b"")) == 16


def test_every_truncation_and_every_flipped_bit_is_noticed():
    data = pack(HEADER, b"some payload")
    for end in range(len(data)):
        with pytest.raises(CorruptStreamError):
            parse(data[:end])
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptStreamError):
            parse(damaged)


@pytest.mark.parametrize(
    ("start", "complaint"),
    [
        (b"", "not an .epx"),
        (b"\x89PNG", "not an .epx"),
        (b"EPX", "truncated"),
        (b"EPX\x30abc\x4b\x01\x01", "newer edgepress"),
        (b"EPX\x10abc\x4b\x01\x01", "development version"),
        (b"EPX\x22abc\x4b\x01\x01", "mode 2"),
        (b"EPX\x20abc\x00\x01\x01", "quality 0"),
        (b"EPX\x20abc\x65\x01\x01", "quality 101"),
        (b"EPX\x20abc\x4b\x00\x01", "width or height"),  # zero
        (b"EPX\x20abc\x4b\x80\x00\x01", "width or height"),  # a longer way to write zero
        (b"EPX\x20abc\x4b\xff\xff\xff\xff\xff\x01", "width or height"),  # does not end
        (b"EPX\x20abc\x4b\xff\xff\xff\xff\x7f\x01", "width or height"),  # 2**35 - 1
    ],
)
def test_headers_that_cannot_be(start, complaint):
    with pytest.raises(CorruptStreamError, match=complaint):
        parse(start)


def test_only_bytes_are_streams():
    with pytest.raises(CorruptStreamError, match="not str"):
        parse("EPX")
    with pytest.raises(CorruptStreamError, match="not NoneType"):
        parse_header(None)
