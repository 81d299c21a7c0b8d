"""The codec on real photographs: sizes, modes, qualities, types, threads."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime import (
    Codec,
    CorruptStreamError,
    EdgepressError,
    UnknownModelError,
    UnsupportedImageError,
    coder,
    interpreter,
    stream,
)
from edgepress.runtime.images import to_gray
from edgepress.runtime.interpreter import Network, choose_interpreter
from edgepress.runtime.stream import parse_header


def psnr(first, second):
    return 10 * np.log10(255**2 / np.mean((np.asarray(first, float) - np.asarray(second, float)) ** 2))


def photograph(astronaut, width, height):
    """A photograph of any size, not a multiple of itself: the astronaut, repeated and shifted."""
    tiles = np.tile(astronaut, (-(-height // 512), -(-width // 512), 1))
    return np.ascontiguousarray(np.roll(tiles, 100, axis=0)[:height, :width])


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 7), (7, 1), (17, 31), (128, 128), (2000, 1500)])
@pytest.mark.parametrize("gray", [False, True])
def test_symbols_and_images_come_back(tiny_codec, astronaut, width, height, gray):
    if width * height > 10**6 and coder.BACKEND == "python":
        pytest.skip("half a minute with the Python coder")
    image = photograph(astronaut, width, height)
    if gray:
        image = to_gray(image)
    data = tiny_codec.encode(image, 80)
    package = tiny_codec.package
    encoded = coder.quantize(tiny_codec.latent(image), package.zero_point, package.tables, 80)
    assert np.array_equal(tiny_codec.symbols(data), encoded)
    assert encoded.shape == (40, -(-height // 8), -(-width // 8))
    decoded = tiny_codec.decode_array(data)
    assert decoded.shape == image.shape and decoded.dtype == np.uint8
    assert psnr(decoded, image) > 25
    as_image = tiny_codec.decode(data)
    assert (as_image.size, as_image.mode) == ((width, height), "L" if gray else "RGB")
    assert np.array_equal(as_image, decoded)


def test_arrays_and_images_give_the_same_bytes(tiny_codec, astronaut):
    part = astronaut[100:163, 50:99]  # not contiguous
    data = tiny_codec.encode(part)
    assert data == tiny_codec.encode(part.copy()) == tiny_codec.encode(Image.fromarray(part.copy()))
    read_only = part.copy()
    read_only.flags.writeable = False
    assert tiny_codec.encode(read_only) == data
    assert len(data) < part.size / 4


def test_gray_files_are_smaller_than_colour_files(tiny_codec, astronaut):
    gray = to_gray(astronaut)
    assert len(tiny_codec.encode(gray)) < len(tiny_codec.encode(astronaut))
    header = parse_header(tiny_codec.encode(gray[:3, :5]))
    assert (header.mode, header.width, header.height, header.quality) == ("L", 5, 3, 75)


def test_the_mean_of_the_channels_is_rounded():
    rgb = np.array([[[0, 0, 1], [0, 1, 1], [255, 255, 255], [1, 2, 4]]], np.uint8)
    assert to_gray(rgb).tolist() == [[0, 1, 255, 2]]


def test_quality_buys_fidelity_with_bytes(tiny_codec, astronaut):
    image = astronaut[:256, :256]
    streams = [tiny_codec.encode(image, quality) for quality in (1, 20, 40, 60, 80, 100)]
    sizes = [len(data) for data in streams]
    values = [psnr(tiny_codec.decode_array(data), image) for data in streams]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1] / 4
    assert values == sorted(values) and values[0] < values[-1] - 6


@pytest.mark.parametrize("quality", [0, 101, -1, 50.0, "75", None, True])
def test_qualities_that_cannot_be(tiny_codec, quality):
    with pytest.raises(EdgepressError, match="quality must be an integer from 1 to 100"):
        tiny_codec.encode(np.zeros((8, 8, 3), np.uint8), quality)


def test_padding_repeats_the_border(tiny_codec, astronaut):
    image = astronaut[:13, :21]
    whole = np.pad(image, ((0, 3), (0, 3), (0, 0)), mode="edge")
    assert np.array_equal(tiny_codec.latent(image), tiny_codec.latent(whole))
    assert tiny_codec.reconstruct(tiny_codec.latent(image)).shape == (16, 24, 3)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "float32"])
def test_networks_may_store_pixels_in_any_of_three_ways(tiny_writer, tiny_codec, tmp_path, astronaut, dtype):
    path = tmp_path / "a.epm"
    tiny_writer(path, encoder=tiny_writer.encoder(dtype), decoder=tiny_writer.decoder(dtype))
    codec = Codec.load(path)
    image = astronaut[:64, :72]
    latent = codec.latent(image)
    assert np.array_equal(latent, tiny_codec.latent(image))
    assert np.array_equal(codec.reconstruct(latent), tiny_codec.reconstruct(latent))
    for part in (image, image[:61, :70], to_gray(image[:61, :70])):
        data, expected = codec.encode(part), tiny_codec.decode_array(tiny_codec.encode(part))
        for decoded in (codec.decode(data), codec.decode(data), codec.decode_array(data)):
            assert np.array_equal(decoded, expected)


@pytest.mark.parametrize("scale", [1 / 255, 1 / 256, 0.004, 0.01])
@pytest.mark.parametrize(("dtype", "zero"), [("uint8", 0), ("uint8", 7), ("int8", -128), ("int8", 0)])
def test_every_byte_becomes_the_nearest_pixel_and_back(scale, dtype, zero):
    from edgepress.runtime.tensors import pixel_reader, pixel_writer

    tensor = interpreter.Tensor(0, (1, 8, 8, 3), np.dtype(dtype), scale, zero)
    limits = np.iinfo(dtype)
    stored = np.arange(limits.min, limits.max + 1).astype(dtype).reshape(1, 16, 16)
    pixels = np.empty(stored.shape, np.uint8)
    pixel_reader(tensor, "output")(stored, pixels)
    exact = np.clip((stored.astype(float) - zero) * scale * 255, 0, 255)
    assert np.abs(pixels - exact).max() <= 0.5 + 1e-9
    pixel_reader(tensor, "output")(stored, stored.view(np.uint8))  # where they are
    assert np.array_equal(stored.view(np.uint8), pixels)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    written = np.empty(every.shape, dtype)
    pixel_writer(tensor, "input")(every, written)
    wanted = np.clip(every / 255 / scale + zero, limits.min, limits.max)
    assert np.abs(written - wanted).max() <= 0.5 + 1e-9
    gray = np.empty((16, 16, 3), dtype)
    pixel_writer(tensor, "input")(every[..., np.newaxis], gray)
    assert all(np.array_equal(gray[..., channel], written) for channel in range(3))


def test_float_outputs_beyond_the_range_are_clipped():
    from edgepress.runtime.tensors import pixel_reader

    tensor = interpreter.Tensor(0, (1, 8, 8, 3), np.dtype(np.float32), 0.0, 0)
    values = np.array([-1, 0, 0.5, 1, 7, np.nan, np.inf], np.float32)
    pixels = np.empty(values.shape, np.uint8)
    pixel_reader(tensor, "output")(values, pixels)
    assert pixels.tolist() == [0, 0, 128, 255, 255, 0, 255]


@pytest.mark.parametrize(
    ("mode", "becomes"), [("1", "L"), ("P", "RGB"), ("RGBA", "RGB"), ("LA", "L"), ("L", "L"), ("RGB", "RGB")]
)
def test_modes_that_lose_nothing(tiny_codec, astronaut, mode, becomes):
    image = Image.fromarray(astronaut[:40, :56]).convert(mode)  # alpha channels are opaque
    assert tiny_codec.encode(image) == tiny_codec.encode(image.convert(becomes))
    assert tiny_codec.decode(tiny_codec.encode(image)).mode == becomes


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "I", "F"])
def test_modes_that_would_lose_something(tiny_codec, mode):
    with pytest.raises(UnsupportedImageError, match=f"mode {mode} cannot be encoded without loss"):
        tiny_codec.encode(Image.new(mode, (8, 8)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_not_dropped_silently(tiny_codec, mode):
    image = Image.new(mode, (8, 8))
    with pytest.raises(UnsupportedImageError, match=f"mode {mode} with transparent pixels"):
        tiny_codec.encode(image)
    colour_key = Image.new("P", (8, 8))
    colour_key.info["transparency"] = 0
    with pytest.raises(UnsupportedImageError, match="mode P with transparent pixels"):
        tiny_codec.encode(colour_key)


@pytest.mark.parametrize(
    ("image", "complaint"),
    [
        (None, "not NoneType"),
        ("photo.png", "not str"),
        ([[1, 2], [3, 4]], "not list"),
        (np.zeros((8, 8, 3)), "uint8"),
        (np.zeros((8, 8, 3), np.int8), "uint8"),
        (np.zeros((8, 8, 4), np.uint8), "shape"),
        (np.zeros((8, 8, 1), np.uint8), "shape"),
        (np.zeros(8, np.uint8), "shape"),
        (np.zeros((1, 8, 8, 3), np.uint8), "shape"),
        (np.zeros((0, 8, 3), np.uint8), "empty"),
        (np.zeros((8, 0), np.uint8), "empty"),
        (Image.new("RGB", (0, 5)), "empty"),
    ],
)
def test_what_is_no_image(tiny_codec, image, complaint):
    with pytest.raises(UnsupportedImageError, match=complaint):
        tiny_codec.encode(image)


def test_a_truncated_file_is_an_unsupported_image(tiny_codec, astronaut, tmp_path):
    path = tmp_path / "cut.png"
    Image.fromarray(astronaut[:64]).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with Image.open(path) as image, pytest.raises(UnsupportedImageError, match="cannot be read"):
        tiny_codec.encode(image)


def test_the_limit_of_pixels_holds_both_ways(tiny_package, tiny_codec):
    small = Codec.load(tiny_package, max_pixels=100)
    with pytest.raises(UnsupportedImageError, match="11x10 pixels, but the limit is 100"):
        small.encode(np.zeros((10, 11, 3), np.uint8))
    with pytest.raises(UnsupportedImageError, match="limit"):
        small.encode(Image.new("F", (100, 100)))  # before anything is converted
    with pytest.raises(UnsupportedImageError, match="limit"):
        small.decode(tiny_codec.encode(np.zeros((10, 11), np.uint8)))
    assert small.decode(small.encode(np.zeros((10, 10), np.uint8))).size == (10, 10)


def test_an_image_that_is_consumed_is_closed(tiny_codec, astronaut):
    image = Image.fromarray(astronaut[:40, :64])
    expected = tiny_codec.encode(image)
    assert tiny_codec.encode(image) == expected  # which it is not unless asked
    assert tiny_codec.encode(image, consume=True) == expected
    with pytest.raises(ValueError, match="closed"):
        image.getpixel((0, 0))
    pixels = astronaut[:40, :64]
    assert tiny_codec.encode(pixels, consume=True) == expected == tiny_codec.encode(pixels)


def test_another_package_is_not_used_for_a_stream(tiny_writer, tiny_codec, tmp_path):
    tiny_writer(tmp_path / "other.epm", tables=tiny_writer.tables(bank=11))
    other = Codec.load(tmp_path / "other.epm")
    data = tiny_codec.encode(np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(UnknownModelError, match=f"needs the model {tiny_codec.package.model_id.hex()}"):
        other.decode(data)


def test_many_images_in_order_and_in_parallel(tiny_codec, astronaut):
    images = [astronaut[: 8 + 3 * n, : 80 - 5 * n] for n in range(15)]
    expected = [tiny_codec.encode(image, 60) for image in images]
    for workers in (1, 3, None):
        assert list(tiny_codec.encode_many(iter(images), 60, workers=workers)) == expected
        decoded = list(tiny_codec.decode_many(expected, workers=workers))
        assert all(
            np.array_equal(image, tiny_codec.decode(data))
            for image, data in zip(decoded, expected, strict=True)
        )


def test_many_stops_where_the_damage_is(tiny_codec, astronaut):
    good = tiny_codec.encode(astronaut[:16, :16])
    results = tiny_codec.decode_many([good, good, b"EPX", good], workers=2)
    assert next(results).size == next(results).size == (16, 16)
    with pytest.raises(CorruptStreamError):
        next(results)


def test_one_codec_serves_many_threads(tiny_codec, astronaut):
    images = [astronaut[n : n + 40 + n % 3 * 8, :64] for n in range(24)]
    expected = [tiny_codec.decode_array(tiny_codec.encode(image)) for image in images]
    with ThreadPoolExecutor(6) as executor:
        results = list(executor.map(lambda image: tiny_codec.decode_array(tiny_codec.encode(image)), images))
    assert all(np.array_equal(*pair) for pair in zip(results, expected, strict=True))


def test_interpreters_are_kept_within_bounds(tiny_package, astronaut, monkeypatch):
    codec = Codec.load(tiny_package)
    encoder, decoder = codec._networks._encoder, codec._networks._decoder
    for side in range(8, 8 * 13, 8):
        codec.decode(codec.encode(astronaut[:side, :side]))
    for network in (encoder, decoder):
        assert len(network._idle) == interpreter._MAX_IDLE
    codec.encode(astronaut[:96, :96])
    assert len(encoder._idle) == interpreter._MAX_IDLE  # a known size takes no new one
    monkeypatch.setattr(interpreter, "_MAX_IDLE_BYTES", 5000 * interpreter._BYTES_PER_PIXEL)
    codec.decode(codec.encode(astronaut[:64, :64]))
    assert [entry.bytes for entry in decoder._idle] == [64 * 64 * interpreter._BYTES_PER_PIXEL]
    codec.decode(codec.encode(astronaut[:80, :80]))  # too large to be kept
    assert decoder._idle == []


def test_an_interpreter_is_used_again_for_its_shape(tiny_package, astronaut):
    codec = Codec.load(tiny_package)
    encoder = codec._networks._encoder
    codec.encode(astronaut[:64, :64])
    first = encoder._idle[-1].interpreter
    codec.encode(astronaut[:64, :72])
    codec.encode(astronaut[:64, :64])
    assert encoder._idle[-1].interpreter is first and len(encoder._idle) == 2


@pytest.mark.parametrize("gray", [False, True])
def test_a_decoded_image_is_its_own(tiny_codec, astronaut, gray):
    """It is made of the interpreter's output, which the next image overwrites."""
    first, second = astronaut[:64, :61], astronaut[64:128, 64:125]
    data = tiny_codec.encode(to_gray(first) if gray else first)
    image = tiny_codec.decode(data)
    kept = np.array(image)
    tiny_codec.decode(tiny_codec.encode(second))
    assert np.array_equal(image, kept)
    image.putpixel((0, 0), 255 - image.getpixel((0, 0)) if gray else (0, 255, 0))
    assert np.array_equal(tiny_codec.decode(data), kept)


