"""Puts the measured figures into README.md and docs/benchmark.md: tables between `<!-- results: NAME -->` and `<!-- end -->`.

python results/render.py            rewrites the pages from results/VERSION/*.json, the newest release there
python results/render.py --check    says what differs, exit code 1
"""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path

from blocks import BLOCKS, Results

HERE = Path(__file__).parent
PAGES = (HERE.parent / "README.md", HERE.parent / "docs" / "benchmark.md")
BLOCK = re.compile(r"(<!-- results: ([\w-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def newest(folder: Path = HERE) -> Path:
    """The folder of the newest release."""
    releases = [p for p in folder.iterdir() if re.fullmatch(r"\d+(\.\d+)*", p.name)]
    return max(releases, key=lambda p: [int(part) for part in p.name.split(".")])


def reader(folder: Path) -> Results:
    """Gives the JSON of a name, read once."""
    return functools.cache(lambda name: json.loads((folder / f"{name}.json").read_text("utf-8")))


def render(text: str, results: Results) -> str:
    """A page with every marked block made anew. Raises KeyError for a name that no function below makes."""
    return BLOCK.sub(lambda m: m[1] + BLOCKS[m[2]](results) + "\n" + m[4], text)


def main() -> None:
    results = reader(newest())
    apart = []
    for page in PAGES:
        text = page.read_text("utf-8")
        made = render(text, results)
        if "--check" not in sys.argv:
            page.write_text(made, "utf-8")
        elif made != text:
            lines = zip(text.splitlines(), made.splitlines(), strict=False)
            apart += [f"{page.name}: {a!r} should be {b!r}" for a, b in lines if a != b]
    if apart:
        sys.exit("\n".join([*apart, "run `make results-readme`"]))


if __name__ == "__main__":
    main()
