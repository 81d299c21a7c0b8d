"""Damaged TFLite models in packages with the right hashes: no crash, no hang, no error but ours.

Models are tried in child processes, so that a crash of the interpreter is seen and counted. Half of the damage is done
to bytes, half to the fields of the model's tables, which LiteRT's own look at the buffer lets through. `--unchecked`
leaves out edgepress's check of models, to see what the interpreter alone would do.

    python tests/fuzz/networks.py --seconds 60 --out build/fuzz
"""

from __future__ import annotations

import argparse
import copy
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgepress.runtime import Codec, EdgepressError
from edgepress.runtime.interpreter import choose_interpreter
from edgepress.runtime.package import Package, read_package, shipped
from edgepress.runtime.tflitecheck import check_model

sys.path.insert(0, str(Path(__file__).parent))
from mutate import in_place, mutant

BATCH = 200  # models a child tries, unless one ends it
TIME_LIMIT = 20  # seconds for one model
MEMORY_LIMIT = 8 << 30  # bytes of address space
IMAGE = np.zeros((20, 24, 3), np.uint8)
NUMBERS = (-(1 << 31), -2, -1, 0, 1, 2, 3, 5, 7, 64, 255, 1 << 16, (1 << 31) - 1)


class Target:
    """One network of one package, and its model as objects where the schema is installed (it comes with LiteRT)."""

    def __init__(self, package: Package, member: str) -> None:
        self.package, self.member = package, member
        self.data: bytes = getattr(package, member)
        try:
            import flatbuffers  # noqa: F401
            from ai_edge_litert import schema_py_generated as schema
        except ImportError:
            self.schema = None
            self.places: list[int] = []
            return
        self.schema = schema
        inside = np.zeros(len(self.data), bool)  # of large constants, whose bytes are only numbers
        root = schema.Model.GetRootAs(self.data, 0)
        for index in range(root.BuffersLength()):
            buffer = root.Buffers(index)
            if buffer.DataLength() >= 64:
                first = buffer._tab.Vector(buffer._tab.Offset(4))
                inside[first : first + buffer.DataLength()] = True
        self.places = np.flatnonzero(~inside).tolist()

    def damaged(self, source: random.Random) -> bytes:
        """Another model."""
        kind = source.random()
        if self.schema is None or kind < 0.25:
            return in_place(self.data, source, self.places)
        if kind < 0.4:
            return mutant(self.data, source, self.places)
        return self._other_fields(source)

    def _other_fields(self, source: random.Random) -> bytes:
        import flatbuffers

        model = self.schema.ModelT.InitFromObj(self.schema.Model.GetRootAs(self.data, 0))
        graph = model.subgraphs[0]
        for _ in range(source.randint(1, 3)):
            things = [*graph.operators, *graph.tensors, *model.operatorCodes, graph]
            thing = source.choice(
                (source.choice(things), source.choice(graph.operators), source.choice(graph.tensors))
            )
            parts = [thing, getattr(thing, "builtinOptions", None), getattr(thing, "quantization", None)]
            _change_field(source.choice([part for part in parts if part is not None]), source)
        builder = flatbuffers.Builder(len(self.data))
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def _change_field(thing: Any, source: random.Random) -> None:
    """Give one number, list or object of `thing` another value."""
    names = [name for name, value in vars(thing).items() if not isinstance(value, bytes)]
    name = source.choice(names)
    value = getattr(thing, name)
    if isinstance(value, (bool, np.bool_)):
        setattr(thing, name, not value)
    elif isinstance(value, (int, np.integer)):
        setattr(thing, name, source.choice((*NUMBERS, value + 1, value - 1, source.randrange(130))))
    elif isinstance(value, (list, np.ndarray)) and len(value):
        items = [item for item in value]
        where = source.randrange(len(items))
        if isinstance(items[0], (int, float, np.number)):
            change = source.randrange(4)
            if change == 0:
                del items[where]
            elif change == 1:
                items.insert(where, items[where])
            else:
                items[where] = type(items[where])(source.choice((*NUMBERS, items[where] + 1, 1e-30, 1e30)))
        elif source.random() < 0.5:
            del items[where]
        else:
            other = source.randrange(len(items))
            items[where], items[other] = items[other], items[where]
        setattr(thing, name, items)
    elif value is not None and source.random() < 0.3:
        setattr(thing, name, None)


