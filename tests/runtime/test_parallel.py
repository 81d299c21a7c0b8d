"""Many items at once: ordered, a bounded number ahead, and no further than an error or the consumer goes."""

import itertools
import threading
import time

import pytest

from edgepress.runtime.parallel import MAX_BATCH, ordered_map


class Source:
    """The numbers from 0 on, which counts how many were taken."""

    def __init__(self, count, seconds=0.0):
        self.count, self.seconds, self.taken = count, seconds, 0

    def __iter__(self):
        for number in range(self.count):
            time.sleep(self.seconds)
            self.taken += 1
            yield number


def slowly(number):
    time.sleep(0.02)
    return 2 * number


@pytest.mark.parametrize("count", [0, 1, 5, 1000])
@pytest.mark.parametrize("workers", [1, 2, 5, None])
def test_every_item_once_and_in_order(count, workers):
    assert list(ordered_map(lambda number: 2 * number, range(count), workers)) == list(range(0, 2 * count, 2))


def test_slow_work_gets_one_item_at_a_time():
    source = Source(100)
    results = ordered_map(slowly, source, workers=2)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert source.taken <= 3 + 2 * 2
    results.close()


@pytest.mark.parametrize("workers", [2, 3])
def test_the_consumer_is_one_of_the_workers(workers):
    threads = []

    def work(number):
        threads.append(threading.get_ident())
        return slowly(number)

    assert list(ordered_map(work, range(30), workers)) == list(range(0, 60, 2))
    assert threading.get_ident() in threads
    assert len(set(threads)) == workers


def test_an_interruption_of_the_consumer_is_not_kept_for_later():
    consumer = threading.get_ident()

    def work(number):
        if threading.get_ident() == consumer:
            raise KeyboardInterrupt
        return slowly(number)

    results = ordered_map(work, range(100), workers=2)
    with pytest.raises(KeyboardInterrupt):
        next(results)
    assert list(results) == []


def test_quick_work_is_handed_over_in_batches_and_yet_not_all_at_once():
    threads = []
    source = Source(10_000)
    results = ordered_map(lambda number: threads.append(threading.get_ident()), source, workers=2)
    for _ in range(1000):
        next(results)
    assert 1000 + MAX_BATCH < source.taken <= 1000 + (2 * 2 + 1) * MAX_BATCH
    results.close()
    # Batches stay together: the threads take turns much less often than there are items.
    assert sum(a != b for a, b in itertools.pairwise(threads)) < len(threads) / 4


def test_items_that_come_slowly_are_not_waited_for():
    source = Source(40, seconds=0.005)
    seen = []
    for number in ordered_map(lambda number: number, source, workers=2):
        seen.append(number)
        assert source.taken - len(seen) <= 2 * 2  # batches of one


def test_nothing_is_computed_beyond_an_error():
    done = []

    def work(number):
        if number == 500:
            raise KeyError(number)
        done.append(number)
        return number

    results = ordered_map(work, range(10_000), workers=2)
    assert [next(results) for _ in range(500)] == list(range(500))
    with pytest.raises(KeyError, match="500"):
        next(results)
    assert max(done) <= 500 + (2 * 2 + 1) * MAX_BATCH
    assert list(results) == []


def test_nothing_is_computed_when_the_consumer_stops():
    done = []

    def work(number):
        done.append(slowly(number))

    results = ordered_map(work, range(1000), workers=2)
    next(results)
    results.close()
    count = len(done)
    assert count <= 1 + 2 * 2
    time.sleep(0.1)
    assert len(done) == count


def test_an_error_of_the_items_themselves():
    def items():
        yield from range(7)
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        list(ordered_map(slowly, items(), workers=2))


def test_there_must_be_a_worker():
    with pytest.raises(ValueError, match="workers"):
        next(ordered_map(str, [1], workers=0))
