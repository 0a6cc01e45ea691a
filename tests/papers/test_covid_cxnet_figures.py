"""COVID-CXNet's figures of examples: what they show, what the network is asked, and CheXNet without fine-tuning."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from covid_keras.data.prepared_images import prepare_cohort
from covid_keras.explain import find_text
from covid_keras.models import build_chexnet
from covid_keras.models.cxnet import CHEXNET_FINDINGS
from covid_keras.preprocessing import LungBox
from covid_keras.reporting.examples import Examples
from papers.covid_cxnet import figures, networks, probing
from papers.covid_cxnet.cohorts import CAP, CLASSES, COVID, NORMAL
from papers.covid_cxnet.paper import PAPER
from tests.helpers.made_results import made_run
from tests.helpers.pictures import phantom_cohort, texts

SIZE = (48, 40)


def network(channels: int = 3, outputs: int = 1, seed: int = 0, size=SIZE) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*size, channels))
    x = keras.layers.Conv2D(4, 5, strides=4, activation="relu")(inputs)
    x = keras.layers.Flatten()(x)
    activation = "sigmoid" if outputs == 1 else "softmax"
    return keras.Model(inputs, keras.layers.Dense(outputs, activation=activation)(x), name=f"tiny{seed}")


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Three phantoms, the second without any marker, with their lungs."""
    return phantom_cohort(tmp_path, (NORMAL, COVID, COVID), CLASSES, 224, unmarked=[1])


@pytest.fixture
def run(cohort):
    options = {"frame": [96, 80], "base_v1": [66, 70], "lime_samples": 12}
    protocol = PAPER.protocol("smoke", {"size": list(SIZE), "options": options})
    return made_run(PAPER, cohort, pd.Series(["train"] * 3), protocol=protocol)


@pytest.fixture
def examples_of(run, tmp_path):
    """The examples of any system, all taken for one class."""

    def make(name: str, model: keras.Model | None = None, predicted: str = COVID) -> Examples:
        execution = run.execution(name)
        prepared = prepare_cohort(run.cohort, execution.preparation, tmp_path / "cache", workers=1)
        predictions = run.cohort.table[["image_id", "label"]].assign(predicted=predicted)
        return Examples(execution, predictions, run.cohort, prepared, model)

    return make


def test_enhancement_is_shown_in_the_frame(examples_of):
    pictures = figures.enhancement_pictures(examples_of("base_v2"))
    for (_, words, figure), count in zip(pictures, (4, 7), strict=True):
        assert "Image i0, resized to 96 × 80 pixels" in words
        shown = [axes.images[0].get_array().shape for axes in figure.axes if axes.images]
        assert shown == [(96, 80)] * count


def test_the_box_is_the_one_that_is_cropped(examples_of, cohort):
    ((_, _, figure),) = figures.roi_pictures(examples_of("cxnet_v2"))
    rows = np.array(figure.axes).reshape(3, 5)
    names = ["crop", "channel 1: BEASF", "channel 2: CLAHE", "channel 3: as cropped"]
    assert [axes.get_title("left") for axes in rows[0][1:]] == names
    for (plain, crop, *fed), row in zip(rows, cohort.table.itertuples(), strict=True):
        (box,) = plain.patches
        left, top = round(box.get_x() + 0.5), round(box.get_y() + 0.5)
        cut = read_image(row.path)[top : top + round(box.get_height()), left : left + round(box.get_width())]
        np.testing.assert_array_equal(crop.images[0].get_array(), cut)
        lungs = cv2.imread(row.mask_path, 0)
        assert lungs[top:, left:].sum() == lungs.sum(), "all lung is in"
        assert crop.get_xlabel() == f"{100 * cut.size / 224**2:.0f} % of the picture"
        assert all(axes.images[0].get_array().shape == SIZE for axes in fed)
        assert plain.get_xlabel() == row.label
    assert {"lungs found", "box"} <= set(texts(figure).split("\n"))
    assert figures.roi_pictures(examples_of("cxnet_v1")) == []


def test_where_no_lung_was_found_the_box_says_so():
    image, nothing = np.full((40, 30), 99, np.uint8), np.zeros((40, 30), bool)
    case = figures.Roi(image, nothing, LungBox(0, 40, 0, 30, whole=True), np.zeros((8, 8, 3), np.uint8), "i", "l")
    assert "no lung found" in texts(figures.roi_figure([case], ["a", "b", "c"]))
    with pytest.raises(ValueError, match="no image"):
        figures.roi_figure([], [])


@pytest.mark.slow
def test_lime_stands_beside_both_kinds_of_grad_cam(examples_of):
    lime, variants, _ = figures.explanation_pictures(examples_of("cxnet_v2", network()))
    assert "12 copies" in lime[1]
    shown = texts(lime[2])
    assert shown.index("i1") < shown.index("i2"), "COVID-19 first"
    assert "i0" not in shown, "two of them"
    assert shown.count("linear fit R²") == 2
    shown = texts(variants[2])
    assert shown.count(f"Grad-CAM, {COVID}") == shown.count(f"as the authors, {COVID}") == 2


