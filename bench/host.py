"""A process of its own for each contender: there its memory is measured and its times are taken.

In one process contenders would share a heap, whose state one leaves to the next, and a peak of memory could be
anybody's. Here only one process works at a time, told by the benchmark; clocks are read inside it, so that nothing of the
way there counts.
"""

from __future__ import annotations

import gc
import pickle
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from time import perf_counter
from types import TracebackType
from typing import Any

from edgepress.runtime.errors import EdgepressError

from . import memory
from .contender import RGB, ReferenceCodec
from .energy import EnergyMeter

WARM_SECONDS = 0.005
BURST_SECONDS = 0.02
BURST_RUNS = 9


@dataclass(frozen=True)
class Visit:
    """Seconds to encode and to decode one image, medians of a burst of runs; joules of both together, where known."""

    encode: float
    decode: float
    joules: float | None


class Host:
    """Drives one contender in its process. Use as a context manager, or `close` it.

    Processes are spawned: a script that uses one must be importable, with its work under `if __name__ == "__main__":`.
    Every method raises EdgepressError when the contender fails, or its process ends.
    """

    def __init__(self, codec: ReferenceCodec) -> None:
        self._name = codec.name
        self._codec = pickle.dumps(codec)
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def peak_memory(self, pixels: RGB, quality: int) -> int | None:
        """Bytes that loading the contender and coding one image took at the most, beyond the process without it.

        Its libraries count, and its networks; Python, numpy, Pillow and the image itself do not. Only the first call
        of a host can measure that. None where the system does not tell.
        """
        return self._call("peak_memory", self._codec, pixels, quality)

    def take(self, pixels: RGB) -> None:
        """Set the image of the visits that follow."""
        self._call("take", self._codec, pixels)

    def visit(self, quality: int) -> Visit:
        """Some milliseconds of runs that do not count, so that caches hold what is needed whoever worked before; then a
        burst that does."""
        return self._call("visit", quality)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(2)  # it ends with its pipe
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self) -> Host:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            self._pipe.send((method, arguments))
            fine, result = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(2)
            how = f"exit code {self._process.exitcode}"
            raise EdgepressError(f"{self._name}: its process ended while it was measured ({how})") from None
        if not fine:
            raise EdgepressError(f"{self._name} failed while it was measured: {result}")
        return result


class Worker:
    """What runs inside a host's process."""

    def __init__(self) -> None:
        self._codec: ReferenceCodec | None = None
        self._pixels: RGB | None = None
        self._meter = EnergyMeter()

    def peak_memory(self, pickled: bytes, pixels: RGB, quality: int) -> int | None:
        gc.collect()
        memory.reset_peak()
        before = memory.resident()
        self.take(pickled, pixels)
        self._run(quality)
        after = memory.peak()
        return None if before is None or after is None else max(0, after - before)

    def take(self, pickled: bytes, pixels: RGB) -> None:
        if self._codec is None:
            self._codec = pickle.loads(pickled)
        self._pixels = pixels

    def visit(self, quality: int) -> Visit:
        end = perf_counter() + WARM_SECONDS
        self._run(quality)
        while perf_counter() < end:
            self._run(quality)
        was_enabled = gc.isenabled()
        gc.disable()
        try:
            return self._burst(quality)
        finally:
            if was_enabled:
                gc.enable()

    def _burst(self, quality: int) -> Visit:
        runs: list[tuple[float, float]] = []
        counters = self._meter.read()
        end = perf_counter() + BURST_SECONDS
        while not runs or (len(runs) < BURST_RUNS and perf_counter() < end):
            runs.append(self._run(quality))
        joules = self._meter.joules_since(counters)
        encode, decode = (median(column) for column in zip(*runs, strict=True))
        return Visit(encode, decode, None if joules is None else joules / len(runs))

    def _run(self, quality: int) -> tuple[float, float]:
        """Seconds to encode and to decode."""
        codec, pixels = self._codec, self._pixels
        assert codec is not None and pixels is not None  # the host takes an image first
        start = perf_counter()
        data = codec.encode(pixels, quality)
        encoded = perf_counter()
        codec.decode(data)
        return encoded - start, perf_counter() - encoded


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the benchmark's to handle; then the pipe closes
    worker = Worker()
    while True:
        try:
            method, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        call: Callable[..., Any] = getattr(worker, method)
        try:
            answer = (True, call(*arguments))
        except Exception as error:  # contenders are other people's code, and raise what they like
            answer = (False, next(iter(str(error).splitlines()), type(error).__name__))
        pipe.send(answer)
