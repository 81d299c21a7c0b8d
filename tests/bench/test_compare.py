"""`bench compare`: changes beyond the noise, an exit code for regressions, and clear errors."""

import copy
import json

import pytest
from click.testing import CliRunner

from edgepress.bench.cli import bench
from edgepress.bench.compare import compare
from edgepress.bench.report import to_dict
from edgepress.bench.saved import saved_of
from edgepress.runtime import EdgepressError


@pytest.fixture
def before(measured):
    """The benchmark with steady times: a tenth of them is spread."""
    found = copy.deepcopy(to_dict(measured))
    for codec in found["codecs"]:
        codec["peak_memory_mb"] = 40.0
        for n, point in enumerate(codec["points"]):
            point |= {
                "encode_ms": 10.0 + n,
                "decode_ms": 5.0 + n,
                "encode_spread_ms": 1.0,
                "decode_spread_ms": 0.5,
            }
    return found


def changed(before, edit):
    after = copy.deepcopy(before)
    edit({codec["name"]: codec for codec in after["codecs"]})
    return after


def compared(before, after):
    return compare(saved_of(before), saved_of(after))


def run(tmp_path, before, after, *options):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file, found in zip(files, (before, after), strict=True):
        file.write_text(json.dumps(found))
    return CliRunner().invoke(
        bench, ["compare", *map(str, files), *map(str, options)], catch_exceptions=False
    )


def scale(codec, names, factor):
    for point in codec["points"]:
        for name in names:
            point[name] *= factor


def test_the_same_is_the_same(before, tmp_path):
    found = compared(before, before)
    assert found.beyond_noise == [] and found.changes and found.removed == found.added == ()
    result = run(tmp_path, before, before, "--fail-on-regression", 0)
    assert result.exit_code == 0 and "nothing changed beyond the noise" in result.stdout


def test_more_bytes_at_equal_quality_are_a_regression(before, tmp_path):
    after = changed(before, lambda c: scale(c["webp"], ["bpp"], 1.1))
    found = compared(before, after)
    regressions = found.regressions(5)
    assert {(c.codec, c.figure) for c in regressions} == {
        ("webp", "BD-rate PSNR"),
        ("webp", "BD-rate MS-SSIM"),
    }
    assert all(c.percent == pytest.approx(10, abs=1e-6) for c in regressions)
    assert found.regressions(11) == []
    out = tmp_path / "changes.json"
    result = run(tmp_path, before, after, "--fail-on-regression", 5, "--json", out)
    assert result.exit_code == 3 and "regression: webp: BD-rate PSNR 10.0% worse" in result.stderr
    saved = json.loads(out.read_text())
    assert any(c["figure"] == "bpp" and c["beyond_noise"] for c in saved["changes"])
    assert run(tmp_path, before, after, "--fail-on-regression", 11).exit_code == 0
    assert run(tmp_path, before, after).exit_code == 0
    assert run(tmp_path, after, before, "--fail-on-regression", 0).exit_code == 0  # better is no regression


def test_rounding_of_another_processor_is_noise(before):
    def drift(codecs):
        for point in codecs["webp"]["points"]:
            point["psnr"] += 0.005
            point["ssim"] -= 0.0001
            point["bpp"] *= 1.0005

    assert compared(before, changed(before, drift)).beyond_noise == []


def test_a_slower_contender_stands_out_and_a_slower_machine_does_not(before):
    both = ["encode_ms", "decode_ms", "encode_spread_ms", "decode_spread_ms"]
    machine = changed(before, lambda c: [scale(codec, both, 3) for codec in c.values()])
    found = compared(before, machine)
    assert found.beyond_noise == [] and any("3.00 times" in note for note in found.notes)
    slower = changed(machine, lambda c: scale(c["webp"], ["decode_ms"], 1.5))
    (change,) = compared(before, slower).beyond_noise
    assert (change.codec, change.figure) == ("webp", "decode time / jpeg's")
    assert change.percent == pytest.approx(50) and change.regression == change.percent
    noisy = changed(slower, lambda c: scale(c["webp"], ["decode_spread_ms"], 10))
    assert compared(before, noisy).beyond_noise == []


def test_memory_and_single_points_are_judged(before):
    def edit(codecs):
        codecs["webp"]["peak_memory_mb"] = 60.0
        codecs["png"]["points"][0]["bpp"] *= 1.2

    found = compared(before, changed(before, edit)).regressions(10)
    assert {(c.codec, c.figure, round(c.percent)) for c in found} == {
        ("webp", "peak memory MB", 50),
        ("png", "bpp", 20),
    }


def test_a_contender_that_is_gone_fails(before, tmp_path):
    after = copy.deepcopy(before)
    after["codecs"] = [c for c in after["codecs"] if c["name"] != "png"]
    result = run(tmp_path, before, after, "--fail-on-regression", 50)
    assert result.exit_code == 3 and "png is gone" in result.stderr and "only in A: png" in result.stdout
    result = run(tmp_path, after, before, "--fail-on-regression", 50)
    assert result.exit_code == 0 and "only in B: png" in result.stdout


def test_what_cannot_be_compared_is_said(before):
    after = copy.deepcopy(before)
    after["environment"]["cpu"] = "another"
    after["codecs"][1]["points"].pop()
    after["anchor"] = "webp"
    notes = compared(before, after).notes
    assert any(note.startswith("cpu: ") and note.endswith("another after") for note in notes)
    assert "webp: only one run has quality 80" in notes
    assert any("anchors differ (jpeg, webp)" in note for note in notes)


def test_wrong_input_is_one_line(before, tmp_path):
    other = copy.deepcopy(before)
    other["images"][0]["name"] = "chelsea"
    with pytest.raises(EdgepressError, match=r"different images \(2 and 2; only the one"):
        run(tmp_path, before, other)
    with pytest.raises(EdgepressError, match="no 'codecs'"):
        run(tmp_path, before, {"hello": 1})
    with pytest.raises(EdgepressError, match="does not exist"):
        run(tmp_path, before, before, "--json", "no/such/folder/x.json")
    with pytest.raises(FileNotFoundError):
        CliRunner().invoke(bench, ["compare", "no.json", "no.json"], catch_exceptions=False)


def test_options_of_the_benchmark_do_not_reach_compare():
    result = CliRunner().invoke(bench, ["--limit", "3", "compare", "a.json", "b.json"])
    assert result.exit_code == 2 and "takes its own options" in result.stderr
