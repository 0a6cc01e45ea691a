from __future__ import annotations

import cv2
import numpy as np
import pytest

from covid_keras import preprocessing
from covid_keras.preprocessing import (
    beasf,
    clahe,
    enhance_stack,
    equalize_adaptive,
    equalize_histogram,
)
from covid_keras.preprocessing._grey import level_counts
from tests.helpers.refusals import refused

ENHANCEMENTS = [beasf, clahe, equalize_adaptive, equalize_histogram]


@pytest.fixture
def image() -> np.ndarray:
    return cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (60, 48), dtype=np.uint8), (0, 0), 3)


@pytest.mark.parametrize("enhance", ENHANCEMENTS)
def test_shape_type_and_argument_are_kept(enhance, image):
    before = image.copy()
    plain, one_channel = enhance(image), enhance(image[..., None])
    assert plain.dtype == np.uint8
    assert (plain.shape, one_channel.shape) == (image.shape, (*image.shape, 1))
    np.testing.assert_array_equal(plain, one_channel[..., 0])
    np.testing.assert_array_equal(image, before)
    assert not np.shares_memory(plain, image)


@pytest.mark.parametrize("enhance", ENHANCEMENTS)
def test_contrast_grows(enhance, image):
    assert enhance(image).std() > image.std()


@pytest.mark.parametrize("enhance", [*ENHANCEMENTS, enhance_stack])
def test_the_smallest_images_pass(enhance):
    for shape in [(1, 1), (1, 9), (16, 16)]:
        assert enhance(np.zeros(shape, dtype=np.uint8)).shape[:2] == shape


@pytest.mark.parametrize("enhance", [*ENHANCEMENTS, enhance_stack])
def test_other_images_are_refused(enhance, image):
    for wrong in (image / 255, np.dstack([image] * 3), np.zeros((0, 0), np.uint8)):
        refused(r"^image: ", enhance, wrong)


def test_histogram_equalisation_uses_the_whole_range(image):
    out = equalize_histogram(image)
    assert (out.min(), out.max()) == (0, 255)
    constant = np.full((4, 4), 77, dtype=np.uint8)
    np.testing.assert_array_equal(equalize_histogram(constant), constant)


def test_adaptive_equalisation_ranks_a_pixel_in_its_disk():
    image = np.random.default_rng(6).integers(0, 256, (15, 15), dtype=np.uint8)
    row, column, radius = 7, 6, 3
    rows, columns = np.ogrid[:15, :15]
    disk = image[(rows - row) ** 2 + (columns - column) ** 2 <= radius**2]
    share = np.mean(disk <= image[row, column])
    assert equalize_adaptive(image, radius)[row, column] == int(255 * share)


def test_adaptive_equalisation_takes_a_disk_of_40_pixels():
    image = np.zeros((101, 101), dtype=np.uint8)
    image[50, 50] = 9
    darker = equalize_adaptive(image) < 255  # pixels that see the bright one
    assert darker[50, 10]
    assert not darker[50, 9]


@pytest.mark.parametrize(("clip_limit", "tile_grid"), [(2.0, (8, 8)), (6.0, (4, 2))])
def test_clahe_is_that_of_opencv(image, clip_limit, tile_grid):
    expected = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=tile_grid).apply(image)
    np.testing.assert_array_equal(clahe(image, clip_limit, tile_grid), expected)


def test_settings_out_of_range_are_refused(image):
    refused("clip_limit: ", clahe, image, clip_limit=0)
    refused("tile_grid", clahe, image, tile_grid=(8, 0))
    refused("radius: ", equalize_adaptive, image, radius=0)


def test_stack_is_beasf_clahe_and_the_original(image):
    out = enhance_stack(image)
    assert (out.shape, out.dtype) == ((60, 48, 3), np.uint8)
    for channel, expected in enumerate([beasf(image), clahe(image), image]):
        np.testing.assert_array_equal(out[..., channel], expected)


def test_stack_in_another_order(image):
    out = enhance_stack(image, order=("original", "beasf", "clahe"))
    np.testing.assert_array_equal(out, enhance_stack(image)[..., [2, 0, 1]])
    thrice = enhance_stack(image[..., None], order=("original",) * 3)
    np.testing.assert_array_equal(thrice, np.dstack([image] * 3))


@pytest.mark.parametrize("order", [("beasf", "clahe"), ("beasf", "clahe", "ahe"), ()])
def test_stack_refuses_another_order(image, order):
    refused(r"^order: ", enhance_stack, image, order)


def test_counting_in_blocks_is_exact(monkeypatch, image):
    expected = np.bincount(image.ravel(), minlength=256)
    np.testing.assert_array_equal(level_counts(image), expected)
    monkeypatch.setattr("covid_keras.preprocessing._grey._MOST_PIXELS_COUNTED_AT_ONCE", 500)
    np.testing.assert_array_equal(level_counts(image), expected)


def test_everything_public_is_there_and_documented():
    for name in preprocessing.__all__:
        assert getattr(preprocessing, name).__doc__
