from __future__ import annotations

import json
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from covid_keras.common.errors import UserError
from covid_keras.evaluation import (
    bootstrap_difference,
    bootstrap_interval,
    bootstrap_intervals,
    measured_from_json,
    metrics_json,
    per_execution,
    summarise,
)
from covid_keras.evaluation.uncertainty import EXACT, SHARES, Interval, count_executions, mean_interval, mean_metrics
from tests.helpers.predictions import coin, make_predictions


def test_without_resampling_it_is_the_mean_over_executions(two_by_three):
    rows = two_by_three.query("split == 'test'")
    patients = pd.Index(sorted(rows["patient_id"].unique()))
    means = mean_metrics(count_executions(rows, patients), np.ones((1, len(patients))))
    table = per_execution(two_by_three)
    assert {"auc", "f1_negative", "accuracy_Mild"} <= set(means)
    for name, values in means.items():
        assert values[0] == pytest.approx(table[name].mean()), name


def test_a_weight_of_two_is_the_image_listed_twice():
    rng = np.random.default_rng(5)
    truth, scores = rng.integers(0, 3, 40), np.round(rng.dirichlet([1, 1, 1], 40), 1)
    frame = make_predictions(np.array(["a", "b", "c"])[truth], scores, ("a", "b", "c"))
    weights = rng.integers(0, 3, 40)
    prepared = count_executions(frame, pd.Index(frame["patient_id"]))
    means = mean_metrics(prepared, weights[None].astype(float))
    repeated = np.repeat(np.arange(40), weights)
    columns = frame[["score_a", "score_b", "score_c"]].to_numpy()
    areas = [roc_auc_score(truth[repeated] == k, columns[repeated, k]) for k in range(3)]
    assert means["auc"][0] == pytest.approx(100 * np.mean(areas))
    said = columns.argmax(axis=1)
    assert means["accuracy"][0] == pytest.approx(100 * (truth == said)[repeated].mean())


def test_coverage_of_a_known_proportion():
    hits = 0
    for seed in range(150):
        low, high = bootstrap_interval(coin(120, 0.8, seed), "accuracy", n=300, seed=seed)
        hits += low <= 80 <= high
    assert 0.90 <= hits / 150 <= 0.98


def test_agrees_with_scipy_where_a_patient_is_an_image():
    frame = coin(200, 0.75, 7)
    right = 100.0 * (frame["label"] == frame["predicted"]).to_numpy()
    theirs = stats.bootstrap((right,), np.mean, n_resamples=4000, method="percentile", rng=1).confidence_interval
    ours = bootstrap_interval(frame, "accuracy", n=4000, seed=2)
    # the standard error of a 2.5 % quantile of 4000 draws from a normal of std 3.06 is about 0.13
    assert ours == pytest.approx(tuple(theirs), abs=0.8)


def test_wider_where_images_of_a_patient_go_together():
    alone = coin(400, 0.8, 1)
    truth, wrong = np.repeat(np.arange(100) % 2, 4), np.repeat(np.random.default_rng(2).random(100) < 0.2, 4)
    together = make_predictions(np.array(["N", "P"])[truth], np.where((truth == 1) != wrong, 0.8, 0.2))

    def width(frame, images):
        frame = frame.assign(patient_id=[f"p{number // images}" for number in range(400)])
        low, high = bootstrap_interval(frame, "accuracy", n=500)
        return high - low

    assert width(together, 4) == pytest.approx(2 * width(together, 1), rel=0.2)
    assert width(alone, 4) == pytest.approx(width(alone, 1), rel=0.3)


def test_repeats_of_the_same_images_do_not_narrow_it():
    frame = coin(200, 0.8, 1)
    repeated = pd.concat([frame.assign(repeat=number) for number in range(5)])
    assert bootstrap_interval(repeated, "f1_positive") == pytest.approx(bootstrap_interval(frame, "f1_positive"))


def test_same_seed_same_interval_in_any_order_of_rows_and_any_chunks(two_by_three, monkeypatch):
    first = bootstrap_intervals(two_by_three, n=100, seed=4)
    turned = bootstrap_intervals(two_by_three.sample(frac=1, random_state=0), n=100, seed=4)
    assert first["accuracy"] != bootstrap_intervals(two_by_three, n=100, seed=5)["accuracy"]
    monkeypatch.setattr("covid_keras.evaluation.uncertainty._CHUNK_ELEMENTS", 60 * 7)
    chunked = bootstrap_intervals(two_by_three, n=100, seed=4)
    assert first.keys() == turned.keys() == chunked.keys()
    for name, interval in first.items():
        assert turned[name] == pytest.approx(interval, abs=1e-9)
        assert chunked[name] == pytest.approx(interval, abs=1e-9)


def test_a_wider_level_gives_a_wider_interval(two_by_three):
    low, high = bootstrap_interval(two_by_three, "auc", level=0.8, n=300)
    lower, higher = bootstrap_interval(two_by_three, "auc", level=0.99, n=300)
    assert lower < low < per_execution(two_by_three)["auc"].mean() < high < higher


