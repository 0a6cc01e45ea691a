"""The report of a run: made from predictions alone, saying what is missing and what is not comparable."""

from __future__ import annotations

import dataclasses
import importlib.util
import io
import json
from pathlib import Path

import cv2
import matplotlib.text
import numpy as np
import pandas as pd
import pytest
import yaml
from matplotlib.figure import Figure

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json, sha256_of, without_folders, write_json
from covid_keras.common.provenance import provenance
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation import compute_metrics, read_predictions, write_predictions
from covid_keras.paper.registered import load_paper
from covid_keras.preprocessing import lung_bounding_box
from covid_keras.reporting import FigureEntry
from covid_keras.reporting.examples import Examples, _framed, choose_examples
from covid_keras.reporting.html import render_report
from covid_keras.reporting.page import RELEASED, make_report, report_markdown
from covid_keras.reporting.results import (
    SYNTHETIC,
    Results,
    banner_of,
    named_groups,
    read_protocol_text,
)
from covid_keras.reporting.run import report_run
from covid_keras.training.inputs import part_of
from covid_keras.training.runfolder import Execution, RunFolder
from covid_keras.training.schedulers import run_executions

# The paper of three lines that the tests of training use.
_PATH = Path(__file__).resolve().parents[1] / "training" / "conftest.py"
_spec = importlib.util.spec_from_file_location("tiny_paper_fixtures", _PATH)
_tiny = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_tiny)
tiny_paper, tiny_cohort, make_run = _tiny.tiny_paper, _tiny.tiny_cohort, _tiny.make_run
uneven_cohort = _tiny.uneven_cohort

METRICS = ("accuracy", "sensitivity", "specificity", "precision_positive", "f1_positive", "auc", "accuracy_Mild")
PUBLISHED = {
    "paper": {
        "title": "Tiny", "authors": ["N. Obody"], "journal": "None", "year": "2026", "doi": "10.0/0",
        "citation": "N. Obody, 2026",
    },
    "tables": [
        {
            "table": "V",
            "title": "Two rows",
            "unit": "percent",
            "columns": [{"name": "Acc", "metric": "accuracy"}, {"name": "Sens", "metric": "sensitivity"}],
            "rows": [
                {"row": "A of the paper", "system": "a", "values": ["75.00 ± 2.00", "80.00"]},
                {
                    "row": "B of the paper",
                    "system": "b",
                    "values": ["50.00", "-"],
                    "cells": {"Acc": {"doubt": "Seems to be a slip."}},
                },
            ],
        }
    ],
}  # fmt: skip


@pytest.fixture
def published(tiny_paper) -> Path:
    """Give the tiny paper its printed numbers."""
    path = tiny_paper / "tinypaper" / "published.yaml"
    path.write_text(yaml.safe_dump(PUBLISHED, allow_unicode=True))
    return path


def predicted(run: RunFolder, execution: Execution, seed: int) -> pd.DataFrame:
    """Made predictions of one execution: scores at random, on the second class' side for images of that class."""
    paper = load_paper(run.protocol.paper)
    system = paper.system(execution.system)
    first, second = paper.scored_of(system, run.cohort)
    rng = np.random.default_rng([seed, execution.repeat, execution.fold])
    part, table = part_of(paper, run, execution), system.labelled(run.cohort).table
    rows = np.flatnonzero(np.isin(part, ("validation", "test")) & table["label"].isin((first, second)))
    table = table.iloc[rows]
    score = np.clip(rng.normal(np.where(table["label"] == second, 0.6, 0.4), 0.2), 0, 1).astype(np.float32)
    return (
        table[["image_id", "path", "patient_id", "source", "severity", "label"]]
        .reset_index(drop=True)
        .assign(
            system=execution.system,
            repeat=execution.repeat,
            fold=execution.fold,
            split=part[rows],
            predicted=np.where(score > 0.5, second, first),
        )
        .assign(**{f"score_{first}": 1 - score, f"score_{second}": score})
    )


