from __future__ import annotations

import math
from dataclasses import replace

import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import (
    COMPARISON_COLUMNS,
    Grade,
    Measured,
    Outcome,
    PublishedCell,
    Verdict,
    compare,
    verdict_of,
)
from covid_keras.evaluation.possibility import Audited, AuditVerdict
from covid_keras.evaluation.verdicts import LOST, NO_COUNTERPART, NOT_RUN, UNDEFINED, as_published
from covid_keras.published.cells import LOST_TEXT

REPRODUCED, WITHIN, MISSED = (Verdict(Grade.REPRODUCTION, outcome) for outcome in Outcome)


def shown(reason):
    """The verdict on a stand-in."""
    return Verdict(Grade.STAND_IN, None, reason)


def missing(reason):
    """The verdict on a cell that has nothing to grade."""
    return Verdict(None, None, reason)


def verdicts(table):
    """The verdicts of a comparison, each with the words that go with it checked."""
    rows = table.to_dict("records")
    found = [verdict_of(row) for row in rows]
    assert [str(verdict) for verdict in found] == [row["verdict"] for row in rows]
    return found


def cell(mean, metric="accuracy", system="net", target=None, unit="percent", **more):
    where = {"table": "V", "row": system or "other", "column": metric or "n"}
    more = {"target": mean if target is None else target, "target_named": target is not None} | more
    return PublishedCell(**where, mean=mean, std=None, unit=unit, system=system, metric=metric, **more)


def ours(mean, low=0.0, high=100.0, metric="accuracy", system="net"):
    return Measured(system, metric, mean, 1.5, 1, 25, low, high, 800, 852)


@pytest.mark.parametrize(
    ("mean", "low", "high", "verdict"),
    [
        (75.0, 74.9, 75.1, REPRODUCED),
        (76.3, 76.2, 76.4, REPRODUCED),  # 76.3 - 74.3 is 2 and a bit in binary
        (72.2, 70.0, 75.0, WITHIN),
        (72.2, 70.0, 74.3, WITHIN),
        (72.2, 71.0, 73.0, MISSED),
        (math.nan, math.nan, math.nan, missing(UNDEFINED)),
    ],
)
def test_verdicts(mean, low, high, verdict):
    table = compare([cell(74.3)], [ours(mean, low, high)], tolerance=2)
    assert verdicts(table) == [verdict]
    assert table[["executions", "tolerance", "ours_std"]].to_numpy().tolist() == [[25, 2, 1.5]]


def test_verdicts_come_back_from_csv(tmp_path):
    table = compare([cell(74.3), cell(1, "auc"), cell(2, system="other")], [ours(74), ours(9, metric="auc")], 2)
    table.to_csv(tmp_path / "a.csv", index=False)
    assert verdicts(pd.read_csv(tmp_path / "a.csv")) == verdicts(table) == [REPRODUCED, WITHIN, missing(NOT_RUN)]
    with pytest.raises(ValueError, match="reproduced-ish"):
        verdict_of({"grade": "", "outcome": "reproduced-ish", "reason": ""})


def test_the_target_counts_where_the_printed_value_is_a_slip():
    row = compare([cell(3.36, target=63.36, doubt="lost digit")], [ours(62.0, 61, 63)], 2).iloc[0]
    assert (row.paper, row.target, row.outcome, row.doubt) == (3.36, 63.36, "reproduced", "lost digit")
    assert row.difference == pytest.approx(-1.36)


def test_cells_stay_in_the_papers_order_and_unmeasured_ones_are_kept():
    cells = [cell(852, metric="", system="", unit="count"), cell(70, "sensitivity"), cell(74.3)]
    table = compare(cells, [ours(74)], 2)
    assert tuple(table.columns) == COMPARISON_COLUMNS
    assert verdicts(table) == [missing(NO_COUNTERPART), missing(NOT_RUN), REPRODUCED]
    assert list(table["executions"]) == [0, 0, 25]
    assert table["ours"].isna().tolist() == [True, True, False]
    assert math.isnan(table["tolerance"][0])
    assert tuple(compare([], [], 2).columns) == COMPARISON_COLUMNS


def graded(grade, reason, system="net", table="V"):
    """Grade one system's numbers in one table; all others are reproductions."""
    return lambda *place: (grade, reason) if place == (system, table) else as_published(*place)


def test_a_stand_in_is_shown_but_not_judged():
    grading = graded(Grade.STAND_IN, "smaller network")
    table = compare([cell(74.3), cell(74.3, system="other")], [ours(74), ours(74, system="other")], 2, grading)
    assert verdicts(table) == [shown("smaller network"), REPRODUCED]
    assert table["ours"][0] == 74
    assert table["difference"][0] == pytest.approx(-0.3)
    assert verdicts(compare([cell(74.3)], [], 2, grading)) == [missing(NOT_RUN)]


