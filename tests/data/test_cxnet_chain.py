"""COVID-CXNet's chain from file to network, against its steps written out one by one."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.data import prepared_images
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.preparation import Preparation, crop_box
from covid_keras.data.prepared_images import prepare_cohort, prepare_image
from covid_keras.preprocessing import beasf, match_histogram
from covid_keras.reporting.examples import _framed
from tests.helpers.images import cohort_of
from tests.helpers.refusals import refused

FRAME = (320, 320)
ROI = {"frame": FRAME, "size": FRAME, "interpolation": "cubic", "crop": "lungs", "dilate": (5, 3), "enhance": "stack"}
PUBLISHED = {**ROI, "overflow": "wrap", "margin_pixels": 0}
RECOMMENDED = {**ROI, "margin_pixels": 10, "box": "inclusive"}


# --- the steps, as the spec of the authors' code lists them


def load_and_resize(image: np.ndarray, overflow: str) -> np.ndarray:
    values = cv2.resize(image.astype("float32"), (320, 320), interpolation=cv2.INTER_CUBIC)
    if overflow == "clip":
        return np.floor(np.minimum(np.maximum(values, 0), 255)).astype(np.uint8)
    return np.mod(np.trunc(values).astype(np.int64), 256).astype(np.uint8)


def nearest(mask: np.ndarray) -> np.ndarray:
    """The mask at 320 x 320, the size at which the authors' network gives it."""
    rows, columns = ((np.arange(320) * side / 320).astype(int) for side in mask.shape)
    return mask[rows][:, columns]


def roi(image: np.ndarray, mask: np.ndarray, margin: int, inclusive: bool) -> np.ndarray:
    grown = mask.astype(np.float32)
    for _ in range(3):
        grown = cv2.dilate(grown, np.ones((5, 5)), iterations=1)
    rows, columns = np.where(grown == 1.0)
    y0, y1, x0, x1 = rows.min(), rows.max() + inclusive, columns.min(), columns.max() + inclusive
    crop = image[max(y0 - margin, 0) : min(y1 + margin, 320), max(x0 - margin, 0) : min(x1 + margin, 320)]
    return cv2.resize(crop, (320, 320), interpolation=cv2.INTER_CUBIC)


def hist_match(source: np.ndarray, template: np.ndarray) -> np.ndarray:
    _, where, source_counts = np.unique(source.ravel(), return_inverse=True, return_counts=True)
    values, template_counts = np.unique(template.ravel(), return_counts=True)
    source_quantiles = np.cumsum(source_counts) / source.size
    template_quantiles = np.cumsum(template_counts) / template.size
    matched = np.interp(source_quantiles, template_quantiles, values)[where.ravel()]
    return matched.reshape(source.shape).astype(np.uint8)


def channels(image: np.ndarray, order: tuple[str, ...]) -> np.ndarray:
    made = {
        "original": image,
        "beasf": beasf(image, 1.5),
        "clahe": cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(image),
    }
    return np.dstack([made[name] for name in order])


def to_roi(image: np.ndarray, mask: np.ndarray, settings: dict) -> np.ndarray:
    resized = load_and_resize(image, settings.get("overflow", "clip"))
    return roi(resized, nearest(mask) > 0, settings["margin_pixels"], settings.get("box") == "inclusive")


# --- images