@pytest.mark.parametrize(("name", "channels"), [("base_v1", 1), ("cxnet_v2", 3)])
def test_text_is_concealed_in_the_original_and_the_rest_repeated(examples_of, run, cohort, name, channels):
    preparation = run.execution(name).preparation
    size = preparation.size
    asked = list(figures.ask(examples_of(name, network(channels, size=size))))
    for one, row in zip(asked, cohort.table.itertuples(), strict=True):
        found = figures._concealed(one, row, preparation, channels)
        image, lungs = read_image(row.path), cv2.imread(row.mask_path, 0) > 0
        written = find_text(image, lungs)[figures._window(lungs, preparation)].any()
        assert (found is not None) == written
        if found is None:
            continue
        after, text = found
        assert after.fed.shape == one.fed.shape == (*size, channels)
        assert not np.array_equal(after.fed, one.fed), "the network sees the difference"
        assert text.shape == one.image.shape == after.image.shape
        near = cv2.dilate(text.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
        np.testing.assert_array_equal(after.image[~near], one.image[~near])
        assert one.network is after.network


@pytest.mark.slow
def test_the_panel_of_text_shows_both_probabilities(examples_of):
    *_, (title, _, figure) = figures.explanation_pictures(examples_of("base_v1", network(1, size=(66, 70))))
    assert title == "Text concealed"
    shown = texts(figure)
    assert shown.count("p = ") == 2 * 2
    assert "i1" not in shown, "nothing is written there"


def test_matched_images_are_not_prepared_again_without_their_template(examples_of):
    titles = [entry[0] for entry in figures.explanation_pictures(examples_of("flat", network(3, 3)))]
    assert titles == ["LIME", "Grad-CAM and the authors' variant"]


def test_the_hierarchy_is_asked_at_the_level_that_decides(examples_of, run):
    parts = [network(seed=1), network(seed=2)]
    model = networks.hierarchy(run.protocol, CLASSES, parts)
    for predicted, level, index in ((NORMAL, 0, 0), (CAP, 1, 0), (COVID, 1, 1)):
        asked = list(figures.ask(examples_of("hierarchical", model, predicted)))
        assert {(one.network.name, one.index) for one in asked} == {(parts[level].name, index)}
        second = float(np.asarray(parts[level](asked[0].fed[None]))[0, 0])
        assert asked[0].probability == pytest.approx(second if index else 1 - second, abs=1e-6)


def test_each_network_is_asked_once_and_maps_come_back_in_order():
    picture = np.zeros((10, 12), np.uint8)
    asked = [
        figures.Asked("", "", "", picture, None, np.full((5, 6, 1), level, np.float32), model, 1)
        for level, model in ((0.1, "a"), (0.2, "b"), (0.3, "a"))
    ]
    calls = []

    def explain(model, images, indices):
        calls.append((model, len(images), list(indices)))
        return images[..., 0]

    maps = figures.heat_of(explain, asked)
    assert calls == [("a", 2, [1, 1]), ("b", 1, [1])]
    assert [float(map_.max()) for map_ in maps] == pytest.approx([0.1, 0.2, 0.3])
    assert all(map_.shape == picture.shape for map_ in maps)


def test_no_superpixel_is_lost_where_a_picture_is_narrow():
    assert figures._size_of_view((1000, 500), (48, 48)) == (320, 160)
    assert figures._size_of_view((1000, 500), (320, 320)) == (640, 320)


@pytest.fixture(scope="module")
def chexnet_file(tmp_path_factory) -> Path:
    """A file laid out as CheXNet's, random inside."""
    keras.utils.set_random_seed(3)
    path = tmp_path_factory.mktemp("chexnet") / "chexnet.h5"
    build_chexnet((32, 32, 3)).save(path)
    return path


@pytest.mark.slow
def test_softmax_and_sigmoid_are_two_readings_of_the_same_logits(chexnet_file):
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    softmax, sigmoid = (
        probing.probe(build_chexnet((32, 32, 3), kind, chexnet_file), images) for kind in ("softmax", "sigmoid")
    )
    assert list(softmax.columns) == list(sigmoid.columns) == list(CHEXNET_FINDINGS)
    assert softmax.shape == sigmoid.shape == (2, 14)
    np.testing.assert_allclose(softmax.sum(axis=1), 1, atol=1e-5)
    odds = sigmoid / (1 - sigmoid)
    np.testing.assert_allclose(odds.div(odds.sum(axis=1), axis=0), softmax, rtol=1e-3)


def test_another_network_is_not_taken_for_chexnet():
    with pytest.raises(ValueError, match="14 outputs"):
        probing.probe(network(outputs=3), np.zeros((1, *SIZE, 3), np.float32))


def test_images_are_scaled_as_asked(tmp_path):
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((50, 70), 102, np.uint8))
    plain = probing.images_for([path], 32)
    assert (plain.shape, plain.dtype) == ((1, 32, 32, 3), np.float32)
    np.testing.assert_allclose(plain, 0.4, atol=1e-6)
    scaled = probing.images_for([path, path], 16, upstream_scaling=True)
    assert scaled.shape == (2, 16, 16, 3)
    wanted = [(0.4 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.4 - 0.406) / 0.225]
    np.testing.assert_allclose(scaled[1, 3, 3], wanted, 1e-4)
    assert (probing.AS_AUTHORS.side, probing.AS_TRAINED.side) == (320, 224)


