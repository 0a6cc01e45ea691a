"""Fine-tuning stage by stage: the stages, what learns in each, what is kept, and a training that resumes."""

from __future__ import annotations

import dataclasses
import re

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.evaluation import read_predictions
from covid_keras.models.steady import SteadyBatchNormalization
from covid_keras.paper.protocol import OptimizerSettings, TrainingSettings, UnfreezeSettings
from covid_keras.paper.registered import load_paper
from covid_keras.paper.unfreezing import Stage, layers_of, open_stage, stages_of
from covid_keras.training import resume
from covid_keras.training.executions import BEST
from covid_keras.training.resume import ResumableTraining
from covid_keras.training.schedulers import epochs_of

GROUPS = (("high_",), ("low_", "stem"))
UNFREEZE = UnfreezeSettings(epochs=7, patience=3, learning_rate=1e-5, scratch=4, scratch_rate=0.02)
TRAINING = TrainingSettings(
    5, optimizer=OptimizerSettings("adam", 1e-3, epsilon=1e-4), patience=2, unfreeze=UNFREEZE, monitor="val_loss"
)


def _with(**changes) -> TrainingSettings:
    return dataclasses.replace(TRAINING, unfreeze=dataclasses.replace(UNFREEZE, **changes))


SCRATCH = Stage("scratch", 2, 4, 2, 0.02, steady=False)
HEAD = Stage("head", 0, 5, 5, 1e-3)
HIGH, LOW = Stage("high", 1, 7, 3, 1e-5), Stage("low", 2, 7, 3, 1e-5)


# --- the stages


@pytest.mark.parametrize(
    ("training", "groups", "expected"),
    [
        (TRAINING, GROUPS, [SCRATCH, HEAD, HIGH, LOW]),
        (_with(scratch=0), GROUPS, [HEAD, HIGH, LOW]),
        (_with(scratch=0), GROUPS[:1], [HEAD, HIGH]),
        (_with(groups=1), GROUPS, [SCRATCH, HEAD, HIGH]),
        (_with(groups=2, scratch=0), GROUPS, [HEAD, HIGH, LOW]),
        (_with(groups=9), GROUPS, [SCRATCH, HEAD, HIGH, LOW]),
        (_with(epochs=0, scratch=0), GROUPS, [Stage("whole", 2, 5, 2, 1e-3)]),
        (TRAINING, (), [Stage("whole", 0, 5, 2, 1e-3)]),
        (_with(epochs=0, scratch=0), (), [Stage("whole", 0, 5, 2, 1e-3)]),
        (TrainingSettings(5, patience=2), GROUPS, [Stage("whole", 2, 5, 2, 1e-3)]),
    ],
)
def test_the_stages_of_a_training(training, groups, expected):
    assert stages_of(training, groups) == expected


def test_a_stage_has_its_own_rate_and_all_else_of_the_training():
    for stage in stages_of(TRAINING, GROUPS):
        settings = stage.applied(TRAINING)
        assert settings.optimizer == dataclasses.replace(TRAINING.optimizer, learning_rate=stage.learning_rate)
        assert dataclasses.replace(settings, optimizer=TRAINING.optimizer) == TRAINING


