"""The claims of a paper on committed results and on a run: which results are used, their grade, and the table."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.evaluation import Grade
from covid_keras.paper.claims import claims_hash
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.claims import claims_table, committed_outcomes, run_outcomes
from covid_keras.reporting.results import Results

CLAIMS = {
    "in_two_profiles": "tests: [{a: base_v1, metric: auc, above: 50}]",
    "in_one_profile": "tests: [{a: cxnet_v1, metric: auc, above: 50}, {a: base_v1, metric: auc, above: 50}]",
    "heat": "tests: [{a: cxnet_v2, metric: beyond_chance, label: COVID-19, within: 50}]",
    "left_out": "tests: [{a: densenet121, metric: auc, above: 50}]",
    "of_two_papers": "tests: [{a: 'covid_sdnet:resnet50_full', b: base_v1, metric: auc, sets: true, within: 90}]",
    "segmenter": "tests: [{a: 'hertel_ensemble:resunet', metric: dice, part: validation, above: 50}]",
    "untested": "untested: nothing that is there",
}
# 72 of 78 positives are true, of the paper's own test images.
PRINTED = "printed: [{a: 3 | Actual COVID-19 | Predicted COVID-19, above: 50}]"


@pytest.fixture
def claimed(tmp_path):
    """COVID-CXNet with claims of this module's, and its committed results."""

    def claimed(claims=CLAIMS):
        paper = load_paper("covid_cxnet")
        lines = [
            f"  - {{id: {name}, statement: S, where: X, source: text, kind: share, data: any, {PRINTED}, {tests}}}"
            for name, tests in claims.items()
        ]
        (tmp_path / "claims.yaml").write_text("\n".join([f"paper: {paper.name}", "claims:", *lines]))
        for name in ("protocol.yaml", "published.yaml", "results"):
            if not (tmp_path / name).exists():
                (tmp_path / name).symlink_to(paper.folder / name)
        return dataclasses.replace(paper, folder=tmp_path)

    return claimed


def test_each_claim_is_judged_where_it_can_be_tested_and_the_grade_is_highest(claimed):
    outcomes = {one.claim.id: one for one in committed_outcomes(claimed())}
    used = {name: (one.source, one.grade) for name, one in outcomes.items()}
    assert used == {
        "in_two_profiles": ("paper", Grade.REPLICATION),
        "in_one_profile": ("cpu", Grade.STAND_IN),
        "heat": ("cpu", Grade.STAND_IN),
        "left_out": ("", None),
        "of_two_papers": ("covid_sdnet cpu, paper", Grade.STAND_IN),
        "segmenter": ("hertel_ensemble cpu", Grade.STAND_IN),
        "untested": ("", None),
    }
    assert "densenet121 was not run: its frozen layers" in outcomes["left_out"].reason
    assert {one.printed.support for one in outcomes.values()} == {"supported"}
    assert not any(one.fixed for one in outcomes.values())


def test_a_run_answers_for_its_own_systems(claimed):
    paper = claimed()
    outcomes = {one.claim.id: one for one in run_outcomes(Results.committed(paper, "paper"))}
    assert outcomes["in_two_profiles"].source == "paper"
    assert "1 of 2 tests not done: cxnet_v1 was not run" in outcomes["in_one_profile"].reason
    assert "covid_sdnet:resnet50_full" in outcomes["of_two_papers"].reason


@pytest.mark.parametrize(
    ("recorded", "fixed"), [(claims_hash, True), (lambda paper: "", False), (lambda _: "0", False)]
)
def test_results_say_whether_the_claims_came_first(claimed, recorded, fixed):
    paper = claimed({"in_two_profiles": CLAIMS["in_two_profiles"]})
    results = Results.committed(paper, "paper")
    results.provenance["claims_sha256"] = recorded(paper)
    assert results.claims_fixed == fixed
    assert [one.fixed for one in run_outcomes(results)] == [fixed]


def test_outcomes_follow_a_change_of_the_file(claimed):
    assert len(committed_outcomes(claimed())) == len(CLAIMS)
    assert len(committed_outcomes(claimed({"untested": CLAIMS["untested"]}))) == 1


def test_the_table_has_a_row_per_claim_test_and_comparison(claimed):
    table = claims_table(committed_outcomes(claimed()))
    assert table["row"].value_counts().to_dict() == {"claim": 7, "test": 7, "printed": 7}
    of_one = table[table["claim"] == "in_one_profile"].set_index("row")
    assert of_one["outcome"].tolist() == ["holds", "holds", "holds", "supported"]
    deciding = of_one.loc["claim"]
    assert (deciding["claimed"], deciding["grade"], deciding["primary"]) == ("> 50", "stand-in", "")
    assert deciding["low"] < deciding["value"] < deciding["high"]
    assert pd.isna(table[table["claim"] == "left_out"]["value"].iloc[0])


def test_a_metric_that_is_not_computed_names_the_claim(claimed):
    paper = claimed({"wrong": "tests: [{a: base_v1, metric: recall_CAP}]"})
    with pytest.raises(UserError, match=r"claim 'wrong'.*recall_CAP"):
        committed_outcomes(paper)


# ---------------------------------------------------------------------------------------------------- of a run


TINY = """
paper: tiny
claims:
  - id: a_beats_b
    statement: A is more accurate than B.
    where: Table V
    source: text
    kind: difference
    data: any
    printed: [{a: V | A of the paper | Acc, b: V | B of the paper | Acc}]
    tests: [{a: a, b: b, metric: accuracy, within: 99}]
"""


def test_a_run_records_its_claims_when_it_begins(made):
    path = made.paper.folder / "claims.yaml"
    path.write_text(TINY)
    run = made.finished(systems=["a", "b"])
    assert [(one.outcome, one.fixed) for one in run_outcomes(Results.of(run))] == [("holds", True)]
    path.write_text(TINY.replace("within: 99", "within: 98"))
    run = made.run(systems=["a", "b"])  # goes on with it
    assert [(one.outcome, one.fixed) for one in run_outcomes(Results.of(run))] == [("holds", False)]


def test_a_run_older_than_the_claims_has_none_recorded(made):
    run = made.finished(systems=["a", "b"])
    (made.paper.folder / "claims.yaml").write_text(TINY)
    for one in (run, made.run(systems=["a", "b"])):
        assert not Results.of(one).claims_fixed
