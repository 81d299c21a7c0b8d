"""Measures what the README quotes, into results/VERSION/*.json, with the very commands that a user would type.

    python results/measure.py --data DIR [NAME...]      all, or only some of the names in JOBS
    python results/render.py                            then puts them into the README

DIR holds kodak/, val/, clothing128/train/ and clothing128/test/. Times belong on a machine that does nothing else; sizes and
qualities come out the same on any.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from configparser import ConfigParser
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MAIN = "from edgepress.runtime.main import main; main()"
SKIPPED_FACTS = (
    "platform",
)  # of the environment: a kernel's name says nothing that the processor's does not


@dataclass(frozen=True)
class Job:
    """A command whose JSON becomes results/VERSION/NAME.json.

    command: as a user types it, with folders below --data as {data}/...; OUT stands for the file that it writes.
    """

    command: str
    keep: Callable[[dict[str, Any]], dict[str, Any]]


def slim(found: dict[str, Any]) -> dict[str, Any]:
    """A benchmark without its per-image rows: the README quotes means."""

    def without_rows(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_rows(v) for k, v in value.items() if k != "rows" and k not in SKIPPED_FACTS}
        return [without_rows(v) for v in value] if isinstance(value, list) else value

    return without_rows(found)


def medians(found: dict[str, Any]) -> dict[str, Any]:
    """Of pytest-benchmark's JSON: the median of every benchmark in milliseconds, and what it says beside it."""
    return {
        "environment": {
            k: v for k, v in found["machine_info"]["edgepress"].items() if k not in SKIPPED_FACTS
        },
        "benchmarks": [
            {
                "group": b["group"],
                "name": b["name"],
                "params": b["params"],
                "median_ms": 1000 * b["stats"]["median"],
                **b["extra_info"],
            }
            for b in found["benchmarks"]
        ],
    }


KODAK = "--qualities 5,15,25,40,55,70,80,90 --no-time"
JOBS = {
    "kodak": Job(
        f"edgepress bench --images {{data}}/kodak --codec jpeg --codec jpeg:subsampling=444 --codec photo --codec photo-ssim "
        f"--codec webp --codec jp2 --codec avif {KODAK} --json OUT --plot docs/rate-distortion.png",
        slim,
    ),
    "kodak-jpeg-unoptimized": Job(
        "edgepress bench --images {data}/kodak --anchor jpeg:optimize=0 --codec jpeg --codec webp --codec jp2 "
        f"{KODAK} --json OUT",
        slim,
    ),
    "kodak-speed": Job(
        "edgepress bench --images {data}/kodak --limit 4 --codec photo --codec webp --qualities 50 --repeats 20 --json OUT",
        slim,
    ),
    "val": Job(
        "edgepress bench --images {data}/val --codec jpeg --codec photo --codec photo-ssim "
        "--qualities 5,15,25,40,55,70,80,90,97 --no-time --json OUT",
        slim,
    ),
    "study": Job(
        "edgepress bench --study --images {data}/clothing128/test --training-images {data}/clothing128/train --repeats 20 "
        "--figures docs/study --json OUT",
        slim,
    ),
    "folder": Job(
        "python -m pytest tests/benchmarks/test_codecs.py -k folder --benchmark-only --benchmark-json OUT",
        medians,
    ),
    "rewrite": Job(
        "python -m pytest tests/benchmarks/test_rewrite_speed.py --benchmark-only --benchmark-json OUT",
        medians,
    ),
    "conv3": Job(
        "edgepress optimize optimize/shipped/conv3.keras --data {data}/clothing128/train --val {data}/clothing128/test "
        "--recipe optimize/recipes/conv3.toml -o build/conv3.epm --json OUT",
        slim,
    ),
    "demo": Job("edgepress demo -o demo", lambda found: found),
}


def version() -> str:
    """The release that is being measured."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["metadata"]["version"]


def run(name: str, data: Path) -> dict[str, Any]:
    """What is kept of a job, beside the command that made it."""
    job = JOBS[name]
    print(f"{name}: {job.command}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        words = [w.replace("{data}", str(data)).replace("OUT", str(out)) for w in shlex.split(job.command)]
        (ROOT / "build").mkdir(exist_ok=True)
        if words[:2] == [
            "edgepress",
            "bench",
        ]:  # what one job has measured of an image serves the others, too
            words += ["--points", "build/results.points"]
        program = [sys.executable, "-c", MAIN] if words[0] == "edgepress" else [sys.executable]
        done = subprocess.run([*program, *words[1:]], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{name}: ended with exit code {done.returncode}\n{done.stdout}")
        found = json.loads(out.read_text()) if out.exists() else {"output": done.stdout.splitlines()}
    command = job.command.replace("{data}/", "").replace("OUT", f"{name}.json")
    return {"command": command, **job.keep(found)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(JOBS)}")
    given = parser.parse_args()
    wrong = [name for name in given.names if name not in JOBS]
    if wrong:
        parser.error(f"unknown: {', '.join(wrong)}; known are {', '.join(JOBS)}")
    folder = ROOT / "results" / version()
    folder.mkdir(parents=True, exist_ok=True)
    for name in given.names or JOBS:
        text = json.dumps(run(name, given.data.resolve()), indent=1, ensure_ascii=False)
        (folder / f"{name}.json").write_text(text + "\n")
        print(f"wrote {folder.relative_to(ROOT)}/{name}.json", file=sys.stderr)


if __name__ == "__main__":
    main()
