"""The three enhancement channels of an image of 320 x 320 against OpenCV's CLAHE alone (aim: about twice)."""

from __future__ import annotations

import functools

import cv2
import numpy as np

from covid_keras.preprocessing import beasf, enhance_stack
from tests.helpers.timing import in_turns


def _image() -> np.ndarray:
    """Return smooth structure with a little noise, as a radiograph has it."""
    rng = np.random.default_rng(0)
    coarse = cv2.resize(rng.random((8, 8)), (320, 320), interpolation=cv2.INTER_CUBIC)
    return np.clip(255 * coarse + rng.normal(0, 4, (320, 320)), 0, 255).astype(np.uint8)


def test_bench_enhance_stack(benchmark):
    image = _image()
    operator = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8))
    functions = {"clahe": operator.apply, "beasf": beasf, "stack": enhance_stack}
    runs = {name: functools.partial(function, image) for name, function in functions.items()}
    best = {name: 1000 * one.wall for name, one in in_turns(benchmark, runs, 200).items()}
    benchmark.extra_info |= {f"{name}_ms": round(value, 3) for name, value in best.items()}
    benchmark.extra_info["stack_over_clahe"] = round(best["stack"] / best["clahe"], 2)
    assert benchmark(enhance_stack, image).shape == (320, 320, 3)