def test_each_finding_has_its_own_map():
    model = network(outputs=14)
    image = np.random.default_rng(1).random((*SIZE, 3), np.float32)
    maps = probing.finding_maps(model, image)
    assert maps.shape == (6, *SIZE)
    assert len({map_.tobytes() for map_ in maps}) == 6
    single = probing.finding_maps(model, image, ["Pneumonia"])
    np.testing.assert_allclose(maps[probing.PANELS.index("Pneumonia")], single[0], atol=1e-5)


def probed(cohort: Cohort, changes: dict) -> Examples:
    """Examples of a run that tests all images; CheXNet needs their files alone."""
    protocol = PAPER.protocol("smoke", changes)
    run = made_run(PAPER, cohort, pd.Series(["test"] * len(cohort)), protocol=protocol)
    return Examples(run.execution("cxnet_v1"), pd.DataFrame(), cohort, None, None)


@pytest.fixture
def chexnets(monkeypatch) -> list:
    """The CheXNets built in place of the real ones: shape, activation, file."""
    built: list = []

    def build(shape, activation, weights):
        built.append((shape, activation, weights))
        return network(outputs=14, size=shape[:2])

    monkeypatch.setattr(probing, "build_chexnet", build)
    monkeypatch.setattr(probing, "ask", lambda examples: iter(()))
    return built


@pytest.mark.slow
def test_figure_14_asks_the_test_images_and_shows_one_of_each_class(cohort, chexnets):
    given = {"files": {"chexnet": "/chexnet.h5"}}
    (title, words, bars), *panels = probing.probe_pictures(probed(cohort, given))
    assert chexnets == [((320, 320, 3), "softmax", "/chexnet.h5"), ((224, 224, 3), "sigmoid", "/chexnet.h5")]
    assert title == "CheXNet without fine-tuning"
    assert "COVID-19: " in words
    assert "of 2; normal: " in words
    shown = texts(bars)
    assert all(word in shown for word in ("COVID-19, median of 2", "normal, median of 1", "pleural thickening"))
    for (_, _, figure), name in zip(panels, ("i1", "i0"), strict=True):
        titles = [axes.get_title("left") for axes in figure.axes if axes.get_visible() and axes.images]
        assert titles[0] == "plain"
        assert [one.split(",")[0] for one in titles[1:7]] == list(probing.PANELS)
        assert name in figure.get_suptitle()
    (_, _, fewer), *_ = probing.probe_pictures(probed(cohort, given | {"options": {"probed": 1}}))
    assert "COVID-19, median of 1" in texts(fewer)


@pytest.mark.slow
def test_figure_16_is_one_image_before_and_after_fine_tuning(cohort, chexnets, monkeypatch):
    fed = np.random.default_rng(0).random((*SIZE, 3), np.float32)
    one = figures.Asked("i1", COVID, COVID, np.zeros((60, 50), np.uint8), None, fed, network(), 1)
    monkeypatch.setattr(probing, "ask", lambda examples: iter([dataclasses.replace(one, label=NORMAL), one]))
    *_, (title, _, figure) = probing.probe_pictures(probed(cohort, {"files": {"chexnet": "/chexnet.h5"}}))
    assert title == "CheXNet and COVID-CXNet"
    shown = texts(figure)
    assert "CheXNet: " in shown
    assert f"COVID-CXNet: {COVID}, p = {one.probability:.2f}" in shown
    assert "i1" in figure.get_suptitle()


def test_without_chexnets_file_nothing_is_asked(cohort, monkeypatch, caplog):
    assert probing.probe_pictures(probed(cohort, {})) == []

    def refuse(*_):
        raise UserError("/chexnet.h5", "holds another network", "Give CheXNet's")

    monkeypatch.setattr(probing, "build_chexnet", refuse)
    with caplog.at_level(logging.WARNING):
        assert probing.probe_pictures(probed(cohort, {"files": {"chexnet": "/chexnet.h5"}})) == []
    assert "holds another network" in caplog.text
    with pytest.raises(ValueError, match="no reading"):
        probing.findings_figure({})