@pytest.mark.parametrize(("mean", "outcome"), [(74, Outcome.REPRODUCED), (50, Outcome.NOT_REPRODUCED)])
def test_a_replication_is_judged_and_says_what_differs(mean, outcome):
    grading = graded(Grade.REPLICATION, "100 images are missing")
    table = compare([cell(74.3)], [ours(mean, mean - 1, mean + 1)], 2, grading)
    assert verdicts(table) == [Verdict(Grade.REPLICATION, outcome, "100 images are missing")]


def test_what_was_not_run_says_why():
    cells = [cell(74.3), cell(70, system="gone"), cell(70, system="other"), cell(5, metric="", system="", unit="count")]
    reasons = {"gone": "checkpoint not obtainable", "net": "left out later", "": "never"}
    table = compare(cells, [ours(74)], 2, not_run=reasons)
    gone = missing("checkpoint not obtainable")
    assert verdicts(table) == [REPRODUCED, gone, missing(NOT_RUN), missing(NO_COUNTERPART)]
    assert table["ours"].isna().tolist() == [False, True, True, True]
    assert table["executions"].tolist() == [25, 0, 0, 0]
    assert verdicts(compare(cells, [ours(74)], 2, graded(Grade.STAND_IN, "other data"), reasons))[:2] == [
        shown("other data"),
        gone,
    ]


def test_a_ratio_is_compared_as_a_ratio():
    row = compare([cell(0.91, "auc", unit="ratio")], [ours(90.0, 89, 92, "auc")], {"auc": 1.0}).iloc[0]
    assert (row.ours, row.low, row.tolerance, row.outcome) == (0.9, 0.89, 0.01, "reproduced")


def test_a_tolerance_a_metric():
    cells, measured = [cell(70), cell(70, "auc")], [ours(73), ours(73, metric="auc")]
    table = compare(cells, measured, {"auc": 1, "default": 4})
    assert list(table["tolerance"]) == [4, 1]
    assert verdicts(table) == [REPRODUCED, WITHIN]


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        ({}, "missing for accuracy"),
        ({"acuracy": 1, "default": 2}, "acuracy"),
        (-1, "default .*-1"),
        ({"default": "2"}, "default .*'2'"),
        (math.nan, "default .*nan"),
    ],
)
def test_a_wrong_tolerance_is_said(tolerance, message):
    with pytest.raises(UserError, match=message):
        compare([cell(70)], [], tolerance)


def test_a_system_that_no_cell_names_is_told_to_who_asks(caplog):
    caplog.set_level("INFO")
    compare([cell(70)], [ours(70), ours(70, system="nte")], 2)
    assert caplog.messages == ["no published cell names the system nte; it is not in the comparison"]


def test_a_cell_of_a_confusion_matrix_is_compared_by_its_share():
    matrix = {"unit": "count", "row_total": 603}
    cells = [
        cell(598, "specificity", target=59800 / 603, **matrix),
        cell(5, "false_positive_rate", target=500 / 603, **matrix),
        cell(5, "false_negative_rate", target=500 / 603, **matrix),
    ]
    right, wrong, missed = compare(cells, [ours(97, 95, 98, "specificity")], {"default": 1}).to_dict("records")
    assert (right["paper"], right["unit"], right["paper_text"]) == (
        pytest.approx(99.1708, abs=1e-4),
        "percent",
        "598 of 603",
    )
    assert (wrong["ours"], wrong["low"], wrong["high"], wrong["ours_std"]) == (3, 2, 5, 1.5)
    assert right["difference"] == pytest.approx(-wrong["difference"])
    assert right["outcome"] == wrong["outcome"] == "not reproduced"
    assert missed["reason"] == NOT_RUN


def test_a_complement_needs_no_tolerance_of_its_own():
    table = compare([cell(70, "specificity")], [ours(70, metric="specificity")], {"specificity": 1})
    assert verdicts(table) == [REPRODUCED]


def test_the_papers_interval_and_words_are_kept():
    word = replace(cell(math.nan, "", unit="text"), text="Yes")
    table = compare([cell(98.7, low=94.0, high=99.3), word], [ours(98)], 2)
    assert table[["paper_low", "paper_high"]].iloc[0].tolist() == [94.0, 99.3]
    assert table["paper_text"].tolist() == ["", "Yes"]
    assert verdicts(table) == [REPRODUCED, missing(NO_COUNTERPART)]


