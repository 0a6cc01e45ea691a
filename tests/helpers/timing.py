"""Times of functions that are compared, taken in turns so that a busy machine slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class Best(NamedTuple):
    """The shortest time of a function: by the clock, and of all threads on the processors, in seconds."""

    wall: float
    processor: float


def in_turns(benchmark, functions: dict[str, Callable[[], object]], rounds: int = 3) -> dict[str, Best]:
    """Return each function's best of some rounds; with --benchmark-disable of one, which only shows that all run."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in functions}
    for _ in range(1 if benchmark.disabled else rounds):
        for name, function in functions.items():
            wall, processor = time.perf_counter(), time.process_time()
            function()
            times[name].append((time.perf_counter() - wall, time.process_time() - processor))
    return {name: Best(*map(min, zip(*values, strict=True))) for name, values in times.items()}
