"""The whole way of the fourth paper on the phantom: ResUNet, three networks in stages, both ensembles, twin, report."""

from __future__ import annotations

import html
import re

import keras
import numpy as np
import pandas as pd
import pytest

from covid_keras import DISCLAIMER
from covid_keras.common.files import read_json
from covid_keras.data.images import read_image
from covid_keras.data.splits import check_disjoint
from covid_keras.evaluation.ensembles import average_predictions, vote_predictions
from covid_keras.models.steady import SteadyBatchNormalization
from papers.hertel_ensemble import cohorts, networks, stages
from papers.hertel_ensemble.networks import NETWORKS

pytestmark = pytest.mark.slow

MEMBERS = tuple(f"{name}_multi" for name in NETWORKS)
SYSTEMS = (*MEMBERS, "average_multi", "vote_multi", "densenet201_whole")
SET = [
    f"systems=[{', '.join(SYSTEMS[3:])}]",
    "cohort={cohen: 14, cxnet: 14, normal: 16, pneumonia: 16, size: 48}",
    "size=[32, 32]",
    "training.unfreeze={scratch: 2, groups: 2}",
    "options.segmenter={filters: 2, size: 32, epochs: 1}",
]


def small_backbone(kind, input_shape, weights, steady, width, momentum) -> keras.Model:
    """A layer a group, named as the real ones."""
    inputs = x = keras.Input(input_shape, name="radiograph")
    groups = next(one.groups for one in NETWORKS.values() if kind in (one.kind, one.shallow))
    for group in reversed(groups):
        x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name=group[0] + "a")(x)
        x = SteadyBatchNormalization(name=group[0] + "b")(x)
    return keras.Model(inputs, x)


@pytest.fixture(scope="module")
def smoke(reproduce):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "_backbone", small_backbone)
        yield reproduce("hertel", SET)


def test_every_system_is_done_and_the_report_is_named(smoke):
    assert {execution.system.name for execution in smoke.run.executions() if execution.done} == set(SYSTEMS)
    assert smoke.said.rstrip().endswith(f"Output: {smoke.run.path / 'report.html'}")


def test_what_nothing_is_trained_on_stays_out_of_training(smoke):
    split = smoke.run.splits_of("")
    assert set(split.loc[split["label"] == cohorts.COVID_COHEN, "split"]) == {"validation", "test"}
    check_disjoint(split, smoke.run.cohort)


def test_each_network_went_through_its_stages(smoke):
    for name in MEMBERS:
        record = smoke.run.execution(name, 0, 0).details
        beginnings = [group[0].strip("_") for group in NETWORKS[name.removesuffix("_multi")].groups[:2]]
        assert [one["name"] for one in record["stages"]] == ["scratch", "head", *beginnings]
        assert all(one["epochs"] >= 1 for one in record["stages"])
        history = pd.read_csv(smoke.run.execution(name, 0, 0).folder / "history.csv")
        assert record["epochs"] == len(history)
        assert history["val_loss"].min() == history["val_loss"][record["best_epoch"]]


@pytest.mark.parametrize(
    ("name", "combine"), [("average_multi", average_predictions), ("vote_multi", vote_predictions)]
)
def test_ensembles_are_made_of_the_members_predictions(smoke, name, combine):
    members = [smoke.frame(member) for member in MEMBERS]
    expected, found = combine(members, system=name), smoke.frame(name)
    assert found["predicted"].tolist() == expected.frame["predicted"].tolist()
    scores = [column for column in found if column.startswith("score_")]
    np.testing.assert_allclose(found[scores], expected.frame[scores], atol=1e-6)
    assert smoke.run.execution(name, 0, 0).details["combined"] == expected.facts


def test_lungs_are_marked_by_the_resunet_of_this_run(smoke):
    assert "resunet" in read_json(smoke.run.path / "facts.json")["lungs"]["by"]
    assert set(stages.SEGMENTERS.done(smoke.run)) == {stages.NAME}
    compared = stages.compared_masks(smoke.run)
    assert len(compared) > 0
    path = smoke.run.cohort.table["mask_path"].iloc[0]
    assert set(np.unique(read_image(path))) <= {0, 255}


def test_the_page_says_what_it_is_and_shows_both_ensembles(smoke):
    text = " ".join(re.sub(r"<[^>]+>", " ", html.unescape(smoke.page)).split())
    assert DISCLAIMER in text
    assert "PHANTOM DATA" in text
    for words in (
        "Weighted average",
        "Majority vote",
        "not published in the text",
        "ResUNet",
        "Table 12",
        "ROC of pneumonia",
    ):
        assert words in text, words
    smoke.comparison()
