"""The check of the view, on phantoms, made masks and colours, and on real pictures."""

from __future__ import annotations

import csv
import math

import cv2
import keras
import numpy as np
import pytest
import skimage.data
from PIL import Image

import covid_keras.models
from covid_keras.common.errors import UserError
from covid_keras.data import read_image, write_image
from covid_keras.data.images import Radiograph, read_radiograph
from covid_keras.data.phantom import phantom_image
from covid_keras.inference.view_check import (
    VIEW_WEIGHTS,
    ViewNetwork,
    check_view,
    colour_of,
    find_view_network,
    signs_of,
)
from covid_keras.models import LungSegmenter, registry, save_weights
from covid_keras.models.registry import WeightEntry, load_registry
from tests.helpers.dicom import write_dicom
from tests.helpers.networks import registered


class Answer:
    """A view network that says what it is told to, and counts how often it was asked."""

    def __init__(self, lateral: float) -> None:
        self.lateral, self.asked = lateral, 0

    def lateral_probability(self, image) -> float:
        self.asked += 1
        return self.lateral


@pytest.fixture(scope="module")
def segmenter() -> LungSegmenter:
    return LungSegmenter()


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    return phantom_image(1, (200, 240), "normal", 0).image


def _check(path, image, network, segmenter):
    write_image(path, image)
    return check_view(read_radiograph(path), network, segmenter)


# --- the verdict


@pytest.mark.parametrize(("lateral", "view"), [(0.1, "frontal"), (0.49, "frontal"), (0.5, "lateral"), (0.9, "lateral")])
def test_the_network_decides_between_the_views(chest, segmenter, tmp_path, lateral, view):
    verdict = _check(tmp_path / "chest.png", chest, Answer(lateral), segmenter)
    assert verdict.view == view
    assert verdict.probability == pytest.approx(lateral if view == "lateral" else 1 - lateral)
    assert verdict.reason == ("" if view == "frontal" else f"is a lateral radiograph (probability {lateral:.3f})")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda image: np.stack([image, np.roll(image, 60, 1), image[::-1]], -1), "it is in colour"),
        (lambda image: 255 - image, "unsure of its mask"),
        (lambda image: np.full_like(image, 90), "unsure of its mask"),
        (lambda image: skimage.data.camera(), "unsure of its mask"),
    ],
)
def test_what_is_no_chest_radiograph_is_not_shown_to_the_network(chest, segmenter, tmp_path, change, words):
    network = Answer(0.0)
    verdict = _check(tmp_path / "other.png", np.ascontiguousarray(change(chest)), network, segmenter)
    assert (verdict.view, network.asked) == ("none", 0)
    assert math.isnan(verdict.probability)
    assert words in verdict.reason


class Masked:
    """A segmenter that is sure of a given mask."""

    size = 100

    def __init__(self, mask: np.ndarray) -> None:
        self.mask = mask

    def probabilities(self, images):
        return np.stack([self.mask / np.float32(255)] * len(images))

    def to_mask(self, probability, shape):
        return self.mask


def _mask(*boxes) -> np.ndarray:
    mask = np.zeros((100, 100), np.uint8)
    for box in boxes:
        mask[box] = 255
    return mask


TWO = _mask(np.s_[20:80, 10:40], np.s_[20:80, 60:90])
ONE = _mask(np.s_[20:80, 20:80])
# An L on one side: its hull is twice as large.
BENT = _mask(np.s_[20:80, 10:16], np.s_[74:80, 10:40], np.s_[20:80, 60:70])


@pytest.mark.parametrize(
    ("mask", "outside", "view", "words"),
    [
        (TWO, 120, "frontal", ""),
        (TWO, 250, "none", "its lungs are black"),
        (ONE, 120, "none", "not two lungs side by side"),
        (_mask(), 120, "none", "unsure of its mask"),
        (BENT, 120, "none", "lungs of odd shape"),
    ],
)
def test_lungs_that_are_no_frontal_ones(tmp_path, mask, outside, view, words):
    image = np.where(mask > 0, 100, outside).astype(np.uint8)
    image[0, :2] = 0, 255
    verdict = _check(tmp_path / "made.png", image, Answer(0.2), Masked(mask))
    assert verdict.view == view
    assert words in verdict.reason


def test_one_lung_is_lateral_where_the_network_says_so(tmp_path):
    image = np.where(ONE > 0, 100, 120).astype(np.uint8)
    assert _check(tmp_path / "made.png", image, Answer(0.8), Masked(ONE)).view == "lateral"