def finish(run: RunFolder, executions: list[Execution] | None = None, seed: int = 0) -> RunFolder:
    """Leave executions as a training leaves them, without training."""
    for execution in run.executions() if executions is None else executions:
        execution.folder.mkdir(parents=True)
        frame = predicted(run, execution, seed + ord(execution.system[0]))
        write_predictions(execution.predictions, frame)
        history = {"epoch": [0, 1], "loss": [0.7, 0.6], "accuracy": [0.5, 0.6]}
        history |= {"val_loss": [0.7, 0.65], "val_accuracy": [0.5, 0.7]}
        pd.DataFrame(history).to_csv(execution.folder / "history.csv", index=False)
        write_json(
            execution.record,
            provenance(
                system=execution.system,
                repeat=execution.repeat,
                fold=execution.fold,
                seed=execution.fold,
                seconds=30.0,
                epochs=2,
                best_epoch=1,
                parameters=50,
                device={"gpus": [], "tpus": 0, "replicas": 1},
                policy="float32",
                predictions_sha256=sha256_of(execution.predictions),
            ),
        )
    return run


@pytest.fixture
def finished(make_run, published) -> RunFolder:
    """A run of both systems on two folds, all done."""
    return finish(make_run("run", systems=["a", "b"]))


def _numbers(folder: Path) -> dict:
    return read_json(folder / "metrics.json")["systems"]


def test_a_finished_run_gets_all_its_files(finished):
    page = report_run(finished.path, heatmaps=False)
    assert page == finished.path / "report.html"
    written = {"report.html", "report.md", "metrics.json", "comparison.csv", "comparison.md", "comparison.tex"}
    assert written <= {path.name for path in finished.path.iterdir()}
    assert not (finished.path / "explanations.csv").exists()
    text = page.read_text()
    for words in (
        "A of the paper",
        "75.00",
        "Confusion",
        "Learning curves",
        "ROC",
        "Accuracy per severity",
        "What was trained",
    ):
        assert words in text
    assert "B minus A" in text
    assert "Seems to be a slip." in text
    assert "24 images of 12 patients" in text
    assert "2 minutes of training" in text
    assert text.count('<img src="data:image/') == 5, "comparison, confusions, curves, ROC, severity"
    assert "Test images of 2 executions, added up." in text
    assert "Thin: each execution; thick: their mean." in text
    assert '<span class="what"> Two rows</span>' in text
    assert "an interval that holds 0 does not show a difference" in text
    assert 'src="http' not in text
    assert "INCOMPLETE" not in text


