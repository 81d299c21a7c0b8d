"""Pillow opens and saves .epx as it does the formats of its own."""

import io
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from edgepress.runtime import Codec, EdgepressError
from edgepress.runtime import pillow as plugin
from edgepress.runtime.stream import Header, pack, parse


@pytest.fixture
def photo(astronaut):
    return Image.fromarray(astronaut[100:140, 200:256])


@pytest.fixture
def known(tiny_codec, monkeypatch):
    """The tiny package is known for decoding, for the time of the test."""
    monkeypatch.setattr(plugin, "_used", {})
    plugin.use(tiny_codec)
    return tiny_codec


def test_registration():
    assert Image.registered_extensions()[".epx"] == "EPX"
    assert Image.MIME["EPX"] == "image/x-edgepress"
    assert "EPX" in Image.OPEN and "EPX" in Image.SAVE


def test_paths_there_and_back(known, photo, tmp_path):
    path = tmp_path / "a.epx"
    photo.save(path, quality=60, model=known)
    assert path.read_bytes() == known.encode(photo, 60)
    with Image.open(path) as image:
        assert (image.format, image.size, image.mode, image.info) == ("EPX", (56, 40), "RGB", {})
        assert image.get_format_mimetype() == "image/x-edgepress"
        assert np.array_equal(image, known.decode_array(path.read_bytes()))
        assert image.getpixel((0, 0)) == image.load()[0, 0]
        image.putpixel((0, 0), (1, 2, 3))  # loaded, it is an image as any other
        assert image.getpixel((0, 0)) == (1, 2, 3)
    image = Image.open(path)
    image.load()
    assert image.fp is None  # the file is closed


def test_files_in_memory(known, photo):
    gray = photo.convert("L")
    file = io.BytesIO()
    gray.save(file, "EPX", model=known)
    assert file.getvalue() == known.encode(gray, 75)
    image = Image.open(file)
    assert image.mode == "L" and np.array_equal(image, known.decode_array(file.getvalue()))
    assert not file.closed
    assert image.copy().rotate(90, expand=True).size == (40, 56)


def test_one_pixel(known):
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (200, 30, 40)).save(file, "epx", model=known, quality=100)
    image = Image.open(file)
    assert image.size == (1, 1)
    assert max(abs(a - b) for a, b in zip(image.getpixel((0, 0)), (200, 30, 40), strict=True)) < 30


def test_opening_is_lazy(known, photo, monkeypatch):
    data = known.encode(photo, exif=b"MM*", icc_profile=b"profile")
    asked = []

    class Counting(io.BytesIO):
        def read(self, size=-1):
            asked.append(size)
            return super().read(size)

    calls = []
    monkeypatch.setattr(
        Codec, "decode", lambda self, data: calls.append(len(data)) or Image.new("RGB", (56, 40))
    )
    image = Image.open(Counting(data))
    assert image.size == (56, 40) and image.info == {"exif": b"Exif\0\0MM*", "icc_profile": b"profile"}
    assert calls == [] and sum(asked) < 100
    image.load()
    image.load()
    assert calls == [len(data)]


