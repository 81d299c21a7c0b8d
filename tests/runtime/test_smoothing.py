"""Borders of blocks smoothed: flat ones become slopes, edges and texture stay, C and Python agree, and so do tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from randomtables import needs_native, quick, seeds

from edgepress.runtime import Codec, autoencoder, coder, smoothing
from edgepress.runtime.coder import native
from edgepress.runtime.errors import BadPackageError
from edgepress.runtime.package import read_package
from edgepress.runtime.smoothing import LEAST, MOST, STEP, limit_of, smooth

BOTH = pytest.mark.parametrize("backend", ["python", pytest.param("native", marks=needs_native)])


@pytest.fixture
def chosen(monkeypatch, backend):
    monkeypatch.setattr(smoothing, "native", native if backend == "native" else None)


def row(levels, noise=0.0):
    """Blocks of 16x16 pixels beside each other, of these grey levels, uint8, their borders as decoders leave them."""
    line = np.array(levels, float).repeat(16)
    for border in range(1, len(levels)):
        low, high = levels[border - 1 : border + 1]
        line[16 * border - 8 : 16 * border + 8] = low + (high - low) * STEP / 256
    return np.clip(np.rint(np.broadcast_to(line[:, None], (16, line.size, 3)) + noise), 0, 255).astype(
        np.uint8
    )


@BOTH
def test_a_step_between_flat_blocks_becomes_a_slope(chosen):
    pixels = row([100, 124])
    upright = np.ascontiguousarray(pixels.swapaxes(0, 1))
    smooth(pixels, 16, 32 * 30)
    slope = 100 + 24 * np.clip(0.5 + (np.arange(16) - 7.5) / 12, 0, 1)
    assert np.abs(pixels[:, 8:24] - slope[:, None]).max() <= 1.1
    assert (pixels[:, :8] == 100).all() and (pixels[:, 24:] == 124).all()
    smooth(upright, 16, 32 * 30)
    np.testing.assert_array_equal(upright, pixels.swapaxes(0, 1))


@BOTH
def test_a_step_that_nothing_has_rounded_off_is_halved_at_least(chosen):
    pixels = np.array([100, 112], np.uint8).repeat(16)[None, :, None].repeat(16, 0).repeat(3, 2)
    smooth(pixels, 16, 32 * 20)
    steps = np.diff(pixels[0, :, 0].astype(int))
    assert (pixels == pixels[:1, :, :1]).all() and (steps >= 0).all() and steps.max() <= 6


@BOTH
def test_edges_stay_and_less_is_done_towards_them(chosen):
    def moved(step):
        pixels = row([100, 100 + step])
        before = pixels.astype(int)
        smooth(pixels, 16, 32 * 20)
        return np.abs(pixels - before).max() / step

    assert moved(40) == moved(100) == 0
    assert moved(20) > 0.1 and moved(20) > moved(30) > moved(37) > 0
    nothing = row([7, 7])
    smooth(nothing, 16, MOST)
    assert (nothing == 7).all()


@BOTH
def test_what_goes_on_beside_a_border_hides_it(chosen):
    rng = np.random.default_rng(0)
    levels = [100, 112] * 20
    found = []
    for noise in (0, 1, 3, 40):
        before = row(levels, rng.normal(0, noise, (16, 640, 3)))
        after = before.copy()
        smooth(after, 16, 32 * 20)
        # The pixels second from each border, which move most, towards the next block
        change = (after.astype(float) - before)[:, 14:624:16].mean(axis=(0, 2))
        found.append(np.mean(change * np.where(np.diff(levels) > 0, 1, -1)))
    assert found == sorted(found, reverse=True) and found[0] > 1.5 and found[2] > 0.2 and abs(found[3]) < 0.1


@needs_native
@quick
@given(
    seed=seeds,
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    block=st.sampled_from([16, 32, 48]),
    limit=st.integers(1, MOST),
    noise=st.sampled_from([0, 1, 4, 200]),
)
def test_c_and_python_agree(seed, rows, columns, block, limit, noise):
    rng = np.random.default_rng(seed)
    blocks = (
        rng.integers(0, 256, (rows, columns, 3)) if seed % 2 else rng.integers(90, 130, (rows, columns, 3))
    )
    pixels = blocks.repeat(block, 0).repeat(block, 1) + rng.normal(
        0, noise, (rows * block, columns * block, 3)
    )
    first = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    second = first.copy()
    smooth(first, block, limit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoothing, "native", None)
        smooth(second, block, limit)
    np.testing.assert_array_equal(first, second)


@needs_native
def test_the_c_function_refuses_what_it_cannot_smooth():
    pixels = np.zeros((32, 48, 3), np.uint8)
    native.smooth(pixels, 32, 48, 16, 9)
    for height, width, block, limit in (
        (32, 32, 16, 9),
        (48, 64, 16, 9),
        (32, 48, 8, 9),
        (32, 48, 0, 9),
        (32, 48, 32, 9),
        (32, 48, 16, 0),
        (32, 48, 16, MOST + 1),
        (-32, -48, 16, 9),
        (1 << 40, 1 << 40, 16, 9),
    ):
        with pytest.raises(ValueError, match="size"):
            native.smooth(pixels, height, width, block, limit)


def test_limits_follow_the_steps_and_end_where_nothing_is_to_be_seen():
    package = Codec.load("photo").package
    limits = [limit_of(package.tables, package.smoothing, quality) for quality in range(1, 101)]
    assert limits == sorted(limits, reverse=True)
    assert limits[0] == int(package.tables.step16[0]) * package.smoothing // 16 > 2 * LEAST
    assert limits[24] >= LEAST and limits[49] == limits[99] == 0  # no time is spent from quality 50 on
    assert not any(limit_of(package.tables, 0, quality) for quality in (1, 50))
    assert limit_of(package.tables, 255, 1) <= MOST


def test_there_is_less_to_see_of_seams_in_a_sky():
    """A slope of a few grey levels, at qualities whose steps are nearly as large as all of it."""
    codec = Codec.load("photo")
    sky = np.linspace(120, 150, 256)[:, None, None] + np.linspace(0, 12, 256)[:, None] + np.array([0, 8, 25])
    image = np.rint(sky).astype(np.uint8)

    def seams(pixels):
        """Mean slope, along 8 pixels, of the four pixels at each border, beyond that in the middle of blocks."""
        lines = pixels[:, 4:252].astype(float).reshape(256, 31, 8, 3).mean(axis=2)
        slopes = np.abs(lines[4:] - lines[:-4]).mean(axis=(1, 2))  # from i to i + 4
        return slopes[14::16].mean() - slopes[6::16].mean()

    for quality in (5, 15, 25):
        rough = codec.reconstruct(codec_latent(codec, image, quality))
        shown = codec.decode_array(codec.encode(image, quality))
        assert seams(shown) < 0.8 * seams(rough), quality
        assert np.square(shown - sky).mean() < 1.01 * np.square(rough - sky).mean()


def codec_latent(codec, image, quality):
    """The latent that a decoder gets."""
    package = codec.package
    symbols = codec.symbols(codec.encode(image, quality))
    return coder.dequantize(symbols, package.zero_point, package.tables, quality)


def test_tiles_are_smoothed_as_one_piece(astronaut, monkeypatch):
    codec = Codec.load("photo")
    image = np.tile(astronaut, (2, 3, 1))[:701, :1111]
    data = codec.encode(image, 5)
    whole = codec.decode_array(data)
    rough = codec.reconstruct(codec_latent(codec, image, 5))[:701, :1111]
    assert not np.array_equal(whole, rough)
    for limit in (20_000, 1 << 16):
        monkeypatch.setattr(autoencoder, "TILE_PIXELS", limit)
        np.testing.assert_array_equal(codec.decode_array(data), whole)
        np.testing.assert_array_equal(np.asarray(codec.decode(data)), whole)
    monkeypatch.setitem(codec._networks._halos, "decoder", codec._networks._halo("decoder") - 1)
    assert not np.array_equal(codec.decode_array(data), whole)  # or the equality above could not fail


def test_smoothing_is_part_of_a_package_and_of_its_id(tiny_writer, tmp_path):
    package = Codec.load("photo").package
    manifest = package.manifest

    def written(smoothing, **changes):
        parts = {
            name: getattr(package, name) for name in ("stride", "zero_point", "encoder", "decoder", "tables")
        }
        return tiny_writer(tmp_path / f"{smoothing}.epm", **{**parts, "smoothing": smoothing, **changes})

    same, none = written(manifest["smoothing"]), written(0)
    assert same.model_id == package.model_id != none.model_id
    assert (read_package(tmp_path / "0.epm").smoothing, "smoothing" in none.manifest) == (0, False)
    for wrong in (-1, 256, True, 1.5, "1"):
        with pytest.raises(BadPackageError, match="smoothing must be an integer from 0 to 255"):
            written(wrong)
    for changes in ({"stride": 8}, {"tile": 128}):
        with pytest.raises(BadPackageError, match="smoothing needs a stride"):
            written(5, **changes)
