"""COVID-CXNet's figures of examples: what they show, what the network is asked, and CheXNet without fine-tuning."""

from __future__ import annotations

import io
import logging
from pathlib import Path
from types import SimpleNamespace

import cv2
import keras
import matplotlib.text
import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from covid_keras.data.phantom import phantom_image
from covid_keras.data.preparation import prepare_cohort
from covid_keras.explain import find_text
from covid_keras.models import build_chexnet
from covid_keras.models.cxnet import CHEXNET_FINDINGS
from covid_keras.preprocessing import LungBox
from covid_keras.reporting.examples import Examples
from covid_keras.training.runfolder import Execution
from papers.covid_cxnet import figures, networks, probing
from papers.covid_cxnet.cohorts import CAP, CLASSES, COVID, NORMAL
from papers.covid_cxnet.experiment import PAPER

SIZE = (48, 40)
LABELS = (NORMAL, COVID, COVID)


def texts(figure) -> str:
    """All text of a figure, which is drawn on the way."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    found = [text.get_text() for text in figure.findobj(matplotlib.text.Text)]
    return "\n".join(text for text in found if text)


def network(channels: int = 3, outputs: int = 1, seed: int = 0, size=SIZE) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*size, channels))
    x = keras.layers.Conv2D(4, 5, strides=4, activation="relu")(inputs)
    x = keras.layers.Flatten()(x)
    activation = "sigmoid" if outputs == 1 else "softmax"
    return keras.Model(inputs, keras.layers.Dense(outputs, activation=activation)(x), name=f"tiny{seed}")


@pytest.fixture
def protocol():
    return PAPER.protocol(
        "smoke", {"size": list(SIZE), "options": {"frame": [96, 80], "base_v1": [66, 70], "lime_samples": 12}}
    )


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    """Three phantoms, the second without any marker, with their lungs."""
    rows = []
    for number, label in enumerate(LABELS):
        made = phantom_image(number + 1, 224, marker="" if number == 1 else "R")
        paths = [str(tmp_path / f"{kind}{number}.png") for kind in ("image", "mask")]
        cv2.imwrite(paths[0], made.image)
        cv2.imwrite(paths[1], np.where(made.lungs > 0, 255, 0).astype(np.uint8))
        rows.append((f"i{number}", paths[0], f"p{number}", label, paths[1]))
    columns = ["image_id", "path", "patient_id", "label", "mask_path"]
    return Cohort(pd.DataFrame(rows, columns=columns), CLASSES)


@pytest.fixture
def examples_of(protocol, cohort, tmp_path):
    """The examples of any system, all taken for one class."""

    def make(name: str, model: keras.Model | None = None, predicted: str = COVID) -> Examples:
        preparation = PAPER.system(name).preparation(protocol)
        prepared = prepare_cohort(cohort, preparation, tmp_path / "cache", workers=1)
        predictions = cohort.table[["image_id", "label"]].assign(predicted=predicted)
        execution = Execution(tmp_path / "run", name, 0, 0)
        run = SimpleNamespace(protocol=protocol)
        return Examples(PAPER, run, execution, None, predictions, cohort, prepared, model)

    return make


# --- enhancement and the box of the lungs


def test_enhancement_is_shown_in_the_frame(examples_of):
    (first, words, figure), (second, _, beasf) = figures.enhancement_pictures(examples_of("base_v2"))
    assert (first, second) == ("Contrast enhancement", "BEASF")
    assert "Image i0, brought to 96 × 80 pixels" in words
    for one, count in ((figure, 4), (beasf, 7)):
        shown = [axes.images[0].get_array() for axes in one.axes if axes.images]
        assert len(shown) == count
        assert all(picture.shape == (96, 80) for picture in shown)


def test_the_box_is_the_one_that_is_cropped(examples_of, cohort):
    ((title, words, figure),) = figures.roi_pictures(examples_of("cxnet_v2"))
    assert title == "The box of the lungs"
    assert "does not mask" in words
    rows = np.array(figure.axes).reshape(3, 5)
    assert [axes.get_title("left") for axes in rows[0][1:]] == [
        "crop", "channel 1: BEASF", "channel 2: CLAHE", "channel 3: as cut",
    ]  # fmt: skip
    for (plain, crop, *fed), row in zip(rows, cohort.table.itertuples(), strict=True):
        (box,) = plain.patches
        left, top = round(box.get_x() + 0.5), round(box.get_y() + 0.5)
        cut = read_image(row.path)[top : top + round(box.get_height()), left : left + round(box.get_width())]
        np.testing.assert_array_equal(crop.images[0].get_array(), cut)
        assert cv2.imread(row.mask_path, 0)[top:, left:].sum() == cv2.imread(row.mask_path, 0).sum(), "all lung is in"
        assert crop.get_xlabel() == f"{100 * cut.size / 224**2:.0f} % of the picture"
        assert all(axes.images[0].get_array().shape == SIZE for axes in fed)
        assert plain.get_xlabel() == row.label
    assert {"lungs found", "box"} <= set(texts(figure).split("\n"))
    assert figures.roi_pictures(examples_of("cxnet_v1")) == []


def test_where_no_lung_was_found_the_box_says_so():
    image, nothing = np.full((40, 30), 99, np.uint8), np.zeros((40, 30), bool)
    case = figures.Roi(image, nothing, LungBox(0, 40, 0, 30, whole=True), np.zeros((8, 8, 3), np.uint8), "i", "l")
    assert "no lung found: all of it" in texts(figures.roi_figure([case], ["a", "b", "c"]))
    with pytest.raises(ValueError, match="no image"):
        figures.roi_figure([], [])


# --- explanations


def test_lime_stands_beside_both_kinds_of_grad_cam(examples_of):
    lime, variants, _ = figures.explanation_pictures(examples_of("cxnet_v2", network()))
    assert "LIME's linear model of 12 copies" in lime[1]
    shown = texts(lime[2])
    assert shown.index("i1") < shown.index("i2"), "COVID-19 first"
    assert "i0" not in shown, "two of them"
    assert shown.count("linear fit R²") == 2
    shown = texts(variants[2])
    assert shown.count(f"Grad-CAM, {COVID}") == shown.count(f"as the authors, {COVID}") == 2


@pytest.mark.parametrize(("name", "channels"), [("base_v1", 1), ("cxnet_v2", 3)])
def test_text_is_concealed_in_the_original_and_the_rest_repeated(examples_of, protocol, cohort, name, channels):
    preparation = PAPER.system(name).preparation(protocol)
    size = preparation.size
    asked = list(figures._ask(examples_of(name, network(channels, size=size))))
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


def test_the_panel_of_text_shows_both_probabilities(examples_of):
    model = network(1, size=(66, 70))
    *_, (title, words, figure) = figures.explanation_pictures(examples_of("base_v1", model))
    assert title == "Text concealed"
    assert "painted over" in words
    shown = texts(figure)
    assert shown.count("p = ") == 2 * 2
    assert "i1" not in shown, "nothing is written there"


def test_matched_images_are_not_prepared_again_without_their_template(examples_of):
    model = network(3, 3)
    titles = [entry[0] for entry in figures.explanation_pictures(examples_of("flat", model))]
    assert titles == ["LIME", "Grad-CAM and the authors' variant"]


def test_the_hierarchy_is_asked_at_the_level_that_decides(examples_of, protocol):
    parts = [network(seed=1), network(seed=2)]
    model = networks.hierarchy(protocol, CLASSES, parts)
    for predicted, level, index in ((NORMAL, 0, 0), (CAP, 1, 0), (COVID, 1, 1)):
        asked = list(figures._ask(examples_of("hierarchical", model, predicted)))
        assert {(one.network.name, one.index) for one in asked} == {(parts[level].name, index)}
        second = float(np.asarray(parts[level](asked[0].fed[None]))[0, 0])
        assert asked[0].probability == pytest.approx(second if index else 1 - second, abs=1e-6)


def test_each_network_is_asked_once_and_maps_come_back_in_order():
    picture = np.zeros((10, 12), np.uint8)

    def one(level: float, model: str) -> figures.Asked:
        return figures.Asked("", "", "", picture, None, np.full((5, 6, 1), level, np.float32), model, 1)

    calls = []

    def explain(model, images, indices):
        calls.append((model, len(images), list(indices)))
        return images[..., 0]

    maps = figures._heat(explain, [one(level, model) for level, model in ((0.1, "a"), (0.2, "b"), (0.3, "a"))])
    assert calls == [("a", 2, [1, 1]), ("b", 1, [1])]
    assert [float(map_.max()) for map_ in maps] == pytest.approx([0.1, 0.2, 0.3])
    assert all(map_.shape == picture.shape for map_ in maps)


def test_no_superpixel_is_lost_where_a_picture_is_narrow():
    assert figures._size_of_view((1000, 500), (48, 48)) == (320, 160)
    height, width = figures._size_of_view((1000, 500), (320, 320))
    assert (height, width) == (640, 320)


# --- CheXNet without fine-tuning


@pytest.fixture(scope="module")
def chexnet_file(tmp_path_factory) -> Path:
    """A file laid out as CheXNet's, random inside."""
    keras.utils.set_random_seed(3)
    path = tmp_path_factory.mktemp("chexnet") / "chexnet.h5"
    build_chexnet((32, 32, 3)).save(path)
    return path


