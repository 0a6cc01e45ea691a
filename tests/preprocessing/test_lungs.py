from __future__ import annotations

import pickle

import numpy as np
import pytest

from covid_keras.preprocessing import (
    LungBox,
    authors_threshold,
    crop_to_lungs,
    dilate_mask,
    keep_lungs,
    lung_bounding_box,
    remove_lungs,
)
from tests.helpers.refusals import refused


def authors_box(probability: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Tabik's steps 2-5, pixel by pixel."""
    m = float(probability.max())
    if m != 1.0:
        m = 0.95 * m
    threshold = m * (1 - 0.02)
    found = [
        (r, c)
        for r in range(probability.shape[0])
        for c in range(probability.shape[1])
        if probability[r, c] >= threshold
    ]
    r1, r2 = (int(f(r for r, _ in found) * height / probability.shape[0]) for f in (min, max))
    c1, c2 = (int(f(c for _, c in found) * width / probability.shape[1]) for f in (min, max))
    dr, dc = int(0.025 * (r2 - r1)), int(0.025 * (c2 - c1))
    return max(r1 - dr, 0), min(r2 + dr, height), max(c1 - dc, 0), min(c2 + dc, width)


def box_mask(shape: tuple[int, int], top: int, bottom: int, left: int, right: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[top:bottom, left:right] = 255
    return mask


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(8).integers(1, 256, (120, 100), dtype=np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32, np.int64])
def test_box_of_a_binary_mask(dtype):
    mask = (box_mask((300, 200), 50, 251, 40, 161) > 0).astype(dtype)
    # rows 50..250: int(0.025 * 200) = 5; columns 40..160: int(0.025 * 120) = 3
    box = lung_bounding_box(mask)
    assert box == (45, 255, 37, 163)
    assert box == lung_bounding_box(mask[..., None])
    assert not box.whole


def test_both_lungs_are_in_one_box_and_any_value_but_0_is_lung():
    mask = box_mask((300, 200), 50, 200, 40, 80) | box_mask((300, 200), 100, 251, 120, 161)
    mask[100, 130] = 127
    assert lung_bounding_box(mask) == (45, 255, 37, 163)


def test_box_is_clamped_to_the_image():
    box = lung_bounding_box(box_mask((300, 200), 2, 300, 0, 198))
    assert box == (0, 300, 0, 200)
    assert not box.whole


@pytest.mark.parametrize(
    ("margin", "expected"), [(0, (50, 250, 40, 160)), (0.1, (30, 270, 28, 172)), (9, (0, 300, 0, 200))]
)
def test_margin(margin, expected):
    assert lung_bounding_box(box_mask((300, 200), 50, 251, 40, 161), margin) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pixels": 0}, (50, 250, 40, 160)),
        ({"pixels": 0, "inclusive": True}, (50, 251, 40, 161)),
        ({"pixels": 10}, (40, 260, 30, 170)),
        ({"pixels": 10, "inclusive": True}, (40, 261, 30, 171)),
        ({"pixels": 45, "inclusive": True}, (5, 296, 0, 200)),
        ({"inclusive": True}, (45, 256, 37, 164)),
        ({"pixels": 2, "inclusive": True, "shape": (600, 100)}, (98, 504, 18, 83)),
        ({"pixels": 0, "inclusive": True, "shape": (3, 2)}, (0, 3, 0, 2)),
    ],
)
def test_margin_in_pixels_and_the_last_row_and_column(settings, expected):
    box = lung_bounding_box(box_mask((300, 200), 50, 251, 40, 161), **settings)
    assert box == expected
    assert not box.whole


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32])
@pytest.mark.parametrize("threshold", [None, 0.5, "authors"])
def test_empty_mask_gives_the_whole_image_and_says_so(dtype, threshold):
    box = lung_bounding_box(np.zeros((30, 20), dtype), threshold=threshold, shape=(60, 50))
    assert box == (0, 60, 0, 50)
    assert box.whole