@pytest.mark.parametrize(
    ("unfreeze", "words"),
    [
        ({"epochs": -1}, r"training\.unfreeze\.epochs is -1"),
        ({"epochs": 0, "scratch": 4}, r"training\.unfreeze\.scratch is 4"),
        ({"scratch": -2}, r"training\.unfreeze\.scratch is -2"),
        ({"groups": 0}, r"training\.unfreeze\.groups is 0"),
        ({"patience": 0}, r"training\.unfreeze\.patience is 0"),
        ({"learning_rate": 0.0}, r"training\.unfreeze\.learning_rate is 0"),
        ({"scratch_rate": -1e-3}, r"training\.unfreeze\.scratch_rate is -0\.001"),
        ({"epoch": 3}, r"unknown key 'epoch' in training\.unfreeze.*Did you mean 'epochs'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tiny_paper, unfreeze, words):
    with pytest.raises(UserError, match=words):
        load_paper("unfreezing").protocol("smoke", {"training": {"unfreeze": unfreeze}})


# --- what learns


def _network() -> keras.Model:
    inputs = keras.Input((4,))
    x = layers.Dense(3, name="stem")(inputs)
    x = SteadyBatchNormalization(name="low_bn")(layers.Dense(3, name="low_1")(x))
    x = layers.Dense(3, name="head_low_")(layers.Dense(3, name="high_1")(x))
    return keras.Model(inputs, x)


@pytest.mark.parametrize("stage", [SCRATCH, HEAD, HIGH, LOW], ids=lambda stage: stage.name)
def test_a_stage_opens_its_groups_and_the_head(stage):
    """From whatever came before it."""
    learning = {"head_low_": True, "high_1": stage.groups > 0} | dict.fromkeys(
        ("low_1", "low_bn", "stem"), stage.groups > 1
    )
    model = _network()
    for before in (LOW, HEAD, SCRATCH):
        open_stage(model, GROUPS, before)
        open_stage(model, GROUPS, stage)
        assert {layer.name: layer.trainable for layer in model.layers if layer.weights} == learning
        assert model.get_layer("low_bn").steady == (stage is not SCRATCH)
    found = {weight.path.split("/")[0] for weight in model.trainable_weights}
    assert found == {name for name, open_ in learning.items() if open_}


def test_layers_are_found_by_how_their_names_begin():
    model = _network()
    assert [layer.name for layer in layers_of(model, ("low_", "stem"))] == ["stem", "low_1", "low_bn"]
    assert layers_of(model, ("ow_",)) == []


@pytest.mark.parametrize("stage", [HEAD, LOW], ids=lambda stage: stage.name)
def test_a_group_without_a_layer_is_refused(stage):
    with pytest.raises(ValueError, match=r"no layer of .* begins with block1_ or conv1_"):
        open_stage(_network(), (("high_",), ("block1_", "conv1_")), stage)


# --- the state of a training in stages


@pytest.fixture
def every_epoch(monkeypatch):
    """Write the state after every epoch, however fast they are."""
    monkeypatch.setattr(resume, "WRITE_SHARE", 0.0)


def _compiled() -> keras.Model:
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Dense(1, name="out")(inputs))
    model.compile("sgd", "mse")
    model.optimizer.build(model.trainable_variables)
    return model


def _tell(tracker: ResumableTraining, model: keras.Model, *losses: float) -> list[bool]:
    """Tell made losses, an epoch each; return after which the stage ended. The bias says of which epoch weights are."""
    tracker.set_model(model)
    ended = []
    for loss in losses:
        epoch = len(tracker.history)
        model.get_layer("out").bias.assign([epoch])
        tracker.on_epoch_end(epoch, {"val_loss": loss})
        ended.append(model.stop_training)
    return ended


def test_patience_counts_from_the_beginning_of_a_stage(tmp_path, every_epoch):
    model, tracker = _compiled(), ResumableTraining(tmp_path, "val_loss", 9)
    tracker.begin_stage(0, 3)
    assert _tell(tracker, model, 0.5, 0.9, 0.9, 0.9) == [False, False, False, True]
    assert tracker.finished
    tracker.begin_stage(1, 2)
    assert (tracker.finished, tracker.stage_start) == (False, 4)
    assert _tell(tracker, model, 0.9, 0.9) == [False, True], "its two epochs, not those before"
    tracker.begin_stage(2, 2)
    # 0.6 is better than the epoch before and no improvement: the best is that of all stages.
    assert _tell(tracker, model, 0.7, 0.6) == [False, True]
    tracker.begin_stage(3, 2)
    assert _tell(tracker, model, 0.8, 0.4, 0.5, 0.5) == [False, False, False, True]
    assert [row["stage"] for row in tracker.history] == [0] * 4 + [1] * 2 + [2] * 2 + [3] * 4
    assert [row["epoch"] for row in tracker.history] == list(range(12))
    assert tracker.best_epoch == 9
    tracker.restore_best(model)
    assert float(model.get_layer("out").bias[0]) == 9


def test_the_best_of_an_earlier_stage_is_kept(tmp_path, every_epoch):
    model, tracker = _compiled(), ResumableTraining(tmp_path, "val_loss", 9)
    tracker.begin_stage(0, 5)
    _tell(tracker, model, 0.5, 0.3, 0.4)
    tracker.begin_stage(1, 5)
    _tell(tracker, model, 0.6, 0.35)
    tracker.restore_best(model)
    assert (tracker.best_epoch, float(model.get_layer("out").bias[0])) == (1, 1)


def test_a_killed_training_knows_its_stage(tmp_path, every_epoch):
    model, tracker = _compiled(), ResumableTraining(tmp_path, "val_loss", 9)
    assert tracker.stage_reached() == 0, "nothing yet"
    tracker.begin_stage(0, 9)
    _tell(tracker, model, 0.5, 0.4)
    assert ResumableTraining(tmp_path, "val_loss", 9).stage_reached() == 0
    tracker.begin_stage(1, 2)
    assert ResumableTraining(tmp_path, "val_loss", 9).stage_reached() == 0, "no epoch of it is done"
    _tell(tracker, model, 0.9)
    again = ResumableTraining(tmp_path, "val_loss", 9)
    assert again.stage_reached() == 1
    again.begin_stage(1, 2)
    assert again.restore(model) == 3
    assert (again.stage, again.stage_start, again.finished) == (1, 2, False)
    assert again.history == tracker.history
    assert _tell(again, model, 0.9) == [True], "the epoch before the kill counts"


def test_one_stage_is_no_stages(tmp_path, every_epoch):
    tracker = ResumableTraining(tmp_path, "val_loss", 9)
    _tell(tracker, _compiled(), 0.5)
    assert "stage" not in tracker.history[0]
    assert tracker.stage_reached() == 0


def test_a_damaged_state_is_named_before_its_stage_is_believed(tmp_path):
    (tmp_path / resume.STATE).write_bytes(b"no state")
    with pytest.raises(UserError, match=r"state\.npz"):
        ResumableTraining(tmp_path, "val_loss", 9).stage_reached()


# --- a paper whose networks are fine-tuned


def _execution(unfrozen, name: str, run: str = "whole"):
    return getattr(unfrozen, run).execution(name, 0, 0)


def _history(execution) -> pd.DataFrame:
    return pd.read_csv(execution.folder / "history.csv")


def _epochs(unfrozen) -> list[dict[str, np.ndarray]]:
    """Learning rate and weights, as "layer number", after each epoch of `staged`."""
    return [dict(np.load(unfrozen.saw / f"epoch{epoch}.npz")) for epoch in range(9)]


def _changed(before: dict[str, np.ndarray], after: dict[str, np.ndarray]) -> set[str]:
    return {name for name in before if name != "rate" and not np.array_equal(before[name], after[name])}


# Kernel, bias of convolutions and head; gamma, beta, mean, variance.
LAYERS = {"probability": 2, "high_conv": 2, "low_conv": 2, "low_bn": 4}
ALL = {f"{name} {number}" for name, count in LAYERS.items() for number in range(count)}
MOVING = {"low_bn 2", "low_bn 3"}
OF_STAGE = [
    ALL,
    {"probability 0", "probability 1"},
    {name for name in ALL if name.startswith(("probability", "high"))},
    ALL - MOVING,
]
pytestmark = pytest.mark.slow


def test_the_history_says_the_stage(unfrozen):
    history = _history(_execution(unfrozen, "staged"))
    assert history["stage"].tolist() == [0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert history["epoch"].tolist() == list(range(9))


def test_a_closed_group_does_not_change(unfrozen):
    epochs, history = _epochs(unfrozen), _history(_execution(unfrozen, "staged"))
    assert set(epochs[0]) == ALL | {"rate"}
    for epoch in range(1, 9):
        stage = history["stage"][epoch]
        if history["stage"][epoch - 1] == stage:  # a stage begins with the best weights, not with the last
            assert _changed(epochs[epoch - 1], epochs[epoch]) == OF_STAGE[stage], epoch
        best = int(history["val_loss"][: (history["stage"] < stage).sum()].idxmin())
        assert _changed(epochs[best], epochs[epoch]) == OF_STAGE[stage], "since the best of the stages before"


def test_statistics_move_in_the_first_stage_alone(unfrozen):
    epochs = _epochs(unfrozen)
    assert (np.abs(epochs[0]["low_bn 2"]) > 0).any(), "of the images, not the initial zeros"
    for epoch in epochs[1:]:
        assert not MOVING & _changed(epochs[0], epoch)


def test_each_stage_has_its_learning_rate(unfrozen):
    rates = [float(epoch["rate"]) for epoch in _epochs(unfrozen)]
    assert rates == pytest.approx([0.02] + [0.03] * 2 + [0.01] * 6)


def test_the_best_weights_of_all_stages_are_kept(unfrozen):

    execution = _execution(unfrozen, "staged")
    history, record = _history(execution), read_json(execution.record)
    best = int(history["val_loss"].idxmin())
    assert record["best_epoch"] == best
    assert history["stage"][best] < 3, "the training goes on after it"
    model = execution.network
    weights = {f"{one.name} {i}": value for one in model.layers for i, value in enumerate(one.get_weights())}
    assert _changed(weights, _epochs(unfrozen)[best]) == set()


def test_predictions_are_of_the_best_weights(unfrozen):
    """Their loss on the validation part is the smallest of the history, not the last."""
    execution = _execution(unfrozen, "staged")
    frame = read_predictions(execution.predictions).query("split == 'validation'")
    truth = np.where(frame["label"] == "P", frame["score_P"], frame["score_N"]).astype(float)
    history = _history(execution)
    assert -np.log(truth).mean() == pytest.approx(history["val_loss"].min(), rel=1e-4)
    assert history["val_loss"].iloc[-1] > history["val_loss"].min() * 1.001


def test_patience_ends_a_stage_and_not_the_training(unfrozen):
    """Where nothing improves the later stages have their patience's two of four epochs, and all are reached."""
    execution = _execution(unfrozen, "idle")
    assert _history(execution)["stage"].tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert [(one["name"], one["epochs"]) for one in read_json(execution.record)["stages"]] == [
        ("head", 3),
        ("high", 2),
        ("low", 2),
    ]
    assert not (execution.folder / resume.STATE).exists()


def test_each_stage_begins_with_the_best_weights_so_far(unfrozen):
    """Where later stages learn nothing, all their epochs are as good as the best of the head, which is not its last."""
    history = _history(_execution(unfrozen, "idle"))
    head, later = history["val_loss"][:3], history["val_loss"][3:]
    assert head.iloc[-1] > head.min() * 1.0001
    assert later.tolist() == pytest.approx([head.min()] * 4, rel=1e-6)


def test_the_record_tells_the_stages(unfrozen):
    execution = _execution(unfrozen, "staged")
    record, history = read_json(execution.record), _history(execution)
    assert [(one["name"], one["epochs"]) for one in record["stages"]] == [
        ("scratch", 1),
        ("head", 2),
        ("high", 3),
        ("low", 3),
    ]
    found = [one["val_loss"] for one in record["stages"]]
    assert found == pytest.approx(history.groupby("stage")["val_loss"].min().tolist())
    assert record["epochs"] == len(history)
    assert "stages" not in read_json(_execution(unfrozen, "mean").record)


def test_progress_counts_the_epochs_of_all_stages(unfrozen):
    assert epochs_of(unfrozen.whole) == {
        "staged": 1 + 2 + 3 + 3,
        "idle": 3 + 4 + 4,
        "mean": 1,
        "vote": 1,
        "still": 3,
    }
    paper = load_paper("unfreezing")
    for name, epochs in (("staged", 9), ("idle", 11), ("mean", 1), ("whole", 2)):
        assert paper.system(name).epochs(unfrozen.whole.protocol) == epochs
    without = paper.protocol("smoke", {"systems": ["staged"], "training": {"epochs": 6}})
    assert paper.system("staged").epochs(without) == 6


@pytest.mark.parametrize("run", ["often", "seldom", "torn"])
def test_stopped_in_a_later_stage_and_resumed_gives_the_same_predictions(unfrozen, run):
    """`seldom` had the state of its last stage's beginning; `torn` was stopped between a stage's weights and state."""
    stage = {"often": "2", "seldom": "3", "torn": "[123]"}[run]
    assert re.search(f"{run} stopped in {stage}\n", unfrozen.said)
    one, other = _execution(unfrozen, "staged"), _execution(unfrozen, "staged", run)
    assert other.predictions.read_bytes() == one.predictions.read_bytes()
    pd.testing.assert_frame_equal(_history(other), _history(one))
    records = [read_json(execution.record) for execution in (one, other)]
    for key in ("best_epoch", "epochs", "stages", "predictions_sha256"):
        assert records[0][key] == records[1][key], key
    assert not (other.folder / resume.STATE).exists()
    assert (other.folder / BEST).is_file()


def test_stages_on_two_devices_agree_with_one(unfrozen):
    """Same global batch, nothing random, statistics held: the same training up to the order of sums."""
    one, two = (_execution(unfrozen, "still", run) for run in ("whole", "mirrored"))
    assert read_json(two.record)["device"]["replicas"] == 2
    columns = ["epoch", "stage", "loss", "val_loss"]
    pd.testing.assert_frame_equal(_history(two)[columns], _history(one)[columns], rtol=1e-4)
    assert _history(one)["stage"].tolist() == [0, 1, 2]
    scores = [read_predictions(execution.predictions)["score_P"] for execution in (one, two)]
    assert np.abs(scores[0] - scores[1]).max() < 1e-4


# --- ensembles of such networks


def test_an_ensemble_of_trained_networks(unfrozen):
    records = {one.system.name: read_json(one.record) for one in unfrozen.whole.executions()}
    assert [*records] == ["staged", "idle", "mean", "vote", "still"]
    for name in ("mean", "vote"):
        assert records[name]["parameters"] == records["staged"]["parameters"] + records["idle"]["parameters"]
        assert records[name]["combined"][0]["images"] == {"validation": 10, "test": 12}


def test_the_report_has_the_ensembles_and_heat_maps_of_their_members_alone(unfrozen, publish):
    from covid_keras.reporting.run import report_run

    publish("unfreezing", {"Accuracy": "accuracy"}, {"Mean": ("mean", ["75.00"])})
    page = report_run(unfrozen.whole.path).read_text()
    assert "Grad-CAM: Staged" in page
    assert "Grad-CAM: Idle" in page
    for title in ("Mean", "Vote"):
        assert f"Grad-CAM: {title}" not in page
    assert "an ensemble of staged and idle" in page
    heat = pd.read_csv(unfrozen.whole.path / "explanations.csv")
    assert set(heat["system"]) == {"staged", "idle", "still"}
    systems = read_json(unfrozen.whole.path / "metrics.json")["systems"]
    assert set(systems) == {"staged", "idle", "mean", "vote", "still"}
    comparison = pd.read_csv(unfrozen.whole.path / "comparison.csv", comment="#")
    right = read_predictions(unfrozen.whole.execution("mean", 0, 0).predictions).query("split == 'test'")
    assert comparison["ours"].tolist() == pytest.approx([100 * (right["label"] == right["predicted"]).mean()])
