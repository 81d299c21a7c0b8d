"""What encode and decode do with files as they come: orientation, metadata, modes, damage."""

import contextlib
import io
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from edgepress.runtime import EdgepressError, UnsupportedImageError
from edgepress.runtime.imagefiles import is_srgb, read_image, write_image

ORIENTATION = ExifTags.Base.Orientation
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()


@pytest.fixture
def photo(astronaut):
    return Image.fromarray(astronaut[100:140, 200:256])


@pytest.fixture
def command(run, tiny_package):
    """The edgepress command with the tiny package."""
    return lambda *arguments: run(*arguments, "-m", tiny_package)


def exif_of(orientation=None, description="a description"):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = description
    if orientation is not None:
        exif[ORIENTATION] = orientation
    return exif


# Where the upright image's rows and columns come from, after the EXIF specification.
UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_all_orientations(command, photo, tiny_codec, tmp_path, orientation, suffix):
    source, epx = tmp_path / f"a{suffix}", tmp_path / "a.epx"
    photo.save(source, exif=exif_of(orientation), quality=95)
    with Image.open(source) as image:
        stored = np.asarray(image)
    upright = np.ascontiguousarray(UPRIGHT[orientation](stored))
    assert command("encode", source, "-o", epx, "--metadata")[0] == 0
    decoded = tiny_codec.decode(epx.read_bytes())
    assert np.array_equal(decoded, tiny_codec.decode(tiny_codec.encode(upright)))
    assert decoded.getexif().get(ORIENTATION, 1) == 1
    assert decoded.getexif()[ExifTags.Base.ImageDescription] == "a description"
    assert command("encode", source, "-o", epx)[0] == 0
    assert epx.read_bytes() == tiny_codec.encode(upright)


def test_orientations_that_are_none(command, photo, tiny_codec, tmp_path):
    photo.save(tmp_path / "a.png", exif=exif_of(9))
    command("encode", tmp_path / "a.png", "-o", tmp_path / "a.epx")
    assert (tmp_path / "a.epx").read_bytes() == tiny_codec.encode(photo)


def test_metadata_there_and_back(command, photo, tmp_path):
    source, epx = tmp_path / "a.jpg", tmp_path / "a.epx"
    photo.save(source, exif=exif_of(), icc_profile=SRGB)
    assert command("encode", source, "-o", epx, "--metadata")[0] == 0
    for suffix in (".jpg", ".png", ".webp", ".tif"):
        back = tmp_path / f"back{suffix}"
        assert command("decode", epx, "-o", back)[0] == 0
        with Image.open(back) as image:
            assert image.info["icc_profile"] == SRGB
            assert image.getexif()[ExifTags.Base.ImageDescription] == "a description"
        assert command("decode", epx, "-o", back, "--no-metadata")[0] == 0
        with Image.open(back) as image:
            assert "icc_profile" not in image.info
            assert ExifTags.Base.ImageDescription not in image.getexif()


def test_nothing_is_carried_unasked(command, photo, tiny_codec, tmp_path):
    photo.save(tmp_path / "a.png", exif=exif_of(), icc_profile=SRGB)
    assert command("encode", tmp_path / "a.png", "-o", tmp_path / "a.epx")[::2] == (0, "")
    assert (tmp_path / "a.epx").read_bytes() == tiny_codec.encode(photo)


