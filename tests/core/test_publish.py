"""Published results: the READMEs say what the JSON says, and the JSON what the predictions say."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import test_report_run as made
import yaml

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.evaluation import measured_from_json, read_predictions, summarise
from covid_keras.paper.registered import load_paper, load_papers
from covid_keras.reporting import publish
from covid_keras.reporting.audits import audit_of
from covid_keras.reporting.committed import Committed
from covid_keras.reporting.publish import AUDIT, LUNGS, PLACE, ROOT, filled, portable, publish_run, readmes, regenerated
from covid_keras.training.runfolder import RunFolder

tiny_paper, tiny_cohort, make_run = made.tiny_paper, made.tiny_cohort, made.make_run
published, finished = made.published, made.finished

COMMITTED = sorted((ROOT / "papers").glob("*/results/*-predictions.csv"))
NONE_YET = "no results are committed yet below papers/*/results"


def _paper_and_profile(path: Path):
    return load_paper(path.parents[1].name), path.name.removesuffix("-predictions.csv")


# --- the repository as it is


@pytest.mark.parametrize("path", readmes(), ids=lambda path: str(path.relative_to(ROOT)))
def test_readmes_say_what_the_json_says(path):
    text = path.read_text(encoding="utf-8")
    assert filled(text) == text
    places = len(PLACE.findall(text)) + len(LUNGS.findall(text)) + len(AUDIT.findall(text))
    assert sum(text.count(head) for head in ("<!-- results ", "<!-- lungs -->", "<!-- audit ")) == places
    assert text.count("<!-- end -->") == places


@pytest.mark.parametrize("path", readmes(), ids=lambda path: str(path.relative_to(ROOT)))
def test_places_name_papers_and_profiles_that_exist(path):
    papers = load_papers()
    for place in AUDIT.finditer(path.read_text(encoding="utf-8")):
        assert place["paper"] in papers
    for place in PLACE.finditer(path.read_text(encoding="utf-8")):
        assert place["paper"] in papers
        assert place["profile"] in papers[place["paper"]].profiles


@pytest.mark.parametrize("name", sorted(load_papers()))
def test_each_readme_holds_the_audit_of_its_paper(name):
    paper = load_paper(name)
    text = (paper.folder / "README.md").read_text(encoding="utf-8")
    (place,) = AUDIT.finditer(text)
    assert place["paper"] == name
    table = audit_of(paper)
    assert place[0].startswith(f"<!-- audit {name} -->\n{len(table)} published numbers: ")
    bad = table[table["audit"].isin(("impossible", "explained"))]
    assert len(bad)
    for proof in bad["proof"].unique():
        assert proof.replace("|", "\\|") in place[0]


@pytest.mark.skipif(not COMMITTED, reason=NONE_YET)
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_predictions_give_the_committed_metrics(path):
    paper, profile = _paper_and_profile(path)
    committed = measured_from_json(read_json(path.with_name(f"{profile}.json")))
    frames = regenerated(paper, profile)
    again = [one for frame in frames for one in (*summarise(frame, paper.positive or None), *paper.measure(frame))]
    again += paper.kept(path.parent, profile)
    by_name = {(one.system, one.metric): one for one in committed}
    assert len(by_name) == len(committed)
    assert sorted((one.system, one.metric) for one in again) == sorted(by_name)
    for ours in again:
        theirs = by_name[ours.system, ours.metric]
        for name in ("mean", "std", "low", "high", "executions", "n_patients", "n_images", "ddof", "resamples"):
            value = getattr(ours, name)
            assert getattr(theirs, name) == pytest.approx(value, abs=1e-6, nan_ok=True), (ours.metric, name)


def _scheme(protocol: dict, name: str) -> dict:
    """The division called `name` of a protocol as it was committed, which may lack what came later."""
    own = protocol.get("splits", {}).get(name, {}) if name else {}
    return {"scheme": "folds", "images": {}} | protocol["split"] | own


@pytest.mark.skipif(not COMMITTED, reason=NONE_YET)
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_committed_results_are_whole_and_name_no_machine(path):
    paper, profile = _paper_and_profile(path)
    predictions = pd.concat(regenerated(paper, profile), ignore_index=True)
    assert not predictions["path"].str.contains("/").any()
    source = read_json(path.with_name(f"{profile}.json"))["provenance"]
    assert source["complete"] is True
    assert source["executions"] == len(predictions.drop_duplicates(["system", "repeat", "fold"]))
    test = predictions[predictions["split"] == "test"]
    images = test.groupby(["system", "repeat"])["image_id"]
    assert (images.nunique() == images.size()).all(), "each image is tested once a repeat"
    counts, protocol = source["cohort_counts"], yaml.safe_load(source["protocol"])
    for (name, _), number in images.nunique().items():
        system = paper.system(name)
        scored = system.scored or paper.scored or counts
        every = sum(count for label, count in counts.items() if system.relabel.get(label, label) in scored)
        split = _scheme(protocol, system.split)
        folds = split["scheme"] == "folds" and not split["images"]
        if system.admit is not None:
            assert 0 < number <= every, f"{name} is tested on what it is let have"
        elif system.cases is None and (folds or system.released or system.everywhere):
            assert number == every, f"{name} is tested on every image"
        else:
            assert 0 < number < every, f"{name} is another experiment"
    parts = predictions.groupby(["system", "repeat", "fold", "patient_id"])["split"].nunique()
    assert (parts == 1).all(), "no patient is in both validation and test"


# --- filling


@pytest.fixture
def publishing(finished, tmp_path, monkeypatch) -> RunFolder:
    """A finished tiny run, and a checkout of its own to publish into: the repository's READMEs stay as they are."""
    root = tmp_path / "checkout"
    (root / "papers" / "tiny").mkdir(parents=True)
    (root / "README.md").write_text("# Suite\n\n<!-- results tiny smoke -->\nold\n<!-- end -->\n\nafter\n")
    (root / "papers" / "tiny" / "README.md").write_text("no place here\n")
    (root / "setup.cfg").write_text("")
    (root / "weights").mkdir()
    (root / "weights" / "README.md").write_text("<!-- lungs -->\nold\n<!-- end -->\n")
    (root / "weights" / "lungs_unet16_dice.csv").write_text(
        "image_id,patient_id,view,dice,iou\nmade/1,made/p,PA,0.8,0.6\nmade/2,made/q,AP,0.9,0.7\n"
    )
    monkeypatch.setattr(publish, "ROOT", root)
    monkeypatch.setattr(publish, "FOLDER", root / "weights")
    return finished


