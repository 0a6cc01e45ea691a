"""The spread over seeds and the price of a leak, as tables and as a figure; the figure of a range test."""

from __future__ import annotations

import io
import math

import numpy as np
import pandas as pd
import pytest

from covid_keras.evaluation import PublishedCell
from covid_keras.evaluation.uncertainty import Difference
from covid_keras.reporting.range_figure import range_figure
from covid_keras.reporting.seeds import leak_table, published_values, seed_figure, seed_table
from covid_keras.training.range_finder import RangeTest

EXECUTIONS = pd.DataFrame(
    {
        "system": ["base"] * 5 + ["flat"] * 2 + ["once"],
        "repeat": [*range(5), 0, 1, 0],
        "fold": 0,
        "accuracy": [90.0, 94, 92, 91, 93, 80, 82, 70],
        "f1_positive": [50.0] * 5 + [math.nan] * 3,
        "f1_COVID-19": [math.nan] * 5 + [85.0, 86, 60],
    }
)


def cell(system, metric, mean, unit="percent", **more):
    return PublishedCell("6", system, metric, mean, None, unit, mean, system=system, metric=metric, **more)


PUBLISHED = [
    cell("base", "accuracy", 98.7),
    cell("base", "accuracy", 98.68, low=94.0, high=99.3),
    cell("base", "accuracy", 90.0, low=1.0, high=2.0),
    cell("flat", "f1_COVID-19", 0.85, unit="ratio"),
    cell("flat", "", math.nan, unit="text", text="No"),
]


def test_the_first_printed_interval_counts_and_ratios_are_percent():
    found = published_values(PUBLISHED)
    assert found["base", "accuracy"] == (98.68, 94.0, 99.3)
    assert found["flat", "f1_COVID-19"][0] == 85
    assert math.isnan(found["flat", "f1_COVID-19"][1])
    assert set(found) == {("base", "accuracy"), ("flat", "f1_COVID-19")}


def test_the_table_of_seeds():
    frame = seed_table(EXECUTIONS, PUBLISHED, {"base": "Base Model"}).frame
    assert list(frame["system"]) == ["Base Model", "Base Model", "flat", "flat"], "a single training has no spread"
    first = frame.iloc[0]
    assert list(first) == [
        "Base Model",
        "accuracy",
        "5",
        "92.00 ± 1.58",
        "90.00 to 94.00",
        "90.10 to 93.90",
        "98.68 [94.00, 99.30]",
    ]
    assert frame.iloc[1]["paper"] == "–"
    assert list(frame.iloc[3][["metric", "paper"]]) == ["f1 COVID-19", "85.00"]
    assert seed_table(EXECUTIONS[-1:]).frame.empty


def test_the_table_of_the_leak():
    found = Difference("accuracy", 98.0, 95.5, 2.5, -0.25, 4.0, 1234)
    entry = leak_table([("base", found)], PUBLISHED, {"base": "Base Model"})
    row = ["Base Model", "accuracy", "98.68 [94.00, 99.30]", "98.00", "95.50", "+2.50\n[−0.25, +4.00]", "1,234"]
    assert list(entry.frame.iloc[0]) == row
    assert "different test images" in " ".join(entry.caption.split())


def test_the_figure_has_a_dot_a_seed_and_the_papers_interval():
    figure = seed_figure(EXECUTIONS, PUBLISHED, {"base": "Base Model"})
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title(loc="left") for axes in panels] == ["accuracy", "f1 positive", "f1 COVID-19"]
    accuracy = panels[0]
    assert [label.get_text() for label in accuracy.get_yticklabels()] == ["Base Model", "flat"]
    dots = [line for line in accuracy.lines if line.get_label() == "a seed"]
    assert [list(line.get_xdata()) for line in dots] == [[90, 94, 92, 91, 93], [80, 82]]
    assert len(set(dots[0].get_ydata())) == 5, "seeds of equal value must not hide one another"
    bars = [list(line.get_xdata()) for line in accuracy.lines if len(line.get_xdata()) == 2]
    assert [94.0, 99.3] in bars
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"a seed", "mean of seeds", "paper, interval if printed"}
    figure.savefig(io.BytesIO(), format="png")
    with pytest.raises(ValueError, match="no system has several seeds"):
        seed_figure(EXECUTIONS[-1:])


def test_the_figure_of_a_range_test_marks_the_suggestion():
    rates = np.geomspace(1e-7, 0.1, 60)
    losses = np.r_[np.linspace(2, 1, 57), 50, 70, 90]
    axes = range_figure(RangeTest(rates, losses, 1e-3, "diverged"), chosen=1e-4).axes[0]
    assert axes.get_xscale() == "log"
    lines = {line.get_label(): line.get_xdata()[0] for line in axes.lines if "e-0" in str(line.get_label())}
    assert lines == {"steepest descent: 1.0e-03": 1e-3, "used here: 1.0e-04": 1e-4}
    assert axes.get_ylim()[1] < 4, "the explosion does not press the rest flat"
    without = range_figure(RangeTest(rates, losses, math.nan)).axes[0]
    assert not [line for line in without.lines if "steepest" in str(line.get_label())]
    with pytest.raises(ValueError, match=r"too few batches.*9"):
        range_figure(RangeTest(rates[:9], losses[:9], math.nan))