def test_colours_that_change_are_noted(command, photo, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        photo.save(folder / name, icc_profile=LAB)
    photo.save(folder / "d.png", icc_profile=SRGB)
    code, out, err = command("encode", folder, "-o", tmp_path / "out")
    assert (code, out) == (0, f"4 of 4 files written to {tmp_path / 'out'}\n")
    assert err == (
        f"edgepress: note: {folder / 'a.png'} and 2 more: its colour profile is left out, which changes its "
        "colours; --metadata keeps it\n"
    )
    assert command("encode", folder, "-o", tmp_path / "out", "--metadata")[2] == ""
    assert is_srgb(SRGB) and not is_srgb(LAB)


def test_metadata_that_the_format_cannot_hold(command, photo, tiny_codec, tmp_path):
    epx, jpg = tmp_path / "a.epx", tmp_path / "a.jpg"
    epx.write_bytes(tiny_codec.encode(photo, exif=bytes(70_000)))
    code, _, err = command("decode", epx, "-o", jpg)
    assert code == 1 and "--no-metadata" in err and len(err.splitlines()) == 1 and not jpg.exists()
    assert command("decode", epx, "-o", jpg, "--no-metadata")[0] == 0
    assert command("decode", epx, "-o", tmp_path / "a.png")[0] == 0


def test_damaged_exif_costs_only_itself(command, photo, tiny_codec, tmp_path):
    source, epx = tmp_path / "a.png", tmp_path / "a.epx"
    photo.save(source, exif=b"Exif\0\0neither II nor MM")
    code, _, err = command("encode", source, "-o", epx, "--metadata")
    assert (code, err) == (0, f"edgepress: note: {source}: its EXIF data is damaged and left out\n")
    assert epx.read_bytes() == tiny_codec.encode(photo)


def test_background(command, tiny_codec, tmp_path):
    source, epx = tmp_path / "a.png", tmp_path / "a.epx"
    image = Image.new("RGBA", (20, 10), (10, 20, 30, 0))
    image.save(source)
    code, _, err = command("encode", source, "-o", epx)
    assert code == 1 and "--background '#ffffff'" in err and not epx.exists()
    for colour, rgb in (("#ff8000", (255, 128, 0)), ("navy", (0, 0, 128)), ("rgb(1,2,3)", (1, 2, 3))):
        assert command("encode", source, "-o", epx, "--background", colour)[0] == 0
        assert epx.read_bytes() == tiny_codec.encode(Image.new("RGB", (20, 10), rgb))
    for colour, complaint in (("nocolour", "is no colour"), ("#ff800080", "is transparent itself")):
        code, _, err = command("encode", source, "-o", epx, "--background", colour)
        assert code == 2 and complaint in err


def test_files_of_many_modes(command, photo, tiny_codec, tmp_path):
    """Each is encoded as its pixels are, or named with what to do; one does not stop the others."""
    folder, out_dir = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    gray = photo.convert("L")
    photo.convert("CMYK").save(folder / "cmyk.jpg")
    photo.quantize(99).save(folder / "palette.gif")
    photo.convert("1").save(folder / "bits.png")
    Image.fromarray(np.asarray(gray).astype(np.uint16) * 256 + 7).save(folder / "wide.png")
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "one.bmp")
    code, out, err = command("encode", folder, "-o", out_dir)
    assert (code, out) == (1, f"3 of 5 files written to {out_dir}\n")
    first, second = err.splitlines()
    assert first.startswith(f"edgepress: {folder / 'cmyk.jpg'}: mode CMYK cannot be encoded without loss")
    assert second.startswith(f"edgepress: {folder / 'wide.png'}: mode I") and "scale it to 8 bits" in second
    assert (out_dir / "palette.epx").read_bytes() == tiny_codec.encode(photo.quantize(99).convert("RGB"))
    assert (out_dir / "bits.epx").read_bytes() == tiny_codec.encode(photo.convert("1").convert("L"))
    assert tiny_codec.decode((out_dir / "one.epx").read_bytes()).size == (1, 1)


def test_of_an_animation_the_first_image_is_taken(command, photo, tiny_codec, tmp_path):
    source, epx = tmp_path / "a.gif", tmp_path / "a.epx"
    frames = [photo.quantize(30), photo.rotate(180).quantize(30)]
    frames[0].save(source, save_all=True, append_images=frames[1:])
    code, _, err = command("encode", source, "-o", epx)
    assert (code, err) == (0, f"edgepress: note: {source}: only the first of its images is encoded\n")
    assert epx.read_bytes() == tiny_codec.encode(frames[0].convert("RGB"))


