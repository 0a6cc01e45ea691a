"""Published results: the READMEs say what the JSON says, and the JSON what the predictions say."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json, write_json
from covid_keras.evaluation import read_predictions
from covid_keras.paper.claims import claims_of
from covid_keras.paper.registered import load_paper, load_papers
from covid_keras.reporting import publish
from covid_keras.reporting.audits import audit_of
from covid_keras.reporting.claims import OUTCOMES, claims_table, committed_outcomes
from covid_keras.reporting.entries import entries_of
from covid_keras.reporting.heat_shares import read_measured, write_measured
from covid_keras.reporting.overview import headline
from covid_keras.reporting.publish import (
    OVERVIEW,
    PAGE,
    PICTURE,
    PLACE,
    ROOT,
    filled,
    portable,
    publish_run,
    readmes,
)
from covid_keras.reporting.renderer import drawn
from covid_keras.reporting.results import Results
from tests.compare_results import committed_results, metric_differences
from tests.helpers.disk import full_disk

COMMITTED = committed_results()
named = pytest.mark.parametrize("results", COMMITTED, ids=lambda one: f"{one.paper.name} {one.source.profile}")
each_readme = pytest.mark.parametrize("path", readmes(), ids=lambda path: str(path.relative_to(ROOT)))


# --- the repository as it is


def places_of(text: str) -> list[tuple[str, list[str]]]:
    """Kind and words of each place of a README."""
    return [(place["kind"], place["words"].split()) for place in PLACE.finditer(text)]


@pytest.mark.slow
@each_readme
def test_readmes_say_what_the_json_says(path):
    text = path.read_text(encoding="utf-8")
    assert filled(text) == text
    places = len(PLACE.findall(text))
    assert text.count("<!-- ") == 2 * places
    assert text.count("<!-- end -->") == places


@pytest.mark.slow
@pytest.mark.parametrize("paper", [one for one in load_papers().values() if claims_of(one)], ids=lambda one: one.name)
def test_outcomes_of_claims_are_those_of_the_committed_predictions(tmp_path, paper):
    again = write_measured(tmp_path / OUTCOMES, claims_table(committed_outcomes(paper)))
    committed = read_measured(paper.folder / "results" / OUTCOMES)
    pd.testing.assert_frame_equal(committed, again, rtol=1e-5, atol=1e-6)
    assert set(again["claim"]) == set(claims_of(paper))


@each_readme
def test_places_name_papers_and_profiles_that_exist(path):
    papers, text = load_papers(), path.read_text(encoding="utf-8")
    for kind, words in places_of(text):
        assert kind not in ("audit", "claims", "results") or set(words[:1]) <= set(papers)
        assert kind != "results" or words[1] in papers[words[0]].profiles


@pytest.mark.parametrize("name", sorted(name for name, paper in load_papers().items() if paper.published_path))
def test_each_paper_has_its_claims_one_table_and_its_audit_in_its_readme_and_all_proofs_in_its_page(name):
    paper = load_paper(name)
    text = (paper.folder / "README.md").read_text(encoding="utf-8")
    places = [(kind, words[0]) for kind, words in places_of(text) if kind in ("audit", "claims", "results")]
    assert sorted(places) == [("audit", name), ("claims", name), ("results", name)]
    table, proofs = audit_of(paper), (paper.folder / PAGE).read_text(encoding="utf-8")
    wrong = table[table["audit"].isin(["impossible", "explained"])]
    assert len(wrong)
    assert all(" ".join(proof.split()) in proofs for proof in wrong["proof"].unique())


def texts_and_places(svg: str) -> tuple[list[str], np.ndarray]:
    """What a drawing says, in order, and where its marks are, in points."""
    places = re.findall(r'<use xlink:href="#m\w+" x="([\d.]+)" y="([\d.]+)"', svg)
    return re.findall("<!-- (.*?) -->", svg), np.array(places, float)


@pytest.mark.slow
def test_the_picture_is_that_of_the_committed_results():
    (entry,) = headline(entries_of(load_papers().values()))
    texts, places = texts_and_places((ROOT / PICTURE).read_text(encoding="utf-8"))
    made_texts, made_places = texts_and_places(drawn(entry.figure, "svg").decode())
    assert texts == made_texts
    assert {"accuracy (%)", "COVID-SDNet", "ours (95 % interval)"} <= set(texts)
    # Another release of matplotlib may set type a little differently.
    np.testing.assert_allclose(places, made_places, atol=1)


@pytest.mark.slow
@named
def test_committed_predictions_give_the_committed_metrics(results):
    assert list(metric_differences(results)) == []


def _scheme(protocol: dict, name: str) -> dict:
    """The division called `name` of a protocol as it was committed, which may lack what came later."""
    own = protocol.get("splits", {}).get(name, {}) if name else {}
    return {"scheme": "folds", "images": {}} | protocol["split"] | own


@named
def test_committed_results_are_whole_and_name_no_machine(results):
    predictions, source = results.predictions, results.provenance
    assert not predictions["path"].str.contains("/").any()
    assert source["complete"] is True
    predicting = len(predictions.drop_duplicates(["system", "repeat", "fold"]))
    # Segmenters count where they are systems of the run, not where they are trained beside them.
    assert source["executions"] - predicting in (0, len(results.source.segmenters))
    test = predictions[predictions["split"] == "test"]
    images = test.groupby(["system", "repeat"])["image_id"]
    assert (images.nunique() == images.size()).all(), "each image is tested once per repeat"
    counts = source["cohort_counts"]
    for (name, _), number in images.nunique().items():
        system = results.paper.system(name)
        scored = results.paper.scored or system.classes or tuple(counts)
        every = sum(count for label, count in counts.items() if system.relabel.get(label, label) in scored)
        split = _scheme(results.protocol_text, system.split)
        assert 0 < number <= every, f"{name} is tested on what it is let have"
        if split["scheme"] != "folds" and not system.origin:
            assert number < every or split["images"], f"{name} holds images out"
    parts = predictions.groupby(["system", "repeat", "fold", "patient_id"])["split"].nunique()
    assert (parts == 1).all(), "no patient is in both validation and test"


# --- filling


@pytest.fixture
def checkout(made, tmp_path, monkeypatch) -> Path:
    """A checkout of its own to publish into: the repository's READMEs stay as they are."""
    root = tmp_path / "checkout"
    (root / "papers" / "tiny").mkdir(parents=True)
    (root / "README.md").write_text("# Suite\n\n<!-- results tiny smoke -->\nold\n<!-- end -->\n\nafter\n")
    (root / "papers" / "tiny" / "README.md").write_text("no place here\n")
    (root / "setup.cfg").write_text("")
    (root / "weights").mkdir()
    (root / "weights" / "README.md").write_text("<!-- lungs lungs_unet16 -->\nold\n<!-- end -->\n")
    (root / "weights" / "lungs_unet16_dice.csv").write_text(
        "image_id,patient_id,view,dice,iou\nmade/1,made/p,PA,0.8,0.6\nmade/2,made/q,AP,0.9,0.7\n"
    )
    monkeypatch.setattr(publish, "ROOT", root)
    monkeypatch.setattr(publish, "FOLDER", root / "weights")
    return root


