"""`bench --study`: the study's figures beside ours, from real codecs on squares of photographs."""

import io
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner
from PIL import Image
from skimage.metrics import structural_similarity

from edgepress.bench import studytrain
from edgepress.bench.cli import bench
from edgepress.bench.loadimages import BenchImage
from edgepress.bench.pillowcodecs import Jpeg
from edgepress.bench.png import to_png
from edgepress.bench.published import PUBLISHED, SET_SECONDS
from edgepress.bench.studytables import NONE
from edgepress.bench.svg import dress, new_figure, series_color
from edgepress.bench.tiles import cut
from edgepress.bench.traininglog import find_log, optimizers_room, shipped_logs
from edgepress.runtime import Codec, EdgepressError
from edgepress.runtime.commands import cli


def run(*args):
    return CliRunner().invoke(bench, [str(a) for a in args], catch_exceptions=False)


@pytest.fixture(scope="module")
def redone(tmp_path_factory):
    """The study on four squares of two photographs, with all that it writes: (result, JSON, folder)."""
    folder = tmp_path_factory.mktemp("study")
    for name, part in (("images", np.s_[100:240, 100:380]), ("training", np.s_[240:370, 100:230])):
        (folder / name).mkdir()
        for photo in ("astronaut", "coffee"):
            Image.fromarray(getattr(skimage.data, photo)()[part]).save(folder / name / f"{photo}.png")
    Image.new("RGB", (127, 300)).save(folder / "images" / "narrow.png")
    outputs = [
        "--json",
        folder / "out.json",
        "--report",
        folder / "out.html",
        "--figures",
        folder / "figures",
    ]
    options = ["--images", folder / "images", "--training-images", folder / "training", "--workers", 1]
    result = run("--study", *options, "--repeats", 1, "--report-images", 1, *outputs)
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "out.json").read_text()), folder


def test_the_studys_models_stand_beside_its_own_figures(redone):
    result, found, _ = redone
    installed = [name for name in (*PUBLISHED, "photo") if name in Codec.available()]
    models = found["study"]["models"]
    assert [m["name"] for m in models] == installed and "conv3" in installed
    assert {m["spec"] for m in found["missing"]} == {*PUBLISHED, "photo"} - set(installed)
    assert found["study"]["published_set_seconds"] == list(SET_SECONDS) == [1519.46, 92.07]
    conv3 = models[0]
    assert (conv3["published"]["psnr"], conv3["published"]["jpeg_psnr"]) == (27.09, 41.11)
    assert (conv3["published"]["ratio"], conv3["published"]["jpeg_ratio"]) == (1.11, 4.58)
    assert "27.09 / 41.11" in result.stdout and "16.5x" in result.stdout and "Missing" not in result.stdout
    assert "narrow.png: 127x300 is smaller" in result.stderr


def test_ours_are_what_the_files_say(redone):
    """The row of conv3 once more, from the codec, Pillow and scikit-image alone."""
    _, found, folder = redone
    conv3 = found["study"]["models"][0]
    squares = []
    for file in sorted((folder / "images").glob("[ac]*.png")):
        pixels = np.asarray(Image.open(file))
        squares += [pixels[:128, left : left + 128] for left in (0, 128)]
    codec, quality = Codec.load("conv3"), conv3["quality"]
    assert quality == 100 and len(conv3["model"]["rows"]) == 4

    def similarity(a, b):
        settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        return structural_similarity(a, b, channel_axis=2, **settings)

    files = [codec.encode(square, quality=quality) for square in squares]
    similarities = [similarity(s, np.asarray(codec.decode(f))) for s, f in zip(squares, files, strict=True)]
    assert conv3["model"]["ssim"] == pytest.approx(np.mean(similarities), abs=1e-5)
    assert conv3["model"]["ratio"] == pytest.approx(np.mean([49152 / len(f) for f in files]))

    def jpeg(q):
        values = []
        for square in squares:
            file = io.BytesIO()
            Image.fromarray(square).save(file, "JPEG", quality=q, optimize=True, subsampling="4:2:0")
            values.append((similarity(square, np.asarray(Image.open(file))), 49152 / len(file.getvalue())))
        return np.mean(values, axis=0)

    matched, wanted = conv3["jpeg"]["quality"], conv3["model"]["ssim"]
    ssim, ratio = jpeg(matched)
    assert conv3["jpeg"]["ssim"] == pytest.approx(ssim, abs=1e-5)
    assert conv3["jpeg"]["ratio"] == pytest.approx(ratio)
    for other in (matched - 1, matched + 1):
        assert abs(jpeg(other)[0] - wanted) >= abs(ssim - wanted) - 1e-9
    assert conv3["jpeg_at_published_quality"]["ratio"] == pytest.approx(jpeg(95)[1])
    assert conv3["time_ratio"] == pytest.approx(conv3["model"]["seconds"] / conv3["jpeg"]["seconds"])
    assert conv3["training"]["ssim"] not in (None, conv3["model"]["ssim"])


