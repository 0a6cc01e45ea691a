"""`covid_keras.predict` and `covid_keras.segment`: the shipped networks on a phantom, from files and from arrays."""

from __future__ import annotations

import numpy as np
import pytest

import covid_keras
from covid_keras.data import write_image
from covid_keras.data.phantom import phantom_image


@pytest.fixture(scope="module")
def chest() -> np.ndarray:
    return phantom_image(1, (200, 240), "normal", 0).image


@pytest.fixture(scope="module")
def folder(chest, tmp_path_factory):
    path = tmp_path_factory.mktemp("ward")
    write_image(path / "chest.png", chest)
    write_image(path / "noise.png", np.random.default_rng(0).integers(0, 255, (90, 90)).astype(np.uint8))
    (path / "broken.png").write_bytes(b"")
    return path


@pytest.mark.parametrize(
    "change", [lambda x: x.astype(np.uint16) * 257, lambda x: x.astype(np.float32) / 255, lambda x: x.astype(int) - 99]
)
def test_the_depth_of_an_array_does_not_matter(chest, folder, change):
    of_file = covid_keras.predict(str(folder / "chest.png"))
    of_array = covid_keras.predict(change(chest))
    assert of_array.probabilities == pytest.approx(of_file.probabilities, abs=1e-4)
    assert set(of_file.probabilities) == {"normal", "COVID-19"}
    assert of_file.predicted == max(of_file.probabilities, key=of_file.probabilities.get)
    assert (of_file.doubt, of_file.warnings, of_file.error) == ("", (), "")


def test_noise_has_no_score_unless_asked(folder):
    noise = folder / "noise.png"
    with pytest.raises(covid_keras.UserError, match="is not a"):
        covid_keras.predict(noise)
    assert covid_keras.predict(noise, score_doubtful=True).doubt
    (found,) = covid_keras.predict([noise], skip_unreadable=True)
    assert found.error
    assert not found.probabilities


def test_every_bad_picture_is_named(folder, chest):
    with pytest.raises(covid_keras.UserError) as caught:
        covid_keras.predict([chest, np.zeros((3, 40, 40)), np.full((40, 40), np.nan), np.zeros((40, 40), bool)])
    assert [error.subject for error in caught.value.errors] == ["array 2", "array 3", "array 4"]
    found = covid_keras.predict(folder, skip_unreadable=True)
    assert [one.image.name for one in found if not one.error] == ["chest.png"]


def test_masks(folder, chest):
    mask = covid_keras.segment(chest.astype(np.float64))
    assert (mask.shape, mask.dtype, set(np.unique(mask))) == (chest.shape, np.uint8, {0, 255})
    broken, again, _ = covid_keras.segment(folder, skip_unreadable=True)
    assert broken is None
    np.testing.assert_array_equal(again, mask)