def test_undefined_in_every_resample_is_nan_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        intervals = bootstrap_intervals(make_predictions(["P"] * 9, [0.9] * 6 + [0.1] * 3), n=50)
    assert all(math.isnan(value) for value in (*intervals["specificity"], *intervals["auc"]))
    assert intervals["sensitivity"][0] < 66.7 < intervals["sensitivity"][1]


def test_difference_of_a_system_and_itself_is_nothing(two_by_three):
    same = bootstrap_difference(two_by_three, two_by_three.assign(system="copy"), "auc", n=100)
    assert (same.difference, same.low, same.high) == (0, 0, 0)
    assert same.n_patients == 60


def test_difference_is_paired_on_shared_patients():
    a = coin(300, 0.7, 1)
    better = a.copy()
    wrong = np.flatnonzero((a["label"] != a["predicted"]).to_numpy())[:20]
    better.loc[wrong, "predicted"] = better.loc[wrong, "label"]
    found = bootstrap_difference(better.iloc[:280], a.iloc[20:], "accuracy", n=500)
    assert found.n_patients == 260
    corrected = int(((wrong >= 20) & (wrong < 280)).sum())
    assert found.difference == pytest.approx(100 * corrected / 260)
    assert found.a - found.b == pytest.approx(found.difference)
    assert 0 < found.low < found.difference < found.high
    # unpaired, the same numbers of right images could not be told apart
    low, high = bootstrap_interval(a.iloc[20:], "accuracy")
    assert found.high - found.low < 0.7 * (high - low)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: bootstrap_interval(f, "kappa", n=5), "kappa: "),
        (lambda f: bootstrap_intervals(pd.concat([f, f.assign(system="b")])), "several systems"),
        (lambda f: bootstrap_intervals(f.assign(split="train")), "have no test rows of ours"),
        (lambda f: bootstrap_difference(f, f.assign(patient_id="x"), "auc"), "no patient in common"),
    ],
)
def test_what_cannot_be_resampled_is_said(two_by_three, call, message):
    with pytest.raises(UserError, match=message):
        call(two_by_three)


# --- where no resample differs


def clopper_pearson(n: int) -> float:
    """The lower bound, in percent, of n of n: mean^n = 0.025."""
    return 100 * 0.025 ** (1 / n)


def test_all_found_is_no_certainty():
    frame = make_predictions(["P", "P", "P", "N", "N"], [0.9, 0.8, 0.7, 0.2, 0.6], patient_id=["a", "a", "b", "c", "d"])
    found = bootstrap_intervals(frame)
    assert found["sensitivity"] == pytest.approx((clopper_pearson(2), 100)), "two patients, not three images"
    assert found["sensitivity"].kind == EXACT
    assert found["specificity"] == (0, 100)
    assert found["specificity"].kind == "bootstrap"
    assert found["precision_negative"].kind == "none", "one patient was called negative"
    assert found["auc"] == pytest.approx((clopper_pearson(2), 100)), "as many patients as the rarer class has"


def test_none_found_is_no_certainty_either():
    frame = make_predictions(["P"] * 4 + ["N"] * 4, [0.1] * 8)
    found = bootstrap_intervals(frame)
    assert found["sensitivity"] == pytest.approx((0, 100 - clopper_pearson(4)))
    measured = {one.metric: one for one in summarise(frame)}
    assert measured["sensitivity"].interval == EXACT
    again = measured_from_json(json.loads(json.dumps(metrics_json(list(measured.values()), per_execution(frame)))))
    assert {one.metric: one.interval for one in again} == {name: one.interval for name, one in measured.items()}


def test_one_patient_has_no_interval():
    frame = make_predictions(["N", "P", "P"], [0.2, 0.7, 0.4], patient_id=["a"] * 3)
    found = bootstrap_intervals(frame)
    assert all(interval.kind == "none" and np.isnan(interval).all() for interval in found.values())
    assert np.isnan(bootstrap_difference(frame, frame.assign(predicted="P"), "accuracy").low)


def test_two_systems_that_are_always_right_may_differ():
    frame = make_predictions(["N", "P"] * 3, [0.2, 0.7] * 3)
    one = bootstrap_difference(frame, frame.assign(system="copy"), "accuracy")
    assert (one.difference, one.interval) == (0, EXACT)
    assert (one.low, one.high) == pytest.approx((clopper_pearson(6) - 100, 100 - clopper_pearson(6)))


def test_a_mean_of_shares_is_exact_at_its_bounds_only():
    patients = ["a", "a", "b", "c"]
    assert mean_interval([100] * 4, patients, sure=SHARES) == pytest.approx((clopper_pearson(3), 100))
    assert mean_interval([50] * 4, patients, sure=SHARES) == (50, 50)
    assert mean_interval([100] * 4, patients) == (100, 100), "a difference of 100 or a Dice of 1 is not a share"


def test_an_interval_crosses_processes_with_its_kind():
    one = pickle.loads(pickle.dumps(Interval(1, 2, EXACT)))
    assert (tuple(one), one.kind) == ((1, 2), EXACT)
