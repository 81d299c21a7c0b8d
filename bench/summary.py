"""What a benchmark comes to, contender by contender: figures against the anchor, and the sentences that say them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from .bdrate import MEASURES, BdPsnr, BdRate, Measure, bd_psnr, bd_rate, mean_bd_rate
from .levels import Level
from .saved import Saved, SavedCodec, SavedPoint

MEASURE_NAMES: dict[Measure, str] = {"psnr": "PSNR", "ms_ssim": "MS-SSIM"}


@dataclass(frozen=True)
class Bd:
    """A contender against the anchor by one measure: bytes at equal quality, and dB at equal bytes."""

    measure: str
    rate: BdRate
    mean_of_images: float | None
    gain: BdPsnr


@dataclass(frozen=True)
class Line:
    """One contender of the summary; None stands for what was not or cannot be measured.

    bd: empty for the anchor. time_ratio, fastest, slowest: encode + decode over the anchor's at equal SSIM, median
    and ends over the qualities that the anchor reaches. encode_mps, decode_mps: megapixels a second at `point`.
    """

    number: int
    codec: SavedCodec
    point: SavedPoint
    bd: tuple[Bd, ...]
    time_ratio: float | None
    fastest: float | None
    slowest: float | None
    encode_mps: float | None
    decode_mps: float | None
    is_anchor: bool


@dataclass(frozen=True)
class Winner:
    """Who is best at something, and by what figure."""

    title: str
    number: int
    name: str
    figure: str
    note: str = ""


def lines(saved: Saved, level: Level) -> list[Line]:
    """The summary's table: the anchor first, then the others by their BD-rate, those without one last."""
    found = [_line(saved, n, codec, level.points[codec.name]) for n, codec in enumerate(saved.codecs)]

    def order(line: Line) -> tuple[bool, bool, float]:
        percent = line.bd[0].rate.percent if line.bd else None
        return (not line.is_anchor, percent is None, percent or 0.0)

    return sorted(found, key=order)


def winners(saved: Saved, table: Sequence[Line], level: Level) -> list[Winner]:
    """The heads of the report: smallest files at equal quality, fastest at about equal rate."""
    found = []
    for m, measure in enumerate(MEASURES):
        rated = [
            (line.bd[m].rate.percent, line)
            for line in table
            if line.bd and line.bd[m].rate.percent is not None
        ]
        if not rated:
            continue
        percent, line = min(rated, key=lambda pair: pair[0] or 0.0)
        title = f"Smallest files at equal {MEASURE_NAMES[measure]}"
        if (percent or 0.0) < 0:
            weak = "weak: see BD-rate" if line.bd[m].rate.warning else f"bytes against {saved.anchor}"
            found.append(Winner(title, line.number, line.codec.name, signed(percent, "%"), weak))
        else:
            anchor = next(line for line in table if line.is_anchor)
            found.append(Winner(title, anchor.number, anchor.codec.name, "smallest", "the anchor itself"))
    for kind, title in (("encode_ms", "Fastest to encode"), ("decode_ms", "Fastest to decode")):
        timed = [(ms, line) for line in table if (ms := getattr(line.point, kind)) is not None]
        if timed:
            ms, line = min(timed, key=lambda pair: pair[0])
            note = f"an image, at about {level.bpp:.2f} bpp"
            found.append(Winner(title, line.number, line.codec.name, f"{ms:.3g} ms", note))
    return found


def sentences(saved: Saved, table: Sequence[Line]) -> list[tuple[Line, str]]:
    """One for every contender but the anchor: who beats whom by how much, and at what speed."""
    return [(line, _sentence(saved, line)) for line in table if not line.is_anchor]


def signed(value: float | None, unit: str = "", digits: int = 1) -> str:
    """A number with its sign, or a dash for None."""
    return "–" if value is None else f"{value:+.{digits}f}{unit}".replace("-", "−")


def _line(saved: Saved, number: int, codec: SavedCodec, point: SavedPoint) -> Line:
    anchor, megapixels = saved.anchor_codec, saved.timed_megapixels
    ratios = [m.time_ratio for m in saved.matches if m.codec == codec.name and m.in_reach and m.time_ratio]

    def speed(ms: float | None) -> float | None:
        return 1000 * megapixels / ms if ms and megapixels else None

    is_anchor = codec is anchor
    return Line(
        number,
        codec,
        point,
        () if is_anchor else tuple(_bd(anchor, codec, measure) for measure in MEASURES),
        1.0 if is_anchor and point.round_trip_ms else _of(ratios, median),
        _of(ratios, min),
        _of(ratios, max),
        speed(point.encode_ms),
        speed(point.decode_ms),
        is_anchor,
    )


def _bd(anchor: SavedCodec, codec: SavedCodec, measure: Measure) -> Bd:
    return Bd(
        MEASURE_NAMES[measure],
        bd_rate(anchor.points, codec.points, measure),
        mean_bd_rate(anchor.points, codec.points, measure) if _same_rows(anchor, codec) else None,
        bd_psnr(anchor.points, codec.points, measure),
    )


def _same_rows(*codecs: SavedCodec) -> bool:
    """Whether all points have rows of the same images; a file without rows is read, too."""
    return len({tuple(row.image for row in p.rows) for codec in codecs for p in codec.points}) == 1


def _sentence(saved: Saved, line: Line) -> str:
    name, anchor = line.codec.name, saved.anchor
    if line.codec.exact:
        point = line.point
        text = f"{name} keeps every pixel: {point.bpp:.2f} bits per pixel, {point.ratio:.2f} times smaller than raw"
        return text + _speed(line, anchor, exact=True) + "."
    sizes = [
        f"{abs(bd.rate.percent):.1f}% {'fewer' if bd.rate.percent < 0 else 'more'}{f' bytes than {anchor}' * (m == 0)} "
        f"at equal {bd.measure}"
        for m, bd in enumerate(line.bd)
        if bd.rate.percent is not None
    ]
    if sizes:
        text = f"{name} needs {' and '.join(sizes)}"
    else:
        text = f"{name} has no BD-rate against {anchor}: {line.bd[0].rate.warning}"
    gain = line.bd[0].gain.gain
    if gain is not None:
        text += f" ({signed(gain, ' dB', 2)} PSNR at equal bytes)"
    text += _speed(line, anchor)
    warnings = [
        f"{bd.measure} {bd.rate.warning}" for bd in line.bd if bd.rate.warning and bd.rate.percent is not None
    ]
    return f"{text}." + (f" Read with care: {'; '.join(warnings)}." if warnings else "")


def _speed(line: Line, anchor: str, exact: bool = False) -> str:
    if exact or line.time_ratio is None or line.fastest is None or line.slowest is None:
        if line.point.round_trip_ms is None:
            return ""
        return f"; encoding and decoding an image take {line.point.round_trip_ms:.3g} ms"
    span = "" if line.slowest / line.fastest < 1.1 else f" ({line.fastest:.1f} to {line.slowest:.1f})"
    return f"; encoding and decoding take {line.time_ratio:.1f} times {anchor}'s time at equal SSIM{span}"


def _of(values: Sequence[Any], function: Callable[[Sequence[Any]], float]) -> float | None:
    return function(values) if values else None
