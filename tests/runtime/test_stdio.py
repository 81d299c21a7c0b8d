"""The command line as a part of pipes: `-` for standard input and output."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgepress.runtime import stdio

COMMAND = "import sys; from edgepress.runtime.main import main; sys.exit(main())"


@pytest.fixture
def pipe(monkeypatch, exit_code, capsysbinary):
    """`pipe(input bytes, *arguments) -> (exit code, stdout bytes, stderr text)` of the edgepress command."""

    def pipe(given, *arguments):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = exit_code(*arguments)
        out, err = capsysbinary.readouterr()
        return code, out, err.decode()

    return pipe


@pytest.fixture
def photo(astronaut):
    return Image.fromarray(astronaut[100:140, 200:256])


@pytest.fixture
def png(photo):
    file = io.BytesIO()
    photo.save(file, "PNG")
    return file.getvalue()


def test_there_and_back(pipe, png, photo, tiny_codec, tiny_package):
    code, epx, err = pipe(png, "encode", "-", "-o", "-", "-q", 60, "-m", tiny_package)
    assert (code, epx) == (0, tiny_codec.encode(photo, 60))
    assert err == f"standard output: {len(epx)} bytes, {len(epx) * 8 / 2240:.3f} bits per pixel\n"
    code, out, err = pipe(epx, "decode", "-", "-o", "-", "-m", tiny_package)
    assert (code, err) == (0, "standard output: 56x40 RGB\n")
    image = Image.open(io.BytesIO(out))
    assert image.format == "PNG" and np.array_equal(image, tiny_codec.decode_array(epx))


def test_files_on_one_side(pipe, png, photo, tiny_codec, tiny_package, tmp_path):
    model = ("-m", tiny_package)
    path = tmp_path / "a.epx"
    code, out, err = pipe(png, "encode", "-", "-o", path, *model)
    assert (code, err) == (0, "") and out.decode().startswith(f"{path}: ")
    assert path.read_bytes() == tiny_codec.encode(photo)
    (tmp_path / "a.png").write_bytes(png)
    assert pipe(b"", "encode", tmp_path / "a.png", "-o", "-", *model)[:2] == (0, path.read_bytes())
    code, out, _ = pipe(path.read_bytes(), "decode", "-", "-o", tmp_path / "b.bmp", *model)
    assert code == 0 and Image.open(tmp_path / "b.bmp").size == (56, 40)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("png", "PNG"), ("jpg", "JPEG"), (".WebP", "WEBP"), ("ppm", "PPM"), ("tiff", "TIFF")],
)
def test_formats_of_standard_output(pipe, photo, tiny_codec, tiny_package, name, expected):
    epx = tiny_codec.encode(photo)
    code, out, _ = pipe(epx, "decode", "-", "-o", "-", "--format", name, "-m", tiny_package)
    assert code == 0
    image = Image.open(io.BytesIO(out))
    assert (image.format, image.size) == (expected, (56, 40))


def test_formats_of_folders(pipe, photo, tiny_codec, tiny_package, tmp_path):
    (tmp_path / "a.epx").write_bytes(tiny_codec.encode(photo))
    model = ("-m", tiny_package)
    arguments = ("decode", tmp_path / "a.epx", "--format", "bmp", *model)
    assert pipe(b"", *arguments, "-o", tmp_path / "out")[0] == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.bmp"]
    code, _, err = pipe(b"", *arguments, "-o", tmp_path / "a.png")
    assert code == 1 and "this name says the format" in err and not (tmp_path / "a.png").exists()
    code, _, err = pipe(b"", "decode", tmp_path / "a.epx", "--format", "xyz", "-o", "-", *model)
    assert code == 2 and "'xyz' is no format that can be written" in err


def test_info(pipe, photo, tiny_codec, tiny_package):
    epx = tiny_codec.encode(photo, exif=b"MM*", icc_profile=b"profile")
    code, out, _ = pipe(epx, "info", "-", "--json")
    info = json.loads(out)
    assert code == 0 and (info["kind"], info["width"], info["bytes"]) == ("image", 56, len(epx))
    assert (info["exif_bytes"], info["icc_profile_bytes"]) == (3, 7)
    assert info["payload_bytes"] == len(epx) - 14 - 4 - 2 * 5 - 10
    assert b"icc profile bytes: 7\n" in pipe(epx, "info", "-")[1]
    code, out, _ = pipe(tiny_package.read_bytes(), "info", "-", "--json")
    assert code == 0 and json.loads(out)["name"] == "tiny"
    for given, complaint in (
        (b"", "neither a codec package"),
        (b"EPX\x20", "truncated"),
        (b"PK\x03\x04", "not a codec package"),
    ):
        code, out, err = pipe(given, "info", "-")
        assert (code, out) == (1, b"") and err.startswith("edgepress: standard input: ")
        assert complaint in err and len(err.splitlines()) == 1


def test_input_that_is_nothing(pipe, photo, tiny_codec, tiny_package):
    model = ("-m", tiny_package)
    cut = tiny_codec.encode(photo)[:-1]
    for given, command, complaint in (
        (b"", "encode", "not an image that Pillow can read"),
        (b"", "decode", "this is not an .epx stream"),
        (cut, "decode", "the .epx stream is damaged: its checksum does not match"),
    ):
        code, out, err = pipe(given, command, "-", "-o", "-", *model)
        assert (code, out, err) == (1, b"", f"edgepress: standard input: {complaint}\n")


def test_too_much_input_is_refused(pipe, png, photo, tiny_codec, tiny_package, monkeypatch):
    monkeypatch.setattr(stdio, "_MAX_INPUT", 100)
    for command, given in (("encode", png), ("decode", tiny_codec.encode(photo))):
        code, _, err = pipe(given, command, "-", "-o", "-", "-m", tiny_package)
        assert code == 1 and "larger than" in err and len(err.splitlines()) == 1


def test_combinations_that_cannot_be(pipe, png, photo, tiny_package, tmp_path):
    model = ("-m", tiny_package)
    photo.save(tmp_path / "a.png")
    several = "edgepress: several images need a folder to go to, not standard output\n"
    assert pipe(png, "encode", "-", tmp_path / "a.png", "-o", "-", *model) == (1, b"", several)
    assert pipe(png, "encode", tmp_path, "-o", "-", *model) == (1, b"", several)
    code, _, err = pipe(png, "encode", "-", tmp_path / "a.png", "-o", tmp_path / "out", *model)
    assert code == 1 and (tmp_path / "out" / "a.epx").exists()
    assert err == "edgepress: standard input: it has no name for a folder; give -o a file or -\n"


def test_terminals_and_closed_streams_are_refused(png, tiny_package, tmp_path):
    (tmp_path / "a.png").write_bytes(png)

    def run(*arguments, close=None, **streams):
        # A shell closes the stream; Python then has None there.
        command = [sys.executable, "-c", COMMAND, *map(str, arguments), "-m", str(tiny_package)]
        if close:
            command = ["sh", "-c", f'exec "$@" {close}', "sh", *command]
        return subprocess.run(command, stderr=subprocess.PIPE, text=True, **streams)

    leader, terminal = os.openpty()
    try:
        to = tmp_path / "a.epx"
        result = run("encode", "-", "-o", to, stdin=terminal)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert "standard input is a terminal" in result.stderr
        result = run("encode", tmp_path / "a.png", "-o", "-", stdout=terminal)
        assert (result.returncode, result.stderr.count("\n")) == (1, 1)
        assert "standard output is a terminal" in result.stderr
    finally:
        os.close(leader)
        os.close(terminal)
    result = run("encode", "-", "-o", to, close="<&-")
    assert (result.returncode, result.stderr.count("\n")) == (
        1,
        1,
    ) and result.stderr == "edgepress: standard input is closed\n"
    result = run("encode", tmp_path / "a.png", "-o", "-", close=">&-")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1) and "output is closed" in result.stderr


def test_a_broken_pipe_ends_in_silence(photo, tiny_codec, tiny_package, tmp_path):
    """The reader goes away: no traceback, no complaint of Python's at the end, but not success either."""
    (tmp_path / "a.epx").write_bytes(tiny_codec.encode(photo))
    arguments = ["decode", str(tmp_path / "a.epx"), "-o", "-", "-m", str(tiny_package)]
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()  # long before anything is written
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(), err) == (1, b"")


