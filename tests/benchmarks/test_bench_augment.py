"""Augmenting batches here against Keras' legacy ImageDataGenerator, with the settings of Hertel and Benlamri 2022.

Both rotate, shift, shear, zoom, mirror and standardise images in memory; the suite on every core, the generator on one,
as both come. With --benchmark-disable there is one round, which only shows that everything runs.
"""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage

pytest.importorskip("tensorflow")

from covid_keras.data.augment import Augmentation
from covid_keras.data.phantom import phantom_image
from covid_keras.data.pipeline import make_dataset
from covid_keras.data.scalings import samplewise_standardize
from tests.helpers.images import prepared_images
from tests.helpers.timing import in_turns

SIDE, BATCH, STEPS, EPOCHS = 64, 32, 8, 8
SETTINGS = {
    "rotation_range": 15,
    "width_shift_range": 0.15,
    "height_shift_range": 0.15,
    "shear_range": 0.15,
    "zoom_range": 0.15,
    "horizontal_flip": True,
}


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    few = np.stack([phantom_image(number, SIDE).image for number in range(8)])
    return np.tile(few[..., None], (BATCH * STEPS // len(few), 1, 1, 1))


@pytest.mark.slow
def test_bench_augment(benchmark, pixels, tmp_path):
    """Batches of 32 images of 64 x 64 a second, augmented and standardised, eight epochs with the pipeline's start."""
    legacy = pytest.importorskip("keras.src.legacy.preprocessing.image")
    if not hasattr(scipy.ndimage, "interpolation"):
        pytest.skip("Keras' ImageDataGenerator needs scipy.ndimage.interpolation, which this scipy lacks")
    prepared = prepared_images(tmp_path, pixels)
    dataset = make_dataset(
        prepared,
        range(len(pixels)),
        batch_size=BATCH,
        training=True,
        epochs=EPOCHS,
        augmentation=Augmentation.like_generator(**SETTINGS),
        scaling=samplewise_standardize,
    )
    generator = legacy.ImageDataGenerator(**SETTINGS, samplewise_center=True, samplewise_std_normalization=True)
    flow = generator.flow(pixels.astype(np.float32), batch_size=BATCH, seed=0)

    def ours() -> int:
        return sum(1 for _ in dataset)

    def theirs() -> int:
        return sum(len(flow[step]) > 0 for _ in range(EPOCHS) for step in range(STEPS))

    best = {name: one.wall for name, one in in_turns(benchmark, {"suite": ours, "generator": theirs}, 4).items()}
    assert ours() == theirs() == EPOCHS * STEPS
    for name, seconds in best.items():
        benchmark.extra_info[f"{name}_batches_per_s"] = round(EPOCHS * STEPS / seconds, 1)
    benchmark.extra_info["suite_over_generator"] = round(best["generator"] / best["suite"], 2)
    benchmark.pedantic(ours, rounds=1)