@pytest.mark.parametrize("grade", [Grade.REPRODUCTION, Grade.STAND_IN])
def test_what_the_text_has_lost_is_shown_beside_ours_and_not_judged(grade):
    gone = {"text": LOST_TEXT, "lost": True}
    cells = [
        cell(math.nan, **gone),
        cell(math.nan, "auc", unit="ratio", **gone),
        cell(math.nan, "false_negative_rate", unit="count", actual="a", predicted="b", **gone),
        cell(math.nan, "accuracy", "left_out", **gone),
        cell(math.nan, "", "", unit="count", **gone),
    ]
    measured = [ours(74, 72, 76), ours(90, 89, 92, "auc"), ours(97, 95, 98, "sensitivity")]
    table = compare(cells, measured, 2, graded(grade, ""), {"left_out": "no file"})
    assert set(verdicts(table)) == {missing(LOST)}
    assert set(table["paper_text"]) == {LOST_TEXT}
    assert table[["ours", "low", "high"]].head(3).to_numpy().tolist() == [[74, 72, 76], [0.9, 0.89, 0.92], [3, 2, 5]]
    assert table["unit"].tolist() == ["percent", "ratio", "percent", "percent", "count"]
    assert table["ours"].notna().tolist() == [True] * 3 + [False] * 2
    assert table[["paper", "target", "difference"]].isna().all(axis=None)


def test_measured_twice_is_an_error():
    with pytest.raises(UserError, match="accuracy of net is repeated"):
        compare([cell(70)], [ours(70), ours(71)], 2)


# --- what the audit calls impossible is no target

PROOF = "No whole number of 120 is 74.3 %: 89 are 74.2 %. More of it."
PLACE = ("V", "net", "accuracy")
IMPOSSIBLE = Audited(AuditVerdict.IMPOSSIBLE, "", PROOF)
EXPLAINED = Audited(AuditVerdict.EXPLAINED, "TP / (TP + FP)", PROOF)
AUDITED = [
    (IMPOSSIBLE, "impossible as printed: No whole number of 120 is 74.3 %: 89 are 74.2 %"),
    (EXPLAINED, "not as printed: TP / (TP + FP)"),
    (Audited(AuditVerdict.CONSISTENT, "", PROOF), ""),
    (Audited(AuditVerdict.NOT_CHECKABLE, "no rule applies", PROOF), ""),
]


def audited(said, *, doubt="", target=None, **options):
    table = compare([cell(74.3, doubt=doubt, target=target)], [ours(74.0, 70, 80)], 2, audit={PLACE: said}, **options)
    return verdicts(table)[0], table.iloc[0]


@pytest.mark.parametrize(("said", "reason"), AUDITED)
def test_what_is_not_as_printed_is_shown_and_not_judged(said, reason):
    verdict, row = audited(said)
    assert verdict == (Verdict(Grade.REPRODUCTION, None, reason) if reason else REPRODUCED)
    assert (row.ours, row.target, row.doubt) == (74.0, 74.3, "")
    assert (row.audit, row.audit_reason, row.proof) == said


@pytest.mark.parametrize(("said", "reason"), AUDITED)
def test_a_named_target_is_judged_whatever_is_said_of_the_printed_number(said, reason):
    for target in (74.2, 74.3):
        verdict, row = audited(said, target=target)
        assert verdict == REPRODUCED
        assert bool(row.doubt) == bool(reason and target == 74.3)


@pytest.mark.parametrize(
    ("said", "doubt", "after"),
    [
        (IMPOSSIBLE, "", "Audit: impossible as printed."),
        (IMPOSSIBLE, "A slip.", "A slip. Audit: impossible as printed."),
        (IMPOSSIBLE, "Impossible.", "Impossible."),
        (EXPLAINED._replace(reason="a copy of table 8"), "", "Audit: not as printed: a copy of table 8."),
        (EXPLAINED._replace(reason="a copy of table 8"), "A copy of Table 8.", "A copy of Table 8."),
        (Audited(AuditVerdict.CONSISTENT), "A slip.", "A slip."),
    ],
)
def test_another_reason_stays_and_the_doubt_says_it_once(said, doubt, after):
    verdict, row = audited(said, doubt=doubt, grading=graded(Grade.STAND_IN, "stand-in"))
    assert (verdict, row.doubt) == (shown("stand-in"), after)


def test_without_an_audit_nothing_changes_and_a_cell_may_lack_one():
    cells = [cell(74.3), cell(80.0, "sensitivity")]
    plain = compare(cells, [ours(74)], 2)
    assert tuple(plain.columns) == COMPARISON_COLUMNS
    nothing = compare(cells, [ours(74)], 2, audit={})
    assert nothing[list(COMPARISON_COLUMNS)].equals(plain)
    assert set(nothing["audit"]) == set(nothing["proof"]) == {""}
    unmeasured = compare(cells, [], 2, audit={PLACE: IMPOSSIBLE})
    assert verdicts(unmeasured) == [missing(NOT_RUN)] * 2
    assert list(unmeasured["doubt"]) == ["Audit: impossible as printed.", ""]
