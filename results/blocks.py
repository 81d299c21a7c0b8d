"""The tables of README.md and docs/benchmark.md, each made from what results/VERSION/*.json hold.

Nothing is computed here but differences and multiples of those figures, their rounding, and BD-rates by SSIM.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from edgepress.bench.bdrate import bd_rate

Results = Callable[[str], dict[str, Any]]  # gives the JSON of a name


def head(results: Results) -> str:
    """conv3 beside the study's model of three layers."""
    study = results("study")
    paper = _model(study, "conv3")["published"]
    own = [_match(study, "conv3", quality) for quality in (50, 75, 100)]
    titles = [
        f"edgepress `conv3`, quality {own[0]['quality']}",
        *(f"quality {m['quality']}" for m in own[1:]),
    ]
    return _table(
        ["", "the study's 3-layer model", *titles],
        [
            [
                "time, encode + decode, as a multiple of JPEG's",
                f"{paper['time_ratio']:.1f}",
                *_bold_first(f"{m['time_ratio']:.1f}" for m in own),
            ],
            [
                "compression ratio (JPEG's at equal SSIM)",
                f"{paper['ratio']:.2f} ({paper['jpeg_ratio']:.2f})",
                *(f"{m['ratio']:.1f} ({m['anchor_ratio']:.1f})" for m in own),
            ],
            [
                "files, as a multiple of JPEG's at equal SSIM",
                f"{paper['jpeg_ratio'] / paper['ratio']:.1f}",
                *_bold_first(f"{m['bytes'] / m['anchor_bytes']:.2f}" for m in own),
            ],
            [
                "SSIM; PSNR in dB (JPEG's)",
                f"{paper['ssim']:.2f}; {paper['psnr']:.1f} ({paper['jpeg_psnr']:.1f})",
                *(f"{m['ssim']:.2f}; {m['psnr']:.1f} ({m['anchor_psnr']:.1f})" for m in own),
            ],
        ],
    )


def study(results: Results) -> str:
    """All of the study's models, theirs and ours."""
    rows = []
    for model in results("study")["study"]["models"]:
        paper, own, jpeg = model["published"], model["model"], model["jpeg"]
        theirs = ["–"] * 4
        if paper:
            theirs = [
                f"{paper['ssim']:.2f} ({paper['jpeg_quality']})",
                _both(paper["psnr"], paper["jpeg_psnr"]),
                _both(paper["ratio"], paper["jpeg_ratio"]),
                "–" if paper["time_ratio"] is None else f"{paper['time_ratio']:.1f}",
            ]
        mark = "" if model["in_reach"] else "!"
        ours = [
            f"{own['ssim']:.4f} ({jpeg['quality']}{mark})",
            _both(own["psnr"], jpeg["psnr"]),
            _both(own["ratio"], jpeg["ratio"]),
            "–" if model["time_ratio"] is None else f"{model['time_ratio']:.1f}",
        ]
        rows.append([f"`{model['name']}`", *(f"{a}; **{b}**" for a, b in zip(theirs, ours, strict=True))])
    heads = ["SSIM (JPEG's quality)", "PSNR, model / JPEG", "ratio, model / JPEG", "time / JPEG's"]
    return _table(["model, quality 100", *heads], rows)


def overfitting(results: Results) -> str:
    """What tells whether deeper models overfit."""
    rows = []
    for model in results("study")["study"]["models"]:
        own, training, log = model["model"], model["training"], model["log"]
        if not log:
            continue
        rows.append(
            [
                f"`{model['name']}`",
                f"{training['ssim']:.4f} / {own['ssim']:.4f}",
                f"{training['psnr']:.2f} / {own['psnr']:.2f}",
                f"{log['losses'][-1]:.5f} / {log['scores'][-1]:.5f}",
                f"{100 * (log['scores'][-1] / min(log['scores']) - 1):+.1f}%",
            ]
        )
    return _table(
        [
            "",
            "SSIM, training / test images",
            "PSNR, training / test",
            "last loss, training crops / held out",
            "held-out loss, last over best",
        ],
        rows,
    )