def test_softmax_and_sigmoid_are_two_readings_of_the_same_logits(chexnet_file):
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    found = {
        kind: probing.probe(build_chexnet((32, 32, 3), kind, chexnet_file), images) for kind in ("softmax", "sigmoid")
    }
    for table in found.values():
        assert list(table.columns) == list(CHEXNET_FINDINGS)
        assert table.shape == (2, 14)
    np.testing.assert_allclose(found["softmax"].sum(axis=1), 1, atol=1e-5)
    odds = found["sigmoid"] / (1 - found["sigmoid"])
    np.testing.assert_allclose(odds.div(odds.sum(axis=1), axis=0), found["softmax"], rtol=1e-3)


def test_another_network_is_not_taken_for_chexnet():
    with pytest.raises(ValueError, match="14 outputs, this network 3"):
        probing.probe(network(outputs=3), np.zeros((1, *SIZE, 3), np.float32))


def test_images_are_scaled_as_asked(tmp_path):
    path = tmp_path / "grey.png"
    cv2.imwrite(str(path), np.full((50, 70), 102, np.uint8))
    plain = probing.images_for([path], 32)
    assert (plain.shape, plain.dtype) == ((1, 32, 32, 3), np.float32)
    np.testing.assert_allclose(plain, 0.4, atol=1e-6)
    scaled = probing.images_for([path, path], 16, upstream_scaling=True)
    assert scaled.shape == (2, 16, 16, 3)
    np.testing.assert_allclose(
        scaled[1, 3, 3], [(0.4 - 0.485) / 0.229, (0.4 - 0.456) / 0.224, (0.4 - 0.406) / 0.225], 1e-4
    )
    assert (probing.AS_AUTHORS.side, probing.AS_TRAINED.side) == (320, 224)


