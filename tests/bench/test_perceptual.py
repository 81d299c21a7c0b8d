"""FLIP as an option: its own package's figure for every point, or one line that says what to install."""

import json
import sys

import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner
from PIL import Image

from edgepress.bench import perceptual
from edgepress.bench.cli import bench
from edgepress.bench.pillowcodecs import Jpeg
from edgepress.runtime import EdgepressError


def test_what_is_missing_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(perceptual, "find_spec", lambda name: None)
    with pytest.raises(EdgepressError, match=r"edgepress\[perceptual\]"):
        CliRunner().invoke(bench, ["--flip"], catch_exceptions=False)


def test_flip_is_that_of_its_authors_package():
    flip_evaluator = pytest.importorskip("flip_evaluator", reason="needs edgepress[perceptual]")
    photo = np.ascontiguousarray(skimage.data.astronaut()[:128, 150:350])
    decoded = [Jpeg().decode(Jpeg().encode(photo, quality)) for quality in (10, 50, 95)]
    found = [perceptual.flip(photo, image) for image in decoded]
    assert 0.3 > found[0] > found[1] > found[2] > 0 and perceptual.flip(photo, photo.copy()) == 0
    assert perceptual.flip(np.zeros_like(photo), np.full_like(photo, 255)) > 0.9
    float_pair = [np.float32(image) / 255 for image in (photo, decoded[0])]
    error_map = flip_evaluator.evaluate(*float_pair, "LDR", applyMagma=False)[0]
    assert found[0] == pytest.approx(float(np.mean(error_map)), abs=1e-4)


def test_every_point_has_it_when_asked_for(tmp_path):
    pytest.importorskip("flip_evaluator", reason="needs edgepress[perceptual]")
    Image.fromarray(skimage.data.astronaut()[:128, 150:350]).save(tmp_path / "a.png")
    files = ["--json", str(tmp_path / "out.json"), "--report", str(tmp_path / "out.html")]
    options = ["--images", str(tmp_path), "--codec", "webp", "--codec", "png", "--qualities", "20,80"]
    result = CliRunner().invoke(
        bench, ["--flip", *options, "--no-time", "--workers", "1", *files], catch_exceptions=False
    )
    assert result.exit_code == 0 and "FLIP" in result.stdout
    found = json.loads((tmp_path / "out.json").read_text())
    flips = {c["name"]: [p["flip"] for p in c["points"]] for c in found["codecs"]}
    assert flips["webp"][0] > flips["webp"][1] > 0 and flips["png"] == [0]
    page = (tmp_path / "out.html").read_text()
    assert f'<td class="n">{flips["webp"][0]:.4f}</td>' in page
    assert "flip_evaluator" in sys.modules
