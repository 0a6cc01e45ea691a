"""Figures of contrast enhancement: which pictures they show, and that the grey levels beneath are theirs."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from matplotlib.figure import Figure

from covid_keras.common.errors import UserError
from covid_keras.preprocessing import beasf, clahe, equalize_adaptive, equalize_histogram
from papers.covid_cxnet.enhancements import beasf_figure, enhancement_figure


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    noise = np.random.default_rng(2).integers(30, 200, (9, 8), dtype=np.uint8)
    return cv2.resize(noise, (80, 90), interpolation=cv2.INTER_CUBIC)


def pictures(figure: Figure) -> dict[str, np.ndarray]:
    """The pictures shown, by title; the figure is drawn on the way, so that it can be."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return {axes.get_title(loc="left"): axes.images[0].get_array() for axes in figure.axes if axes.images}


def histograms(figure: Figure) -> list:
    return [axes for axes in figure.axes if not axes.images and axes.get_visible()]


def test_the_enhancements_are_shown_in_order(image):
    shown = pictures(enhancement_figure(image))
    made = {"original": image, "HE": equalize_histogram(image), "AHE": equalize_adaptive(image), "CLAHE": clahe(image)}
    assert list(shown) == list(made)
    for name, picture in made.items():
        np.testing.assert_array_equal(shown[name], picture)


def test_beasf_is_shown_with_each_gamma_beside_clahe(image):
    shown = pictures(beasf_figure(image))
    gammas = (0.5, 1, 1.5, 2, 3)
    assert list(shown) == ["original", "CLAHE", *(f"BEASF, γ = {gamma}" for gamma in gammas)]
    np.testing.assert_array_equal(shown["CLAHE"], clahe(image))
    for gamma in gammas:
        np.testing.assert_array_equal(shown[f"BEASF, γ = {gamma}"], beasf(image, gamma))
    assert list(pictures(beasf_figure(image[..., None], [0.7]))) == ["original", "CLAHE", "BEASF, γ = 0.7"]


@pytest.mark.parametrize("draw", [enhancement_figure, beasf_figure])
def test_beneath_each_picture_are_its_grey_levels(image, draw):
    figure = draw(image)
    shown = pictures(figure)
    beneath = histograms(figure)
    assert len(beneath) == len(shown)
    assert len({axes.get_ylim() for axes in beneath}) == 1
    # subplots are listed row by row: pictures and histograms are in the same order
    for axes, (name, picture) in zip(beneath, shown.items(), strict=True):
        values, edges, _ = axes.patches[0].get_data()
        counts, _ = np.histogram(np.asarray(picture), edges)
        np.testing.assert_allclose(values, 100 * counts / picture.size, err_msg=name)
        assert values.sum() == pytest.approx(100)
        assert axes.get_xlabel() == f"grey level (mean {np.asarray(picture).mean():.0f})"


def test_a_large_picture_is_shrunk_before_it_is_enhanced(image):
    large = cv2.resize(image, (400, 800), interpolation=cv2.INTER_LINEAR)
    shown = pictures(enhancement_figure(large))
    small = cv2.resize(large, (160, 320), interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(shown["original"], small)
    np.testing.assert_array_equal(shown["AHE"], equalize_adaptive(small))


def test_one_grey_level_can_be_drawn():
    flat = np.full((40, 40), 90, np.uint8)
    assert len(pictures(enhancement_figure(flat))) == 4
    assert len(pictures(beasf_figure(flat))) == 7


def test_the_title_is_the_callers(image):
    assert enhancement_figure(image, "Figure 2").get_suptitle() == "Figure 2"
    assert beasf_figure(image, title="Figure 3").get_suptitle() == "Figure 3"


@pytest.mark.parametrize("draw", [enhancement_figure, beasf_figure])
@pytest.mark.parametrize("wrong", [np.zeros((400, 500)), np.zeros((40, 40, 3), np.uint8), np.zeros(5, np.uint8)])
def test_what_is_no_grey_picture_is_refused(draw, wrong):
    with pytest.raises(UserError, match="image"):
        draw(wrong)


def test_no_bar_is_cut_off(image):
    steep = beasf_figure(image, [3, 20])
    pictures(steep)
    highest = max(axes.patches[0].get_data().values.max() for axes in histograms(steep))
    assert highest < histograms(steep)[0].get_ylim()[1] < 1.2 * highest