def test_each_finding_has_its_own_map():
    model = network(outputs=14)
    image = np.random.default_rng(1).random((*SIZE, 3), np.float32)
    maps = probing.finding_maps(model, image)
    assert maps.shape == (6, *SIZE)
    assert len({map_.tobytes() for map_ in maps}) == 6
    single = probing.finding_maps(model, image, ["Pneumonia"])
    np.testing.assert_allclose(maps[probing.PANELS.index("Pneumonia")], single[0], atol=1e-5)


@pytest.fixture
def tiny_chexnet(monkeypatch):
    """In place of CheXNet: a tiny network of fourteen outputs, for images of its size."""
    built = []

    def build(shape, activation, weights):
        built.append((shape, activation, weights))
        return network(outputs=14, size=shape[:2])

    monkeypatch.setattr(probing, "build_chexnet", build)
    return built


def probed(cohort: Cohort, changes: dict) -> Examples:
    """Examples of which CheXNet needs the files alone."""
    run = SimpleNamespace(protocol=PAPER.protocol("smoke", changes))
    return Examples(PAPER, run, None, None, pd.DataFrame(), cohort, None, None)


def test_figure_14_is_of_one_covid_and_one_normal_image(cohort, tiny_chexnet, tmp_path):
    (title, words, bars), *panels = probing.probe_pictures(probed(cohort, {"files": {"chexnet": "/chexnet.h5"}}))
    assert tiny_chexnet == [((320, 320, 3), "softmax", "/chexnet.h5"), ((224, 224, 3), "sigmoid", "/chexnet.h5")]
    assert title == "CheXNet without fine-tuning"
    assert "one probability of 1" in words
    shown = texts(bars)
    assert "i1 (COVID-19)" in shown
    assert "i0 (normal)" in shown
    assert "pleural thickening" in shown
    assert [len(axes.lines) for axes in bars.axes] == [2, 2]
    assert len(panels) == 2
    for (_, _, figure), name in zip(panels, ("i1", "i0"), strict=True):
        titles = [axes.get_title("left") for axes in figure.axes if axes.get_visible() and axes.images]
        assert titles[0] == "plain"
        assert [one.split(",")[0] for one in titles[1:7]] == list(probing.PANELS)
        assert name in figure.get_suptitle()


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
