"""Preparing images once: settings, the crop and masks, the cache, and bad input."""

from __future__ import annotations

import cv2
import numpy as np
import pandas as pd
import pytest

import covid_keras.data.preparation as preparation_module
from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation, prepare_cohort, prepare_image, stable_id
from covid_keras.preprocessing import (
    centre_square,
    clahe,
    crop_to_lungs,
    drop_top,
    enhance_stack,
    keep_lungs,
    remove_lungs,
)

SMALL = Preparation(size=(32, 40))


def radiograph(seed: int, height: int = 90, width: int = 80) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (9, 8), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def lungs(height: int = 90, width: int = 80) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    mask[20:70, 10:35] = mask[25:75, 45:70] = 255
    mask[5:9, 5:9] = 127  # "ignore" is not lung
    return mask


@pytest.fixture
def cohort(tmp_path) -> Cohort:
    (tmp_path / "images").mkdir()
    rows = []
    for number in range(7):
        path, mask_path = tmp_path / "images" / f"{number}.png", tmp_path / "images" / f"{number}_mask.png"
        cv2.imwrite(str(path), radiograph(number))
        cv2.imwrite(str(mask_path), lungs() if number != 3 else np.full((90, 80), 127, np.uint8))
        rows.append(
            {
                "image_id": f"made/{number}",
                "path": str(path),
                "patient_id": f"made/p{number}",
                "label": "covid" if number % 2 else "normal",
                "mask_path": str(mask_path),
            }
        )
    return Cohort(pd.DataFrame(rows), ("normal", "covid"))


def without_masks(cohort: Cohort) -> Cohort:
    return Cohort(cohort.table.drop(columns="mask_path"), cohort.classes)


def raw_files(folder) -> list:
    return sorted(folder.rglob("*.raw"))


def test_preparation_order_of_steps(cohort):
    row = cohort.table.iloc[0]
    image, mask = radiograph(0), np.where(lungs() == 255, 255, 0)
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
    got = prepare_image(cohort.table.path[0], lungs() == 255, preparation)
    want = expected(radiograph(0), (lungs() == 255).astype(np.uint8))
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
    want = cut(radiograph(1))
    assert want.shape != radiograph(1).shape
    np.testing.assert_array_equal(got[..., 0], cv2.resize(want, (40, 32), interpolation=cv2.INTER_AREA))


def test_preparation_area_never_repeats_pixels(cohort):
    got = prepare_image(cohort.table.path[0], None, Preparation(size=(180, 40)))[..., 0]
    np.testing.assert_array_equal(got, cv2.resize(radiograph(0), (40, 180), interpolation=cv2.INTER_LINEAR))


def test_preparation_key_follows_every_setting(monkeypatch):
    changes = [
        {},
        {"size": (40, 32)},
        {"crop": "lungs"},
        {"margin": 0.1},
        {"mask": "keep"},
        {"enhance": "beasf"},
        {"interpolation": "cubic"},
        {"stack_order": ("original", "beasf", "clahe")},
        {"mask_threshold": 0},
        {"drop_top": 0.08},
        {"drop_top": 0.09},
        {"square": True},
    ]
    keys = [Preparation(**{"size": (32, 40), **change}).key() for change in changes]
    monkeypatch.setattr(preparation_module, "ALGORITHM", 99)
    keys.append(SMALL.key())
    assert len(set(keys)) == len(keys)
    assert Preparation(size=[32, 40]).key() == SMALL.key()


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
        ({"drop_top": 1.0}, "drop_top: 1.0 is not a share"),
        ({"drop_top": -0.1}, "drop_top"),
        ({"drop_top": 0.1, "crop": "lungs"}, "a frame of fixed shares is for whole images"),
        ({"square": True, "mask": "keep"}, "a frame of fixed shares is for whole images"),
    ],
)
def test_preparation_bad_settings_are_named(settings, message):
    with pytest.raises(UserError, match=message):
        Preparation(**settings)


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
    assert [path.stat().st_size for path in raw_files(tmp_path / "cache")] == [32 * 40] * 7


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
    cv2.imwrite(cohort.table.path[2], radiograph(20))
    changed = prepare_cohort(cohort, SMALL, cache)
    assert (changed.prepared, changed.reused) == (1, 6)
    np.testing.assert_array_equal(
        changed.load(2)[..., 0], cv2.resize(radiograph(20), (40, 32), interpolation=cv2.INTER_AREA)
    )


