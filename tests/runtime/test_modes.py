"""Which of Pillow's modes become RGB or L, pixel for pixel, and which are refused and how."""

import io

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime import EdgepressError, UnsupportedImageError
from edgepress.runtime.images import to_pixels
from edgepress.runtime.modes import as_coded


@pytest.fixture
def photo(astronaut):
    return Image.fromarray(astronaut[100:140, 200:256])


def pixels(image, **options):
    return to_pixels(image, 10**6, **options)


def same(image, expected):
    return np.array_equal(pixels(image), np.asarray(expected))


def test_what_is_coded_already_is_not_copied(photo):
    assert as_coded(photo) is photo
    gray = photo.convert("L")
    assert as_coded(gray) is gray


def test_modes_without_alpha(photo):
    gray = photo.convert("L")
    assert same(photo.convert("1"), photo.convert("1").convert("L"))
    assert same(photo.convert("RGBX"), photo)
    assert same(photo.quantize(200), photo.quantize(200).convert("RGB"))
    assert same(gray.convert("P"), gray)


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA"])
def test_opaque_alpha_is_no_alpha(photo, mode):
    straight = {"RGBa": "RGBA", "La": "LA"}.get(mode, mode)
    base = photo.convert("L") if mode in ("LA", "La") else photo.quantize(50).convert("RGB")
    image = base.convert("P" if mode == "PA" else straight).convert(straight).convert(mode)
    assert image.mode == mode
    assert same(image, image.convert(straight).convert("L" if mode in ("LA", "La") else "RGB"))
    assert pixels(image).ndim == (2 if mode in ("LA", "La") else 3)


def test_gray_palettes_are_gray_unless_a_profile_says_colour(photo):
    image = photo.convert("L").quantize(16)
    assert same(image, image.convert("L")) and pixels(image).ndim == 2
    image.info["icc_profile"] = b"profile"
    assert same(image, image.convert("RGB")) and pixels(image).ndim == 3
    unused = Image.new("P", (2, 1))
    unused.putpalette([7, 7, 7, 9, 9, 9, 255, 0, 0])
    unused.putdata([0, 1])
    assert pixels(unused).tolist() == [[7, 9]]  # the red is not used
    unused.putdata([0, 2])
    assert pixels(unused).tolist() == [[[7, 7, 7], [255, 0, 0]]]
    beyond = Image.new("P", (2, 1), 200)
    beyond.putpalette([7, 7, 7])
    assert pixels(beyond).tolist() == np.asarray(beyond.convert("L")).tolist()


def test_a_transparent_colour_that_no_pixel_has(photo):
    gray = photo.convert("L").point(lambda value: max(value, 1))
    gray.info["transparency"] = 0
    assert same(gray, np.asarray(gray))
    palette = photo.quantize(20)
    palette.info["transparency"] = 255
    assert same(palette, palette.convert("RGB"))
    bits = Image.new("1", (8, 8), 1)
    bits.info["transparency"] = 0
    assert pixels(bits).tolist() == [[255] * 8] * 8


@pytest.mark.parametrize("mode", ["RGBA", "RGBa", "LA", "La", "PA", "P", "L", "RGB", "1"])
def test_transparency_needs_a_background(mode):
    image = Image.new(mode, (2, 1))
    if mode in ("P", "L", "1"):
        image.info["transparency"] = 0
    elif mode == "RGB":
        image.info["transparency"] = (0, 0, 0)
    with pytest.raises(UnsupportedImageError) as caught:
        pixels(image)
    message = str(caught.value)
    assert message.startswith(f"mode {mode} with transparent pixels") and "\n" not in message
    assert "background=(red, green, blue)" in message and "--background '#ffffff'" in message
    assert np.all(pixels(image, background=(255, 0, 9)) == [255, 0, 9])
    flat = pixels(image, background=(200, 200, 200))
    assert np.all(flat == 200)
    assert flat.ndim == (2 if mode in ("LA", "La", "L", "1", "P", "PA") else 3)


