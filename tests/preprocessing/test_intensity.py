from __future__ import annotations

import numpy as np
import pytest
from skimage.exposure import match_histograms

from covid_keras.preprocessing import match_histogram, minmax_normalize, standardize
from tests.helpers.refusals import refused


def literal_match(source: np.ndarray, template: np.ndarray) -> np.ndarray:
    """COVID-CXNet's histogram matching, by `np.unique`."""
    _, where, source_counts = np.unique(source.ravel(), return_inverse=True, return_counts=True)
    template_values, template_counts = np.unique(template.ravel(), return_counts=True)
    source_quantiles = np.cumsum(source_counts).astype(np.float64)
    source_quantiles /= source_quantiles[-1]
    template_quantiles = np.cumsum(template_counts).astype(np.float64)
    template_quantiles /= template_quantiles[-1]
    matched = np.interp(source_quantiles, template_quantiles, template_values)
    return matched[where].reshape(source.shape).astype(np.uint8)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float32, np.float64])
def test_minmax_reaches_0_and_1(rng, dtype):
    image = rng.integers(3, 200, (9, 7)).astype(dtype)
    out = minmax_normalize(image)
    assert (out.dtype, out.shape, out.min(), out.max()) == (np.float32, image.shape, 0, 1)
    expected = (image.astype(float) - image.min()) / (float(image.max()) - float(image.min()))
    np.testing.assert_allclose(out, expected, atol=1e-7)


def test_minmax_of_signed_extremes_does_not_wrap():
    out = minmax_normalize(np.array([-32768, 0, 32767], dtype=np.int16))
    np.testing.assert_allclose(out, [0, 0.5, 1], atol=1e-4)


@pytest.mark.parametrize("level", [0, 17, 255])
def test_minmax_of_one_level_is_zero(level):
    np.testing.assert_array_equal(minmax_normalize(np.full((4, 4), level, dtype=np.uint8)), np.zeros((4, 4)))


@pytest.mark.parametrize(("image", "problem"), [(np.zeros((0, 3)), "empty"), (np.array([[0, np.nan]]), "NaN")])
def test_pixels_that_cannot_be_scaled(image, problem):
    refused(problem, minmax_normalize, image)
    refused(problem, standardize, image, 0, 1)


def test_standardize_with_own_moments_has_mean_0_and_std_1(rng):
    image = minmax_normalize(rng.integers(0, 256, (40, 40), dtype=np.uint8))
    out = standardize(image, image.mean(), image.std())
    assert out.dtype == np.float32
    assert abs(out.mean()) < 1e-5
    assert abs(out.std() - 1) < 1e-5


def test_standardize_takes_one_mean_a_channel(rng):
    image = rng.random((4, 5, 3))
    out = standardize(image, image.mean((0, 1)), image.std((0, 1)))
    np.testing.assert_allclose(out.mean((0, 1)), 0, atol=1e-6)


@pytest.mark.parametrize("std", [0, -1, np.nan, np.inf, [1, 0, 1]])
def test_standardize_refuses_a_std_it_cannot_divide_by(std):
    refused("std: must be positive", standardize, np.ones((2, 3)), 0, std)


def test_standardize_refuses_other_moments():
    refused("mean: must be finite", standardize, np.ones((2, 3)), np.nan, 1)
    refused("do not broadcast", standardize, np.ones((2, 3)), np.zeros(4), 1)
    refused("do not broadcast", standardize, np.ones((2, 3)), np.zeros((5, 2, 3)), 1)


def test_matching_is_the_literal_method():
    rng = np.random.default_rng(0)
    for _ in range(300):
        source, template = (
            rng.integers(*sorted(rng.choice(257, 2, replace=False)), rng.integers(1, 30, 2)).astype(np.uint8)
            for _ in range(2)
        )
        np.testing.assert_array_equal(match_histogram(source, template), literal_match(source, template))


def test_matching_agrees_with_scikit_image_up_to_the_truncation(rng):
    source = rng.integers(0, 180, (64, 50), dtype=np.uint8)
    template = (255 * rng.random((40, 70)) ** 2).astype(np.uint8)
    ours = match_histogram(source, template).astype(float)
    theirs = match_histograms(source, template).astype(float)
    assert np.abs(ours - theirs).max() <= 1
    assert ours.max() == template.max()


def test_an_image_matched_to_itself_is_itself(rng):
    image = rng.integers(0, 256, (30, 30, 1), dtype=np.uint8)
    np.testing.assert_array_equal(match_histogram(image, image), image)


def test_one_level_becomes_the_brightest_of_the_reference(rng):
    reference = rng.integers(0, 200, (30, 30), dtype=np.uint8)
    out = match_histogram(np.full((3, 3), 9, dtype=np.uint8), reference)
    np.testing.assert_array_equal(out, np.full((3, 3), reference.max()))


def test_the_argument_at_fault_is_named(rng):
    grey = rng.integers(0, 256, (5, 5), dtype=np.uint8)
    refused(r"^image: .*float64", match_histogram, grey / 255, grey)
    refused(r"^reference: .*\(5, 5, 3\)", match_histogram, grey, np.dstack([grey] * 3))