def test_nothing_above_the_threshold_is_empty_too():
    assert lung_bounding_box(np.full((30, 20), 0.4), threshold=0.5).whole


@pytest.mark.parametrize(("row", "column"), [(0, 0), (29, 19), (7, 3)])
def test_a_single_pixel_gives_a_box_of_one_pixel(row, column):
    mask = box_mask((30, 20), row, row + 1, column, column + 1)
    assert lung_bounding_box(mask) == (row, row + 1, column, column + 1)
    assert crop_to_lungs(mask, mask).shape == (1, 1)


def test_authors_threshold():
    assert authors_threshold(np.array([0.1, 0.8])) == pytest.approx(0.931 * 0.8)
    assert authors_threshold(np.array([0.1, 1.0], dtype=np.float32)) == pytest.approx(0.98)


def test_probability_maps_follow_the_authors_arithmetic():
    rng = np.random.default_rng(0)
    for _ in range(100):
        probability = rng.random((24, 24)).astype(np.float32)
        probability[: rng.integers(0, 8)] = 0
        if rng.random() < 0.3:
            probability[[20, 10], [5, 15]] = 1.0
        height, width = (int(side) for side in rng.integers(200, 900, 2))
        box = lung_bounding_box(probability, shape=(height, width), threshold="authors")
        assert box == authors_box(probability, height, width)


def test_threshold_keeps_the_pixels_at_it():
    probability = np.zeros((200, 200))
    probability[40:121, 40:121] = 0.5
    assert lung_bounding_box(probability, threshold=0.5) == (38, 122, 38, 122)


def test_box_is_a_plain_tuple_of_four_that_survives_pickling():
    box = lung_bounding_box(np.zeros((4, 6)))
    top, bottom, left, right = box
    assert (top, bottom, left, right) == (0, 4, 0, 6)
    copy = pickle.loads(pickle.dumps(box))
    assert copy == box
    assert copy.whole
    assert LungBox(1, 2, 3, 4).slices == (slice(1, 2), slice(3, 4))


@pytest.mark.parametrize(
    ("mask", "settings", "problem"),
    [
        (np.full((4, 4), 0.3), {}, "probability map. Give threshold"),
        (np.full((4, 4), np.nan), {"threshold": 0.5}, "mask: .*NaN"),
        (np.ones((4, 4, 3)), {}, r"got \(4, 4, 3\)"),
        (np.ones((0, 4)), {}, r"got \(0, 4\)"),
        (np.ones((4, 4)), {"margin": -0.1}, "margin: .*-0.1"),
        (np.ones((4, 4)), {"margin": np.nan}, "margin: .*nan"),
        (np.ones((4, 4)), {"pixels": -1}, "pixels: .*-1"),
        (np.ones((4, 4)), {"pixels": 0.5}, "pixels: .*0.5"),
        (np.ones((4, 4)), {"threshold": "author"}, "threshold: .*'author'"),
        (np.ones((4, 4)), {"threshold": 0}, "threshold: .*got 0"),
        (np.ones((4, 4)), {"shape": (0, 4)}, r"shape: .*\(0, 4\)"),
    ],
)
def test_what_cannot_be_used_is_named(mask, settings, problem):
    refused(problem, lung_bounding_box, mask, **settings)


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_crop_is_a_copy_of_the_box(image, channels):
    image = np.broadcast_to(image.reshape(120, 100, *[1] * len(channels)), (120, 100, *channels))
    mask = box_mask((120, 100), 20, 101, 10, 91)
    out = crop_to_lungs(image, mask)
    np.testing.assert_array_equal(out, image[18:102, 8:92])
    assert out.dtype == image.dtype
    assert not np.shares_memory(out, image)


def test_crop_by_an_empty_mask_is_the_image(image):
    np.testing.assert_array_equal(crop_to_lungs(image, np.zeros_like(image)), image)


