"""What a paper's own numbers say about its claims: by rule, with the printed spread or the number of images."""

from __future__ import annotations

import math

import pytest
from scipy.stats import binomtest
from scipy.stats import t as student

from covid_keras.evaluation.possibility import Audited, AuditVerdict
from covid_keras.evaluation.printed_claims import Support, judge_printed
from covid_keras.published.cells import load_published
from covid_keras.published.claims import Claim, Comparison

PUBLISHED = """
tables:
  - table: "1"
    unit: percent
    audit: {images: 200}
    columns:
      - {name: Accuracy, metric: accuracy}
      - {name: F1, metric: f1}
      - {name: Lost, metric: accuracy}
      - {name: AUC, unit: ratio, metric: auc}
    rows:
      - {row: good, values: ["95.0", "95.0", "lost", "0.9 [0.85, 0.94]"]}
      - {row: like, values: ["94.0", "94.0", "90.0", "0.88 [0.80, 0.93]"]}
      - {row: weak, values: ["70.0", "70.0", "-", "0.6"]}
  - table: "2"
    unit: percent
    audit: {executions: 25, folds: 5}
    columns: [{name: Accuracy, metric: accuracy}]
    rows:
      - {row: good, values: ["80.0 ± 3.0"]}
      - {row: weak, values: ["77.0 ± 3.0"]}
      - {row: seeds, audit: {folds: 1}, values: ["75.0 ± 3.0"]}
      - {row: steady, values: ["76.0 ± 1.0"]}
      - {row: alone, values: ["76.0"]}
  - table: "3"
    unit: count
    columns: [{name: N, predicted: N}, {name: C, predicted: C}, {name: P, predicted: P}]
    rows: [{row: C, actual: C, values: ["30", "60", "10"]}]
  - table: "4"
    unit: percent
    columns: [{name: printed}]
    rows:
      - {row: near, values: ["94.0"]}
      - {row: far, values: ["60.0"]}
      - {row: images, values: ["780"], cells: {printed: {unit: count}}}
      - {row: fewer, values: ["385"], cells: {printed: {unit: count}}}
"""


def place(text: str) -> tuple[str, ...]:
    return tuple(text.split(" | "))


@pytest.fixture
def judged(tmp_path):
    """A function that judges one comparison, or several."""
    path = tmp_path / "published.yaml"
    path.write_text(PUBLISHED)
    cells = load_published(path)

    def judged(*comparisons, audit=None):
        printed = tuple(
            Comparison(**one | {key: tuple(map(place, one[key])) for key in ("a", "b") if key in one})
            for one in comparisons
        )
        words = dict.fromkeys(("statement", "where", "data", "untested"), "x")
        return judge_printed(Claim(id="one", source="text", kind="order", printed=printed, **words), cells, audit)

    return judged


def pair(a: str, b: str = "", column: str = "Accuracy", table: str = "1", **side) -> dict:
    made = {"a": [f"{table} | {a} | {column}"], **side}
    return made | ({"b": [f"{table} | {b} | {column}"]} if b else {})


