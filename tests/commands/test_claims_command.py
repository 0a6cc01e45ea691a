"""`covid-keras claims`: its lines, its counts, its files."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from covid_keras.commands.main import main
from tests.helpers.made_runs import MadePaper

CLAIMS = """
paper: tiny
claims:
  - {id: a_like_b, statement: A is like B., where: V, source: text, kind: difference, data: any,
     printed: [{a: V | A of the paper | Acc, b: V | B of the paper | Acc}],
     tests: [{what: A less B, a: a, b: b, metric: accuracy, within: 99}]}
  - {id: ill, statement: Ill., where: V, source: text, kind: share, data: any, unprinted: nothing,
     tests: [{a: ill, metric: auc, above: 50}]}
"""


@pytest.fixture
def made(tmp_path, monkeypatch) -> MadePaper:
    paper = MadePaper(tmp_path, monkeypatch)
    (paper.paper.folder / "claims.yaml").write_text(CLAIMS)
    return paper


@pytest.fixture
def run(made) -> str:
    return str(made.finished(systems=["a", "b"]).path)


def test_a_line_per_claim_and_the_counts(run, capsys):
    assert main(["claims", run]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: 2 claims"
    assert lines[1].startswith("  a_like_b: holds ")
    for part in (
        "claimed within 99 (A less B; 2 of 2 executions; one training each)",
        "printed: not enough printed; stand-in",
    ):
        assert part in lines[1]
    assert lines[2] == "  ill: not testable here (ill was not run); printed: not enough printed"
    assert lines[-2:] == [
        "On predictions: 1 holds, 1 not testable here",
        "By the papers' own numbers: 2 not enough printed",
    ]


def test_files_have_a_row_per_claim_test_and_comparison(run, tmp_path, capsys):
    paths = tmp_path / "claims.csv", tmp_path / "claims.json"
    assert main(["claims", run, "--csv", str(paths[0]), "--json", str(paths[1])]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [f"Output: {path}" for path in paths]
    table, records = pd.read_csv(paths[0], keep_default_na=False), json.loads(paths[1].read_text())
    assert table["paper"].eq("tiny").all()
    assert table["row"].tolist() == [one["row"] for one in records] == ["claim", "test", "printed", "claim", "test"]
    assert records[0]["low"] <= records[0]["value"] <= records[0]["high"]
    assert records[3]["value"] is None


def test_without_results_nothing_is_testable(made, capsys):
    assert main(["claims"]) == main(["claims", "nobody"]) == 0
    assert "On predictions: 2 not testable here" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [(["tabic"], "tabic: is not a known paper"), (["./none"], "is not a run folder"), (["--csv", "."], "is a folder")],
)
def test_bad_arguments_are_named(made, capsys, options, words):
    assert main(["claims", *options]) == 2
    assert words in capsys.readouterr().err


def test_a_paper_without_claims_is_named(made, capsys):
    (made.paper.folder / "claims.yaml").unlink()
    assert main(["claims", "nobody"]) == 2
    assert "tiny: has no claims" in capsys.readouterr().err
