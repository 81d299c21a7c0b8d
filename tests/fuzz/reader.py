"""Damaged streams and packages through everything that reads them, up to the networks.

With atheris (`pip install atheris`) the damage is guided by coverage, without it it is random. The first byte of an input
chooses the reader. Whatever the input: a result that is right or one of our errors, in one line.

    python tests/fuzz/reader.py --seconds 60 --out build/fuzz
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import random
import re
import signal
import subprocess
import sys
import time
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from mutate import mutant

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None
guide: Any = contextlib.nullcontext()
if "--guided" in sys.argv:  # its instruments take time, and random damage has no use for them
    import atheris

    guide = atheris.instrument_imports(include=["edgepress.runtime"])

with guide:
    from edgepress.runtime import EdgepressError, coder, package, purecoder, stream
    from edgepress.runtime.manifest import MEMBERS
    from edgepress.runtime.tflitecheck import check_model

TIME_LIMIT = 10  # seconds for one input
MAX_PIXELS = 1 << 12  # the networks' part of a decode is left out, and the Python coder is slow
MAX_LENGTH = 1 << 16  # of an input that atheris makes
WEIGHTS = (200, 4, 1, 1, 1, 2)  # of the ways, for random damage
counts: Counter[str] = Counter()


class Reader:
    """The ways to try an input, with the tables of one package; `good` has the contents of all good packages."""

    def __init__(self, path: Path, good: set[tuple[bytes, ...]]) -> None:
        self.package = package.read_package(path)
        self.good = good
        good.add(contents_of(self.package))
        self.raw = path.read_bytes()
        with zipfile.ZipFile(path) as archive:
            self.members = {name: archive.read(name) for name in archive.namelist()}
        self.streams = [
            self._stream(quality, shape) for quality in (5, 60, 95) for shape in ((8, 8), (40, 56))
        ]
        self.ways = (
            self.container,
            self.behind_the_checksum,
            self.manifest,
            self.tables,
            self.file,
            self.network,
        )

    def _stream(self, quality: int, shape: tuple[int, int]) -> bytes:
        random_ = np.random.default_rng(quality)
        rows, columns = (-(-side // self.package.stride) for side in shape)
        spread = random_.choice([0, 0, 0.4, 2, 30], (self.package.latent_channels, 1, 1))
        symbols = np.rint(random_.laplace(0, 1, (self.package.latent_channels, rows, columns)) * spread)
        symbols = np.clip(symbols, -255, 255).astype(np.int16)
        payload = coder.encode_symbols(symbols, self.package.tables, quality)
        header = stream.Header("RGB", self.package.model_id, quality, shape[1], shape[0])
        return stream.pack(header, payload)

    def seeds(self) -> list[bytes]:
        """Good inputs for every way."""
        manifest, tables = self.members["manifest.json"], self.members["entropy.bin"]
        inputs = [(0, data) for data in self.streams] + [(1, data[:-4]) for data in self.streams]
        inputs += [(2, manifest), (3, tables), (4, self.raw), (5, self.members["decoder.tflite"])]
        return [bytes((way,)) + data for way, data in inputs]

    def container(self, data: bytes) -> None:
        """What parses has the right checksum, and is the same after it was packed again."""
        header, payload = stream.parse(data)
        assert zlib.crc32(data[:-4]) == int.from_bytes(data[-4:], "little"), "wrong checksum accepted"
        assert stream.parse(stream.pack(header, payload)) == (header, payload), "packing changes a stream"

    def behind_the_checksum(self, data: bytes) -> None:
        """Both coders read the same symbols from a damaged payload, or both refuse it."""
        header, payload = stream.parse(data + zlib.crc32(data).to_bytes(4, "little"))
        if header.width * header.height > MAX_PIXELS:
            raise EdgepressError("larger than this is about")
        rows, columns = -(-header.height // self.package.stride), -(-header.width // self.package.stride)
        shape, tables = (self.package.latent_channels, rows, columns), self.package.tables
        plan = purecoder.Plan(tables, tables.set_for(header.quality))
        here = outcome(lambda: coder.decode_symbols(payload, shape, tables, header.quality))
        python = outcome(lambda: purecoder.decode(plan, payload, shape))
        if isinstance(here, EdgepressError):
            assert isinstance(python, EdgepressError), "only the C coder refuses a stream"
            raise here
        assert not isinstance(python, EdgepressError), "only the Python coder refuses a stream"
        assert np.array_equal(here, python), "the coders read different symbols"
        assert np.abs(here).max(initial=0) <= 255, "a symbol out of range"

    def manifest(self, data: bytes) -> None:
        """A package with another manifest."""
        self._read({**self.members, "manifest.json": data})

    def tables(self, data: bytes) -> None:
        """A package with other tables and the right hashes."""
        contents = {**self.members, "entropy.bin": data}
        manifest = json.loads(contents["manifest.json"])
        stated = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        manifest["members"]["entropy.bin"] = stated
        model_id = hashlib.sha256(data + contents["decoder.tflite"]).hexdigest()[:6]
        contents["manifest.json"] = json.dumps({**manifest, "model_id": model_id}).encode()
        tables = self._read(contents).tables
        symbols = np.ones((tables.channels, 1, 2), np.int16)
        data = coder.encode_symbols(symbols, tables, 50)
        assert np.array_equal(coder.decode_symbols(data, symbols.shape, tables, 50), symbols), (
            "tables lose symbols"
        )

    def file(self, data: bytes) -> None:
        """A package file as it is: what is accepted has the contents of a good one."""
        read = package.Package(data, Path("fuzz.epm"))
        assert contents_of(read) in self.good, "wrong contents accepted"

    def network(self, data: bytes) -> None:
        """The check of models."""
        check_model(data, "decoder")

    def _read(self, contents: dict[str, bytes]) -> Any:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name in ("manifest.json", *MEMBERS):
                archive.writestr(name, contents[name])
        return package.Package(buffer.getvalue(), Path("fuzz.epm"))

    def try_one(self, data: bytes) -> None:
        """Try one input; raises what is no EdgepressError."""
        way = self.ways[(data[0] if data else 0) % len(self.ways)]
        try:
            way(data[1:])
            counts[f"{way.__name__} accepted"] += 1
        except EdgepressError as error:
            assert "\n" not in str(error), "an error of more than one line"
            counts[f"{way.__name__} refused"] += 1


def outcome(decode: Callable[[], Any]) -> Any:
    """What `decode` gives, or the error that it ends in."""
    try:
        return decode()
    except EdgepressError as error:
        return error


def contents_of(read: Any) -> tuple[bytes, ...]:
    """What a package holds beside its manifest."""
    return read.encoder, read.decoder, read.tables.to_bytes()


def hang(signum: int, frame: Any) -> None:
    raise AssertionError(f"more than {TIME_LIMIT} s for one input")


def at_random(readers: list[Reader], seconds: float, seed: int, crashes: Path) -> None:
    """Random damage until the time is over."""
    source = random.Random(seed)
    seeds = [(reader, start) for reader in readers for start in reader.seeds()]
    weights = [WEIGHTS[start[0]] for _, start in seeds]  # the cheap ways more often
    signal.signal(signal.SIGALRM, hang)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        reader, start = source.choices(seeds, weights)[0]
        data = start[:1] + mutant(start[1:], source, range(24) if source.random() < 0.3 else ())
        if data == start:
            continue
        signal.alarm(TIME_LIMIT)
        try:
            reader.try_one(data)
        except Exception:
            (crashes / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
            traceback.print_exc()
            sys.exit(1)
    signal.alarm(0)
    what = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
    print(f"reader: {sum(counts.values())} damaged inputs went as they should: {what}")


def guided(readers: list[Reader], options: list[str], corpus: Path) -> None:
    """Damage guided by coverage; libFuzzer watches time and memory, and ends the process."""
    for number, start in enumerate(start for reader in readers for start in reader.seeds()):
        if len(start) < MAX_LENGTH:
            (corpus / f"seed-{number}").write_bytes(start)
    command = [sys.argv[0], *options, str(corpus)]
    atheris.Setup(command, lambda data: readers[len(data) % len(readers)].try_one(data))
    atheris.Fuzz()


def watch_guided(arguments: list[str], log: Path) -> None:
    """Run this program anew with `--guided`, since libFuzzer does not come back, and say how it went."""
    with log.open("w") as file:
        command = [sys.executable, __file__, "--guided", *arguments]
        code = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
    text = log.read_text(errors="replace")
    done = re.search(r"number_of_executed_units: *(\d+)", text)
    if code or not done:
        print(*text.splitlines()[-40:], sep="\n", file=sys.stderr)
        sys.exit(1)
    print(f"reader: {done[1]} damaged inputs went as they should, guided by coverage")


def main() -> None:
    """Run until the time is over; exit code 1 with a traceback and a reproducer when something goes wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--random", action="store_true", help="random damage even where atheris is installed")
    parser.add_argument("--guided", action="store_true", help="atheris alone, which ends the process")
    arguments = parser.parse_args()
    crashes, corpus = arguments.out / "crashes", arguments.out / "reader"
    for folder in (crashes, corpus):
        folder.mkdir(parents=True, exist_ok=True)
    if HAS_ATHERIS and not arguments.random and not arguments.guided:
        watch_guided(sys.argv[1:], arguments.out / "reader.log")
        return
    good: set[tuple[bytes, ...]] = set()
    readers = [Reader(path, good) for path in package.shipped().values()]
    if not arguments.guided:
        at_random(readers, arguments.seconds, arguments.seed, crashes)
        return
    options = [
        f"-max_total_time={int(arguments.seconds)}",
        f"-seed={arguments.seed}",
        f"-timeout={TIME_LIMIT}",
    ]
    options += [f"-artifact_prefix={crashes}/", f"-max_len={MAX_LENGTH}", "-print_final_stats=1"]
    # Python's own caches grow for a while; the limit is for what one input makes it allocate.
    guided(readers, [*options, "-rss_limit_mb=2048", "-verbosity=0"], corpus)


if __name__ == "__main__":
    main()
