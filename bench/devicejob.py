"""The benchmark on a device: `python -m edgepress.bench.devicejob FOLDER`, in what `deviceboot` unpacked.

FOLDER holds job.json, the images and the packages. Lines of JSON on stdout say how far it is, and in the end give the
result or the error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgepress.runtime.errors import EdgepressError
from edgepress.runtime.parallel import usable_cores

from .codecs import Missing, make_codecs
from .contender import ReferenceCodec
from .loadimages import BenchImage
from .report import to_dict
from .run import run_bench


def main(folder: Path) -> None:
    """Run the job in `folder` and say its result, or in one line what was wrong."""
    try:
        _say(result=_run(folder, json.loads((folder / "job.json").read_text())))
    except EdgepressError as error:
        _say(error=str(error))
    except OSError as error:
        _say(error=f"{error.filename or folder}: {error.strerror or error}")


def _run(folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    codecs: list[ReferenceCodec] = []
    missing: list[Missing] = []
    for name, spec in job["specs"]:
        try:
            found, lacking = make_codecs([spec])
        except EdgepressError as error:  # known where the benchmark was started, but not here
            found, lacking = [], [Missing(spec, str(error))]
        for codec in found:
            if codec.name != name:  # packages whose names had to be made unique
                vars(codec)["name"] = name
        codecs += found
        missing += lacking
    if not codecs or codecs[0].spec != job["specs"][0][1]:
        raise EdgepressError(f"it cannot run the anchor: {missing[0].reason}")
    images = [BenchImage.from_file(folder / file, name) for name, file in job["images"].items()]
    result = run_bench(
        codecs,
        images,
        job["qualities"],
        repeats=job["repeats"],
        time_images=job["time_images"],
        workers=job["workers"] or usable_cores(),
        missing=missing,
        stage=_stage,
        compare=False,
    )
    return to_dict(result)


def _stage(name: str, steps: int | None) -> Callable[[int], None]:
    _say(stage=name, steps=steps)
    return lambda count: _say(count=count)


def _say(**message: Any) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
