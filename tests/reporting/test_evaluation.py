"""`covid_keras.evaluate` and its command: anybody's predictions, and nothing left out in silence."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef, roc_auc_score

from covid_keras.commands.main import main
from covid_keras.evaluation import summarise, write_predictions
from covid_keras.reporting.evaluation import evaluate
from tests.helpers.command import fails
from tests.helpers.predictions import make_predictions, two_by_three
from tests.helpers.refusals import refused

N = 80
RNG = np.random.default_rng(4)
TRUTH = np.arange(N) % 5 < 2
QUICK = {"resamples": 50}


def scores(skill: float) -> np.ndarray:
    return np.round(1 / (1 + np.exp(-(skill * (TRUTH - 0.5) + RNG.normal(size=N)))), 3)


MINE = pd.DataFrame(
    {
        "file": [f"scans/im{n:02d}.png" for n in range(N)],
        "diagnosis": np.where(TRUTH, "COVID-19", "normal"),
        "prob": scores(2),
        "subject": [f"p{n // 2}" for n in range(N)],
    }
)


def said(found) -> str:
    return " ".join(found.notes)


def test_metrics_are_those_of_the_table_with_intervals():
    found = evaluate(MINE, **QUICK)
    assert (found.positive, found.classes, found.decided_at) == ("COVID-19", ("normal", "COVID-19"), 0.5)
    called = MINE["prob"] >= 0.5
    value = {name: one.value for name, one in found.metrics.items()}
    assert value["auc"] == pytest.approx(100 * roc_auc_score(TRUTH, MINE["prob"]))
    assert value["f1_positive"] == pytest.approx(100 * f1_score(TRUTH, called))
    assert value["mcc"] == pytest.approx(matthews_corrcoef(TRUTH, called))
    assert value["precision_negative"] == pytest.approx(100 * (~TRUTH[~called]).mean())
    assert all(one.low <= one.value <= one.high for one in found.metrics.values())
    assert found.confusion.sum() == N
    assert found.curve["images"].sum() == N
    moved = evaluate(MINE, threshold=0.8, **QUICK)
    assert moved.metrics["sensitivity"].value == pytest.approx(100 * (MINE["prob"] >= 0.8)[TRUTH].mean())


def test_patients_are_drawn_not_images():
    rows = pd.concat([MINE.assign(file=MINE["file"] + str(n)) for n in range(4)])
    by_patient, by_image = (evaluate(rows, patient=name, resamples=300) for name in ("subject", "file"))
    widths = [found.metrics["accuracy"].high - found.metrics["accuracy"].low for found in (by_patient, by_image)]
    assert widths[0] > 1.6 * widths[1]
    assert "No column of patients" in said(evaluate(MINE.drop(columns="subject"), **QUICK))


@pytest.mark.parametrize(
    "table",
    [
        MINE.assign(diagnosis=TRUTH.astype(int)),
        MINE.assign(diagnosis=TRUTH),
        MINE.assign(diagnosis=TRUTH.astype(float)),
        MINE.assign(diagnosis=np.where(TRUTH, "covid 19 ", "Normal")),
        MINE.assign(**{"score_COVID-19": MINE["prob"], "score_normal": 1 - MINE["prob"]}).drop(columns="prob"),
        MINE.rename(columns={"prob": "prediction"}),
    ],
    ids=["0 and 1", "bool", "0.0 and 1.0", "spelling", "a score per class, positive first", "a prediction"],
)
def test_labels_and_scores_as_people_write_them(table):
    assert evaluate(table, **QUICK).metrics["auc"].value == pytest.approx(100 * roc_auc_score(TRUTH, MINE["prob"]))


def test_what_is_always_right_is_not_certain():
    found = evaluate(MINE.assign(prob=TRUTH * 0.8 + 0.1)[:10], **QUICK)
    assert {found.metrics[name].interval for name in ("accuracy", "sensitivity", "auc", "auprc")} == {"exact"}
    assert found.metrics["sensitivity"].low < found.metrics["accuracy"].low < 60
    assert np.isnan(found.metrics["mcc"].low)
    assert (found.curve["high"] - found.curve["low"] > 0.3).all()
    assert any("exact" in line for line in found.lines())


def test_columns_are_named_by_whoever_calls(tmp_path, capsys):
    odd = MINE.rename(columns={"diagnosis": "a", "prob": "b", "subject": "c", "file": "d"})
    odd.to_csv(tmp_path / "odd.csv", sep=";", index=False, encoding="utf-8-sig")
    columns = ["--label", "a", "--score", "b", "--patient", "c", "--image", "d"]
    assert main(["evaluate", str(tmp_path / "odd.csv"), *columns, "--json", "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (found["images"], found["patients"]) == (N, N // 2)
    assert found["metrics"]["auc"]["unit"] == "percent"
    made = {path.name for path in (tmp_path / "out").iterdir()}
    figures = {f"{name}.png" for name in ("roc", "precision_recall", "calibration", "scores", "confusion")}
    assert made == {"evaluation.json", *figures}
    assert main(["evaluate", str(tmp_path / "odd.csv"), *columns]) == 0
    out = capsys.readouterr().out
    assert "AUC" in out
    assert f"{N} images of {N // 2} patients" in out


def with_cell(column, value, row=3):
    table = MINE.astype(object).copy()
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "note", "images"),
    [
        (with_cell("diagnosis", ""), r"LEFT OUT: 1 of 80 rows without a label in 'diagnosis' (scans/im03.png)", N - 1),
        (with_cell("diagnosis", None), "without a label", N - 1),
        (with_cell("prob", np.nan), "LEFT OUT: 1 of 80 rows without a score in 'prob' (scans/im03.png)", N - 1),
        (with_cell("subject", ""), "1 rows have no patient", N),
        (with_cell("subject", "P0 "), "other spellings", N),
        (pd.concat([MINE, MINE[:2]]), "LEFT OUT: 2 exact repetitions", N),
        (MINE[MINE["diagnosis"] == "normal"], "All images are normal", 48),
        (MINE.assign(subject="p"), "All images are of one patient", N),
        (with_cell("prob", 1), "1 scores within 1e-06 of 0 or 1", N),
        (MINE.assign(prob=TRUTH * 0.8 + 0.1), "No calibration slope", N),
        (MINE.assign(predicted=MINE["diagnosis"]).drop(columns="prob"), "no scores", N),
    ],
)
def test_what_is_odd_is_said(table, note, images):
    found = evaluate(table, positive="COVID-19", **QUICK)
    assert note in said(found)
    assert found.own.frame["image_id"].nunique() == images
    assert found.lines()
    json.dumps(found.report(), allow_nan=False)
    assert list(found.figures())


@pytest.mark.parametrize(
    ("table", "options", "words"),
    [
        (MINE, {"label": "nowhere"}, "--label nowhere: predictions has no such column; it has 'file'"),
        (MINE.drop(columns="diagnosis"), {}, "no column of labels"),
        (MINE.drop(columns="prob"), {}, "neither scores nor decisions"),
        (MINE, {"score": "subject"}, "must contain numbers .got 'p0', scans/im00.png"),
        (with_cell("prob", 1.7), {}, r"1 scores in column 'prob' lie outside 0..1, the first is 1.7 \(scans/im03"),
        (with_cell("prob", np.inf), {}, "outside 0..1"),
        (MINE.assign(diagnosis="x"), {}, "labels x, of which none"),
        (MINE.assign(diagnosis=np.where(TRUTH, "a", "b")), {}, "labels a, b, of which none"),
        (MINE, {"positive": "flu"}, "--positive flu: "),
        (MINE, {"threshold": 50}, "--threshold: must be from 0 to 1 \\(got 50\\)"),
        (MINE.assign(diagnosis=""), {}, "has no label"),
        (pd.concat([MINE, MINE[:1].assign(prob=0.5)]), {}, "lists image scans/im00.png more than once"),
        (MINE.assign(score_a=0.5, score_b=0.5), {}, "has 'COVID-19'"),
        (MINE, {"system": "net"}, "system net"),
        (MINE.drop(columns="file"), {"against": MINE}, "no column of images"),
        (MINE, {"against": MINE.assign(file=[f"other{n}" for n in range(N)])}, "none of the images"),
        (
            MINE,
            {"labels": pd.concat([MINE, MINE[:1].assign(diagnosis="normal")])},
            "labels: lists image scans/im00.png",
        ),
        (MINE, {"against": with_cell("diagnosis", "normal", row=0)}, "labels image scans/im00.png normal"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(table, options, words):
    refused(words, evaluate, table, **options, **QUICK)


def test_more_classes_and_one_of_them_against_the_rest(tmp_path):
    names, rng = np.array(["normal", "CAP", "COVID-19"]), np.random.default_rng(0)
    truth, parts = rng.integers(0, 3, N), rng.dirichlet([1, 1, 1], N)
    table = pd.DataFrame({"label": names[truth]} | {f"probability_{name}": parts[:, k] for k, name in enumerate(names)})
    found = evaluate(table, **QUICK)
    areas = [roc_auc_score(truth == k, parts[:, k]) for k in range(3)]
    assert found.metrics["auc"].value == pytest.approx(100 * np.mean(areas))
    assert found.metrics["accuracy"].value == pytest.approx(100 * (parts.argmax(1) == truth).mean())
    assert {"recall_CAP", "macro_f1", "mcc"} <= set(found.metrics)
    found.write(tmp_path)
    assert {"roc.png", "confusion.png"} <= {path.name for path in tmp_path.iterdir()}
    one = evaluate(table, positive="CAP", **QUICK)
    assert (one.positive, one.metrics["auc"].value) == ("CAP", pytest.approx(100 * areas[1]))


def test_what_predict_writes_fits_with_a_table_of_labels():
    predict = pd.DataFrame({"image": MINE["file"], "predicted": "", "error": ""})
    predict["predicted"] = np.where(MINE["prob"] >= 0.7, "COVID-19", "normal")
    predict = predict.assign(**{"probability_normal": 1 - MINE["prob"], "probability_COVID-19": MINE["prob"]})
    labels = MINE[["file", "diagnosis", "subject"]].assign(file=[f"im{n:02d}" for n in range(N)])[::-1][:70]
    found = evaluate(predict, labels=labels, **QUICK)
    assert "LEFT OUT: 10 of 80 images" in said(found)
    assert found.own.frame["patient_id"].nunique() == 35
    called = (MINE["prob"] >= 0.7)[-70:]
    assert found.metrics["sensitivity"].value == pytest.approx(100 * called[TRUTH[-70:]].mean())
    assert found.decided_at is None


@pytest.mark.parametrize("spelling", ["/data/scans/{}.png", "scans\\{}.png", "{}.PNG", "{}", "other/{}.dcm"])
def test_images_are_matched_by_the_parts_of_their_names_that_tell_them_apart(spelling):
    labels = MINE.assign(file=[spelling.format(f"im{n:02d}") for n in range(N)])[["file", "diagnosis"]]
    found = evaluate(MINE.drop(columns="diagnosis"), labels=pd.concat([labels, labels[:5]]), **QUICK)
    assert found.metrics["auc"].value == evaluate(MINE, **QUICK).metrics["auc"].value
    assert "LEFT OUT" not in said(found)


def test_files_of_one_name_in_two_folders_are_two_images():
    two = pd.concat([MINE, MINE.assign(file=MINE["file"].str.replace("scans", "more"), prob=MINE["prob"][::-1])])
    found = evaluate(two.drop(columns="diagnosis"), labels=two.assign(file="/data/" + two["file"])[::-1], **QUICK)
    assert found.metrics["auc"].value == evaluate(two, **QUICK).metrics["auc"].value


def test_a_run_gives_what_its_report_gives(tmp_path, capsys):
    frame = two_by_three()
    both = pd.concat([frame, frame.assign(system="other")])
    path = write_predictions(tmp_path / "predictions.csv", both)
    assert "several systems: ours, other" in fails(capsys, "evaluate", path)
    found = evaluate(path, system="ours", resamples=1000)
    for one in summarise(frame):
        if one.metric in found.metrics and not one.metric.startswith("accuracy_"):
            assert found.metrics[one.metric].value == pytest.approx(one.mean, abs=1e-6)
            assert found.metrics[one.metric].low == pytest.approx(one.low, abs=1e-6)


def test_the_difference_is_paired_by_image():
    theirs = MINE.assign(prob=scores(0.5), file=[f"im{n:02d}.jpg" for n in range(N)])
    theirs = theirs.drop(columns=["diagnosis", "subject"])[10:].sample(frac=1, random_state=0)
    found = evaluate(MINE, against=theirs, resamples=300)
    gap, other = found.comparison.differences["auc"], theirs.sort_index()["prob"]
    expected = 100 * (roc_auc_score(TRUTH[10:], MINE["prob"][10:]) - roc_auc_score(TRUTH[10:], other))
    assert (found.comparison.images, found.comparison.patients) == (N - 10, (N - 10) // 2)
    assert gap.value == pytest.approx(expected) == found.comparison.delong.difference
    assert (gap.low, gap.high) == pytest.approx((found.comparison.delong.low, found.comparison.delong.high), abs=4)
    assert "10 of 80 images of predictions are not in" in said(found)
    same = evaluate(MINE, against=MINE, **QUICK).comparison
    assert {(one.value, one.low, one.high) for one in same.differences.values()} == {(0, 0, 0)}
    assert same.delong.p == 1
    assert any("DeLong" in line for line in found.lines())


def test_two_systems_of_a_run_are_compared_without_delong(tmp_path):
    frame = two_by_three()
    path = write_predictions(tmp_path / "run.csv", pd.concat([frame.assign(system=name) for name in "ab"]))
    found = evaluate(path, system="a", against=path, against_system="b", **QUICK)
    assert found.comparison.delong is None
    assert found.comparison.differences["accuracy"].value == 0
    assert "several executions" in said(found)


def test_nothing_is_written_where_something_is_wrong(tmp_path, capsys):
    make_predictions(["N", "P"], [0.2, 1.4]).to_csv(tmp_path / "wrong.csv", index=False)
    fails(capsys, "evaluate", tmp_path / "wrong.csv", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("")
    assert "--out" in fails(capsys, "evaluate", tmp_path / "wrong.csv", "--out", tmp_path / "file")
