"""Where the heat lies, against known shares."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.explain import heat_in_lungs, lung_area_share


def test_heat_in_lungs_known_shares():
    mask = np.zeros((10, 20), np.uint8)
    mask[:, :5] = 255
    assert heat_in_lungs(np.ones((10, 20)), mask) == pytest.approx(0.25)
    assert heat_in_lungs(mask / 255.0, mask) == 1.0
    assert heat_in_lungs(mask == 0, mask) == 0.0


def test_even_heat_scores_the_area_share_at_any_scale():
    mask = np.random.default_rng(0).random((31, 17)) > 0.7
    heat = np.full(mask.shape, 7.5, np.float32)
    assert heat_in_lungs(heat, mask) == pytest.approx(lung_area_share(mask))
    assert heat_in_lungs(heat, mask) == pytest.approx(heat_in_lungs(heat * 1e-3, mask))


def test_no_heat_is_nan_and_no_lungs_is_zero():
    assert np.isnan(heat_in_lungs(np.zeros((4, 4)), np.ones((4, 4))))
    assert heat_in_lungs(np.ones((4, 4)), np.zeros((4, 4))) == 0.0
    assert lung_area_share(np.zeros((4, 4))) == 0.0


@pytest.mark.parametrize(
    ("heat", "mask", "message"),
    [
        (np.ones((4, 4)), np.ones((4, 5)), r"got \(4, 4\) and \(4, 5\)"),
        (np.full((4, 4), -1.0), np.ones((4, 4)), "not negative"),
        (np.full((4, 4), np.nan), np.ones((4, 4)), "finite"),
        (np.ones((4, 4)), np.ones((4, 4, 1)), "shape"),
    ],
)
def test_bad_input_is_refused(heat, mask, message):
    with pytest.raises(ValueError, match=message):
        heat_in_lungs(heat, mask)