def test_the_log_tells_whether_the_loss_rose(redone, tmp_path):
    _, found, _ = redone
    log = found["study"]["models"][0]["log"]
    assert len(log["steps"]) == len(log["losses"]) == len(log["scores"]) >= 10
    shipped = find_log(shipped_logs(), "conv3")
    assert list(shipped.scores) == log["scores"]
    (tmp_path / "up.csv").write_text("step,loss,val_score\n1,2.0,2.5\n2,1.0,2.0\n3,0.5,3.0\n")
    up = find_log(tmp_path, "up")
    assert up.rise == pytest.approx(0.5)
    assert find_log(tmp_path, "absent") is None
    assert find_log(shipped_logs(), "photo") is None  # of another loss
    for name, text in (("words", "step,loss,val_score\n1,x,2\n"), ("columns", "a,b\n1,2\n"), ("none", "")):
        (tmp_path / f"{name}.csv").write_text(text)
        with pytest.raises(EdgepressError, match=f"{name}.csv"):
            find_log(tmp_path, name)


def test_the_figures_are_pictures_with_something_in_them(redone):
    _, found, folder = redone
    names = [m["name"] for m in found["study"]["models"]]
    wanted = {"study-ssim.png", "study-psnr.png", "study-ratio.png", "study-training.png"}
    assert {p.name for p in (folder / "figures").iterdir()} == wanted | {
        f"study-details-{n}.png" for n in names
    }
    for file in (folder / "figures").iterdir():
        picture = Image.open(file).convert("RGB")
        assert picture.height > 200 and len(picture.getcolors(1 << 24)) > 20
    sheet = np.asarray(Image.open(folder / "figures" / "study-details-conv3.png"))
    square = np.asarray(Image.open(folder / "images" / "astronaut.png"))[:128, :128]
    detail = square[32:96, 32:96].repeat(3, axis=0).repeat(3, axis=1)
    top = next(y for y in range(200) if np.array_equal(sheet[y : y + 192, :192], detail))
    assert not np.array_equal(sheet[top : top + 192, 200:392], detail)


def test_the_page_has_a_section_of_it(redone):
    _, found, folder = redone
    page = (folder / "out.html").read_text()
    section = page[page.index('<section id="study"') : page.index('<section id="rate"')]
    assert section.count("<svg") == 4 and section.count("data:image/png;base64,") == len(
        found["study"]["models"]
    )
    assert section.count('alt="The middle 64x64 pixels of ') == len(found["study"]["models"])
    own = found["study"]["models"][0]
    assert f"{own['model']['psnr']:.2f} / {own['jpeg']['psnr']:.2f}" in section and "27.09 / 41.11" in section
    assert '<a href="#study">' in page and NONE in section