def test_pipes_between_processes(png, photo, tiny_codec, tiny_package):
    run = [sys.executable, "-c", COMMAND]
    model = ["-m", str(tiny_package)]
    first = subprocess.run([*run, "encode", "-", "-o", "-", *model], input=png, capture_output=True)
    second = subprocess.run([*run, "decode", "-", "-o", "-", *model], input=first.stdout, capture_output=True)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout == tiny_codec.encode(photo)
    image = Image.open(io.BytesIO(second.stdout))
    assert np.array_equal(image, tiny_codec.decode_array(first.stdout))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's devices")
def test_devices_and_named_pipes(png, photo, tiny_codec, tiny_package, tmp_path):
    def run(*arguments, **streams):
        command = [sys.executable, "-c", COMMAND, *map(str, arguments), "-m", str(tiny_package)]
        return subprocess.run(command, stderr=subprocess.PIPE, **streams)

    (tmp_path / "a.png").write_bytes(png)
    expected = tiny_codec.encode(photo)
    result = run("encode", "/dev/stdin", "-o", "/dev/stdout", input=png, stdout=subprocess.PIPE)
    assert (result.returncode, result.stdout) == (0, expected)
    with (tmp_path / "a.epx").open("wb") as file:  # where nothing tells it from a file without a suffix
        assert run("encode", tmp_path / "a.png", "-o", "/dev/stdout", stdout=file).returncode == 0
    assert (tmp_path / "a.epx").read_bytes() == expected
    result = run(
        "decode", tmp_path / "a.epx", "-o", "/dev/stdout", "--format", "webp", stdout=subprocess.PIPE
    )
    assert (result.returncode, Image.open(io.BytesIO(result.stdout)).format) == (0, "WEBP")
    full = b"edgepress: /dev/full: No space left on device\n"
    result = run("encode", tmp_path / "a.png", "-o", "/dev/full", stdout=subprocess.PIPE)
    assert (result.returncode, result.stdout, result.stderr) == (1, b"", full)
    with Path("/dev/full").open("wb") as file:
        result = run("encode", tmp_path / "a.png", "-o", "-", stdout=file)
    assert (result.returncode, result.stderr) == (1, full.replace(b"/dev/full", b"standard output"))
    os.mkfifo(tmp_path / "fifo")
    with subprocess.Popen(["cat", tmp_path / "fifo"], stdout=subprocess.PIPE) as reader:
        result = run("encode", tmp_path / "a.png", "-o", tmp_path / "fifo", stdout=subprocess.PIPE)
        assert (result.returncode, result.stdout, reader.stdout.read()) == (0, b"", expected)
    (tmp_path / "plain").write_bytes(b"mine")
    result = run("encode", tmp_path / "a.png", "-o", tmp_path / "plain")
    assert (result.returncode, result.stderr.count(b"\n")) == (
        1,
        1,
    ) and b"neither a folder nor" in result.stderr
    assert (tmp_path / "plain").read_bytes() == b"mine"
