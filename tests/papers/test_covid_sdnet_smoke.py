"""The whole way of the first paper on the phantom: cohort, masks, crops, generators, twins, Grad-CAM, report."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from covid_keras.common.files import read_json
from covid_keras.data.images import read_image
from covid_keras.data.splits import check_disjoint
from covid_keras.evaluation import read_predictions
from covid_keras.paper.registered import load_paper
from covid_keras.reporting.run import report_run
from covid_keras.training.plan import Plan, choose_profile
from covid_keras.training.preparing import prepare_run
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.schedulers import run_executions

pytestmark = pytest.mark.slow


TINY = {
    "systems": ["covid_sdnet", "covid_caps_retrained_no_normal_pcr"],
    "size": [48, 48],
    "cohort": {"patients": 20, "pneumonia": 0},
    "training": {"epochs": 1},
    "trainings": {"fucitnet": {"epochs": 1}, "covid_caps_retrained": {"epochs": 1}},
    "options": {"cit": {"filters": 4}},
}


def test_the_smoke_profile_walks_the_whole_way(tmp_path, capsys):
    """What builds on another, two experiments, two executions at a time; and the report of them."""
    paper = load_paper("tabik")
    protocol = paper.protocol("smoke", TINY)
    systems = ("fucitnet", *TINY["systems"])
    assert protocol.systems == systems
    settings = {"cache": str(tmp_path / "cache" / "prepared"), "strategy": "one", "precision": "float32"}
    run = prepare_run(Plan(paper, protocol, None, tmp_path / "run", tmp_path / "cache", settings))
    assert "20 patients" in capsys.readouterr().out
    check_disjoint(run.splits, run.cohort)
    assert all(read_image(path).any() for path in run.cohort.table["mask_path"])  # the U-Net finds phantom lungs
    run_executions(run)
    test = read_predictions([execution.predictions for execution in run.executions()]).query("split == 'test'")
    assert test.groupby("system")["fold"].nunique().to_dict() == dict.fromkeys(systems, 2)
    for name in systems[:2]:
        assert sorted(test.loc[test["system"] == name, "image_id"]) == sorted(run.cohort.table["image_id"])
    without = test[test["system"] == systems[2]]
    assert "Normal-PCR+" not in set(without["severity"])
    counts = without.groupby(["fold", "label"]).size().unstack()
    assert (counts["N"] <= counts["P"]).all()
    _check_report(run)


def _check_report(run: RunFolder) -> None:
    page = report_run(run.path).read_text(encoding="utf-8")
    assert "PHANTOM DATA" in page
    for name in run.protocol.systems:
        assert load_paper("tabik").system(name).title in page
    assert not re.search(r'(src|href)="(?!data:|#|https://doi\.org)', page)
    comparison = pd.read_csv(run.path / "comparison.csv")
    for name in run.protocol.systems:
        assert comparison.loc[comparison["system"] == name, "ours"].notna().any()
    assert comparison["verdict"].str.startswith("not comparable").all()
    assert read_json(run.path / "metrics.json")["provenance"]["complete"] is True
    shares = pd.read_csv(run.path / "explanations.csv")
    assert set(shares["system"]) == set(run.protocol.systems)
    assert shares["lung_area"].between(0.1, 0.95).all()


def test_the_most_demanding_profile_with_data_is_chosen(tmp_path):
    paper = load_paper("tabik")
    assert choose_profile(paper, None) == "smoke"
    assert choose_profile(paper, tmp_path) == "smoke"


@pytest.mark.real
def test_real_radiographs_choose_the_cpu_profile(real_data: Path):
    assert choose_profile(load_paper("tabik"), real_data) == "cpu"
