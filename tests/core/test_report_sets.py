"""A run whose systems are evaluated in several sets of classes: report, metrics, and what is published of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import test_report_run as made
import yaml

from covid_keras.common.files import read_json
from covid_keras.evaluation import compute_metrics, measured_from_json, read_predictions, summarise
from covid_keras.paper.registered import load_paper
from covid_keras.reporting import publish
from covid_keras.reporting.page import make_report
from covid_keras.reporting.publish import filled, publish_run, regenerated
from covid_keras.reporting.results import Results
from covid_keras.reporting.run import report_run
from covid_keras.training.runfolder import RunFolder

tiny_paper, make_run = made.tiny_paper, made.make_run
tiny_cohort, uneven_cohort = made.tiny_cohort, made.uneven_cohort

TABLES = [("V", "a", "A of the paper", "60.00"), ("VI", "ill", "Ill of the paper", "70.00")]


@pytest.fixture
def run(make_run, uneven_cohort, tiny_paper) -> RunFolder:
    """Two systems of classes N and P, one of N and ill, two repeats each: all done."""
    tables = [
        {
            "table": name,
            "title": f"Table of {system}",
            "unit": "percent",
            "columns": [{"name": "Sens", "metric": "sensitivity"}],
            "rows": [{"row": row, "system": system, "values": [value]}],
        }
        for name, system, row, value in TABLES
    ]
    text = yaml.safe_dump(made.PUBLISHED | {"tables": tables}, allow_unicode=True)
    (tiny_paper / "tinypaper" / "hooks" / "published.yaml").write_text(text)
    return made.finish(make_run("run", "hooks", uneven_cohort, systems=["a", "ill", "leaky"]))


def _of(run: RunFolder, system: str) -> list[pd.DataFrame]:
    return [read_predictions(one.predictions) for one in run.executions() if one.system == system]


def test_systems_are_kept_apart_by_their_classes(run):
    results = Results.of(run)
    assert [list(frame.filter(like="score_")) for frame in results.frames] == [
        ["score_N", "score_P"],
        ["score_N", "score_ill"],
    ]
    assert [set(frame["system"]) for frame in results.frames] == [{"a", "leaky"}, {"ill"}]
    for name in ("a", "ill", "leaky"):
        pd.testing.assert_frame_equal(
            results.predictions_of(name).reset_index(drop=True), pd.concat(_of(run, name), ignore_index=True)
        )
    assert results.classes_of("ill") == ("N", "ill")
    assert len(results.predictions) == sum(map(len, results.frames))
    assert results.predictions.loc[results.predictions["system"] == "ill", "score_P"].isna().all()


def test_metrics_are_those_of_each_systems_own_classes(run):
    report_run(run.path, heatmaps=False)
    systems = read_json(run.path / "metrics.json")["systems"]
    assert set(systems) == {"a", "ill", "leaky"}
    for name, positive in (("a", "P"), ("ill", "ill"), ("leaky", "P")):
        tests = [frame[frame["split"] == "test"] for frame in _of(run, name)]
        found = systems[name]["metrics"]["sensitivity"]
        assert (found["executions"], [row["repeat"] for row in systems[name]["executions"]]) == (2, [0, 1])
        # Counted by hand: the second class is the positive one.
        hits = [(test["predicted"] == positive)[test["label"] == positive].mean() * 100 for test in tests]
        assert [row["sensitivity"] for row in systems[name]["executions"]] == pytest.approx(hits, abs=1e-6)
        assert found["mean"] == pytest.approx(np.mean(hits), abs=1e-6)
        assert systems[name]["executions"][0]["auc"] == pytest.approx(compute_metrics(tests[0])["auc"], abs=1e-6)
        assert systems[name]["metrics"]["accuracy"]["n_images"] == len(tests[0])
    frame = pd.read_csv(run.path / "comparison.csv")
    assert list(frame["system"]) == ["a", "ill"]
    assert frame["ours"].tolist() == pytest.approx(
        [systems[name]["metrics"]["sensitivity"]["mean"] for name in ("a", "ill")], abs=1e-6
    )


def test_the_page_shows_each_set_by_itself(run):
    results = Results.of(run)
    assert sorted(map(sorted, results.experiments)) == [["a"], ["ill"], ["leaky"]], "other images, or other classes"
    report = make_report(results, {})
    measured = [entry for entry in report.tables if entry.title.startswith("Measured")]
    captions = {entry.title: entry.caption for entry in measured}
    assert set(captions) == {"Measured: A", "Measured: Ill", "Measured: Leaky"}
    counts = _of(run, "ill")[0].query("split == 'test'")["label"].value_counts()
    assert f"(N {counts['N']}, ill {counts['ill']}) in 2 executions." in captions["Measured: Ill"]
    figures = {entry.title: entry.figure for section in report.sections for entry in section.figures}
    assert {"Confusion: A", "Confusion: Ill", "ROC: A", "ROC: Ill", "ROC: Leaky"} <= set(figures)
    words = made.words_of(figures["Confusion: Ill"]).splitlines()
    assert "ill" in words
    assert "P" not in words
    assert "P" in made.words_of(figures["Confusion: A"]).splitlines()


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A checkout to publish into, whose README has a place for these results."""
    root = tmp_path / "checkout"
    (root / "weights").mkdir(parents=True)
    (root / "setup.cfg").write_text("")
    (root / "README.md").write_text("before\n<!-- results hooks smoke -->\nold\n<!-- end -->\nafter\n")
    (root / "weights" / "README.md").write_text("")
    monkeypatch.setattr(publish, "ROOT", root)
    monkeypatch.setattr(publish, "FOLDER", root / "weights")
    return root


def test_what_is_published_of_several_sets_regenerates(run, checkout):
    folder, paper = publish_run(run.path), load_paper("hooks")
    names = {path.name for path in folder.iterdir()}
    assert names == {"smoke.json", "smoke-predictions.csv", "smoke-predictions-2.csv"}
    frames, results = regenerated(paper, "smoke"), Results.of(run)
    assert len(frames) == 2
    for frame, kept in zip(frames, results.frames, strict=True):
        pd.testing.assert_frame_equal(frame.drop(columns="path"), kept.drop(columns="path"))
        assert not frame["path"].str.contains("/").any()
    committed = measured_from_json(read_json(folder / "smoke.json"))
    again = [one for frame in frames for one in summarise(frame, paper.positive or None)]
    assert [(one.system, one.metric) for one in again] == [(one.system, one.metric) for one in committed]
    for ours, theirs in zip(again, committed, strict=True):
        for name in ("mean", "std", "low", "high"):
            assert getattr(theirs, name) == pytest.approx(getattr(ours, name), abs=1e-6, nan_ok=True)
    text = (checkout / "README.md").read_text()
    assert filled(text) == text
    for name, system, row, _ in TABLES:
        mean = next(one.mean for one in committed if (one.system, one.metric) == (system, "sensitivity"))
        (line,) = re.findall(rf"\| {row} \|.*", text)
        assert f"**Table {name}**" in text
        assert f"{mean:.2f}" in line