def test_unknown_places_stay_as_they_are():
    text = (
        "a\n<!-- results nobody smoke -->\nby hand\n<!-- end -->\nb\n"
        "<!-- results covid_sdnet never -->\n<!-- end -->\n<!-- audit nobody -->\nby hand\n<!-- end -->\nc\n"
    )
    assert filled(text) == text
    assert filled("no place at all") == "no place at all"


def test_filling_replaces_between_the_marks_alone_and_again_the_same(publishing):
    publish_run(publishing.path)
    text = (
        "before | <!-- a comment -->\n"
        "<!-- results tiny smoke -->\nold\nlines\n<!-- end -->\n"
        "between\n"
        "<!-- results nobody smoke -->\nkept\n<!-- end -->\n"
        "<!-- results tiny smoke -->\n<!-- end -->\n"
        "after \\1\n"
    )
    once = filled(text)
    assert once[: next(PLACE.finditer(once)).start()] == "before | <!-- a comment -->\n"
    assert once.endswith("<!-- end -->\nafter \\1\n")
    assert "\nbetween\n<!-- results nobody smoke -->\nkept\n<!-- end -->\n" in once
    assert "old\nlines" not in once
    assert once.count("**Table V**") == 2
    assert filled(once) == once


def test_publishing_puts_results_and_fills_the_readmes(publishing, capsys):
    assert main(["publish", str(publishing.path)]) == 0
    folder = load_paper("tiny").folder / "results"
    assert f"Output: {folder}" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"smoke.json", "smoke-predictions.csv"}
    text = (publish.ROOT / "README.md").read_text()
    assert text.startswith("# Suite\n\n<!-- results tiny smoke -->\nProfile `smoke`, 4 executions, N 12, P 12 images")
    assert text.endswith("<!-- end -->\n\nafter\n")
    assert "Not comparable with the paper: made images." in text
    assert (publish.ROOT / "papers" / "tiny" / "README.md").read_text() == "no place here\n"
    assert filled(text) == text
    lungs = (publish.ROOT / "weights" / "README.md").read_text()
    assert lungs.startswith("<!-- lungs -->\n2 images of 2 patients")
    assert "| dice | 0.8500 | 0.0707 |" in lungs
    assert "| made/1 | PA | 0.8 | 0.6 |" in lungs
    assert "old" not in lungs
    mean = read_json(folder / "smoke.json")["systems"]["a"]["metrics"]["accuracy"]["mean"]
    assert f"{mean:.2f}" in text


def test_what_is_published_regenerates_from_its_predictions(publishing):
    folder = publish_run(publishing.path)
    paper = load_paper("tiny")
    (frame,) = regenerated(paper, "smoke")
    assert len(frame) == sum(len(read_predictions(e.predictions)) for e in publishing.executions())
    assert not frame["path"].str.contains("/").any()
    committed = measured_from_json(read_json(folder / "smoke.json"))
    for ours, theirs in zip(summarise(frame, "P"), committed, strict=True):
        for name in ("mean", "std", "low", "high"):
            assert getattr(theirs, name) == pytest.approx(getattr(ours, name), abs=1e-6, nan_ok=True)
    again = {path.name: path.read_bytes() for path in folder.glob("*.csv")}
    publish_run(publishing.path)
    assert {path.name: path.read_bytes() for path in folder.glob("*.csv")} == again


