"""Claims tested on made predictions: outcomes, intervals, spreads, heat and overlap, and Holm's correction."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from covid_keras.common.errors import UserError
from covid_keras.evaluation import bootstrap_difference, compute_metrics, counts, difference_of_sets
from covid_keras.evaluation.claim_metrics import ClaimMetrics, NotTestable
from covid_keras.evaluation.claims import ClaimOutcome, ClaimVerdict, correct_families, judge_claim, judge_test
from covid_keras.evaluation.printed_claims import PrintedSupport, Support
from covid_keras.evaluation.uncertainty import bootstrap_interval
from covid_keras.published.claims import Claim, ClaimTest
from tests.helpers.predictions import coin, make_predictions, normal_scores

NOTHING_PRINTED = PrintedSupport(Support.NOT_ENOUGH, (), "none")
N = 120


def biased(n: int, sensitivity: float, specificity: float, **columns) -> pd.DataFrame:
    """Return predictions of n positives and n negatives, of which exactly these shares are right."""
    truth = np.repeat([1, 0], n)
    right = np.concatenate([np.arange(n) < share * n for share in (sensitivity, specificity)])
    return make_predictions(np.array(["N", "P"])[truth], np.where((truth == 1) == right, 0.9, 0.1), **columns)


@dataclass
class Made:
    """Measurements made at hand."""

    frames: dict[str, pd.DataFrame]
    heat: dict[str, pd.DataFrame] = field(default_factory=dict)
    masks: dict[str, pd.DataFrame] = field(default_factory=dict)

    def _get(self, where, system):
        if system not in where:
            raise NotTestable(f"{system} was not run")
        return where[system].assign(system=system)

    def predictions(self, system):
        return self._get(self.frames, system)

    def positive(self, system):
        return None

    def functions(self, system):
        return {"accuracy_doubled": lambda confusion: 2 * counts.accuracy(confusion)}

    def shares(self, system):
        return self._get(self.heat, system)

    def overlap(self, system):
        return self._get(self.masks, system)


@pytest.fixture(scope="module")
def metrics() -> ClaimMetrics:
    """Measurements of a good, a like and a weak system, of seeds and folds, and of others for single metrics."""
    good, weak = coin(N, 0.95, seed=1), coin(N, 0.6, seed=2)
    seeds = pd.concat([coin(N, share, seed=7, repeat=number) for number, share in enumerate((0.6, 0.75, 0.9, 0.95))])
    folds = good.assign(fold=np.arange(N) % 4)
    rng = np.random.default_rng(0)
    levels = np.where(good["label"] == "P", np.where(np.arange(N) % 4 == 1, "Severe", "Mild"), "")
    graded = make_predictions(good["label"], np.where(levels == "Mild", 0.1, 0.9), severity=levels)
    heat = good[["image_id", "patient_id", "source", "label"]].assign(
        heat_in_lungs=0.5, lung_area=0.3, beyond_chance=np.where(good["label"] == "P", 0.3, 0.1)
    )
    masks = good[["image_id", "patient_id"]].assign(part="validation", dice=0.9 + 0.05 * rng.random(N), iou=0.8)
    return ClaimMetrics(
        Made(
            {
                "good": good, "like": good.copy(), "weak": weak, "seeds": seeds, "folds": folds, "graded": graded,
                "elsewhere": coin(N, 0.6, seed=3, first=60), "far": coin(N, 0.6, seed=3, first=5000),
                "two_sources": good.assign(
                    source=np.where(good["label"] == good["predicted"], "here", "there")
                ),
                "eager": biased(50, 0.9, 0.4), "shy": biased(50, 0.4, 0.9), "even": biased(50, 0.7, 0.7),
                "validated": pd.concat([
                    normal_scores(200, 4.0, 1, "v", shift=4.0, split="validation"),
                    normal_scores(200, 4.0, 2, "t", shift=4.0),
                ]),
            },
            {"good": heat},
            {"net": masks, "shipped": masks.assign(dice=masks["dice"] - 0.04)},
        )
    )  # fmt: skip


def judged(metrics: ClaimMetrics, **test):
    systems = {
        key: (test[key],) if isinstance(test[key], str) else tuple(test[key]) for key in ("a", "b") if key in test
    }
    return judge_test(ClaimTest(**test | systems), metrics)


def right_of(metrics: ClaimMetrics, system: str, repeat: int) -> float:
    frame = metrics.measurements.predictions(system)
    return float(frame[frame["repeat"] == repeat].eval("label == predicted").mean())


@pytest.mark.parametrize(
    ("test", "outcome"),
    [
        ({"a": "good", "b": "weak", "metric": "accuracy"}, "holds"),
        ({"a": "weak", "b": "good", "metric": "accuracy"}, "does not hold"),
        ({"a": "weak", "b": "good", "metric": "accuracy", "side": "below"}, "holds"),
        ({"a": "good", "b": "like", "metric": "accuracy"}, "undecided"),
        ({"a": "good", "b": "weak", "metric": "accuracy", "above": 60}, "does not hold"),
        ({"a": "good", "metric": "auc", "above": 50}, "holds"),
        ({"a": "good", "metric": "accuracy", "below": 50}, "does not hold"),
        ({"a": "good", "metric": "accuracy", "above": 94}, "undecided"),
        ({"a": "good", "b": "like", "metric": "auc", "within": 5}, "holds"),
        ({"a": "good", "b": "weak", "metric": "auc", "within": 5}, "does not hold"),
        ({"a": "good", "b": "elsewhere", "metric": "accuracy", "sets": True}, "holds"),
        ({"a": "graded", "metric": "accuracy_Severe", "less": "accuracy_Mild"}, "holds"),
        ({"a": "eager", "metric": "sensitivity", "less": "specificity"}, "holds"),
        ({"a": "shy", "metric": "sensitivity", "less": "specificity"}, "does not hold"),
        ({"a": "nobody", "b": "good", "metric": "accuracy"}, "not testable here"),
        ({"a": "good", "b": "far", "metric": "accuracy"}, "not testable here"),
        ({"a": "good", "metric": "accuracy", "part": "validation"}, "not testable here"),
        ({"a": "good", "metric": "accuracy_tuned", "less": "accuracy"}, "not testable here"),
        ({"a": "good", "metric": "sd_accuracy", "below": 5}, "not testable here"),
        ({"a": "good", "metric": "accuracy_Severe", "less": "accuracy"}, "not testable here"),
        ({"a": ("good", "far"), "b": "good", "metric": "accuracy"}, "not testable here"),
    ],
)  # fmt: skip
def test_the_whole_interval_decides(metrics, test, outcome):
    found = judged(metrics, **test)
    assert found.outcome == outcome
    if outcome == "not testable here":
        assert found.reason
        assert np.isnan([found.value, found.low, found.high, found.p]).all()
    else:
        assert (found.p < 0.05) == (outcome != "undecided")
        assert found.reason == ""


def test_values_are_those_of_the_metrics_and_intervals_those_of_the_bootstrap(metrics):
    good, weak, elsewhere = (metrics.measurements.predictions(name) for name in ("good", "weak", "elsewhere"))
    one = judged(metrics, a="good", metric="sensitivity", above=50)
    assert one.value == pytest.approx(compute_metrics(good)["sensitivity"])
    assert (one.low, one.high) == pytest.approx(bootstrap_interval(good, "sensitivity"))
    assert (one.executions, one.same_side, one.trainings, one.patients, one.images) == (1, 1, 1, N, N)
    for sets, other, expected in ((False, "weak", bootstrap_difference), (True, "elsewhere", difference_of_sets)):
        two = judged(metrics, a="good", b=other, metric="auc", sets=sets)
        found = expected(good, {"weak": weak, "elsewhere": elsewhere}[other], "auc")
        assert (two.value, two.low, two.high) == pytest.approx((found.difference, found.low, found.high))
    assert two.patients == 180


def test_only_shared_images_are_paired(metrics):
    found = judged(metrics, a="good", b="elsewhere", metric="accuracy")
    assert (found.patients, found.images) == (60, 60)


@pytest.mark.parametrize(
    ("system", "metric", "value"),
    [
        ("eager", "called_positive", 75.0),
        ("eager", "gap", 50.0),
        ("shy", "gap", 50.0),
        ("even", "gap", 0.0),
        ("even", "larger_class", 50.0),
        ("even", "confusion_P_N", 30.0),
        ("eager", "balanced_accuracy", 65.0),
        ("eager", "false_positive_rate", 60.0),
        ("even", "accuracy_doubled", 140.0),
        ("even", "auprc", 64.0),
        ("even", "mcc", 40.0),
        ("even", "brier", 100 * (0.7 * 0.1**2 + 0.3 * 0.9**2)),
        ("good", "heat_in_lungs", 50.0),
        ("good", "beyond_chance", 20.0),
        ("net", "iou", 80.0),
    ],
)
def test_further_metrics(metrics, system, metric, value):
    part = "validation" if metric == "iou" else "test"
    assert judged(metrics, a=system, metric=metric, part=part).value == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize(
    ("test", "value"),
    [
        ({"a": "good", "metric": "beyond_chance", "label": "P"}, 30.0),
        (
            {
                "a": "good",
                "metric": "beyond_chance",
                "label": "P",
                "less": "beyond_chance",
                "label_b": "N",
                "sets": True,
            },
            20.0,
        ),
        ({"a": "two_sources", "metric": "accuracy", "source": "here"}, 100.0),
        (
            {
                "a": "two_sources",
                "b": "two_sources",
                "metric": "accuracy",
                "source": "here",
                "source_b": "there",
                "sets": True,
            },
            100.0,
        ),
        ({"a": "two_sources", "b": "good", "metric": "accuracy", "source": "here", "source_b": "made"}, 0.0),
    ],
)
def test_a_side_may_be_images_of_a_source_or_label(metrics, test, value):
    assert judged(metrics, **test).value == pytest.approx(value, abs=1e-5)


@pytest.mark.parametrize("images", [{"source": "nowhere"}, {"label": "Q"}, {"part": "validation"}])
def test_a_side_without_images_is_not_testable(metrics, images):
    found = judged(metrics, a="good", metric="accuracy", **images)
    assert (found.outcome, next(iter(images.values())) in found.reason) == ("not testable here", True)


def test_segmenters_are_compared_by_image(metrics):
    found = judged(metrics, a="net", b="shipped", metric="dice", part="validation")
    assert (found.outcome, found.value, found.low, found.high) == ("holds", *[pytest.approx(4.0)] * 3)


def test_a_threshold_from_validation_helps_where_scores_are_shifted(metrics):
    found = judged(metrics, a="validated", metric="accuracy_tuned", less="accuracy")
    assert found.outcome == "holds"
    assert found.value > 20


def test_the_mean_of_scores_is_a_system(metrics):
    found = judged(metrics, a=("good", "like"), b="good", metric="accuracy", within=1)
    assert (found.value, found.outcome) == (0.0, "holds")


def test_repeats_are_drawn_and_counted(metrics):
    one = judged(metrics, a="seeds", metric="accuracy", above=70)
    alone = bootstrap_interval(metrics.measurements.predictions("seeds"), "accuracy")
    assert one.high - one.low > 1.5 * (alone[1] - alone[0])
    assert (one.executions, one.same_side, one.trainings) == (4, 3, 4)
    on_bound = judged(metrics, a="seeds", metric="accuracy", above=100 * right_of(metrics, "seeds", 2))
    assert (on_bound.executions, on_bound.same_side) == (4, 2)
    two = judged(metrics, a="good", b="seeds", metric="accuracy")
    assert (two.executions, two.same_side, two.trainings) == (4, 3, 1)


def test_spreads_over_executions(metrics):
    each = [100 * right_of(metrics, "seeds", k) for k in range(4)]
    found = judged(metrics, a="seeds", metric="sd_accuracy", above=1)
    assert found.value == pytest.approx(np.std(each, ddof=1))
    sampling = judged(metrics, a="folds", metric="sampling_sd_accuracy", above=0)
    shares = metrics.measurements.predictions("folds").eval("label == predicted").groupby(np.arange(N) % 4).mean()
    assert sampling.value == pytest.approx(100 * np.sqrt((shares * (1 - shares)).mean() / (N / 4)), rel=0.1)
    limits = [found.value * np.sqrt(3 / chi2.ppf(q, 3)) for q in (0.975, 0.025)]
    assert (found.low, found.high) == pytest.approx(limits, rel=0.15)
    other = judged(metrics, a="folds", metric="sd_accuracy", above=0)
    both = judged(metrics, a="seeds", b="folds", metric="sd_accuracy")
    assert both.value == pytest.approx(found.value - other.value)
    assert both.low < found.low


def test_a_metric_that_is_not_computed_is_named(metrics):
    with pytest.raises(UserError, match=r"recall_Q.*sensitivity"):
        judged(metrics, a="good", metric="recall_Q")


# ---------------------------------------------------------------------------------------------------- claims


def claim(*tests: dict, name: str = "one", family: str = "") -> Claim:
    made = tuple(ClaimTest(**{"metric": "accuracy"} | test) for test in tests)
    words = dict.fromkeys(("statement", "where", "data", "unprinted"), "x")
    return Claim(id=name, source="text", kind="order", family=family, tests=made, **words)


HOLDS = {"a": ("good",), "b": ("weak",)}
FAILS = {"a": ("weak",), "b": ("good",)}
UNDECIDED = {"a": ("good",), "b": ("like",)}
MISSING = {"a": ("nobody",)}
BESIDE = {"primary": False}


@pytest.mark.parametrize(
    ("tests", "outcome", "deciding"),
    [
        ([HOLDS], "holds", 0),
        ([HOLDS, FAILS | BESIDE], "holds", 0),
        ([HOLDS, UNDECIDED], "undecided", 1),
        ([HOLDS, FAILS], "does not hold", 1),
        ([MISSING, FAILS], "does not hold", 1),
        ([MISSING, HOLDS], "holds", 1),
        ([MISSING], "not testable here", None),
        ([MISSING, HOLDS | BESIDE], "not testable here", None),
        ([HOLDS, MISSING | BESIDE], "holds", 0),
    ],
)
def test_all_primary_tests_must_hold(metrics, tests, outcome, deciding):
    found = judge_claim(claim(*tests), metrics, NOTHING_PRINTED)
    assert found.outcome == outcome
    assert found.deciding == (None if deciding is None else found.tests[deciding])
    several = "1 of 2 tests not done: " if MISSING in tests and HOLDS | BESIDE not in tests and len(tests) > 1 else ""
    assert found.reason == (f"{several}nobody was not run" if MISSING in tests else "")


def test_a_claim_without_tests_says_what_it_would_need(metrics):
    words = dict.fromkeys(("statement", "where", "data", "unprinted"), "x")
    untested = Claim(id="one", source="text", kind="order", untested="masks of opacities", **words)
    found = judge_claim(untested, metrics, NOTHING_PRINTED)
    assert (found.outcome, found.reason, found.tests, found.deciding) == (
        "not testable here", "masks of opacities", (), None,
    )  # fmt: skip


def test_the_p_of_a_claim_is_that_of_all_or_any_of_its_tests(metrics):
    holds, fails = (judge_claim(claim(*tests), metrics, NOTHING_PRINTED) for tests in ([HOLDS, HOLDS], [HOLDS, FAILS]))
    assert holds.p == max(one.p for one in holds.tests)
    assert fails.p == pytest.approx(2 * min(one.p for one in fails.tests))


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [((0.01, 0.02, 0.04), (0.03, 0.04, 0.04)), ((0.02, 0.03, 0.5), (0.06, 0.06, 0.5)), ((0.04,), (0.04,))],
)
def test_holm_corrects_the_claims_of_a_family(p_values, corrected):
    outcomes = {}
    for number, p in enumerate(p_values):
        outcome = ClaimVerdict.HOLDS if p < 0.05 else ClaimVerdict.UNDECIDED
        one = claim(HOLDS, name=f"c{number}", family="methods")
        outcomes[one.id] = ClaimOutcome(one, outcome, "", (), NOTHING_PRINTED, p, p)
    alone = claim(HOLDS, name="alone")
    outcomes["alone"] = ClaimOutcome(alone, ClaimVerdict.HOLDS, "", (), NOTHING_PRINTED, 0.049, 0.049)
    found = correct_families(outcomes)
    assert list(found) == list(outcomes)
    *of_family, other = found.values()
    assert other == outcomes["alone"]
    for one, before, p in zip(of_family, p_values, corrected, strict=True):
        assert one.corrected_p == pytest.approx(p)
        assert (one.outcome == "holds") == (p <= 0.05)
        assert ("'methods'" in one.reason) == (before <= 0.05 < p)


def test_a_claim_that_one_of_many_tests_refutes_is_corrected_for_their_number(metrics):
    found = judge_claim(claim(FAILS, *[HOLDS] * 29), metrics, NOTHING_PRINTED)
    assert found.outcome == "does not hold"
    (corrected,) = correct_families({"one": found}).values()
    assert (corrected.outcome, corrected.corrected_p) == ("undecided", pytest.approx(30 * found.deciding.p))
    assert "its 30 tests" in corrected.reason
    few = judge_claim(claim(FAILS, HOLDS), metrics, NOTHING_PRINTED)
    assert correct_families({"one": few})["one"].outcome == "does not hold"
