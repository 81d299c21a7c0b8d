"""Damaged streams: every one ends in one of our errors or in a valid image, never in anything else."""

import zlib

import numpy as np
import pytest

from edgepress.runtime import Codec, CorruptStreamError, EdgepressError, UnknownModelError

MUTATIONS = 1000


@pytest.fixture(scope="module")
def codec(tiny_package):
    # A damaged header may ask for a large image; the limit keeps each try short.
    return Codec.load(tiny_package, max_pixels=1 << 14)


@pytest.fixture(scope="module")
def stream(codec, astronaut):
    return codec.encode(astronaut[100:148, 200:240], 70)


def mutations(data, seed):
    """`data` with 1 to 4 changes each: a bit, a byte, a piece overwritten, removed, repeated or inserted."""
    random = np.random.default_rng(seed)
    for _ in range(MUTATIONS):
        mutant = bytearray(data)
        for _ in range(random.integers(1, 5)):
            # The header is a small part of the stream and deserves a large part of the damage.
            start = int(random.integers(len(mutant) if random.random() < 0.6 else 12))
            length = int(random.integers(1, 9))
            piece = mutant[start : start + length]
            kind = random.integers(6)
            if kind == 0 and start < len(mutant):
                mutant[start] ^= 1 << int(random.integers(8))
            elif kind == 1:
                mutant[start : start + 1] = random.bytes(1)
            elif kind == 2:
                mutant[start : start + length] = random.choice([b"\x00", b"\xff"]) * length
            elif kind == 3:
                del mutant[start : start + length]
            elif kind == 4:
                mutant[start:start] = piece
            else:
                mutant[start:start] = random.bytes(length)
        yield bytes(mutant)


def outcome(codec, data):
    """The class of the error, or None for an image that is whole."""
    try:
        image = codec.decode(data)
    except EdgepressError as error:
        assert "\n" not in str(error)
        return type(error)
    assert image.mode in ("RGB", "L") and 1 <= image.width * image.height <= codec.max_pixels
    image.tobytes()
    return None


def test_mutations(codec, stream):
    outcomes = [outcome(codec, mutant) for mutant in mutations(stream, 1) if mutant != stream]
    assert set(outcomes) == {CorruptStreamError}  # the checksum sees them all


def test_truncations(codec, stream):
    assert {outcome(codec, stream[:end]) for end in range(len(stream))} == {CorruptStreamError}
    assert {outcome(codec, stream[start:]) for start in range(1, len(stream) + 1)} == {CorruptStreamError}


def with_checksum(body):
    return body + zlib.crc32(body).to_bytes(4, "little")


def test_mutations_behind_the_checksum(codec, stream):
    """With the checksum put right, the damage gets to the header's parser and to the entropy decoder."""
    outcomes = [outcome(codec, with_checksum(mutant)) for mutant in mutations(stream[:-4], 2)]
    assert {CorruptStreamError, UnknownModelError, None} <= set(outcomes)
    assert outcomes.count(CorruptStreamError) > MUTATIONS / 2


def test_truncations_behind_the_checksum(codec, stream):
    outcomes = {outcome(codec, with_checksum(stream[:end])) for end in range(len(stream) - 4)}
    assert outcomes == {CorruptStreamError}


def test_noise_behind_a_good_header(codec, stream):
    random = np.random.default_rng(3)
    for length in range(300):
        payload = random.bytes(length)
        assert outcome(codec, with_checksum(stream[:10] + payload)) in (CorruptStreamError, None)
