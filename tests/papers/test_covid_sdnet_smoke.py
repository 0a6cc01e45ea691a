"""The whole way of the first paper on the phantom: cohort, U-Net masks, crop, ResNet-50, Grad-CAM, report."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from covid_keras.data.images import read_image
from covid_keras.data.splits import check_disjoint
from covid_keras.files import read_json
from covid_keras.reporting.run import report_run
from covid_keras.training.crossval import run_executions
from covid_keras.training.experiment import load_paper
from covid_keras.workflow import Plan, choose_profile, prepare_run

pytestmark = pytest.mark.slow


def test_the_smoke_profile_walks_the_whole_way(tmp_path, capsys):
    paper = load_paper("tabik")
    changes = {"systems": ["resnet50_crop"], "size": [48, 48], "cohort": {"patients": 20}, "training": {"epochs": 1}}
    protocol = paper.protocol("smoke", changes)
    settings = {"cache": str(tmp_path / "cache" / "prepared"), "strategy": "one", "precision": "float32", "data": ""}
    run = prepare_run(Plan(paper, protocol, None, tmp_path / "run", tmp_path / "cache", settings))
    assert "20 patients" in capsys.readouterr().out
    check_disjoint(run.splits, run.cohort)
    assert all(read_image(path).any() for path in run.cohort.table["mask_path"])  # the U-Net finds phantom lungs
    run_executions(run)
    page = report_run(run.path).read_text(encoding="utf-8")
    assert "PHANTOM DATA" in page
    assert "With seg. (ResNet-50)" in page
    assert not re.search(r'(src|href)="(?!data:|#|https://doi\.org)', page)
    comparison = pd.read_csv(run.path / "comparison.csv")
    ours = comparison[comparison["system"] == "resnet50_crop"]
    assert len(ours) == 7
    assert ours["ours"].notna().any()
    assert comparison["verdict"].str.startswith("not comparable").all()
    assert read_json(run.path / "metrics.json")["provenance"]["complete"] is True
    shares = pd.read_csv(run.path / "explanations.csv")
    assert shares["lung_area"].between(0.2, 0.9).all()


def test_the_most_demanding_profile_with_data_is_chosen(tmp_path):
    paper = load_paper("tabik")
    assert choose_profile(paper, None) == "smoke"
    assert choose_profile(paper, tmp_path) == "smoke"


@pytest.mark.real
def test_real_radiographs_choose_the_cpu_profile(real_data: Path):
    assert choose_profile(load_paper("tabik"), real_data) == "cpu"
