"""Metrics that are functions of the confusion matrix, against scikit-learn, and with the intervals of `summarise`."""

from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, precision_recall_fscore_support

from covid_keras.evaluation import summarise
from covid_keras.evaluation.counts import (
    accuracy,
    balanced_accuracy,
    part_accuracies,
    rest_metrics,
    summarise_counts,
    weighted_metrics,
)
from covid_keras.evaluation.metrics import percent
from tests.helpers.predictions import make_predictions

NAMES = ("weighted_precision", "weighted_recall", "weighted_f1")


def _sensitivity(confusion):
    return percent(confusion[..., 1, 1], confusion[..., 1, :].sum(axis=-1))


def _drawn(classes: int, seed: int, never: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Truth and answers of 200 images, classes of uneven size, `never` decided for."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, 200, p=np.arange(1, classes + 1) / np.arange(1, classes + 1).sum())
    said = np.where(rng.random(200) < 0.6, truth, rng.integers(0, classes, 200))
    if never is not None:
        said[said == never] = (never + 1) % classes
    return truth, said


@pytest.mark.filterwarnings("ignore:Precision is ill-defined")
@pytest.mark.parametrize(("classes", "never"), [(2, None), (2, 1), (2, 0), (3, None), (4, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_as_scikit_learn(classes, never, seed):
    truth, said = _drawn(classes, seed, never)
    matrix = confusion_matrix(truth, said, labels=range(classes))
    assert accuracy(matrix) == pytest.approx(100 * accuracy_score(truth, said))
    assert balanced_accuracy(matrix) == pytest.approx(100 * balanced_accuracy_score(truth, said))
    expected = precision_recall_fscore_support(truth, said, average="weighted")[:3]
    found = weighted_metrics(matrix)
    assert tuple(found) == NAMES
    assert [float(value) for value in found.values()] == pytest.approx([100 * value for value in expected])
    assert found["weighted_recall"] == pytest.approx(accuracy(matrix))


def test_a_class_without_images_weighs_nothing_and_has_no_recall():
    matrix = np.array([[3, 1, 1], [0, 5, 0], [0, 0, 0]])
    truth, said = np.repeat([0, 1], [5, 5]), np.repeat([0, 1, 2, 1], [3, 1, 1, 5])
    expected = precision_recall_fscore_support(truth, said, average="weighted", zero_division=0)[:3]
    assert [float(value) for value in weighted_metrics(matrix).values()] == pytest.approx([100 * v for v in expected])
    assert np.isnan(balanced_accuracy(matrix))


def test_stacks_of_matrices_give_stacks_of_values():
    matrices = np.random.default_rng(0).integers(1, 9, (2, 5, 3, 3))
    for function in (accuracy, balanced_accuracy, *(lambda m, name=name: weighted_metrics(m)[name] for name in NAMES)):
        found = function(matrices)
        assert found.shape == (2, 5)
        assert found[1, 3] == pytest.approx(float(function(matrices[1, 3])))


@pytest.mark.parametrize("asked", [{}, {"n": 200, "seed": 3, "level": 0.8}])
def test_mean_std_and_interval_are_those_of_summarise(two_by_three, asked):
    """The same draws of the same patients: the very numbers, of two systems, six executions each."""
    worse = two_by_three["predicted"].mask(two_by_three.index % 3 == 0, "N")
    frame = pd.concat([two_by_three, two_by_three.assign(system="worse", predicted=worse)], ignore_index=True)
    functions = {"sensitivity": _sensitivity, "accuracy": accuracy}
    ours = summarise_counts(frame, functions, **asked)
    assert [(one.system, one.metric) for one in ours] == [(s, m) for s in ("ours", "worse") for m in functions]
    theirs = {(one.system, one.metric): one for one in summarise(frame, "P", **asked)}
    for one in ours:
        _, _, *values = astuple(theirs[one.system, one.metric])
        assert astuple(one)[2:] == pytest.approx(tuple(values))
    assert all(one.low < one.mean < one.high and one.executions == 6 for one in ours)
    other = summarise_counts(frame, functions, **asked | {"seed": 4})[0]
    assert (other.low, other.high) != (ours[0].low, ours[0].high)


def test_other_parts_count_their_own_rows(two_by_three):
    test, train = (summarise_counts(two_by_three, {"accuracy": accuracy}, part)[0] for part in ("test", "train"))
    mine = two_by_three[two_by_three["split"] == "train"]
    right = 100 * (mine["label"] == mine["predicted"]).groupby([mine["repeat"], mine["fold"]]).mean()
    assert (train.mean, train.std) == pytest.approx((right.mean(), right.std(ddof=1)))
    assert train.mean != pytest.approx(test.mean)
    assert (train.n_patients, train.n_images) == (60, 90)
    assert summarise_counts(two_by_three, {"accuracy": accuracy}, "validation") == []
    other = two_by_three[two_by_three["split"] == "test"].assign(system="tested alone")
    both = pd.concat([two_by_three, other], ignore_index=True)
    assert [one.system for one in summarise_counts(both, {"accuracy": accuracy}, "train")] == ["ours"]


def test_what_is_undefined_in_an_execution_does_not_count():
    """Sensitivity of an execution without positives is none; without any at all it is NaN throughout."""
    frame = make_predictions(["P", "P", "N", "N"], [0.9, 0.2, 0.4, 0.1]).assign(fold=[0, 0, 0, 1])
    (one,) = summarise_counts(frame, {"sensitivity": _sensitivity}, n=100)
    assert (one.mean, one.executions, one.low, one.high) == (50, 1, 0, 100)
    assert np.isnan(one.std)
    (none,) = summarise_counts(frame[frame["label"] == "N"], {"sensitivity": _sensitivity}, n=100)
    assert np.isnan([none.mean, none.std, none.low, none.high]).all()
    assert (none.executions, none.n_images) == (0, 2)


def test_patients_are_drawn_not_images():
    """Of patients of whom each has one half right, any draw has."""
    truth, scores = np.tile(["N", "P"], 40), np.tile(np.repeat([0.2, 0.8], [10, 10]), 4)
    one = summarise_counts(make_predictions(truth, scores), {"accuracy": accuracy})[0]
    groups = np.char.add("p", np.repeat(np.arange(8), 10).astype(str))
    few = summarise_counts(make_predictions(truth, scores, patient_id=groups), {"accuracy": accuracy})[0]
    assert (few.n_patients, few.n_images, few.low, few.mean, few.high) == (8, 80, 50, 50, 50)
    assert one.low < 45 < one.mean < 55 < one.high


@pytest.mark.parametrize("classes", [2, 3])
def test_specificity_and_npv_are_those_of_each_class_against_the_rest(classes):
    truth, said = _drawn(classes, 3)
    matrix = confusion_matrix(truth, said, labels=range(classes))
    found = rest_metrics(np.stack([matrix, np.zeros_like(matrix)]))
    for one in range(classes):
        assert found["specificity"][0, one] == pytest.approx(100 * (said[truth != one] != one).mean())
        assert found["npv"][0, one] == pytest.approx(100 * (truth[said != one] != one).mean())
    assert np.isnan(found["specificity"][1]).all()


def test_accuracies_of_other_parts_are_of_their_own_rows():
    split = ["train", "train", "validation", "test"]
    frame = make_predictions(["N", "P", "N", "N"], [0.5] * 4, predicted=["P", "P", "N", "P"], split=split)
    found = {one.metric: one.mean for one in part_accuracies(frame)}
    assert found == {"accuracy_train": 50, "accuracy_validation": 100}
    assert [one.metric for one in part_accuracies(frame[2:])] == ["accuracy_validation"]
