"""BD-PSNR and BD-rate are those of the `bjontegaard` package, on real curves and on made ones."""

from dataclasses import dataclass

import bjontegaard
import pytest

from edgepress.bench.bdrate import bd_psnr, bd_rate, decibels


@dataclass(frozen=True)
class Made:
    bpp: float
    psnr: float | None
    ms_ssim: float | None = None


ANCHOR = [Made(0.25, 28.0), Made(0.5, 31.0), Made(1.0, 34.0), Made(2.0, 37.5)]


def test_a_decibel_more_is_a_decibel():
    better = [Made(p.bpp, p.psnr + 1) for p in ANCHOR]
    for method in ("pchip", "akima"):
        found = bd_psnr(ANCHOR, better, method=method)
        assert found.gain == pytest.approx(1, abs=1e-9)
        assert found.overlap == 1 and found.warning is None
        assert (found.low, found.high) == (pytest.approx(0.25), pytest.approx(2))


def test_both_measures_agree_with_the_package(measured):
    jpeg, webp = (curve.points for curve in measured.curves[:2])
    for measure in ("psnr", "ms_ssim"):
        columns = []
        for points in (jpeg, webp):
            columns += [[p.bpp for p in points], [decibels(measure, getattr(p, measure)) for p in points]]
        for method in ("pchip", "akima"):
            settings = {"method": method, "min_overlap": 0}
            rate, gain = bjontegaard.bd_rate(*columns, **settings), bjontegaard.bd_psnr(*columns, **settings)
            assert bd_rate(jpeg, webp, measure, method).percent == pytest.approx(rate, abs=1e-4)
            assert bd_psnr(jpeg, webp, measure, method).gain == pytest.approx(gain, abs=1e-4)
    assert bd_rate(jpeg, webp).percent < 0 < bd_psnr(jpeg, webp).gain


def test_any_curve_can_be_the_anchor():
    half = [Made(p.bpp / 2, p.psnr) for p in ANCHOR]
    assert bd_rate(ANCHOR, half).percent == pytest.approx(-50, abs=1e-6)
    assert bd_rate(half, ANCHOR).percent == pytest.approx(100, abs=1e-6)
    assert bd_psnr(half, ANCHOR).gain == pytest.approx(-bd_psnr(ANCHOR, half).gain, abs=1e-9)


def test_weak_and_missing_overlaps_are_said():
    weak = bd_psnr(ANCHOR, [Made(1.5, 36.0), Made(4.0, 39.0)])
    assert weak.gain is not None and weak.overlap < 0.5
    assert weak.warning == f"weak: the curves share {weak.overlap:.0%} of their rates (1.50-2.00 bpp)"
    apart = bd_psnr(ANCHOR, [Made(3.0, 30.0), Made(4.0, 31.0)])
    assert apart.gain is None and apart.warning == "the curves have no rate in common"
    exact = bd_psnr(ANCHOR, [Made(12.0, None)])
    assert exact.gain is None and exact.warning == "the contender has fewer than two usable points"
