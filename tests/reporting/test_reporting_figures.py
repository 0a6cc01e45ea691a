"""Figures: what they draw, and that they leave nothing behind."""

from __future__ import annotations

from dataclasses import replace

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from covid_keras.evaluation import PublishedCell
from covid_keras.evaluation.summary import Measured
from covid_keras.reporting import (
    Explanation,
    comparison_figure,
    confusion_panels,
    explanation_figure,
    learning_panels,
    roc_figure,
    severity_figure,
)
from covid_keras.reporting.style import OKABE_ITO, series_styles
from tests.helpers.pages import words_of


def legend_of(figure: Figure) -> list[str]:
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in legends for text in legend.get_texts()]


def square_case() -> Explanation:
    image = np.full((40, 30), 90, np.uint8)
    mask = np.zeros((40, 30), np.uint8)
    mask[:20] = 255
    inside = np.zeros((40, 30), np.float32)
    inside[5:10, 5:10] = 1
    return Explanation(image, inside, np.zeros_like(inside), "covid", "covid", "normal", 0.9, mask, "p1")


def test_confusion_sums_executions_and_gives_row_percentages():
    matrix = np.array([[[3, 1], [0, 4]], [[3, 1], [2, 2]]])
    figure = confusion_panels({"Crop": matrix}, ["negative", "positive"])
    shown = words_of(figure)
    assert "6\n75.0 %" in shown
    assert "2\n25.0 %" in shown
    assert "sum of 2 executions" in shown
    assert "0\n0.0 %" in words_of(confusion_panels({"a": np.array([[0, 0], [1, 1]])}, ["a", "b"]))


def test_roc_of_a_perfect_and_a_chance_system():
    labels = np.tile([0, 1], 50)
    figure = roc_figure(
        {
            "perfect": [(labels, labels.astype(float))],
            "even": [(labels, np.zeros(100))] * 12,
        },
        "ROC",
        "COVID-19",
    )
    legend = legend_of(figure)
    assert "perfect: AUC 1.000" in legend
    assert "even: AUC 0.500 ± 0.000 (12 executions)" in legend
    curve = next(line for line in figure.axes[0].lines if line.get_label().startswith("perfect"))
    assert curve.get_xydata()[0].tolist() == [0.0, 0.0]
    assert curve.get_ydata()[1:].min() == 1.0
    assert "sensitivity for COVID-19" in words_of(figure)


def test_confusion_panels_hold_each_systems_own_matrix():
    """Four systems are two rows; the empty place stays white."""
    matrices = {name: np.array([[at, 1], [0, 4]]) for at, name in enumerate("abcd", 11)}
    figure = confusion_panels(matrices, ["negative", "positive"], "All of them")
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.images]
    assert [axes.get_title("left") for axes in panels] == list("abcd")
    assert [axes.texts[0].get_text().split("\n")[0] for axes in panels] == ["11", "12", "13", "14"]
    assert "All of them" in words_of(figure)
    with pytest.raises(ValueError, match="no confusion matrix"):
        confusion_panels({}, ["a", "b"])
    with pytest.raises(ValueError, match="3 classes"):
        confusion_panels({"a": np.eye(2)}, ["a", "b", "c"])


def test_many_roc_curves_are_told_apart_without_colour():
    labels = np.tile([0, 1], 50)
    scores = np.random.default_rng(0).random((8, 2, 100))
    figure = roc_figure({f"s{n}": [(labels, one) for one in pair] for n, pair in enumerate(scores)})
    lines = [line for line in figure.axes[0].lines if line.get_label().startswith("s")]
    assert len(lines) == 8, "the means alone, their executions would cover each other"
    looks = {(line.get_marker(), str(line.get_linestyle()), line.is_dashed()) for line in lines}
    assert len(looks) == 8
    assert len({(line.get_color(), line.is_dashed()) for line in lines}) == 8
    assert len(figure.axes[0].lines) == 9, "and chance"


def test_learning_panels_have_one_row_per_system():
    one = {"loss": [3.0, 2.0], "val_loss": [2.0, 1.0], "accuracy": [0.5, 0.6], "val_accuracy": [0.5, 0.75]}
    other = {"loss": [5.0, 4.0]}
    figure = learning_panels({"first": ([one, one], [2, 1]), "second": ([other], [1])}, "Curves")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title("left") for axes in shown] == ["first", "", "second"]
    assert [axes.get_xlabel() for axes in shown] == ["", "", "epoch"]
    marks = [line.get_xydata()[0].tolist() for line in shown[1].lines if line.get_marker() == "o"]
    assert marks == [[2, 75], [1, 50]]
    assert legend_of(figure) == ["training", "validation", "best epoch (validation)"]
    with pytest.raises(ValueError, match="no history"):
        learning_panels({})


