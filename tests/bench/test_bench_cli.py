"""`edgepress bench` as people use it: tables, JSON of the agreed form, CSV, plot, and clear errors."""

import csv
import io
import json

import pytest
import skimage.data
from click.testing import CliRunner
from PIL import Image, features

from edgepress.bench.cli import bench
from edgepress.runtime import EdgepressError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("astronaut", "coffee"):
        Image.fromarray(getattr(skimage.data, name)()[100:292, 150:350]).save(folder / f"{name}.png")
    (folder / "bad.png").write_bytes(b"\x89PNG")
    return folder


def run(*args):
    return CliRunner().invoke(bench, [str(a) for a in args], catch_exceptions=False)


def test_everything_at_once(photos, tmp_path, tiny_package):
    files = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "png")}
    outputs = ["--json", files["json"], "--csv", files["csv"], "--plot", files["png"]]
    codecs = ["--codec", "webp", "--codec", "png", "--codec", tiny_package]
    result = run(
        "--images", photos, *codecs, "--qualities", "20,60,90", "--repeats", 2, "--workers", 1, *outputs
    )
    assert result.exit_code == 0
    assert "BD-rate against jpeg" in result.stdout and "equal mean SSIM" in result.stdout
    assert "bad.png" in result.stderr and "libjpeg-turbo" in result.stdout

    found = json.loads(files["json"].read_text())
    assert {"environment", "images", "codecs", "bd_rate"} <= set(found)
    assert [i["name"] for i in found["images"]] == ["astronaut.png", "coffee.png"]
    names = [codec["name"] for codec in found["codecs"]]
    assert names[:3] == ["jpeg", "webp", "png"] and len(names) == 4
    for codec in found["codecs"]:
        assert {"name", "spec", "points"} <= set(codec)
        for point in codec["points"]:
            for key in ("quality", "bpp", "bytes", "ratio", "source_ratio", "ssim", "ms_ssim"):
                assert point[key] > 0
            assert point["encode_ms"] > 0 and point["decode_ms"] > 0
            assert (point["psnr"] is None) == (codec["name"] == "png")
            assert [row["image"] for row in point["rows"]] == ["astronaut.png", "coffee.png"]
            assert point["bpp"] == pytest.approx(sum(row["bpp"] for row in point["rows"]) / 2)
    assert -60 < found["bd_rate"]["webp"]["psnr"] < -10 and -60 < found["bd_rate"]["webp"]["ms_ssim"] < 0
    assert found["bd_rate"]["png"] == {"psnr": None, "ms_ssim": None}
    assert len(found["matches"]) == 3 + 1 + 3
    webp = found["matches"][0]
    assert webp["in_reach"] and abs(webp["ssim"] - webp["anchor_ssim"]) < 0.01 and webp["time_ratio"] > 1
    timing = found["timing"]
    assert timing.pop("energy")
    assert timing == {"repeats": 2, "images": ["astronaut.png", "coffee.png"], "threads": 1}
    assert all(codec["peak_memory_mb"] >= 0 for codec in found["codecs"]) and found["devices"] == {}
    assert found["codecs"][3]["facts"]["macs_per_pixel"] > 0 and "Cost here" in result.stdout
    assert not files["json"].with_name("out.json.partial").exists()

    rows = list(csv.DictReader(io.StringIO(files["csv"].read_text())))
    assert len(rows) == 2 * (3 + 3 + 1 + 3) and float(rows[0]["psnr"]) > 20
    assert Image.open(files["png"]).size[0] > 800


def test_the_default_is_jpeg_without_times(photos, tmp_path):
    out = tmp_path / "out.json"
    result = run("--images", photos, "--codec", "jpeg", "--qualities", "50", "--no-time", "--json", out)
    assert result.exit_code == 0
    found = json.loads(out.read_text())
    (point,) = found["codecs"][0]["points"]
    assert point["encode_ms"] is None and found["bd_rate"] == {} and "encode" not in result.stdout


def test_a_missing_contender_is_said(photos, monkeypatch):
    without = [name for name in features.get_supported() if name != "avif"]
    monkeypatch.setattr(features, "get_supported", lambda: without)
    result = run("--images", photos, "--codec", "avif", "--qualities", "50", "--no-time", "--workers", 1)
    assert result.exit_code == 0 and "missing: avif" in result.stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--codec", "jpgg"], "unknown codec"),
        (["--qualities", "0,50"], "1 to 100"),
        (["--images", "no/such/folder"], "no such folder"),
        (["--json", "no/such/folder/x.json"], "does not exist"),
    ],
)
def test_wrong_input_is_one_line_before_any_work(args, words):
    with pytest.raises(EdgepressError, match=words) as caught:
        run(*args)
    assert "\n" not in str(caught.value)


def test_wrong_options_are_usage_errors():
    for args in (["--qualities", "a,b"], ["--repeats", "0"], ["--json", "."]):
        result = run(*args)
        assert result.exit_code == 2 and "Error" in result.stderr


def test_the_specs_are_explained():
    result = run("--list-codecs")
    assert result.exit_code == 0 and "subsampling=420" in result.stdout


def test_long_names_leave_room_for_the_figures(photos, tmp_path, tiny_package):
    long = tmp_path / ("a-name-of-many-letters-" * 4 + ".epm")
    long.write_bytes(tiny_package.read_bytes())
    result = run("--images", photos, "--codec", long, "--qualities", "20,90", "--no-time", "--workers", 1)
    assert result.exit_code == 0
    assert "…" not in result.stdout and max(map(len, result.stdout.splitlines())) <= 80
