"""A benchmark as one HTML page that needs nothing else: no network, no other file, readable in light and in dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .charts import Chart, rate_charts
from .histograms import histograms
from .htmlpage import template
from .levels import Level, levels, nearest
from .pictures import HEIGHT, WIDTH, Picture
from .saved import Saved
from .speedcharts import memory_bars, speed_bars, time_chart, trade_chart
from .summary import lines, sentences, winners

_SYMBOLS = "●■◆▲▼✚✖★◀▶"  # as the charts' markers


def html_report(
    saved: Saved, pictures: Sequence[Picture] = (), study: Mapping[str, Any] | None = None
) -> bytes:
    """The page, UTF-8. pictures: what the viewer shows; without any there is no viewer. study: see `study_section`."""
    at = levels(saved)
    table = lines(saved, at[1])
    speed = [
        c for c in (trade_chart(saved), time_chart(saved), speed_bars(saved, at[1]), memory_bars(saved)) if c
    ]
    text = template("report.html.j2").render(
        saved=saved,
        symbols=[_SYMBOLS[n % len(_SYMBOLS)] for n in range(len(saved.codecs))],
        level=at[1],
        levels=at,
        lines=table,
        winners=winners(saved, table, at[1]),
        sentences=sentences(saved, table),
        rate_charts=rate_charts(saved),
        histograms=_histograms(saved, at),
        speed_charts=speed,
        devices=_devices(saved, at[1]),
        matches=[(codec, [m for m in saved.matches if m.codec == codec.name]) for codec in saved.others],
        pictures=pictures,
        study=study,
        flip=any(point.flip is not None for codec in saved.codecs for point in codec.points),
        shown={"width": WIDTH, "height": HEIGHT},
        data=_data(saved, pictures),
    )
    return text.encode()


def _histograms(saved: Saved, at: Sequence[Level]) -> list[tuple[Level, list[Chart]]]:
    return [(level, histograms(saved, level)) for level in at]


def _devices(saved: Saved, level: Level) -> list[dict[str, Any]]:
    """The rows of the table of other machines: every contender's point nearest to the rate."""
    rows = []
    for device, found in saved.devices.items():
        anchor = nearest(found.anchor_codec, level.bpp).round_trip_ms
        for codec in found.codecs:
            point = nearest(codec, level.bpp)
            rows.append(
                {
                    "device": device,
                    "cpu": found.environment.get("cpu", ""),
                    "codec": codec.name,
                    "point": point,
                    "time_ratio": point.round_trip_ms / anchor if point.round_trip_ms and anchor else None,
                    "memory": codec.peak_memory_mb,
                }
            )
    return rows


def _data(saved: Saved, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What the page's scripts work on: every row as a list (image, contender, quality, bytes, bpp, ratio, PSNR, SSIM,
    MS-SSIM), images and contenders by number, and which pictures there are."""
    images = {image.name: n for n, image in enumerate(saved.images)}
    codecs = {codec.name: n for n, codec in enumerate(saved.codecs)}
    rows = [
        [images[r.image], n, p.quality, r.bytes, r.bpp, r.ratio, r.psnr, r.ssim, r.ms_ssim]
        for n, codec in enumerate(saved.codecs)
        for p in codec.points
        for r in p.rows
        if r.image in images
    ]
    shown = [[images[p.image], -1 if p.codec is None else codecs[p.codec], p.quality] for p in pictures]
    return {
        "anchor": codecs[saved.anchor],
        "images": list(images),
        "codecs": list(codecs),
        "rows": rows,
        "pictures": shown,
    }
