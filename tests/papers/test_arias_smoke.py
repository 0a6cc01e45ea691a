"""The whole way of the third paper on the phantom: filter, both depths, its own U-Nets, parts, controls, report."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pandas as pd
import pytest

from covid_keras import DISCLAIMER
from covid_keras.common.files import read_json
from covid_keras.data.images import read_image
from covid_keras.data.splits import check_disjoint
from covid_keras.paper.registered import load_paper
from covid_keras.training.segmenter_runs import cache_of
from papers.arias_vgg19 import stages
from papers.arias_vgg19.networks import VERDICTS

pytestmark = pytest.mark.slow

SYSTEMS = ("view16", "view19", "view", "exp3_d16", "exp3_d19", "exp3_d", "source_c", "source_d", "source_e")
SET = [
    "systems=[unet3, exp3_d, source_c, source_d, source_e]",
    "cohort={covid: 24, other: 16, normal: 14, pneumonia: 14, size: 48}",
    "size=[32, 32]",
    "trainings={view: {epochs: 1}, covid: {epochs: 1}, source: {epochs: 1}}",
    "options.width=0.05",
    "options.segmenters={unet1: {filters: 2, size: 32, epochs: 1}, unet3: {filters: 2, size: 32, epochs: 1}}",
]


@pytest.fixture(scope="module")
def smoke(reproduce):
    return reproduce("arias", SET)


def test_every_system_is_done_and_the_report_is_named(smoke):
    assert tuple(execution.system.name for execution in smoke.run.executions()) == SYSTEMS
    assert all(execution.done for execution in smoke.run.executions())
    assert smoke.said.rstrip().endswith(f"Output: {smoke.run.path / 'report.html'}")
    assert DISCLAIMER in smoke.said
    check_disjoint(smoke.run.splits, smoke.run.cohort)


def test_the_verdicts_are_what_the_filter_predicted(smoke):
    """Of every image of the cohort, those of the other hospital included; equal where it predicted them."""
    view = smoke.run.execution("view", 0, 0)
    said = pd.read_csv(view.folder / VERDICTS).set_index("image_id")["frontal"]
    assert said.index.tolist() == smoke.run.cohort.table["image_id"].tolist()
    picked = read_json(view.record)["chosen"]
    assert picked in ("view16", "view19")
    for name in ("view", picked):
        frame = smoke.frame(name)
        assert frame["score_frontal"].to_numpy() == pytest.approx(said[frame["image_id"]].to_numpy(), abs=1e-4)
    assert (said[smoke.frame("source_c")["image_id"]].index == smoke.frame("source_c")["image_id"]).all()


def test_only_what_the_filter_lets_through_is_classified(smoke):
    run = smoke.run
    said = pd.read_csv(run.execution("view", 0, 0).folder / VERDICTS)["frontal"]
    offered = run.cohort.table["label"].isin(load_paper("arias").system("exp3_d").relabel)
    fold = run.part(0, 0)
    for name in ("exp3_d16", "exp3_d19", "exp3_d"):
        frame = smoke.frame(name)
        passed = offered & (said >= 0.5) & fold.isin(set(frame["split"]))
        assert frame["image_id"].tolist() == run.cohort.table["image_id"][passed].tolist()
    parts = [set(smoke.frame(name)["image_id"]) for name in ("source_c", "source_d", "source_e")]
    assert parts[0] == parts[1] == parts[2]


def test_the_lungs_are_marked_by_the_papers_own_u_net(smoke):
    run = smoke.run
    assert set(stages.SEGMENTERS.done(run)) == {"unet1", "unet3"}, "that of the masks, and that which is only measured"
    lungs = read_json(run.path / "facts.json")["lungs"]
    assert lungs["by"].startswith("unet1 of Arias-Garzon")
    record = read_json(stages.SEGMENTERS.done(run)["unet1"] / "record.json")
    assert lungs["weights_sha256"] == record["weights_sha256"]
    assert run.record["identity"]["lungs"]["weights_sha256"] == record["weights_sha256"], "other masks, another run"
    for path in run.cohort.table["mask_path"]:
        assert Path(path).is_relative_to(cache_of(run) / "masks")
        assert read_image(path).shape == (48, 48)


def test_the_report_has_the_sections_of_what_was_run(smoke):
    assert "PHANTOM DATA" in smoke.page
    assert DISCLAIMER in smoke.page
    headings = [html.unescape(text) for text in re.findall("<h2>(.*?)</h2>", smoke.page)]
    wanted = ["The view filter", "With lungs and without", "How much is the picture's frame", "The threshold"]
    wanted += ["The three U-Nets", "VGG16 or VGG19", "Accuracy as the authors compute it"]
    assert [text for text in headings if text in wanted] == wanted
    for name in SYSTEMS:
        assert load_paper("arias").system(name).title in smoke.page, name
    assert not re.search(r'(src|href)="(?!data:|#|https://doi\.org)', smoke.page), "it needs nothing else"
    assert "U-Net 1" in smoke.page


def test_every_kind_of_number_of_ours_stands_beside_the_papers(smoke):
    rows = smoke.comparison()
    ours = rows[rows["ours"].notna()]
    found = set(zip(ours["system"], ours["metric"], strict=True))
    for metric in ("accuracy_train", "accuracy_validation", "accuracy"):
        assert {(name, metric) for name in ("view16", "view19", "exp3_d16", "exp3_d19")} <= found
    for metric in ("accuracy_faulty", "sensitivity", "specificity", "f1_positive"):
        assert ("exp3_d", metric) in found
    for part in ("train", "validation"):
        assert {("unet1", f"{what}_published_{part}") for what in ("dice", "iou")} <= found
    assert set(ours["system"]) == {"view16", "view19", "exp3_d16", "exp3_d19", "exp3_d", "unet1", "unet3"}
    metrics = read_json(smoke.run.path / "metrics.json")
    assert metrics["provenance"]["complete"] is True
    assert "balanced_accuracy" in metrics["systems"]["source_e"]["metrics"]


def test_a_u_net_alone_is_a_run_with_a_report(reproduce):
    alone = reproduce(
        "arias", ["systems=[unet1]", *(text for text in SET if text.startswith(("cohort", "options.seg")))]
    )
    assert alone.run.executions() == []
    assert set(alone.run.cohort.table["label"]) == {"lungs"}
    rows = alone.comparison()
    assert set(rows.loc[rows["ours"].notna(), "system"]) == {"unet1"}
    source = read_json(alone.run.path / "metrics.json")["provenance"]
    assert (source["complete"], source["executions"]) == (True, 1)
    assert stages.SEGMENTERS.published_files(alone.run)
