"""Joint draws of patients and trainings: differences, drops, thresholds and ranks, on made predictions."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import bootstrap_intervals, difference_of_sets, per_execution
from covid_keras.evaluation.estimates import Drawing, Sample
from covid_keras.evaluation.own_tables import OwnPredictions
from covid_keras.evaluation.rankings import (
    Drawn,
    best_on_validation,
    draw_metrics,
    rank_systems,
    thresholds_of,
)
from tests.helpers.predictions import normal_scores

FEW = Drawing(resamples=300)
SIX = {name: 0.5 * place for place, name in enumerate("abcdef")}


def interval(frame: pd.DataFrame, metric: str = "auc", **more) -> tuple[float, float]:
    one = draw_metrics({"it": frame}, drawing=FEW, **more)["it"][metric].estimate()
    return one.low, one.high


def test_of_one_training_it_is_the_interval_by_patient():
    frame = normal_scores(80, 1.0)
    expected = bootstrap_intervals(frame, n=300)
    for metric in ("auc", "sensitivity", "accuracy"):
        assert interval(frame, metric) == pytest.approx(expected[metric])


def test_trainings_that_differ_widen_it_and_copies_do_not():
    frame = normal_scores(200, 1.0)
    copies = pd.concat([frame.assign(repeat=number) for number in range(3)])
    assert interval(copies) == pytest.approx(interval(frame))
    unlike = pd.concat([normal_scores(200, gap, repeat=number) for number, gap in enumerate((0.2, 1.0, 1.8))])
    low, high = interval(unlike)
    areas = per_execution(unlike)["auc"]
    assert high - low > 1.5 * np.diff(interval(frame))[0]
    assert low < areas.mean() < high


def test_a_calibration_curve_is_wider_where_trainings_differ():
    unlike = pd.concat([normal_scores(300, 1.0, 4, shift=shift, repeat=n) for n, shift in enumerate((-1, 0, 1))])
    sample = Sample.of(OwnPredictions(unlike))
    fixed, drawn = sample.curve(FEW), sample.curve(FEW, repeats=True)
    assert drawn[["score", "share", "images"]].equals(fixed[["score", "share", "images"]])
    widths = [(curve["high"] - curve["low"]).mean() for curve in (fixed, drawn)]
    assert widths[1] > 1.2 * widths[0]


def test_folds_are_not_drawn_but_their_repeats_are(two_by_three):
    test = two_by_three[two_by_three["split"] == "test"]
    times = Sample.of(OwnPredictions(test)).times(FEW)
    assert times.shape == (300, 6)
    assert (times.sum(axis=1) == 6).all()
    assert (times[:, :3] == times[:, [0]]).all(), "the folds of a repeat go together"
    assert set(times[:, 0]) == {0, 1, 2}
    for alone in (test[test["repeat"] == 0], test[(test["repeat"] == 0) | (test["fold"] == 0)]):
        assert Sample.of(OwnPredictions(alone)).times(FEW) is None, "one repeat, or repeats of other images"


def test_a_drop_between_tests_of_shared_trainings_is_narrower_than_of_others():
    """Trainings that are good in both tests cancel in the drop; where they are shuffled, they do not."""
    gaps = (0.3, 1.2, 2.1)
    within = pd.concat([normal_scores(400, gap, repeat=number) for number, gap in enumerate(gaps)])
    across, shuffled = (
        pd.concat([normal_scores(400, gap - 0.2, 1, "q", repeat=number) for number, gap in enumerate(order)])
        for order in (gaps, gaps[::-1])
    )

    def drop(other: pd.DataFrame) -> tuple[float, float]:
        drawn = draw_metrics({"within": within, "across": other}, drawing=FEW)
        one = drawn["within"]["auc"].less(drawn["across"]["auc"]).estimate()
        return one.value, one.high - one.low

    assert drop(across)[0] == pytest.approx(drop(shuffled)[0], abs=2)
    assert drop(across)[1] < 0.7 * drop(shuffled)[1]


def test_of_one_training_a_drop_is_the_difference_of_sets():
    within, across = normal_scores(80, 1.0), normal_scores(60, 0.5, 1, "q")
    drawn = draw_metrics({"within": within, "across": across}, drawing=FEW)
    expected = difference_of_sets(within, across, "auc", n=300)
    found = drawn["within"]["auc"].less(drawn["across"]["auc"]).estimate()
    assert found[:3] == pytest.approx((expected.difference, expected.low, expected.high))


def test_a_system_less_itself_is_nothing():
    frame = pd.concat([normal_scores(50, 1.0, seed, repeat=seed) for seed in range(3)])
    drawn = draw_metrics({"a": frame, "b": frame.assign(system="b")}, drawing=FEW)
    for metric in ("auc", "sensitivity", "specificity", "brier"):
        assert drawn["a"][metric].less(drawn["b"][metric]).estimate()[:3] == (0, pytest.approx(0), pytest.approx(0))


def test_the_threshold_of_each_training_holds_its_specificity_on_validation_and_loses_it_on_shifted_images():
    validation = pd.concat([normal_scores(400, 1.5, seed, repeat=seed, split="validation") for seed in range(3)])
    thresholds = thresholds_of(validation)
    assert set(thresholds) == {(0, 0), (1, 0), (2, 0)}
    same = draw_metrics({"it": validation.assign(split="test")}, thresholds={"it": thresholds}, drawing=FEW)["it"]
    assert 90 <= same["specificity"].value < 91.5
    test = pd.concat([normal_scores(400, 1.5, 9, "q", shift=0.7, repeat=seed) for seed in range(3)])
    shifted = draw_metrics({"it": test}, thresholds={"it": thresholds}, drawing=FEW)["it"]
    estimate = shifted["specificity"].estimate()
    assert estimate.high < 85
    assert shifted["sensitivity"].value > same["sensitivity"].value
    assert thresholds_of(test) == {}, "nothing is chosen on test images"


def test_the_best_is_named_by_validation_where_all_have_one():
    tables = {name: normal_scores(300, gap, 2, split="validation") for name, gap in SIX.items()}
    assert best_on_validation(tables) == "f"
    assert best_on_validation(tables | {"f": normal_scores(300, 3.0)}) is None
    assert best_on_validation({}) is None


def test_ranks_of_a_known_order():
    """Six systems far apart have their ranks nearly always; two alike share the first place."""
    tables = {name: normal_scores(2000, gap, place) for place, (name, gap) in enumerate(SIX.items())}
    drawn = {name: one["auc"] for name, one in draw_metrics(tables, drawing=FEW).items()}
    ranked = rank_systems(drawn).set_index("system")
    assert list(ranked.index) == list("fedcba")
    assert ranked["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert ranked.loc["f", "first"] > 0.95
    assert ranked["rank"].between(ranked["low"], ranked["high"]).all()
    twins = {"f": drawn["f"], "copy": drawn["f"], "a": drawn["a"]}
    ranked = rank_systems(twins).set_index("system")
    assert ranked["first"].to_dict() == pytest.approx({"f": 0.5, "copy": 0.5, "a": 0})
    assert ranked["rank"].to_dict() == {"f": 1, "copy": 1, "a": 3}


def test_shares_of_being_first_count_draws():
    made = {"a": [3, 1, 2, np.nan], "b": [1, 2, 2, 9], "c": [0, 0, 2, 0]}
    drawn = {name: Drawn("auc", draws[0], np.array(draws, float), 9) for name, draws in made.items()}
    ranked = rank_systems(drawn).set_index("system")
    assert ranked["first"].tolist() == pytest.approx([(1 + 1 / 3) / 3, (1 + 1 / 3) / 3, 1 / 9])
    assert ranked.loc["c", ["low", "high"]].tolist() == [1, 3]


@pytest.mark.parametrize("change", [lambda f: f.assign(split="validation"), lambda f: f.assign(system=["a", "b"] * 20)])
def test_what_cannot_be_drawn_is_refused(change):
    with pytest.raises(UserError):
        draw_metrics({"it": change(normal_scores(40, 1.0))}, drawing=FEW)
