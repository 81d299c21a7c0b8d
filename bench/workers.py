"""Worker processes for measuring quality, and the store of what they measured. Timing uses neither."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import TypeVar

from .pointstore import PointStore

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """An ordered map over `count` processes, started when first needed; with count 1 all runs in this process.

    Processes, since small numpy calls in threads fight over the interpreter lock; spawned ones, since TFLite
    interpreters do not survive a fork. A script that uses more than one must therefore be importable, with its
    work under `if __name__ == "__main__":`.

    store: where measurements are looked up and kept (see `curve`); None keeps nothing.
    """

    def __init__(self, count: int = 1, store: PointStore | None = None) -> None:
        self.store = store
        self._count = count
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """The results in the order of the tasks; the first error is raised when its turn comes."""
        if self._count <= 1 or len(tasks) <= 1:
            return map(function, tasks)
        if self._pool is None:
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, mp_context=context, initializer=_end_with_parent)
        return self._pool.map(function, tasks)

    def close(self) -> None:
        """End the processes; work not begun is dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end_with_parent() -> None:
    """Runs in each worker: a benchmark that is killed must not leave workers waiting for tasks for ever."""
    threading.Thread(target=_wait_for_parents_end, daemon=True).start()


def _wait_for_parents_end() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
