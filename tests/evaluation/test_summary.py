from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import (
    Measured,
    bootstrap_intervals,
    measured_from_json,
    metrics_json,
    per_execution,
    summarise,
)
from tests.helpers.predictions import make_predictions


def test_mean_std_and_interval_of_each_metric(two_by_three):
    table, measured = per_execution(two_by_three), summarise(two_by_three, n=100, seed=3)
    intervals = bootstrap_intervals(two_by_three, n=100, seed=3)
    assert [one.metric for one in measured] == [
        "accuracy", "sensitivity", "specificity", "precision_positive", "precision_negative",
        "f1_positive", "f1_negative", "auc", "accuracy_Mild", "accuracy_Severe",
    ]  # fmt: skip
    for one in measured:
        values = table[one.metric]
        assert one.mean == pytest.approx(values.mean())
        assert one.std == pytest.approx(np.std(values, ddof=1))
        assert (one.low, one.high) == intervals[one.metric]
        assert (one.ddof, one.executions, one.resamples, one.seed) == (1, 6, 100, 3)
    by_metric = {one.metric: one for one in measured}
    assert (by_metric["auc"].n_patients, by_metric["auc"].n_images) == (60, 90)
    mild = two_by_three.query("severity == 'Mild' and split == 'test'")
    assert by_metric["accuracy_Mild"].n_images == mild["image_id"].nunique()
    assert by_metric["accuracy_Mild"].n_patients == mild["patient_id"].nunique()


def test_executions_where_a_metric_is_undefined_are_not_counted():
    whole = make_predictions(["N", "P", "P"], [0.2, 0.7, 0.1])
    both = pd.concat([whole, make_predictions(["P", "P"], [0.2, 0.7], fold=1)])
    measured = {one.metric: one for one in summarise(both, n=20)}
    specificity, sensitivity = measured["specificity"], measured["sensitivity"]
    assert (specificity.executions, specificity.mean) == (1, 100)
    assert math.isnan(specificity.std)
    assert (sensitivity.executions, sensitivity.std) == (2, 0)


def test_systems_keep_their_order(two_by_three):
    both = pd.concat([two_by_three.assign(system="z"), two_by_three.assign(system="a")])
    assert list(dict.fromkeys(one.system for one in summarise(both, n=10))) == ["z", "a"]


def test_three_classes():
    scores = np.random.default_rng(0).dirichlet([1, 1, 1], 60)
    frame = make_predictions(np.array(["a", "b", "c"])[np.arange(60) % 3], scores, ("a", "b", "c"))
    assert {"recall_c", "f1_a", "auc"} <= {one.metric for one in summarise(frame, n=10)}
    assert {"sensitivity"} <= {one.metric for one in summarise(frame, positive="c", n=10)}


def test_json_holds_what_the_tables_need(two_by_three):
    alone = make_predictions(["P", "P"], [0.2, 0.7], system="alone", severity="Severe")
    both = pd.concat([two_by_three, alone])
    measured, table = summarise(both, n=20), per_execution(both)
    value = metrics_json(measured, table, {"seed": 1})
    text = json.dumps(value, allow_nan=False)
    assert value["provenance"] == {"seed": 1}
    assert "ddof=1" in value["std"]
    rows = value["systems"]["ours"]["executions"]
    assert [(row["repeat"], row["fold"]) for row in rows] == [(r, f) for r in range(2) for f in range(3)]
    assert sum(rows[0][name] for name in ("tp", "fn", "tn", "fp")) == rows[0]["n"]
    assert value["systems"]["alone"]["executions"][0]["specificity"] is None
    for one, back in zip(measured, measured_from_json(json.loads(text)), strict=True):
        assert (one.system, one.metric, one.executions) == (back.system, back.metric, back.executions)
        assert (back.mean, back.low) == pytest.approx((one.mean, one.low), abs=1e-6, nan_ok=True)


WRONG = {field.name: "1" for field in dataclasses.fields(Measured)}


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        {"systems": {"a": {}}},
        {"systems": {"a": {"metrics": {"m": {}}}}},
        {"systems": {"a": {"metrics": {"m": WRONG}}}},
    ],
)
def test_json_of_another_layout_is_named(value):
    with pytest.raises(UserError, match=r"x\.json: is not a metrics file"):
        measured_from_json(value, "x.json")