def test_damage_that_is_kept_does_not_keep_an_interpreter(tiny_package, astronaut):
    codec = Codec.load(tiny_package)
    data = codec.encode(astronaut[:64, :64])
    header, payload = stream.parse(data)
    codec.decode(data)
    idle = codec._networks._decoder._idle
    first = idle[-1].interpreter
    try:
        codec.decode(stream.pack(header, payload[:-2]))
    except CorruptStreamError as error:
        assert np.array_equal(codec.decode(data), codec.decode_array(data))
        assert [entry.interpreter for entry in idle] == [first] and error.__context__ is None
    else:
        pytest.fail("it went unnoticed")


def test_threads_change_nothing_but_time(tiny_package, tiny_codec, astronaut):
    assert Codec.load(tiny_package, threads=2).encode(astronaut) == tiny_codec.encode(astronaut)
    for threads in (0, 1.5, True):
        with pytest.raises(EdgepressError, match="threads"):
            Codec.load(tiny_package, threads=threads)


def test_the_interpreter_is_one_that_works(monkeypatch, tiny_codec):
    library = choose_interpreter()
    assert library.name in ("ai-edge-litert", "tflite-runtime", "tensorflow") and library.version[0].isdigit()
    monkeypatch.setattr(interpreter, "_LIBRARIES", (("one", "edgepress.no_such"), ("two", "json")))
    choose_interpreter.cache_clear()
    try:
        with pytest.raises(
            EdgepressError, match=r"one: No module named .*; two: .*no attribute 'Interpreter'"
        ):
            choose_interpreter()
        monkeypatch.undo()
        assert choose_interpreter().name == library.name
    finally:
        choose_interpreter.cache_clear()


def test_networks_of_other_forms_are_refused(tiny_codec):
    with pytest.raises(EdgepressError, match="must have 4 dimensions"):
        Network(interpreter._PROBE)
    with pytest.raises(EdgepressError, match="cannot take an input of"):
        Network(tiny_codec.package.encoder).run((1, 8, 8, 4), lambda stored: None, lambda stored: None)
