"""Lungs kept and lungs removed from masks that are made once, against marking the lungs anew for each part.

Parts d and e of Arias-Garzón et al. differ only in which side of the mask is kept, so the U-Net, by far the slowest
step, is asked once per image. With --benchmark-disable there is one round, which only shows that everything runs.
"""

from __future__ import annotations

import itertools

import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import phantom_image
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import prepare_cohort
from tests.helpers.images import cohort_of
from tests.helpers.timing import in_turns

pytest.importorskip("tensorflow")

from covid_keras.models.lung_masks import segment_cohort

pytestmark = pytest.mark.slow

IMAGES = 8
PARTS = (None, "keep", "remove")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    images = {f"made/{number}": phantom_image(number, 256).image for number in range(IMAGES)}
    return cohort_of(tmp_path_factory.mktemp("phantoms"), images)


def test_bench_parts(benchmark, cohort, tmp_path):
    """All three parts of each image, the masks made once; ratio against a U-Net pass for d and another for e."""
    folders = (tmp_path / str(number) for number in itertools.count())

    def shared() -> int:
        cache = next(folders)
        marked, _ = segment_cohort(cohort, cache)
        return sum(
            prepare_cohort(marked, Preparation(size=(64, 64), mask=mask), cache / "prepared").prepared for mask in PARTS
        )

    def apart() -> int:
        done = 0
        for mask in PARTS:
            cache = next(folders)
            marked = cohort if mask is None else segment_cohort(cohort, cache)[0]
            done += prepare_cohort(marked, Preparation(size=(64, 64), mask=mask), cache / "prepared").prepared
        return done

    assert shared() == apart() == len(PARTS) * IMAGES
    best = in_turns(benchmark, {"shared": shared, "apart": apart})
    benchmark.extra_info["shared_masks_over_masks_of_each_part"] = round(best["apart"].wall / best["shared"].wall, 3)
    benchmark.pedantic(shared, rounds=1)
