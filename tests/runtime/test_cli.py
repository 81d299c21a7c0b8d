"""The commands encode, decode, info and models, in process; errors are one line each and exit codes say so."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime import cli, package
from edgepress.runtime.files import atomic_write, read_limited


@pytest.fixture
def photos(tmp_path, astronaut):
    """A folder with two photographs, of two formats."""
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(astronaut[:40, :60]).save(folder / "a.png")
    Image.fromarray(astronaut[200:290, 100:133]).convert("L").save(folder / "b.jpg")
    (folder / "notes.txt").write_text("not an image")
    return folder


@pytest.fixture
def installed(monkeypatch, tmp_path, tiny_writer):
    """The tiny package, installed as conv3."""
    folder = tmp_path / "installed" / "packages"
    folder.mkdir(parents=True)
    tiny_writer(folder / "conv3.epm")
    monkeypatch.setattr(package, "__file__", str(folder.parent / "package.py"))
    cli.codec_for.cache_clear()
    yield folder / "conv3.epm"
    cli.codec_for.cache_clear()


def test_one_file_there_and_back(run, photos, tiny_package, tiny_codec, tmp_path):
    epx, png = tmp_path / "a.epx", tmp_path / "back.png"
    code, out, err = run("encode", photos / "a.png", "-o", epx, "-q", 60, "-m", tiny_package)
    assert (code, err) == (0, "")
    assert out == f"{epx}: {epx.stat().st_size} bytes, {epx.stat().st_size * 8 / 2400:.3f} bits per pixel\n"
    with Image.open(photos / "a.png") as image:
        assert epx.read_bytes() == tiny_codec.encode(image, 60)
    assert run("decode", epx, "-o", png, "-m", tiny_package) == (0, f"{png}: 60x40 RGB\n", "")
    with Image.open(png) as image:
        assert np.array_equal(image, tiny_codec.decode_array(epx.read_bytes()))
    assert run("decode", epx, "-o", tmp_path / "back.jpg", "-m", tiny_package)[0] == 0
    with Image.open(tmp_path / "back.jpg") as image:
        assert image.format == "JPEG"


def test_folders_there_and_back_with_the_installed_package(run, photos, installed, tmp_path):
    code, out, err = run("encode", photos, "-o", tmp_path / "epx", "--threads", 2)
    assert (code, out, err) == (0, f"2 of 2 files written to {tmp_path / 'epx'}\n", "")
    assert sorted(path.name for path in (tmp_path / "epx").iterdir()) == ["a.epx", "b.epx"]
    code, out, err = run("decode", tmp_path / "epx", "-o", tmp_path / "png")
    assert (code, err) == (0, "")
    with Image.open(tmp_path / "png" / "b.png") as image:
        assert (image.size, image.mode) == ((33, 90), "L")


def test_a_bad_file_is_named_and_the_others_go_on(run, photos, tiny_package, tmp_path):
    (photos / "cut.png").write_bytes((photos / "a.png").read_bytes()[:500])
    (photos / "text.png").write_text("not an image")
    Image.new("CMYK", (8, 8)).save(photos / "ink.tif")
    out_dir = tmp_path / "epx"
    missing = tmp_path / "missing.png"
    code, out, err = run("encode", photos, missing, "-o", out_dir, "-m", tiny_package)
    assert (code, out) == (1, f"2 of 6 files written to {out_dir}\n")
    lines = err.splitlines()
    assert len(lines) == 4 and all(line.startswith("edgepress: ") for line in lines)
    assert f"edgepress: {missing}: No such file or directory" in lines
    assert f"edgepress: {photos / 'text.png'}: not an image that Pillow can read" in lines
    assert any(
        line.startswith(f"edgepress: {photos / 'cut.png'}: the image cannot be read") for line in lines
    )
    assert any(line.startswith(f"edgepress: {photos / 'ink.tif'}: mode CMYK") for line in lines)
    assert sorted(path.name for path in out_dir.iterdir()) == ["a.epx", "b.epx"]

    (out_dir / "c.epx").write_bytes(b"EPX")
    (out_dir / "d.epx").write_text("text")
    code, out, err = run("decode", out_dir, "-o", tmp_path / "png", "-m", tiny_package)
    assert (code, out) == (1, f"2 of 4 files written to {tmp_path / 'png'}\n")
    assert err.splitlines() == [
        f"edgepress: {out_dir / 'c.epx'}: the .epx stream is truncated",
        f"edgepress: {out_dir / 'd.epx'}: this is not an .epx stream",
    ]


def test_two_inputs_for_one_output(run, photos, tiny_package, tmp_path):
    Image.new("RGB", (8, 8)).save(photos / "a.bmp")
    code, out, err = run("encode", photos, "-o", tmp_path / "epx", "-m", tiny_package)
    assert code == 1 and out.startswith("2 of 2 files")
    assert (
        err
        == f"edgepress: {photos / 'a.png'}: {photos / 'a.bmp'} goes to {tmp_path / 'epx' / 'a.epx'} already\n"
    )


def test_exif_orientation_is_honoured(run, tiny_package, tiny_codec, astronaut, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    Image.fromarray(astronaut[:40, :64]).save(tmp_path / "turned.png", exif=exif)
    run("encode", tmp_path / "turned.png", "-o", tmp_path / "a.epx", "-m", tiny_package)
    upright = np.ascontiguousarray(np.rot90(astronaut[:40, :64], -1))
    assert (tmp_path / "a.epx").read_bytes() == tiny_codec.encode(upright)


def test_folders_without_work(run, tiny_package, tmp_path):
    (tmp_path / "empty").mkdir()
    code, _, err = run("encode", tmp_path / "empty", "-o", tmp_path / "out", "-m", tiny_package)
    assert (code, err) == (1, f"edgepress: {tmp_path / 'empty'}: no images in this folder\n")
    code, _, err = run("decode", tmp_path / "empty", "-o", tmp_path / "out", "-m", tiny_package)
    assert (code, err) == (1, f"edgepress: {tmp_path / 'empty'}: no .epx files in this folder\n")
    assert not (tmp_path / "out").exists()


def test_outputs_that_cannot_be(run, photos, tiny_package, tmp_path):
    one, model = photos / "a.png", ("-m", tiny_package)
    code, _, err = run("encode", one, "-o", tmp_path / "a.png", *model)
    assert code == 1 and "files of this name cannot be written; try .epx" in err
    code, _, err = run("encode", photos, "-o", tmp_path / "a.epx", *model)
    assert code == 1 and "several images need a folder" in err
    code, _, err = run("encode", one, "-o", tmp_path / "none" / "a.epx", *model)
    assert (code, err) == (1, f"edgepress: {tmp_path / 'none' / 'a.epx'}: No such file or directory\n")
    code, _, err = run("encode", one, "-o", one / "folder", *model)
    assert (code, err) == (1, f"edgepress: {one / 'folder'}: Not a directory\n")
    assert run("encode", one, "-o", tmp_path / "a.epx", *model)[0] == 0
    code, _, err = run("decode", tmp_path / "a.epx", "-o", tmp_path / "a.xyz", *model)
    assert code == 1 and "files of this name cannot be written; try .png" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.epx", "photos"]


def test_models_that_cannot_be(run, photos, tmp_path):
    for command in ("encode", "decode"):
        code, _, err = run(command, photos / "a.png", "-o", tmp_path / "out", "-m", "nothing")
        assert code == 1 and err.startswith("edgepress: 'nothing' is neither an installed package")
        code, _, err = run(command, photos / "a.png", "-o", tmp_path / "out", "-m", photos / "a.png")
        assert code == 1 and "not a codec package" in err and len(err.splitlines()) == 1


def test_a_stream_of_an_unknown_model(run, photos, tiny_writer, tiny_package, installed, tmp_path):
    tiny_writer(tmp_path / "other.epm", tables=tiny_writer.tables(bank=11))
    run("encode", photos / "a.png", "-o", tmp_path / "a.epx", "-m", tmp_path / "other.epm")
    code, _, err = run("decode", tmp_path / "a.epx", "-o", tmp_path / "a.bmp")
    assert code == 1 and "which is not installed: give the .epm that made it (-m FILE" in err
    code, _, err = run("decode", tmp_path / "a.epx", "-o", tmp_path / "a.bmp", "-m", tiny_package)
    assert code == 1 and "the stream needs the model" in err


@pytest.mark.parametrize(
    "arguments", [["-q", "0"], ["-q", "101"], ["-q", "x"], ["--threads", "0"], ["--nothing"]]
)
def test_options_that_cannot_be(run, photos, tmp_path, arguments):
    assert run("encode", photos / "a.png", "-o", tmp_path / "a.epx", *arguments)[0] == 2


def test_info(run, photos, installed, tmp_path):
    run("encode", photos / "a.png", "-o", tmp_path / "a.epx")
    code, out, _ = run("info", tmp_path / "a.epx", "--json")
    size = (tmp_path / "a.epx").stat().st_size
    info = json.loads(out)
    assert code == 0 and info["kind"] == "image" and info["package"] == "conv3"
    assert (info["width"], info["height"], info["mode"], info["quality"]) == (60, 40, "RGB", 75)
    assert (info["bytes"], info["payload_bytes"]) == (size, size - 14)
    assert (info["bits_per_pixel"], info["ratio"]) == (round(size * 8 / 2400, 4), round(7200 / size, 2))
    assert "package: conv3\n" in run("info", tmp_path / "a.epx")[1]

    code, out, _ = run("info", installed, "--json")
    info = json.loads(out)
    assert code == 0 and (info["kind"], info["name"], info["stride"], info["latent_channels"]) == (
        "package",
        "tiny",
        8,
        40,
    )
    assert info["members"].keys() == {"encoder.tflite", "decoder.tflite", "entropy.bin"}
    assert "  made by: tests/conftest.py\n" in run("info", installed)[1]


def test_info_on_what_it_does_not_know(run, photos, tiny_writer, tmp_path):
    notes = photos / "notes.txt"
    code, _, err = run("info", notes)
    assert code == 1
    assert err == f"edgepress: {notes}: neither a codec package (.epm) nor a compressed image (.epx)\n"
    assert run("info", tmp_path / "none")[2] == f"edgepress: {tmp_path / 'none'}: No such file or directory\n"
    (tmp_path / "a.epx").write_bytes(b"EPX\x20")
    assert (
        run("info", tmp_path / "a.epx")[2]
        == f"edgepress: {tmp_path / 'a.epx'}: the .epx stream is truncated\n"
    )
    tiny_writer(tmp_path / "rude.epm", description="red\x1b[31m", provenance={"a": {"b": "c\nd"}})
    out = run("info", tmp_path / "rude.epm")[1]
    assert "\x1b" not in out and "    b: c d\n" in out


def test_models(run, installed):
    size = installed.stat().st_size
    code, out, _ = run("models")
    assert (
        code == 0
        and out.startswith("conv3 (default): model ")
        and out.endswith(f"{size} bytes. an 8x8 DCT for tests\n")
    )
    (row,) = json.loads(run("models", "--json")[1])
    assert row["name"] == "conv3" and row["bytes"] == size
    installed.unlink()
    assert run("models") == (0, "no codec packages are installed\n", "")


def test_atomic_write_replaces_as_a_whole(tmp_path):
    target = tmp_path / ("x" * 255)  # the longest name there is
    atomic_write(target, b"old")
    link = tmp_path / "link"
    link.symlink_to(target)
    atomic_write(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert len(list(tmp_path.iterdir())) == 2
    mask = os.umask(0)
    os.umask(mask)
    assert target.stat().st_mode & 0o777 == 0o666 & ~mask
    with pytest.raises(IsADirectoryError):
        atomic_write(tmp_path, b"x")
    atomic_write("/dev/null", b"x")
    assert not Path("/dev/null").is_file()


def test_atomic_write_leaves_nothing_when_it_fails(tmp_path):
    with pytest.raises(TypeError):
        atomic_write(tmp_path / "a", "text")
    with pytest.raises(FileNotFoundError) as caught:
        atomic_write(tmp_path / "none" / "a", b"x")
    assert caught.value.filename == str(tmp_path / "none" / "a")
    assert list(tmp_path.iterdir()) == []


def test_reading_is_limited(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    assert read_limited(tmp_path / "a", 5) == b"12345"
    assert read_limited(tmp_path / "a", 4) is None
    assert read_limited("/dev/zero", 100) is None