def photo(results: Results) -> str:
    """BD-rates of the default package and of the one for MS-SSIM, and of their peers on Kodak."""
    val, kodak = results("val"), results("kodak")
    sets = {
        f"{_count(val)} validation photographs, 512x512": val,
        f"{_count(kodak)} Kodak photographs, 768x512": kodak,
    }
    rows = [_rates(f"`photo`, {title}", found, "photo", "**") for title, found in sets.items()]
    rows += [_rates(f"`photo-ssim`, {title}", found, "photo-ssim", "") for title, found in sets.items()]
    names = {
        "webp": "WebP",
        "jp2": "JPEG 2000",
        "avif": "AVIF (speed 8)",
        "jpeg:subsampling=444": "JPEG 4:4:4",
    }
    rows += [_rates(f"{title} on Kodak", kodak, name, "") for name, title in names.items()]
    return _table(
        [
            "",
            "BD-rate PSNR (mean curves / mean of images)",
            "BD-rate MS-SSIM",
            "bytes of JPEG's at equal SSIM",
        ],
        rows,
    )


def peers(results: Results) -> str:
    """WebP and JPEG 2000 against JPEG with and without optimized Huffman tables."""
    optimized, plain = results("kodak"), results("kodak-jpeg-unoptimized")
    rows = []
    for title, found in (("`optimize=True`, the anchor here", optimized), ("without", plain)):
        cells = []
        for name in ("webp", "jp2"):
            both = found["bd_rate"][name]["psnr"], found["bd_detail"][name]["psnr"]["mean_of_images"]
            cells.append(" / ".join(_percent(value) for value in both))
        rows.append([f"JPEG 4:2:0 {title}", *cells])
    return _table(["BD-rate PSNR, mean curves / mean of images, against", "WebP", "JPEG 2000"], rows)


def squares(results: Results) -> str:
    """The default package on small images."""
    rows = []
    for match in results("study")["matches"]:
        if match["codec"] == "photo":
            jpeg = f"{match['anchor_quality']}{'' if match['in_reach'] else '!'}"
            rows.append(
                [
                    f"{match['quality']} ({jpeg})",
                    f"{match['ssim']:.3f}",
                    f"{match['ratio']:.1f} ({match['anchor_ratio']:.1f})",
                    f"{match['bytes'] / match['anchor_bytes']:.2f}",
                    f"{match['time_ratio']:.1f}",
                ]
            )
    curves = {
        codec["name"]: [SimpleNamespace(**point) for point in codec["points"]]
        for codec in results("study")["codecs"]
    }
    saved = bd_rate(curves["jpeg"], curves["photo"], "ssim").percent
    rows.append(["**all (BD-rate, SSIM)**", "", "", f"**{1 + saved / 100:.2f}**", ""])
    heads = ["SSIM", "ratio (JPEG's)", "bytes, multiple of JPEG's", "time, multiple of JPEG's"]
    return _table(["quality (JPEG's)", *heads], rows)


def speed(results: Results) -> str:
    """Milliseconds on photographs, and images a second from a folder."""
    found = results("kodak-speed")
    points = {codec["name"]: codec["points"][0] for codec in found["codecs"]}
    match = _match(found, "photo", 50)
    ms = {name: f"{p['encode_ms']:.1f} + {p['decode_ms']:.1f} ms" for name, p in points.items()}
    folder = results("folder")["benchmarks"]

    def per_second(operation: str, codec: str) -> float:
        (one,) = (b for b in folder if b["codec"] == codec and b["group"].startswith(operation))
        return 1000 * one["images"] / one["median_ms"]

    shares = [per_second(way, "photo") / per_second(way, "jpeg") for way in ("encode", "decode")]
    return (
        f"At 768x512 ({len(found['timing']['images'])} of the Kodak photographs, quality 50) encode + decode take "
        f"{ms['photo']}, JPEG {ms['jpeg']}\n({match['time_ratio']:.1f} times at equal SSIM), WebP {ms['webp']}. Two threads "
        f"(`encode_many`, `decode_many`) code {per_second('encode', 'photo'):,.0f} images of\n128x128 a second and decode "
        f"{per_second('decode', 'photo'):,.0f}, {shares[0]:.2f} and {shares[1]:.2f} of what JPEG does in a plain loop."
    )


