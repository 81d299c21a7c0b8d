"""Benchmarks say what they were measured on: without that, two runs cannot be compared."""

from __future__ import annotations

import platform
from typing import Any

import pytest

from edgepress.bench.environment import environment
from edgepress.runtime.coder import BACKEND
from edgepress.runtime.interpreter import choose_interpreter
from edgepress.runtime.parallel import usable_cores


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Board, processor, libraries, interpreter and entropy coder, beside what pytest-benchmark finds itself."""
    machine_info["edgepress"] = environment()


@pytest.fixture(scope="session")
def context() -> dict[str, Any]:
    """What times depend on beside the codec, for extra_info."""
    library = choose_interpreter()
    return {
        "board": platform.machine(),
        "cores": usable_cores(),
        "coder": BACKEND,
        "interpreter": f"{library.name} {library.version}",
    }
