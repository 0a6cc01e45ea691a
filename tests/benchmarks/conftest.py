"""Prints what the benchmarks found: ratios against the obvious alternative, measured in the same run."""

from __future__ import annotations

import pytest

_FOUND: dict[str, dict[str, object]] = {}


@pytest.fixture(autouse=True)
def _keep_ratios(request):
    yield
    benchmark = request.node.funcargs.get("benchmark")
    if benchmark is not None and benchmark.enabled and benchmark.extra_info:
        _FOUND[request.node.name] = dict(benchmark.extra_info)


def pytest_terminal_summary(terminalreporter) -> None:
    """Write one line a number after pytest-benchmark's own table."""
    for name, numbers in _FOUND.items():
        terminalreporter.write_line(f"{name}:")
        for what, value in numbers.items():
            shown = f"{value:.3g}" if isinstance(value, float) else value
            terminalreporter.write_line(f"    {what.replace('_', ' ')}: {shown}")