def conv3(results: Results) -> str:
    """What optimizing the study's model costs and brings, beside what it should."""
    made, study = results("conv3"), results("study")
    stages = {stage["name"]: stage for stage in made["stages"]}
    ms = {b["params"]["name"]: b["median_ms"] for b in results("rewrite")["benchmarks"]}
    free, fixed, fast = ms["transposed, any size"], ms["transposed, one size"], ms["rewritten"]
    times = [m["time_ratio"] for m in study["matches"] if m["codec"] == "conv3"]
    weights = 4 * stages["float"]["parameters"] / 1000
    package = stages["package"]["raw_bytes"] / 1000
    drop = stages["package"]["psnr"] - stages["float"]["psnr"]
    rows = [
        [
            "rewritten decoder against the transposed one, largest difference",
            f"{made['max_difference']:.1e}",
            _bar(made["max_difference"] <= 1e-5, "1e-5"),
        ],
        [
            "int8 decoder at 128x128, transposed / rewritten",
            f"{free:.2f} / {fast:.2f} ms = {free / fast:.1f}x (converted for 128x128 only: {fixed:.2f} ms, "
            f"{fixed / fast:.1f}x)",
            _bar(free / fast >= 8, "8x"),
        ],
        [
            "operations that XNNPACK does not run",
            f"{stages['int8']['undelegated']}",
            _bar(stages["int8"]["undelegated"] == 0, "0"),
        ],
        [
            f"PSNR on {made['recipe']['measure']['images']} test images, float / int8 package",
            f"{stages['float']['psnr']:.2f} / {stages['package']['psnr']:.2f} dB",
            _bar(drop >= -0.3, "-0.3 dB"),
        ],
        [
            "float32 weights / package",
            f"{weights:.1f} / {package:.1f} kB = {weights / package:.1f}x",
            _bar(weights / package >= 3, "3x"),
        ],
        [
            "encode + decode of 128x128, multiple of JPEG's at equal SSIM",
            f"{min(times):.1f} - {max(times):.1f}",
            _bar(max(times) <= 3, "3"),
        ],
    ]
    return _table(["", "measured", "bar"], rows)


def demo(results: Results) -> str:
    """What `make demo` says, from its tables on."""
    lines = results("demo")["output"]
    first = next(n for n, line in enumerate(lines) if line.startswith("Stage by stage"))
    return "\n".join(f"    {line.rstrip()}".rstrip() for line in lines[first:])


BLOCKS: dict[str, Callable[[Results], str]] = {
    f.__name__: f for f in (head, study, overfitting, photo, peers, squares, speed, conv3, demo)
}


def _table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def _model(found: dict[str, Any], name: str) -> dict[str, Any]:
    return next(model for model in found["study"]["models"] if model["name"] == name)


def _match(found: dict[str, Any], codec: str, quality: int) -> dict[str, Any]:
    return next(m for m in found["matches"] if (m["codec"], m["quality"]) == (codec, quality))


def _rates(title: str, found: dict[str, Any], name: str, mark: str) -> list[str]:
    cells = []
    for measure in ("psnr", "ms_ssim"):
        rate, mean = found["bd_rate"][name][measure], found["bd_detail"][name][measure]["mean_of_images"]
        cells.append(f"{mark}{_percent(rate)}{mark} / {_percent(mean)}")
    shares = [
        m["bytes"] / m["anchor_bytes"] for m in found["matches"] if m["codec"] == name and m["in_reach"]
    ]
    return [title, *cells, f"{min(shares):.2f} - {max(shares):.2f}"]


def _count(found: dict[str, Any]) -> int:
    return len(found["images"])


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}%"


def _both(first: float | None, second: float | None) -> str:
    if first is None and second is None:
        return "–"
    return " / ".join("–" if value is None else f"{value:.2f}" for value in (first, second))


def _bold_first(cells: Any) -> list[str]:
    first, *others = cells
    return [f"**{first}**", *others]


def _bar(met: bool, text: str) -> str:
    return text if met else f"{text}: **missed**"
