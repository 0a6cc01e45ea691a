"""Heat maps of a run's examples: over what the network saw, at the layer that the system names, their size said."""

from __future__ import annotations

import dataclasses
import re
from types import SimpleNamespace

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import prepare_cohort, prepare_image
from covid_keras.explain.gradcam import grad_cam
from covid_keras.explain.where import heat_in_lungs
from covid_keras.paper.systems import Trained
from covid_keras.reporting import explanation_figure, lung_heat
from covid_keras.reporting.examples import Examples, _framed, explain_examples, lungs_as_fed
from covid_keras.reporting.pictures import Explanation, cells_words
from tests.helpers.pages import words_of

SHAPE = (60, 40)
CLASSES = ("N", "P")


def radiograph(folder) -> tuple[str, str, np.ndarray, np.ndarray]:
    """Write an image without black pixels and its mask, whose lower half is lung; return both and their files."""
    image = np.random.default_rng(0).integers(50, 200, SHAPE, dtype=np.uint8)
    mask = np.zeros(SHAPE, np.uint8)
    mask[30:50, 5:35] = 255
    files = str(folder / "image.png"), str(folder / "mask.png")
    for path, pixels in zip(files, (image, mask), strict=True):
        cv2.imwrite(path, pixels)
    return *files, image, mask


@pytest.mark.parametrize("kept", ["keep", "remove"])
@pytest.mark.parametrize("crop", [None, "lungs"])
def test_the_picture_is_masked_as_the_network_sees_it(tmp_path, kept, crop):
    """Fed at its own size, the prepared image is the picture, pixel for pixel."""
    path, _, image, mask = radiograph(tmp_path)
    preparation = Preparation(mask=kept, crop=crop, interpolation="linear")
    shown, lungs = _framed(image, mask, preparation)
    fed = prepare_image(path, mask, dataclasses.replace(preparation, size=shown.shape))[..., 0]
    np.testing.assert_array_equal(shown, fed)
    np.testing.assert_array_equal(shown == 0, (lungs == 0) if kept == "keep" else (lungs > 0))
    assert lungs.any(), "the lungs can be outlined still"
    assert image.all(), "what was given stays as it was"


def test_without_lungs_the_whole_image_was_fed_and_is_shown():
    image = np.full(SHAPE, 90, np.uint8)
    for kept in ("keep", "remove"):
        assert (_framed(image, np.zeros_like(image), Preparation(mask=kept))[0] == 90).all()
        # A single pixel of lung that the frame loses.
        speck = np.zeros_like(image)
        speck[1, 1] = 255
        assert (_framed(image, speck, Preparation(mask=kept, frame=(6, 4)))[0] == 90).all()
        assert not (_framed(image, speck, Preparation(mask=kept))[0] == 90).all()


def test_lungs_stay_where_they_are_for_the_shares(tmp_path):
    path, mask_path, _, mask = radiograph(tmp_path)
    for kept in ("keep", "remove"):
        preparation = Preparation(size=SHAPE, mask=kept)
        row = SimpleNamespace(path=path, mask_path=mask_path)
        np.testing.assert_array_equal(lungs_as_fed(row, preparation), mask)
    with pytest.raises(UserError, match=re.escape(str(path))):
        lungs_as_fed(SimpleNamespace(path=path, mask_path=""), Preparation(size=SHAPE))


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((32, 32, 1))
    x = keras.layers.Conv2D(4, 3, strides=4, padding="same", activation="relu", name="block5_conv3")(inputs)
    x = keras.layers.MaxPooling2D(2, name="block5_pool")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))


def examples(folder, system: Trained, model: keras.Model) -> Examples:
    path, mask_path, *_ = radiograph(folder)
    row = {"image_id": "i", "path": path, "label": "P", "patient_id": "p", "mask_path": mask_path}
    cohort = Cohort(pd.DataFrame([row]), CLASSES, "one")
    execution = SimpleNamespace(system=system, protocol=None, scored=CLASSES, classes=CLASSES, cohort=cohort)
    prepared = prepare_cohort(cohort, system.preparation(None), folder / "cache")
    predictions = cohort.table.assign(predicted="P", score_N=0.2, score_P=0.8)
    return Examples(execution, predictions, cohort, prepared, model)


