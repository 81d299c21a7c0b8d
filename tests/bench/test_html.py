"""The HTML report without a browser: one file that needs no other, with every figure and nothing that is not text."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
import skimage.data
from click.testing import CliRunner
from PIL import Image

from edgepress.bench.bdrate import bd_psnr, bd_rate
from edgepress.bench.cli import bench
from edgepress.bench.htmlreport import html_report
from edgepress.bench.levels import levels
from edgepress.bench.loadimages import BenchImage
from edgepress.bench.pictures import HEIGHT, WIDTH, crop, make_pictures
from edgepress.bench.pillowcodecs import Jpeg
from edgepress.bench.report import to_dict
from edgepress.bench.saved import saved_of
from edgepress.bench.summary import lines, sentences, winners
from edgepress.runtime import EdgepressError


class Elements(HTMLParser):
    """All elements with their attributes, and the text between tags."""

    def __init__(self, page):
        super().__init__()
        self.elements, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def saved(measured):
    return saved_of(to_dict(measured))


@pytest.fixture(scope="module")
def page(saved, pictures):
    return html_report(saved, pictures).decode()


def test_the_page_needs_nothing_else(page):
    found = Elements(page)
    for tag, attrs in found.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    assert not re.search(r"@import|url\((?!#)", page)
    assert "default-src 'none'" in page and "width=device-width" in page
    ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
    assert len(set(ids)) == len(ids)
    for _, attrs in found.elements:  # what charts refer to is there
        for name in re.findall(r"url\(#([^)]+)\)", " ".join(v or "" for v in attrs.values())):
            assert name in ids


def test_names_are_text(page):
    found = Elements(page)
    assert "</script><b>" not in page and "b" not in {
        tag for tag, attrs in found.elements if "coffee" in str(attrs)
    }
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    assert data["images"][1] == "</script><b>coffee" and len(data["rows"]) == 2 * (3 + 3 + 1)


def test_charts_are_readable_to_all(page):
    charts = re.findall(r'<svg [^>]*class="chart".*?</svg>', page, re.S)
    assert len(charts) == 3 + 3 * 3 + 4  # rates; histograms at three rates; trade, time, speed, memory
    for chart in charts:
        root = ElementTree.fromstring(chart)
        title, text = (root.find("{http://www.w3.org/2000/svg}" + tag) for tag in ("title", "desc"))
        assert root.get("role") == "img" and title.text and "webp" in text.text
        assert root.get("aria-labelledby") == f"{title.get('id')} {text.get('id')}"
        assert "#fe0" not in chart and "var(--ink)" in chart
    tips = re.findall(r"<title>(webp, quality [^<]+)</title>", charts[0])
    assert len(tips) == 3 and tips[0].startswith("webp, quality 10: ")


def test_the_summary_says_what_was_measured(saved, measured):
    at = levels(saved)
    table = lines(saved, at[1])
    assert [line.codec.name for line in table] == ["jpeg", "webp", "png"]
    webp = table[1]
    jpeg_points, webp_points = (curve.points for curve in measured.curves[:2])
    assert webp.bd[0].rate == bd_rate(jpeg_points, webp_points)
    assert webp.bd[1].gain == bd_psnr(jpeg_points, webp_points, "ms_ssim")
    assert webp.bd[0].mean_of_images == measured.mean_bd["webp"]["psnr"]
    assert webp.encode_mps == pytest.approx(measured.times["webp", webp.point.quality].encode_mps)
    said = dict((line.codec.name, text) for line, text in sentences(saved, table))
    assert said["webp"].startswith(
        f"webp needs {-webp.bd[0].rate.percent:.1f}% fewer bytes than jpeg at equal PSNR and "
    )
    assert "times jpeg's time at equal SSIM" in said["webp"]
    assert said["png"].startswith("png keeps every pixel")
    best = winners(saved, table, at[1])
    assert (best[0].name, best[0].figure) == ("webp", f"−{-webp.bd[0].rate.percent:.1f}%")
    assert best[2].title == "Fastest to encode" and best[2].name == "jpeg"


def test_levels_are_common_rates(saved):
    low, middle, high = levels(saved)
    ends = [[min(r), max(r)] for c in saved.codecs[:2] for r in [[p.bpp for p in c.points]]]
    assert max(e[0] for e in ends) < low.bpp < middle.bpp < high.bpp < min(e[1] for e in ends)
    for level in (low, middle, high):
        for codec in saved.codecs:
            off = [abs(np.log(p.bpp / level.bpp)) for p in codec.points]
            assert level.points[codec.name] is codec.points[int(np.argmin(off))]


def test_pictures_are_exactly_what_codecs_made(measured, pictures):
    assert len(pictures) == 2 * (1 + 3 + 3 + 1)
    shown = next(p for p in pictures if (p.image, p.codec, p.quality) == ("astronaut", "jpeg", 40))
    data = Jpeg().encode(measured.images[0].pixels(), 40)
    assert shown.bytes == len(data)
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown.uri.partition(",")[2]))))
    np.testing.assert_array_equal(found, crop(Jpeg().decode(data)))


def test_pictures_stay_within_their_budget():
    images = [BenchImage.from_array(str(n), skimage.data.coffee()[n : n + 200, :300]) for n in range(3)]
    grid = [(Jpeg(), [5, 20, 50, 80, 95])]
    everything = make_pictures(grid, images, 2)
    assert [p.quality for p in everything] == [0, 0, 5, 5, 95, 95, 50, 50, 20, 20, 80, 80]
    assert {p.image for p in everything} == {"0", "2"}
    budget = sum(len(p.uri) for p in everything[:6]) + 10
    assert make_pictures(grid, images, 2, budget=budget) == everything[:6]
    assert make_pictures(grid, images, 0) == []
    big = np.zeros((HEIGHT + 11, WIDTH + 8, 3), np.uint8)
    assert crop(big).shape == (HEIGHT, WIDTH, 3) and crop(big[:5, :7]).shape == (5, 7, 3)


def test_a_benchmark_without_others_times_or_images_is_a_page_too(measured):
    found = to_dict(measured)
    found |= {
        "codecs": found["codecs"][:1],
        "matches": [],
        "timing": {},
        "missing": [{"reason": "avif: none here"}],
    }
    found["codecs"][0]["peak_memory_mb"] = None
    for point in found["codecs"][0]["points"]:
        point.update(dict.fromkeys(("encode_ms", "decode_ms", "ms_ssim", "ssim")), rows=[])
    found["devices"] = {"pi": {"error": "pi: does not answer"}}
    text = html_report(saved_of(found)).decode()
    assert "avif: none here" in text and "pi: does not answer" in text
    assert 'id="viewer"' not in text and 'id="bd"' not in text and 'id="equal"' not in text


def test_other_devices_have_a_table(measured):
    found = to_dict(measured)
    other = json.loads(json.dumps(found))
    other["environment"]["cpu"] = "Raspberry Pi 5"
    found["devices"] = {"pi": other}
    text = html_report(saved_of(found)).decode()
    assert "On other devices" in text and text.count("<td>Raspberry Pi 5</td>") == 3


def test_the_command_writes_it_with_any_anchor(tmp_path):
    Image.fromarray(skimage.data.coffee()[100:292, 200:400]).save(tmp_path / "coffee.png")
    page, data = tmp_path / "out.html", tmp_path / "out.json"
    options = [
        "--images",
        tmp_path,
        "--codec",
        "jpeg",
        "--codec",
        "webp",
        "--anchor",
        "webp",
        "--qualities",
        "20,60,90",
    ]
    options += ["--no-time", "--workers", 1, "--report", page, "--report-images", 1, "--json", data]
    result = CliRunner().invoke(bench, [str(o) for o in options], catch_exceptions=False)
    assert result.exit_code == 0 and f"wrote {page}" in " ".join(result.stderr.split()).replace("/ ", "/")
    found = json.loads(data.read_text())
    assert found["anchor"] == "webp" and found["bd_rate"]["jpeg"]["psnr"] > 0
    text = page.read_text()
    assert "The anchor is <b>webp</b>" in text and text.count("data:image/webp;base64,") == 1 + 2 * 3


@pytest.mark.parametrize(("anchor", "words"), [("png", "no quality to set"), ("jpgg", "unknown codec")])
def test_what_cannot_be_the_anchor_is_refused(anchor, words):
    with pytest.raises(EdgepressError, match=words):
        CliRunner().invoke(bench, ["--anchor", anchor, "--no-time"], catch_exceptions=False)
