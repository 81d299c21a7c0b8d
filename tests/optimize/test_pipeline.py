"""`edgepress optimize` from a .keras file to a package that codes photographs."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgepress.bench.panels import Panel, side_by_side
from edgepress.optimize.cli import optimize
from edgepress.optimize.demo import _at_bytes
from edgepress.optimize.errors import EdgepressError, RecipeError
from edgepress.runtime.codec import Codec

RECIPE = """
[prune]
steps = 6
batch = 2
crop = 64
[codec]
sets = 2
bank = 16
[measure]
images = 1
side = 128
repeats = 3
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, conv3, photographs):
    """(folder, printed text, JSON) of one run."""
    folder = tmp_path_factory.mktemp("optimize")
    (folder / "data").mkdir()
    for i, image in enumerate(photographs):
        Image.fromarray(image).save(folder / "data" / f"{i}.png")
    (folder / "data" / "broken.jpg").write_bytes(b"no picture")
    (folder / "recipe.toml").write_text(RECIPE)
    conv3.save(folder / "conv3.keras")
    arguments = [str(folder / "conv3.keras"), "--data", str(folder / "data"), "-o", str(folder / "out.epm")]
    arguments += [
        "--recipe",
        str(folder / "recipe.toml"),
        "--json",
        str(folder / "out.json"),
        "--name",
        "tiny",
    ]
    result = CliRunner().invoke(optimize, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return folder, result.output, json.loads((folder / "out.json").read_text())


def test_the_package_codes_images_of_any_size(made, photographs):
    codec = Codec.load(made[0] / "out.epm")
    assert (codec.package.name, codec.package.stride, codec.package.latent_channels) == ("tiny", 8, 32)
    for image in (photographs[0], photographs[1][:31, :17], photographs[2][:1, :1]):
        files = [codec.encode(image, quality) for quality in (10, 100)]
        assert all(codec.decode_array(file).shape == image.shape for file in files)
    sizes = [len(codec.encode(photographs[0], quality)) for quality in (1, 50, 100)]
    assert sizes == sorted(sizes)


def test_every_stage_has_its_row(made):
    _, text, figures = made
    stages = {row["name"]: row for row in figures["stages"]}
    assert list(stages) == ["float", "rewritten", "pruned", "int8", "package"]
    assert [row["name"] for row in figures["qualities"]] == [f"quality {q}" for q in (10, 25, 50, 75, 90)]
    assert figures["max_difference"] < 1e-5
    assert stages["rewritten"]["psnr"] == pytest.approx(stages["float"]["psnr"], abs=0.01)
    assert stages["pruned"]["nonzero"] < 0.75 * stages["float"]["nonzero"]
    assert stages["int8"]["raw_bytes"] < 0.4 * stages["float"]["raw_bytes"]
    assert stages["int8"]["undelegated"] == 0
    assert stages["package"]["psnr"] == pytest.approx(stages["int8"]["psnr"], abs=0.5)
    # The estimate lacks the file's header, a few bytes of 128x128 pixels.
    assert stages["int8"]["bpp"] < stages["package"]["bpp"] < stages["int8"]["bpp"] * 1.02 + 0.02
    assert all(row["latency_ms"] > 0 for row in figures["stages"])
    assert "skipped: " in text and "broken.jpg" in text
    for word in ("latent: latent", "rewritten: decoder_1", "Stage by stage", "package"):
        assert word in text


def test_the_package_is_a_third_of_the_float_weights(made):
    folder, _, figures = made
    weights = 4 * figures["stages"][0]["parameters"]
    assert (folder / "out.epm").stat().st_size * 3 <= weights


def test_wrong_input_is_one_clear_error(made, tmp_path):
    folder = made[0]

    def run(*arguments):
        CliRunner().invoke(
            optimize, [str(a) for a in arguments], catch_exceptions=False, standalone_mode=False
        )

    model, data = folder / "conv3.keras", folder / "data"
    with pytest.raises(EdgepressError, match=r"must end in \.epm"):
        run(model, "--data", data, "-o", tmp_path / "out.zip")
    with pytest.raises(EdgepressError, match="no such folder"):
        run(model, "--data", tmp_path / "absent", "-o", tmp_path / "out.epm")
    with pytest.raises(FileNotFoundError):
        run(folder / "absent.keras", "--data", data, "-o", tmp_path / "out.epm")
    with pytest.raises(FileNotFoundError):
        run(model, "--data", data, "-o", tmp_path / "absent" / "out.epm")
    with pytest.raises(RecipeError, match=r"prune\.sparsity"):
        run(model, "--data", data, "-o", tmp_path / "out.epm", "--sparsity", "2")
    assert not list(tmp_path.iterdir())


def test_the_recipe_can_be_dumped():
    result = CliRunner().invoke(optimize, ["--dump-recipe"])
    assert result.exit_code == 0
    assert "[prune]" in result.output


def test_pictures_side_by_side(photographs):
    panels = [Panel("one\ntwo", photographs[0]), Panel("three", photographs[0])]
    sheet = side_by_side(panels, side=64, zoom=2)
    assert sheet.shape[1] == 2 * 128 + 8
    detail = photographs[0][64:128, 96:160].repeat(2, axis=0).repeat(2, axis=1)
    assert np.array_equal(sheet[-128:, :128], detail)
    assert np.array_equal(sheet[-128:, -128:], detail)


def test_jpeg_at_equal_bytes(photographs):
    from edgepress.bench.codecs import make_codec

    jpeg = make_codec("jpeg")
    budget = 6000
    best = _at_bytes(jpeg, photographs[0], budget)
    assert len(best) <= budget
    fits = [q for q in range(1, 101) if len(jpeg.encode(photographs[0], q)) <= budget]
    assert len(best) == len(jpeg.encode(photographs[0], max(fits)))