def test_opening_imports_no_network(known, photo, tmp_path):
    (tmp_path / "a.epx").write_bytes(known.encode(photo))
    code = (
        "import sys, edgepress.runtime.pillow\nfrom PIL import Image\n"
        f"image = Image.open({str(tmp_path / 'a.epx')!r}); print(image.size)\n"
        "print([m for m in ('numpy', 'edgepress.runtime.codec', 'ai_edge_litert') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.split("\n")[:2] == ["(56, 40)", "[]"], result.stderr


def test_metadata_travels(known, photo):
    exif = Image.Exif()
    exif[0x010E] = "a description"
    for given in (exif, exif.tobytes()):
        file = io.BytesIO()
        photo.save(file, "EPX", model=known, exif=given, icc_profile=b"profile")
        image = Image.open(file)
        assert image.getexif()[0x010E] == "a description"
        assert image.info == {"exif": exif.tobytes(), "icc_profile": b"profile"}
        copy = io.BytesIO()
        image.save(copy, "JPEG", exif=image.info["exif"])
        assert Image.open(copy).getexif()[0x010E] == "a description"
    # As for JPEG, what an image has in its info is saved only when asked for.
    photo.info["icc_profile"] = b"profile"
    file = io.BytesIO()
    photo.save(file, "EPX", model=known)
    assert Image.open(file).info == {}


def test_verify(known, photo, tmp_path):
    data = known.encode(photo)
    path = tmp_path / "a.epx"
    path.write_bytes(data)
    image = Image.open(path)
    image.verify()
    with pytest.raises((ValueError, OSError)):
        image.load()
    for damaged in (data[:-1], data[:30], data[:40] + b"\0\0" + data[42:], data + b"x"):
        with pytest.raises(OSError, match=r"checksum|truncated"):
            Image.open(io.BytesIO(damaged)).verify()


def test_broken_data_is_an_os_error_at_load(known, photo):
    data = known.encode(photo)
    body = data[:20] + data[60:-4]
    for damaged in (
        data[:-1],
        data[:12] + b"\0\0" + data[14:],
        body + zlib.crc32(body).to_bytes(4, "little"),
    ):
        image = Image.open(io.BytesIO(damaged))
        assert image.size == (56, 40)
        with pytest.raises(OSError, match=r"checksum|compressed data"):
            image.load()
        with pytest.raises(OSError):
            image.load()  # and again, not an empty image


@pytest.mark.parametrize(
    "start",
    [b"EPX", b"EPX\x30abc\x4b\x05\x05", b"EPX\x20abc\x00\x05\x05", b"EPX\x20abc\x4b\x00\x05", b"EPY\x10"],
)
def test_headers_that_cannot_be_are_not_identified(start):
    with pytest.raises(UnidentifiedImageError):
        Image.open(io.BytesIO(start))


def test_bombs_are_refused_as_pillow_does(known, monkeypatch):
    def bomb(side):
        return io.BytesIO(pack(Header("RGB", known.package.model_id, 50, side, side), b"x" * 100))

    with pytest.raises(Image.DecompressionBombError):
        Image.open(bomb(2**31 - 1))
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(bomb(10_000))
    # A header alone makes no room for its image: nothing is allocated before the checksum is right.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(OSError, match="checksum"):
        Image.open(io.BytesIO(bomb(2**31 - 1).getvalue()[:-1] + b"?")).load()
    with pytest.raises(OSError, match="limit"):
        Image.open(bomb(2**31 - 1)).load()


def test_large_images_are_held_to_the_codecs_limit(known):
    file = io.BytesIO(pack(Header("RGB", known.package.model_id, 50, 9000, 9000), b"x" * 100))
    image = Image.open(file)
    with pytest.raises(OSError, match="9000x9000 pixels, but the limit is"):
        image.load()


def test_a_package_that_is_not_known(tiny_codec, tiny_package, photo, monkeypatch):
    monkeypatch.setattr(plugin, "_used", {})
    data = tiny_codec.encode(photo)
    with pytest.raises(OSError, match="not installed"):
        Image.open(io.BytesIO(data)).load()
    plugin.use(tiny_package)
    Image.open(io.BytesIO(data)).load()
    with pytest.raises(EdgepressError, match="neither an installed package"):
        plugin.use("nothing")


def test_a_file_that_changes_between_opening_and_loading(known, photo):
    file = io.BytesIO(known.encode(photo))
    image = Image.open(file)
    file.seek(0)
    file.truncate()
    file.write(known.encode(photo.resize((9, 9))))
    with pytest.raises(OSError, match="has changed"):
        image.load()


def test_the_model_may_be_a_path(known, tiny_package, photo):
    for model in (tiny_package, str(tiny_package)):
        file = io.BytesIO()
        photo.save(file, "EPX", model=model)
        assert file.getvalue() == known.encode(photo)


def test_the_default_model_is_the_installed_one(known, photo, tiny_writer, tmp_path, monkeypatch):
    from edgepress.runtime import package
    from edgepress.runtime.codec import codec_for

    folder = tmp_path / "packages"
    folder.mkdir()
    tiny_writer(folder / "photo.epm", tables=tiny_writer.tables(bank=11))
    monkeypatch.setattr(package, "__file__", str(tmp_path / "package.py"))
    plugin._installed.cache_clear()
    codec_for.cache_clear()
    try:
        installed = Codec.load()
        assert installed.package.model_id != known.package.model_id
        for model in (None, "photo"):
            file = io.BytesIO()
            photo.save(file, "EPX", **({"model": model} if model else {}))
            assert file.getvalue() == installed.encode(photo)
        assert np.array_equal(Image.open(file), installed.decode_array(file.getvalue()))
    finally:
        plugin._installed.cache_clear()
        codec_for.cache_clear()


def test_images_that_cannot_be_saved(known, photo, tmp_path):
    path = tmp_path / "a.epx"
    with pytest.raises(OSError, match="cannot write this image as EPX: mode CMYK"):
        photo.convert("CMYK").save(path, model=known)
    assert not path.exists()
    clear = Image.new("RGBA", (8, 8))
    with pytest.raises(OSError, match="background="):
        clear.save(path, model=known)
    clear.save(path, model=known, background=(255, 255, 255))
    assert Image.open(path).getextrema()[0][0] > 230
    with pytest.raises(ValueError, match="quality"):
        photo.save(path, model=known, quality=0)
    with pytest.raises(ValueError, match="exif must be bytes"):
        photo.save(path, model=known, exif="text")
    with pytest.raises(ValueError, match="neither an installed package"):
        photo.save(path, model="nothing")


def test_every_mode_that_jpeg_takes_without_loss_is_taken(known, photo):
    for mode in ("1", "L", "RGB", "RGBX"):
        file = io.BytesIO()
        photo.convert(mode).save(file, "EPX", model=known)
        assert parse(file.getvalue())[0].mode == Image.open(file).mode
