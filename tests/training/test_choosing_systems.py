"""Systems that learn their scale first, let images through to others, and are chosen among; a paper's own numbers."""

from __future__ import annotations

import dataclasses
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from covid_keras.commands import reproduce as workflow
from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.evaluation import read_predictions
from covid_keras.evaluation.counts import balanced_accuracy
from covid_keras.paper.registered import load_paper
from covid_keras.training import preparing
from covid_keras.training.executions import BEST
from covid_keras.training.plan import Plan, missing_systems
from covid_keras.training.runfolder import RunFolder
from tests.helpers import made_papers
from tests.helpers.executions import finish, without
from tests.helpers.made_papers import REFUSED, report

pytestmark = pytest.mark.slow


def _frame(run, name: str) -> pd.DataFrame:
    return read_predictions(run.execution(name, 0, 0).predictions)


def _record(run, name: str) -> dict:
    return read_json(run.execution(name, 0, 0).record)


def _weights(run, name: str) -> list[np.ndarray]:

    return run.execution(name, 0, 0).network.get_weights()


def _refused(run) -> pd.Series:
    return run.cohort.table["patient_id"].isin(REFUSED)


# --- who is chosen


def _answers(right: int, wrong: int, sure: float) -> list[tuple[str, float]]:
    """So many right and wrong answers about P, each with the score `sure` of the class decided for."""
    return [("P", sure)] * right + [("P", 1 - sure)] * wrong


def _finish(execution, **parts: list[tuple[str, float]]) -> None:
    """Leave an execution as done with predictions: of each part, label and score of P of each image."""
    rows = [(part, *answer) for part, answers in parts.items() for answer in answers]
    frame = pd.DataFrame(rows, columns=["split", "label", "score_P"])
    frame["image_id"] = frame["patient_id"] = [f"i{number}" for number in range(len(frame))]
    frame = frame.assign(path="", source="made", severity="", system=execution.system.name, repeat=0, fold=0)
    frame["predicted"] = np.where(frame["score_P"] > 0.5, "P", "N")
    frame["score_N"] = 1 - frame["score_P"]
    finish(execution, frame)


CHOICES = [
    (_answers(3, 1, 0.9), _answers(4, 0, 0.9), "second"),
    (_answers(4, 0, 0.9), _answers(3, 1, 0.9), "first"),
    (_answers(4, 0, 0.51), [*_answers(3, 0, 0.99), ("P", 0.49)], "first"),  # sure, but less often right
    (_answers(3, 1, 0.9), _answers(3, 1, 0.6), "second"),  # as often right, less sure where it is wrong
    (_answers(4, 0, 0.8), _answers(4, 0, 0.9), "second"),
    (_answers(4, 0, 0.9), _answers(4, 0, 0.9), "first"),
    (_answers(3, 1, 1.0), _answers(3, 1, 0.9), "second"),  # the score 0 of the truth is very bad, and no error
]


@pytest.mark.parametrize(("first", "second", "expected"), CHOICES)
def test_the_validation_part_alone_decides(make_run, first, second, expected):
    """Whoever is right about every image of the training and the test part."""
    run = make_run("run", "choosing", systems=["better"])
    for elsewhere in ("first", "second", ""):
        for name, answers in (("first", first), ("second", second)):
            other = _answers(0, 9, 0.99) if elsewhere and name != elsewhere else _answers(9, 0, 0.99)
            _finish(run.execution(name, 0, 0), validation=answers, test=other, train=other)
        better = run.execution("better", 0, 0)
        assert better.system.chosen(better) == expected


def test_nothing_is_chosen_before_all_are_done(make_run):
    run = make_run("run", "choosing", systems=["better"])
    for name, fold in (("first", 0), ("second", 0), ("first", 1)):
        _finish(run.execution(name, 0, fold), validation=_answers(1, 0, 0.9))
    done, other = (run.execution("better", 0, fold) for fold in (0, 1))
    assert done.system.chosen(done) == "first"
    with pytest.raises(UserError, match="second repeat 1 fold 2: is not done, and better repeat 1 fold 2"):
        other.system.chosen(other)


def test_the_better_one_is_chosen_and_not_trained(chosen):
    for name, among in (("better", ("first", "second")), ("best", ("next", "other"))):
        right = {}
        for one in among:
            validation = _frame(chosen.run, one).query("split == 'validation'")
            right[one] = (validation["label"] == validation["predicted"]).mean()
        picked = max(right, key=right.get)
        assert right[picked] > min(right.values()), "the fixture's two are not equally good"
        record = _record(chosen.run, name)
        assert (record["chosen"], record["epochs"], record["best_epoch"]) == (picked, 0, -1)
        assert not (chosen.run.execution(name, 0, 0).folder / BEST).exists()
        ours, theirs = _frame(chosen.run, name), _frame(chosen.run, picked)
        theirs = theirs[theirs["split"].isin(set(ours["split"]))].reset_index(drop=True).assign(system=name)
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-5)
    assert "chosen" not in _record(chosen.run, "first")