def test_metrics_json_is_what_the_predictions_say(finished):
    report_run(finished.path, heatmaps=False)
    systems = _numbers(finished.path)
    assert list(systems) == ["a", "b"]
    for name, entry in systems.items():
        byhand = []
        for execution in (e for e in finished.executions() if e.system == name):
            frame = read_predictions(execution.predictions)
            byhand.append(compute_metrics(frame[frame["split"] == "test"], "P"))
        assert [(row["repeat"], row["fold"]) for row in entry["executions"]] == [(0, 0), (0, 1)]
        for metric in METRICS:
            values = [values[metric] for values in byhand]
            assert [row[metric] for row in entry["executions"]] == pytest.approx(values, abs=1e-6)
            found = entry["metrics"][metric]
            assert found["mean"] == pytest.approx(np.mean(values), abs=1e-6)
            assert found["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
            assert found["executions"] == 2
            assert found["low"] <= found["mean"] <= found["high"]
        # By the definition, counting by hand.
        test = pd.concat([read_predictions(e.predictions) for e in finished.executions() if e.system == name])
        test = test[test["split"] == "test"]
        right = [(part["label"] == part["predicted"]).mean() * 100 for _, part in test.groupby("fold")]
        assert entry["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(right), abs=1e-6)
        assert entry["metrics"]["accuracy"]["n_images"] == 24


def test_provenance_stands_beside_the_numbers(finished):
    report_run(finished.path, heatmaps=False)
    source = read_json(finished.path / "metrics.json")["provenance"]
    assert (source["paper"], source["profile"], source["complete"]) == ("tiny", "smoke", True)
    assert source["executions"] == 4
    assert source["cohort_counts"] == {"N": 12, "P": 12}
    assert source["comparable"] == "made images"
    assert source["training_hours"] == round(4 * 30 / 3600, 3)
    assert source["cohort_fingerprint"] == finished.cohort.fingerprint()
    assert yaml.safe_load(source["protocol"])["training"]["epochs"] == 4


def test_comparison_holds_every_published_cell_and_judges_none_of_other_data(finished):
    report_run(finished.path, heatmaps=False)
    frame = pd.read_csv(finished.path / "comparison.csv")
    assert list(zip(frame["system"], frame["metric"], strict=True)) == [
        ("a", "accuracy"),
        ("a", "sensitivity"),
        ("b", "accuracy"),
    ]
    assert set(frame["verdict"]) == {"not comparable (made images)"}
    systems = _numbers(finished.path)
    for row in frame.itertuples():
        assert row.ours == pytest.approx(systems[row.system]["metrics"][row.metric]["mean"], abs=1e-6)
        assert row.difference == pytest.approx(row.ours - row.paper, abs=1e-6)


def test_comparable_data_get_verdicts_and_no_banner(make_run, published):
    run = finish(make_run("run", comparable=True, tolerance=100.0))
    report_run(run.path, heatmaps=False)
    frame = pd.read_csv(run.path / "comparison.csv")
    assert list(frame["verdict"]) == ["reproduced", "reproduced", "not comparable (not run)"]
    assert banner_of(Results.of(run)) == ""


@pytest.mark.parametrize(
    ("changes", "banner"),
    [
        ({"cohort": {"kind": "phantom"}}, SYNTHETIC),
        ({}, "OTHER DATA THAN THE PAPER'S: every number of ours is shown, none is comparable. Made images."),
        (
            {"comparable": "radiographs of NIH and COVID-CXNet."},
            "OTHER DATA THAN THE PAPER'S: every number of ours is shown, none is comparable. "
            "Radiographs of NIH and COVID-CXNet.",
        ),
    ],
    ids=["phantom", "other data", "names keep their capitals"],
)
def test_the_banner_says_what_the_numbers_are_of(make_run, published, changes, banner):
    run = finish(make_run("run"))
    record = read_json(run.path / "run.json")
    changed = yaml.safe_load((run.path / "protocol.yaml").read_text()) | changes
    (run.path / "protocol.yaml").write_text(yaml.safe_dump(changed))
    record["files"]["protocol.yaml"] = sha256_of(run.path / "protocol.yaml")
    write_json(run.path / "run.json", record)
    run = RunFolder.open(run.path)
    assert banner_of(Results.of(run)) == banner
    report_run(run.path, heatmaps=False)
    for name, start in (("report.md", f"**{banner}**\n"), ("comparison.md", f"**{banner}**\n")):
        assert (run.path / name).read_text().startswith(start), name
    assert (run.path / "comparison.tex").read_text().startswith("\\noindent\\textbf{")


def test_missing_executions_are_said_first(make_run, published):
    run = make_run("run", systems=["a", "b"])
    finish(run, run.executions()[:3])
    page = report_run(run.path, heatmaps=False).read_text()
    assert "INCOMPLETE: 3 of 4 executions." in page
    assert "INCOMPLETE: 3 of 4 executions." in (run.path / "report.md").read_text()
    record = read_json(run.path / "metrics.json")
    assert record["provenance"]["complete"] is False
    assert [len(entry["executions"]) for entry in record["systems"].values()] == [2, 1]
    assert record["systems"]["b"]["metrics"]["accuracy"]["std"] is None, "one execution has no spread"


def test_edited_predictions_do_not_count(finished):
    first = finished.executions()[0]
    frame = read_predictions(first.predictions).assign(predicted="P")
    write_predictions(first.predictions, frame)
    assert banner_of(Results.of(finished)).startswith("INCOMPLETE: 3 of 4")


def test_nothing_done_is_no_report(make_run, published, capsys):
    run = make_run("run")
    with pytest.raises(UserError, match="holds no finished execution"):
        report_run(run.path, heatmaps=False)
    assert main(["report", str(run.path), "--no-heatmaps"]) == 2
    assert "holds no finished execution" in capsys.readouterr().err
    assert not (run.path / "report.html").exists()


def test_regenerating_gives_the_same_numbers(finished, capsys):
    report_run(finished.path, heatmaps=False)
    first = {name: (finished.path / name).read_bytes() for name in ("comparison.csv", "comparison.tex", "report.md")}
    numbers = _numbers(finished.path)
    assert main(["report", str(finished.path), "--no-heatmaps"]) == 0
    assert f"Output: {finished.path / 'report.html'}" in capsys.readouterr().out
    assert _numbers(finished.path) == numbers
    assert {name: (finished.path / name).read_bytes() for name in first} == first


def test_metrics_json_is_json(make_run, published):
    """One system, one fold done: stds are undefined, and JSON knows no NaN."""
    run = make_run("run")
    finish(run, run.executions()[:1])
    report_run(run.path, heatmaps=False)
    text = (run.path / "metrics.json").read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_a_moved_run_reports_the_same(finished, tmp_path):
    report_run(finished.path, heatmaps=False)
    numbers = _numbers(finished.path)
    finished.path.rename(tmp_path / "moved")
    report_run(tmp_path / "moved", heatmaps=False)
    assert _numbers(tmp_path / "moved") == numbers


def test_what_was_counted_while_preparing_is_noted(finished):
    facts = {"duplicate_pairs": 7, "whole_image_crops": {"a": ["made/03"]}, "lungs": {"images": 24, "empty": 1}}
    write_json(finished.path / "facts.json", facts)
    page = report_run(finished.path, heatmaps=False).read_text()
    assert "7 pairs of near-duplicate images" in page
    assert "a: images used whole: 1, e.g. made/03." in page
    assert "1 of 24 empty" in page


# --- what the page claims


def drawn(run: RunFolder) -> dict[str, str]:
    """Titles of the page's figures with their captions."""
    report = make_report(Results.of(run), {})
    entries = [*report.comparison_figures, *(entry for section in report.sections for entry in section.figures)]
    return {entry.title: entry.caption for entry in entries}


def words_of(figure) -> str:
    """Everything written in a figure."""
    figure.savefig(io.BytesIO(), format="png", dpi=40)
    return "\n".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_a_confusion_says_how_many_executions_it_sums(finished):
    section = make_report(Results.of(finished), {}).sections[0]
    figure = next(entry.figure for entry in section.figures if entry.title == "Confusion")
    assert "sum of 2 executions" in words_of(figure)
    assert [axes.get_title("left") for axes in figure.axes if axes.get_title("left")] == ["A", "B"]
    one = [e for e in Results.of(finished).executions if e.fold == 0]
    section = make_report(Results(finished, Results.of(finished).paper, one), {}).sections[0]
    entry = next(entry for entry in section.figures if entry.title == "Confusion")
    assert entry.caption == "Test images of 1 execution."
    assert "1 execution" in words_of(entry.figure)


def test_whether_the_printed_numbers_are_possible_stands_on_the_page_and_beside_it(finished):
    results = Results.of(finished)
    results.audit["audit"] = ["impossible", "consistent", "cannot be checked"]
    results.audit["proof"] = ["No 7 of 8.", "Fits.", ""]
    report = make_report(results, {})
    section = report.sections[-1]
    assert section.title == "Are the printed numbers possible?"
    assert "1 ‡ impossible, 0 § explained, 1 ⁼ consistent, 1 cannot be checked." in section.text
    assert section.details[0].notes[0][1].startswith("No 7 of 8.")
    assert list(results.comparison["audit"]) == ["impossible", "consistent", "cannot be checked"]
    page, text = render_report(report), report_markdown(results)
    assert '75.00 ± 2.00<abbr title="Audit: impossible as printed.">†</abbr>' in page
    assert 'class="audit" title="impossible: No 7 of 8.">‡</abbr>' in page
    assert "What the audit says of the printed number" in page
    assert "75.00 ± 2.00†‡ \\|" in text
    assert "Audit of the printed number: ‡ impossible: " in text
    assert "## Are the printed numbers possible?" in text
    assert "| Table V | A of the paper, Acc = 75.00 ± 2.00 | No 7 of 8. |" in text


def test_many_executions_are_a_band_and_called_so(make_run, published):
    run = finish(make_run("run", split={"repeats": 6}))
    assert drawn(run)["ROC"].startswith("Thick: the mean of the executions; band: one standard deviation")
    assert "12 executions" in drawn(run)["ROC"]
    first = Results(run, Results.of(run).paper, run.executions()[:1])
    report = make_report(first, {})
    assert next(e.caption for e in report.sections[0].figures if e.title == "ROC") == "One execution."


def test_severities_are_compared_with_the_same_systems(finished, published):
    document = {**PUBLISHED, "tables": [*PUBLISHED["tables"]]}
    rows = [
        {"row": name, "system": name, "metric": "accuracy_Mild", "values": ["61.00"]}
        for name in ("a", "best", "best_without_mild")
    ]
    document["tables"].append(
        {"table": "VI", "title": "Severities", "unit": "percent", "columns": [{"name": "Mild"}], "rows": rows}
    )
    published.write_text(yaml.safe_dump(document, allow_unicode=True))
    results = Results.of(finished)

    report = make_report(results, {})
    entry = next(e for e in report.sections[0].figures if e.title == "Accuracy per severity")
    words = words_of(entry.figure)
    assert "paper (mean ± std)" in words
    assert [axes.get_title("left") for axes in entry.figure.axes] == ["A", "B"]
    assert "best" not in words + entry.caption


@pytest.mark.parametrize(
    ("split", "facts", "said"),
    [
        ({}, {}, "Searched for; how many were found is not recorded"),
        ({}, {"duplicate_pairs": 1}, "1 pair of near-duplicate images found and kept on one side"),
        ({}, {"duplicate_pairs": 0}, "Searched for, none found."),
        ({"duplicates": False}, {"duplicate_pairs": 0}, "Not searched for in this profile"),
        ({"leaky_as_published": True}, {"duplicate_pairs": 2}, "the published split does not keep them together"),
    ],
)
def test_no_more_is_claimed_of_the_split_than_was_done(make_run, published, split, facts, said):
    run = finish(make_run("run", split=split))
    write_json(run.path / "facts.json", facts)
    report = make_report(Results.of(run), {})
    assert said in dict(report.notes)["Near-duplicates"]
    leaky = bool(split.get("leaky_as_published"))
    executions = dict(report.facts)["Executions"]
    assert ("patients disjoint" in executions) is not leaky
    assert ("patients cross" in executions) is leaky
    assert ("Leak" in dict(report.notes)) is leaky


def test_the_papers_notes_stand_first(finished):
    results = Results.of(finished)
    paper = dataclasses.replace(results.paper, notes=(("Patients", "Nobody knows them."),))
    report = make_report(Results(finished, paper, results.executions), {})
    assert report.notes[0] == ("Patients", "Nobody knows them.")


@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
def test_a_missing_history_is_named_and_the_old_report_stays(finished, content):
    report_run(finished.path, heatmaps=False)
    before = {path.name: path.read_bytes() for path in finished.path.iterdir() if path.is_file()}
    path = finished.executions()[0].folder / "history.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    (finished.path / "facts.json").write_text('{"duplicate_pairs": 3}')
    with pytest.raises(UserError, match=r"history\.csv: (cannot be read|is not a readable CSV)"):
        report_run(finished.path, heatmaps=False)
    (finished.path / "facts.json").unlink()
    assert {path.name: path.read_bytes() for path in finished.path.iterdir() if path.is_file()} == before


def test_paths_are_cut_to_file_names(make_run, published):
    assert without_folders({"a": ["/home/me/x.h5", 1, None], "b": "C:\\me\\y.h5", "c": "1/2 of N / A"}) == {
        "a": ["x.h5", 1, None],
        "b": "y.h5",
        "c": "1/2 of N / A",
    }
    run = make_run("run", weights="/home/me/resnet.h5")
    assert yaml.safe_load(read_protocol_text(run)) == yaml.safe_load(
        (run.path / "protocol.yaml").read_text().replace("/home/me/resnet.h5", "resnet.h5")
    )
    plain = make_run("plain")
    assert read_protocol_text(plain) == (plain.path / "protocol.yaml").read_text(), "left as it is, byte by byte"


# --- many systems


def with_systems(results: Results, **changes: dict) -> Results:
    """The same run of a paper whose systems say something else of themselves."""
    systems = tuple(dataclasses.replace(one, **changes.get(one.name, {})) for one in results.paper.systems)
    return Results(results.run, dataclasses.replace(results.paper, systems=systems), results.executions)


def table_of(report, title: str) -> pd.DataFrame:
    entries = [*report.tables, *(entry for section in report.sections for entry in section.tables)]
    return next(entry.frame for entry in entries if entry.title == title)


def test_what_was_trained_is_said_of_each_system(finished):
    sizes = {"b": {"preparation": lambda protocol: Preparation(size=(20, 40)), "title": "B, large"}}
    results = with_systems(Results.of(finished), **sizes)
    report = make_report(results, {})
    table = table_of(report, "What was trained").set_index("system")
    size = results.paper.system("a").preparation(finished.protocol).size
    assert table.loc["A", "input (px)"] == f"{size[0]} x {size[1]}"
    assert table.loc["B, large", "input (px)"] == "20 x 40"
    assert table.loc["A", "parameters"] == "50"
    assert table.loc["A", "minutes"] == "1.0", "two executions of half a minute"
    assert (table["best epoch"] == "2").all()
    assert "at most 4 epochs" in table.loc["A", "training"]
    words = dict(report.facts)["Input and start"]
    assert "20 x 40" in words
    assert f"{size[0]} x {size[1]}" in words
    assert "see What was trained" in words
    plain = dict(make_report(Results.of(finished), {}).facts)["Input and start"]
    assert plain.startswith(f"{size[0]} x {size[1]} px, initial weights")


def test_a_released_system_was_not_trained_and_is_said_to_be_so(finished):
    results = with_systems(Results.of(finished), b={"released": True})
    report = make_report(results, {})
    assert f"{RELEASED}: B" in dict(report.facts)["Executions"]
    assert table_of(report, "What was trained").set_index("system").loc["B", "training"] == RELEASED.replace(
        " one", "\none"
    )
    curves = next(entry for section in report.sections for entry in section.figures if entry.title == "Learning curves")
    assert [axes.get_title("left") for axes in curves.figure.axes if axes.get_title("left")] == ["A"]
    (finished.execution("b", 0, 0).folder / "history.csv").unlink()  # which a released system has none of
    make_report(results, {})


def test_why_a_system_was_left_out_stands_beside_its_numbers(make_run, published):
    run = finish(make_run("run", systems=["a", "b"]), None)
    record = read_json(run.path / "run.json")
    record["settings"]["left_out"] = {"b": "checkpoint not obtainable"}
    write_json(run.path / "run.json", record)
    run = RunFolder.open(run.path)
    page = report_run(run.path, heatmaps=False).read_text()
    assert dict(make_report(Results.of(run), {}).facts)["Left out"] == "B: checkpoint not obtainable"
    assert "Left out: B of the paper: checkpoint not obtainable." in page
    for name in ("report.md", "comparison.md", "comparison.tex"):
        assert "Left out: B of the paper: checkpoint not obtainable." in (run.path / name).read_text(), name
    assert "INCOMPLETE" not in page


def test_why_a_system_is_no_match_for_the_papers_is_noted(finished):
    reason = {"surrogate": lambda protocol: "another network"}
    report = make_report(with_systems(Results.of(finished), b=reason), {})
    assert dict(report.notes)["Not the paper's network: B"] == "Another network"
    both = make_report(with_systems(Results.of(finished), a=reason, b=reason), {})
    assert dict(both.notes)["Not the paper's network: A; B"] == "Another network"


def test_systems_tested_on_other_images_get_figures_and_tables_of_their_own(make_run, published):
    run = make_run("run", systems=["a", "b"])
    finish(run, run.executions()[:3])
    report = make_report(Results.of(run), {})
    assert [entry.title for entry in report.tables] == ["Measured: A", "Measured: B"]
    titles = [entry.title for entry in report.sections[0].figures]
    assert {"Confusion: A", "Confusion: B", "ROC: A", "ROC: B"} <= set(titles)
    assert "Tested on 24 images (N 12, P 12) in 2 executions." in report.tables[0].caption
    assert "in 1 execution." in report.tables[1].caption


def test_groups_are_named_by_what_their_titles_share():
    groups = named_groups([{"a": "A", "b": "B"}, {"c": "A, cut", "d": "B, cut"}, {"e": "E, cut"}])
    assert [group.name for group in groups] == ["", "cut", "E, cut"]
    assert [list(group.titles.values()) for group in groups] == [["A", "B"], ["A", "B"], ["E, cut"]]
    twice = named_groups([{"a": "A", "b": "B"}, {"c": "C", "d": "D"}])
    assert [group.titled("ROC") for group in twice] == ["ROC: (1 of 2)", "ROC: (2 of 2)"]
    assert named_groups([{"a": "A"}])[0].titled("ROC") == "ROC"
    released = named_groups([{"a": "A", "b": "B"}, {"c": "C", "d": "D"}], released=["c", "d"])
    assert [group.titled("ROC") for group in released] == ["ROC", "ROC: as released"]


def test_of_many_systems_only_the_papers_own_pictures_stand_open(finished):
    results = Results.of(finished)
    results = Results(finished, dataclasses.replace(results.paper, proposed=("b",)), results.executions)
    entries = {name: [FigureEntry(f"Grad-CAM: {name}", "", Figure())] for name in "abcdef"}
    section = make_report(results, entries).sections[1]
    assert [entry.title for entry in section.figures] == ["Grad-CAM: b"]
    assert len(section.folded) == 5
    few = make_report(results, {name: entries[name] for name in "ab"}).sections[1]
    assert len(few.figures) == 2
    assert not few.folded


# --- examples


@pytest.mark.parametrize("masked", [True, False])
def test_pictures_are_cut_as_the_network_sees_them(masked):
    """COVIDNet's frame of a tall picture: the top 8 % off, the middle square kept, and the lungs in the same place."""
    image = np.arange(200 * 100, dtype=np.int64).reshape(200, 100)
    mask = (image % 7 == 0).astype(np.uint8) * 255 if masked else None
    framed, lungs = _framed(image, mask, Preparation(size=(8, 8), drop_top=0.08, square=True))
    assert framed.shape == (100, 100)
    assert framed[0, 0] == (16 + 42) * 100, "16 rows off, 42 of the 84 too many above the square"
    assert (lungs is None) is not masked
    if masked:
        assert (lungs == np.where(framed % 7 == 0, 255, 0)).all()
    box = np.zeros((200, 100), np.uint8)
    box[50:100, 20:60] = 255
    cropped, lungs = _framed(image, box, Preparation(size=(8, 8), crop="lungs", margin=0.1))
    assert (cropped == image[lung_bounding_box(box, 0.1).slices]).all()
    assert (lungs == box[lung_bounding_box(box, 0.1).slices]).all()
    whole, _ = _framed(image, None, Preparation(size=(8, 8)))
    assert whole.shape == image.shape


def test_examples_are_the_surest_right_and_wrong_of_each_class(finished):
    frame = read_predictions([e.predictions for e in finished.executions() if e.system == "a" and e.fold == 0])
    chosen = choose_examples(frame)
    assert set(chosen["split"]) == {"test"}
    assert not chosen.duplicated(["label", "predicted"]).any()
    test = frame[frame["split"] == "test"].assign(surest=frame[["score_N", "score_P"]].max(axis=1))
    for row in chosen.itertuples():
        group = test[(test["label"] == row.label) & (test["predicted"] == row.predicted)]
        assert max(row.score_N, row.score_P) == group["surest"].max()
    assert len(chosen) == len(test.drop_duplicates(["label", "predicted"]))


@pytest.fixture
def trained(make_run, published, monkeypatch) -> RunFolder:
    """A run whose first execution was really trained, for an epoch."""
    monkeypatch.setenv("COVID_KERAS_QUIET", "1")
    run = make_run("run", training={"epochs": 1})
    run_executions(run, (1, 2))
    return run


@pytest.mark.slow
def test_heat_maps_of_a_trained_run(trained):
    run = trained
    page = report_run(run.path).read_text()
    assert "INCOMPLETE: 1 of 2 executions." in page
    assert "Grad-CAM: A" in page
    table = pd.read_csv(run.path / "explanations.csv")
    frame = read_predictions(run.execution("a", 0, 0).predictions)
    chosen = choose_examples(frame).set_index("image_id")
    assert list(table["image_id"]) == list(chosen.index)
    assert (table["system"] == "a").all()
    for row in table.itertuples():
        assert row.predicted == chosen.loc[row.image_id, "predicted"]
        assert {row.predicted, row.other} == {"N", "P"}
        assert row.score == pytest.approx(chosen.loc[row.image_id, ["score_N", "score_P"]].max())
    # Nobody marked lungs in these images: a share of 0 would say that the network looked beside them.
    assert table[["heat_in_lungs_predicted", "heat_in_lungs_other", "lung_area"]].isna().all(axis=None)


@pytest.mark.slow
def test_a_papers_own_pictures_stand_with_the_heat_maps(trained, monkeypatch):
    """The hook gets the examples in the order of the heat maps' rows, and the caption says what a map is of."""
    asked = []

    def pictures(given: Examples):
        in_order = given.cohort.table["image_id"], given.prepared.image_ids, given.predictions["image_id"]
        asked.append(tuple(map(list, in_order)))
        assert (given.execution.system, given.before, given.protocol) == ("a", None, trained.protocol)
        assert given.network.count_params() == read_json(given.execution.record)["parameters"]
        return [("Twins", "Two of each.", Figure())]

    results = Results.of(trained)
    paper = with_systems(results, a={"pictures": pictures, "evidence_note": "Of the left half."}).paper
    monkeypatch.setattr("covid_keras.reporting.results.load_paper", lambda name: paper)
    page = report_run(trained.path).read_text()
    ids = list(pd.read_csv(trained.path / "explanations.csv")["image_id"])
    assert asked == [(ids, ids, ids)]
    assert "<strong>Twins: A.</strong> Two of each." in page
    assert "Of the left half." in page


def set_cohort(run: RunFolder, table: pd.DataFrame) -> None:
    """Replace a run's cohort, as if it had begun with it."""
    Cohort(table, run.cohort.classes, run.cohort.name).to_csv(run.path / "cohort.csv")
    record = read_json(run.path / "run.json")
    record["files"]["cohort.csv"] = sha256_of(run.path / "cohort.csv")
    write_json(run.path / "run.json", record)


@pytest.mark.slow
def test_heat_is_measured_in_the_lungs_where_they_are_known(trained):
    """The left half is lung, on every image."""
    mask = np.zeros((32, 32), np.uint8)
    mask[:, :16] = 255
    cv2.imwrite(str(trained.path / "mask.png"), mask)
    set_cohort(trained, trained.cohort.table.assign(mask_path=str(trained.path / "mask.png")))
    assert "outlined as the collection marks them" in report_run(trained.path).read_text()
    found = pd.read_csv(trained.path / "explanations.csv")
    assert found["lung_area"].tolist() == pytest.approx([0.5] * len(found), abs=0.01)
    shares = found[["heat_in_lungs_predicted", "heat_in_lungs_other"]].stack()
    assert shares.between(0, 1).all()


@pytest.mark.slow
def test_what_the_maps_need_is_named_and_the_old_report_stays(trained):
    """Only the examples' own files are needed; where one is gone, nothing is rewritten."""
    execution = trained.execution("a", 0, 0)
    chosen = choose_examples(read_predictions(execution.predictions))
    for row in trained.cohort.table.itertuples():
        if row.image_id not in set(chosen["image_id"]):
            Path(row.path).unlink()
    report_run(trained.path)
    before = {path.name: path.read_bytes() for path in trained.path.iterdir() if path.is_file()}
    weights = execution.folder / "best.weights.h5"
    good = weights.read_bytes()
    for damage in (good[: len(good) // 2], b"no HDF5", None):
        weights.unlink()
        if damage is not None:
            weights.write_bytes(damage)
        with pytest.raises(UserError, match=r"best\.weights\.h5: .*--no-heatmaps"):
            report_run(trained.path)
    weights.write_bytes(good)
    image = Path(chosen["path"].iloc[0])
    image.rename(image.with_suffix(".away"))
    with pytest.raises(UserError, match=rf"{image.name}: .* is missing\..*--no-heatmaps"):
        report_run(trained.path)
    assert {path.name: path.read_bytes() for path in trained.path.iterdir() if path.is_file()} == before
    report_run(trained.path, heatmaps=False)
