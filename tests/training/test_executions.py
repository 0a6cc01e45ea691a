"""Executions: a fresh process each, resumed after a real kill, done only once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json, read_record, write_record, write_text
from covid_keras.data.splits import read_split
from covid_keras.evaluation import compute_metrics, read_predictions
from covid_keras.paper.protocol import load_protocol
from covid_keras.paper.registered import load_paper, load_papers
from covid_keras.training.executions import Execution
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.schedulers import Processes, log_of, run_executions
from covid_keras.training.worker import task_line, worker_command
from tests.helpers.command import fails

pytestmark = pytest.mark.slow


def _start(run: RunFolder, fold: int, system: str = "a") -> subprocess.Popen:
    pipe, log = subprocess.PIPE, log_of(run.execution(system, 0, fold))
    process = subprocess.Popen(worker_command(run.path), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    process.stdin.write(task_line(system, 0, fold, log))
    process.stdin.close()
    return process


def _train_here(execution: Execution) -> None:
    from covid_keras.training.devices import fresh_state
    from covid_keras.training.execution import execute

    with fresh_state():
        execute(execution)


def test_killed_and_resumed_gives_the_same_predictions(make_run):
    whole, killed = make_run("whole"), make_run("killed")
    assert _start(whole, 0).wait() == 0
    process = _start(killed, 0)
    for line in process.stdout:
        if line.startswith("@progress") and '"epoch": 2' in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    one, other = whole.execution("a", 0, 0), killed.execution("a", 0, 0)
    assert process.returncode == -signal.SIGKILL
    assert not other.done
    assert (other.folder / "state.npz").is_file()
    assert _start(killed, 0).wait() == 0
    assert other.predictions.read_bytes() == one.predictions.read_bytes()
    history = [pd.read_csv(execution.folder / "history.csv") for execution in (one, other)]
    pd.testing.assert_frame_equal(*history)
    assert not (other.folder / "state.npz").exists()
    assert read_json(other.record)["best_epoch"] == read_json(one.record)["best_epoch"]


def test_cross_validation_trains_each_execution_once(make_run, monkeypatch):
    monkeypatch.setenv("COVID_KERAS_QUIET", "1")
    run = make_run("run")
    run_executions(run, (1, 2))
    assert [execution.done for execution in run.executions()] == [True, False]
    written = run.execution("a", 0, 0).predictions.stat().st_mtime_ns
    run_executions(run)
    assert all(execution.done for execution in run.executions())
    assert run.execution("a", 0, 0).predictions.stat().st_mtime_ns == written
    frame = read_predictions([execution.predictions for execution in run.executions()])
    test = frame[frame["split"] == "test"]
    assert sorted(test["image_id"]) == sorted(run.cohort.table["image_id"])
    assert np.isfinite(compute_metrics(test[test["fold"] == 0])["accuracy"])
    # A training whose predictions were touched afterwards is not done.
    run.execution("a", 0, 0).predictions.write_text("edited")
    assert not run.execution("a", 0, 0).done


def test_a_run_folder_is_of_one_protocol(make_run):
    run = make_run("run")
    assert RunFolder.open(run.path).protocol == run.protocol
    with pytest.raises(UserError, match=r"not trained yet: protocol\.training\.epochs is 4 there and 5 here"):
        make_run("run", training={"epochs": 5})
    again = make_run("run")
    pd.testing.assert_frame_equal(read_split(run.path / "splits.csv"), again.splits)
    with pytest.raises(UserError, match="is not a run folder"):
        RunFolder.open(run.path.parent)


@pytest.mark.parametrize("name", ["protocol.yaml", "cohort.csv"])
def test_edited_or_lost_files_of_a_run_are_named(make_run, name):
    run = make_run("run")
    (run.path / name).write_text((run.path / name).read_text() + "\n")
    with pytest.raises(UserError, match=f"{name}: was changed after the run began"):
        _ = RunFolder.open(run.path).cohort, RunFolder.open(run.path).protocol
    (run.path / name).unlink()
    with pytest.raises(UserError, match=f"{name}: is missing from the run folder"):
        _ = RunFolder.open(run.path).cohort, RunFolder.open(run.path).protocol
    (run.path / "run.json").write_text("{}")
    with pytest.raises(UserError, match="lacks the key 'identity'"):
        _ = RunFolder.open(run.path).record


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"training": {"epochs": 0}}, r"training\.epochs is 0"),
        ({"training": {"optimizer": {"learning_rate": 0.0}}}, r"learning_rate is 0"),
        ({"split": {"folds": 1}}, r"split\.folds is 1"),
        ({"tolerance": -2}, "tolerance is -2"),
        ({"size": [0, 64]}, "size"),
        ({"weights": "nonne"}, "weights is 'nonne'"),
    ],
)
def test_settings_that_make_no_sense_are_refused_before_any_work(tiny_paper, changes, words):
    with pytest.raises(UserError, match=words):
        load_paper("tiny").protocol("smoke", changes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("paper: tiny\nprofiles: [a]\n", "profiles must be a mapping"),
        ("paper: tiny\ncommon:\nprofiles: {smoke: }\n", "lacks the key 'description'"),
        ("paper: tiny\nprofile: {}\n", "unknown key 'profile'"),
    ],
)
def test_broken_protocol_files_are_one_line(tmp_path, text, words):
    path = write_text(tmp_path / "protocol.yaml", text)
    with pytest.raises(UserError, match=words):
        load_protocol(path, "smoke")


def test_papers_come_by_entry_points(tiny_paper):
    assert "tiny" in load_papers()
    assert load_paper("nobody").name == "tiny"
    assert load_paper("tabik").name == "covid_sdnet"
    with pytest.raises(UserError, match=r"tabic: .*covid_sdnet \(tabik\)"):
        load_paper("tabic")
    with pytest.raises(UserError, match="has no profile 'papper'"):
        load_paper("tiny").protocol("papper")
    with pytest.raises(UserError, match=r"is not a system of tiny.*a, b"):
        load_paper("tiny").protocol("smoke", {"systems": ["c"]})


def test_fresh_processes_give_the_predictions_of_one_process(make_run, third_cohort, tmp_path, monkeypatch):
    """Every kind of system at once. Threads are the same: of others, sums differ in their last digits."""
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS"):
        monkeypatch.setenv(name, str(os.cpu_count()))
    monkeypatch.setenv("TINY_SAW", str(tmp_path))
    changes = {"systems": ["pair", "three", "released"], "training": {"epochs": 2}, "trainings": {"own": {"seed": 50}}}
    one, many = (make_run(name, "further", third_cohort, **changes) for name in ("one", "many"))
    run_executions(one, (1, 5))
    assert [e.name for e in one.executions() if e.done] == ["a repeat 1 fold 1", "pair repeat 1 fold 1"]
    done = run_executions(many, (1, 2), Processes(2))
    assert [(e.system.name, e.fold) for e in done if e.done] == [("a", 0), ("pair", 0), ("released", 0), ("three", 1)]
    for name in ("a", "pair"):
        expected, found = (run.execution(name, 0, 0).predictions.read_bytes() for run in (one, many))
        assert found == expected
    frame = read_predictions([execution.predictions for execution in done])
    assert set(frame["label"]) == {"N", "P"} >= set(frame["predicted"]), "scored classes alone"
    assert not any(column == "score_other" for column in frame)
    scored = third_cohort.table[third_cohort.table["label"] != "other"]
    test = frame[frame["split"] == "test"]
    assert sorted(test.loc[test["system"] == "released", "image_id"]) == sorted(scored["image_id"])
    part = many.part(0, 1)[scored.index]
    own = scored.loc[(part == "test") & (scored["patient_id"] != "made/0-0"), "image_id"]
    assert sorted(test.loc[test["system"] == "three", "image_id"]) == sorted(own)
    np.testing.assert_allclose(frame[["score_N", "score_P"]].sum(axis=1), 1, atol=1e-6)
    records = {(e.system.name, e.fold): read_json(e.record) for e in done}
    assert (records["released", 0]["epochs"], records["released", 0]["images"]["train"]) == (0, 0)
    assert records["three", 1]["seed"] == 51, "its own training's seed"
    assert records["a", 0]["seed"] == 0
    # What the hooks of `three` were given: all three classes of its training part.
    counts, labels = np.load(tmp_path / "counts.npy"), np.load(tmp_path / "labels.npy")
    assert counts.tolist() == np.bincount(labels).tolist()
    assert len(labels) == records["three", 1]["images"]["train"]
    assert len(counts) == 3
    assert counts.min() > 0


def test_a_planned_training_is_resumed_with_the_batches_it_would_have_had(make_run, third_cohort):
    whole, killed = (make_run(name, "further", third_cohort, systems=["three"]) for name in ("whole", "killed"))
    assert _start(whole, 0, "three").wait() == 0
    process = _start(killed, 0, "three")
    for line in process.stdout:
        if line.startswith("@progress") and '"epoch": 2' in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    one, other = (run.execution("three", 0, 0) for run in (whole, killed))
    assert not other.done
    assert (other.folder / "state.npz").is_file()
    assert _start(killed, 0, "three").wait() == 0
    assert other.predictions.read_bytes() == one.predictions.read_bytes()
    history = [pd.read_csv(execution.folder / "history.csv") for execution in (one, other)]
    pd.testing.assert_frame_equal(*history)


def test_mirrored_over_two_devices_agrees_with_one(make_run):
    """Same global batch, nothing random in the network: the same training up to the order of sums."""
    one, two = (make_run(name, systems=["b"], training={"epochs": 2}) for name in ("one", "two"))
    _train_here(one.execution("b", 0, 0))
    command = [sys.executable, "-m", "tests.helpers.train", "mirror", str(two.path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_json(two.execution("b", 0, 0).record)["device"]["replicas"] == 2
    scores = [read_predictions(run.execution("b", 0, 0).predictions)["score_P"] for run in (one, two)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-4


def test_bfloat16_is_an_option_that_the_record_names(make_run):
    run = make_run("run", training={"epochs": 1})
    record = read_record(run.path / "run.json", ())
    record["settings"]["precision"] = "bf16"
    write_record(run.path / "run.json", record)
    execution = RunFolder.open(run.path).execution("a", 0, 0)
    _train_here(execution)
    assert read_json(execution.record)["policy"] == "mixed_bfloat16"
    assert read_predictions(execution.predictions)["score_P"].between(0, 1).all()


@pytest.mark.parametrize(("strategy", "words"), [("tpu", "no TPU answers"), ("mirrored", "only one device")])
def test_devices_that_are_not_there_get_one_line(strategy, words):
    from covid_keras.training.devices import resolve_strategy

    with pytest.raises(UserError, match=words):
        resolve_strategy(strategy)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["tpu", "mirrored"])
def test_devices_that_are_not_there_are_missed_before_any_work(tmp_path, capsys, strategy):
    out = tmp_path / "run"
    error = fails(capsys, "reproduce", "tabik", "--profile", "smoke", "--strategy", strategy, "--out", out)
    assert f"--strategy {strategy}: " in error
    assert not out.exists()