def test_its_network_is_that_of_the_chosen_one(chosen):
    picked, other = _record(chosen.run, "best")["chosen"], {"next", "other"}
    (other,) = other - {picked}
    weights = {name: _weights(chosen.run, name) for name in ("best", picked, other)}
    assert all(map(np.array_equal, weights["best"], weights[picked]))
    assert not all(map(np.array_equal, weights["best"], weights[other]))


# --- what is predicted, and who takes part


def test_the_parts_that_a_system_names_are_predicted(chosen):
    found = {name: set(_frame(chosen.run, name)["split"]) for name in ("first", "better", "next", "best")}
    assert found == {
        "first": {"validation", "test"},
        "better": {"validation", "test"},
        "next": {"train", "validation", "test"},
        "best": {"test"},
    }


def test_what_is_refused_takes_no_part(chosen):
    """Neither in training nor in test; who builds on nobody keeps it."""
    run, refused = chosen.run, _refused(chosen.run)
    fold, ids = run.part(0, 0), run.cohort.table["image_id"]
    counts = fold.groupby(refused).value_counts()
    assert all(counts[name, part] > 0 for name in (True, False) for part in ("train", "validation", "test"))
    frame = _frame(run, "next").set_index("image_id")["split"]
    assert frame.to_dict() == dict(zip(ids[~refused], fold[~refused], strict=True))
    for name in ("next", "other", "best"):
        assert _record(run, name)["images"] == counts[False].to_dict(), name
    for name in ("first", "better", "apart"):
        assert _record(run, name)["images"] == fold.value_counts().to_dict(), name
    assert set(_frame(run, "best")["image_id"]) == set(ids[~refused & (fold == "test")])
    assert np.load(chosen.saw / "asked-better.npy").all(), "asked once the system it builds on was done"


def test_images_are_asked_for_only_where_a_system_refuses_some(make_run):
    run = make_run("run", "choosing", systems=["best"])
    first, later = run.execution("first", 0, 0), run.execution("next", 0, 0)
    part = later.division
    assert first.part is first.division
    with pytest.raises(UserError, match="better repeat 1 fold 1: is not done, and next repeat 1 fold 1 builds on it"):
        _ = later.part
    _finish(run.execution("better", 0, 0), validation=_answers(1, 0, 0.9))
    left = later.part
    assert left.dtype == object
    assert left.tolist() == np.where(_refused(run), "", part).tolist()
    assert (part == later.division).all(), "the parts themselves are not changed"


def test_the_range_test_sees_what_the_training_sees(chosen):
    from covid_keras.training.execution import untrained

    run, images = chosen.run, {}
    for name in ("first", "next"):
        model, batches = untrained(run.execution(name, 0, 0))
        images[name] = sum(len(batch) for batch, _ in batches)
        assert images[name] == _record(run, name)["images"]["train"]
        np.testing.assert_allclose(_scale(model), _scale_of(run, name), rtol=1e-5)
    assert images["next"] < images["first"]


# --- what is learnt before any step


def _scale(model) -> tuple[float, float]:
    layer = model.get_layer("standardise")
    return float(layer.mean.numpy()), float(layer.std.numpy())


def _scale_of(run, name: str, *parts: str) -> tuple[float, float]:
    """Mean and std of the prepared images of some parts (training by default), each normalised, by numpy."""
    execution = run.execution(name, 0, 0)
    images = execution.prepared.batch(np.flatnonzero(np.isin(execution.part, parts or ("train",)))).astype(np.float64)
    low, high = (reduce(axis=(1, 2, 3), keepdims=True) for reduce in (images.min, images.max))
    images = (images - low) / (high - low)
    return images.mean(), images.std()


def test_a_scale_is_learnt_from_the_training_images_and_kept(chosen):
    found = {}
    for name in ("first", "next"):
        found[name] = _scale(chosen.run.execution(name, 0, 0).network)
        np.testing.assert_allclose(found[name], _scale_of(chosen.run, name), rtol=1e-5)
        everything = _scale_of(chosen.run, name, "train", "validation", "test")
        assert not np.allclose(found[name], everything, rtol=1e-4), "it would show if other images had a say"
    assert found["first"] != found["next"]


# --- what is left out


@pytest.mark.parametrize(
    ("missing", "left_out"),
    [
        ("second", ["second", "better", "next", "other", "best"]),
        ("first", ["first", "better", "next", "other", "best"]),
        ("other", ["other", "best"]),
        ("best", ["best"]),
        ("apart", ["apart"]),
    ],
)
def test_who_chooses_among_what_is_left_out_is_left_out(tiny_paper, missing, left_out):
    paper = without(load_paper("choosing"), missing)
    protocol = paper.protocol("smoke", {"systems": ["best", "apart"]})
    assert missing_systems(paper, protocol, None) == dict.fromkeys(left_out, "no file")


# --- the paper's own numbers, sections and files


@pytest.fixture
def results(chosen, publish):
    """The run's, the paper's folder one that may be written."""
    from covid_keras.reporting.results import Results

    columns = {"Balanced": "balanced_accuracy", "Dice": "dice"}
    publish("choosing", columns, {"Best": ("best", ["75.00", "-"]), "Stage": ("stage", ["-", "88.00"])})
    return Results.of(RunFolder.open(chosen.run.path))


