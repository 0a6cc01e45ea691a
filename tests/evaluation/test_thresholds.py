from __future__ import annotations

import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import apply_thresholds, choose_threshold, choose_thresholds, compute_metrics
from tests.helpers.predictions import make_predictions

SCORES = [0.1, 0.2, 0.3, 0.6, 0.35, 0.4, 0.7, 0.8]
LABELS = ["N", "N", "N", "N", "P", "P", "P", "P"]


@pytest.fixture
def validation():
    return make_predictions(LABELS, SCORES, split="validation")


def test_youden_takes_the_largest_sum_and_of_equally_good_thresholds_the_highest(validation):
    assert choose_threshold(validation) == pytest.approx(0.35)
    frame = make_predictions(["N", "P", "N", "P"], [0.1, 0.3, 0.5, 0.7], split="validation")
    assert choose_threshold(frame) == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("scores", "threshold"), [([0.1, 0.4, 0.6, 0.9], 0.5), ([0.6, 0.7, 0.8, 0.9], 0.8), ([0.1, 0.2, 0.3, 0.9], 0.3)]
)
def test_the_most_accurate_threshold_stays_at_one_half_where_it_may(scores, threshold):
    frame = make_predictions(["N", "N", "P", "P"], scores, split="validation")
    chosen = choose_threshold(frame, rule="accuracy")
    assert chosen == pytest.approx(threshold)
    assert compute_metrics(frame, threshold=chosen)["accuracy"] == 100


@pytest.mark.parametrize(("target", "threshold"), [(25, 0.8), (50, 0.7), (51, 0.4), (75, 0.4), (100, 0.35), (0.1, 0.8)])
def test_target_sensitivity_is_reached_by_the_highest_threshold(validation, target, threshold):
    chosen = choose_threshold(validation, rule="sensitivity", target=target)
    assert chosen == pytest.approx(threshold)
    assert compute_metrics(validation, threshold=chosen)["sensitivity"] >= target


@pytest.mark.parametrize(("target", "threshold"), [(75, 0.35), (76, 0.7), (100, 0.7), (50, 0.3), (0.1, 0.2)])
def test_target_specificity_is_reached_by_the_lowest_threshold(validation, target, threshold):
    chosen = choose_threshold(validation, rule="specificity", target=target)
    assert chosen == pytest.approx(threshold)
    assert compute_metrics(validation, threshold=chosen)["specificity"] >= target


def test_where_negatives_share_the_highest_score_none_is_called_positive():
    frame = make_predictions(["N", "N", "P", "P"], [0.2, 1.0, 1.0, 1.0], split="validation")
    chosen = choose_threshold(frame, rule="specificity", target=90)
    found = compute_metrics(frame, threshold=chosen)
    assert (found["specificity"], found["sensitivity"]) == (100, 0)


def test_the_positive_class_may_be_the_first(validation):
    chosen = choose_threshold(validation, positive="N", rule="sensitivity", target=100)
    assert chosen == pytest.approx(0.4)
    assert compute_metrics(validation, positive="N", threshold=chosen)["sensitivity"] == 100


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: f.assign(split="test"), {}, "chosen on test predictions"),
        (lambda f: f.assign(split=["test"] + ["validation"] * 7), {}, "chosen on test predictions"),
        (lambda f: f.assign(split="train"), {}, "chosen on train predictions"),
        (lambda f: f.drop(columns="split"), {}, "column split"),
        (lambda f: f.assign(label="P"), {}, "both classes"),
        (lambda f: f.assign(score_Q=0.0), {}, "needs a positive class"),
        (lambda f: f, {"rule": "best"}, "best: "),
        (lambda f: f, {"rule": "sensitivity"}, "with a target"),
        (lambda f: f, {"rule": "specificity"}, "with a target"),
        (lambda f: f, {"target": 90}, "with a target"),
        (lambda f: f, {"rule": "sensitivity", "target": 101}, "target: .*101"),
        (lambda f: f, {"rule": "specificity", "target": 0}, "target: .*specificity"),
    ],
)
def test_what_cannot_be_chosen_is_said(validation, change, options, message):
    with pytest.raises(UserError, match=message):
        choose_threshold(change(validation), **options)


def test_each_execution_has_its_own(two_by_three):
    # what was not tested serves as validation here
    split = two_by_three["split"].replace({"train": "validation"})
    frame = two_by_three.assign(split=split)
    thresholds = choose_thresholds(frame[split == "validation"])
    assert sorted(thresholds) == [("ours", repeat, fold) for repeat in range(2) for fold in range(3)]
    assert len(set(thresholds.values())) > 1
    decided = apply_thresholds(frame, thresholds)
    for (_, repeat, fold), threshold in thresholds.items():
        part = decided[(decided["repeat"] == repeat) & (decided["fold"] == fold) & (decided["split"] == "test")]
        assert compute_metrics(part) == compute_metrics(part, threshold=threshold)
    assert (apply_thresholds(frame, 0.0)["predicted"] == "P").all()
    assert (apply_thresholds(frame, 0.0, positive="N")["predicted"] == "N").all()


@pytest.mark.parametrize(
    ("thresholds", "columns", "positive", "word"),
    [
        ({("ours", 0, 0): 0.5}, {}, None, "missing for ours, repeat 0, fold 1"),
        (0.5, {}, "covid", "covid: .*N, P"),
        (0.5, {"score_Q": 0.0}, None, "two classes .got 3"),
    ],
)
def test_a_missing_threshold_or_class_is_named(two_by_three, thresholds, columns, positive, word):
    with pytest.raises(UserError, match=word):
        apply_thresholds(two_by_three.assign(**columns), thresholds, positive)
