"""`predict --run`: the network of a finished execution answers on any radiograph as it did in its run."""

from __future__ import annotations

import json
import shutil

import cv2
import h5py
import numpy as np
import pytest

from covid_keras.commands.main import main
from covid_keras.common.errors import UserError
from covid_keras.evaluation.predictions import read_predictions, score_columns
from covid_keras.inference.run_network import find_run_network
from covid_keras.training.executions import BEST
from covid_keras.training.schedulers import run_executions
from tests.helpers.command import fails

pytestmark = pytest.mark.slow


def _same_as_in_the_run(run, system: str) -> None:
    network = find_run_network(f"{run.path}:{system}").load()
    execution = network.execution
    frame = read_predictions(execution.predictions)
    table = execution.cohort.table.set_index("image_id").loc[frame["image_id"]]
    fed = network.network_input(table["path"].tolist(), [None] * len(table))
    scores = network.probabilities(fed)
    np.testing.assert_allclose(scores, frame[score_columns(frame)], atol=1e-5)
    assert network.entry.classes == execution.scored
    if system == "product":  # a made model inside a model
        return
    heat = network.heat(fed[:3], [0, 1, 1])
    assert all(one.ndim == 2 and 0 <= one.min() <= one.max() <= 1 for one in heat)


@pytest.mark.parametrize("system", ["a", "product", "elsewhere"])
def test_trained_and_composed_systems_answer_as_in_their_run(executed, system):
    _same_as_in_the_run(executed.whole, system)


@pytest.mark.parametrize("system", ["best", "apart", "first"])
def test_chosen_systems_answer_as_in_their_run(chosen, system):
    _same_as_in_the_run(chosen.run, system)


def test_the_best_execution_on_validation_answers(make_run):
    run = make_run("run", training={"epochs": 2}, systems=["a"])
    done = run_executions(run)
    assert len(done) > 1

    def right(execution) -> float:
        frame = read_predictions(execution.predictions)
        frame = frame[frame["split"] == "validation"]
        return (frame["label"] == frame["predicted"]).mean()

    network = find_run_network(f"{run.path}:a")
    assert right(network.execution) == max(map(right, done))
    assert f"best of {len(done)} on validation" in network.chosen
    last = done[-1].folder.name
    assert find_run_network(f"{run.path}:a:{last}").execution == done[-1]


@pytest.mark.parametrize(
    ("rest", "words"),
    [("", "names no system"), (":none", "none: "), (":a:repeat7-fold9", "has no finished execution repeat7-fold9")],
)
def test_what_is_not_in_the_run_is_named(executed, rest, words):
    with pytest.raises(UserError, match=words):
        find_run_network(f"{executed.whole.path}{rest}")


def test_a_run_that_kept_no_weights_says_so_in_one_line(executed, tmp_path):
    path = tmp_path / "a:copy"
    shutil.copytree(executed.whole.path, path)
    for kept in (path / "executions" / "a").glob(f"*/{BEST}"):
        kept.unlink()
    with pytest.raises(UserError, match="keeps no weights of a repeat") as caught:
        find_run_network(f"{path}:a")
    assert "reproduce again" in caught.value.remedy


def test_the_command(executed, tmp_path, capsys):
    image = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "chest.png"), image)
    given = ["predict", str(tmp_path / "chest.png"), "--run", f"{executed.whole.path}:a", "--no-check-view"]
    out = tmp_path / "out"
    assert main([*given, "--out", str(out), "--heatmap"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("Network: ")
    record = json.loads((out / "predictions.json").read_text())
    assert ":a:repeat0-fold" in record["model"]
    (row,) = record["predictions"]
    assert row["probability_N"] + row["probability_P"] == pytest.approx(1)
    assert (out / "chest_heatmap.png").is_file()
    assert "contradicts --run" in fails(capsys, *given, "--weights", tmp_path / "chest.png")
    assert "is not a run folder" in fails(capsys, *given[:3], f"{tmp_path}:a")


def test_the_best_weights_are_kept_without_the_optimiser(executed):
    for execution in executed.whole.executions():
        if execution.weights.is_file():
            with h5py.File(execution.weights) as file:
                held = []
                file.visit(held.append)
                assert not any("optimizer" in name for name in held)
