"""The forest of means with intervals, and the words that sections share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.evaluation import Difference, Measured, PublishedCell
from covid_keras.reporting import differences as beside
from covid_keras.reporting.forest import forest_figure


def test_a_line_a_task_and_a_mark_a_series():
    rows = [("A", False, "x", 1, 0, 3), ("A", False, "y", 2, 1, 4), ("B", True, "x", -1, -2, 0)]
    frame = pd.DataFrame(rows, columns=["task", "control", "part", "mean", "low", "high"])
    figure = forest_figure(frame, "t", "points", 0, "no gain")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["A", "B"]
    marks = {container.get_label(): container for container in axes.containers}
    assert list(marks["x"].lines[0].get_xdata()) == [1, -1]
    segments = marks["x"].lines[2][0].get_segments()
    assert [sorted(segment[:, 0]) for segment in segments] == [[0, 3], [-2, 0]]
    assert any(list(line.get_ydata()) == [0.5, 0.5] for line in axes.lines), "the line above the controls"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no gain", "x", "y"]
    plain = forest_figure(frame.drop(columns="control"), "t", "points")
    assert len(plain.axes[0].lines) == len(axes.lines) - 2, "neither reference nor the line between"
    with pytest.raises(ValueError, match="no mean"):
        forest_figure(frame[:0], "t", "points")


def test_printed_numbers_are_in_percent_and_lost_ones_are_none():
    def cell(value: float, unit: str = "percent", target: float | None = None, **more) -> PublishedCell:
        return PublishedCell("1", "r", "c", value, None, unit, value if target is None else target, **more)

    own = {"system": "a", "metric": "auc"}
    cells = [cell(np.nan, lost=True, **own), cell(0.9, "ratio", doubt="why", **own), cell(80, **own), cell(7)]
    found = beside.printed_of(cells)
    assert found == {("a", "auc"): beside.Printed(90.0, "why")}
    assert beside.printed_words(found["a", "auc"]) == "90.00†"
    assert beside.printed_words(None) == "–"
    other = beside.Printed(85.5, "")
    assert beside.difference_of_printed(found["a", "auc"], other) == "+4.50†"
    assert beside.difference_of_printed(other, other) == "+0.00"
    assert beside.difference_of_printed(other, None) == "–"


def test_nothing_is_said_of_what_is_not_measured():
    one = Measured("a", "auc", np.nan, np.nan, 1, 0, np.nan, np.nan, 0, 0)
    assert beside.with_interval(one) == beside.with_interval(None) == "–"
    assert beside.difference_words(Difference("auc", 1, np.nan, np.nan, np.nan, np.nan, 3)) == "–"
    assert beside.difference_words(Difference("auc", 3, 5, -2, -3, -1, 3)) == "−2.00\n[−3.00, −1.00]"
