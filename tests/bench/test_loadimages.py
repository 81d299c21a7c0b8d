"""Folders of any format load, what is damaged is named, and the built-in photographs need no folder."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from edgepress.bench.loadimages import BUILT_IN, BenchImage, load_images, pick_evenly
from edgepress.runtime import EdgepressError


@pytest.fixture
def folder(tmp_path):
    photo = Image.fromarray(skimage.data.chelsea())
    (tmp_path / "below").mkdir()
    photo.save(tmp_path / "a.png")
    photo.convert("L").save(tmp_path / "below" / "b.JPG")
    photo.save(tmp_path / "c.webp")
    photo.quantize(16).save(tmp_path / "d.gif")
    (tmp_path / "e.jpg").write_bytes((tmp_path / "below" / "b.JPG").read_bytes()[:2000])
    (tmp_path / "f.png").write_text("not an image")
    Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100).save(tmp_path / "g.png")
    (tmp_path / "notes.txt").write_text("passed over in silence")
    return tmp_path


def test_a_folder_is_read_and_damage_is_named(folder):
    skipped = []
    images = load_images(folder, skipped=skipped.append)
    assert [i.name for i in images] == ["a.png", "below/b.JPG", "c.webp", "d.gif"]
    assert [line.partition(": ")[0] for line in skipped] == [
        str(folder / n) for n in ("e.jpg", "f.png", "g.png")
    ]
    assert "8 bits" in skipped[2]
    for image in images:
        pixels = image.pixels()
        assert pixels.dtype == np.uint8 and pixels.shape == (image.height, image.width, 3)
        assert image.source_bytes == (folder / image.name).stat().st_size
    assert np.array_equal(images[0].pixels(), skimage.data.chelsea())


def test_photographs_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = Image.fromarray(skimage.data.chelsea())
    photo.save(tmp_path / "a.jpg", exif=exif)
    (image,) = load_images(tmp_path)
    assert (image.width, image.height) == (photo.height, photo.width)


def test_a_folder_without_images_or_no_folder_is_an_error(tmp_path):
    with pytest.raises(EdgepressError, match="holds no image"):
        load_images(tmp_path)
    with pytest.raises(EdgepressError, match="no such folder"):
        load_images(tmp_path / "absent")


def test_one_file_will_do(folder):
    (image,) = load_images(folder / "a.png")
    assert image.name == "a.png"


def test_built_in_photographs(folder):
    images = load_images(None)
    assert [i.name for i in images] == list(BUILT_IN)
    assert np.array_equal(images[0].pixels(), skimage.data.astronaut())
    assert [i.name for i in load_images(None, limit=2)] == [BUILT_IN[0], BUILT_IN[-1]]


def test_picking_is_even():
    assert pick_evenly([1, 2, 3, 4, 5], 3) == [1, 3, 5]
    assert pick_evenly([1, 2], 5) == [1, 2] == pick_evenly([1, 2], None)
    assert pick_evenly([1, 2, 3], 1) == [1]


def test_arrays_are_checked():
    with pytest.raises(EdgepressError, match="HxWx3"):
        BenchImage.from_array("gray", skimage.data.camera())
