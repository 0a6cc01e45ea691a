"""Preparing images, feeding them, and training on them, each against the obvious alternative.

Real radiographs where there are some, else phantoms. Ratios are of the best of several rounds taken in turns;
with --benchmark-disable there is one round, which only shows that everything runs.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import phantom_image
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import PreparedImages, prepare_cohort
from tests.helpers.timing import Best, in_turns

tf = pytest.importorskip("tensorflow")

import keras  # noqa: E402

from covid_keras.data.augment import Augmentation  # noqa: E402
from covid_keras.data.pipeline import make_dataset, steps_per_epoch  # noqa: E402

pytestmark = pytest.mark.slow

IMAGES = 192
BATCH = 16
SIDE = 224
TABIK = Augmentation(rotation=5, flip=True)
EVERYTHING = Augmentation(rotation=10, shift=(0.05, 0.05), zoom=(0.9, 1.1), shear=5, flip=True)


@pytest.fixture(scope="module")
def files(request, tmp_path_factory) -> list[str]:
    """Paths of IMAGES radiographs."""
    try:
        data: Path = request.getfixturevalue("real_data")
    except pytest.skip.Exception:
        folder = tmp_path_factory.mktemp("phantoms")
        for number in range(24):
            cv2.imwrite(str(folder / f"{number}.jpg"), phantom_image(number, 512).image)
        found = sorted(map(str, folder.glob("*.jpg")))
    else:
        found = sorted(map(str, (data / "covid-chestxray-dataset" / "images").glob("*.jpg")))
    return list(itertools.islice(itertools.cycle(found), IMAGES))


@pytest.fixture(scope="module")
def cohort(files) -> Cohort:
    names = [f"made/{number}" for number in range(len(files))]
    return Cohort(pd.DataFrame({"image_id": names, "path": files, "patient_id": names, "label": "x"}), ("x",))


@pytest.fixture(scope="module")
def prepared(cohort, tmp_path_factory) -> PreparedImages:
    return prepare_cohort(cohort, Preparation(size=(SIDE, SIDE)), tmp_path_factory.mktemp("cache"))


def decode_and_resize(path: str) -> np.ndarray:
    return cv2.resize(cv2.imread(path, cv2.IMREAD_GRAYSCALE), (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def bare(files: list[str]) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(decode_and_resize, files):
            pass


def note(benchmark, best: dict[str, Best], reference: str, images: int) -> None:
    """Note each one's images/s as a multiple of the reference's.

    By the clock, and by processor time: where every core is busy that is the same, and other work on the machine
    does not disturb it.
    """
    benchmark.extra_info[f"{reference}_images_per_s"] = round(images / best[reference].wall)
    for name, time_taken in best.items():
        if name != reference:
            ratios = [round(r / t, 3) for r, t in zip(best[reference], time_taken, strict=True)]
            benchmark.extra_info[f"{name}_over_{reference}"] = ratios[0]
            benchmark.extra_info[f"{name}_over_{reference}_processor"] = ratios[1]


def test_bench_prepare(benchmark, cohort, files, tmp_path):
    """Cold preparation (hash, decode, resize, store) and a second call, against decode and resize alone."""
    folders = (tmp_path / str(number) for number in itertools.count())
    settings = Preparation(size=(SIDE, SIDE))
    distinct = len(set(files))
    warm = next(folders)
    prepare_cohort(cohort, settings, warm)
    runs = {
        "cold": lambda: prepare_cohort(cohort, settings, next(folders)),
        "bare_decode_resize": lambda: bare(files[:distinct]),
        "reused": lambda: prepare_cohort(cohort, settings, warm),
    }
    note(benchmark, in_turns(benchmark, runs), "bare_decode_resize", distinct)
    result = benchmark.pedantic(lambda: prepare_cohort(cohort, settings, next(folders)), rounds=1)
    assert result.prepared >= distinct


@pytest.mark.parametrize("memory", [False, True], ids=["from_cache", "from_memory"])
def test_bench_feed(benchmark, prepared, files, memory):
    """Batches, plain and augmented, against decoding and resizing anew in every epoch."""
    epochs = 4

    def feed(augmentation: Augmentation | None, calls: int | None = None) -> Callable[[], int]:
        settings = {"training": True, "augmentation": augmentation, "epochs": epochs, "memory": memory}
        settings["num_parallel_calls"] = calls
        dataset = make_dataset(prepared, np.arange(IMAGES), np.zeros(IMAGES, int), BATCH, **settings)
        return lambda: sum(1 for _ in dataset)

    runs = {
        "plain": feed(None),
        "tabik": feed(TABIK),
        "all_augmentations": feed(EVERYTHING),
        "all_augmentations_one_call": feed(EVERYTHING, 1),
        "all_augmentations_two_calls": feed(EVERYTHING, 2),
        "bare_decode_resize": lambda: bare(files * epochs),
    }
    note(benchmark, in_turns(benchmark, runs), "bare_decode_resize", epochs * IMAGES)
    benchmark.pedantic(feed(EVERYTHING), rounds=1)


def small_cnn() -> keras.Model:
    """A classifier far cheaper a step than ResNet-50, so feeding it is harder."""
    images = keras.Input((SIDE, SIDE, 1))
    x = images
    for filters in (16, 32, 64, 128):
        x = keras.layers.Conv2D(filters, 3, strides=2, padding="same", use_bias=False)(x)
        x = keras.layers.Activation("relu")(keras.layers.BatchNormalization()(x))
        x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(x))
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


def test_bench_fit(benchmark, prepared):
    """`fit` on the pipeline against `fit` on a float32 tensor in memory; aim 0.95 or better."""
    n = 32 if benchmark.disabled else 96
    labels = np.arange(IMAGES) % 2
    pixels = tf.constant(prepared.batch(range(n)), tf.float32) / 255
    model = small_cnn()

    def on_pipeline(**how) -> Callable[[], object]:
        # Made once for many epochs in a real run too.
        dataset = make_dataset(prepared, np.arange(n), labels, BATCH, training=True, epochs=2, **how)

        def run() -> object:
            return model.fit(dataset, steps_per_epoch=steps_per_epoch(n, BATCH), epochs=2, verbose=0, shuffle=False)

        return run

    model.fit(pixels, labels[:n], batch_size=BATCH, epochs=1, verbose=0)  # compiles
    runs = {
        "tensor": lambda: model.fit(pixels, labels[:n], batch_size=BATCH, epochs=2, verbose=0),
        "cache": on_pipeline(memory=False),
        "memory": on_pipeline(memory=True),
        "augmented": on_pipeline(augmentation=EVERYTHING),
    }
    note(benchmark, in_turns(benchmark, runs), "tensor", 2 * n)
    history = benchmark.pedantic(on_pipeline(), rounds=1)
    assert len(history.history["loss"]) == 2