@pytest.fixture
def published(finished, checkout) -> Path:
    """The folder that a finished run was published into."""
    return publish_run(finished.path)


def test_unknown_places_stay_as_they_are():
    text = (
        "a\n<!-- results nobody smoke -->\nby hand\n<!-- end -->\nb\n"
        "<!-- results covid_sdnet never -->\n<!-- end -->\n<!-- audit nobody -->\nby hand\n<!-- end -->\nc\n"
        "<!-- claims nobody -->\nby hand\n<!-- end -->\n"
    )
    assert filled(text) == text
    assert filled("no place at all") == "no place at all"


def test_filling_replaces_between_the_marks_alone_and_again_the_same(published):
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
    assert once.count("**Table V, percent: ") == 2
    assert filled(once) == once


def test_publishing_puts_results_and_fills_the_readmes(finished, checkout, capsys):
    assert main(["publish", str(finished.path)]) == 0
    folder = finished.paper.folder / "results"
    assert f"Output: {folder}" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"smoke.json", "smoke-predictions.csv"}
    text = (checkout / "README.md").read_text()
    assert text.startswith("# Suite\n\n<!-- results tiny smoke -->\n**Table V, percent: ")
    assert text.endswith("<!-- end -->\n\nafter\n")
    assert "0 of the paper's 24 images" in text, "why nothing is judged"
    mean = read_json(folder / "smoke.json")["systems"]["a"]["metrics"]["accuracy"]["mean"]
    assert f"{mean:.2f}" in text
    assert filled(text) == text
    assert (checkout / "papers" / "tiny" / "README.md").read_text() == "no place here\n"
    lungs = (checkout / "weights" / "README.md").read_text()
    assert lungs.startswith("<!-- lungs lungs_unet16 -->\n")
    for line in ("| made | 2 | 2 | dice | 0.8500 | 0.0707 |", "| made/1 | PA | 0.8 | 0.6 |"):
        assert line in lungs
    assert "old" not in lungs


