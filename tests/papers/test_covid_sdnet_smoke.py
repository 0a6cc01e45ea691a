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
from covid_keras.training.plan import choose_profile

pytestmark = pytest.mark.slow

SYSTEMS = ("fucitnet", "covid_sdnet", "covid_caps_retrained_no_normal_pcr")
SET = [
    f"systems=[{', '.join(SYSTEMS[1:])}]",
    "size=[48, 48]",
    "cohort={patients: 20, pneumonia: 0}",
    "training.epochs=1",
    "trainings={fucitnet: {epochs: 1}, covid_caps_retrained: {epochs: 1}}",
    "options.cit.filters=4",
]


@pytest.fixture(scope="module")
def smoke(reproduce):
    return reproduce("tabik", SET, heatmaps=True)


def test_the_smoke_profile_walks_the_whole_way(smoke):
    """What builds on another, and two experiments."""
    run = smoke.run
    assert run.protocol.systems == SYSTEMS
    assert "20 patients" in smoke.said
    check_disjoint(run.splits, run.cohort)
    assert all(read_image(path).any() for path in run.cohort.table["mask_path"])  # the U-Net finds phantom lungs
    test = read_predictions([execution.predictions for execution in run.executions()]).query("split == 'test'")
    ids = set(run.splits.loc[run.splits["split"] == "test", "image_id"])
    for name in SYSTEMS[:2]:
        assert set(test.loc[test["system"] == name, "image_id"]) == ids
    without = test[test["system"] == SYSTEMS[2]]
    assert "Normal-PCR+" not in set(without["severity"])
    counts = without.groupby(["fold", "label"]).size().unstack()
    assert (counts["N"] <= counts["P"]).all()


def test_the_report_shows_every_system(smoke):
    assert "PHANTOM DATA" in smoke.page
    assert smoke.page.index("What the phantom shows</h2>") < smoke.page.index("Paper against ours</h2>")
    for name in SYSTEMS:
        assert load_paper("tabik").system(name).title in smoke.page
    assert not re.search(r'(src|href)="(?!data:|#|https://doi\.org)', smoke.page)
    comparison = smoke.comparison()
    for name in SYSTEMS:
        assert comparison.loc[comparison["system"] == name, "ours"].notna().any()
    assert read_json(smoke.run.path / "metrics.json")["provenance"]["complete"] is True
    shares = pd.read_csv(smoke.run.path / "explanations.csv")
    assert set(shares["system"]) == set(SYSTEMS)
    assert shares["lung_area"].between(0.1, 0.95).all()


@pytest.mark.real
def test_real_radiographs_choose_the_cpu_profile(real_data: Path):
    assert choose_profile(load_paper("tabik"), real_data) == "cpu"
