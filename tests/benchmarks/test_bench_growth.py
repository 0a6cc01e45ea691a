"""How processor time and memory grow with the number of radiographs: 1 is proportional, 2 quadratic.

The cohorts have many rows and few files, so that what is measured is the suite's own work on each row; decoding and
resizing, which are proportional by nature, are measured in test_bench_pipeline.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import HASH_SIZE, _near_pairs, candidate_distance, duplicate_groups
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import prepare_cohort
from covid_keras.data.splits import patient_folds

pytestmark = pytest.mark.slow

SIZES = (5_000, 10_000, 20_000)
# scikit-learn's StratifiedGroupKFold takes half a millisecond per image.
FEW = (1_000, 2_000, 4_000)
FILES = 40


def measure(benchmark, make: Callable[[int], Callable[[], object]], sizes: tuple[int, ...] = SIZES) -> None:
    """Note time and memory at the largest size, and exponents over all sizes, of the functions that `make` returns."""
    sizes = (100, 200) if benchmark.disabled else sizes
    seconds, peaks = [], []
    for size in sizes:
        run = make(size)
        start = time.process_time()
        run()
        seconds.append(max(time.process_time() - start, 1e-6))
        tracemalloc.start()
        run()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    for what, found in {"seconds": seconds, "MB": np.array(peaks) / 1e6}.items():
        benchmark.extra_info[f"{what} at {sizes[-1]:,}"] = round(float(found[-1]), 2)
        exponent = np.polyfit(np.log(sizes), np.log(found), 1)[0]
        benchmark.extra_info[f"{what}, exponent"] = round(float(exponent), 2)
    benchmark.pedantic(lambda: None, rounds=1)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    folder, rng = tmp_path_factory.mktemp("files"), np.random.default_rng(0)
    paths = [str(folder / f"{number}.png") for number in range(FILES)]
    for path in paths:
        cv2.imwrite(path, rng.integers(0, 256, (64, 64), np.uint8))
    return paths


@pytest.fixture
def cohort(files) -> Callable[[int], Cohort]:
    def make(size: int) -> Cohort:
        names = [f"made/{number}" for number in range(size)]
        patients = [f"made/p{number // 2}" for number in range(size)]
        table = {"image_id": names, "path": [files[number % FILES] for number in range(size)], "patient_id": patients}
        labels = np.where(np.arange(size) // 2 % 3 == 0, "ill", "well")
        return Cohort(pd.DataFrame(table | {"label": labels}), ("well", "ill"))

    return make


def test_bench_growth_of_preparation(benchmark, cohort, tmp_path):
    """Preparing a cohort: its table, hashes of files, keys, and reading from the cache."""
    settings = Preparation(size=(32, 32))
    prepare_cohort(cohort(FILES), settings, tmp_path)
    measure(benchmark, lambda size: lambda: prepare_cohort(cohort(size), settings, tmp_path))


def test_bench_growth_of_folds(benchmark, cohort):
    """Dividing a cohort into five folds by patient, with near-duplicates kept together."""

    def make(size: int) -> Callable[[], object]:
        whole = cohort(size)
        names = whole.table["image_id"]
        pairs = pd.DataFrame({"image_id_a": names[: size // 10], "image_id_b": names[-(size // 10) :].to_numpy()})
        return lambda: patient_folds(whole, 5, groups=duplicate_groups(whole, pairs))

    measure(benchmark, make, FEW)


def test_bench_growth_of_pairing(benchmark):
    """`data overlap`: comparing the hashes of all pairs. The number of pairs is quadratic, so the time is as well."""

    def make(size: int) -> Callable[[], object]:
        hashes = np.random.default_rng(0).integers(0, 2, (size, HASH_SIZE**2)).astype(bool)
        return lambda: _near_pairs(hashes, candidate_distance(size))

    measure(benchmark, make)