def test_alpha_mixes():
    image = Image.fromarray(np.array([[[200, 100, 0, 128], [1, 2, 3, 0], [4, 5, 6, 255]]], np.uint8))
    mixed = pixels(image, background=(0, 200, 100)).astype(int)
    exact = np.array([200, 100, 0]) * 128 / 255 + np.array([0, 200, 100]) * 127 / 255
    assert np.abs(mixed[0, 0] - exact).max() <= 1
    assert mixed[0, 1:].tolist() == [[0, 200, 100], [4, 5, 6]]


def test_a_background_changes_nothing_under_opaque_pixels(photo):
    assert np.array_equal(pixels(photo, background=(1, 2, 3)), np.asarray(photo))
    assert np.array_equal(pixels(photo.convert("RGBA"), background=[1, 2, 3]), np.asarray(photo))
    assert np.array_equal(pixels(np.asarray(photo), background=(1, 2, 3)), np.asarray(photo))


@pytest.mark.parametrize(
    "background", ["white", (1, 2), (1, 2, 3, 4), (1, 2, 256), (-1, 0, 0), (1.0, 2, 3), (True, 0, 0), 5]
)
def test_backgrounds_that_cannot_be(tiny_codec, photo, background):
    with pytest.raises(EdgepressError, match="background must be"):
        tiny_codec.encode(photo, background=background)


def test_sixteen_bits_that_are_eight(photo):
    gray = np.asarray(photo.convert("L"))
    for dtype, mode in (("<u2", "I;16"), (">u2", "I;16B")):
        wide = (gray.astype(np.uint16) * 257).astype(dtype)
        image = Image.frombytes(mode, gray.shape[::-1], wide.tobytes())
        assert np.array_equal(pixels(image), gray)
        wide[3, 4] ^= 1
        with pytest.raises(UnsupportedImageError, match=f"mode {mode} .* scale it to 8 bits first"):
            pixels(Image.frombytes(mode, gray.shape[::-1], wide.tobytes()))


def test_sixteen_bits_from_a_file(photo):
    gray = np.asarray(photo.convert("L"))
    for scale, works in ((257, True), (256, False)):
        file = io.BytesIO()
        Image.fromarray(gray.astype(np.uint16) * scale).save(file, "PNG")
        image = Image.open(file)
        if image.mode == "I":
            pytest.skip("older Pillows open these as 32 bits")
        if works:
            assert np.array_equal(pixels(image), gray)
        else:
            with pytest.raises(UnsupportedImageError, match="without loss"):
                pixels(image)


def test_sixteen_bits_with_a_transparent_value():
    image = Image.new("I;16", (2, 2))
    image.info["transparency"] = 0
    with pytest.raises(UnsupportedImageError, match="I;16"):
        pixels(image, background=(0, 0, 0))


@pytest.mark.parametrize(
    ("mode", "remedy"),
    [(mode, 'image.convert("RGB")') for mode in ("CMYK", "YCbCr", "HSV", "LAB")]
    + [("I", "8 bits"), ("F", "8 bits")],
)
def test_modes_that_are_refused_say_what_to_do(mode, remedy):
    with pytest.raises(UnsupportedImageError) as caught:
        pixels(Image.new(mode, (4, 4)))
    assert f"mode {mode} cannot be encoded without loss" in str(caught.value) and remedy in str(caught.value)


def test_a_gif_gives_its_current_frame(photo, tmp_path):
    frames = [photo.quantize(30), photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).quantize(30)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 2
        assert same(image, frames[0].convert("RGB"))
        image.seek(1)
        assert same(image, frames[1].convert("RGB"))


def test_a_cmyk_jpeg_is_refused(photo, tmp_path):
    photo.convert("CMYK").save(tmp_path / "ink.jpg")
    with Image.open(tmp_path / "ink.jpg") as image, pytest.raises(UnsupportedImageError, match="mode CMYK"):
        pixels(image)
