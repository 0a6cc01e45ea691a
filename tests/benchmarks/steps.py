"""A process that trains one network and times its steps: `python -m tests.benchmarks.steps OPTIONS`.

OPTIONS is a `Training` as JSON. After a warm-up the process writes a line; for each number on standard input it then
trains as many steps and writes what they used.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

WARM_UP = 2


@dataclass(frozen=True)
class Training:
    """What is trained: a network of `networks()` or `torch_networks()`, and how.

    `variables` are environment variables, which some libraries read before the process does anything.
    """

    network: str
    side: int
    batch: int
    precision: str = "float32"
    jit: bool = False
    threads: int = 1
    library: str = "keras"
    variables: dict[str, str] = field(default_factory=dict)


class Used(NamedTuple):
    """Seconds of a number of steps by the clock, on the processors, in the kernel, and page faults."""

    wall: float
    processor: float
    system: float
    faults: float


class Steps:
    """A process of a training, ready to be asked for steps."""

    def __init__(self, training: Training) -> None:
        threads = str(training.threads)
        limits = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), threads)
        command = [sys.executable, "-m", "tests.benchmarks.steps", json.dumps(asdict(training))]
        environment = {**os.environ, **limits, "TF_CPP_MIN_LOG_LEVEL": "3", **training.variables}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
        )

    def ready(self) -> None:
        """Wait until the network is built and traced."""
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError(f"a benchmark's process ended with status {self.process.wait()}")

    def ask(self, steps: int) -> None:
        """Begin a number of steps."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()

    def used(self) -> Used:
        """Wait for the steps, and return what they used."""
        return Used(*json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


def compare_steps(trainings: dict[str, Training], steps: int, rounds: int) -> dict[str, list[Used]]:
    """Return what `steps` steps of each training used in each round; within a round the trainings take turns."""
    processes = {name: Steps(training) for name, training in trainings.items()}
    found: dict[str, list[Used]] = {name: [] for name in trainings}
    try:
        for process in processes.values():
            process.ready()
        for _ in range(rounds):
            for name, process in processes.items():
                process.ask(steps)
                found[name].append(process.used())
    finally:
        for process in processes.values():
            process.close()
    return found


def median_ratio(some: list[Used], others: list[Used], what: str = "processor") -> float:
    """Return the median over rounds of some / others."""
    pairs = zip(some, others, strict=True)
    return statistics.median(getattr(one, what) / max(getattr(other, what), 1e-9) for one, other in pairs)


# ------------------------------------------------------------------------------------------------ in the process


def networks() -> dict[str, Callable]:
    """Return the builders of networks, name -> function of the side in pixels."""
    import keras

    from covid_keras.models import build_resnet50, build_unet, build_vgg
    from covid_keras.models.resnet18 import build_resnet18
    from papers.covid_sdnet.cit import CiTNetwork, CiTSettings
    from papers.covid_sdnet.generator import build_generator

    def fucitnet(side: int) -> keras.Model:
        settings = CiTSettings(perceptual=0.0, filters=32)
        generators = [build_generator(side, settings.filters, name=f"generator_{name}") for name in "NP"]
        network = CiTNetwork(generators, build_resnet18((side, side, 3), frozen=False), None)
        network.compile_cit(settings)
        return network

    def densenet121(side: int) -> keras.Model:
        return keras.applications.DenseNet121(weights=None, input_shape=(side, side, 3), classes=2)

    return {
        "resnet50": lambda side: build_resnet50((side, side, 3), weights="none"),
        "vgg16": lambda side: build_vgg(16, (side, side, 1), weights="none"),
        "densenet121": densenet121,
        "unet": lambda side: build_unet((side, side, 1), filters=16),
        "fucitnet": fucitnet,
    }


def keras_steps(training: Training) -> Callable[[int], object]:
    """Return the function that trains a number of steps with Keras."""
    import keras
    import numpy as np
    import tensorflow as tf

    from covid_keras.common.threads import limit_threads
    from covid_keras.training.devices import set_precision
    from covid_keras.training.losses import MaskedDiceCrossEntropy

    limit_threads(training.threads)
    set_precision(training.precision)
    keras.utils.set_random_seed(0)
    model, rng = networks()[training.network](training.side), np.random.default_rng(0)
    segments = training.network == "unet"
    if training.network != "fucitnet":
        loss = MaskedDiceCrossEntropy() if segments else "categorical_crossentropy"
        model.compile(keras.optimizers.SGD(1e-3, momentum=0.9), loss, jit_compile=training.jit)
    grey = segments or training.network == "vgg16"
    shape = (training.batch, training.side, training.side)
    images = rng.random((*shape, 1 if grey else 3), np.float32)
    labels = np.eye(2, dtype=np.float32)[np.arange(training.batch) % 2]
    targets = np.ones((*shape, 2), np.float32) if segments else labels
    batches = tf.data.Dataset.from_tensors((images, targets)).repeat().prefetch(2)
    return lambda steps: model.fit(batches, steps_per_epoch=steps, verbose=0)


def main(options: str) -> None:
    """Train as asked on standard input."""
    training = Training(**json.loads(options))
    if training.library == "torch":
        from tests.benchmarks.torch_steps import torch_steps

        train = torch_steps(training)
    else:
        train = keras_steps(training)
    train(WARM_UP)
    print("ready", flush=True)
    for line in sys.stdin:
        before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
        train(int(line))
        wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
        system = after.ru_stime - before.ru_stime
        used = Used(wall, after.ru_utime - before.ru_utime + system, system, after.ru_minflt - before.ru_minflt)
        print(json.dumps(used), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
