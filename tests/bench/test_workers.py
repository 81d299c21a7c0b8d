"""Workers map in order, pass errors on, and end with the process that started them, however it ends."""

import math
import signal
import subprocess
import sys

import pytest

from edgepress.bench.workers import Workers

SCRIPT = """
import time
from edgepress.bench.workers import Workers
if __name__ == "__main__":
    workers = Workers(2)
    list(workers.map(abs, [-1, -2]))
    print("ready", flush=True)
    list(workers.map(time.sleep, [0.1] * 10_000))
"""


def test_results_come_in_order_and_errors_are_passed_on():
    for count in (1, 2):
        with Workers(count) as workers:
            assert list(workers.map(math.sqrt, [9, 4, 1])) == [3, 2, 1]
            with pytest.raises(ValueError):
                list(workers.map(math.sqrt, [1, -1]))


def test_nothing_runs_on_after_the_benchmark_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=20)  # the pipes close only when the last worker has ended
