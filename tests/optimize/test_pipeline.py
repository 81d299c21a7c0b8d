"""`edgepress optimize` from a .keras file to a package that codes photographs."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edgepress.bench.panels import Panel, side_by_side
from edgepress.optimize.cli import optimize
from edgepress.optimize.demo import _at_bytes
from edgepress.optimize.errors import EdgepressError, RecipeError
from edgepress.optimize.recipe import load_recipe
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
        "--report",
        str(folder / "out.html"),
        "--name",
        "tiny",
    ]
    (folder / "arguments.json").write_text(json.dumps(arguments))
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


AGAIN = """
import json, sys
sys.argv[1:] = json.load(open(sys.argv[1]))
from edgepress.optimize.cli import optimize
optimize(standalone_mode=False)
sys.exit("tensorflow was imported" if "tensorflow" in sys.modules else 0)
"""


def test_the_same_run_again_comes_from_the_cache_without_tensorflow(made):
    folder = made[0]
    files = [folder / f"out.{kind}" for kind in ("epm", "json", "html")]
    before = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    command = [sys.executable, "-c", AGAIN, str(folder / "arguments.json")]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    assert "0 stages made, 4 read from" in again.stdout
    assert [file.read_bytes() for file in files] == before


def test_a_damaged_stage_is_made_again(made, tmp_path):
    """The last one, so that nothing has to be trained; all that it was made of is read."""
    folder = made[0]
    shutil.copytree(folder / ".edgepress-cache", tmp_path / "cache")
    (entry,) = (tmp_path / "cache").glob("package-*.stage")
    entry.write_bytes(entry.read_bytes()[:-9])
    arguments = json.loads((folder / "arguments.json").read_text())
    arguments += ["-o", str(tmp_path / "out.epm"), "--cache", str(tmp_path / "cache")]
    result = CliRunner().invoke(optimize, [*arguments, "--name", "tiny"], catch_exceptions=False)
    assert result.exit_code == 0
    assert f"cache: {entry} is damaged; package is made again" in result.output
    assert "1 stages made," in result.output
    assert (tmp_path / "out.epm").read_bytes() == (folder / "out.epm").read_bytes()


def test_the_page_needs_nothing_else_and_holds_the_figures(made):
    folder, _, figures = made
    page = (folder / "out.html").read_text(encoding="utf-8")
    links = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]*)""", page)
    assert links and all(link.startswith(("data:", "#")) for link in links)
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/", "")
    text = re.sub(r"<[^>]+>", " ", page)
    for row in figures["stages"]:
        for value in (f"{row['psnr']:.2f}", f"{row['raw_bytes'] / 1000:,.1f}", f"{row['latency_ms']:.2f}"):
            assert value in text
    for row in figures["qualities"]:
        assert f"{row['bpp']:.3f}" in text
    for word in (
        "tiny",
        "decoder_1",
        "Conv2DTranspose 3x3/2",
        "encoder_1",
        "sparsity = 0.3",
        "ai-edge-litert",
    ):
        assert word in text
    assert page.count("data:image/webp;base64,") == 4  # one image: original, float model, two qualities


def test_a_budget_chooses_the_fastest_inside_it(made, tmp_path, photographs):
    """A generous one, so that whatever was cut fits; what is tested is the way through, not quality."""
    folder = made[0]
    (tmp_path / "val").mkdir()
    for i in range(4):
        Image.fromarray(photographs[i % 3][:, 8 * i : 8 * i + 128]).save(tmp_path / "val" / f"{i}.png")
    (tmp_path / "recipe.toml").write_text(
        RECIPE.replace("images = 1", "images = 4").replace("steps = 6", "steps = 0")
        + "[search]\nkeep_macs = [1.0, 0.5]\nmodes = ['ptq']\n[channels]\nsteps = 2\ncriterion = 'magnitude'\n"
    )
    arguments = [folder / "conv3.keras", "--data", folder / "data", "--val", tmp_path / "val"]
    arguments += [
        "-o",
        tmp_path / "out.epm",
        "--recipe",
        tmp_path / "recipe.toml",
        "--json",
        tmp_path / "out.json",
    ]
    arguments += ["--report", tmp_path / "out.html", "--cache", folder / ".edgepress-cache"]
    result = CliRunner().invoke(optimize, [str(a) for a in [*arguments, "--max-drop", "90"]])
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "out.json").read_text())
    found = figures["search"]
    assert [p["candidate"]["keep_macs"] for p in found["points"]] == [1.0, 0.5]
    chosen = next(p for p in found["points"] if p["chosen"])
    assert all(p["inside"] and p["latency_ms"] > 0 for p in found["points"])
    assert chosen["latency_ms"] == min(p["latency_ms"] for p in found["points"])
    assert figures["recipe"]["channels"]["keep_macs"] == chosen["candidate"]["keep_macs"]
    stages = {row["name"]: row for row in figures["stages"]}
    assert stages["int8"]["psnr"] == pytest.approx(chosen["measured"]["psnr"], abs=1e-6)
    losses = chosen["measured"]["losses"]
    assert chosen["choosing"] == pytest.approx((losses[0] + losses[2]) / 2)
    assert chosen["verifying"] == pytest.approx((losses[1] + losses[3]) / 2)
    assert stages["float"]["psnr"] - stages["int8"]["psnr"] == pytest.approx(sum(losses) / 4, abs=1e-6)
    page = (tmp_path / "out.html").read_text(encoding="utf-8")
    assert "inside a budget of 90 dB PSNR" in page and page.count('class="series series-') == 2
    # A budget that nothing in the grid meets: one line says what is nearest.
    recipe = (tmp_path / "recipe.toml").read_text()
    (tmp_path / "recipe.toml").write_text(recipe.replace("[1.0, 0.5]", "[0.5]"))
    with pytest.raises(EdgepressError, match=r"nothing stays within 1e-05 dB PSNR .* the nearest is 50%"):
        CliRunner().invoke(
            optimize,
            [str(a) for a in [*arguments, "--max-drop", "0.00001"]],
            catch_exceptions=False,
            standalone_mode=False,
        )


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


def test_the_recipe_can_be_dumped_with_what_the_flags_say(tmp_path):
    flags = ["--recipe", "conv3", "--keep-macs", "0.5", "--max-drop", "ssim=0.01", "--seed", "7"]
    result = CliRunner().invoke(optimize, ["--dump-recipe", *flags])
    assert result.exit_code == 0
    (tmp_path / "dump.toml").write_text(result.output)
    recipe = load_recipe(tmp_path / "dump.toml")
    assert (recipe.channels.group, recipe.channels.keep_macs) == (16, 0.5)
    assert (recipe.search.metric, recipe.search.max_drop) == ("ssim", 0.01)
    assert recipe.prune.seed == recipe.channels.seed == 7


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
