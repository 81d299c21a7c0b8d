"""The search as a chart: every evaluated candidate by time and quality, the dot as large as the package, front and picks."""

from __future__ import annotations

from edgepress.bench.charts import Chart
from edgepress.bench.svg import INK, MUTED, dress, new_figure, series_color, series_gid, to_svg

from .autosearch import Found
from .budget import UNITS
from .candidates import COSTS
from .pareto import front
from .search import Point

_MARKERS = {"ptq": "o", "qat": "s", "mixed": "D"}
_LARGEST = 190.0  # area of the largest dot, in points squared


def search_chart(found: Found) -> Chart:
    """PSNR over milliseconds, one series for each mode of quantization."""
    figure = new_figure(7.2, 4.6)
    axes = figure.subplots()
    tips: dict[int, list[str]] = {}
    largest = max(point.bytes for point in found.points)
    ahead = front(found.points)
    axes.plot(
        [p.latency_ms for p in ahead], [p.quality for p in ahead], color=MUTED, lw=1.2, ls="--", zorder=1
    )
    for n, mode in enumerate(COSTS):
        # One artist for each dot, since a chart's tips belong to markers of a line.
        for point in (p for p in found.points if p.candidate.mode == mode):
            size = (_LARGEST * point.bytes / largest) ** 0.5
            axes.plot(
                [point.latency_ms],
                [point.quality],
                marker=_MARKERS[mode],
                ms=size,
                color=series_color(n + 1),
                mfc=series_color(n + 1) if point.inside else "none",
                mew=1.8,
                ls="none",
                gid=series_gid(100 * (n + 1) + len(tips)),
            )
            tips[100 * (n + 1) + len(tips)] = [words(point)]
    labels: dict[tuple[float, float], list[str]] = {}
    for name, point in (*found.picks.items(), ("chosen", found.chosen)):
        labels.setdefault((point.latency_ms, point.quality), []).append(name)
    for place, names in labels.items():
        axes.annotate(
            ", ".join(names),
            place,
            xytext=(9, -15),
            textcoords="offset points",
            color=INK,
            fontsize=11,
            annotation_clip=False,
        )
    axes.margins(0.16)
    dress(axes, "both networks on one 128x128 image [ms]", "PSNR of the int8 networks [dB]")
    text = "; ".join(words(point) for point in found.points)
    title = "Evaluated candidates by time and quality"
    return Chart(
        title,
        "Further left is faster, higher is better, a smaller dot is a smaller package. Circles are post-training int8, "
        "squares quantization-aware, diamonds mixed; "
        f"filled ones are inside the budget of {found.budget.amount:g}"
        f"{UNITS[found.budget.metric]}. The dashed line is the Pareto front.",
        to_svg(figure, "search", title, f"{text}.", tips),
    )


def words(point: Point) -> str:
    """What the page says of a candidate."""
    return (
        f"{point.candidate}: {point.latency_ms:.2f} ms, {point.bytes / 1000:.1f} kB, {point.quality:.2f} dB, "
        f"{'inside' if point.inside else 'outside'}"
    )
