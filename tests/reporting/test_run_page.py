"""What the page of a run claims, part by part."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from covid_keras.common.files import read_json, write_json
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation import compute_metrics, summarise
from covid_keras.paper.systems import Released
from covid_keras.reporting import results as reading
from covid_keras.reporting.audits import audit_of
from covid_keras.reporting.document import FigureEntry, Report
from covid_keras.reporting.groups import named_groups
from covid_keras.reporting.page import _unlearned_section, make_report
from covid_keras.reporting.renderer import render
from covid_keras.reporting.results import PaperReport, Results
from covid_keras.reporting.run import report_run
from tests.helpers.made_runs import PUBLISHED, build, published_tables, whole
from tests.helpers.pages import words_of
from tests.helpers.predictions import make_predictions


def page_of(run, **explained) -> Report:
    return make_report(Results.of(run), explained)


def section(report: Report, title: str):
    return next(one for one in report.sections if one.title == title)


def table(report: Report, title: str) -> pd.DataFrame:
    return next(entry for one in report.sections for entry in one.tables if entry.title == title).frame


def drawn(report: Report, title: str) -> FigureEntry:
    return next(entry for one in report.sections for entry in one.figures if entry.title == title)


CLAIM = "where: Table V, source: abstract, kind: order, data: any, unprinted: nothing is"
CLAIMS = f"""
paper: tiny
claims:
  - {{id: better, statement: B is better than A., {CLAIM}, tests: [{{a: b, b: a, metric: accuracy}}]}}
  - {{id: ill, statement: The ill are found., {CLAIM}, tests: [{{a: ill, metric: accuracy, above: 50}}]}}
