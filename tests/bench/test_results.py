"""What README.md and docs/benchmark.md quote comes from the newest release's JSON in results/, number by number."""

import json
import re
import sys
from configparser import ConfigParser
from pathlib import Path

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

ROOT = Path(__file__).parents[2]
PAGES = {name: (ROOT / name).read_text("utf-8") for name in ("README.md", "docs/benchmark.md")}
README = PAGES["README.md"]
NUMBER = re.compile(r"\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def scripts():
    """The modules of results/: (render, measure, blocks)."""
    sys.path.insert(0, str(ROOT / "results"))
    import blocks
    import measure
    import render

    yield render, measure, blocks
    sys.path.remove(str(ROOT / "results"))
    for name in ("blocks", "measure", "render"):
        del sys.modules[name]


@pytest.fixture(scope="module")
def results(scripts):
    return scripts[0].reader(scripts[0].newest())


def block(name):
    """The text of a marked part of the README."""
    return re.search(rf"<!-- results: {name} -->\n(.*?)<!-- end -->", README, re.DOTALL)[1]


def rows(name):
    """The cells of the table in it, without headings."""
    lines = block(name).strip().splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def numbers(cell):
    return [float(n) for n in re.findall(r"[-+]?\d+(?:\.\d+)?", cell)]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_what_the_results_make_of_it(scripts, results, page):
    assert scripts[0].render(PAGES[page], results) == PAGES[page], "run `make results-readme`"


def test_every_table_stands_on_one_page(scripts):
    named = [name for text in PAGES.values() for name in re.findall(r"<!-- results: ([\w-]+) -->\n", text)]
    assert len(named) == len(set(named)) and set(named) == set(scripts[2].BLOCKS)
    assert {ROOT / page for page in PAGES} == set(scripts[0].PAGES)


@pytest.mark.parametrize(("page", "least"), [("README.md", 300), ("docs/benchmark.md", 10)])
def test_any_number_that_is_changed_is_noticed(scripts, results, page, least):
    """Or the first test could not fail: the page is made anew, not left as it is."""
    text, found = PAGES[page], 0
    for marked in re.finditer(r"<!-- results: [\w-]+ -->\n(.*?)<!-- end -->", text, re.DOTALL):
        for number in NUMBER.finditer(marked[1]):
            place = marked.start(1) + number.end() - 1
            changed = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
            assert changed != text == scripts[0].render(changed, results)
            found += 1
    assert found > least


def test_no_table_of_measured_figures_stands_outside():
    outside = re.sub(r"<!-- results: [\w-]+ -->\n.*?<!-- end -->", "", README, flags=re.DOTALL)
    tables = [line for line in outside.splitlines() if line.startswith("|")]
    assert tables and not [line for line in tables if re.search(r"\d\.\d|\d%", line)]


def common_ssim(jpeg, photo):
    """The range of SSIM, in dB, that both curves reach, and of each the log of its rate over it."""
    curves = {
        name: [
            (-10 * np.log10(1 - p["ssim"]), np.log(p["bpp"])) for p in sorted(points, key=lambda p: p["bpp"])
        ]
        for name, points in (("jpeg", jpeg), ("photo", photo))
    }
    ends = max(c[0][0] for c in curves.values()), min(c[-1][0] for c in curves.values())
    return ends, {name: PchipInterpolator(*zip(*curve, strict=True)) for name, curve in curves.items()}


def test_the_tables_once_more_without_the_code_that_made_them(results):
    for (title, psnr, ms_ssim, _), name in zip(rows("photo")[:2], ("val", "kodak"), strict=True):
        found = results(name)
        assert numbers(title)[0] == len(found["images"])
        for cell, measure in ((psnr, "psnr"), (ms_ssim, "ms_ssim")):
            mean = found["bd_detail"]["photo"][measure]["mean_of_images"]
            assert numbers(cell) == pytest.approx([found["bd_rate"]["photo"][measure], mean], abs=0.05001)
    matches = [m for m in results("study")["matches"] if m["codec"] == "photo"]
    *points, whole = rows("squares")
    for cells, match in zip(points, matches, strict=True):
        assert numbers(cells[0]) == [match["quality"], match["anchor_quality"]]
        assert numbers(cells[1]) == pytest.approx([match["ssim"]], abs=5.001e-4)
        assert numbers(cells[2]) == pytest.approx([match["ratio"], match["anchor_ratio"]], abs=0.05001)
        assert numbers(cells[3]) == pytest.approx([match["bytes"] / match["anchor_bytes"]], abs=0.005001)
        assert numbers(cells[4]) == pytest.approx([match["time_ratio"]], abs=0.05001)
    curves = {c["name"]: c["points"] for c in results("study")["codecs"]}
    (low, high), logs = common_ssim(curves["jpeg"], curves["photo"])
    ratio = np.exp(
        np.mean(logs["photo"](np.linspace(low, high, 999)) - logs["jpeg"](np.linspace(low, high, 999)))
    )
    assert numbers(whole[3]) == pytest.approx([ratio], abs=0.006)
    for cells, model in zip(rows("study"), results("study")["study"]["models"], strict=True):
        assert cells[0] == f"`{model['name']}`"
        for cell, figure, digits in ((cells[2], "psnr", 2), (cells[3], "ratio", 2)):
            ours = [model["model"][figure], model["jpeg"][figure]]
            assert numbers(cell.partition("**")[2]) == pytest.approx(ours, abs=0.5001 * 10**-digits)


def test_the_results_are_of_this_release_and_of_the_commands_that_make_them(scripts):
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    folder = scripts[0].newest()
    assert folder.name == config["metadata"]["version"] == scripts[1].version()
    assert {file.stem for file in folder.glob("*.json")} == set(scripts[1].JOBS)
    for file in folder.glob("*.json"):
        text = file.read_text("utf-8")
        command = scripts[1].JOBS[file.stem].command.replace("{data}/", "").replace("OUT", file.name)
        assert json.loads(text)["command"] == command
        assert not re.search(r'"/\w|/tmp/|/home/', text), (
            f"{file.name} holds a path of the machine that made it"
        )


def test_the_newest_release_is_by_number(scripts, tmp_path):
    for name in ("0.2.0", "0.10.1", "0.9", "notes"):
        (tmp_path / name).mkdir()
    assert scripts[0].newest(tmp_path).name == "0.10.1"


def test_a_benchmark_is_kept_without_rows(scripts):
    found = {
        "codecs": [{"points": [{"bpp": 1.0, "rows": [{"bpp": 1.0}]}]}],
        "environment": {"platform": "x", "cpu": "y"},
    }
    assert scripts[1].slim(found) == {"codecs": [{"points": [{"bpp": 1.0}]}], "environment": {"cpu": "y"}}
