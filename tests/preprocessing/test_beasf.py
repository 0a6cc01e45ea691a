"""BEASF against a slow, literal oracle: the nine steps of the authors' function in plain Python."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from covid_keras.preprocessing import beasf
from covid_keras.preprocessing.beasf import _lower_levels, _upper_levels
from tests.helpers.refusals import refused


class Undefined(Exception):
    """The authors' function fails here, or divides zero by zero."""


def oracle(image: np.ndarray, gamma: float) -> np.ndarray:
    """Do what the authors' function does, one pixel and one level at a time."""
    pixels = [int(value) for value in image.ravel()]
    n, low, high = len(pixels), min(pixels), max(pixels)
    m = sum(pixels) // n
    if low == high or m == 0:
        raise Undefined
    h = [0.0] * 256
    for value in set(pixels):
        number = 255 if value == high else math.floor(256 * (value - low) / (high - low))
        h[number] += pixels.count(value) / n
    sum_low = sum_up = 0.0
    for i in range(0, m + 1):
        sum_low += h[i]
    for i in range(m, 256):
        sum_up += h[i]
    half_low = _first_above_half([h[i] / sum_low if i <= m else 0.0 for i in range(256)], 0, m + 2)
    half_up = _first_above_half([h[i] / sum_up if i >= m else 0.0 for i in range(256)], m + 1, 257) - 1
    s_low = {i: 1 / (1 + math.exp(-gamma * 5 * (i - half_low) / m)) for i in range(0, m + 1)}
    s_up = {i: 1 / (1 + math.exp(-gamma * 5 * (i - half_up) / (255 - m))) for i in range(m, 256)}
    a = {i: math.trunc(m * s_low[i]) for i in range(0, m + 1)}
    b = {i: math.trunc(m + (255 - m) * s_up[i - 1]) for i in range(m + 1, 256)}
    if a[m] == a[0] or b[255] == b[m + 1]:
        raise Undefined
    new = {i: math.trunc((m / (a[m] - a[0])) * (a[i] - a[0])) for i in a}
    new |= {i: (255 - m) * (b[i] - b[m + 1]) / (b[255] - b[m + 1]) + m for i in b}
    return np.array([math.trunc(new[value]) for value in pixels], dtype=np.uint8).reshape(image.shape)


def _first_above_half(shares: list[float], start: int, stop: int) -> int:
    total, cumulative = 0.0, []
    for share in shares:
        total += share
        cumulative.append(total)
    for i in range(start, stop):
        if cumulative[i] > 0.5:
            return i
    return 0


def check(image: np.ndarray, gamma: float) -> bool:
    """Compare with the oracle; return whether it is defined here."""
    try:
        expected = oracle(image, gamma)
    except Undefined:
        np.testing.assert_array_equal(beasf(image, gamma), image)
        return False
    np.testing.assert_array_equal(beasf(image, gamma), expected)
    return True


def random_image(rng: np.random.Generator) -> np.ndarray:
    """One of several kinds: full range, narrow range, few levels, skewed dark or bright, smooth."""
    shape = tuple(rng.integers(2, 24, 2))
    kind = rng.integers(5)
    if kind == 0:
        return rng.integers(0, 256, shape, dtype=np.uint8)
    if kind == 1:
        low, high = np.sort(rng.integers(0, 256, 2))
        return rng.integers(low, high + 1, shape).astype(np.uint8)
    if kind == 2:
        return rng.choice(rng.integers(0, 256, rng.integers(2, 5)), shape).astype(np.uint8)
    if kind == 3:
        return (255 * rng.random(shape) ** rng.choice([0.05, 0.2, 5, 20])).astype(np.uint8)
    return cv2.GaussianBlur(rng.integers(0, 256, shape, dtype=np.uint8), (0, 0), 2)


def test_random_images_match_the_oracle():
    rng = np.random.default_rng(0)
    defined = sum(check(random_image(rng), rng.uniform(0.5, 3)) for _ in range(800))
    assert defined > 650  # most must test the method, not its way out


@settings(max_examples=200, deadline=None)
@given(arrays(np.uint8, st.tuples(*[st.integers(1, 9)] * 2)), st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]))
def test_any_image_matches_the_oracle(image, gamma):
    check(image, gamma)


def test_every_pair_of_two_levels_matches_the_oracle():
    defined = 0
    for low in range(0, 255, 9):
        for high in range(low + 1, 256, 9):
            defined += check(np.array([[low, low, high]], dtype=np.uint8), 1.5)
    assert defined > 300


