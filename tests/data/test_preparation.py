"""Preparing images once: settings, the crop and masks, the cache, and bad input."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

import covid_keras.data.preparation as preparation_module
from covid_keras.common import threads
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import prepare_cohort, prepare_image, stable_id
from covid_keras.data.store import Store
from covid_keras.preprocessing import (
    centre_square,
    clahe,
    crop_to_lungs,
    drop_top,
    enhance_stack,
    keep_lungs,
    remove_lungs,
)
from tests.helpers.images import cohort_of, smooth_noise
from tests.helpers.refusals import refused

SMALL = Preparation(size=(32, 40))
LUNGS = np.zeros((90, 80), np.uint8)
LUNGS[20:70, 10:35] = LUNGS[25:75, 45:70] = 255
LUNGS[5:9, 5:9] = 127  # "ignore" is not lung


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    images = {f"made/{number}": smooth_noise(number) for number in range(7)}
    return cohort_of(tmp_path, images, {name: LUNGS if name != "made/3" else LUNGS * 0 + 127 for name in images})


def without_masks(cohort: Cohort) -> Cohort:
    return Cohort(cohort.table.drop(columns="mask_path"), cohort.classes)


def raw_files(folder) -> list:
    return sorted(folder.rglob("*.raw"))


def test_preparation_order_of_steps(cohort):
    row = cohort.table.iloc[0]
    image, mask = smooth_noise(0), np.where(LUNGS == 255, 255, 0)
    preparation = Preparation((32, 40), crop="lungs", mask="keep", enhance="clahe")
    got = prepare_image(row.path, row.mask_path, preparation)
    crop, crop_mask = crop_to_lungs(image, mask), crop_to_lungs(mask, mask)
    expected = clahe(cv2.resize(keep_lungs(crop, crop_mask), (40, 32), interpolation=cv2.INTER_AREA))
    np.testing.assert_array_equal(got[..., 0], expected)
    assert got.shape == (32, 40, 1)
    assert got.dtype == np.uint8


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, lambda image, mask: image),
        ({"mask": "remove"}, remove_lungs),
        ({"enhance": "stack"}, lambda image, mask: enhance_stack(image)),
        (
            {"enhance": "stack", "stack_order": ("original", "beasf", "clahe")},
            lambda image, mask: enhance_stack(image)[..., [2, 0, 1]],
        ),
    ],
)
def test_preparation_settings_at_the_images_own_size(cohort, settings, expected):
    preparation = Preparation(size=(90, 80), **settings)
    got = prepare_image(cohort.table.path[0], LUNGS == 255, preparation)
    want = expected(smooth_noise(0), (LUNGS == 255).astype(np.uint8))
    np.testing.assert_array_equal(got, want.reshape(preparation.shape))


@pytest.mark.parametrize(
    ("settings", "cut"),
    [
        ({"drop_top": 0.08}, lambda image: drop_top(image, 0.08)),
        ({"square": True}, centre_square),
        ({"drop_top": 0.3, "square": True}, lambda image: centre_square(drop_top(image, 0.3))),
    ],
)
def test_preparation_frames_of_fixed_shares(cohort, settings, cut):
    """The rows first, then the square of what is left; resized last."""
    got = prepare_image(cohort.table.path[1], None, Preparation(size=(32, 40), **settings))
    want = cut(smooth_noise(1))
    assert want.shape != smooth_noise(1).shape
    np.testing.assert_array_equal(got[..., 0], cv2.resize(want, (40, 32), interpolation=cv2.INTER_AREA))


def test_preparation_area_never_repeats_pixels(cohort):
    got = prepare_image(cohort.table.path[0], None, Preparation(size=(180, 40)))[..., 0]
    np.testing.assert_array_equal(got, cv2.resize(smooth_noise(0), (40, 180), interpolation=cv2.INTER_LINEAR))


def test_preparation_key_follows_every_setting(monkeypatch):
    changes = [
        {},
        {"size": (40, 32)},
        {"crop": "lungs"},
        {"crop": "lungs", "margin": 0.1},
        {"crop": "lungs", "mask_threshold": 0},
        {"mask": "keep"},
        {"mask": "keep", "empty": "black"},
        {"mask": "remove"},
        {"enhance": "beasf"},
        {"enhance": "stack"},
        {"enhance": "stack", "stack_order": ("original", "beasf", "clahe")},
        {"interpolation": "cubic"},
        {"drop_top": 0.08},
        {"drop_top": 0.09},
        {"square": True},
    ]
    keys = [Preparation(**{"size": (32, 40), **change}).key() for change in changes]
    monkeypatch.setattr(preparation_module, "ALGORITHM", 99)
    keys.append(SMALL.key())
    assert len(set(keys)) == len(keys)
    assert Preparation(size=[32, 40]).key() == Preparation(size=(32, 40)).key()
    assert SMALL.key() != Preparation(size=(32, 40), square=True).key()


def test_preparation_key_is_that_of_its_steps():
    """Settings that change no step, since they are of a crop, a mask or a stack that is not made, change no key."""
    assert [type(step).__name__ for step in SMALL.steps] == ["Resize"]
    unused = {"margin": 0.1, "mask_threshold": 0, "stack_order": ("beasf",) * 3, "dilate": (5, 3), "empty": "black"}
    assert Preparation(size=(32, 40), **unused).key() == SMALL.key()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size": (0, 3)}, "size"),
        ({"size": 224}, "size"),
        ({"crop": "box"}, "Use one of None, lungs"),
        ({"enhance": "sharpen"}, "enhance"),
        ({"interpolation": "lanczos"}, "interpolation"),
        ({"margin": -1}, "margin"),
        ({"mask_threshold": 255}, "mask_threshold"),
        ({"drop_top": 1.0}, "drop_top: .*1.0"),
        ({"drop_top": -0.1}, "drop_top"),
        ({"drop_top": 0.1, "crop": "lungs"}, "drop_top and square"),
        ({"square": True, "mask": "keep"}, "drop_top and square"),
    ],
)
def test_preparation_bad_settings_are_named(settings, message):
    refused(message, Preparation, **settings)


def test_prepared_cohort_is_what_single_images_are(cohort, tmp_path):
    preparation = Preparation(size=(32, 40), crop="lungs")
    prepared = prepare_cohort(cohort, preparation, tmp_path / "cache", workers=3)
    assert (prepared.n, prepared.shape, prepared.prepared, prepared.reused) == (7, (32, 40, 1), 7, 0)
    assert prepared.image_ids == tuple(cohort.table.image_id)
    assert prepared.ids.tolist() == [stable_id(name) for name in cohort.table.image_id]
    for number, row in enumerate(cohort.table.itertuples()):
        single = prepare_image(row.path, row.mask_path, preparation)
        np.testing.assert_array_equal(prepared.load(number), single)
    np.testing.assert_array_equal(prepared.batch([4, 1]), [prepared.load(4), prepared.load(1)])
    assert len(raw_files(tmp_path / "cache")) == 7


def test_prepared_empty_masks_use_the_whole_image_and_are_counted_again(cohort, tmp_path):
    for settings in ({"crop": "lungs"}, {"mask": "keep"}, {"crop": "lungs", "mask": "remove"}):
        for _ in range(2):  # the second time from the cache
            prepared = prepare_cohort(cohort, Preparation(size=(32, 40), **settings), tmp_path / "cache")
            assert prepared.whole_image_crops == ("made/3",)
            np.testing.assert_array_equal(prepared.load(3), prepare_image(cohort.table.path[3], None, SMALL))


def test_prepared_images_are_reused_until_something_changes(cohort, tmp_path):
    cache = tmp_path / "cache"
    prepare_cohort(cohort, SMALL, cache)
    again = prepare_cohort(cohort, SMALL, cache)
    assert (again.prepared, again.reused) == (0, 7)
    assert prepare_cohort(cohort, Preparation(size=(32, 41)), cache).prepared == 7
    # masks that are not used do not matter
    assert prepare_cohort(without_masks(cohort), SMALL, cache).prepared == 0
    cv2.imwrite(cohort.table.path[2], smooth_noise(20))
    changed = prepare_cohort(cohort, SMALL, cache)
    assert (changed.prepared, changed.reused) == (1, 6)
    np.testing.assert_array_equal(
        changed.load(2)[..., 0], cv2.resize(smooth_noise(20), (40, 32), interpolation=cv2.INTER_AREA)
    )


def test_prepared_images_follow_their_masks(cohort, tmp_path):
    preparation = Preparation(size=(32, 40), crop="lungs")
    prepare_cohort(cohort, preparation, tmp_path / "cache")
    cv2.imwrite(cohort.table.mask_path[5], np.roll(LUNGS, 9, axis=0))
    assert prepare_cohort(cohort, preparation, tmp_path / "cache").prepared == 1


def test_prepared_unchanged_files_are_not_read_again(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("covid_keras.data.file_hashes._SETTLED_NS", -(10**12))
    prepare_cohort(cohort, SMALL, tmp_path / "cache")
    monkeypatch.setattr("covid_keras.data.file_hashes.sha256_of", lambda path: pytest.fail(f"{path} was read again"))
    assert prepare_cohort(cohort, SMALL, tmp_path / "cache").reused == 7


@pytest.mark.parametrize("text", ["{", "[1]", '{"x": 3}'])
def test_prepared_damaged_index_only_costs_time(cohort, tmp_path, text):
    prepare_cohort(cohort, SMALL, tmp_path / "cache")
    (tmp_path / "cache" / "files.json").write_text(text)
    assert prepare_cohort(cohort, SMALL, tmp_path / "cache").reused == 7


def test_prepared_same_picture_twice_is_kept_once(cohort, tmp_path):
    table = pd.concat([cohort.table, cohort.table.iloc[[0]].assign(image_id="made/again")])
    prepared = prepare_cohort(Cohort(table, cohort.classes), SMALL, tmp_path / "cache")
    assert prepared.paths[0] == prepared.paths[7]
    assert len(raw_files(tmp_path / "cache")) == 7


@pytest.mark.parametrize("bad", [b"", b"not an image at all", None])
def test_prepared_bad_image_is_named_and_nothing_is_half_written(cohort, tmp_path, bad):
    path = cohort.table.path[4]
    if bad is None:
        (tmp_path / "images" / "4.png").unlink()
    else:
        (tmp_path / "images" / "4.png").write_bytes(bad)
    refused(path, prepare_cohort, cohort, SMALL, tmp_path / "cache", workers=4)
    assert len(raw_files(tmp_path / "cache")) == 4
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.name.startswith(".")]


def test_prepared_missing_or_wrong_mask_is_named(cohort, tmp_path):
    preparation = Preparation(size=(32, 40), crop="lungs")
    with pytest.raises(UserError, match=r"made/0: has no lung mask.*mask_path"):
        prepare_cohort(without_masks(cohort), preparation, tmp_path / "cache")
    refused("no lung mask", prepare_image, cohort.table.path[0], None, preparation)
    cv2.imwrite(cohort.table.mask_path[2], LUNGS[:50, :50])
    refused(r"2_mask\.png", prepare_cohort, cohort, preparation, tmp_path / "cache")
    refused("50 x 50", prepare_image, cohort.table.path[0], LUNGS[:50, :50], preparation)


def test_prepared_unwritable_cache_and_full_disk(cohort, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    refused("cannot be written", prepare_cohort, cohort, SMALL, tmp_path / "file" / "cache")

    def full(store, key, *given):
        with atomic_path(store.path(key)) as temporary:
            temporary.write_bytes(b"part")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Store, "put", full)
    refused("disk is full", prepare_cohort, cohort, SMALL, tmp_path / "cache")
    assert raw_files(tmp_path / "cache") == []


def test_prepared_work_in_flight_is_bounded():
    started: list[int] = []
    results = threads.bounded_map(lambda item: started.append(item) or item, range(100), 3)
    assert next(results) == 0
    assert len(started) <= 3 * threads.AHEAD < 100
    assert list(results) == list(range(1, 100))


@pytest.mark.parametrize(("settings", "black"), [({"empty": "black"}, True), ({}, False)])
def test_an_image_without_lung_is_black_where_only_lungs_are_kept(tmp_path, settings, black):
    path = tmp_path / "bright.png"
    cv2.imwrite(str(path), np.full((20, 20), 200, np.uint8))
    preparation = Preparation(size=(8, 8), mask="keep", **settings)
    pixels = prepare_image(path, np.zeros((20, 20), np.uint8), preparation)
    assert (pixels == 0).all() == black
    whole = prepare_image(path, np.zeros((20, 20), np.uint8), Preparation(size=(8, 8), mask="remove", **settings))
    assert (whole == 200).all(), "of what is left without lungs everything is left"
