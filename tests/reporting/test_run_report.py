"""The report of a run: made from predictions alone, saying what is missing and what is not comparable."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json, read_record, sha256_of, without_folders, write_record
from covid_keras.evaluation import compute_metrics, read_predictions, write_predictions
from covid_keras.reporting.results import Results, banner_of
from covid_keras.reporting.run import report_run
from covid_keras.reporting.sources import read_protocol_text
from covid_keras.training.runfolder import RunFolder
from tests.helpers.disk import full_disk
from tests.helpers.made_runs import with_changed_file
from tests.helpers.pages import Page
from tests.helpers.refusals import refused

METRICS = ("accuracy", "sensitivity", "specificity", "precision_positive", "f1_positive", "auc", "accuracy_Mild")
FILES = ("report.html", "report.md", "metrics.json", "comparison.csv", "comparison.md", "comparison.tex")


def numbers(run) -> dict:
    return read_json(run.path / "metrics.json")["systems"]


def files(run) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.iterdir() if path.is_file()}


def test_a_finished_run_gets_all_its_files(finished):
    page = report_run(finished.path, heatmaps=False)
    assert page == finished.path / "report.html"
    assert set(FILES) <= set(files(finished))
    assert not (finished.path / "explanations.csv").exists()
    parsed = Page(page.read_text(encoding="utf-8"))
    for words in (
        "A of the paper",
        "75.00",
        "What was trained",
        "B minus A",
        "Seems to be a slip.",
        "24 images of 12 patients",
        "2 minutes of training",
        "Test images of 2 executions, summed.",
        "Thin: each execution; thick: their mean.",
    ):
        assert words in parsed.text
    drawn = [image["alt"].split(".")[0] for image in parsed.all("img")]
    assert drawn == ["Table V, drawn", "Confusion", "ROC", "Accuracy per severity", "Learning curves"]
    pictures = sorted((finished.path / "figures").iterdir())
    assert [path.stem.split("-")[1] for path in pictures] == ["table", "confusion", "roc", "accuracy", "learning"]
    assert {path.suffix for path in pictures} == {".svg"}, "figures of numbers"
    assert "INCOMPLETE" not in parsed.text
    text = (finished.path / "report.md").read_text(encoding="utf-8")
    for title in ("Paper against ours", "Results", "Are the printed numbers possible?", "Provenance"):
        assert f"\n## {title}\n" in text
    assert "\n## Where the evidence lies\n" not in text


def test_metrics_json_is_what_the_predictions_say(finished):
    report_run(finished.path, heatmaps=False)
    assert list(numbers(finished)) == ["a", "b"]
    for name, entry in numbers(finished).items():
        frames = [read_predictions(e.predictions) for e in finished.executions() if e.system.name == name]
        tests = [frame[frame["split"] == "test"] for frame in frames]
        byhand = [compute_metrics(frame, "P") for frame in tests]
        assert [(row["repeat"], row["fold"]) for row in entry["executions"]] == [(0, 0), (0, 1)]
        for metric in METRICS:
            values, found = [one[metric] for one in byhand], entry["metrics"][metric]
            assert [row[metric] for row in entry["executions"]] == pytest.approx(values, abs=1e-6)
            assert found["mean"] == pytest.approx(np.mean(values), abs=1e-6)
            assert found["std"] == pytest.approx(np.std(values, ddof=1), abs=1e-6)
            assert found["executions"] == 2
            assert found["low"] <= found["mean"] <= found["high"]
        # By the definition, counting by hand.
        right = [(frame["label"] == frame["predicted"]).mean() * 100 for frame in tests]
        assert entry["metrics"]["accuracy"]["mean"] == pytest.approx(np.mean(right), abs=1e-6)
        assert entry["metrics"]["accuracy"]["n_images"] == 24


def test_provenance_stands_beside_the_numbers(finished):
    report_run(finished.path, heatmaps=False)
    source = read_json(finished.path / "metrics.json")["provenance"]
    found = {name: source[name] for name in ("paper", "profile", "complete", "executions", "sources")}
    assert found == {
        "paper": "tiny",
        "profile": "smoke",
        "complete": True,
        "executions": 4,
        "sources": {"a": {"made": 24}, "b": {"made": 24}},
    }
    assert source["cohort_counts"] == {"N": 12, "P": 12}
    assert source["training_hours"] == round(4 * 30 / 3600, 3)
    assert source["cohort_fingerprint"] == finished.cohort.fingerprint()
    assert yaml.safe_load(source["protocol"])["training"]["epochs"] == 4


def test_comparison_holds_every_published_cell_and_judges_none_of_other_data(finished):
    report_run(finished.path, heatmaps=False)
    frame = pd.read_csv(finished.path / "comparison.csv", keep_default_na=False, na_values={"ours": ""})
    assert frame[["system", "metric"]].to_numpy().tolist() == [
        ["a", "accuracy"],
        ["a", "sensitivity"],
        ["b", "accuracy"],
    ]
    assert set(zip(frame["grade"], frame["outcome"], strict=True)) == {("stand-in", "")}
    assert frame["reason"].str.contains("made 24|not in profile").all()
    assert frame["verdict"].str.startswith("not comparable (").all()
    verdicts = read_json(finished.path / "metrics.json")["verdicts"]
    assert verdicts == frame[["table", "row", "column", "grade", "outcome", "reason"]].to_dict("records")
    for row in frame.itertuples():
        assert row.ours == pytest.approx(numbers(finished)[row.system]["metrics"][row.metric]["mean"], abs=1e-6)
        assert row.difference == pytest.approx(row.ours - row.paper, abs=1e-6)


def test_the_papers_own_data_get_verdicts_and_no_banner(made):
    made.measured_on({"made": 24})
    run = made.finished(tolerance=100.0)
    report_run(run.path, heatmaps=False)
    frame = pd.read_csv(run.path / "comparison.csv", keep_default_na=False)
    assert frame["grade"].tolist() == ["reproduction", "reproduction", ""]
    assert frame["outcome"].tolist() == ["reproduced", "reproduced", ""]
    assert frame["reason"].tolist() == ["", "", "not run"]
    assert banner_of(Results.of(run)) == ""


def test_a_run_from_a_given_weight_file_is_graded(made):
    made.measured_on({"made": 24})
    run = made.finished(weights="/home/me/resnet.h5", left_out={"b": "no images in /home/me/data"})
    results = Results.of(run)
    assert results.comparison["grade"].tolist() == ["stand-in", "stand-in", ""], "profile smoke starts from none"
    assert results.left_out == {"b": "no images in data"}


def test_a_run_that_recorded_a_setting_that_no_longer_exists_goes_on(made):
    run = made.finished(keep=slice(1))
    text = (run.path / "protocol.yaml").read_text() + "comparable: no\n"
    with_changed_file(run, "protocol.yaml", text)
    record = read_record(run.path / "run.json", ())
    record["identity"]["protocol"]["comparable"] = "no"
    write_record(run.path / "run.json", record)
    assert RunFolder.open(run.path).protocol == run.protocol
    assert [one.done for one in made.run().executions()] == [True, False]


@pytest.mark.parametrize(
    ("changes", "banner"),
    [
        ({"cohort": {"kind": "phantom"}}, "PHANTOM DATA: "),
        ({}, "STAND-INS ONLY: our numbers are shown but not judged."),
    ],
    ids=["phantom", "other data"],
)
def test_the_banner_says_what_the_numbers_are_of(made, changes, banner):
    run = made.finished()
    protocol = yaml.safe_load((run.path / "protocol.yaml").read_text()) | changes
    run = with_changed_file(run, "protocol.yaml", yaml.safe_dump(protocol))
    found = banner_of(Results.of(run))
    assert banner in found
    report_run(run.path, heatmaps=False)
    for name in ("report.md", "comparison.md"):
        assert f"**{found}**\n" in (run.path / name).read_text(), name
    assert (run.path / "comparison.tex").read_text().startswith("\\noindent\\textbf{")


def test_missing_executions_are_said_first(made):
    run = made.finished(keep=slice(3), systems=["a", "b"])
    page = report_run(run.path, heatmaps=False).read_text()
    for text in (page, (run.path / "report.md").read_text()):
        assert "INCOMPLETE: 3 of 4 executions." in text
    assert read_json(run.path / "metrics.json")["provenance"]["complete"] is False
    assert [len(entry["executions"]) for entry in numbers(run).values()] == [2, 1]
    assert numbers(run)["b"]["metrics"]["accuracy"]["std"] is None, "one execution has no spread"


def edited(table: pd.DataFrame, **changes) -> pd.DataFrame:
    """The table with other values in its first row."""
    return pd.concat([table.iloc[:1].assign(**changes), table.iloc[1:]])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda table: edited(table, label="P"), "label 'P' of image made/"),
        (lambda table: edited(table, image_id="made/99"), "made/99"),
        (lambda table: edited(table, patient_id="made/0-99"), "patient_id"),
        (lambda table: edited(table, source="elsewhere"), "source"),
        (lambda table: edited(table, severity="Severe"), "severity"),
        (lambda table: table.assign(split=table["split"].map({"test": "validation", "validation": "test"})), "split"),
        (lambda table: table.iloc[1:], "lacks 1 of "),
        (lambda table: table.assign(fold=1), "fold 1"),
        (lambda table: table.assign(system="b"), "system b"),
        (lambda table: table.rename(columns={"score_P": "score_Q"}).replace("P", "Q"), "classes N, Q"),
    ],
)
def test_predictions_that_differ_from_cohort_and_splits_are_refused(finished, change, words):
    """Even if the record agrees with them."""
    first = finished.executions()[0]
    frame = read_predictions(first.predictions).sort_values("label", ignore_index=True)
    write_predictions(first.predictions, change(frame))
    write_record(first.record, first.details | {"predictions_sha256": sha256_of(first.predictions)})
    refused(f"{words}.*--restart a/repeat0-fold0", report_run, finished.path, heatmaps=False)


@pytest.mark.parametrize("name", ["predictions.csv", "history.csv", "execution.json"])
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data.replace(b"6", b"7"), lambda data: b""])
def test_damaged_files_of_an_execution_are_named_with_the_remedy(finished, name, damage):
    first = finished.executions()[0]
    record = first.details | {"history_sha256": sha256_of(first.folder / "history.csv"), "share": 0.6}
    write_record(first.record, record)
    path = first.folder / name
    path.write_bytes(damage(path.read_bytes()))
    refused(f"{name}: .*--restart a/repeat0-fold0", report_run, finished.path, heatmaps=False)


def test_an_execution_in_another_ones_place_is_refused(finished):
    one, other = finished.executions()[:2]
    for path in (one.predictions, one.record):
        path.write_bytes((other.folder / path.name).read_bytes())
    refused(r"another execution .*--restart a/repeat0-fold0", report_run, finished.path, heatmaps=False)


def test_lost_predictions_are_not_left_out_in_silence(finished):
    finished.executions()[0].predictions.unlink()
    refused("is missing.*--restart a/repeat0-fold0", Results.of, finished)


def test_nothing_done_is_no_report(made, capsys):
    run = made.run()
    assert main(["report", str(run.path), "--no-heatmaps"]) == 2
    assert "no finished execution" in capsys.readouterr().err
    assert not (run.path / "report.html").exists()


def test_regenerating_gives_the_same_numbers_elsewhere_too(finished, tmp_path, capsys):
    report_run(finished.path, heatmaps=False)
    first, before = files(finished), numbers(finished)
    assert main(["report", str(finished.path), "--no-heatmaps"]) == 0
    assert f"Output: {finished.path / 'report.html'}" in capsys.readouterr().out
    changing = {"metrics.json"}  # which says when it was made
    assert {name for name, text in files(finished).items() if text != first[name]} <= changing
    finished.path.rename(tmp_path / "moved")
    report_run(tmp_path / "moved", heatmaps=False)
    assert read_json(tmp_path / "moved" / "metrics.json")["systems"] == before


def test_metrics_json_is_json(made):
    """One system, one fold done: stds are undefined, and JSON knows no NaN."""
    run = made.finished(keep=slice(1))
    report_run(run.path, heatmaps=False)
    text = (run.path / "metrics.json").read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


def test_heat_maps_without_memory_name_the_report_without_them(finished, monkeypatch):
    def explain(results):
        raise MemoryError

    monkeypatch.setattr("covid_keras.reporting.run._explain", explain)
    with pytest.raises(UserError, match=rf"ran out of memory.*report {finished.path} --no-heatmaps"):
        report_run(finished.path)
    assert not (finished.path / "report.html").exists()


@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
def test_a_missing_history_is_named_and_the_old_report_stays(finished, content):
    report_run(finished.path, heatmaps=False)
    before = files(finished)
    path = finished.executions()[0].folder / "history.csv"
    path.unlink()
    if content is not None:
        path.write_text(content)
    facts = finished.path / "facts.json"
    kept = facts.read_bytes()
    facts.write_text('{"duplicate_pairs": 3}')
    with pytest.raises(UserError, match=r"history\.csv"):
        report_run(finished.path, heatmaps=False)
    facts.write_bytes(kept)
    assert files(finished) == before


@pytest.mark.parametrize("room", [0, 20_000])
def test_on_a_full_disk_the_old_report_stays(finished, room):
    report_run(finished.path, heatmaps=False)
    before = files(finished)
    with full_disk(room), pytest.raises(UserError):
        report_run(finished.path, heatmaps=False)
    assert files(finished) == before
    assert not list(finished.path.rglob(".writing-*"))


@pytest.mark.parametrize(
    "content", ["[]", '{"lungs": []}', '{"whole_image_crops": {"a": 3}}', '{"duplicate_pairs": "x"}']
)
def test_damaged_facts_are_one_line_with_the_command_that_writes_them(finished, content):
    (finished.path / "facts.json").write_text(content)
    assert "covid-keras reproduce" in refused(r"facts\.json", report_run, finished.path, heatmaps=False)


def test_paths_are_cut_to_file_names(made):
    given = {"a": ["/home/me/x.h5", 1, None], "b": "C:\\me\\y.h5", "c": "1/2 of N / A"}
    assert without_folders(given) == {"a": ["x.h5", 1, None], "b": "y.h5", "c": "1/2 of N / A"}
    run, plain = made.run(weights="/home/me/resnet.h5"), made.run("plain")
    assert yaml.safe_load(read_protocol_text(run))["weights"] == "resnet.h5"
    assert read_protocol_text(plain) == (plain.path / "protocol.yaml").read_text(), "left as it is, byte by byte"