def radiograph(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth lights and shades with hard black and white edges, at which cubic resizing overshoots."""
    rng = np.random.default_rng(seed)
    image = cv2.resize(rng.integers(0, 256, (9, 8), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    image[: height // 10, : width // 4] = 255
    image[-(height // 12) :] = 0
    return cv2.add(image, rng.integers(0, 6, image.shape, dtype=np.uint8))


def lungs(seed: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    for centre in (0.3, 0.68):
        middle = (int(centre * width), int((0.45 + 0.02 * seed) * height))
        cv2.ellipse(mask, middle, (int(0.14 * width), int(0.3 * height)), 0, 0, 360, 255, -1)
    return mask


SHAPES = [(400, 350), (500, 650), (200, 260), (320, 320), (333, 1000)]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Cohort:
    images = {f"made/{seed}": radiograph(seed, *shape) for seed, shape in enumerate(SHAPES)}
    masks = {f"made/{seed}": lungs(seed, *shape) for seed, shape in enumerate(SHAPES)}
    return cohort_of(tmp_path_factory.mktemp("chests"), images, masks)


@pytest.fixture(scope="module")
def folder(cohort) -> Path:
    return Path(cohort.table["path"][0]).parent


def prepared(folder: Path, seed: int, **settings) -> np.ndarray:
    return prepare_image(folder / f"{seed}.png", folder / f"{seed}_mask.png", Preparation(**settings))


def template(folder: Path, seed: int) -> dict[str, Path]:
    return {"reference": folder / f"{seed}.png", "reference_mask": folder / f"{seed}_mask.png"}


# --- the whole chain


@pytest.mark.parametrize("settings", [PUBLISHED, RECOMMENDED], ids=["published", "recommended"])
def test_the_whole_chain_is_the_steps(folder, settings):
    """Resize, crop to the region of the lungs, match to the first image, enhance, stack."""
    order = ("beasf", "clahe", "original")
    first = to_roi(radiograph(0, *SHAPES[0]), lungs(0, *SHAPES[0]), settings)
    for seed, shape in enumerate(SHAPES):
        cut = to_roi(radiograph(seed, *shape), lungs(seed, *shape), settings)
        plain = prepared(folder, seed, **settings)
        np.testing.assert_array_equal(plain, channels(cut, order))
        matched = prepared(folder, seed, **settings, **template(folder, 0))
        np.testing.assert_array_equal(matched, channels(hist_match(cut, first), order))
        assert (matched != plain).any() == (seed > 0), "the template alone is matched to itself"


@pytest.mark.parametrize(
    "order",
    [
        ("original", "beasf", "clahe"),
        ("beasf", "clahe", "original"),
        ("original", "original", "original"),
        ("beasf", "beasf", "beasf"),
    ],
)
def test_every_order_of_channels_that_was_run(folder, order):
    """Whole images of 320 x 320, as the base model and the run of 99.04 % had them."""
    settings = {"size": FRAME, "frame": FRAME, "interpolation": "cubic", "enhance": "stack", "stack_order": order}
    got = prepared(folder, 1, **settings)
    np.testing.assert_array_equal(got, channels(load_and_resize(radiograph(1, *SHAPES[1]), "clip"), order))


def test_another_size_is_the_frame_averaged_over_areas_at_the_end(folder):
    got, in_frame = prepared(folder, 1, **{**RECOMMENDED, "size": (80, 96)}), prepared(folder, 1, **RECOMMENDED)
    np.testing.assert_array_equal(got, cv2.resize(in_frame, (96, 80), interpolation=cv2.INTER_AREA))
    exact = in_frame[:, :, 0].reshape(80, 4, 320).mean(axis=1)
    assert np.abs(cv2.resize(exact, (96, 80), interpolation=cv2.INTER_AREA) - got[..., 0]).max() <= 0.51


def test_nearest_is_what_the_scripts_with_nearest_do(folder):
    got = prepared(folder, 1, size=FRAME, frame=FRAME, interpolation="nearest")
    image = radiograph(1, *SHAPES[1])
    np.testing.assert_array_equal(got[..., 0], cv2.resize(image, (320, 320), interpolation=cv2.INTER_NEAREST))


@pytest.mark.parametrize("mask", [np.zeros((500, 650), np.uint8), np.full((500, 650), 127, np.uint8)])
def test_an_empty_mask_is_the_whole_image(folder, mask):
    for settings in (RECOMMENDED, {**RECOMMENDED, "mask": "keep"}):
        got = prepare_image(folder / "1.png", mask, Preparation(**settings))
        whole = channels(load_and_resize(radiograph(1, *SHAPES[1]), "clip"), ("beasf", "clahe", "original"))
        np.testing.assert_array_equal(got, whole)


def test_what_is_masked_does_not_grow_with_the_box(folder):
    got = prepared(folder, 1, **{**RECOMMENDED, "enhance": None, "mask": "keep"})[..., 0]
    image, mask = load_and_resize(radiograph(1, *SHAPES[1]), "clip"), nearest(lungs(1, *SHAPES[1]))
    rows, columns = np.where(cv2.dilate(mask, np.ones((13, 13))))
    box = np.s_[rows.min() - 10 : rows.max() + 11, columns.min() - 10 : columns.max() + 11]
    kept = (image * (mask > 0))[box]
    np.testing.assert_array_equal(got, cv2.resize(kept, (320, 320), interpolation=cv2.INTER_CUBIC))


def test_without_a_frame_the_reference_is_of_the_final_size(folder):
    """And the margin and the dilation are in the image's own pixels."""
    settings = {"size": (64, 48), "crop": "lungs", "dilate": (5, 3), "margin_pixels": 4, "box": "inclusive"}
    planes = []
    for seed in (1, 2):
        rows, columns = np.where(cv2.dilate(lungs(seed, *SHAPES[seed]), np.ones((13, 13))))
        box = np.s_[max(rows.min() - 4, 0) : rows.max() + 5, max(columns.min() - 4, 0) : columns.max() + 5]
        planes.append(cv2.resize(radiograph(seed, *SHAPES[seed])[box], (48, 64), interpolation=cv2.INTER_AREA))
    got = prepared(folder, 1, **settings, **template(folder, 2))
    np.testing.assert_array_equal(got[..., 0], match_histogram(*planes))


@pytest.mark.real
def test_real_radiographs_go_through_the_same_steps(real_data, tmp_path):
    collection = real_data / "covid-chestxray-dataset"
    masks = sorted((collection / "annotations" / "lung-masks-darwin-v7").glob("*.png"))[::60][:8]
    pairs = [(next((collection / "images").glob(f"{mask.stem}.*")), mask) for mask in masks]
    assert len(pairs) == 8
    for settings in (PUBLISHED, RECOMMENDED):
        reference = {"reference": pairs[0][0], "reference_mask": pairs[0][1]}
        cuts = [to_roi(read_image(path), read_mask(mask) > 127, settings) for path, mask in pairs]
        for (path, mask), cut in zip(pairs, cuts, strict=True):
            got = prepare_image(path, mask, Preparation(**settings, **reference))
            np.testing.assert_array_equal(got, channels(hist_match(cut, cuts[0]), ("beasf", "clahe", "original")))


# --- the reference


def test_a_cohort_prepares_its_reference_once_and_finds_its_mask(cohort, folder, tmp_path, monkeypatch):
    preparation = Preparation(**RECOMMENDED, reference=folder / "0.png")
    read = []
    monkeypatch.setattr(prepared_images, "read_image", lambda path: read.append(str(path)) or read_image(path))
    prepared = prepare_cohort(cohort, preparation, tmp_path / "cache", workers=2)
    assert sorted(read) == sorted([*cohort.table.path, str(folder / "0.png")])
    whole = dataclasses.replace(preparation, reference_mask=str(folder / "0_mask.png"))
    for place in range(len(cohort)):
        row = cohort.table.iloc[place]
        np.testing.assert_array_equal(prepared.load(place), prepare_image(row.path, row.mask_path, whole))
    assert prepare_cohort(cohort, preparation, tmp_path / "cache").reused == len(cohort)
    assert prepare_cohort(cohort, whole, tmp_path / "cache").reused == len(cohort)


def test_the_key_follows_the_content_of_the_reference_and_not_its_place(cohort, folder, tmp_path):
    copy, copy_mask = (shutil.copy(folder / name, tmp_path / f"moved_{name}") for name in ("0.png", "0_mask.png"))
    here = Preparation(**RECOMMENDED, **template(folder, 0))
    there = Preparation(**RECOMMENDED, reference=copy, reference_mask=copy_mask)
    assert here.key() == there.key()
    assert prepare_cohort(cohort, here, tmp_path / "cache").prepared == len(cohort)
    assert prepare_cohort(cohort, there, tmp_path / "cache").reused == len(cohort)
    cv2.imwrite(copy_mask, np.roll(lungs(0, *SHAPES[0]), 30, axis=0))
    assert there.key() != here.key()
    assert prepare_cohort(cohort, there, tmp_path / "cache").prepared == len(cohort)
    moved = there.key()
    cv2.imwrite(copy, radiograph(9, *SHAPES[0]))
    assert there.key() not in (moved, here.key())


def test_a_mask_that_is_not_used_is_not_in_the_key(folder):
    whole = {"frame": FRAME, "reference": folder / "0.png"}
    assert Preparation(**whole).key() == Preparation(**whole, reference_mask=folder / "0_mask.png").key()
    assert Preparation(**whole).key() != Preparation(frame=FRAME).key()


def test_a_reference_that_cannot_be_used_is_named(cohort, folder, tmp_path):
    with pytest.raises(UserError, match=r"gone\.png: .*cannot be read"):
        Preparation(reference=tmp_path / "gone.png").key()
    refused(r"gone\.png", prepare_cohort, cohort, Preparation(reference=tmp_path / "gone.png"), tmp_path / "cache")
    other = shutil.copy(folder / "0.png", tmp_path / "other.png")
    with pytest.raises(UserError, match=r"other\.png: has no lung mask"):
        prepare_cohort(cohort, Preparation(**RECOMMENDED, reference=other), tmp_path / "cache")
    with pytest.raises(UserError, match=r"0\.png: has no lung mask"):
        prepare_image(
            folder / "1.png", folder / "1_mask.png", Preparation(**RECOMMENDED, reference=str(folder / "0.png"))
        )


def test_a_reference_without_lungs_is_used_whole_and_said(folder, tmp_path, caplog):
    empty = str(tmp_path / "empty.png")
    cv2.imwrite(empty, np.zeros(SHAPES[0], np.uint8))
    settings = {**RECOMMENDED, "enhance": None}
    got = prepared(folder, 1, **settings, reference=folder / "0.png", reference_mask=empty)[..., 0]
    whole = load_and_resize(radiograph(0, *SHAPES[0]), "clip")
    cut = to_roi(radiograph(1, *SHAPES[1]), lungs(1, *SHAPES[1]), settings)
    np.testing.assert_array_equal(got, hist_match(cut, whole))
    assert "0.png: the reference" in caplog.text


# --- the settings


def test_the_key_follows_every_setting_of_the_chain():
    changes = [
        {},
        {"frame": (320, 300)},
        {"frame": None, "overflow": "clip"},
        {"overflow": "wrap"},
        {"dilate": None},
        {"dilate": (3, 5)},
        {"margin_pixels": None},
        {"margin_pixels": 0},
        {"box": "authors"},
    ]
    keys = {Preparation(**{**RECOMMENDED, **change}).key() for change in changes}
    assert len(keys) == len(changes)
    assert Preparation(**{**RECOMMENDED, "frame": [320, 320], "dilate": [5, 3]}) == Preparation(**RECOMMENDED)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame": 320}, r"preparation frame: .*\(height, width\) \(got 320"),
        ({"frame": (320, 0)}, "preparation frame"),
        ({"frame": FRAME, "overflow": "saturate"}, "Use one of clip, wrap"),
        ({"overflow": "wrap"}, "overflow requires"),
        ({"dilate": (5, 0)}, r"preparation dilate: .*\(kernel, iterations\) \(got \(5, 0"),
        ({"margin_pixels": -1}, "margin_pixels: .*-1"),
        ({"margin_pixels": 0.1}, "margin_pixels: .*0.1"),
        ({"margin_pixels": 10, "margin": 0.1}, "margin and margin_pixels exclude each other"),
        ({"box": "outer"}, "Use one of authors, inclusive"),
        ({"frame": FRAME, "square": True}, "Leave out frame"),
        ({"frame": FRAME, "drop_top": 0.1}, "Leave out frame"),
        ({"reference_mask": "mask.png"}, "Give reference"),
    ],
)
def test_settings_that_do_not_fit_are_named(settings, message):
    refused(message, Preparation, **settings)


