"""Figures of explanations: what they draw and say."""

from __future__ import annotations

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba

from covid_keras.explain.lime_map import LimeExplanation
from covid_keras.reporting.explanations import (
    OPPOSES,
    SUPPORTS,
    ConcealedCase,
    HeatCase,
    concealment_figure,
    heat_grid,
    lime_figure,
)
from tests.helpers.pages import words_of

SHAPE = (40, 32)


def heat_case(name: str = "p1", lime: LimeExplanation | None = None) -> HeatCase:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:20] = 255
    heat = np.zeros(SHAPE)
    heat[18:22, 4:8] = 1
    return HeatCase(np.full(SHAPE, 90, np.uint8), heat, "for COVID-19, p = 0.93", mask, name, lime)


def explanation() -> LimeExplanation:
    segments = np.zeros(SHAPE, int)
    segments[:, 16:], segments[30:] = 1, 2
    return LimeExplanation(segments, np.array([0.3, -0.2, 0.0]), 1, 0.93, 0.71)


@pytest.mark.parametrize("plain", [False, True])
def test_the_grid_shows_every_map_with_its_share(plain):
    cases = [heat_case(f"p{i}") for i in range(4)]
    figure = heat_grid(cases, columns=3, plain=plain)
    shown = words_of(figure)
    assert all(f"p{i}" in shown for i in range(4))
    assert shown.count("p = 0.93") == 4
    assert shown.count("50 % of the heat in the lungs") == 4
    pictures = [axes for axes in figure.axes if axes.get_visible() and axes.images]
    assert len(pictures) == (8 if plain else 4)
    with pytest.raises(ValueError, match="no image"):
        heat_grid([])


def test_lime_is_green_and_red_with_signs_and_hatching():
    figure = lime_figure([heat_case(lime=explanation())])
    shown = words_of(figure)
    assert "2 heaviest superpixels" in shown
    assert "p = 0.93; linear fit R² = 0.71" in shown
    assert shown.count("−") >= 2  # in the picture, and in the legend
    filled = {tuple(c.get_facecolor()[0][:3]): c.hatches for c in figure.axes[2].collections if len(c.get_facecolor())}
    assert filled[to_rgba(SUPPORTS)[:3]] != filled[to_rgba(OPPOSES)[:3]]
    for without in (heat_case(), HeatCase(np.zeros((9, 9), np.uint8), np.zeros((9, 9)), "", lime=explanation())):
        with pytest.raises(ValueError, match="no LIME explanation"):
            lime_figure([without])


def test_concealment_says_both_probabilities_and_shares():
    text, before = np.zeros(SHAPE, bool), np.zeros(SHAPE)
    text[:4, :4] = True
    before[:4, :8] = 1
    picture = np.full(SHAPE, 80, np.uint8)
    case = ConcealedCase(picture, picture, before, np.zeros(SHAPE), text, 0.91, 0.34, "p7")
    shown = words_of(concealment_figure([case, case]))
    for said in ("p7\nbefore", "p = 0.91", "p = 0.34", "50 % of it on the text", "no heat"):
        assert said in shown


def test_figures_leave_the_style_of_others_alone():
    before = dict(matplotlib.rcParams)
    heat_grid([heat_case()])
    assert dict(matplotlib.rcParams) == before
