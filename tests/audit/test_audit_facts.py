"""Facts of `published.yaml`: read, resolved, and refused with one line where they are wrong; the command."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

import papers
from covid_keras.audit import audit
from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.evaluation import load_citation, load_published
from covid_keras.published.facts import NO_FACTS, Facts

EXAMPLE = Path(papers.__file__).parent / "example_audit.yaml"
HEAD = """
paper: {title: T, authors: [A, B], journal: J, year: 2020, doi: 10.1/x, citation: C}
tables:
  - table: "1"
    title: counts
    unit: count
    columns: [{name: "n"}]
    rows: [{row: yes, values: [80]}, {row: no, values: [120]}]
  - table: "2"
    title: shares
    unit: percent
    audit: {positives: 1 | yes | n, executions: 10}
    columns: [{name: Acc, metric: accuracy, audit: {quantity: sensitivity}}, {name: Rec, metric: recall}]
    rows: [{row: net, values: [72.5, 1.0], audit: {executions: 5}, cells: {Acc: {audit: {folds: 5}}}}]
"""
YES, NO = ("1", "yes", "n"), ("1", "no", "n")


@pytest.fixture
def write(tmp_path):
    def written(fact: str = "{folds: 5}") -> Path:
        path = tmp_path / "published.yaml"
        path.write_text(HEAD.replace("{folds: 5}", fact), encoding="utf-8")
        return path

    return written


def test_the_closest_fact_counts(write):
    *counts, first, second = load_published(write())
    assert all(cell.facts == NO_FACTS for cell in counts)
    assert first.facts == Facts(quantity="sensitivity", positives=(YES,), executions=5, folds=5)
    assert second.facts == Facts(positives=(YES,), executions=5)


@pytest.mark.parametrize(
    ("fact", "word"),
    [
        ("{fold: 5}", "unknown key 'fold'"),
        ("{folds: 2}", "5 executions"),
        ("{executions: 0}", "audit.executions"),
        ("{executions: [5]}", "audit.executions"),
        ("{images: many}", "'many'"),
        ("{images: 1 | maybe | n}", "Table 1, 'maybe', 'n', which does not exist"),
        ("{images: 2 | net | Rec}", "'Rec' as a number of images"),
        ("{images_from: 5}", "images_from and images_to"),
        ("{images_from: 9, images_to: 5}", "images_from 9 and images_to 5"),
        ("{images: 99, negatives: 10}", "not 99 images"),
        ("{images: 0}", "number of images is 0"),
        ("{equal_folds: patients, folds: 5, executions: 5}", "audit.equal_folds is 'patients'"),
        ("{equal_folds: images}", "equal_folds without folds"),
        ("{bound: least}", "bound requires difference_of"),
        ("{bound: about, difference_of: [[1 | yes | n, 1 | no | n]]}", "audit.bound"),
        ("{difference_of: [1 | yes | n]}", "audit.difference_of"),
        ("{mean_of: 1 | yes | n}", "audit.mean_of"),
        ("{sum_of: []}", "audit.sum_of"),
        ("{quantity: [a]}", "audit.quantity"),
        ("{quantity: sensitvity}", "did you mean 'sensitivity'"),
        ("five", "'five'"),
    ],
)
def test_a_fact_that_cannot_be_is_refused(write, fact, word):
    with pytest.raises(UserError, match=re.escape(word)) as caught:
        audit(write(fact))
    assert "\n" not in str(caught.value)


def test_sums_of_several_kinds(write):
    sums = "sum_of: [[1 | yes | n, 1 | no | n], [1 | yes | n]]"
    *_, first, _ = load_published(write(f"{{{sums}, weighted_mean_of: [[2 | net | Rec, [1 | yes | n, 3]]]}}"))
    assert first.facts.sum_of == ((YES, NO), (YES,))
    assert first.facts.weighted_mean_of == ((("2", "net", "Rec"), (YES, 3)),)
    assert set(first.facts.places()) == {YES, NO, ("2", "net", "Rec")}


def test_the_example_has_one_of_each_kind():
    found = {(row.table, row.row, row.column): row for row in audit(EXAMPLE).table().itertuples()}
    assert {place for place, row in found.items() if row.verdict == "impossible"} == {
        ("1", "COVID-19", "total"),
        ("2", "second", "Sensitivity"), ("3", "third", "F1"), ("5", "fourth", "F1 of COVID-19"),
        ("6", "wide U-Net", "Dice"), ("6", "wide U-Net", "IoU"), ("6", "deep U-Net", "found"),
        ("text", "gain of the second network over the first", "printed"),
    }  # fmt: skip
    parts = [place for place, row in found.items() if row.verdict == "one of these is wrong"]
    assert parts == [("1", "COVID-19", "training"), ("1", "COVID-19", "test")]
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
    assert list(frame)[:7] == ["paper", "table", "row", "column", "printed", "verdict", "reason"]
    assert len(frame) == len(load_published(EXAMPLE))
    assert main(["audit", str(EXAMPLE), "--all-cells"]) == 0
    assert "table 2 | first" in capsys.readouterr().out


QUICK = """
tables:
  - table: "1"
    unit: percent
    audit: {positives: 80, negatives: 120}
    columns: [{name: Acc, metric: accuracy}, {name: Rec, metric: recall}]
    rows: [{row: net, values: [89.0, 87.5]}]
"""


def test_a_table_alone_is_audited_and_its_status_and_json_follow(tmp_path, capsys):
    path = tmp_path / "quick.yaml"
    for text, status, verdict in ((QUICK, 0, "consistent"), (QUICK.replace("89.0", "89.3"), 1, "impossible")):
        path.write_text(text, encoding="utf-8")
        assert main(["audit", str(path), "--json", "--fail-on-impossible"]) == status
        (found,) = json.loads(capsys.readouterr().out).values()
        assert found["cells"][0]["verdict"] == verdict
        assert found["summary"]["impossible"] == sum(one["verdict"] == "impossible" for one in found["cells"])
        assert main(["audit", str(path), "--out", str(tmp_path / "cells.csv"), "--json"]) == 0
        assert "Output" not in capsys.readouterr().out
    with pytest.raises(UserError, match="'paper'"):
        load_citation(path)


@pytest.mark.parametrize(("name", "begin"), [("haghanifar", "covid_cxnet: 186 "), ("hertel", "hertel_ensemble: 230 ")])
def test_the_command_knows_papers_whatever_folders_are_called(tmp_path, monkeypatch, capsys, name, begin):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hertel").mkdir()
    assert main(["audit", name]) == 0
    assert capsys.readouterr().out.startswith(f"{begin}printed cells: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nobody"], "nobody: "),
        (["gone.yaml"], "gone.yaml: cannot be read"),
        ([str(EXAMPLE), "--out", "."], "--out .: is a folder"),
        (["table.json"], "table.json: is neither a paper of this suite"),
        (["folder"], "folder: is neither a paper of this suite"),
        (["mine.yaml", "--out", "mine.yaml"], "--out mine.yaml: "),
    ],
)
def test_what_the_command_cannot_use_gets_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    shutil.copy(EXAMPLE, tmp_path / "mine.yaml")
    assert main(["audit", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"covid-keras: error: {message}")
    assert error.count("\n") == 1
    assert (tmp_path / "mine.yaml").read_bytes() == EXAMPLE.read_bytes()