# --- the picture under a heat map


def test_the_picture_of_a_heat_map_is_what_the_network_sees(folder):
    """Cut in its own pixels, so that it keeps its aspect; resized it is the prepared image but for the rounding."""
    preparation = Preparation(**{**RECOMMENDED, "enhance": None})
    for seed, shape in enumerate(SHAPES):
        image, mask = (cv2.GaussianBlur(radiograph(seed, *shape), (0, 0), 8), lungs(seed, *shape))
        cut, cut_mask = _framed(image, mask, preparation)
        assert cut.shape == cut_mask.shape
        cv2.imwrite(str(folder / "smooth.png"), image)
        seen = prepare_image(folder / "smooth.png", mask, preparation)[..., 0]
        shown = cv2.resize(cut, (320, 320), interpolation=cv2.INTER_CUBIC)
        aside = [np.roll(shown, step, axis=axis) for axis in (0, 1) for step in (-6, 6)]
        apart = np.abs(shown.astype(int) - seen).mean()
        assert apart < 2.5
        assert apart < 0.5 * min(np.abs(one.astype(int) - seen).mean() for one in aside)


def test_the_box_in_the_images_own_pixels():
    mask = np.zeros((640, 960), np.uint8)
    mask[200:400, 300:600] = 255  # rows 100 to 199 of the frame, columns 100 to 199
    assert crop_box(mask, Preparation(**RECOMMENDED)) == (2 * 84, 2 * 216, 3 * 84, 3 * 216)
    assert crop_box(mask, Preparation(**PUBLISHED)) == (2 * 94, 2 * 205, 3 * 94, 3 * 205)
    assert crop_box(mask, Preparation(crop="lungs")) == (196, 403, 293, 606)
    empty = crop_box(np.zeros((640, 960)), Preparation(**RECOMMENDED))
    assert (empty, empty.whole) == ((0, 640, 0, 960), True)


def test_a_frame_larger_than_the_image_never_loses_the_box():
    mask = np.zeros((40, 30), np.uint8)
    mask[39, 29] = 255
    settings = {"frame": (640, 640), "crop": "lungs", "margin_pixels": 0}
    box = crop_box(mask, Preparation(**settings))
    assert box == (39, 40, 29, 30)
