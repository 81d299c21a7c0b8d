"""How far networks see, against what they do: a change beyond the halo must change nothing."""

import numpy as np
import pytest

from edgepress.runtime import Codec
from edgepress.runtime.package import read_package, shipped
from edgepress.runtime.reach import halo


def test_a_block_transform_sees_only_its_blocks(tiny_writer):
    assert halo(tiny_writer.encoder(), 8, "encoder") == 0
    assert halo(tiny_writer.decoder(), 8, "decoder") == 0


@pytest.mark.parametrize("name", shipped())
def test_what_lies_beyond_the_halo_does_not_matter(name):
    package = read_package(shipped()[name])
    codec = Codec(package)
    stride, random = package.stride, np.random.default_rng(0)
    n, middle = 32, 16
    reach = halo(package.encoder, stride, "encoder")
    assert 0 <= reach < middle
    image = random.integers(0, 256, (n * stride, n * stride, 3), np.uint8)
    other = random.integers(0, 256, image.shape, np.uint8)
    inside = slice((middle - reach) * stride, (middle + 1 + reach) * stride)
    other[inside, inside] = image[inside, inside]
    first, second = codec.latent(image), codec.latent(other)
    assert np.array_equal(first[middle, middle], second[middle, middle])
    assert not np.array_equal(first, second)

    reach = halo(package.decoder, stride, "decoder")
    assert 0 <= reach < middle
    other_latent = second.copy()
    inside = slice(middle - reach, middle + 1 + reach)
    other_latent[inside, inside] = first[inside, inside]
    block = slice(middle * stride, (middle + 1) * stride)
    made, changed = codec.reconstruct(first), codec.reconstruct(other_latent)
    assert np.array_equal(made[block, block], changed[block, block])
    assert not np.array_equal(made, changed)


def test_unknown_operators_are_not_cut(tiny_writer, monkeypatch):
    monkeypatch.setattr("edgepress.runtime.reach._DEPTH_TO_SPACE", -1)
    monkeypatch.setattr("edgepress.runtime.reach._CONCATENATION", -1)
    assert halo(tiny_writer.decoder(), 8, "decoder") is None


def test_no_damage_does_more_than_that(tiny_writer):
    model = bytearray(tiny_writer.encoder())
    random = np.random.default_rng(1)
    for _ in range(500):
        damaged = model.copy()
        for position in random.integers(0, min(len(model), 4000), random.integers(1, 4)):
            damaged[position] = random.integers(256)
        found = halo(bytes(damaged), 8, "encoder")
        assert found is None or 0 <= found <= 1 << 20
    for length in range(0, 400, 7):
        assert halo(bytes(model[:length]), 8, "encoder") is None
