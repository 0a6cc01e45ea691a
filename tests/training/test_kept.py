"""What stays of a finished execution: what reports, predictions and unfinished executions read, and no more."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from covid_keras.commands.reproduce import restart
from covid_keras.common.files import read_record, write_record
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.data.store import Store
from covid_keras.inference.run_network import find_run_network
from covid_keras.paper.inputs import Inputs
from covid_keras.training.kept import STATE, lost_weights, remove_spent
from tests.helpers.executions import finish
from tests.helpers.refusals import refused

CHAIN = ("a", "pair", "last")
REPEATED = {"folds": 2, "repeats": 2, "validation": 0.2}


@pytest.fixture
def chained(make_run):
    """A run of three systems that build on one another, on two folds of two repeats."""
    return make_run("run", "further", systems=list(CHAIN), split=REPEATED)


def _end(execution) -> None:
    """Leave an execution as a training leaves it."""
    finish(execution, weights_sha256="0" * 64)
    for name in (STATE, "best.weights.h5", "history.csv"):
        (execution.folder / name).write_text("x")
    remove_spent(execution)


def _end_all(run) -> None:
    for repeat, fold, name in itertools.product(range(2), range(2), CHAIN):
        _end(run.execution(name, repeat, fold))


def _kept(run) -> set[tuple[str, int, int]]:
    return {(one.system.name, one.repeat, one.fold) for one in run.executions() if one.weights.is_file()}


def test_a_finished_run_keeps_the_networks_of_its_first_repeat(chained):
    _end_all(chained)
    assert _kept(chained) == {(name, 0, fold) for name in CHAIN for fold in range(2)}
    assert all(one.done for one in chained.executions())
    for one in chained.executions():
        names = {path.name for path in one.folder.iterdir()} - {".lock"}
        weights = {"best.weights.h5"} if one.repeat == 0 else set()
        assert names == {"predictions.csv", "execution.json", "history.csv"} | weights


def test_a_later_repeat_keeps_its_weights_until_all_that_builds_on_them_is_done(chained):
    for fold, name in itertools.product(range(2), CHAIN):
        _end(chained.execution(name, 0, fold))
    for name in CHAIN[:2]:
        _end(chained.execution(name, 1, 0))
    assert {("a", 1, 0), ("pair", 1, 0)} <= _kept(chained)
    _end(chained.execution("last", 1, 0))
    assert all(repeat == 0 for _, repeat, _ in _kept(chained))


def test_weights_for_a_system_left_out_stay(make_run):
    run = make_run("run", "further", systems=list(CHAIN), split=REPEATED, left_out={"last": "no file"})
    for repeat, name in itertools.product(range(2), CHAIN[:2]):
        _end(run.execution(name, repeat, 0))
    assert ("pair", 1, 0) in _kept(run)


def test_a_shard_that_reports_could_not_do_without_stays(chained):
    for name in CHAIN:
        _end(chained.execution(name, 1, 0))
    assert len(_kept(chained)) == 3, "the first repeat is trained elsewhere"


def test_what_does_without_an_unfinished_system_below_ends_all_the_same(chained):
    _end(chained.execution("pair", 0, 0))
    _end(chained.execution("pair", 1, 0))
    assert ("pair", 0, 0) in _kept(chained)


def test_all_weights_can_be_kept(chained):
    record = read_record(chained.path / "run.json")
    write_record(chained.path / "run.json", record | {"settings": record["settings"] | {"keep_weights": True}})
    run = type(chained).open(chained.path)
    _end_all(run)
    assert len(_kept(run)) == len(run.executions()) == 12


@pytest.mark.parametrize(("repeat", "own", "stay"), [(0, True, True), (1, True, False), (1, False, True)])
def test_inputs_made_for_one_execution_go_with_it(chained, tmp_path, repeat, own, stay):
    store = Store(tmp_path / "cache")
    path = store.put("k1", np.zeros(4, np.uint8))
    prepared = PreparedImages(store.folder, ("k1",), ("made/0",), (2, 2, 1))
    _end(chained.execution("a", 0, 0))
    execution = chained.execution("a", repeat, 0)
    vars(execution)["inputs"] = Inputs(prepared, np.zeros(1, np.int64), np.zeros(1, np.int64), 2, own=own)
    _end(execution)
    assert path.is_file() == stay


def test_what_builds_on_lost_weights_is_trained_again_with_them_only(chained):
    _end_all(chained)
    assert lost_weights(chained.execution("a", 1, 0))
    text = refused(r"builds on a/repeat1-fold0", restart, chained, ["pair/repeat1-fold0"])
    assert "--restart a/repeat1-fold0" in text
    assert all(one.done for one in chained.executions())
    restart(chained, ["pair/repeat1-fold0", "a/repeat1-fold0"])
    assert [chained.execution(name, 1, 0).done for name in CHAIN] == [False] * 3


def test_predictions_choose_among_the_networks_that_are_there(chained, monkeypatch):
    _end_all(chained)
    monkeypatch.setattr("covid_keras.inference.run_network._goodness", lambda one: one.repeat)
    monkeypatch.setattr("covid_keras.inference.run_network.RunNetwork", lambda chosen, why: (chosen, why))
    chosen, why = find_run_network(f"{chained.path}:a")
    assert (chosen.repeat, why) == (0, "the best of 2 on validation")


def test_the_images_at_a_time_are_part_of_a_run(make_run):
    run = make_run("run")
    assert "micro_batch" not in run.record["identity"]["protocol"], "runs before it existed go on"
    refused(r"different run.*micro_batch is None there and 2 here", make_run, "run", micro_batch=2)
    small = make_run("small", micro_batch=2)
    assert small.identity != run.identity
    assert (small.protocol.at_a_time(4), small.protocol.at_a_time(1), run.protocol.at_a_time(4)) == (2, 1, 4)
    refused("different run", make_run, "small")