def test_signs_are_what_they_say():
    grey = np.where(TWO > 0, 0.25, 0.75).astype(np.float32)
    grey[0] = 0  # outside the box of the lungs
    sure = signs_of(grey, TWO / np.float32(255), TWO)
    assert (sure.haze, sure.darkness, sure.solidity, sure.doubt) == (0, 0.5, 1, "")
    half = signs_of(grey, np.full((100, 100), 0.3, np.float32), TWO)
    assert half.haze == pytest.approx(0.7), "(1 - p) where p is the same everywhere"
    none = signs_of(grey, np.zeros((100, 100), np.float32), _mask())
    assert (none.haze, none.darkness, none.solidity) == (1, 0, 0)
    bent = signs_of(grey, BENT / np.float32(255), BENT).solidity
    # corners of pixels: the L is 59 x 29 with legs 5 wide, its hull loses a triangle
    assert bent == pytest.approx((59 * 5 + 24 * 5) / (59 * 29 - 24 * 54 / 2), abs=0.02)


# --- colours


def test_grey_in_any_guise_has_no_colour(chest, tmp_path):
    rgb = Image.fromarray(chest).convert("RGB")
    hidden = np.dstack([chest, np.roll(chest, 60, 1), chest[::-1], np.zeros_like(chest)])  # transparent all over
    for name, picture in {
        "grey.png": Image.fromarray(chest),
        "rgb.png": rgb,
        "rgb.jpg": rgb,
        "palette.png": rgb.quantize(64),
        "deep.png": Image.fromarray(chest.astype(np.uint16) * 200),
        "bits.png": Image.fromarray(chest > 100),
        "hidden.png": Image.fromarray(hidden),
    }.items():
        picture.save(tmp_path / name)
        assert colour_of(tmp_path / name) < 0.5, name


def test_one_tint_and_a_coloured_mark_are_no_colour_picture(chest, tmp_path):
    grey = chest[..., None] / 255
    blue_film = (255 * (1 - (1 - grey) * np.array([1.0, 0.8, 0.4]))).astype(np.uint8)
    sepia = (255 * grey * np.array([1.0, 0.85, 0.6])).astype(np.uint8)
    marked = np.repeat(chest[..., None], 3, axis=2)
    marked[20:40, 20:40] = 255, 0, 0  # 0.8 % of the picture
    for name, picture in {"film": blue_film, "sepia": sepia, "marked": marked}.items():
        assert colour_of(write_image(tmp_path / f"{name}.png", picture)) < 3, name


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_a_photograph_is_a_colour_picture(suffix, tmp_path):
    Image.fromarray(skimage.data.astronaut()).save(tmp_path / f"a.{suffix}")
    assert colour_of(tmp_path / f"a.{suffix}") > 10


@pytest.mark.parametrize("preamble", [True, False])
def test_dicom(chest, tmp_path, preamble):
    def write(name, pixels):
        return write_dicom(tmp_path / name, pixels, preamble=preamble)

    photograph = skimage.data.astronaut()[::2, ::2].copy()
    assert colour_of(write("grey.dcm", chest)) == 0
    assert colour_of(write("rgb.dcm", np.repeat(chest[..., None], 3, axis=2))) < 0.5
    assert colour_of(write("photograph.dcm", photograph)) > 10


# --- the registered network