@pytest.mark.parametrize(
    ("comparison", "support"),
    [
        (pair("good", "weak"), "supported"),
        (pair("good", "like"), "within noise"),
        (pair("like", "good"), "contradicted by another number"),
        (pair("good", "good"), "within noise"),
        (pair("good", "weak", side="below"), "contradicted by another number"),
        (pair("good", above=90), "supported"),
        (pair("good", above=94), "within noise"),
        (pair("good", "like", within=10), "supported"),
        (pair("good", "like", within=2), "within noise"),
        (pair("good", "weak", within=10), "contradicted by another number"),
        (pair("good", "weak", "F1"), "not enough printed"),
        (pair("weak", "good", "F1"), "contradicted by another number"),
        (pair("good", "like", "Lost"), "not enough printed"),
        (pair("good", column="AUC", above=50), "supported"),
        (pair("good", "like", "AUC"), "within noise"),
        (pair("good", "weak", "AUC"), "not enough printed"),
        (pair("good", "weak", table="2"), "within noise"),
        (pair("good", "seeds", table="2"), "supported"),
        ({"a": ["1 | good | Accuracy"], "b": ["4 | near | printed"]}, "within noise"),
        ({"a": ["1 | good | Accuracy"], "b": ["4 | far | printed"]}, "not enough printed"),
        ({"a": ["4 | images | printed"], "b": ["4 | fewer | printed"]}, "supported"),
        (pair("seeds", above=70, table="2"), "supported"),
        (pair("steady", "good", table="2", of="std", side="below"), "supported"),
        (pair("good", "steady", table="2", of="std", side="below"), "contradicted by another number"),
        (pair("weak", "good", table="2", of="std", within=3), "supported"),
        (pair("alone", "good", table="2", of="std", side="below"), "not enough printed"),
        ({"a": ["3 | C | C"], "above": 55}, "within noise"),
        ({"a": ["3 | C | C"], "b": ["3 | C | P"]}, "supported"),
        (
            {"a": ["1 | good | Accuracy", "1 | weak | Accuracy"], "b": ["1 | like | Accuracy", "1 | good | Accuracy"]},
            "supported",
        ),
    ],
)
def test_the_printed_difference_against_its_spread(judged, comparison, support):
    found = judged(comparison)
    assert found.support == support
    (test,) = found.tests
    assert bool(test.reason) == (support == "not enough printed")
    assert bool(test.basis) == (not math.isnan(test.low))


def test_overlapping_training_sets_widen_the_error(judged):
    (folds,) = judged(pair("weak", above=50, table="2")).tests
    (seeds,) = judged(pair("seeds", above=50, table="2")).tests
    for test, variance in ((folds, 1 / 25 + 1 / 4), (seeds, 1 / 25)):
        assert test.high - test.value == pytest.approx(3 * math.sqrt(variance) * student.ppf(0.975, 24))


def test_images_give_the_interval_of_wilson_and_newcombe(judged):
    (one,) = judged(pair("good", above=50)).tests
    good, weak = (binomtest(k, 200).proportion_ci(method="wilson") for k in (190, 140))
    assert ((one.low, one.high), one.basis) == (pytest.approx((100 * good.low, 100 * good.high)), "200 images")
    (two,) = judged(pair("good", "weak")).tests
    assert two.low == pytest.approx(25 - math.hypot(95 - 100 * good.low, 100 * weak.high - 70))


def test_cells_of_one_row_of_a_confusion_matrix_exclude_each_other(judged):
    (two,) = judged({"a": ["3 | C | C"], "b": ["3 | C | P"]}).tests
    error = 100 * math.sqrt((0.6 + 0.1 - 0.5**2) / 100)
    assert (two.high - two.low) / 2 == pytest.approx(1.96 * error, rel=0.06)


@pytest.mark.parametrize("verdict", [AuditVerdict.IMPOSSIBLE, AuditVerdict.EXPLAINED])
def test_impossible_numbers_prove_nothing(judged, verdict):
    audit = {("1", "weak", "Accuracy"): Audited(verdict, "a copy of Table 9")}
    found = judged(pair("good", "weak"), audit=audit)
    assert found.support == Support.NOT_ENOUGH
    assert "Table 9" in found.reason
    assert judged(pair("good", "like"), audit=audit).support == Support.WITHIN_NOISE


def test_the_worst_comparison_counts(judged):
    supported, noise, contradicted, unknown = (
        pair("good", "weak"), pair("good", "like"), pair("like", "good"), pair("good", "weak", "F1"),
    )  # fmt: skip
    assert judged(supported, unknown).support == Support.NOT_ENOUGH
    assert judged(supported, unknown, noise).support == Support.WITHIN_NOISE
    assert judged(supported, unknown, noise, contradicted).support == Support.CONTRADICTED
    assert len(judged(supported, unknown, noise).tests) == 3
