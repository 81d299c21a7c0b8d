"""Work on many items at once, with ordered results and bounded memory."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

Item = TypeVar("Item")
Result = TypeVar("Result")

# Handing an item to a thread and its result back takes about as long as the work on a very small image, so that those are
# handed over by the dozen: as many as take this many seconds together, to make and to work on, and no more than
# MAX_BATCH.
BATCH_SECONDS = 0.004
MAX_BATCH = 16


class _Done(NamedTuple):
    """What came of a batch: the results up to the first error, that, and how long one item took."""

    results: list
    error: Exception | None
    seconds: float


@dataclass
class _Handed:
    """A batch that was handed to the threads, and what came of it where the consumer has taken it back and done it."""

    batch: list
    future: Future[_Done]
    done: _Done | None = None


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int | None = None
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in the order of the items, computed by `workers` threads.

    One of them is the consumer's own, while it waits for a result: as a thread more than there are cores it would get in the
    way of the others. Threads suffice because the networks and the entropy coder release the GIL. At most two items per
    worker are taken from `items` ahead of the consumer, or two batches of items that take under BATCH_SECONDS. An exception
    is raised where its result would have been; nothing further is computed then, nor after the consumer stops.

    Args:
        workers: number of threads, at least 1; None means one for each usable core.
    """
    workers = usable_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, not {workers}")
    if workers == 1:
        yield from map(function, items)
        return
    from concurrent.futures import ThreadPoolExecutor  # which a single image need not wait for

    stopped = False

    def work(batch: list[Item]) -> _Done:
        results: list[Result] = []
        error = None
        start = time.perf_counter()
        try:
            for item in batch:
                if stopped:
                    break
                results.append(function(item))
        except Exception as raised:
            # For the consumer to see, after the results before it. Ctrl-C does not wait for that.
            error = raised
        return _Done(results, error, (time.perf_counter() - start) / len(batch))

    pending: deque[_Handed] = deque()
    source, size = iter(items), 1
    executor = ThreadPoolExecutor(workers - 1)
    try:
        while (batch := _batch(source, size)) or pending:
            if batch:
                pending.append(_Handed(batch, executor.submit(work, batch)))
                if len(pending) < 2 * workers:
                    continue
            done = _first(pending, work)
            size = max(1, min(2 * size, MAX_BATCH, int(BATCH_SECONDS / max(done.seconds, 1e-9))))
            yield from done.results
            if done.error is not None:
                raise done.error
    finally:
        stopped = True
        executor.shutdown(wait=True, cancel_futures=True)


def _first(pending: deque[_Handed], work: Callable[[list], _Done]) -> _Done:
    """Take the first batch off, when it is done; until then, do what nobody has begun."""
    for handed in pending:
        if pending[0].done or pending[0].future.done():
            break
        if handed.done is None and handed.future.cancel():
            handed.done = work(handed.batch)
    first = pending.popleft()
    return first.done or first.future.result()


def _batch(source: Iterator[Item], size: int) -> list[Item]:
    """The next `size` items, or fewer when there are no more or they are slow to come."""
    batch: list[Item] = []
    end = time.perf_counter() + BATCH_SECONDS
    for item in source:
        batch.append(item)
        if len(batch) == size or time.perf_counter() > end:
            break
    return batch
