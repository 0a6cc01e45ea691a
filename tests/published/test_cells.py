"""`published.yaml`: what its cells hold, and what is said of a file that is wrong."""

from __future__ import annotations

import math

import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import PublishedCell, load_citation, load_published
from covid_keras.published.metrics import metric_name

PAPER = """
paper: {title: T, authors: [A, B], journal: J, year: 2020, doi: 10.1/x, citation: C}
tables:
"""
TABLE = """
  - table: "1"
    title: things
    unit: percent
    doubt: The table is odd.
    columns:
      - {name: Acc, metric: accuracy}
      - {name: "n", unit: count}
    rows:
      - row: best
        system: net
        values: [72.00 ± 0.5, "-"]
        doubt: So is the row.
        cells:
          Acc: {target: 73.1, doubt: And the cell., source: abstract}
      - row: severe
        system: net
        metric: accuracy_Severe
        values: {Acc: 0.90, other: 5}
        cells: {other: {unit: ratio, metric: auc}}
"""


def write(folder, tables=TABLE, head=PAPER):
    path = folder / "published.yaml"
    path.write_text(head + tables, encoding="utf-8")
    return path


def refusal(folder, tables, old, new):
    """Return what is said of the file after a change."""
    assert old in tables
    path = write(folder, tables.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        load_published(path)
    assert caught.value.subject == str(path)
    return caught.value.problem


def test_cells_in_order_with_decimals_as_printed(tmp_path):
    cells = load_published(write(tmp_path))
    assert cells[0] == PublishedCell(
        table="1", row="best", column="Acc", mean=72.0, std=0.5, unit="percent", target=73.1,
        doubt="The table is odd. So is the row. And the cell.", system="net", metric="accuracy",
        decimals=2, std_decimals=1, source="abstract", target_named=True,
    )  # fmt: skip
    assert [(cell.row, cell.column) for cell in cells] == [
        ("best", "Acc"),
        ("severe", "Acc"),
        ("severe", "other"),
    ]
    severe, other = cells[1:]
    assert (severe.metric, severe.std, severe.target, severe.decimals) == ("accuracy_Severe", None, 0.9, 2)
    assert (other.unit, other.metric, other.decimals, other.doubt) == ("ratio", "auc", 0, "The table is odd.")


def test_the_printed_number_can_be_named_as_the_target(tmp_path):
    named = TABLE.replace("metric: accuracy}", "metric: accuracy, target: printed}", 1)
    named = named.replace("target: 73.1", "target: printed").replace("{unit: ratio,", "{target: printed, unit: ratio,")
    assert [(c.mean, c.target, c.target_named) for c in load_published(write(tmp_path, named))] == [
        (72.0, 72.0, True), (0.9, 0.9, True), (5.0, 5.0, True),
    ]  # fmt: skip
    assert [cell.target_named for cell in load_published(write(tmp_path))] == [True, False, False]


MATRIX = """
  - table: "2"
    title: who is what
    unit: count
    columns:
      - {name: said a, predicted: a}
      - {name: said b, predicted: b}
    rows:
      - {row: is a, system: net, actual: a, values: [598, 5], cells: {said a: {metric: specificity}}}
      - {row: is b, system: net, actual: b, values: [4, 76]}
"""


def test_a_confusion_matrix_is_compared_by_the_share_of_its_rows(tmp_path):
    cells = load_published(write(tmp_path, MATRIX))
    assert [(cell.mean, cell.unit, cell.row_total, cell.actual, cell.predicted) for cell in cells] == [
        (598, "count", 603, "a", "a"),
        (5, "count", 603, "a", "b"),
        (4, "count", 80, "b", "a"),
        (76, "count", 80, "b", "b"),
    ]
    assert [cell.metric for cell in cells] == ["specificity", "confusion_a_b", "confusion_b_a", "confusion_b_b"]
    assert [cell.target for cell in cells] == [cell.value for cell in cells]
    assert (cells[3].value, cells[3].compared_unit, cells[3].printed) == (95, "percent", "76 of 80")


@pytest.mark.parametrize(
    ("old", "new", "row", "subject"),
    [
        ("{name: said b, predicted: b}", "{name: said b}", "is a", "predicted class"),
        ("predicted: b}", "predicted: a}", "is a", "predicted class"),
        ("[598, 5]", '[598, "-"]', "is a", "predicted class"),
        ("[598, 5]", "[598, lost]", "is a", "lost"),
        ("[598, 5]", "[598.5, 5]", "is a", "count"),
        ("[4, 76]", "[-4, 76]", "is b", "count"),
        ("[4, 76]", "[0, 0]", "is b", "no image"),
        ("unit: count", "unit: percent", "is a", "count"),
    ],
)
def test_what_is_wrong_with_a_confusion_matrix_is_named(tmp_path, old, new, row, subject):
    problem = refusal(tmp_path, MATRIX, old, new)
    assert f"row {row!r}" in problem
    assert subject in problem


def test_intervals_and_words_are_kept_as_printed(tmp_path):
    words = TABLE.replace("72.00 ± 0.5", "'72.00 [70.5,81.0]'").replace(
        "other: {unit: ratio, metric: auc}", "other: {unit: text, system: elsewhere}"
    )
    best, severe, other = load_published(write(tmp_path, words))
    assert (best.mean, best.std, best.low, best.high, best.decimals) == (72, None, 70.5, 81, 2)
    assert (severe.low, severe.high, severe.text, severe.system) == (None, None, "", "net")
    assert (other.text, other.printed, other.system) == ("5", "5", "elsewhere")
    assert math.isnan(other.mean)
    assert other == load_published(write(tmp_path, words))[2]


LOST = """
  - table: "3"
    title: gone
    unit: percent
    columns:
      - {name: Acc, metric: accuracy}
      - {name: AUC, metric: auc, unit: ratio}
      - {name: Bias, unit: text}
    rows:
      - {row: net, system: net, values: [lost, lost, lost], cells: {AUC: {doubt: Only drawn.}}}
      - {row: other, values: {Acc: 81.2, AUC: "-"}}
"""


def test_what_the_text_has_lost_is_kept_without_a_number(tmp_path):
    *lost, printed = load_published(write(tmp_path, LOST))
    assert [(cell.column, cell.unit, cell.metric, cell.doubt) for cell in lost] == [
        ("Acc", "percent", "accuracy", ""),
        ("AUC", "ratio", "auc", "Only drawn."),
        ("Bias", "text", "", ""),
    ]
    assert all(cell.lost and cell.printed == "not published in the text" for cell in lost)
    assert all(math.isnan(cell.mean) and math.isnan(cell.target) and cell.std is None for cell in lost)
    assert all((cell.system, cell.decimals, cell.low) == ("net", 0, None) for cell in lost)
    assert (printed.mean, printed.lost, printed.printed) == (81.2, False, "")
    assert lost == load_published(write(tmp_path, LOST))[:3], "one NaN, so that equal cells compare equal"


def test_a_lost_row_of_a_confusion_matrix_is_of_shares(tmp_path):
    *lost, known, _ = load_published(write(tmp_path, MATRIX.replace("[598, 5]", "[lost, lost]")))
    assert [(cell.actual, cell.predicted, cell.metric) for cell in lost] == [
        ("a", "a", "specificity"),
        ("a", "b", "confusion_a_b"),
    ]
    assert all((cell.unit, cell.compared_unit, cell.row_total) == ("count", "percent", None) for cell in lost)
    assert all(math.isnan(cell.value) and math.isnan(cell.target) for cell in lost)
    assert known.printed == "4 of 80"


def test_the_paper_itself(tmp_path):
    assert load_citation(write(tmp_path))["authors"] == ["A", "B"]


CELL = "table 1, row 'best', column 'Acc'"


@pytest.mark.parametrize(
    ("tables", "old", "new", "place", "subject"),
    [
        (TABLE, "72.00 ± 0.5", "'72,00'", CELL, "'72,00'"),
        (TABLE, "72.00 ± 0.5", "about 72", CELL, "'about 72'"),
        (TABLE, "72.00 ± 0.5", "[72]", "tables[1].rows[best].values[0]", "['72']"),
        (TABLE, "72.00 ± 0.5", "'72 [80, 60]'", CELL, "interval"),
        (TABLE, "72.00 ± 0.5", "'72 [80]'", CELL, "'72 [80]'"),
        (TABLE, '[72.00 ± 0.5, "-"]', "[72.00]", "table 1, row 'best'", "1 values for 2 columns"),
        (TABLE, "target: 73.1", "target: x", CELL, "'x'"),
        (TABLE, "metric: accuracy}", "metric: accuracy, target: 72}", "tables[1].columns[Acc].target", "'72'"),
        (TABLE, "target:", "targett:", "tables[1].rows[best].cells.Acc", "'targett'"),
        (TABLE, "Acc: {target", "Accuracy: {target", "table 1, row 'best'", "column 'Accuracy'"),
        (TABLE, "unit: percent", "unit: per cent", "tables[1].unit", "'per cent'"),
        (TABLE, "    unit: percent\n", "", "tables[1].unit", "lacks"),
        (TABLE, "        values: [72", "        valeus: [72", "tables[1].rows[best]", "'valeus'"),
        (TABLE, "row: severe", "row: best", CELL, "repeated"),
        (TABLE, "columns:\n", "columns: many\n    rest:\n", "tables[1]", "'rest'"),
        (TABLE, "{name: Acc, metric: accuracy}", "Acc", "tables[1].columns[0]", "mapping"),
        (TABLE, "{name: Acc, metric", "{metric", "tables[1].columns[0].name", "lacks"),
        (TABLE, "system: net", "system: [net]", "tables[1].rows[best].system", "['net']"),
        (TABLE, "{Acc: 0.90, other: 5}", "0.90", "tables[1].rows[severe].values", "'0.90'"),
        (TABLE, "metric: accuracy}", "metric: accuraccy}", "tables[1].columns[Acc].metric", "did you mean 'accuracy'"),
        (TABLE, "metric: auc", "metric: acu_roc", "tables[1].rows[severe].cells.other.metric", "'acu_roc'"),
        (TABLE, "accuracy_Severe", "precison_COVID-19", "tables[1].rows[severe].metric", "'precison_COVID-19'"),
        (TABLE, "accuracy_Severe", "precision_postive", "tables[1].rows[severe].metric", "'precision_positive'"),
        (TABLE, "{Acc: 0.90, other", f"{{Acc: {'9' * 400}, other", "row 'severe', column 'Acc'", "is not a number"),
        (TABLE, "{Acc: 0.90, other", f"{{Acc: 0.{'9' * 400}, other", "row 'severe', column 'Acc'", "is not a number"),
        (TABLE, "{Acc: 0.90, other", "{Ac: 0.90, other", "row 'severe'", "'Ac'"),
        (MATRIX, "predicted: b", "predicted: B", "table 2", "'b'"),
        (LOST, "{doubt: Only drawn.}", "{target: 0.9}", "row 'net', column 'AUC'", "lost"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, tables, old, new, place, subject):
    problem = refusal(tmp_path, tables, old, new)
    assert place in problem
    assert subject in problem


def test_a_metric_of_a_class_that_the_matrix_nearly_has_is_refused(tmp_path):
    beside = MATRIX.replace("said a", "COVID").replace(" a}", " COVID-19}").replace("actual: a", "actual: COVID-19")
    beside += TABLE.replace("metric: accuracy}", "metric: f1_COVID-19}")
    assert load_published(write(tmp_path, beside))[4].metric == "f1_COVID-19"
    positives = beside.replace("COVID-19", "positives").replace("f1_positives", "f1_positive")
    assert load_published(write(tmp_path, positives))[4].metric == "f1_positive"
    assert "'f1_Covid19'" in refusal(tmp_path, beside, "f1_COVID-19", "f1_Covid19")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ppv", "precision_positive"),
        ("NPV", "precision_negative"),
        ("mcc", "mcc"),
        ("Recall", "sensitivity"),
        ("tpr", "sensitivity"),
        ("TNR", "specificity"),
        ("f1-score", "f1_positive"),
        ("AUROC", "auc"),
        ("cohen's kappa", "kappa"),
        ("Balanced Accuracy", "balanced_accuracy"),
        ("sensitivity_COVID-19", "recall_COVID-19"),
        ("f1_negative", "f1_negative"),
        ("accuracy_Normal-PCR+", "accuracy_Normal-PCR+"),
    ],
)
def test_usual_names_of_metrics_are_known(text, name):
    assert metric_name(text) == name
    assert metric_name(name) == name


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        (None, "cannot be read"),
        (PAPER + "  - [unclosed", "YAML"),
        (PAPER + TABLE.replace("{Acc: 0.90,", "{Acc: 0.90, Acc: 0.9,"), "key 'Acc'"),
        ("", "mapping"),
        (PAPER.replace("doi: 10.1/x, ", "") + TABLE, "paper.doi"),
        (PAPER.replace("10.1/x", "''") + TABLE, "paper.doi"),
    ],
)
def test_files_that_are_no_such_file(tmp_path, text, subject):
    path = tmp_path / "published.yaml" if text is None else write(tmp_path, text, head="")
    with pytest.raises(UserError, match=subject) as caught:
        load_published(path)
    assert caught.value.subject == str(path)
