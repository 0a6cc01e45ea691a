"""`predict` and `segment`: their start against importing TensorFlow, their rate against the networks alone, memory.

Each command runs in a process of its own. Rates are those of further images: the difference between many and few.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest

from covid_keras.data.phantom import phantom_image

pytestmark = pytest.mark.slow

FEW, MANY, SIDE = 50, 200, 1024
# Registered networks that a command runs on each image, lung network first.
COMMANDS = {"predict": ("lungs", "model", "view"), "segment": ("lungs",)}


class Cost(NamedTuple):
    """Processor seconds and largest resident memory (MB) of a process."""

    seconds: float
    memory: float


def cost_of(*arguments: str) -> Cost:
    """Run Python with these arguments and return its cost."""
    quiet = {**os.environ, "COVID_KERAS_QUIET": "1"}
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=quiet)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return Cost(used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[int, Path]:
    """Folders of 1, FEW and MANY radiographs of SIDE x SIDE, JPEG."""
    base = tmp_path_factory.mktemp("radiographs")
    pictures = [phantom_image(number, SIDE).image for number in range(10)]
    for count in (1, FEW, MANY):
        (base / str(count)).mkdir()
        for number in range(count):
            cv2.imwrite(str(base / str(count) / f"{number:03d}.jpg"), pictures[number % len(pictures)])
    return {count: base / str(count) for count in (1, FEW, MANY)}


def networks_alone(names: tuple[str, ...], batches: int = 5) -> float:
    """Return the processor seconds per image of the networks' own batches, on arrays that are ready."""
    from covid_keras import models
    from covid_keras.commands.predict import DEFAULT_MODEL
    from covid_keras.inference.inputs import GROUP
    from covid_keras.inference.network import RegisteredNetwork
    from covid_keras.inference.view_check import find_view_network
    from covid_keras.models.registry import find_model

    load = {
        "lungs": lambda: models.LungSegmenter(lungs="whole").model,
        "model": lambda: RegisteredNetwork(find_model(DEFAULT_MODEL, None)).load().model,
        "view": lambda: find_view_network().load().model,
    }
    total = 0.0
    for name in names:
        model = load[name]()
        images = np.random.default_rng(0).random((GROUP, *model.input_shape[1:]), np.float32)
        model.predict_on_batch(images)
        start = time.process_time()
        for _ in range(batches):
            model.predict_on_batch(images)
        total += (time.process_time() - start) / batches / GROUP
    return total


@pytest.mark.parametrize("command", COMMANDS)
def test_bench_inference(benchmark, folders, tmp_path, command):
    """The command on 1, 50 and 200 radiographs of 1024 px; aims: 0.8 of the networks' rate, constant memory.
    `segment` writes three pictures of each radiograph at its own size, which takes most of its time.
    """
    if benchmark.disabled:
        pytest.skip("nothing but timings, of minutes: make bench")
    options = ("--score-doubtful",) if command == "predict" else ()
    start = cost_of("-c", "import tensorflow")
    cost = {
        count: cost_of("-m", "covid_keras", command, str(folder), "--out", str(tmp_path / str(count)), *options)
        for count, folder in folders.items()
    }
    each = (cost[MANY].seconds - cost[FEW].seconds) / (MANY - FEW)
    benchmark.extra_info |= {
        "one image / import tensorflow": round(cost[1].seconds / start.seconds, 2),
        "images per processor second": round(1 / each, 1),
        "networks alone / command": round(networks_alone(COMMANDS[command]) / each, 2),
        f"memory at {MANY} / at {FEW} images": round(cost[MANY].memory / cost[FEW].memory, 2),
        f"MB at {MANY} images": round(cost[MANY].memory),
    }
    benchmark.pedantic(lambda: None, rounds=1)
