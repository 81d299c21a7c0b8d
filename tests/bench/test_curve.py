"""Curves hold means with their rows; BD-rate, matching and timing rest on them."""

import io

import numpy as np
import pytest
import skimage.data
from PIL import Image

from edgepress.bench.bdrate import bd_rate, mean_bd_rate
from edgepress.bench.codecs import make_codec
from edgepress.bench.curve import Curve, Point, Row, grid_of, measure_curves, measure_points, measure_row
from edgepress.bench.loadimages import BenchImage
from edgepress.bench.match import AnchorSearch, match_curves
from edgepress.bench.pillowcodecs import Jpeg, Png, Webp
from edgepress.bench.workers import Workers
from edgepress.runtime import EdgepressError

IMAGES = [
    BenchImage.from_array("astronaut", skimage.data.astronaut()[:192, 150:342]),
    BenchImage.from_array("coffee", skimage.data.coffee()[100:276, 200:400]),
]


def points(*pairs):
    """Points of one row each from (bits per pixel, PSNR)."""
    made = []
    for i, (bpp, psnr) in enumerate(pairs):
        row = Row("x", 100, 80, None, i + 1, round(bpp * 1000), psnr, 0.9, 1 - 10 ** (-psnr / 20))
        made.append(Point(i + 1, (row,)))
    return made


def test_a_row_is_about_the_whole_file():
    row = measure_row(Jpeg(), IMAGES[1], 50)
    size = len(Jpeg().encode(IMAGES[1].pixels(), 50))
    assert row.bytes == size
    assert row.bpp == pytest.approx(8 * size / (200 * 176))
    assert row.ratio == pytest.approx(3 * 200 * 176 / size)
    assert row.source_ratio is None


def test_points_are_means_of_rows_and_workers_change_nothing():
    alone = measure_curves([Jpeg(), Webp()], IMAGES, [30, 70, 30])
    counts = []
    with Workers(2) as workers:
        shared = measure_curves([Jpeg(), Webp()], IMAGES, [30, 70], workers, counts.append)
    assert shared == alone and sum(counts) == 8
    assert [p.quality for p in alone[0].points] == [30, 70]
    point = alone[1].points[0]
    assert [r.image for r in point.rows] == ["astronaut", "coffee"]
    for name in ("bpp", "bytes", "ratio", "psnr", "ssim", "ms_ssim"):
        assert getattr(point, name) == pytest.approx(np.mean([getattr(r, name) for r in point.rows]))


def test_a_mean_speaks_of_all_images_or_is_none():
    small = BenchImage.from_array("small", skimage.data.coffee()[:100, :100])
    (point,) = measure_points(Jpeg(), [*IMAGES, small], [50])
    assert point.ms_ssim is None and point.ssim is not None
    assert point.rows[0].ms_ssim is not None


def test_qualities_are_checked():
    for wrong in ([0], [101], []):
        with pytest.raises(EdgepressError, match="1 to 100"):
            grid_of(Jpeg(), wrong)
    assert grid_of(Png(), [20, 50]) == (100,)


def test_a_failing_contender_is_named_with_the_image():
    class Broken(Jpeg):
        def decode(self, data):
            raise OSError("broken data stream")

    with pytest.raises(EdgepressError, match="jpeg at quality 50 failed on coffee: broken data"):
        measure_row(Broken(), IMAGES[1], 50)


ANCHOR = points((0.25, 28), (0.5, 31), (1.0, 34), (2.0, 37.5))


def test_half_the_bytes_is_minus_fifty_percent():
    half = points(*((p.bpp / 2, p.psnr) for p in ANCHOR))
    for measure in ("psnr", "ms_ssim"):
        for method in ("pchip", "akima"):
            found = bd_rate(ANCHOR, half, measure, method)
            assert found.percent == pytest.approx(-50, abs=1e-6)
            assert found.overlap == 1 and found.warning is None
    assert mean_bd_rate(ANCHOR, half) == pytest.approx(-50, abs=1e-6)


def test_bd_rate_is_that_of_the_package_on_real_curves():
    from bjontegaard import bd_rate as reference

    jpeg, webp = (c.points for c in measure_curves([Jpeg(), Webp()], IMAGES, [20, 40, 60, 80]))
    expected = reference(
        [p.bpp for p in jpeg],
        [p.psnr for p in jpeg],
        [p.bpp for p in webp],
        [p.psnr for p in webp],
        method="akima",
        min_overlap=0,
    )
    found = bd_rate(jpeg, webp, "psnr", "akima")
    assert found.percent == pytest.approx(expected, abs=1e-9)
    assert -60 < found.percent < -10
    assert found.low == webp[0].psnr and found.high == jpeg[-1].psnr


def test_points_that_only_cost_bytes_are_left_out():
    wasteful = points(
        (0.25, 28), (0.3, 27.9), (0.5, 31), (1.0, 34), (1.5, 34), (2.0, 37.5), (9, float("inf"))
    )
    assert bd_rate(ANCHOR, wasteful).percent == pytest.approx(0, abs=1e-9)


def test_a_weak_overlap_is_said():
    better = points((0.5, 33), (1.0, 36), (2.0, 40))
    found = bd_rate(ANCHOR, better)
    assert found.percent is not None and found.percent < 0
    assert found.overlap == pytest.approx(4.5 / 12) and "38%" in (found.warning or "")
    apart = bd_rate(ANCHOR, points((3, 40), (4, 42)))
    assert apart.percent is None and apart.warning == "the curves have no quality in common"
    single = bd_rate(ANCHOR, points((1, 34)))
    assert single.percent is None and "contender has fewer than two" in (single.warning or "")


def test_the_match_is_the_nearest_of_all_hundred_qualities():
    anchor, webp = measure_curves([Jpeg(), Webp()], IMAGES[:1], [20, 60])
    every = measure_points(Jpeg(), IMAGES[:1], range(1, 101), multiscale=False)
    for match in match_curves(anchor, [webp], IMAGES[:1]):
        nearest = min(every, key=lambda p: abs(p.ssim - match.point.ssim))
        assert abs(match.anchor.ssim - match.point.ssim) == abs(nearest.ssim - match.point.ssim)
        assert match.in_reach and match.byte_ratio < 1


def test_out_of_reach_is_marked():
    search = AnchorSearch(Jpeg(), IMAGES[:1])
    point, in_reach = search.nearest(1.0)
    assert point.quality == 100 and not in_reach
    point, in_reach = search.nearest(0.01)
    assert point.quality == 1 and not in_reach


def test_tiny_images_are_not_matched():
    tiny = [BenchImage.from_array("tiny", skimage.data.coffee()[:8, :8])]
    curves = measure_curves([Jpeg(), Webp()], tiny, [50])
    assert curves[0].points[0].ssim is None
    assert match_curves(curves[0], curves[1:], tiny) == []


def test_a_curve_knows_its_contender():
    (curve,) = measure_curves([make_codec("png")], IMAGES[:1])
    assert isinstance(curve, Curve) and curve.codec.name == "png"
    file = io.BytesIO()
    Image.fromarray(IMAGES[0].pixels()).save(file, "PNG", compress_level=6)
    assert curve.points[0].bytes == len(file.getvalue())