class AtConvolution(Trained):
    """A system whose maps are taken at a layer that it names."""

    heat_layer = "block5_conv"


def removed(kind: type[Trained]) -> Trained:
    """A system that is fed images without their lungs."""
    preparation = Preparation(size=(32, 32), mask="remove", interpolation="linear")
    return kind("e", "Part e", lambda protocol: preparation, channels=1, build=lambda protocol, classes: network())


@pytest.mark.parametrize(
    ("kind", "layer", "cells"), [(Trained, "block5_pool", (4, 4)), (AtConvolution, "block5_conv3", (8, 8))]
)
def test_examples_are_explained_at_the_layer_named_over_what_was_fed(tmp_path, kind, layer, cells):
    model = network()
    asked = examples(tmp_path, removed(kind), model)
    (case,) = explain_examples(asked)
    assert case.cells == (cells, cells)
    fed = asked.prepared.load(0)[None] / np.float32(255)
    for index, heat in ((1, case.factual), (0, case.counterfactual)):
        expected = cv2.resize(grad_cam(model, fed, index, layer)[0], heat.shape[::-1])
        np.testing.assert_allclose(heat, np.clip(expected, 0, 1), atol=1e-5)
    inside = cv2.erode(case.mask, np.ones((15, 15)))
    assert inside.any()
    assert not case.image[inside > 0].any(), "removed lungs are black"
    assert case.image[: case.image.shape[0] // 3].min() > 0


@pytest.mark.parametrize(("kind", "layer"), [(Trained, "block5_pool"), (AtConvolution, "block5_conv3")])
def test_the_shares_of_a_whole_set_are_of_the_layer_named(monkeypatch, kind, layer):
    model, images = network(), np.random.default_rng(2).random((3, 32, 32, 1), np.float32)
    masks = np.zeros((3, 32, 32), np.uint8)
    masks[:, :10, :9] = 255
    frame = pd.DataFrame({"image_id": list("abc"), "patient_id": list("abc")})
    frame = frame.assign(repeat=0, fold=0, split="test", predicted="N", label="N")
    batch = lung_heat._Batch(model, images, masks, 0)
    monkeypatch.setattr(lung_heat, "_batches", lambda *given: iter([batch]))
    execution = SimpleNamespace(system=removed(kind), repeat=0, fold=0, network=model)
    results = SimpleNamespace(
        executions_of=lambda name: [(execution, {})],
        predictions_of=lambda name: frame,
        paper=SimpleNamespace(system=lambda name: execution.system),
    )
    found = lung_heat._shares_of(results, "e")
    maps = grad_cam(model, images, found["class_index"].to_numpy(), layer)
    expected = [heat_in_lungs(heat, mask) for heat, mask in zip(maps, masks, strict=True)]
    np.testing.assert_allclose(found["heat_in_lungs"], expected, atol=1e-5)


def test_a_figure_says_of_how_many_cells_its_maps_are():
    square = np.eye(8, dtype=np.float32)
    case = Explanation(np.zeros((8, 8), np.uint8), square, square, "P", "P", "N", 0.8, cells=((4, 4), (4, 4)))
    assert cells_words([case, case]) == "each a map of 4 x 4 cells"
    wide = dataclasses.replace(case, cells=((4, 4), (7, 5)))
    assert cells_words([case, wide]) == "each a map of 4 x 4 or 7 x 5 cells"
    for cases, said in (([wide], True), ([dataclasses.replace(case, cells=())], False)):
        texts = words_of(explanation_figure(cases))
        assert "heat (share of the map's maximum)" in texts
        assert ("each a map of 4 x 4 or 7 x 5 cells" in texts) is said