def _build_bright(input_shape) -> keras.Model:
    """Softmax over (0, 8 x mean - 4): bright is the second class."""
    inputs = keras.Input(input_shape, name="radiograph")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax", name="answer")(x), name="bright")
    kernel = np.zeros((input_shape[2], 2))
    kernel[:, 1] = 8 / input_shape[2]
    model.get_layer("answer").set_weights([kernel, np.array([0.0, -4.0])])
    return model


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Register a view network set by hand, in place of the real one."""
    known = {name: entry for name, entry in load_registry().items() if name != VIEW_WEIGHTS}
    monkeypatch.setattr(registry, "load_registry", lambda: known)
    monkeypatch.setattr(covid_keras.models, "build_bright", _build_bright, raising=False)

    def add(**given) -> WeightEntry:
        shape = given.get("input_shape", (32, 32, 1))
        file = save_weights(_build_bright(shape), tmp_path / "view.h5")
        fields = {"classes": ("frontal", "lateral"), "builder": "build_bright"}
        known[VIEW_WEIGHTS] = registered(VIEW_WEIGHTS, file, shape, **(fields | given))
        return known[VIEW_WEIGHTS]

    return add


@pytest.mark.parametrize(
    ("fields", "factor", "second"),
    [
        ({}, 1 / 255, True),
        ({"input_shape": (32, 32, 3)}, 1 / 255, True),
        ({"scaling": "0-255"}, 1, True),
        ({"classes": ("lateral", "frontal")}, 1 / 255, False),
    ],
)
def test_the_registered_network_is_fed_as_its_entry_says(register, chest, tmp_path, fields, factor, second):
    register(**fields)
    path = write_image(tmp_path / "chest.png", chest)
    mean = cv2.resize(chest, (32, 32), interpolation=cv2.INTER_AREA).mean() * factor
    expected = 1 / (1 + math.exp(4 - 8 * mean))
    found = find_view_network().load().lateral_probability(path)
    assert found == pytest.approx(expected if second else 1 - expected, abs=1e-5)


def test_no_network_no_check(register):
    with pytest.raises(UserError, match="not registered"):
        find_view_network()
    register(sha256="0" * 64)
    with pytest.raises(UserError, match="is not the registered file"):
        find_view_network()


@pytest.mark.parametrize("fields", [{"classes": ("frontal", "side")}, {"builder": ""}, {"scaling": "z"}])
def test_entries_of_no_view_network(register, fields):
    with pytest.raises(UserError, match="arias_view: is not a view network"):
        ViewNetwork(register(**fields))


# --- real pictures


def _cohen(real_data, wanted) -> list:
    folder = real_data / "covid-chestxray-dataset"
    with open(folder / "metadata.csv", newline="") as stream:
        names = [row["filename"] for row in csv.DictReader(stream) if wanted(row)]
    return [folder / "images" / name for name in dict.fromkeys(names) if (folder / "images" / name).is_file()]


def _refused(paths, network, segmenter) -> list:
    return [path for path in paths if check_view(read_radiograph(path), network, segmenter).view != "frontal"]


@pytest.mark.real
def test_real_pictures_without_the_view_network(segmenter, real_data):
    """A part of what the docstring of `covid_keras.inference.view_check` counts; the lungs alone tell even laterals."""
    network = Answer(0.0)
    frontal = _cohen(real_data, lambda row: row["view"] in ("PA", "AP", "AP Supine"))[::60]
    frontal += sorted((real_data / "nih-chestxray14-subset" / "No_findings").glob("*.jpg"))[::80]
    frontal += sorted((real_data / "MontgomerySet" / "CXR_png").glob("*"))[::12]  # lungs as black as in a CT slice
    assert len(frontal) >= 24
    assert not _refused(frontal, network, segmenter)
    slices = _cohen(real_data, lambda row: row["modality"] == "CT")
    assert len(_refused(slices, network, segmenter)) >= 0.5 * len(slices) > 0
    lateral = _cohen(real_data, lambda row: row["view"] == "L")[::8]
    assert lateral
    assert _refused(lateral, network, segmenter) == lateral
    for path in frontal[:2]:
        lying = np.ascontiguousarray(np.rot90(read_image(path)))
        assert check_view(Radiograph(lying), network, segmenter).view == "none"


@pytest.mark.parametrize("name", ["coins", "page", "moon", "cat", "coffee"])
def test_photographs_made_grey_are_refused(name, segmenter, tmp_path):
    picture = getattr(skimage.data, name)()
    Image.fromarray(picture).convert("L").save(tmp_path / "grey.png")
    assert _refused([tmp_path / "grey.png"], Answer(0.0), segmenter)


@pytest.mark.real
def test_the_shipped_view_network_on_real_radiographs(segmenter, real_data):
    if VIEW_WEIGHTS not in load_registry():
        pytest.skip(f"{VIEW_WEIGHTS} is not registered yet")
    network = find_view_network().load()
    frontal = _cohen(real_data, lambda row: row["view"] in ("PA", "AP"))[::40]
    assert len(_refused(frontal, network, segmenter)) <= 1
    lateral = _cohen(real_data, lambda row: row["view"] == "L")[::4]
    views = [check_view(read_radiograph(path), network, segmenter).view for path in lateral]
    assert "frontal" not in views
    assert views.count("lateral") >= 0.6 * len(views)
