"""The head-to-head comparison on the phantom, from the command to the report."""

from __future__ import annotations

import pytest

from papers.head_to_head.cohorts import ACROSS, NORMAL, PNEUMONIA, TRAINED

pytestmark = pytest.mark.slow

SET = [
    "systems=[covid_sdnet_across, lung_shape_across, base_cnn_matched]",
    "size=[72, 72]",
    "cohort={covid: 12, normal: 14, pneumonia: 14, across: 4}",
    "training.epochs=1",
    "options.covid_sdnet.cit.filters=4",
]


@pytest.fixture(scope="module")
def smoke(reproduce):
    return reproduce("head_to_head", SET)


def test_each_training_is_tested_on_its_own_images_and_elsewhere(smoke):
    run = smoke.run
    label = run.cohort.table.set_index("image_id")["label"]
    for name, used in (("covid_sdnet", TRAINED), ("lung_shape", TRAINED), ("base_cnn_finding", (NORMAL, PNEUMONIA))):
        assert set(smoke.frame(name)["image_id"].map(label)) <= set(used)
    for name in ("covid_sdnet", "lung_shape"):
        within, across = smoke.frame(name), smoke.frame(f"{name}_across")
        parts = [frame[frame["split"] == "validation"].drop(columns="system") for frame in (within, across)]
        assert parts[0].reset_index(drop=True).equals(parts[1].reset_index(drop=True))
        assert set(across.loc[across["split"] == "test", "image_id"].map(label)) == set(ACROSS)
    finding, matched = (smoke.frame(f"base_cnn_{test}").query("split == 'test'") for test in ("finding", "matched"))
    assert set(matched["image_id"]) <= set(finding["image_id"])
    assert matched["label"].value_counts().nunique() == 1
    both = matched.merge(finding, on="image_id")
    assert (both["score_pneumonia_x"] - both["score_pneumonia_y"]).abs().max() < 1e-5


def test_one_training_serves_several_tests(smoke):
    trained = [execution for execution in smoke.run.executions() if execution.weights.is_file()]
    assert {execution.system.name for execution in trained} == {"fucitnet", "covid_sdnet", "base_cnn_finding"}
    assert {one.system.name for one in smoke.run.executions() if one.done} == set(smoke.run.protocol.systems)


def test_the_report_sets_nothing_beside_printed_numbers(smoke):
    assert "COVID-SDNet, across" in smoke.page
    assert "Paper against ours</h2>" not in smoke.page
    assert "Are the printed numbers possible" not in smoke.page
