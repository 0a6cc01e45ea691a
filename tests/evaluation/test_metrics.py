from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, roc_auc_score

from covid_keras.common.errors import UserError
from covid_keras.evaluation import compute_metrics, per_execution
from covid_keras.evaluation.metrics import metrics_from_confusion
from tests.helpers.predictions import make_predictions


def from_counts(tp, fn, tn, fp):
    labels = ["P"] * (tp + fn) + ["N"] * (tn + fp)
    scores = [0.9] * tp + [0.1] * fn + [0.1] * tn + [0.9] * fp
    return make_predictions(labels, scores)


def test_known_answer_of_a_published_matrix():
    # COVID-CAPS as released on 426 + 426 images (Tabik et al., Table IV): TP 294, TN 112.
    metrics = compute_metrics(from_counts(294, 132, 112, 314))
    assert {name: round(metrics[name], 2) for name in list(metrics)[:7]} == {
        "accuracy": 47.65, "sensitivity": 69.01, "specificity": 26.29, "precision_positive": 48.36,
        "precision_negative": 45.90, "f1_positive": 56.87, "f1_negative": 33.43,
    }  # fmt: skip
    assert {k: metrics[k] for k in ("n", "tp", "tn", "fp", "fn")} == dict(n=852, tp=294, tn=112, fp=314, fn=132)


def test_auc_counts_ties_as_half():
    frame = make_predictions(["N", "N", "P", "P"], [0.1, 0.5, 0.5, 0.9])
    assert compute_metrics(frame)["auc"] == pytest.approx(87.5)


def test_positive_class_may_be_the_first():
    frame = from_counts(30, 10, 15, 5)
    last, first = compute_metrics(frame), compute_metrics(frame, positive="N")
    for mine, other in (("sensitivity", "specificity"), ("precision_negative", "precision_positive"), ("tp", "tn")):
        assert first[mine] == last[other]
    assert first["auc"] == pytest.approx(last["auc"])


def test_threshold_decides_anew_and_needs_no_decision():
    frame = make_predictions(["N", "N", "P", "P"], [0.1, 0.5, 0.5, 0.9], predicted=["P"] * 4)
    assert compute_metrics(frame)["specificity"] == 0
    assert compute_metrics(frame, threshold=0.5)["fp"] == 1
    assert compute_metrics(frame.drop(columns="predicted"), threshold=0.6)["sensitivity"] == 50
    assert compute_metrics(frame, positive="N", threshold=0.5)["tp"] == 2


def test_undefined_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        only_positives = compute_metrics(from_counts(3, 2, 0, 0))
        never_positive = compute_metrics(from_counts(0, 5, 5, 0))
    assert math.isnan(only_positives["specificity"])
    assert math.isnan(only_positives["auc"])
    assert only_positives["precision_negative"] == 0
    assert math.isnan(never_positive["precision_positive"])
    assert never_positive["f1_positive"] == 0


def test_severity_is_a_recall_of_positives():
    labels, scores = ["P", "P", "P", "P", "N"], [0.9, 0.1, 0.9, 0.9, 0.9]
    frame = make_predictions(labels, scores, severity=["Mild", "Mild", "Severe", "", "Mild"])
    metrics = compute_metrics(frame)
    assert metrics["accuracy_Mild"] == 50
    assert metrics["accuracy_Severe"] == 100
    assert not {"accuracy_", "accuracy_Moderate"} & set(metrics)
    frame["severity"] = [np.nan, np.nan, "Severe", np.nan, np.nan]  # as plain pandas reads it
    assert compute_metrics(frame)["accuracy_Severe"] == 100


def test_three_classes_against_sklearn():
    rng = np.random.default_rng(1)
    classes = ("normal", "pneumonia", "covid")
    truth, scores = rng.integers(0, 3, 200), rng.dirichlet([1, 1, 1], 200)
    frame = make_predictions(np.array(classes)[truth], scores, classes)
    metrics, said = compute_metrics(frame), scores.astype(np.float32).argmax(axis=1)
    assert metrics["auc"] == pytest.approx(100 * roc_auc_score(truth, scores, multi_class="ovr"), abs=1e-3)
    assert "sensitivity" not in metrics
    shares = confusion_matrix(truth, said, normalize="true")
    expected = {"accuracy": accuracy_score(truth, said), "f1_covid": f1_score(truth, said, average=None)[2]}
    expected |= {f"confusion_{classes[i]}_{classes[j]}": shares[i, j] for i, j in np.ndindex(3, 3)}
    expected["recall_covid"] = shares[2, 2]
    for name, share in expected.items():
        assert metrics[name] == pytest.approx(100 * share), name
    one = compute_metrics(frame, positive="covid")
    assert (one["sensitivity"], one["precision_positive"]) == (metrics["recall_covid"], metrics["precision_covid"])
    assert one["n"] == 200


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30), st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_vectorised_formulas_are_those_of_sklearn(pairs, binary):
    classes = ("a", "b") if binary else ("a", "b", "c")
    pairs = [(t % len(classes), p % len(classes)) for t, p in pairs]
    frame = pd.DataFrame([(classes[t], classes[p]) for t, p in pairs], columns=["label", "predicted"])
    frame = frame.assign(**{f"score_{name}": 1 / len(classes) for name in classes})
    confusion = np.zeros((len(classes), len(classes)))
    np.add.at(confusion, tuple(np.transpose(pairs)), 1)
    expected = compute_metrics(frame)
    for name, value in metrics_from_confusion(confusion, classes, binary).items():
        assert float(value) == pytest.approx(expected[name], nan_ok=True), name


def test_plain_numbers_as_class_names():
    frame = make_predictions([0, 1, 1], [0.1, 0.9, 0.2], classes=("0", "1"), predicted=[0, 1, 0])
    assert compute_metrics(frame)["sensitivity"] == 50


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: f.drop(columns="label"), {}, "have no column label"),
        (lambda f: f.drop(columns="score_N"), {}, "score_<class>"),
        (lambda f: f.iloc[:0], {}, "have no rows"),
        (lambda f: f.assign(label="X"), {}, "column label has 'X'"),
        (lambda f: f.assign(split=["test", "train"]), {}, "mix the splits test, train"),
        (lambda f: f.assign(score_P=np.nan), {}, "not a finite number"),
        (lambda f: f, {"positive": "covid"}, "covid: .* N, P"),
        (lambda f: f.assign(score_Q=0.0), {"threshold": 0.5}, "needs a positive class"),
    ],
)
def test_what_cannot_be_measured_is_said(change, options, message):
    with pytest.raises(UserError, match=message):
        compute_metrics(change(make_predictions(["N", "P"], [0.2, 0.7])), **options)


def test_per_execution_takes_the_test_rows_of_each(two_by_three):
    table = per_execution(two_by_three)
    assert list(zip(table["repeat"], table["fold"], strict=True)) == [(r, f) for r in range(2) for f in range(3)]
    assert table["n"].sum() == 2 * 90
    one = two_by_three.query("repeat == 1 and fold == 2 and split == 'test'")
    for name, value in compute_metrics(one).items():
        assert table.iloc[5][name] == value
    with pytest.raises(UserError, match="have no test rows of ours"):
        per_execution(two_by_three.query("split == 'train'"))


def test_a_level_that_an_execution_lacks_is_nan_there(two_by_three):
    extra = make_predictions(["N", "P"], [0.2, 0.7], system="other", severity=["", "Moderate"])
    table = per_execution(pd.concat([two_by_three, extra]))
    assert list(table["system"]) == ["ours"] * 6 + ["other"]
    assert table["accuracy_Moderate"].isna().tolist() == [True] * 6 + [False]
