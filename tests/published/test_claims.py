"""`claims.yaml`: what a claim contains, and what is said of a file that is wrong."""

from __future__ import annotations

import math

import pytest

from covid_keras.common.errors import UserError
from covid_keras.published.claims import ClaimTest, check_systems, load_claims, split_system

PUBLISHED = """
tables:
  - table: "1"
    unit: percent
    columns:
      - {name: Accuracy, metric: accuracy}
      - {name: AUC, metric: auc}
      - {name: Start, unit: text}
      - {name: Size, unit: count}
    rows:
      - {row: Deep, values: ["90.0", lost, ImageNet, 9]}
      - {row: Shallow, values: ["88.0", "95.0", none, 5]}
"""
CLAIMS = """
paper: made
claims:
  - id: deeper_is_better
    statement: The deeper network is more accurate.
    where: 3.1, Table 1
    source: abstract
    kind: difference
    data: any
    family: depth
    printed:
      - {a: 1 | Deep | Accuracy, b: 1 | Shallow | Accuracy}
      - {a: [1 | Deep | AUC, 1 | Deep | Accuracy], side: below}
    tests:
      - {a: deep, b: [shallow, other:small], metric: ACC}
      - {what: beside, a: deep, metric: sd_auc, less: sampling_sd_auc, above: 2.5, part: validation, primary: false}
  - id: looks_at_lungs
    statement: Heat lies in the lungs.
    where: Fig. 2
    source: text
    kind: share
    data: lung masks
    family: depth
    unprinted: four chosen images
    untested: heat maps of a run
"""


@pytest.fixture
def write(tmp_path):
    def write(old: str = "", new: str = ""):
        assert old in CLAIMS
        (tmp_path / "published.yaml").write_text(PUBLISHED)
        path = tmp_path / "claims.yaml"
        path.write_text(CLAIMS.replace(old, new, 1))
        return path

    return write


def test_claims_come_by_id(write):
    claims = load_claims(write())
    deeper, looks = claims.values()
    assert (deeper.id, deeper.source, deeper.systems) == (
        "deeper_is_better",
        "abstract",
        ("deep", "shallow", "other:small"),
    )
    assert [one.places for one in deeper.printed] == [
        (("1", "Deep", "Accuracy"), ("1", "Shallow", "Accuracy")),
        (("1", "Deep", "AUC"), ("1", "Deep", "Accuracy")),
    ]
    first, second = deeper.tests
    assert (first.metric, first.primary, first.title) == (
        "accuracy",
        True,
        "deep less shallow with other:small, accuracy",
    )
    assert (second.metric, second.less, second.part, second.title) == (
        "sd_auc",
        "sampling_sd_auc",
        "validation",
        "beside",
    )
    assert deeper.primary == (first,)
    assert (looks.printed, looks.tests, looks.untested) == ((), (), "heat maps of a run")


@pytest.mark.parametrize(
    ("side", "low", "high", "words"),
    [
        ({}, 0, math.inf, "> 0"),
        ({"side": "below"}, -math.inf, 0, "< 0"),
        ({"above": 50}, 50, math.inf, "> 50"),
        ({"below": -2.5}, -math.inf, -2.5, "< -2.5"),
        ({"within": 5}, -5, 5, "within 5"),
    ],
)
def test_the_claimed_side_is_a_range(side, low, high, words):
    test = ClaimTest(a=("deep",), metric="auc", **side)
    assert (test.range, test.words) == ((low, high), words)


@pytest.mark.parametrize(
    ("old", "new", "subject"),
    [
        ("kind: difference", "kind: rumour", r"claims\[deeper_is_better\]\.kind is 'rumour'"),
        ("source: text", "source: rumour", r"\.source is 'rumour'"),
        ("    data: any\n", "    date: any\n", r"'date' in claims\[deeper_is_better\].*'data'"),
        ("metric: ACC", "metrics: ACC", r"'metrics' in claims\[deeper_is_better\]\.tests\[0\].*'metric'"),
        ("metric: ACC", "metric: acuracy", "acuracy.*accuracy"),
        ("metric: sd_auc", "metric: sd_nothing", "nothing"),
        ("    where: Fig. 2\n", "", r"lacks the key 'claims\[looks_at_lungs\]\.where'"),
        ("id: looks_at_lungs", "id: deeper_is_better", "'deeper_is_better' is repeated"),
        ("    untested: heat maps of a run\n", "", r"looks_at_lungs\]: needs either tests or untested"),
        ("    family: depth\n", "    family: depth\n    unprinted: why\n", "needs either printed or unprinted"),
        ("above: 2.5", "above: 2.5, within: 1", "above and within exclude each other"),
        ("above: 2.5", "within: -1", r"within is -1"),
        ("b: [shallow, other:small], metric: ACC", "metric: ACC, primary: false", "needs a primary test"),
        ("b: [shallow, other:small], metric: ACC", "metric: ACC, label_b: P", "label_b needs b"),
        ("metric: ACC", "metric: beyond_chance_P", "beyond_chance_P"),
        ("metric: ACC}", "metric: dice, part: test}", "dice.*part"),
        ("a: 1 | Deep | Accuracy", "a: 1 | Deep | Acc", r"'Deep', 'Acc', which is not in.*Accuracy, AUC"),
        ("a: 1 | Deep | Accuracy", "a: 1 | Deeper | Accuracy", "'Deeper'.*Deep, Shallow"),
        ("a: 1 | Deep | Accuracy", "a: 1 | Deep | Start", "'Start' is a word"),
        ("a: 1 | Deep | Accuracy", "a: 1 | Deep | Size", "compares count with percent"),
        ("a: 1 | Deep | Accuracy", "a: accuracy", "'accuracy' is not a place"),
    ],
)
def test_what_is_wrong_is_named(write, old, new, subject):
    path = write(old, new)
    with pytest.raises(UserError, match=subject) as caught:
        load_claims(path)
    assert caught.value.subject == str(path)


def test_systems_are_those_of_a_paper(write):
    claims, known = load_claims(write()), {"made": ["deep", "shallow"], "other": ["small"]}
    check_systems(claims, "made", known, "claims.yaml")
    for wrong, subject in (
        ({"made": ["deep", "shallow"]}, "'other'"),
        (known | {"other": ["smaller"]}, "'small'.*smaller"),
    ):
        with pytest.raises(UserError, match=subject):
            check_systems(claims, "made", wrong, "claims.yaml")
    assert [split_system(name, "made") for name in ("deep", "other:small")] == [("made", "deep"), ("other", "small")]
