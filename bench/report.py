"""A benchmark's result as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from typing import Any

from .bdrate import bd_psnr
from .curve import Curve, Point, Row
from .energy import EnergyMeter
from .environment import environment
from .match import Match
from .run import Result
from .timing import Timing

# Of a point, null when it was not timed: medians with their interquartile ranges, megapixels a second, millijoules.
_TIMES = (
    "encode_ms",
    "decode_ms",
    "encode_spread_ms",
    "decode_spread_ms",
    "encode_mps",
    "decode_mps",
    "energy_mj",
)


def to_dict(result: Result) -> dict[str, Any]:
    """Everything as plain values, ready for JSON.

    `environment`, `images`, `codecs` (with `points`, each with its per-image `rows`) and `bd_rate` are the contract;
    beside them stand the anchor's name, overlaps and warnings of the BD-rates, the matches at equal SSIM, how times
    were taken, the contenders that were missing, and the same of other devices by their names. A contender has
    `peak_memory_mb`, the peak of its own process, and, when it is a network, `facts` (`model_bytes`, `macs_per_pixel`).
    Rates are bits of the whole file per pixel, times milliseconds.
    A value that is unknown or infinite (the PSNR of an exact image) is null.
    """
    return {
        "environment": environment(),
        "images": [
            {"name": i.name, "width": i.width, "height": i.height, "source_bytes": i.source_bytes}
            for i in result.images
        ],
        "anchor": result.anchor.codec.name,
        "codecs": [_codec(result, curve) for curve in result.curves],
        "bd_rate": {name: {m: bd.percent for m, bd in both.items()} for name, both in result.bd.items()},
        "bd_detail": {
            name: {
                m: {
                    "mean_of_images": result.mean_bd[name][m],
                    "overlap": bd.overlap,
                    "low_db": bd.low,
                    "high_db": bd.high,
                    "warning": bd.warning,
                }
                for m, bd in both.items()
            }
            for name, both in result.bd.items()
        },
        "matches": [_match(result, match) for match in result.matches],
        "timing": {
            "repeats": result.repeats,
            "images": result.timed_images,
            "threads": 1,
            "energy": EnergyMeter().reason or "millijoules of all processor packages, idle power included",
        },
        "bd_psnr": {
            c.codec.name: {
                m: vars(bd_psnr(result.anchor.points, c.points, m)) for m in result.bd[c.codec.name]
            }
            for c in result.curves
            if c.codec.name in result.bd
        },
        "missing": [{"spec": m.spec, "reason": m.reason} for m in result.missing],
        "devices": result.devices,
        **result.extra,
    }


def to_json(result: Result) -> bytes:
    """The JSON file, UTF-8."""
    return (json.dumps(to_dict(result), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def to_csv(result: Result) -> bytes:
    """One line per contender, quality and image, UTF-8."""
    text = io.StringIO()
    writer: csv.DictWriter[str] | None = None
    for curve in result.curves:
        for point in curve.points:
            for row in point.rows:
                values = {"codec": curve.codec.name, "quality": row.quality, **_row(row)}
                if writer is None:
                    writer = csv.DictWriter(text, list(values), lineterminator="\n")
                    writer.writeheader()
                writer.writerow(values)
    return text.getvalue().encode()


def _codec(result: Result, curve: Curve) -> dict[str, Any]:
    codec = curve.codec
    return {
        "name": codec.name,
        "spec": codec.spec,
        "description": codec.description,
        **({"facts": result.facts[codec.name]} if codec.name in result.facts else {}),
        "peak_memory_mb": _megabytes(result.memory.get(codec.name)),
        "points": [
            _point(p, result.times.get((codec.name, p.quality)))
            | ({"flip": result.flip[codec.name, p.quality]} if result.flip else {})
            for p in curve.points
        ],
    }


def _measures(of: Point | Row) -> dict[str, Any]:
    return {
        "bpp": of.bpp,
        "bytes": of.bytes,
        "ratio": of.ratio,
        "source_ratio": of.source_ratio,
        "psnr": finite(of.psnr),
        "ssim": of.ssim,
        "ms_ssim": of.ms_ssim,
    }


def _point(point: Point, timing: Timing | None) -> dict[str, Any]:
    times = {name: getattr(timing, name) if timing else None for name in _TIMES}
    return {
        "quality": point.quality,
        **_measures(point),
        **times,
        "rows": [_row(r) for r in point.rows],
    }


def _row(row: Row) -> dict[str, Any]:
    return {"image": row.image, **_measures(row)}


def _match(result: Result, match: Match) -> dict[str, Any]:
    return {
        "codec": match.codec,
        "quality": match.point.quality,
        "anchor_quality": match.anchor.quality,
        "in_reach": match.in_reach,
        "ssim": match.point.ssim,
        "anchor_ssim": match.anchor.ssim,
        "psnr": finite(match.point.psnr),
        "anchor_psnr": finite(match.anchor.psnr),
        "bytes": match.point.bytes,
        "anchor_bytes": match.anchor.bytes,
        "ratio": match.point.ratio,
        "anchor_ratio": match.anchor.ratio,
        "time_ratio": time_ratio(result, match),
    }


def time_ratio(result: Result, match: Match) -> float | None:
    """The contender's encode + decode time over the anchor's at equal SSIM, of one run; None when nothing was timed."""
    own = result.times.get((match.codec, match.point.quality))
    anchor = result.times.get((result.anchor.codec.name, match.anchor.quality))
    return own.round_trip_ms / anchor.round_trip_ms if own and anchor else None


def _megabytes(size: int | None) -> float | None:
    return None if size is None else size / 1e6


def finite(value: float) -> float | None:
    """The value, or None when it is infinite, which JSON cannot say."""
    return value if math.isfinite(value) else None
