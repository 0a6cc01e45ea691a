"""Prints what the benchmarks found: ratios against the obvious alternative, measured in the same run."""

from __future__ import annotations

import importlib.metadata
import os

import pytest

_FOUND: dict[str, dict[str, object]] = {}


@pytest.fixture(autouse=True)
def _keep_ratios(request):
    yield
    benchmark = request.node.funcargs.get("benchmark")
    if benchmark is not None and benchmark.enabled and benchmark.extra_info:
        _FOUND[request.node.name] = dict(benchmark.extra_info)


def pytest_benchmark_update_machine_info(config, machine_info) -> None:
    """Record versions and how busy the machine is, for BENCHMARKS.md."""
    machine_info["load"] = os.getloadavg()[0]
    machine_info["versions"] = {name: importlib.metadata.version(name) for name in ("tensorflow", "keras")}


def pytest_terminal_summary(terminalreporter) -> None:
    """Write one line a number after pytest-benchmark's own table."""
    for name, numbers in _FOUND.items():
        terminalreporter.write_line(f"{name}:")
        for what, value in numbers.items():
            shown = f"{value:.3g}" if isinstance(value, float) else value
            terminalreporter.write_line(f"    {what.replace('_', ' ')}: {shown}")