def test_the_published_json_names_no_place_of_this_machine(publishing, tmp_path):
    folder = publish_run(publishing.path)
    assert str(tmp_path) not in (folder / "smoke.json").read_text()
    assert str(tmp_path) not in (folder / "smoke-predictions.csv").read_text()
    json.loads((folder / "smoke.json").read_text(), parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_published_json_names_weights_by_their_file_alone(make_run, published, publishing, tmp_path):
    weights = tmp_path / "secret" / "resnet.h5"
    folder = publish_run(made.finish(make_run("weighted", weights=str(weights))).path)
    text = (folder / "smoke.json").read_text()
    assert "secret" not in text
    assert "weights: resnet.h5" in read_json(folder / "smoke.json")["provenance"]["protocol"]


def test_the_tolerance_is_the_runs_own(make_run, publishing):
    """A protocol edited after the run does not change what the run showed."""
    run = made.finish(make_run("wide", comparable=True, tolerance=100.0))
    publish_run(run.path)
    paper = load_paper("tiny")
    assert paper.protocol("smoke").tolerance == 1.0
    assert "✓" in publish.results_markdown(paper, "smoke").split("Cell: paper")[0]
    assert set(Committed.read(paper, "smoke").rows["tolerance"]) == {100.0}


def test_an_excerpt_is_one_table_and_a_line(publishing):
    publish_run(publishing.path)
    head = "<!-- results tiny smoke excerpt -->\n"
    text = filled(f"before\n{head}old\n<!-- end -->\n<!-- results tiny smoke -->\n<!-- end -->\n")
    assert filled(text) == text
    excerpt = text.split(head)[1].split("<!-- end -->")[0]
    lines = excerpt.splitlines()
    assert lines[0] == "Table V, percent:"
    assert lines[2] == "| system | Sens | Acc |"
    rows = [line.split(" | ")[0] for line in lines[4:8]]
    assert rows == [f"| {name} of the paper, {whose}" for name in "AB" for whose in ("paper", "ours")]
    assert "75.00 ± 2.00" in lines[4]
    mean = read_json(load_paper("tiny").folder / "results" / "smoke.json")["systems"]["a"]["metrics"]["accuracy"]
    assert f"**{mean['mean']:.2f}** [{mean['low']:.2f}, {mean['high']:.2f}] ○" in lines[5]
    assert len(lines) == 10
    assert lines[9].endswith("Not comparable with the paper: made images.")
    assert "All that was measured" not in excerpt
    assert "All that was measured" in text.split("<!-- results tiny smoke -->")[1]


def test_an_audit_is_counts_and_proofs(publishing):
    text = filled("before\n<!-- audit tiny -->\nold\n<!-- end -->\nafter\n")
    assert filled(text) == text
    assert "old" not in text
    assert text.startswith("before\n<!-- audit tiny -->\n")
    assert "0 ‡ impossible, 0 § explained" in text
    assert text.endswith("<!-- end -->\nafter\n")


def test_half_a_run_is_not_published(make_run, published, tmp_path, monkeypatch):
    for name in ("ROOT", "FOLDER"):
        monkeypatch.setattr(publish, name, tmp_path)
    (tmp_path / "setup.cfg").write_text("")
    run = make_run("run", systems=["a", "b"])
    made.finish(run, run.executions()[:3])
    with pytest.raises(UserError, match="is not complete"):
        publish_run(run.path)
    assert not (load_paper("tiny").folder / "results").exists()


def test_without_a_checkout_nothing_is_published(finished, tmp_path, monkeypatch):
    """Installed from a wheel there is no README to fill: said in one line, nothing written."""
    root = tmp_path / "site-packages"
    root.mkdir()
    (root / "README.md").write_text("<!-- results tiny smoke -->\n<!-- end -->\n")
    for name in ("ROOT", "FOLDER"):
        monkeypatch.setattr(publish, name, root)
    for _ in range(2):
        with pytest.raises(UserError, match="is no checkout"):
            publish_run(finished.path)
        with pytest.raises(UserError, match="is no checkout"):
            publish.refresh_readmes()
        (root / "setup.cfg").write_text("")  # even beside a setup.cfg of somebody else's
    assert not (load_paper("tiny").folder / "results").exists()


def test_portable_keeps_the_file_name(finished):
    frame = read_predictions(finished.executions()[0].predictions)
    assert list(portable(frame)["path"]) == [Path(path).name for path in frame["path"]]
    assert Path(frame["path"][0]).is_absolute(), "what was given stays as it was"
