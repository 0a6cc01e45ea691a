"""Training steps with another allocator, precision or compiler against the suite's own settings.

Each variant trains in a process of its own, with one thread; ratios are medians of rounds taken in turns, of processor
time, which other work on the machine disturbs least. Below 1 the variant is quicker.
"""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from tests.benchmarks.steps import Steps, Training, compare_steps, median_ratio

pytestmark = pytest.mark.slow

# Read when a process starts. BFC is TensorFlow's caching allocator, the default on GPUs.
ALLOCATORS = {
    "bfc": {"TF_CPU_ALLOCATOR_USE_BFC": "1"},
    "malloc": {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**33)},
}
# One step is a round. At 224 px some tensors have more than the 32 MiB that malloc keeps.
TRAININGS = {
    "resnet50, 96 px": Training("resnet50", 96, 8),
    "resnet50, 224 px": Training("resnet50", 224, 8),
    "vgg16, 224 px": Training("vgg16", 224, 2),
    "unet, 128 px": Training("unet", 128, 8),
    "unet, 224 px": Training("unet", 224, 8),
    "fucitnet, 64 px": Training("fucitnet", 64, 8),
}
ROUNDS = 5


@pytest.fixture(autouse=True)
def _only_if_asked(benchmark) -> None:
    if benchmark.disabled:
        pytest.skip("nothing but timings, of minutes: make bench")


def compare(benchmark, plain: Training, others: dict[str, Training], name: str = "plain") -> None:
    """Note the processor time of each training as a multiple of `plain`'s, and the page faults."""
    found = compare_steps({name: plain, **others}, 1, ROUNDS)
    first = found[name]
    benchmark.extra_info["batch"] = plain.batch
    benchmark.extra_info[f"{name}, seconds per step"] = round(statistics.median(one.processor for one in first), 3)
    for other in others:
        benchmark.extra_info[f"{other} / {name}"] = round(median_ratio(found[other], first), 3)
    for one, used in found.items():
        benchmark.extra_info[f"{one}, page faults per step"] = round(statistics.median(each.faults for each in used))
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.mark.parametrize("name", ["resnet50, 96 px", "resnet50, 224 px", "unet, 224 px", "fucitnet, 64 px"])
def test_bench_allocator(benchmark, name):
    """A training step with TensorFlow's caching allocator (bfc), or with malloc's thresholds raised (malloc)."""
    plain = TRAININGS[name]
    compare(benchmark, plain, {key: replace(plain, variables=value) for key, value in ALLOCATORS.items()})


@pytest.mark.parametrize("name", TRAININGS)
def test_bench_precision(benchmark, name):
    """A training step in mixed bfloat16 as a multiple of one in float32."""
    plain = TRAININGS[name]
    compare(benchmark, plain, {"bf16": replace(plain, precision="bf16")}, "float32")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_bench_xla(benchmark, precision):
    """A training step of a U-Net of 128 px compiled by XLA as a multiple of one that is not."""
    plain = replace(TRAININGS["unet, 128 px"], precision=precision)
    compare(benchmark, plain, {"xla": replace(plain, jit=True)})


@pytest.mark.parametrize("name", ["resnet50, 96 px", "resnet50, 224 px", "unet, 128 px"])
def test_bench_against_torch(benchmark, name):
    """A training step in Keras and in PyTorch on the same tensors, float32; aim: torch / keras above 1."""
    pytest.importorskip("torch")
    plain = TRAININGS[name]
    compare(benchmark, plain, {"torch": replace(plain, library="torch")}, "keras")


def test_bench_jobs(benchmark):
    """Two trainings at a time with one thread each, against one after the other with two; time by the clock."""
    plain = TRAININGS["resnet50, 96 px"]
    narrow, wide = [Steps(plain), Steps(plain)], Steps(replace(plain, threads=2))
    try:
        for process in (*narrow, wide):
            process.ready()
        ratios = [_at_once(narrow, 1) / _at_once([wide], 2) for _ in range(ROUNDS)]
    finally:
        for process in (*narrow, wide):
            process.close()
    benchmark.extra_info["two jobs / one job of two threads"] = round(statistics.median(ratios), 3)
    benchmark.pedantic(lambda: None, rounds=1)


def _at_once(processes: list[Steps], steps: int) -> float:
    """Return how long the processes take, by the clock, for their steps at the same time."""
    for process in processes:
        process.ask(steps)
    return max(process.used().wall for process in processes)
