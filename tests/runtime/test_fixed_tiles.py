"""Networks of fixed size: every image is coded in tiles of that size, side by side."""

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime import BadPackageError, Codec, UnsupportedImageError, autoencoder
from edgepress.runtime.describe import describe_package
from edgepress.runtime.tiles import grid

SIZES = [(16, 16), (1, 1), (17, 16), (45, 70)]


@pytest.fixture(scope="module")
def tiled(tmp_path_factory, tiny_writer):
    """The tiny codec, whose networks are written down for 16x16 pixels, with nothing but that size allowed."""
    path = tmp_path_factory.mktemp("tiled") / "tiny.epm"
    tiny_writer(path, tile=16)
    return Codec.load(path)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_images_of_any_size_are_coded_in_whole_tiles(
    tiled, tiny_codec, astronaut, height, width, mode, monkeypatch
):
    image = np.array(Image.fromarray(astronaut[:height, 30 : 30 + width]).convert(mode))
    data = tiled.encode(image, 90)
    shapes = []
    networks = tiled._networks
    for network in (networks._encoder, networks._decoder):
        run = network.run
        monkeypatch.setattr(
            network, "run", lambda shape, *a, run=run: (shapes.append(shape), run(shape, *a))[1]
        )
    assert tiled.encode(image, 90) == data
    decoded = tiled.decode_array(data)
    assert decoded.shape == image.shape
    count = -(-height // 16) * -(-width // 16)
    assert shapes == [(1, 16, 16, 3)] * count + [(1, 2, 2, tiled.package.latent_channels)] * count
    assert tiled.symbols(data).shape[1:] == (2 * -(-height // 16), 2 * -(-width // 16))
    # These networks see no neighbours, so tiles must give what one piece gives.
    padding = ((0, -height % 16), (0, -width % 16), (0, 0))[: image.ndim]
    padded = np.pad(image, padding, mode="edge")
    assert np.array_equal(tiled.latent(image), tiny_codec.latent(padded))
    assert np.array_equal(decoded, tiny_codec.decode_array(tiny_codec.encode(padded, 90))[:height, :width])


def test_large_images_are_decoded_tile_by_tile(tiled, astronaut, monkeypatch):
    data = tiled.encode(astronaut[:100, :90], 75)
    expected = tiled.decode_array(data)
    monkeypatch.setattr(autoencoder, "TILE_PIXELS", 1000)
    assert np.array_equal(np.asarray(tiled.decode(data)), expected)


def test_a_narrow_image_cannot_become_a_large_one(tiled, tmp_path):
    """Its whole tiles have many times its pixels, and count."""
    codec = Codec(tiled.package, max_pixels=16 * 1600)
    wide = np.zeros((1, 1600, 3), np.uint8)
    assert codec.decode_array(codec.encode(wide, 50)).shape == wide.shape
    for run in (codec.encode, codec.latent):
        with pytest.raises(UnsupportedImageError, match="limit"):
            run(np.zeros((1, 1601, 3), np.uint8))
    data = tiled.encode(np.zeros((1, 1601, 3), np.uint8), 50)
    with pytest.raises(UnsupportedImageError, match="limit"):
        codec.decode(data)


@pytest.mark.parametrize("tile", [0, -16, 12, 8192, True, 16.0, "16"])
def test_nonsense_is_refused(tmp_path, tiny_writer, tile):
    with pytest.raises(BadPackageError, match="tile must be"):
        tiny_writer(tmp_path / "bad.epm", tile=tile)
    assert not list(tmp_path.iterdir())


def test_networks_of_another_size_are_refused(tmp_path, tiny_writer):
    tiny_writer(tmp_path / "bad.epm", tile=32)
    with pytest.raises(BadPackageError, match="must be 4x4 for the manifest's tile"):
        Codec.load(tmp_path / "bad.epm")


def test_the_tile_is_told_and_is_not_there_for_others(tiled, tiny_package):
    assert describe_package(tiled.package.path)["tile"] == 16
    assert "tile" not in describe_package(tiny_package) and Codec.load(tiny_package).package.tile is None


def test_the_grid_covers_all_once():
    kept = np.zeros((12, 20), int)
    for tile in grid(12, 20, 4):
        kept[tile.kept] += 1
        assert tile.inner == (slice(0, 4), slice(0, 4))
    assert (kept == 1).all()
