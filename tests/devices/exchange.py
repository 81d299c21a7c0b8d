"""Streams and pixels between two machines: what one wrote, the other reads.

On each machine:  python exchange.py write FOLDER IMAGE...      encodes the images with every installed package
Then, crossed:    python exchange.py compare FOLDER             decodes the other machine's FOLDER here

`compare` needs the very same symbols (exit code 1 otherwise), and says how far the pixels are apart. EDGEPRESS_CODER
(native or python) chooses the entropy coder, as always.
"""

from __future__ import annotations

import math
import platform
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from edgepress.runtime import Codec, EdgepressError, coder
from edgepress.runtime.interpreter import choose_interpreter
from edgepress.runtime.stream import parse_header

QUALITIES = (1, 30, 75, 100)


def machine() -> str:
    """This machine in one line."""
    library = choose_interpreter()
    python = platform.python_version()
    return f"{platform.machine()}, Python {python}, {library.name} {library.version}, {coder.BACKEND} coder"


def write(folder: Path, images: list[Path]) -> None:
    """Write NAME.epx, and what it decodes to here: NAME.npz with `symbols` and `pixels`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in Codec.available():
        codec = Codec.load(name)
        for path in images:
            with Image.open(path) as image:
                image.load()
            for quality in QUALITIES:
                data = codec.encode(image, quality)
                target = folder / f"{name}-{path.stem}-{quality}.epx"
                target.write_bytes(data)
                np.savez(
                    target.with_suffix(".npz"), symbols=codec.symbols(data), pixels=codec.decode_array(data)
                )
    print(f"written on {machine()}: {len(list(folder.glob('*.epx')))} streams")


def compare(folder: Path) -> int:
    """Compare what the streams in `folder` decode to here with what they decoded to there; the number of failures."""
    codecs = {codec.package.model_id: codec for codec in map(Codec.load, Codec.available())}
    wrong, squares, values, largest, streams, symbols = [], 0.0, 0, 0, 0, 0
    for path in sorted(folder.glob("*.epx")):
        data = path.read_bytes()
        codec = codecs[parse_header(data).model_id]
        there = np.load(path.with_suffix(".npz"))
        here = codec.symbols(data)
        streams, symbols = streams + 1, symbols + here.size
        if not np.array_equal(here, there["symbols"]):
            wrong.append(path.name)
            continue
        drift = np.abs(codec.decode_array(data).astype(np.int64) - there["pixels"])
        squares, values, largest = (
            squares + float((drift**2).sum()),
            values + drift.size,
            max(largest, int(drift.max())),
        )
    print(
        f"read on {machine()}: {streams} streams, {symbols} symbols, {len(wrong)} streams with other symbols"
    )
    if values:
        drift_db = "no drift" if not squares else f"{10 * math.log10(255**2 * values / squares):.1f} dB"
        print(f"  pixels here against pixels there: PSNR {drift_db}, largest difference {largest}")
    print(*(f"  OTHER SYMBOLS: {name}" for name in wrong), sep="\n", end="\n" if wrong else "")
    return len(wrong) or int(streams == 0)


def main() -> None:
    """Do what the command line says; exit code 1 when symbols differ or something cannot be used."""
    try:
        if sys.argv[1] == "write":
            write(Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
        elif compare(Path(sys.argv[2])):
            sys.exit(1)
    except (EdgepressError, OSError) as error:
        sys.exit(f"exchange: {error}")


if __name__ == "__main__":
    main()