@pytest.mark.parametrize("gamma", [0.5, 1.0, 1.5, 2.0, 3.0])
def test_a_radiograph_like_image_matches_the_oracle(gamma):
    rng = np.random.default_rng(3)
    image = cv2.GaussianBlur(rng.integers(0, 256, (48, 40), dtype=np.uint8), (0, 0), 3)
    image = cv2.normalize(image, None, 12, 240, cv2.NORM_MINMAX)
    assert check(image, gamma)


def test_ends_stay_and_the_mean_level_is_doubled():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)  # mean level 127
    out = beasf(image).ravel()
    assert (out[0], out[127], out[128], out[255]) == (0, 127, 127, 255)
    assert np.all(np.diff(out.astype(int)) >= 0)


def test_level_of_the_mean_falls_short_exactly_as_often_as_the_authors():
    # known of the authors' function at gamma 1.5: 2,761 of the 32,896 pairs, none below a mean of 15
    short = []
    for mean in range(256):
        for half in range(mean + 1):
            levels = _lower_levels(mean, half, 1.5) if mean else None
            if levels is not None and levels[-1] != mean:
                assert levels[-1] == mean - 1
                short.append(mean)
    assert (len(short), min(short)) == (2761, 15)


def test_ranges_that_are_undefined_are_those_of_the_authors():
    lower = [(m, half) for m in range(1, 256) for half in range(m + 1) if _lower_levels(m, half, 1.5) is None]
    upper = [(m, half) for m in range(255) for half in range(m, 255) if _upper_levels(m, half, 1.5) is None]
    assert lower == [(1, 0), (1, 1), (2, 0)]
    assert upper == [(253, 253), (254, 254)]


@pytest.mark.parametrize("level", [0, 2, 100, 128, 129, 255])
def test_one_level_comes_back_unchanged(level):
    image = np.full((7, 5), level, dtype=np.uint8)
    out = beasf(image)
    np.testing.assert_array_equal(out, image)
    assert out is not image
    assert not np.shares_memory(out, image)


@pytest.mark.parametrize("values", [[0, 0, 1], [0, 1, 2], [1, 1, 2], [254, 255, 255], [253, 255, 255]])
def test_nearly_black_or_white_comes_back_unchanged(values):
    image = np.array([values], dtype=np.uint8)
    np.testing.assert_array_equal(beasf(image), image)


@pytest.mark.filterwarnings("error")
def test_no_gamma_or_image_gives_a_warning():
    image = np.random.default_rng(1).integers(0, 256, (20, 20), dtype=np.uint8)
    assert beasf(image, gamma=1000.0).std() > image.std()
    np.testing.assert_array_equal(beasf(image, gamma=0.0), image)
    np.testing.assert_array_equal(beasf(image * 0), image * 0)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_shape_and_type_are_kept(dtype):
    image = np.random.default_rng(2).integers(0, 256, (11, 6, 1))
    out = beasf(image.astype(dtype))
    assert (out.shape, out.dtype) == ((11, 6, 1), dtype)
    np.testing.assert_array_equal(out[..., 0], oracle(image[..., 0], 1.5))


def test_the_argument_is_left_alone_and_may_be_a_view():
    image = np.random.default_rng(4).integers(0, 256, (30, 30), dtype=np.uint8)
    before = image.copy()
    out = beasf(image[::-2, ::3])
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(out, oracle(before[::-2, ::3], 1.5))


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        (np.zeros((4, 4), dtype=np.float32), "float32"),
        (np.zeros((4, 4), dtype=bool), "bool"),
        (np.zeros((4, 4, 3), dtype=np.uint8), r"got \(4, 4, 3\)"),
        (np.zeros((0, 4), dtype=np.uint8), r"got \(0, 4\)"),
        (np.full((4, 4), 256, dtype=np.uint16), "256 to 256"),
        (np.full((4, 4), -1, dtype=np.int16), "-1 to -1"),
    ],
)
def test_an_image_that_cannot_be_used_is_named(image, problem):
    refused(problem, beasf, image)


@pytest.mark.parametrize("gamma", [math.nan, math.inf])
def test_gamma_must_be_finite(gamma):
    refused(r"gamma: .* not a finite number", beasf, np.zeros((4, 4), dtype=np.uint8), gamma)
