"""Benchmarks say what they were measured on: without that, two runs cannot be compared."""

from __future__ import annotations

from typing import Any

from edgepress.bench.environment import environment


def pytest_benchmark_update_machine_info(config: Any, machine_info: dict[str, Any]) -> None:
    """Board, processor, libraries, interpreter and entropy coder, beside what pytest-benchmark finds itself."""
    machine_info["edgepress"] = environment()
