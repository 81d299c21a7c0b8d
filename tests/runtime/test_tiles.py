"""Large images in tiles: the cuts themselves, and results that are those of one piece to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgepress.runtime import Codec, autoencoder
from edgepress.runtime.images import to_gray
from edgepress.runtime.package import shipped
from edgepress.runtime.parts import ImageParts
from edgepress.runtime.tiles import tiles

SIZES = [(333, 601), (1, 3000), (3000, 17)]


@given(
    rows=st.integers(1, 90), columns=st.integers(1, 90), halo=st.integers(0, 9), limit=st.integers(4, 2000)
)
@settings(max_examples=200, deadline=None)
def test_every_position_is_kept_once_with_its_neighbours(rows, columns, halo, limit):
    kept = np.zeros((rows, columns), int)
    sizes = set()
    for tile in tiles(rows, columns, halo, limit):
        kept[tile.kept] += 1
        sizes.add((tile.rows.size, tile.columns.size))
        for span, length in ((tile.rows, rows), (tile.columns, columns)):
            assert 0 <= span.start <= span.keep < span.keep_stop <= span.stop <= length
            assert span.start == 0 or span.keep - span.start >= halo
            assert span.stop == length or span.stop - span.keep_stop >= halo
            assert span.inner == slice(span.keep - span.start, span.keep_stop - span.start)
    assert (kept == 1).all()
    assert len(sizes) == 1
    height, width = sizes.pop()
    assert height * width <= max(limit, (4 * halo + 1) ** 2, (4 * halo + 1) * int(limit**0.5))


def test_nothing_is_cut_without_need_or_knowledge():
    assert len(list(tiles(10, 10, 1, 100))) == 1
    assert len(list(tiles(1000, 1000, None, 100))) == 1
    assert len(list(tiles(10, 10, 1, 99))) > 1


def test_overlap_costs_little_work():
    """24 megapixels at 1/16, three neighbours, tiles of a megapixel."""
    area = sum(tile.rows.size * tile.columns.size for tile in tiles(250, 375, 3, 4096))
    assert area < 1.25 * 250 * 375


@pytest.fixture(scope="module", params=["tiny", *shipped()])
def codec(request):
    if request.param == "tiny":
        return request.getfixturevalue("tiny_codec")
    return Codec.load(request.param)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_tiles_give_what_one_piece_gives(codec, astronaut, monkeypatch, height, width):
    image = np.tile(astronaut, (6, 6, 1))[:height, :width]
    gray = to_gray(image)

    def results():
        data = codec.encode(image, 75)
        of_gray = codec.encode(gray, 75)
        pixels = codec.decode_array(data)
        assert np.array_equal(codec.decode(data), pixels)
        return codec.latent(image), data, pixels, of_gray, np.asarray(codec.decode(of_gray))

    expected = results()
    for limit in (20_000, 1 << 16):
        monkeypatch.setattr(autoencoder, "TILE_PIXELS", limit)
        for found, whole in zip(results(), expected, strict=True):
            assert found == whole if isinstance(whole, bytes) else np.array_equal(found, whole)


@pytest.mark.parametrize("label", ["encoder", "decoder"])
def test_less_overlap_would_show(astronaut, monkeypatch, label):
    """Or the test above could not fail: photo's networks do see neighbours."""
    codec = Codec.load("photo")
    image = np.tile(astronaut, (2, 2, 1))
    latent = codec.latent(image)
    pixels = codec.reconstruct(latent)
    monkeypatch.setattr(autoencoder, "TILE_PIXELS", 1 << 16)
    monkeypatch.setitem(codec._networks._halos, label, 0)
    changed = codec.latent(image) if label == "encoder" else codec.reconstruct(latent)
    assert not np.array_equal(changed, latent if label == "encoder" else pixels)


def test_parts_of_an_image_are_those_of_its_array(astronaut):
    image = Image.fromarray(astronaut)
    for source in (image, image.convert("L")):
        whole, parts = np.asarray(source), ImageParts(source)
        assert (parts.shape, parts.ndim) == (whole.shape, whole.ndim)
        for part in ((slice(0, 7), slice(3, 512)), (slice(500, 600), slice(511, 999))):
            assert np.array_equal(parts[part], whole[part])


def test_a_source_in_parts_gives_the_same_latent(tiny_codec, astronaut, monkeypatch):
    monkeypatch.setattr(autoencoder, "TILE_PIXELS", 1 << 14)
    networks = tiny_codec._networks
    parts = ImageParts(Image.fromarray(astronaut[:301, :333]))
    for band in (1, 1000, 1 << 20):  # pixels, at least a row
        monkeypatch.setattr("edgepress.runtime.parts.BAND_PIXELS", band)
        assert np.array_equal(networks.latent(parts), networks.latent(astronaut[:301, :333]))
