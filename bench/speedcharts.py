"""The report's charts of what coding costs: time at equal SSIM, time by rate, megapixels a second, memory."""

from __future__ import annotations

from typing import Any

from .charts import RATE, Chart, line_style, log_ticks, point_words
from .levels import Level
from .saved import Saved
from .svg import INK, MUTED, dress, new_figure, series_color, series_gid, to_svg


def trade_chart(saved: Saved) -> Chart | None:
    """Bytes over time, both as multiples of the anchor's at equal SSIM: every match is a point, the anchor (1, 1)."""
    figure = new_figure()
    axes = figure.subplots()
    tips: dict[int, list[str]] = {}
    for n, codec in enumerate(saved.codecs):
        timed = [m for m in saved.matches if m.codec == codec.name and m.in_reach and m.time_ratio]
        if not timed:
            continue
        axes.plot([m.time_ratio or 0.0 for m in timed], [m.byte_ratio for m in timed], **line_style(saved, n))
        tips[n] = [
            f"{codec.name} quality {m.quality}: {m.byte_ratio:.2f} times the bytes and {m.time_ratio:.2f} times the "
            f"time of {saved.anchor} quality {m.anchor_quality}"
            for m in timed
        ]
    if not tips:
        return None
    axes.axhline(1, color=MUTED, lw=1, ls=":")
    axes.axvline(1, color=MUTED, lw=1, ls=":")
    axes.plot([1], [1], marker="*", ms=13, color=INK, ls="none")
    axes.annotate(saved.anchor, (1, 1), xytext=(7, 6), textcoords="offset points", color=INK, fontsize=11.5)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    dress(axes, f"encode + decode time, multiple of {saved.anchor}'s", f"bytes, multiple of {saved.anchor}'s")
    log_ticks(axes.xaxis)
    title = f"Bytes and time as multiples of {saved.anchor}'s at equal SSIM"
    text = "; ".join(
        f"{saved.codecs[n].name}: {words[0].partition(': ')[2]} to {words[-1].partition(': ')[2]}"
        for n, words in tips.items()
    )
    return Chart(
        f"Bytes and time at equal SSIM, {saved.anchor} = 1",
        "Lower is smaller, further left is faster.",
        to_svg(figure, "trade", title, f"{text}.", tips),
    )


def time_chart(saved: Saved) -> Chart | None:
    """Encode + decode milliseconds over bits per pixel, every timed point."""
    figure = new_figure()
    axes = figure.subplots()
    tips: dict[int, list[str]] = {}
    spans = []
    for n, codec in enumerate(saved.codecs):
        timed = [p for p in codec.points if p.round_trip_ms]
        if not timed:
            continue
        times = [p.round_trip_ms or 0.0 for p in timed]
        axes.plot([p.bpp for p in timed], times, **line_style(saved, n))
        tips[n] = [point_words(codec.name, p) for p in timed]
        spans.append(f"{codec.name}: {min(times):.2f} to {max(times):.2f} ms")
    if not tips:
        return None
    axes.set_xscale("log")
    axes.set_yscale("log")
    dress(axes, RATE, "encode + decode [ms]")
    log_ticks(axes.xaxis)
    log_ticks(axes.yaxis)
    svg = to_svg(figure, "time", "Encode and decode time over bits per pixel", f"{'; '.join(spans)}.", tips)
    return Chart("Time by rate", "Lower is faster.", svg)


def speed_bars(saved: Saved, level: Level) -> Chart | None:
    """Encode and decode milliseconds of every contender at one rate, with the spread of the repetitions."""
    timed = [
        (n, codec.name, point)
        for n, codec in enumerate(saved.codecs)
        if (point := level.points[codec.name]).round_trip_ms
    ]
    if not timed:
        return None
    figure = new_figure(5.4, 0.9 + 0.62 * len(timed))
    axes = figure.subplots()
    words = []
    for row, (n, name, point) in enumerate(timed):
        for offset, kind, alpha in ((-0.19, "encode", 1.0), (0.19, "decode", 0.55)):
            ms, spread = getattr(point, f"{kind}_ms"), getattr(point, f"{kind}_spread_ms") or 0.0
            bar = axes.barh(row + offset, ms, 0.36, color=series_color(n), alpha=alpha)
            bar.patches[0].set_gid(series_gid(n))
            axes.plot([max(ms - spread / 2, ms / 10), ms + spread / 2], [row + offset] * 2, color=INK, lw=1.4)
            label = f"{kind} {ms:.3g}"
            axes.annotate(
                label,
                (ms + spread / 2, row + offset),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                color=MUTED,
                fontsize=10,
                annotation_clip=False,
            )
            words.append(f"{name} {kind} {ms:.2f} ms, spread {spread:.2f}")
    _rows(axes, [f"{name} q{point.quality}" for _, name, point in timed])
    largest = max(max(point.encode_ms or 0, point.decode_ms or 0) for _, _, point in timed)
    smallest = min(min(point.encode_ms or 0, point.decode_ms or 0) for _, _, point in timed)
    axes.set_xscale("log")
    axes.set_xlim(smallest / 2, largest * max(2.2, (2 * largest / smallest) ** 0.35))
    dress(axes, "milliseconds (the line is the interquartile range)", "")
    log_ticks(axes.xaxis)
    svg = to_svg(
        figure, "speed", f"Milliseconds at about {level.bpp:.2f} bits per pixel", f"{'; '.join(words)}."
    )
    return Chart(
        f"Encode and decode at about {level.bpp:.2f} bpp", "Shorter is faster; the scale is logarithmic.", svg
    )


def memory_bars(saved: Saved) -> Chart | None:
    """Peak memory of every contender, above its process without it, in MB; None where nothing was measured."""
    known = [
        (n, codec.name, mb)
        for n, codec in enumerate(saved.codecs)
        if (mb := codec.peak_memory_mb) is not None
    ]
    if not known:
        return None
    figure = new_figure(5.4, 0.9 + 0.45 * len(known))
    axes = figure.subplots()
    for row, (n, _, mb) in enumerate(known):
        bar = axes.barh(row, mb, 0.62, color=series_color(n))
        bar.patches[0].set_gid(series_gid(n))
        axes.annotate(
            f" {mb:.1f} MB", (mb, row), va="center", color=MUTED, fontsize=10.5, annotation_clip=False
        )
    _rows(axes, [name for _, name, _ in known])
    axes.set_xlim(0, max(1.0, 1.25 * max(mb for _, _, mb in known)))
    dress(axes, "MB", "")
    words = "; ".join(f"{name} {mb:.1f} MB" for _, name, mb in known)
    svg = to_svg(figure, "memory", "Peak memory of each contender", f"{words}.")
    return Chart(
        "Peak memory",
        "What loading it and coding the largest image take: networks and libraries count, Python and the image do not.",
        svg,
    )


def _rows(axes: Any, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)
