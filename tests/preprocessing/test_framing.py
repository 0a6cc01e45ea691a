"""COVIDNet's cuts: how many rows go, and from where."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from covid_keras.common.errors import UserError
from covid_keras.preprocessing.framing import centre_square, drop_top, resize_truncated, truncate
from tests.helpers.refusals import refused


@pytest.mark.parametrize(("height", "left"), [(100, 92), (99, 92), (112, 104), (12, 12), (1, 1)])
def test_rows_are_dropped_from_the_top_rounded_down(height, left):
    image = np.repeat(np.arange(height)[:, None], 7, axis=1)
    cut = drop_top(image)
    assert cut.shape == (left, 7)
    assert list(cut[:, 0]) == list(range(height - left, height))


def test_the_share_can_be_given():
    assert drop_top(np.zeros((10, 4, 3), np.uint8), 0.25).shape == (8, 4, 3)
    assert drop_top(np.zeros((10, 4)), 0).shape == (10, 4)
    assert drop_top(np.zeros((10, 4)), 0.999).shape == (1, 4)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (6, 6), (5, 8, 3), (1, 9)])
def test_the_square_is_the_largest_and_central(shape):
    rows, columns = np.indices(shape[:2])
    image = (100 * rows + columns).reshape(*shape[:2], *[1] * (len(shape) - 2)) * np.ones(shape, int)
    square, side = centre_square(image), min(shape[:2])
    assert square.shape == (side, side, *shape[2:])
    corner = square[0, 0] if square.ndim == 2 else square[0, 0, 0]
    assert corner == 100 * ((shape[0] - side) // 2) + (shape[1] - side) // 2


def test_arguments_stay_and_types_too():
    image = np.arange(60, dtype=np.uint16).reshape(6, 10)
    before = image.copy()
    assert centre_square(drop_top(image, 0.5)).dtype == np.uint16
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("share", [-0.1, 1, 1.5, float("nan")])
def test_shares_out_of_range_are_refused(share):
    refused("share", drop_top, np.zeros((10, 10)), share)


@pytest.mark.parametrize("cut", [drop_top, centre_square])
@pytest.mark.parametrize("shape", [(), (5,), (0, 5), (5, 0, 3), (1, 2, 3, 4)])
def test_what_is_no_image_is_refused(cut, shape):
    refused("image: ", cut, np.zeros(shape))


def test_overshoot_is_held_or_wraps_as_the_authors_cast_does():
    values = np.array([[256.4, 255.9, 254.99, 300, -0.5, -1.5, -20, 0]], np.float32)
    assert truncate(values).tolist() == [[255, 255, 254, 255, 0, 0, 0, 0]]
    assert truncate(values, "wrap").tolist() == [[0, 255, 254, 44, 0, 255, 236, 0]]


def test_cubic_resizing_at_an_edge_differs_in_the_specks_alone():
    """A white field on black: black specks within the white and white ones within the black where values wrap."""
    image = np.zeros((61, 50), np.uint8)
    image[20:, 13:] = 255
    exact = cv2.resize(image.astype(np.float32), (77, 90), interpolation=cv2.INTER_CUBIC)
    held, wrapped = (resize_truncated(image, (90, 77), overflow=overflow) for overflow in ("clip", "wrap"))
    assert held.dtype == wrapped.dtype == np.uint8
    assert held.shape == (90, 77)
    outside = (exact >= 256) | (exact <= -1)
    assert (exact >= 256).any()
    assert (exact <= -1).any()
    np.testing.assert_array_equal(held != wrapped, outside)
    np.testing.assert_array_equal(held, np.floor(np.clip(exact, 0, 255)))
    assert (wrapped[exact >= 256] < 64).all()
    assert (wrapped[exact <= -1] > 191).all()


def test_resizing_rounds_down_and_takes_channels_and_other_interpolations():
    image = np.random.default_rng(3).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    for interpolation in (cv2.INTER_CUBIC, cv2.INTER_LINEAR, cv2.INTER_AREA):
        exact = cv2.resize(image.astype(np.float32), (20, 25), interpolation=interpolation)
        np.testing.assert_array_equal(
            resize_truncated(image, (25, 20), interpolation), np.floor(np.clip(exact, 0, 255))
        )
    np.testing.assert_array_equal(resize_truncated(image, (40, 30)), image)


def test_an_unknown_overflow_is_refused():
    with pytest.raises(UserError, match=r"overflow: 'saturate' is unknown\. Use one of clip, wrap"):
        resize_truncated(np.zeros((10, 10), np.uint8), (5, 5), overflow="saturate")
    refused("image: ", resize_truncated, np.zeros(5, np.uint8), (5, 5))