"""


@pytest.mark.parametrize("written", ["before", "after", "never"])
def test_claims_lead_and_those_of_systems_outside_the_run_are_folded(made, written):
    path = made.paper.folder / "claims.yaml"
    if written == "before":
        path.write_text(CLAIMS, encoding="utf-8")
    run = made.finished(systems=["a", "b"])
    if written == "after":
        path.write_text(CLAIMS, encoding="utf-8")
    report = page_of(run)
    titles = [one.title for one in report.sections if not one.empty]
    assert ("What the paper claims" in titles) == (written != "never")
    if written == "never":
        return
    claims = report.sections[0]
    assert titles[0] == claims.title == "What the paper claims"
    assert [one.statement for one in claims.claims] == ["B is better than A."]
    assert [one.statement for part in claims.details for one in part.claims] == ["The ill are found."]
    assert ("written down after the run" in claims.text) == (written == "after")


def test_a_confusion_says_how_many_executions_it_sums(made, finished):
    figure = drawn(page_of(finished), "Confusion").figure
    assert "sum of 2 executions" in words_of(figure)
    assert [axes.get_title("left") for axes in figure.axes if axes.get_title("left")] == ["A", "B"]
    entry = drawn(page_of(made.finished("one", keep=slice(1))), "Confusion")
    assert entry.caption == "Test images of 1 execution."
    assert "1 execution" in words_of(entry.figure)


def test_whether_the_printed_numbers_are_possible_stands_on_the_page_and_beside_it(made, finished, monkeypatch):
    kinds = ["impossible", "consistent", "cannot be checked"]
    reasons, proofs = ["", "", "no rule"], ["No 7 of 8.", "Fits.", ""]
    found = audit_of(made.paper).assign(audit=kinds, audit_reason=reasons, proof=proofs)
    monkeypatch.setattr(reading, "audit_of", lambda paper: found)
    report = page_of(finished)
    audited = section(report, "Are the printed numbers possible?")
    assert "1 ‡ impossible, 0 § explained, 1 ⁼ consistent, 1 cannot be checked." in audited.text
    assert audited.details[0].notes[0][1].startswith("No 7 of 8.")
    assert list(Results.of(finished).comparison["audit"]) == kinds
    page, text = render(report), render(report, "md")
    assert '75.00 ± 2.00<abbr title="Audit: impossible as printed.">†</abbr>' in page
    assert 'class="audit" title="impossible: No 7 of 8.">‡</abbr>' in page
    assert "75.00 ± 2.00†‡ \\|" in text
    assert "- **Table V: A of the paper, Acc = 75.00 ± 2.00**: No 7 of 8." in text


def test_what_was_not_learned_comes_first():
    learned = make_predictions(list("NNPP") * 10, [0.1, 0.2, 0.8, 0.9] * 10, system="good")
    blind = make_predictions(list("NPPN") * 10, [0.1, 0.2, 0.3, 0.4] * 10, system="blind")

    def found(frame: pd.DataFrame):
        names = {name: name.title() for name in frame["system"].unique()}
        return _unlearned_section(SimpleNamespace(predictions=frame, measured=summarise(frame), systems=names))

    said = dict(found(pd.concat([learned, blind])).notes)
    assert set(said) == {"No better than chance", "One class for every test image"}
    assert all("Blind" in text and "Good" not in text for text in said.values())
    assert found(learned).empty
    inverse = make_predictions(list("PPNN") * 10, [0.1, 0.2, 0.8, 0.9] * 10, system="inverse")
    assert set(dict(found(inverse).notes)) == {"Worse than chance"}, "an interval below 50 % does not hold it"


def test_a_roc_says_what_it_draws(made):
    band = drawn(page_of(made.finished(split={"repeats": 6})), "ROC").caption
    assert "band: one standard deviation" in band
    assert "12 executions" in band
    assert drawn(page_of(made.finished("one", keep=slice(1))), "ROC").caption == "One execution."


def test_severities_are_compared_with_the_same_systems(made, finished):
    rows = [
        {"row": name, "system": name, "metric": "accuracy_Mild", "values": ["61.00"]} for name in ("a", "best", "c")
    ]
    mild = {"table": "VI", "title": "Severities", "unit": "percent", "columns": [{"name": "Mild"}], "rows": rows}
    made.published.write_text(published_tables(*yaml.safe_load(PUBLISHED)["tables"], mild))
    entry = drawn(page_of(finished), "Accuracy per severity")
    words = words_of(entry.figure)
    assert "paper (mean ± std)" in words
    assert [axes.get_title("left") for axes in entry.figure.axes] == ["A", "B"]
    assert "best" not in words + entry.caption


@pytest.mark.parametrize(
    ("split", "facts", "said"),
    [
        ({}, {}, "not recorded"),
        ({}, {"duplicate_pairs": 1}, "1 pair of near-duplicates found and kept on one side"),
        ({}, {"duplicate_pairs": 0}, "Searched for, none found."),
        ({"duplicates": False}, {"duplicate_pairs": 0}, "Not searched for"),
        ({"leaky_as_published": True}, {"duplicate_pairs": 2}, "does not keep them together"),
    ],
)
def test_no_more_is_claimed_of_the_split_than_was_done(made, split, facts, said):
    run = made.finished(split=split)
    write_json(run.path / "facts.json", facts)
    report = page_of(run)
    notes, leaky = dict(section(report, "Notes").notes), bool(split.get("leaky_as_published"))
    assert said in notes["Near-duplicates"]
    executions = dict(report.facts)["Executions"]
    assert ("split by patient" in executions, "split by image" in executions) == (not leaky, leaky)
    assert ("Leak" in notes) is leaky


def test_the_papers_own_notes_and_sections_stand_in_their_places(made, finished, monkeypatch):
    own = PaperReport(notes=(("Patients", "Nobody knows them."),))
    monkeypatch.setattr(reading, "report_of", lambda paper: own)
    assert section(page_of(finished), "Notes").notes[0] == ("Patients", "Nobody knows them.")


def test_what_was_counted_while_preparing_is_noted(finished):
    lungs = {"images": 24, "empty": 1}
    facts = {"duplicate_pairs": 7, "whole_image_crops": {"a": ["made/03"], "b": ["made/03"]}, "lungs": lungs}
    write_json(finished.path / "facts.json", facts)
    report = page_of(finished)
    notes = dict(section(report, "Notes").notes)
    assert notes["Near-duplicates"].startswith("7 pairs of near-duplicates")
    assert notes["Empty lung masks"] == "a, b: 1 image used whole, e.g. made/03."
    assert "the shipped U-Net; 1 of 24 empty" in dict(report.facts)["Lung masks"]


def test_what_was_trained_is_said_of_each_system(made, finished):
    plain = dict(page_of(finished).facts)["Input and start"]
    assert plain == "16 x 16 px, initial weights: none"
    made.change_systems(b={"preparation": lambda protocol: Preparation(size=(20, 40)), "title": "B, large"})
    report = page_of(type(finished).open(finished.path))
    found = table(report, "What was trained").set_index("system")
    assert found["input (px)"].to_dict() == {"A": "16 x 16", "B, large": "20 x 40"}
    assert found.loc["A", ["parameters", "minutes"]].tolist() == ["50", "1.0"], "two executions of half a minute"
    assert (found["best epoch"] == "2").all()
    assert "at most 4 epochs" in found.loc["A", "training"]
    assert "16 x 16 to 20 x 40 px (see What was trained)" in dict(report.facts)["Input and start"]


def test_a_released_system_was_not_trained_and_is_said_to_be_so(made):
    made.change_systems(b=Released("b", "B", whole, classes=("N", "P"), channels=1, restore=build))
    run = made.finished(systems=["a", "b"])
    report = page_of(run)
    assert "run as released, one execution on all images: B" in dict(report.facts)["Executions"]
    assert "released" in table(report, "What was trained").set_index("system").loc["B", "training"]
    curves = drawn(report, "Learning curves: A" if len(Results.of(run).groups) > 1 else "Learning curves")
    assert [axes.get_title("left") for axes in curves.figure.axes if axes.get_title("left")] == ["A"]


def test_why_a_system_was_left_out_stands_beside_its_numbers(made):
    run = made.finished(systems=["a", "b"], left_out={"b": "checkpoint not obtainable"})
    page = report_run(run.path, heatmaps=False).read_text()
    assert dict(page_of(run).facts)["Left out"] == "B: checkpoint not obtainable"
    said = "Left out: B of the paper: checkpoint not obtainable."
    for name in ("report.html", "report.md", "comparison.md", "comparison.tex"):
        assert said in (run.path / name).read_text(), name
    assert "INCOMPLETE" not in page


@pytest.mark.parametrize(("names", "title"), [("b", "B"), ("ab", "A; B")])
def test_why_a_system_is_no_match_for_the_papers_is_noted(made, monkeypatch, names, title):
    run = made.finished(systems=["a", "b"])

    class Smaller(type(made.paper.systems[0])):
        def surrogate(self, protocol):
            return "another network"

    made.change_systems(**{name: Smaller.like(run.paper.system(name), build=build) for name in names})
    notes = section(page_of(type(run).open(run.path)), "Notes").notes
    assert dict(notes)[f"Not the paper's network: {title}"] == "Another network"


def test_systems_tested_on_other_images_get_figures_and_tables_of_their_own(made):
    report = page_of(made.finished(keep=slice(3), systems=["a", "b"]))
    measured = [entry for entry in section(report, "Results").tables if entry.title.startswith("Measured")]
    assert [entry.title for entry in measured] == ["Measured: A", "Measured: B"]
    titles = {entry.title for entry in section(report, "How the networks decide").figures}
    assert {"Confusion: A", "Confusion: B", "ROC: A", "ROC: B"} <= titles
    assert "Tested on 24 images (N 12, P 12) in 2 executions." in measured[0].caption
    assert "in 1 execution." in measured[1].caption


def test_groups_are_named_by_what_their_titles_share():
    groups = named_groups([{"a": "A", "b": "B"}, {"c": "A, cut", "d": "B, cut"}, {"e": "E, cut"}])
    assert [group.name for group in groups] == ["", "cut", "E, cut"]
    assert [list(group.titles.values()) for group in groups] == [["A", "B"], ["A", "B"], ["E, cut"]]
    two = [{"a": "A", "b": "B"}, {"c": "C", "d": "D"}]
    assert [group.titled("ROC") for group in named_groups(two)] == ["ROC: (1 of 2)", "ROC: (2 of 2)"]
    assert named_groups([{"a": "A"}])[0].titled("ROC") == "ROC"
    released = named_groups(two, {"c": "as released", "d": "as released"})
    assert [group.titled("ROC") for group in released] == ["ROC", "ROC: as released"]


def test_of_many_systems_only_the_papers_own_pictures_stand_open(finished, monkeypatch):
    monkeypatch.setattr(reading, "report_of", lambda paper: PaperReport(proposed=("b",)))
    entries = {name: [FigureEntry(f"Grad-CAM: {name}", "", Figure())] for name in "abcdef"}
    found = section(page_of(finished, **entries), "Where the evidence lies")
    assert [entry.title for entry in found.figures] == ["Grad-CAM: b"]
    assert len(found.folded) == 5
    few = section(page_of(finished, **{name: entries[name] for name in "ab"}), "Where the evidence lies")
    assert (len(few.figures), len(few.folded)) == (2, 0)


# --- systems that are evaluated in several sets of classes


@pytest.fixture
def sets(made):
    """A system of the classes N and P, one of N and ill, two repeats each: all done."""
    rows = [("V", "a", "A of the paper", "60.00"), ("VI", "ill", "Ill of the paper", "70.00")]
    column = {"name": "Sens", "metric": "sensitivity"}
    tables = [
        {
            "table": name,
            "title": f"Table of {system}",
            "unit": "percent",
            "columns": [column],
            "rows": [{"row": row, "system": system, "values": [value]}],
        }
        for name, system, row, value in rows
    ]
    made.published.write_text(published_tables(*tables))
    made.paper = dataclasses.replace(made.paper, positive="")
    split = {"scheme": "hold_out", "folds": 1, "repeats": 2, "validation": 0.2, "test": 0.2}
    return made.finished(cohort=made.cohort("NP" * 10 + "N" * 12 + "o" * 12), systems=["a", "ill"], split=split)


def test_systems_are_kept_apart_by_their_classes(sets):
    results = Results.of(sets)
    heads = [list(frame.filter(like="score_")) for frame in results.frames]
    assert heads == [["score_N", "score_P"], ["score_N", "score_ill"]]
    assert [set(frame["system"]) for frame in results.frames] == [{"a"}, {"ill"}]
    assert results.classes_of("ill") == ("N", "ill")
    assert len(results.predictions) == sum(map(len, results.frames))
    assert results.predictions.loc[results.predictions["system"] == "ill", "score_P"].isna().all()


def test_metrics_are_those_of_each_systems_own_classes(sets):
    report_run(sets.path, heatmaps=False)
    systems, results = read_json(sets.path / "metrics.json")["systems"], Results.of(sets)
    for name, positive in (("a", "P"), ("ill", "ill")):
        tests = [part for _, part in results.predictions_of(name).query("split == 'test'").groupby("repeat")]
        found = systems[name]["metrics"]["sensitivity"]
        assert (found["executions"], [row["repeat"] for row in systems[name]["executions"]]) == (2, [0, 1])
        # Counted by hand: the second class is the positive one.
        hits = [(test["predicted"] == positive)[test["label"] == positive].mean() * 100 for test in tests]
        assert [row["sensitivity"] for row in systems[name]["executions"]] == pytest.approx(hits, abs=1e-6)
        assert found["mean"] == pytest.approx(sum(hits) / 2, abs=1e-6)
        assert systems[name]["executions"][0]["auc"] == pytest.approx(compute_metrics(tests[0])["auc"], abs=1e-6)
        assert systems[name]["metrics"]["accuracy"]["n_images"] == len(tests[0])
        rows = results.comparison[results.comparison["system"] == name]
        assert rows["ours"].tolist() == pytest.approx([found["mean"]], abs=1e-6)


def test_the_page_shows_each_set_by_itself(sets):
    report = page_of(sets)
    captions = {one.title: one.caption for one in section(report, "Results").tables}
    counts = Results.of(sets).predictions_of("ill").query("split == 'test' and repeat == 0")["label"].value_counts()
    assert f"(N {counts['N']}, ill {counts['ill']}) in 2 executions." in captions["Measured: Ill"]
    assert drawn(report, "ROC: A")
    assert drawn(report, "ROC: Ill")
    words = words_of(drawn(report, "Confusion: Ill").figure).splitlines()
    assert "ill" in words
    assert "P" not in words
    assert "P" in words_of(drawn(report, "Confusion: A").figure).splitlines()
