"""Spread over seeds, and differences between systems that were tested on different images."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import bootstrap_difference, bootstrap_interval, difference_of_sets, per_execution
from covid_keras.evaluation.seeds import SEED_COLUMNS, seed_summary
from tests.helpers.predictions import coin


def test_known_answers():
    table = pd.DataFrame({"system": ["b"] * 5, "accuracy": [90.0, 94.0, 92.0, 91.0, 93.0], "f1_positive": 80.0})
    found = seed_summary(table)
    assert tuple(found.columns) == SEED_COLUMNS
    accuracy = found.iloc[0]
    assert tuple(accuracy[["system", "metric", "n", "mean", "min", "max"]]) == ("b", "accuracy", 5, 92, 90, 94)
    assert accuracy["std"] == pytest.approx(math.sqrt(2.5))
    # Five values in order lie at 0, 25, 50, 75 and 100 %.
    assert (accuracy["low"], accuracy["high"]) == (pytest.approx(90.1), pytest.approx(93.9))
    assert found.iloc[1]["std"] == 0


def test_seeds_of_predictions_by_system_in_order():
    parts = [coin(40, 0.8, seed, repeat=seed).assign(system="z") for seed in range(4)]
    executions = per_execution(pd.concat([*parts, coin(40, 0.6).assign(system="a")]))
    found = seed_summary(executions)
    assert list(found["system"].unique()) == ["z", "a"]
    assert list(found["metric"].unique()) == ["accuracy", "f1_positive", "auc"]
    z = found[found["system"] == "z"].set_index("metric")
    assert z.loc["accuracy", "n"] == 4
    assert z.loc["accuracy", "mean"] == pytest.approx(executions.iloc[:4]["accuracy"].mean())
    alone = found[found["system"] == "a"].iloc[0]
    assert alone["n"] == 1
    assert math.isnan(alone["std"])
    assert alone["low"] == alone["high"] == alone["min"] == alone["mean"]


def test_what_a_system_lacks_is_no_row_and_undefined_seeds_do_not_count():
    table = pd.DataFrame(
        {"system": ["two", "two", "three"], "accuracy": [80.0, 82, 70], "f1_positive": [50.0, math.nan, math.nan],
         "f1_negative": 1.0, "f1_CAP": [math.nan, math.nan, 60]}
    )  # fmt: skip
    found = seed_summary(table)
    rows = list(zip(found["system"], found["metric"], found["n"], strict=True))
    assert rows == [
        ("two", "accuracy", 2), ("two", "f1_positive", 1), ("three", "accuracy", 1), ("three", "f1_CAP", 1),
    ]  # fmt: skip
    assert list(seed_summary(table, ["f1_negative"])["mean"]) == [1, 1]


@pytest.mark.parametrize(
    ("table", "metrics", "word"),
    [({"accuracy": [1.0]}, None, "have no metrics"), ({"system": ["a"], "accuracy": [1.0]}, ["kappa"], "kappa: ")],
)
def test_wrong_tables_are_said(table, metrics, word):
    with pytest.raises(UserError, match=word):
        seed_summary(pd.DataFrame(table), metrics)


def test_on_the_same_set_it_is_the_paired_difference(two_by_three):
    other = two_by_three.assign(system="copy", predicted=two_by_three["predicted"].to_numpy()[::-1])
    for metric in ("accuracy", "f1_positive", "auc"):
        found = difference_of_sets(two_by_three, other, metric, n=100)
        assert found == bootstrap_difference(two_by_three, other, metric, n=100)


def test_of_sets_that_share_nobody_the_variances_add_up():
    a, b = coin(400, 0.9, 1), coin(300, 0.8, 2, first=400)
    found = difference_of_sets(a, b, "accuracy", n=2000)
    assert found.n_patients == 700
    right = [100 * (side["label"] == side["predicted"]).mean() for side in (a, b)]
    assert (found.a, found.b) == (pytest.approx(right[0]), pytest.approx(right[1]))
    variance = sum(p * (100 - p) / n for p, n in zip(right, (400, 300), strict=True))
    assert found.high - found.low == pytest.approx(2 * 1.96 * math.sqrt(variance), rel=0.1)
    assert found.low < right[0] - right[1] < found.high


def test_patients_of_both_sets_stay_paired():
    # The sets share 200 patients on whom both are right or wrong together; 40 more each have their own.
    both = coin(200, 0.7, 3)
    a = pd.concat([both, coin(40, 0.7, 4, first=200)])
    b = pd.concat([both, coin(40, 0.7, 5, first=240)]).assign(system="other")
    strangers = b.assign(patient_id="other/" + b["patient_id"])
    paired, unpaired = (difference_of_sets(a, side, "accuracy", n=800) for side in (b, strangers))
    assert (paired.a, paired.b) == (unpaired.a, unpaired.b)
    assert paired.n_patients == 280
    assert unpaired.n_patients == 480
    assert paired.high - paired.low < 0.6 * (unpaired.high - unpaired.low)


def test_several_seeds_are_averaged():
    seeds = pd.concat([coin(60, p, 7, repeat=k) for k, p in enumerate((0.6, 0.7, 0.95))])
    one = coin(50, 0.9, 8, first=60).assign(system="other")
    found = difference_of_sets(seeds, one, "accuracy", n=200)
    assert found.a == pytest.approx(per_execution(seeds)["accuracy"].mean())
    assert found.difference == pytest.approx(found.a - found.b)
    # Every seed is tested on the same 60 patients, so its interval is no narrower than that of one side alone.
    low, high = bootstrap_interval(one, "accuracy", n=200)
    assert found.high - found.low > high - low


@pytest.mark.parametrize(
    ("split", "metric", "word"), [("train", "accuracy", "no test rows"), ("test", "kappa", "kappa: ")]
)
def test_a_side_without_test_rows_and_an_unknown_metric(split, metric, word):
    with pytest.raises(UserError, match=word):
        difference_of_sets(coin(20, 0.8), coin(20, 0.8).assign(split=split), metric)