def test_crop_by_a_small_map_must_be_asked_for(image):
    probability = np.zeros((12, 10), dtype=np.float32)
    probability[2:9, 1:8] = 1
    refused("mask: .*12 x 10 pixels, .* 120 x 100", crop_to_lungs, image, probability)
    out = crop_to_lungs(image, probability, threshold=0.5)  # rows 20..80, columns 10..70, 1 more each
    np.testing.assert_array_equal(out, image[19:81, 9:71])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, bool])
def test_keep_and_remove_add_up_and_keep_the_type(image, dtype):
    image = image.astype(dtype)
    mask = box_mask((120, 100), 20, 101, 10, 91)
    mask[30:40, 30:40] = 127
    kept, removed = keep_lungs(image, mask), remove_lungs(image, mask)
    assert kept.dtype == removed.dtype == dtype
    np.testing.assert_array_equal(kept, image * (mask > 0))
    np.testing.assert_array_equal(removed, image * (mask == 0))
    np.testing.assert_array_equal(kept | removed if dtype is bool else kept + removed, image)


def test_keep_and_remove_take_channels_and_maps(image):
    colour = np.dstack([image] * 3)
    probability = np.where(box_mask((120, 100), 20, 101, 10, 91), 0.3, 0.29)
    kept = keep_lungs(colour, probability, threshold=0.3)
    np.testing.assert_array_equal(kept[20:101, 10:91], colour[20:101, 10:91])
    assert kept.sum() == colour[20:101, 10:91].sum()
    assert remove_lungs(colour, probability[..., None], threshold=0.3).sum() == colour.sum() - kept.sum()


@pytest.mark.parametrize("function", [keep_lungs, remove_lungs])
def test_masking_refuses_another_mask(image, function):
    refused("119 x 100 pixels", function, image, np.ones((119, 100), np.uint8))
    refused("probability map", function, image, np.full((120, 100), 0.4))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_dilation_three_times_5_is_once_13(dtype):
    mask = np.zeros((40, 40), dtype)
    mask[20, 20] = mask[0, 39] = 1
    expected = np.zeros((40, 40), dtype)
    expected[14:27, 14:27] = expected[:7, 33:] = 1
    out = dilate_mask(mask, (5, 5), 3)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(dilate_mask(mask, 13, 1), expected)
    assert mask.sum() == 2


def test_dilation_by_nothing_and_by_a_line():
    mask = box_mask((9, 9), 4, 5, 4, 5)
    np.testing.assert_array_equal(dilate_mask(mask, 3, 0), mask)
    line = dilate_mask(mask[..., None], (1, 3), 1)[..., 0]
    np.testing.assert_array_equal(line, box_mask((9, 9), 4, 5, 3, 6))


@pytest.mark.parametrize(
    ("mask", "kernel", "iterations", "problem"),
    [
        (np.ones((4, 4), np.uint8), 0, 1, "kernel: .*got 0"),
        (np.ones((4, 4), np.uint8), 3, -1, "iterations: .*-1"),
        (np.ones((4, 4), np.int64), 3, 1, "mask: .*int64"),
        (np.ones(4, np.uint8), 3, 1, "one plane"),
    ],
)
def test_dilation_refuses(mask, kernel, iterations, problem):
    refused(problem, dilate_mask, mask, kernel, iterations)


@pytest.mark.real
def test_human_masks_give_boxes_inside_their_radiographs(real_data):
    from PIL import Image

    folder = real_data / "covid-chestxray-dataset"
    masks = sorted((folder / "annotations" / "lung-masks-darwin-v7").glob("*.png"))[:25]
    assert masks
    for path in masks:
        mask = np.asarray(Image.open(path).convert("L"))
        box = lung_bounding_box(mask)
        assert not box.whole
        inside = np.count_nonzero(mask[box.slices])
        assert inside >= 0.999 * np.count_nonzero(mask)