def use(package: Package) -> str:
    """Load a package and run both of its networks: "ran", or "refused" when it ends in one of our errors."""
    try:
        codec = Codec(package)
        codec.latent(IMAGE)
        codec.reconstruct(np.zeros((2, 3, package.latent_channels), np.int8))
    except EdgepressError as error:
        if "\n" in str(error):
            raise AssertionError("an error of more than one line") from error
        return "refused"
    return "ran"


def child(models: Iterator[tuple[Target, bytes]], checked: bool, results: int) -> None:
    """Try models, one byte to `results` for each: (r)an, re(f)used, (c)hecked and refused, or e(x)ception."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for target, data in models:
        signal.alarm(TIME_LIMIT)
        try:
            if checked:
                check_model(data, target.member)
        except EdgepressError:
            os.write(results, b"c")
            continue
        try:
            package = copy.copy(target.package)
            setattr(package, target.member, data)
            outcome = use(package)
            os.write(results, b"r" if outcome == "ran" else b"f")
        except Exception:
            os.write(results, b"x")


def models(targets: list[Target], seed: int) -> Iterator[tuple[Target, bytes]]:
    """Endless damaged models, the same for the same seed."""
    source = random.Random(seed)
    while True:
        target = source.choice(targets)
        try:
            data = target.damaged(source)
        except Exception:  # values that the schema's own writer cannot pack
            continue
        if data != target.data:
            yield target, data


def batch(targets: list[Target], seed: int, checked: bool) -> tuple[str, int]:
    """What became of each model of a batch, and the signal that ended the child (0: none)."""
    read, write = os.pipe()
    process = os.fork()
    if not process:
        source = models(targets, seed)
        child((next(source) for _ in range(BATCH)), checked, write)
        os._exit(0)
    os.close(write)
    outcomes = b""
    while piece := os.read(read, 4096):
        outcomes += piece
    os.close(read)
    _, status = os.waitpid(process, 0)
    return outcomes.decode(), os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def main() -> None:
    """Run until the time is over; exit code 1 when something went wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--unchecked", action="store_true")
    parser.add_argument("--package", action="append", help="a name or a path; default: the shipped ones")
    arguments = parser.parse_args()
    library = choose_interpreter()
    paths = [shipped().get(name, Path(name)) for name in arguments.package or shipped()]
    packages = [read_package(path) for path in paths]
    targets = [Target(package, member) for package in packages for member in ("encoder", "decoder")]
    crashes = arguments.out / "crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    names = {
        "r": "ran",
        "f": "refused by the interpreter",
        "c": "refused by the check",
        "x": "other exception",
    }
    end, seed = time.monotonic() + arguments.seconds, arguments.seed * 1_000_000
    while time.monotonic() < end:
        outcomes, ended_by = batch(targets, seed, not arguments.unchecked)
        counts.update(names[outcome] for outcome in outcomes)
        bad = [number for number, outcome in enumerate(outcomes) if outcome == "x"]
        if ended_by:
            name = signal.Signals(ended_by).name
            counts[
                f"hang of more than {TIME_LIMIT} s" if ended_by == signal.SIGALRM else f"crash ({name})"
            ] += 1
            bad.append(len(outcomes))
        if bad:
            source = models(targets, seed)
            for number, (target, data) in zip(range(max(bad) + 1), source, strict=False):
                if number in bad:
                    (crashes / f"{target.package.name}-{target.member}-{seed}-{number}.tflite").write_bytes(
                        data
                    )
        seed += 1
    total = sum(counts.values())
    wrong = total - sum(counts[names[key]] for key in "rfc")
    what = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    print(
        f"networks ({library.name} {library.version}): {total} damaged models tried, {wrong} gone wrong: {what}"
    )
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
