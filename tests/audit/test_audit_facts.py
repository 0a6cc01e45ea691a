"""Facts of `published.yaml`: read, resolved, and refused with one line where they are wrong; the command."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

import papers
from covid_keras.audit import audit
from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.evaluation import load_published
from covid_keras.published.facts import NO_FACTS, Facts

EXAMPLE = Path(papers.__file__).parent / "example_audit.yaml"
HEAD = """
paper: {title: T, authors: [A, B], journal: J, year: 2020, doi: 10.1/x, citation: C}
tables:
  - table: "1"
    title: counts
    unit: count
    columns: [{name: "n"}]
    rows:
      - {row: yes, values: [80]}
      - {row: no, values: [120]}
  - table: "2"
    title: shares
    unit: percent
    audit: {positives: 1 | yes | n, executions: 10}
    columns:
      - {name: Acc, metric: accuracy, audit: {quantity: sensitivity}}
      - {name: Rec, metric: recall}
    rows:
      - {row: net, values: [72.5, 1.0], audit: {executions: 5}, cells: {Acc: {audit: {folds: 5}}}}
"""
CELL = "{audit: {folds: 5}}"


def write(folder, text=HEAD):
    path = folder / "published.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_closest_fact_counts(tmp_path):
    *counts, first, second = load_published(write(tmp_path))
    assert all(cell.facts == NO_FACTS for cell in counts)
    assert first.facts == Facts(quantity="sensitivity", positives=(("1", "yes", "n"),), executions=5, folds=5)
    assert second.facts == Facts(positives=(("1", "yes", "n"),), executions=5)


@pytest.mark.parametrize(
    ("fact", "message"),
    [
        ("{fold: 5}", "unknown key 'fold'"),
        ("{folds: 2}", "5 executions are not a multiple of 2 folds"),
        ("{executions: 0}", "audit.executions is '0'"),
        ("{executions: [5]}", "audit.executions is ['5']"),
        ("{images: many}", "'many' is not a place; write TABLE | ROW | COLUMN"),
        ("{images: 1 | maybe | n}", "audit names Table 1, 'maybe', 'n', which is not there"),
        ("{images: 2 | net | Rec}", "audit counts images by Table 2, 'net', 'Rec', no count"),
        ("{images_from: 5}", "images_from and images_to go together"),
        ("{images_from: 9, images_to: 5}", "audit: images from 9 to 5"),
        ("{images: 99, negatives: 10}", "audit: 80 positives and 10 negatives are not 99 images"),
        ("{images: 0}", "audit: a share of no image"),
        ("{equal_folds: patients, folds: 5, executions: 5}", "equal_folds is 'patients'"),
        ("{equal_folds: images}", "equal_folds without folds"),
        ("{bound: least}", "a bound is one of a difference_of"),
        ("{bound: about, difference_of: [[1 | yes | n, 1 | no | n]]}", "bound is 'about'"),
        ("{difference_of: [1 | yes | n]}", "difference_of[0] is '1 | yes | n'"),
        ("{mean_of: 1 | yes | n}", "mean_of is '1 | yes | n'"),
        ("{sum_of: []}", "sum_of is []"),
        ("{quantity: [a]}", "quantity is ['a']"),
        ("five", "audit must be a mapping, not 'five'"),
    ],
)
def test_a_fact_that_cannot_be_is_refused(tmp_path, fact, message):
    path = write(tmp_path, HEAD.replace(CELL, f"{{audit: {fact}}}"))
    with pytest.raises(UserError, match=re.escape(message)) as caught:
        audit(path)
    assert "\n" not in str(caught.value)


def test_sums_of_several_kinds(tmp_path):
    facts = (
        "{sum_of: [[1 | yes | n, 1 | no | n], [1 | yes | n]], weighted_mean_of: [[2 | net | Rec, [1 | yes | n, 3]]]}"
    )
    *_, first, _ = load_published(write(tmp_path, HEAD.replace(CELL, f"{{audit: {facts}}}")))
    yes, no = ("1", "yes", "n"), ("1", "no", "n")
    assert first.facts.sum_of == ((yes, no), (yes,))
    assert first.facts.weighted_mean_of == ((("2", "net", "Rec"), (yes, 3)),)
    assert set(first.facts.places()) == {yes, no, ("2", "net", "Rec")}


def test_the_example_has_one_of_each_kind():
    found = {(row.table, row.row, row.column): row for row in audit(EXAMPLE).table().itertuples()}
    wrong = {place for place, row in found.items() if row.verdict == "impossible"}
    assert wrong == {
        ("1", "COVID-19", "training"), ("1", "COVID-19", "test"), ("1", "COVID-19", "total"),
        ("2", "second", "Sensitivity"), ("3", "third", "F1"), ("5", "fourth", "F1 of COVID-19"),
        ("6", "wide U-Net", "Dice"), ("6", "wide U-Net", "IoU"), ("6", "deep U-Net", "found"),
        ("text", "gain of the second network over the first", "printed"),
    }  # fmt: skip
    assert "TP 70, FN 10, FP 12, TN 108" in found["2", "first", "F1"].proof
    assert "The matrix of" in found["5", "fourth", "Accuracy"].proof


def test_the_command_names_what_is_wrong(capsys, tmp_path):
    out = tmp_path / "deep" / "cells.csv"
    assert main(["audit", str(EXAMPLE), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert said.rstrip().endswith(f"Output: {out}")
    assert "table 2 | second | Sensitivity | 88.2: impossible" in said
    assert "table 2 | first" not in said
    frame = pd.read_csv(out, dtype=str)
    assert list(frame)[:5] == ["paper", "table", "row", "column", "printed"]
    assert len(frame) == len(load_published(EXAMPLE))
    assert main(["audit", str(EXAMPLE), "--all-cells"]) == 0
    assert "table 2 | first" in capsys.readouterr().out


def test_the_command_knows_papers(capsys):
    assert main(["audit", "haghanifar"]) == 0
    assert capsys.readouterr().out.startswith("covid_cxnet: 186 printed cells: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "nobody: is no paper that this suite knows"),
        (["gone.yaml"], "gone.yaml: cannot be read"),
        ([str(EXAMPLE), "--out", "."], "--out .: is a folder"),
    ],
)
def test_what_the_command_cannot_use_gets_one_line(capsys, arguments, message):
    assert main(["audit", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"covid-keras: error: {message}")
    assert error.count("\n") == 1
