"""An interrupted benchmark goes on: what was measured is not measured again, and nothing else is taken for it."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner

from edgepress.bench import curve
from edgepress.bench.cli import bench
from edgepress.bench.curve import measure_curves, measure_points
from edgepress.bench.loadimages import BenchImage
from edgepress.bench.pillowcodecs import Jpeg, Png, Webp
from edgepress.bench.pointstore import PointStore
from edgepress.bench.workers import Workers

IMAGES = [
    BenchImage.from_array("astronaut", skimage.data.astronaut()[:192, 150:342]),
    BenchImage.from_array("coffee", skimage.data.coffee()[100:276, 200:400]),
]


@pytest.fixture
def measured(monkeypatch):
    """What is really measured: (contender, image, quality)."""
    done = []
    original = curve._measure_rows

    def spy(task):
        done.extend((task[0].name, task[1].name, quality) for quality in task[2])
        return original(task)

    monkeypatch.setattr(curve, "_measure_rows", spy)
    return done


def test_only_what_is_new_is_measured(tmp_path, measured):
    path = tmp_path / "points"
    with Workers(1, PointStore(path)) as workers:
        first = measure_curves([Jpeg(), Png()], IMAGES, [30, 60], workers)
    assert len(measured) == 2 * (2 + 1)
    measured.clear()
    counts = []
    with Workers(1, PointStore(path)) as workers:
        again = measure_curves([Jpeg(), Png()], IMAGES, [30, 45, 60], workers, counts.append)
    assert sorted(measured) == [("jpeg", "astronaut", 45), ("jpeg", "coffee", 45)] and sum(counts) == 8
    assert (again[0].points[0], again[0].points[2], again[1]) == (*first[0].points, first[1])
    assert again[0].points == measure_points(Jpeg(), IMAGES, [30, 45, 60])


@pytest.mark.parametrize("change", ["pixels", "settings", "multiscale", "code"])
def test_what_differs_is_measured_anew(tmp_path, measured, monkeypatch, change):
    path, codec, image, multiscale = tmp_path / "points", Jpeg(), IMAGES[0], True
    with Workers(1, PointStore(path)) as workers:
        measure_points(codec, [image], [50], multiscale, workers)
    if change == "pixels":
        pixels = image.pixels().copy()
        pixels[5, 5, 0] ^= 1
        image = BenchImage.from_array(image.name, pixels)
    elif change == "settings":
        codec = Jpeg(optimize=False)
    elif change == "multiscale":
        multiscale = False
    else:
        monkeypatch.setattr("edgepress.bench.pointstore._measures", lambda: "other")
    measured.clear()
    with Workers(1, PointStore(path)) as workers:
        points = measure_points(codec, [image], [50], multiscale, workers)
    assert len(measured) == 1 and points == measure_points(codec, [image], [50], multiscale)


def test_damaged_lines_are_passed_over_and_the_file_goes_on(tmp_path, measured):
    path = tmp_path / "points"
    with Workers(1, PointStore(path)) as workers:
        measure_points(Webp(), IMAGES, [20, 80], True, workers)
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4 and json.loads(lines[0])["bytes"] > 0
    path.write_bytes(b"[]\nnull\n\xff\n" + lines[0] + lines[1] + lines[2] + lines[3][:20])
    measured.clear()
    for expected in (1, 0):
        store = PointStore(path)
        with Workers(1, store) as workers:
            points = measure_points(Webp(), IMAGES, [20, 80], True, workers)
        store.close()
        assert len(measured) == expected
        measured.clear()
    assert points == measure_points(Webp(), IMAGES, [20, 80])
    store.close(delete=True)
    assert not path.exists()


def test_an_exact_image_is_kept_as_such(tmp_path):
    for _ in range(2):
        with Workers(1, PointStore(tmp_path / "points")) as workers:
            (point,) = measure_points(Png(), IMAGES, [100], True, workers)
        assert np.isinf(point.psnr) and point.ssim == 1


def test_a_killed_benchmark_goes_on(tmp_path):
    """The command itself, killed while it measures: the next run takes what it finds, and then removes it."""
    json_file, partial = tmp_path / "out.json", tmp_path / "out.json.partial"
    run = "from edgepress.bench.cli import bench; bench()"
    options = [
        "--codec",
        "webp",
        "--qualities",
        "20,50,80",
        "--no-time",
        "--workers",
        "1",
        "--json",
        str(json_file),
    ]
    command = [sys.executable, "-c", run, *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        while process.poll() is None and not (partial.exists() and partial.read_bytes().count(b"\n") >= 3):
            time.sleep(0.01)
        process.kill()
    assert not json_file.exists()
    lines = partial.read_bytes().splitlines(keepends=True)
    entry = json.loads(lines[0])
    partial.write_bytes(json.dumps({**entry, "bytes": 123_456}).encode() + b"\n" + b"".join(lines[1:]))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not partial.exists()
    found = json.loads(json_file.read_text())
    assert found["codecs"][0]["points"][0]["rows"][0]["bytes"] == 123_456


def test_a_points_file_that_was_asked_for_stays(tmp_path):
    points = tmp_path / "points"
    options = ["--limit", "1", "--codec", "jpeg", "--qualities", "50", "--no-time", "--points", str(points)]
    for _ in range(2):
        assert CliRunner().invoke(bench, options, catch_exceptions=False).exit_code == 0
        assert points.read_bytes().count(b"\n") == 1