def test_a_folder_of_many_is_done_in_order(command, photo, tiny_codec, tmp_path):
    folder, out_dir = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for n in range(30):
        photo.crop((0, 0, 10 + n, 20)).save(folder / f"{n:02}.png")
    (folder / "07.png").write_bytes(b"damaged")
    (folder / "21.png").write_bytes(b"")
    code, out, err = command("encode", folder, "-o", out_dir, "--threads", 1)
    assert (code, out) == (1, f"28 of 30 files written to {out_dir}\n")
    assert [line.split(": ")[1] for line in err.splitlines()] == [
        str(folder / "07.png"),
        str(folder / "21.png"),
    ]
    for n in set(range(30)) - {7, 21}:
        assert (out_dir / f"{n:02}.epx").read_bytes() == tiny_codec.encode(photo.crop((0, 0, 10 + n, 20)))


def test_every_truncation_of_a_file_is_reported_or_read(photo):
    file = io.BytesIO()
    photo.crop((0, 0, 16, 16)).save(file, "TIFF", compression="tiff_lzw", exif=exif_of(6))
    whole = file.getvalue()

    def outcome(data):
        try:
            return read_image(io.BytesIO(data), 10**6)[0].size
        except UnsupportedImageError as error:
            return str(error)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as the command does
        outcomes = {outcome(whole[:end]) for end in range(len(whole) + 1)}
    assert (16, 16) in outcomes and "not an image that Pillow can read" in outcomes
    assert all(result == (16, 16) or "\n" not in result for result in outcomes)


def test_images_are_written_without_the_profile_unless_told(photo, tmp_path):
    target = tmp_path / "a.png"
    photo.info["icc_profile"] = SRGB
    write_image(target, photo, ".png", {})
    assert "icc_profile" not in Image.open(target).info
    write_image(target, photo, ".png", {"icc_profile": SRGB})
    assert Image.open(target).info["icc_profile"] == SRGB
    assert list(tmp_path.iterdir()) == [target]


def test_the_format_is_that_of_the_name_and_not_of_what_a_link_points_to(photo, tmp_path):
    (tmp_path / "blob").write_bytes(b"old")
    (tmp_path / "a.png").symlink_to(tmp_path / "blob")
    write_image(tmp_path / "a.png", photo, ".png", {})
    assert (tmp_path / "a.png").is_symlink() and Image.open(tmp_path / "blob").format == "PNG"


def test_an_image_that_the_format_does_not_take_leaves_the_old_file(photo, tmp_path):
    target = tmp_path / "a.jpg"
    target.write_bytes(b"old")
    with pytest.raises(EdgepressError, match=r"cannot be written as \.jpg"):
        write_image(target, photo.convert("RGBA"), ".jpg", {})
    with pytest.raises(EdgepressError, match="no-metadata leaves"):
        write_image(target, photo, ".jpg", {"exif": b"x" * 70000})
    assert target.read_bytes() == b"old" and list(tmp_path.iterdir()) == [target]


@contextlib.contextmanager
def as_nobody():
    """Root may read everything, so as root what is inside runs as nobody."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs users")
def test_files_without_permission(run, photo, tiny_package, monkeypatch):
    with tempfile.TemporaryDirectory() as place:  # tmp_path lies in folders that are closed to others
        monkeypatch.chdir(place)
        for folder, mode in ((".", 0o755), ("in", 0o755), ("out", 0o777), ("sealed", 0o555)):
            Path(folder).mkdir(exist_ok=True)
            Path(folder).chmod(mode)
        photo.save("in/a.png")
        photo.save("in/b.png")
        Path("tiny.epm").write_bytes(tiny_package.read_bytes())
        assert run("encode", "in", "-o", "first", "-m", "tiny.epm")[0] == 0  # imports what is imported late
        Path("in/a.png").chmod(0)
        with as_nobody():
            result = run("encode", "in", "-o", "out", "-m", "tiny.epm")
            named = run("encode", "in/a.png", "in/b.png", "-o", "out", "-m", "tiny.epm")
            sealed = run("encode", "in/b.png", "-o", "sealed/b.epx", "-m", "tiny.epm")
        assert result[:2] == (1, "1 of 2 files written to out\n")
        assert result[2].endswith("in/a.png: Permission denied\n") and result[2].count("\n") == 1
        assert named == result
        assert [path.name for folder in ("out", "sealed") for path in Path(folder).iterdir()] == ["b.epx"]
        assert sealed == (1, "", "edgepress: sealed/b.epx: Permission denied\n")
        monkeypatch.undo()  # back before the folder goes
