"""`edgepress demo`: the whole way on data that comes with the installation, and the comparison with JPEG."""

from __future__ import annotations

import io
import os
from pathlib import Path
from time import perf_counter

import click
import numpy as np
from PIL import Image
from rich.console import Console

from edgepress.bench.codecs import ANCHOR, make_codec
from edgepress.bench.contender import ReferenceCodec
from edgepress.bench.loadimages import BenchImage, load_images
from edgepress.bench.match import AnchorSearch
from edgepress.bench.metrics import bits_per_pixel, measure
from edgepress.bench.panels import Panel, side_by_side
from edgepress.bench.plots import plot_curves
from edgepress.bench.report import to_json as bench_json
from edgepress.bench.run import Result, run_bench
from edgepress.bench.table import print_result
from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.files import atomic_write

from .cli import progress
from .pipeline import optimize
from .recipe import load_recipe
from .report import print_outcome, to_json
from .source import file_source

HERE = Path(__file__).parent
MODEL = HERE / "shipped" / "conv3.keras"
RECIPE = HERE / "recipes" / "demo.toml"
SHIPPED = "photo"  # made for photographs, it stands beside the study's model
HELD_OUT = (
    "chelsea",
    "rocket",
)  # the other built-in photographs serve for fine-tuning, calibration and tables
QUALITY = 75
QUALITIES = (10, 25, 50, 75, 90, 100)


@click.command()
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder to write.",
)
def demo(output: Path) -> None:
    """Optimize the study's conv3 anew, code photographs with it and with the default package, and compare with JPEG."""
    if not MODEL.exists():
        raise EdgepressError(f"the demo's model is missing: {MODEL.name} should be in the installation")
    start = perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    console = Console()
    photographs = load_images(None)
    held_out = [image for image in photographs if Path(image.name).stem in HELD_OUT]
    training = [image for image in photographs if image not in held_out]
    package = output / "conv3.epm"
    with progress(console) as begin:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")  # no search for a GPU
        outcome = optimize(
            file_source(MODEL),
            [image.pixels() for image in training],
            [image.pixels() for image in held_out],
            package,
            load_recipe(RECIPE),
            source=MODEL.name,
            begin=begin,
        )
        atomic_write(output / "stages.json", to_json(outcome))
        anchor = make_codec(ANCHOR)
        contenders = [make_codec(str(package)), make_codec(SHIPPED)]
        result = run_bench([anchor, *contenders], held_out, QUALITIES, stage=begin)
        atomic_write(output / "bench.json", bench_json(result))
        atomic_write(output / "rate-distortion.png", plot_curves(result.curves, len(held_out)))
        begin("pictures", None)
        for image in held_out:
            for contender in contenders:
                _picture(image, contender, anchor, output)
    console.rule("optimized on " + " and ".join(Path(image.name).stem for image in training))
    print_outcome(outcome, console)
    console.rule("compared on " + " and ".join(Path(image.name).stem for image in held_out))
    print_result(result, console)
    for contender in contenders:
        console.print(_verdict(result, contender.name), style="bold", highlight=False)
    console.print(
        f"written to {output}: " + ", ".join(sorted(p.name for p in output.iterdir())), highlight=False
    )
    console.print(f"all in all {perf_counter() - start:.0f} s", highlight=False)


def _picture(image: BenchImage, contender: ReferenceCodec, anchor: ReferenceCodec, folder: Path) -> None:
    """Code one photograph; write the .epx, the decoded image, and a detail beside the original and JPEG."""
    name = f"{Path(image.name).stem}-{contender.name}"
    original = image.pixels()
    data = contender.encode(original, QUALITY)
    decoded = contender.decode(data)
    atomic_write(folder / f"{name}.epx", data)
    atomic_write(folder / f"{name}.png", _png(decoded))
    similarity = measure(original, decoded, multiscale=False).ssim
    assert similarity is not None
    point, _ = AnchorSearch(anchor, [image]).nearest(similarity)
    jpeg = anchor.encode(original, point.quality)
    smaller = _at_bytes(anchor, original, len(data))
    panels = [
        Panel("original", original),
        Panel(_label(f"{contender.name} q{QUALITY}", original, decoded, data), decoded),
        _jpeg_panel(f"JPEG q{point.quality}, equal SSIM", anchor, original, jpeg),
        _jpeg_panel("JPEG, equal bytes", anchor, original, smaller),
    ]
    atomic_write(folder / f"{name}-side-by-side.png", _png(side_by_side(panels)))


def _jpeg_panel(title: str, anchor: ReferenceCodec, original: np.ndarray, data: bytes) -> Panel:
    decoded = anchor.decode(data)
    return Panel(_label(title, original, decoded, data), decoded)


def _label(title: str, original: np.ndarray, decoded: np.ndarray, data: bytes) -> str:
    found = measure(original, decoded, multiscale=False)
    bpp = bits_per_pixel(len(data), original.shape[1], original.shape[0])
    return f"{title}\n{len(data):,} bytes, {bpp:.2f} bpp\n{found.psnr:.1f} dB, SSIM {found.ssim:.3f}"


def _at_bytes(anchor: ReferenceCodec, image: np.ndarray, budget: int) -> bytes:
    """The file of the best quality that is no larger than `budget` bytes; the smallest if all are larger."""
    low, high = 1, 100
    best = anchor.encode(image, low)
    while low <= high:
        quality = (low + high) // 2
        data = anchor.encode(image, quality)
        if len(data) <= budget:
            best, low = data, quality + 1
        else:
            high = quality - 1
    return best


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _verdict(result: Result, name: str) -> str:
    """One sentence on the contender at QUALITY beside JPEG at equal SSIM."""
    match = next(m for m in result.matches if m.codec == name and m.point.quality == QUALITY)
    own = result.times[match.codec, QUALITY].round_trip_ms
    other = result.times[result.anchor.codec.name, match.anchor.quality].round_trip_ms
    reach = "equal" if match.in_reach else "the nearest"
    return (
        f"{match.codec} at quality {QUALITY}: ratio {match.point.ratio:.1f} where JPEG at {reach} SSIM has "
        f"{match.anchor.ratio:.1f}; {own / other:.1f} times JPEG's time (the study of 2024: 1.1 against 4.6, 16 times)"
    )