def test_prepared_images_follow_their_masks(cohort, tmp_path):
    preparation = Preparation(size=(32, 40), crop="lungs")
    prepare_cohort(cohort, preparation, tmp_path / "cache")
    cv2.imwrite(cohort.table.mask_path[5], np.roll(lungs(), 9, axis=0))
    assert prepare_cohort(cohort, preparation, tmp_path / "cache").prepared == 1


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * (32 * 40 + 1)])
def test_prepared_damaged_cache_files_are_made_anew(cohort, tmp_path, damage):
    first = prepare_cohort(cohort, SMALL, tmp_path / "cache")
    good = first.load(1)
    with open(first.paths[1], "wb") as stream:
        stream.write(damage)
    with pytest.raises(UserError, match="damaged"):
        first.load(1)
    second = prepare_cohort(cohort, SMALL, tmp_path / "cache")
    assert (second.prepared, second.reused) == (1, 6)
    np.testing.assert_array_equal(second.load(1), good)


def test_prepared_unchanged_files_are_not_read_again(cohort, tmp_path, monkeypatch):
    monkeypatch.setattr("covid_keras.data.file_hashes._SETTLED_NS", -(10**12))
    prepare_cohort(cohort, SMALL, tmp_path / "cache")
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda self: pytest.fail(f"{self} was read again"))
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
    with pytest.raises(UserError, match=path):
        prepare_cohort(cohort, SMALL, tmp_path / "cache", workers=4)
    assert len(raw_files(tmp_path / "cache")) == 4
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.name.startswith(".")]


def test_prepared_missing_or_wrong_mask_is_named(cohort, tmp_path):
    preparation = Preparation(size=(32, 40), crop="lungs")
    with pytest.raises(UserError, match=r"made/0: has no lung mask.*mask_path"):
        prepare_cohort(without_masks(cohort), preparation, tmp_path / "cache")
    with pytest.raises(UserError, match="no lung mask"):
        prepare_image(cohort.table.path[0], None, preparation)
    cv2.imwrite(cohort.table.mask_path[2], lungs(50, 50))
    with pytest.raises(UserError, match=r"2_mask\.png"):
        prepare_cohort(cohort, preparation, tmp_path / "cache")
    with pytest.raises(UserError, match="50 x 50"):
        prepare_image(cohort.table.path[0], lungs(50, 50), preparation)


def test_prepared_unwritable_cache_and_full_disk(cohort, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        prepare_cohort(cohort, SMALL, tmp_path / "file" / "cache")

    def full(folder, result):
        with atomic_path(preparation_module._raw_path(folder, result.key)) as temporary:
            temporary.write_bytes(b"part")
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparation_module, "_store", full)
    with pytest.raises(UserError, match="disk is full"):
        prepare_cohort(cohort, SMALL, tmp_path / "cache")
    assert not [file for file in (tmp_path / "cache").rglob("*") if file.is_file()]


def test_prepared_work_in_flight_is_bounded():
    started: list[int] = []
    results = preparation_module._bounded_map(lambda item: started.append(item) or item, range(100), 3)
    assert next(results) == 0
    assert len(started) <= 3 * preparation_module._AHEAD < 100
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


def test_what_becomes_of_an_empty_mask_changes_the_key_only_where_it_is_said():
    assert Preparation(mask="keep").key() == Preparation(mask="keep", empty="whole").key()
    assert Preparation(mask="keep").key() != Preparation(mask="keep", empty="black").key()