def test_squares_are_cut_from_the_top_left():
    photo = skimage.data.coffee()  # 600x400
    exact = BenchImage.from_array("exact", np.ascontiguousarray(photo[:128, :128]))
    squares = cut([BenchImage.from_array("coffee", photo), exact], 128)
    assert len(squares) == 3 * 4 + 1 and squares[-1] is exact
    assert squares[5].name == "coffee at 128,128"
    assert np.array_equal(squares[5].pixels(), photo[128:256, 128:256])
    few = cut([BenchImage.from_array("coffee", photo), exact], 128, limit=3)
    assert [s.name for s in few] == ["coffee at 0,0", "coffee at 256,128", "exact"]
    said = []
    with pytest.raises(EdgepressError, match="128x128"):
        cut([BenchImage.from_array("small", photo[:100].copy())], 128, skipped=said.append)
    assert said == ["small: 600x100 is smaller than 128x128"]


def test_a_png_has_the_pages_light_colours():
    figure = new_figure(2, 2)
    axes = figure.subplots()
    axes.fill_between([0, 1], [1, 1], color=series_color(1))
    dress(axes, "x", "y")
    colors = {c for _, c in Image.open(io.BytesIO(to_png(figure))).convert("RGB").getcolors(1 << 24)}
    assert (0x09, 0x69, 0xDA) in colors and (255, 255, 255) in colors
    assert not any(r > 250 and g < 5 for r, g, b in colors)  # no stand-in is left


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--study", "--anchor", "webp"], "compares with JPEG"),
        (["--figures", "x"], "are of --study"),
        (["--training-images", "x"], "are of --study"),
    ],
)
def test_options_that_do_not_go_together(args, words):
    result = run(*args)
    assert result.exit_code == 2 and words in result.stderr


@pytest.mark.parametrize("option", ["--train", "--training-logs", "--training-images"])
def test_wrong_folders_are_one_line_before_any_work(option):
    with pytest.raises(EdgepressError, match=r"^no/such: no such folder$"):
        run("--study", option, "no/such")


def test_training_anew_runs_commands_that_exist(tmp_path):
    """Every command's options are parsed by the command itself; only the work is left out."""
    if find_spec("tensorflow") is None:
        pytest.skip("needs the train extra")
    made = studytrain.commands("conv5", tmp_path, tmp_path / "out", tmp_path / "vgg.npz", 200)
    assert [c[0] for c in made] == ["train", "train", "optimize"]
    for arguments in made:
        command = cli.get_command(None, arguments[0])
        context = command.make_context(arguments[0], list(arguments[1:]))
        assert Path(context.params["data"]) == tmp_path
    assert context.params["output"] == tmp_path / "out" / "conv5.epm"
    assert context.params["steps"] == 25
    assert Path(context.params["recipe_file"]) == optimizers_room() / "recipes" / "conv5.toml"
    for model in PUBLISHED:
        recipe = studytrain.commands(model, tmp_path, tmp_path, None, 200)[-1]
        assert Path(recipe[recipe.index("--recipe") + 1]).is_file()
        assert ("--distill-steps" in recipe) == (PUBLISHED[model].layers > 5)
    without = studytrain.commands("conv5", tmp_path, tmp_path, None, None)
    assert [c[0] for c in without] == ["train", "optimize"] and "--steps" not in without[0]


@pytest.mark.slow
def test_a_model_is_trained_and_compared(tmp_path):
    if find_spec("tensorflow") is None:
        pytest.skip("needs the train extra")
    data = tmp_path / "data"
    data.mkdir()
    squares = cut([BenchImage.from_array("coffee", skimage.data.coffee())], 128)
    for n, square in enumerate(squares):
        Image.fromarray(square.pixels()).save(data / f"{n}.png")
    said = []
    packages = studytrain.train_models(data, tmp_path / "made", None, 20, ("conv3",), said.append)
    assert [p.name for p in packages] == ["conv3.epm"] and len(said) == 2
    assert Jpeg().name != Codec.load(packages[0]).package.name == "conv3"
    assert find_log(tmp_path / "made", "conv3").steps[-1] == 20
    assert studytrain.train_models(data, tmp_path / "made", None, 20, ("conv3",), said.append) == packages
    assert len(said) == 2  # what is finished is kept
