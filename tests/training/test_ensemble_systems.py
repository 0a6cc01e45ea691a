"""Ensembles as systems of a paper: made of their members' predictions, once these are done, and of nothing else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json, sha256_of, write_record
from covid_keras.evaluation import read_predictions, write_predictions
from covid_keras.evaluation.ensembles import average_predictions, vote_predictions
from covid_keras.paper.registered import load_paper
from covid_keras.training.executions import Execution
from covid_keras.training.plan import missing_systems
from covid_keras.training.runfolder import RunFolder
from tests.helpers.executions import finish, overriding, without

MEMBERS, ENSEMBLES = ("staged", "idle"), ("mean", "vote")
PARAMETERS = {"staged": 1200, "idle": 34}


def _finish(run: RunFolder, name: str, fold: int = 0, seed: int = 0, parts: tuple[str, ...] = ()) -> Execution:
    """Leave a member as done, with made scores for the images of its parts; `idle` guesses, `staged` is often right."""
    execution, part = run.execution(name, 0, fold), run.part(0, fold)
    parts = parts or load_paper("unfreezing").system(name).parts
    table = run.cohort.table[part.isin(parts).to_numpy()].reset_index(drop=True)
    rng = np.random.default_rng([seed, len(name)])
    told = np.where(table["label"] == "P", 0.6, 0.4) if name == "staged" else 0.5
    positive = np.clip(told + rng.uniform(-0.2, 0.2, len(table)), 0, 1).astype(np.float32)
    frame = table[["image_id", "path", "patient_id", "source", "severity", "label"]].assign(
        system=name,
        repeat=0,
        fold=fold,
        split=part[part.isin(parts)].to_numpy(),
        predicted=np.where(positive >= 0.5, "P", "N"),
        score_N=1 - positive,
        score_P=positive,
    )
    device = {"device": {"gpus": [name]}, "policy": "float32"}
    return finish(execution, frame, parameters=PARAMETERS[name], **device)


def _execute(run: RunFolder, name: str, fold: int = 0) -> Execution:
    from covid_keras.training.execution import execute

    execution = run.execution(name, 0, fold)
    execution.folder.mkdir(parents=True, exist_ok=True)
    execute(execution)
    return execution


@pytest.fixture
def run(make_run) -> RunFolder:
    return make_run("run", "unfreezing", systems=["mean", "vote"])


# --- what is declared


def test_an_ensemble_comes_after_its_members_in_one_chain(run):
    paper = load_paper("unfreezing")
    assert paper.chain("mean") == [*MEMBERS, "mean"]
    assert run.protocol.systems == (*MEMBERS, "mean", "vote")
    assert [[one.system.name for one in chain] for of_fold in run.chains() for chain in of_fold] == [
        [*MEMBERS, *ENSEMBLES]
    ] * 2  # fmt: skip
    system = paper.system("mean")
    assert system.below == system.members == MEMBERS


# --- executed


@pytest.mark.parametrize(("name", "combine"), [("mean", average_predictions), ("vote", vote_predictions)])
def test_predictions_are_those_of_the_members_combined(run, name, combine):
    frames = [read_predictions(_finish(run, member, 1, parts=("validation", "test")).predictions) for member in MEMBERS]
    for member in MEMBERS:
        _finish(run, member, 0, seed=5)  # another fold's, not to be mixed up
    execution = _execute(run, name, 1)
    assert execution.done
    expected = combine(frames, system=name)
    found = read_predictions(execution.predictions)
    pd.testing.assert_frame_equal(found, expected.frame)
    assert set(found["system"]) == {name}
    assert set(found["fold"]) == {1}
    part = run.part(0, 1)
    assert set(found["image_id"]) == set(run.cohort.table["image_id"][part.isin(("validation", "test"))])
    record = read_json(execution.record)
    assert record["combined"] == expected.facts
    if name == "vote":
        assert record["combined"][0]["weights"] is None


def test_the_average_is_the_members_scores_by_the_weights_of_the_record(run):
    """By hand, apart from the functions that made it."""
    frames = [read_predictions(_finish(run, member, parts=("validation", "test")).predictions) for member in MEMBERS]
    execution = _execute(run, "mean")
    (fact,) = read_json(execution.record)["combined"]
    weights = fact["weights"]
    assert sum(weights) == pytest.approx(1)
    scores = sum(weight * frame["score_P"] for weight, frame in zip(weights, frames, strict=True))
    found = read_predictions(execution.predictions)
    np.testing.assert_allclose(found["score_P"], scores, atol=1e-6)
    assert found["predicted"].tolist() == np.where(scores >= 0.5, "P", "N").tolist()
    validation = [frame.query("split == 'validation'") for frame in frames]
    right = [100 * (frame["label"] == frame["predicted"]).mean() for frame in validation]
    assert fact["accuracy"] == pytest.approx(right)


def test_the_record_is_of_an_execution_like_any_other(run):
    for member in MEMBERS:
        _finish(run, member)
    execution = _execute(run, "mean")
    record = read_json(execution.record)
    assert record["parameters"] == sum(PARAMETERS.values())
    assert (record["system"], record["repeat"], record["fold"]) == ("mean", 0, 0)
    assert (record["epochs"], record["best_epoch"]) == (0, -1)
    assert (record["device"], record["policy"]) == ({"gpus": ["staged"]}, "float32")
    assert record["cohort_fingerprint"] == run.record["cohort_fingerprint"]
    assert record["predictions_sha256"] == sha256_of(execution.predictions)
    part = run.part(0, 0)
    # `idle` does not predict the training part, so the ensemble has none.
    assert record["images"] == {"train": 0} | {name: (part == name).sum() for name in ("validation", "test")}
    assert {path.name for path in execution.folder.iterdir()} <= {"predictions.csv", "execution.json", ".lock"}, (
        "no history, no weights"
    )
    written = execution.predictions.stat().st_mtime_ns
    _execute(run, "mean")
    assert execution.predictions.stat().st_mtime_ns == written, "done once"


def test_nothing_is_combined_before_all_members_are_done(run):
    _finish(run, "staged")
    _finish(run, "idle", fold=1)
    with pytest.raises(UserError, match="idle repeat 1 fold 1: is not done, and mean repeat 1 fold 1"):
        _execute(run, "mean")
    execution = run.execution("mean", 0, 0)
    assert not execution.done
    assert not execution.predictions.exists()
    idle = _finish(run, "idle")
    idle.predictions.write_text("edited")
    with pytest.raises(UserError, match="idle repeat 1 fold 1: is not done"):
        _execute(run, "mean")


def test_members_on_other_images_are_refused(run):
    _finish(run, "staged")
    idle = _finish(run, "idle")
    frame = read_predictions(idle.predictions)
    write_predictions(idle.predictions, frame.drop(index=len(frame) - 1))
    write_record(idle.record, idle.details | {"predictions_sha256": sha256_of(idle.predictions)})
    with pytest.raises(UserError, match="image"):
        _execute(run, "mean")
    assert not run.execution("mean", 0, 0).done


def test_the_protocol_is_handed_over(run):
    from covid_keras.training.execution import Training

    given = []

    def combine(self, protocol, frames):
        given.append((protocol, [frame["system"].iloc[0] for frame in frames]))
        return vote_predictions(frames, system=self.name)

    for member in MEMBERS:
        _finish(run, member)
    execution = run.execution("mean", 0, 0)
    execution = dataclasses.replace(execution, system=overriding(execution.system, combine=combine))
    assert set(execution.system.run(Training(execution)).frame["system"]) == {"mean"}
    assert given == [(run.protocol, [*MEMBERS])]


# --- weights are chosen on the validation part


def test_test_images_choose_no_weight(run):
    """Turning the truth of the test part around changes no weight and no score; of the validation part it does."""
    for member in MEMBERS:
        _finish(run, member)
    execution = _execute(run, "mean")
    fact, frame = read_json(execution.record)["combined"][0], read_predictions(execution.predictions)
    assert fact["weights"] != [0.5, 0.5], "something was chosen"
    other = {}
    for part in ("test", "validation"):
        execution.record.unlink()
        for member in MEMBERS:
            _relabel(_finish(run, member), part)
        other[part] = read_json(_execute(run, "mean").record)["combined"][0]
        if part == "test":
            again = read_predictions(execution.predictions)
            assert (again["label"] != frame["label"]).sum() == (frame["split"] == "test").sum()
            for column in ("score_N", "score_P", "predicted"):
                assert again[column].tolist() == frame[column].tolist()
    assert other["test"] == fact
    assert other["validation"]["weights"] != fact["weights"]


def _relabel(execution: Execution, part: str) -> None:
    """Turn the truth of a part around in the predictions of a member."""
    frame = read_predictions(execution.predictions)
    turned = frame["label"].map({"N": "P", "P": "N"})
    write_predictions(execution.predictions, frame.assign(label=frame["label"].where(frame["split"] != part, turned)))
    write_record(execution.record, execution.details | {"predictions_sha256": sha256_of(execution.predictions)})


# --- no network, no training


def test_an_ensemble_has_no_network(run):
    assert run.execution("mean", 0, 0).network is None


def test_an_ensemble_is_not_exported(run, tmp_path):
    from covid_keras.training.export import export_weights

    with pytest.raises(UserError, match="no weights of its own"):
        export_weights(run.path, "mean", tmp_path / "mean.h5")


# --- what is left out


@pytest.mark.parametrize(
    ("missing", "left_out"),
    [("idle", ["idle", *ENSEMBLES]), ("staged", ["staged", *ENSEMBLES]), ("vote", ["vote"])],
)
def test_an_ensemble_of_what_is_left_out_is_left_out(tiny_paper, tmp_path, missing, left_out):
    paper = without(load_paper("unfreezing"), missing)
    protocol = paper.protocol("smoke", {"systems": ["mean", "vote", "whole"]})
    assert missing_systems(paper, protocol, None) == dict.fromkeys(left_out, "no file")


def test_what_is_left_out_is_not_run(make_run):
    run = make_run("run", "unfreezing", systems=["mean", "whole"], left_out=dict.fromkeys(("idle", "mean"), "no file"))
    assert {one.system.name for one in run.executions()} == {"staged", "whole"}