def test_what_is_published_is_read_like_the_run(finished, published):
    run, committed = Results.of(finished), Results.committed(finished.paper, "smoke")
    assert list(metric_differences(committed)) == []
    (frame,), (own,) = committed.frames, run.frames
    pd.testing.assert_frame_equal(frame.drop(columns="path"), own.drop(columns="path"))
    assert list(frame["path"]) == [Path(path).name for path in own["path"]]
    assert (committed.systems, committed.profile, committed.complete) == (run.systems, "smoke", True)
    columns = ["table", "row", "column", "verdict", "grade", "outcome", "reason"]
    pd.testing.assert_frame_equal(committed.comparison[columns], run.comparison[columns])
    with pytest.raises(TypeError):
        committed.run  # noqa: B018
    before = {path.name: path.read_bytes() for path in published.glob("*.csv")}
    publish_run(finished.path)
    assert {path.name: path.read_bytes() for path in published.glob("*.csv")} == before


def test_sets_of_classes_are_published_in_files_of_their_own(made, checkout):
    made.paper = dataclasses.replace(made.paper, positive="")
    cohort, split = made.cohort("NP" * 10 + "N" * 12 + "o" * 12), {"folds": 2}
    folder = publish_run(made.finished(cohort=cohort, systems=["a", "ill"], split=split).path)
    assert sorted(path.name for path in folder.glob("*.csv")) == ["smoke-predictions-2.csv", "smoke-predictions.csv"]
    committed = Results.committed(made.paper, "smoke")
    assert [set(frame["system"]) for frame in committed.frames] == [{"a"}, {"ill"}]
    assert list(metric_differences(committed)) == []
    publish_run(made.finished("one", systems=["a"]).path)
    assert [path.name for path in folder.glob("*.csv")] == ["smoke-predictions.csv"], "the older run's second set goes"


def test_on_a_full_disk_what_was_published_stays(finished, checkout):
    folder = publish_run(finished.path)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with full_disk(2000), pytest.raises(UserError):
        publish_run(finished.path)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_published_json_names_no_place_of_this_machine(made, checkout, tmp_path):
    folder = publish_run(made.finished(weights=str(tmp_path / "secret" / "resnet.h5")).path)
    text = (folder / "smoke.json").read_text()
    assert str(tmp_path) not in text
    assert "secret" not in text
    assert str(tmp_path) not in (folder / "smoke-predictions.csv").read_text()
    assert yaml.safe_load(read_json(folder / "smoke.json")["provenance"]["protocol"])["weights"] == "resnet.h5"
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_the_tolerance_is_the_runs_own(made, checkout):
    """A protocol edited after the run does not change what the run showed."""
    made.measured_on({"made": 24})
    publish_run(made.finished(tolerance=100.0).path)
    assert made.paper.protocol("smoke").tolerance == 1.0
    found = Results.committed(made.paper, "smoke").comparison
    assert set(found["tolerance"]) == {100.0}
    assert "reproduced" in set(found["outcome"])


