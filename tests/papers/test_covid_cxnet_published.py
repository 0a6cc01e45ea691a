"""The published numbers of COVID-CXNet against what their own arithmetic demands of them."""

from __future__ import annotations

import numpy as np
import pytest

from covid_keras.evaluation import metrics
from covid_keras.evaluation.comparison import COMPLEMENTS

NAME = "covid_cxnet"
ACCURACY = "Accuracy Score (avg) [Confidence Intervals]"
MATRICES = {"1": "base_v1_external", "2": "base_v2", "3": "cxnet_v1", "4": "flat", "5": "hierarchical"}
BINARY, THREE = ("normal", "COVID-19"), ("normal", "CAP", "COVID-19")


def matrix(cells, table):
    """Return the classes and counts of a printed confusion matrix."""
    own = [cell for cell in cells if cell.table == table]
    classes = tuple(dict.fromkeys(cell.actual for cell in own))
    counts = {(cell.actual, cell.predicted): cell.mean for cell in own}
    return classes, np.array([[counts[row, column] for column in classes] for row in classes])


def of_matrix(cells, table):
    classes, counts = matrix(cells, table)
    return metrics.metrics_from_confusion(counts, classes, binary=len(classes) == 2)


def test_intervals_are_those_of_table_6(cells):
    found = {cell.system: (cell.low, cell.high) for cell in cells if cell.low is not None}
    assert found == {
        "base_v1": (91.4, 97.1),
        "base_v2": (94.0, 99.3),
        "cxnet_v1": (96.43, 99.54),
        "cxnet_v2": (97.14, 99.28),
        "flat": (80.25, 84.86),
        "hierarchical": (86.03, 89.12),
    }
    assert all(cell.table == "6" and cell.column == ACCURACY for cell in cells if cell.low is not None)
    assert all(cell.low < cell.mean < cell.high for cell in cells if cell.low is not None)


@pytest.mark.parametrize("table", MATRICES)
def test_matrices_name_our_systems_classes_and_metrics(cells, table):
    own = [cell for cell in cells if cell.table == table]
    classes, counts = matrix(cells, table)
    assert {cell.system for cell in own} == {MATRICES[table]}
    assert classes == (THREE if table in "45" else BINARY)
    assert counts.sum() == {"1": 60, "2": 683, "3": 726, "4": 1540, "5": 1540}[table]
    shares = metrics.confusion_shares(counts, classes)
    known = of_matrix(cells, table)
    for cell in own:
        share = shares[f"confusion_{cell.actual}_{cell.predicted}"]
        assert cell.target == cell.value == pytest.approx(float(share))
        named = known[cell.metric] if cell.metric in known else 100 - known[COMPLEMENTS[cell.metric]]
        assert named == pytest.approx(cell.value), "the metric named is that of the cell"


@pytest.mark.parametrize(("table", "row"), [("2", "Base Model v2"), ("3", "COVID-CXNet v1"),
                                            ("4", "Flat Multiclass COVID-CXNet"),
                                            ("5", "Hierarchical Multiclass COVID-CXNet")])  # fmt: skip
def test_table_6_says_what_the_matrices_say(cells, value, table, row):
    found = of_matrix(cells, table)
    f1 = found["f1_positive"] if table in "23" else found["f1_COVID-19"]
    assert round(float(found["accuracy"]), 2) == value("6", row, ACCURACY)
    assert round(float(f1) / 100, 2) == value("6", row, "F-score (avg)")


def test_the_f_score_of_the_first_version_is_of_the_outside_images(cells):
    (cell,) = [c for c in cells if c.table == "6" and c.system == "base_v1_external"]
    assert (cell.row, cell.column, cell.mean) == ("Base Model v1", "F-score (avg)", 0.82)
    assert round(float(of_matrix(cells, "1")["f1_positive"]) / 100, 2) == 0.82
    assert "another test set" in cell.doubt


def test_slips_have_a_target_that_the_matrices_give(cells):
    slips = {(c.table, c.row): c for c in cells if c.unit != "text" and c.target != c.value}
    assert set(slips) == {("7", "Proposed Model"), ("text 5.3", "flat multiclass: F-score CAP")}
    for (table, _), source in zip(sorted(slips), ("5", "4"), strict=True):
        cell = next(c for key, c in slips.items() if key[0] == table)
        assert cell.target == round(float(of_matrix(cells, source)[cell.metric]) / 100, 4)
        assert cell.doubt


@pytest.mark.parametrize(("accuracy", "images"), [(96.10, 120), (99.30, 683), (96.43, 726), (99.54, 726),
                                                  (97.14, 726), (99.28, 726), (80.25, 1540), (84.86, 1540),
                                                  (86.03, 1540), (89.12, 1540)])  # fmt: skip
def test_what_is_called_no_share_of_the_test_images_is_none(cells, accuracy, images):
    assert accuracy not in {round(100 * right / images, 2) for right in range(images + 1)}
    named = [c for c in cells if accuracy in (c.mean, c.low, c.high) and c.column in (ACCURACY, "printed")]
    assert named
    assert all("is no share" in c.doubt or "is a share" in c.doubt or "No number of right" in c.doubt for c in named)


def test_stated_origins_of_odd_numbers():
    assert round(100 * 74 / 77, 2) == 96.10
    assert round(100 * 59 / 61, 2) == 96.72
    assert round(100 * 716 / 726, 2) == 98.62
    assert {n for n in range(3300, 3500) if -(-n // 5) == 683} == set(range(3411, 3416))


def test_counts_add_up(value):
    assert value("text 5.3", "COVID-CXNet v1: normal") + value("text 5.3", "COVID-CXNet v1: COVID-19") == 3628
    assert sum(value("text 5.3", f"multiclass dataset: {name}") for name in ("CP", "CAP", "normal")) == 7700
    parts = [value("text 5.1", f"base model, 600 images: {part} images") for part in ("training", "test")]
    assert sum(parts) == value("6", "Base Model v1", "Dataset Size")
    drop = value("6", "COVID-CXNet v1", ACCURACY) - value("6", "COVID-CXNet v2", ACCURACY)
    assert drop == pytest.approx(value("text 5.3", "COVID-CXNet v2 against v1: accuracy decrease"))
