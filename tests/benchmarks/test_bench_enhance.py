"""The three enhancement channels of an image of 320 x 320 against OpenCV's CLAHE alone (aim: about twice)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from covid_keras.preprocessing import beasf, enhance_stack


def _image() -> np.ndarray:
    """Return smooth structure with a little noise, as a radiograph has it."""
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.random((8, 8)), (320, 320), interpolation=cv2.INTER_CUBIC)
    return np.clip(255 * coarse + rng.normal(0, 4, (320, 320)), 0, 255).astype(np.uint8)


def _medians(functions: dict[str, Callable[[], object]], rounds: int = 200) -> dict[str, float]:
    """Return each function's median time in ms, taken in turns so that a busy machine slows all alike."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def test_bench_enhance_stack(benchmark):
    image = _image()
    operator = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    medians = _medians(
        {
            "clahe": lambda: operator.apply(image),
            "beasf": lambda: beasf(image),
            "stack": lambda: enhance_stack(image),
        }
    )
    benchmark.extra_info |= {f"{name}_ms": round(value, 3) for name, value in medians.items()}
    benchmark.extra_info["stack_over_clahe"] = round(medians["stack"] / medians["clahe"], 2)
    assert benchmark(enhance_stack, image).shape == (320, 320, 3)