def test_a_place_names_its_metrics(published):
    head = "<!-- results tiny smoke accuracy -->\n"
    text = filled(f"before\n{head}old\n<!-- end -->\n<!-- results tiny smoke -->\n<!-- end -->\n")
    assert filled(text) == text
    one, several = (part.split("<!-- end -->")[0].splitlines() for part in text.split(" -->\n")[1::2])
    assert one[0].startswith("**Table V, Acc, percent: ")
    assert one[2] == "| system | paper | ours [95 % interval] | grade |"
    assert several[2] == "| system | number | paper | ours [95 % interval] | grade |"
    mean = read_json(published / "smoke.json")["systems"]["a"]["metrics"]["accuracy"]
    ours = f"{mean['mean']:.2f} [{mean['low']:.2f}, {mean['high']:.2f}]"
    assert one[4] == f"| A of the paper | 75.00 ± 2.00 | {ours} | stand-in |"
    assert not set("○⁼†‡§") & set(text)


def test_an_audit_is_counts_and_a_tally_counts_what_is_judged(published, made, monkeypatch):
    text = filled("before\n<!-- audit tiny -->\nold\n<!-- end -->\nafter\n")
    assert filled(text) == text
    assert text.startswith("before\n<!-- audit tiny -->\nOf 3 published numbers, 0 are impossible")
    assert text.endswith("<!-- end -->\nafter\n")
    monkeypatch.setattr(publish, "load_papers", lambda: {"tiny": made.paper})
    tally = filled("<!-- tally -->\n<!-- end -->\n")
    assert "**0 of 3 published numbers judged so far.** 3 have a number of ours" in tally


def test_metrics_are_made_again_from_the_predictions(published, made, checkout, monkeypatch):
    monkeypatch.setattr(publish, "_own_papers", lambda: [made.paper])
    path = published / "smoke.json"
    before = path.read_bytes()
    value = read_json(path)
    value["systems"]["a"]["metrics"]["accuracy"]["mean"] = 1.0
    write_json(path, value)
    assert main(["publish"]) == 0
    assert path.read_bytes() == before
    assert (checkout / OVERVIEW).is_file()


def test_outcomes_of_claims_are_published(published, made, monkeypatch):
    monkeypatch.setattr(publish, "_own_papers", lambda: [made.paper])
    claim = "{id: one, statement: S, where: V, source: text, kind: share, data: any, unprinted: none, tests: [%s]}"
    test = "{a: a, b: b, metric: accuracy, within: 99}"
    (made.paper.folder / "claims.yaml").write_text(f"paper: tiny\nclaims: [{claim % test}]")
    assert main(["publish"]) == 0
    table = pd.read_csv(published / OUTCOMES)
    assert table[["claim", "row", "outcome"]].to_numpy().tolist() == [
        ["one", row, "holds"] for row in ("claim", "test")
    ]


def test_half_a_run_is_not_published(made, checkout):
    run = made.finished(keep=slice(3), systems=["a", "b"])
    with pytest.raises(UserError, match="not complete"):
        publish_run(run.path)
    assert not (made.paper.folder / "results").exists()


def test_without_a_checkout_nothing_is_published(finished, tmp_path, monkeypatch):
    """Installed from a wheel there is no README to fill: said in one line, nothing written."""
    root = tmp_path / "site-packages"
    root.mkdir()
    for name in ("ROOT", "FOLDER"):
        monkeypatch.setattr(publish, name, root)
    for _ in range(2):
        for publishing in (lambda: publish_run(finished.path), publish.refresh_readmes):
            with pytest.raises(UserError, match="not a checkout"):
                publishing()
        (root / "setup.cfg").write_text("")  # even beside a setup.cfg of somebody else's
    assert not (finished.paper.folder / "results").exists()


def test_portable_keeps_the_file_name(finished):
    frame = read_predictions(finished.executions()[0].predictions)
    assert list(portable(frame)["path"]) == [Path(path).name for path in frame["path"]]
    assert Path(frame["path"][0]).is_absolute(), "what was given stays as it was"