def test_further_metrics_and_stages_are_measured_and_compared(results):
    measured = {(one.system, one.metric): one for one in results.measured}
    assert ("best", "accuracy") in measured, "the usual ones stay"
    for name in results.systems:
        test = results.predictions_of(name).query("split == 'test'")
        matrix = pd.crosstab(test["label"], test["predicted"]).reindex(["N", "P"], columns=["N", "P"], fill_value=0)
        assert measured[name, "balanced_accuracy"].mean == pytest.approx(float(balanced_accuracy(matrix.to_numpy())))
    assert measured["stage", "dice"].mean == 90
    rows = results.comparison.set_index(["row", "column"])
    assert rows.loc[("Stage", "Dice"), "ours"] == 90
    assert rows.loc[("Best", "Balanced"), "ours"] == measured["best", "balanced_accuracy"].mean


def test_the_papers_pairs_are_compared_where_both_were_run(results, monkeypatch):
    from covid_keras.reporting.page import _pairs

    assert _pairs(results) == [("best", "apart")]
    own = dataclasses.replace(report.REPORT, pairs=None, proposed=("best",))
    monkeypatch.setattr(report, "REPORT", own)
    results.__dict__.pop("report", None)
    assert {frozenset(pair) for pair in _pairs(results)} > {frozenset(("best", "next"))}
    assert all(pair[0] == "best" for pair in _pairs(results))


def test_the_papers_sections_are_in_the_report_after_the_comparison(results):
    from covid_keras.reporting.page import make_report

    titles = [section.title for section in make_report(results, {}).sections]
    assert titles.count("Only here") == 1
    assert titles.index("Only here") > titles.index("How the networks decide")


def test_further_files_are_published(results, tmp_path, monkeypatch):
    from covid_keras.reporting import publish

    (tmp_path / "setup.cfg").touch()
    (tmp_path / "README.md").write_text("no place here\n")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "README.md").write_text("nor here\n")
    monkeypatch.setattr(publish, "ROOT", tmp_path)
    monkeypatch.setattr(publish, "FOLDER", tmp_path / "weights")
    folder = publish.publish_run(results.run.path)
    assert (folder / "smoke-extra.csv").read_text() == "executions\n7\n"
    systems = read_json(folder / "smoke.json")["systems"]
    assert systems["stage"]["metrics"]["dice"]["mean"] == 90
    assert systems["best"]["metrics"]["balanced_accuracy"]["executions"] == 1


# --- the whole way


@pytest.mark.parametrize("done", [True, False])
def test_what_is_trained_beside_comes_before_the_report(tiny_paper, tmp_path, monkeypatch, done, capsys):
    said = []

    class Finishing(made_papers.Made):
        def finish(self, protocol, data, cache):
            said.append(("finish", data, cache))

    plan = _plan(tmp_path, Finishing)
    executions = [SimpleNamespace(done=one) for one in (True, done)]
    run = SimpleNamespace(
        path=plan.out, executions=lambda: executions, paper=plan.paper, protocol=plan.protocol, used=None, cohort=None
    )
    for name in ("print_grades", "print_work"):
        monkeypatch.setattr(f"covid_keras.commands.planning.{name}", lambda *given: None)
    monkeypatch.setattr("covid_keras.training.plan.make_plan", lambda options: plan)
    monkeypatch.setattr("covid_keras.training.preparing.prepare_run", lambda given: run)
    monkeypatch.setattr("covid_keras.training.schedulers.run_executions", lambda *given: said.append("executions"))
    monkeypatch.setattr("covid_keras.reporting.run.report_run", lambda path: said.append("report") or path)
    assert workflow.reproduce(Namespace(shard="1/1", dask=None, jobs=1, restart=[], dry_run=False)) == 0
    assert said == ["executions", *([("finish", plan.data, plan.cache), "report"] if done else [])]
    assert ("left to other shards" in capsys.readouterr().out) != done


def test_the_papers_own_segmenter_marks_the_lungs(tiny_paper, tiny_cohort, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(
        "covid_keras.models.lung_masks.segment_cohort", lambda *args, lungs: given.append(args) or ("c", {})
    )

    class Segmenting(made_papers.Made):
        def segmenter(self, protocol, data, cache):
            return protocol, data, cache

    own = _plan(tmp_path, Segmenting)
    assert preparing._segment(own, tiny_cohort) == ("c", {})
    preparing._segment(_plan(tmp_path, made_papers.Made), tiny_cohort)
    assert given[0] == (tiny_cohort, own.cache, (own.protocol, own.data, own.cache))
    assert given[1] == (tiny_cohort, own.cache, None), "the shipped one"


def _plan(tmp_path: Path, kind: type[made_papers.Made]) -> Plan:
    """A plan of the paper `choosing`, of another class."""
    same = made_papers.CHOOSING
    paper = kind(**{one.name: getattr(same, one.name) for one in dataclasses.fields(same)})
    protocol = paper.protocol("smoke", {"systems": ["first"]})
    return Plan(paper, protocol, tmp_path / "data", tmp_path / "run", tmp_path / "cache", {"left_out": {}})