def test_roc_refuses_what_has_no_curve():
    with pytest.raises(ValueError, match="one class only"):
        roc_figure({"a": [(np.ones(4), np.ones(4))]})
    with pytest.raises(ValueError, match="no execution"):
        roc_figure({"a": []})


def test_a_long_title_of_a_roc_figure_is_not_cut_off():
    title = "Two classes: COVID-19 against normal and pneumonia, lungs alone, all five systems of the profile"
    figure = roc_figure({"a": [(np.array([0, 1]), np.array([0.1, 0.9]))]}, title)
    assert title in words_of(figure).replace("\n", " ")
    (drawn,) = [part for part in figure.axes[0].findobj(matplotlib.text.Text) if part.get_text().startswith("Two ")]
    box = drawn.get_window_extent()
    assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1


def test_learning_curves_mark_the_best_epoch():
    history = {
        "loss": [3, 2, 1, 0.5],
        "val_loss": [2, 1, 1.5, 2],
        "accuracy": [0.5, 0.6, 0.7, 0.9],
        "val_accuracy": [0.5, 0.7, 0.6, 0.6],
    }
    figure = learning_panels({"Crop": ([history, pd.DataFrame(history)], [2, 3])})
    marks = [line.get_xydata()[0].tolist() for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert marks == [[2, 1], [3, 1.5]]
    assert figure.axes[0].get_yscale() == "linear"
    bumpy = {"loss": [0.7, 0.6, 0.5], "val_loss": [9000.0, 2.0, 0.6]}
    flat = learning_panels({"Crop": ([bumpy], [3])}).axes[0]
    assert (flat.get_yscale(), flat.get_ylabel()) == ("log", "loss (log scale)")


def test_severity_shows_ours_and_the_papers():
    measured = [
        Measured("crop", "accuracy_Mild", 60.0, 5, 1, 5, 50, 70, 9, 9),
        Measured("crop", "accuracy", 75.0, 5, 1, 5, 70, 80, 9, 9),
    ]
    paper = PublishedCell("VI", "Mild", "accuracy", 61.8, 5.49, "percent", 61.8, "", "sdnet", "accuracy_Mild", 2, 2, "")
    figure = severity_figure(measured, [paper], {"crop": "With crop"})
    assert sorted(legend_of(figure)) == ["ours (95 % interval)", "paper (mean ± std)"]
    assert "accuracy (%)" in words_of(figure)
    assert [axes.get_title("left") for axes in figure.axes] == ["With crop", "sdnet"], "one panel per system"
    heights = [{float(y) for line in axes.lines for y in line.get_ydata()} for axes in figure.axes]
    assert 60.0 in heights[0]
    assert 61.8 in heights[1]
    with pytest.raises(ValueError, match="no accuracy of the severities"):
        severity_figure(measured[1:])


def test_comparison_figure_has_one_panel_per_metric():
    rows = [(row, column, 60.0, np.nan, 62.0, 61.0, 60.0, 64.0) for row in ("a", "b") for column in "uvwxy"]
    frame = pd.DataFrame(rows, columns=["row", "column", "paper", "paper_std", "target", "ours", "low", "high"])
    figure = comparison_figure(frame.assign(ours=frame["ours"].where(frame["row"] == "a")))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() or axes.get_title("left") for axes in panels] == list("uvwxy")
    assert legend_of(figure) == ["paper (mean ± std)", "ours (95 % interval)"]
    with pytest.raises(ValueError, match="no cell"):
        comparison_figure(frame[:0])


def test_explanation_captions_give_the_shares():
    case = square_case()
    shown = words_of(explanation_figure([case, replace(case, mask=None, predicted="normal", other="covid")]))
    assert "100 % of the heat in the lungs\n(lungs: 50 % of the picture)" in shown
    assert "no heat" in shown
    assert "predicted: covid (0.90, correct)" in shown
    assert "predicted: normal (0.90, wrong)" in shown
    assert "no lungs found" in words_of(explanation_figure([replace(case, mask=np.zeros((40, 30)))]))
    with pytest.raises(ValueError, match="no image"):
        explanation_figure([])


@pytest.mark.slow
def test_no_state_is_left_behind():
    before = dict(matplotlib.rcParams)
    confusion_panels({"a": np.eye(2, dtype=int)}, ["a", "b"])
    assert dict(matplotlib.rcParams) == before


def test_series_styles_are_distinct():
    styles = series_styles(map(str, range(13))).values()
    for kind in ("marker", "line"):
        assert len({(style.colour, getattr(style, kind)) for style in styles}) == 13, kind
    assert {style.colour for style in styles} == set(OKABE_ITO.values())
