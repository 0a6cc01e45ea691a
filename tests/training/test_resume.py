"""The state of a training: the best epoch, patience, and a restart that goes on as if nothing had happened."""

from __future__ import annotations

import errno
import logging

import keras
import numpy as np
import pytest
from keras import layers

from covid_keras.common.errors import UserError
from covid_keras.training import resume
from covid_keras.training.executions import BEST
from covid_keras.training.resume import STATE, ResumableTraining

X = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
Y = keras.utils.to_categorical((X[:, 0] > 0).astype(int), 2)


@pytest.fixture(autouse=True)
def every_epoch(monkeypatch):
    """Write the state after every epoch, however fast they are."""
    monkeypatch.setattr(resume, "WRITE_SHARE", 0.0)


def _model(seed: int = 0, rate: float = 0.05, width: int = 8) -> keras.Model:
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((4,))
    x = layers.Dropout(0.5)(layers.Dense(width, activation="relu")(inputs))
    model = keras.Model(inputs, layers.Dense(2, activation="softmax", name="out")(x))
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), "categorical_crossentropy", metrics=["accuracy"])
    model.optimizer.build(model.trainable_variables)
    return model


def _fit(model: keras.Model, tracker: ResumableTraining, epochs: int, start: int = 0) -> None:
    model.fit(
        X,
        Y,
        batch_size=4,
        shuffle=False,
        epochs=epochs,
        initial_epoch=start,
        validation_data=(X, Y),
        verbose=0,
        callbacks=[tracker],
    )


def _feed(tracker: ResumableTraining, model: keras.Model, values: list[float]) -> None:
    """Tell the tracker made values of its quantity; the output's bias says which epoch the weights are of."""
    tracker.set_model(model)
    for epoch, value in enumerate(values):
        model.get_layer("out").bias.assign([epoch, 0])
        tracker.on_epoch_end(epoch, {tracker.monitor: value})


def _feed_both(tracker: ResumableTraining, model: keras.Model, rows: list[tuple[float, float]], start: int = 0) -> int:
    """Tell the tracker made (val_accuracy, val_loss) until it stops; return how many epochs there were."""
    tracker.set_model(model)
    for epoch in range(start, len(rows)):
        model.get_layer("out").bias.assign([epoch, 0])
        tracker.on_epoch_end(epoch, dict(zip(("val_accuracy", "val_loss"), rows[epoch], strict=True)))
        if model.stop_training:
            break
    return len(tracker.history)


def _epoch_of(model: keras.Model) -> float:
    return float(np.asarray(model.get_layer("out").bias)[0])


@pytest.mark.parametrize(
    ("monitor", "values", "best"),
    [
        ("val_accuracy", [0.5, 0.7, 0.7, 0.6], 1),
        ("val_loss", [0.9, 0.5, 0.5, 0.6], 1),
        ("val_loss", [0.5, 0.9, 0.6], 0),
        ("val_accuracy", [0.1, 0.2, 0.3], 2),
        ("val_accuracy", [0.0, 0.0], 0),
        ("val_loss", [float("nan"), 0.5, 0.4], 2),
    ],
)
def test_the_best_epoch_is_the_first_of_equals_and_comes_back(tmp_path, monitor, values, best):
    model, tracker = _model(), ResumableTraining(tmp_path, monitor, 10)
    _feed(tracker, model, values)
    assert tracker.best_epoch == best
    assert [row[monitor] for row in tracker.history] == pytest.approx(values, nan_ok=True)
    assert [row["epoch"] for row in tracker.history] == list(range(len(values)))
    tracker.restore_best(model)
    assert _epoch_of(model) == best


@pytest.mark.parametrize(
    ("monitor", "values", "first", "last"),
    [
        ("val_accuracy", [0.5, 0.7, 0.7, 0.6], 1, 2),
        ("val_accuracy", [0.7, 0.7, 0.7], 0, 2),
        ("val_loss", [0.5, 0.9, 0.5], 0, 2),
        ("val_loss", [0.5, float("nan"), 0.6], 0, 0),
    ],
)
def test_which_of_equally_good_epochs_is_kept(tmp_path, monitor, values, first, last):
    for ties, best in (("first", first), ("last", last)):
        (tmp_path / ties).mkdir()
        model, tracker = _model(), ResumableTraining(tmp_path / ties, monitor, 10, ties=ties)
        _feed(tracker, model, values)
        tracker.restore_best(model)
        assert (tracker.best_epoch, _epoch_of(model)) == (best, best)


#            accuracy best at 0 and 3; loss falls up to epoch 2
CURVES = [(0.8, 0.9), (0.7, 0.8), (0.6, 0.5), (0.8, 0.5), (0.7, 0.6), (0.8, 0.7), (0.9, 0.9)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "ties", "patience", "epochs", "best"),
    [
        ("", "first", 2, 3, 0),  # accuracy does not rise in two epochs
        ("", "last", 2, 3, 0),
        ("val_loss", "first", 2, 5, 0),  # an equal loss does not renew patience
        ("val_loss", "last", 2, 5, 3),
        ("val_loss", "last", 3, 6, 5),
        ("val_loss", "last", 10, 7, 6),
        ("val_accuracy", "last", 3, 4, 3),  # an equal accuracy is kept, and does not renew patience
    ],
)
def test_patience_may_wait_for_another_quantity(tmp_path, stop, ties, patience, epochs, best):
    settings = {"monitor": "val_accuracy", "patience": patience, "stop": stop, "ties": ties}
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
    model, whole = _model(), ResumableTraining(tmp_path / "whole", **settings)
    assert _feed_both(whole, model, CURVES) == epochs
    assert whole.best_epoch == best
    _feed_both(ResumableTraining(tmp_path / "halves", **settings), _model(), CURVES[: epochs - 1])
    later, second = ResumableTraining(tmp_path / "halves", **settings), _model(seed=9)
    assert later.restore(second) == epochs - 1
    assert not later.finished
    assert _feed_both(later, second, CURVES, epochs - 1) == epochs
    assert (later.history, later.best_epoch, later.finished) == (whole.history, whole.best_epoch, whole.finished)
    later.restore_best(second)
    assert _epoch_of(second) == best


@pytest.mark.parametrize(("patience", "epochs"), [(1, 2), (3, 4)])
def test_patience_stops_the_training(tmp_path, patience, epochs):
    """Without a step nothing improves after the first epoch."""
    model, tracker = _model(rate=0.0), ResumableTraining(tmp_path, "val_accuracy", patience)
    _fit(model, tracker, 20)
    assert len(tracker.history) == epochs
    assert tracker.finished
    again = ResumableTraining(tmp_path, "val_accuracy", patience)
    assert again.restore(_model(1)) == epochs
    assert again.finished, "a killed training that had spent its patience does not start again"
    assert again.best_epoch == 0


def test_improvement_renews_patience(tmp_path):
    model, tracker = _model(), ResumableTraining(tmp_path, "val_accuracy", 2)
    _feed(tracker, model, [0.5, 0.4, 0.6, 0.5])
    assert not tracker.finished
    assert not model.stop_training
    tracker.on_epoch_end(4, {"val_accuracy": 0.6})
    assert tracker.finished
    assert model.stop_training


@pytest.mark.slow
def test_restored_means_all_variables(tmp_path):
    model, tracker = _model(), ResumableTraining(tmp_path, "val_loss", 10)
    _fit(model, tracker, 2)
    other = _model(seed=1)
    seeds = [v for v in other.variables if "seed" in v.path]
    assert seeds, "dropout keeps its seed in a variable"
    again = ResumableTraining(tmp_path, "val_loss", 10)
    assert again.restore(other) == 2
    layers_of = [np.asarray(v) for layer in model.layers for v in layer.variables]
    layers_again = [np.asarray(v) for layer in other.layers for v in layer.variables]
    assert all(np.array_equal(a, b) for a, b in zip(layers_of, layers_again, strict=True))
    for a, b in zip(model.optimizer.variables, other.optimizer.variables, strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert int(other.optimizer.iterations) == 8
    assert any(np.asarray(v).any() for v in other.optimizer.variables[2:]), "momenta that are not zero"
    assert again.history == tracker.history
    assert again.best_epoch == tracker.best_epoch


@pytest.mark.slow
def test_a_training_in_two_halves_is_the_whole_one(tmp_path):
    for name in ("whole", "halves"):
        (tmp_path / name).mkdir()
    whole, tracker = _model(), ResumableTraining(tmp_path / "whole", "val_loss", 10)
    _fit(whole, tracker, 4)
    _fit(_model(), ResumableTraining(tmp_path / "halves", "val_loss", 10), 2)
    second, later = _model(seed=99), ResumableTraining(tmp_path / "halves", "val_loss", 10)
    _fit(second, later, 4, start=later.restore(second))
    assert later.history == tracker.history
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_a_state_that_is_some_epochs_old_leads_to_the_same_end(tmp_path, monkeypatch):
    """Large networks are not written after every epoch; what was lost is trained again, best weights included."""
    monkeypatch.setattr(resume, "WRITE_SHARE", 1e9)
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, tracker = _model(), ResumableTraining(tmp_path / "whole", "val_loss", 10)
    _fit(whole, tracker, 5)
    _fit(_model(), ResumableTraining(tmp_path / "killed", "val_loss", 10), 3)
    second, later = _model(seed=99), ResumableTraining(tmp_path / "killed", "val_loss", 10)
    start = later.restore(second)
    assert 1 <= start <= 3, "the first epoch is always written"
    _fit(second, later, 5, start)
    assert later.history == tracker.history
    for model, made in ((whole, tracker), (second, later)):
        made.restore_best(model)
    for a, b in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_best_weights_on_disk_are_those_that_the_state_means(tmp_path, monkeypatch):
    """Resumed on another device the numbers differ: the state's best epoch may then stay the best to the end."""
    monkeypatch.setattr(resume, "WRITE_SHARE", 1e9)
    model, tracker = _model(), ResumableTraining(tmp_path, "val_accuracy", 10)
    _feed(tracker, model, [0.5, 0.4, 0.9])  # killed here
    again = ResumableTraining(tmp_path, "val_accuracy", 10)
    again.restore(model)
    again.restore_best(model)
    assert _epoch_of(model) == again.best_epoch


def test_restore_best_loads_the_best_not_the_last(tmp_path):
    model, tracker = _model(), ResumableTraining(tmp_path, "val_accuracy", 10)
    _feed(tracker, model, [0.9, 0.1, 0.2])
    assert _epoch_of(model) == 2
    fresh = _model(seed=3)
    again = ResumableTraining(tmp_path, "val_accuracy", 10)
    again.restore(fresh)
    assert _epoch_of(fresh) == 2, "training goes on from the last epoch"
    again.restore_best(fresh)
    assert _epoch_of(fresh) == 0, "predictions are the best epoch's"


def test_nothing_to_restore_starts_at_the_first_epoch(tmp_path):
    tracker = ResumableTraining(tmp_path, "val_loss", 3)
    assert tracker.restore(_model()) == 0
    assert tracker.best_epoch == -1


def test_a_full_disk_keeps_the_state_before(tmp_path, monkeypatch):
    model, tracker = _model(), ResumableTraining(tmp_path, "val_accuracy", 10)
    _feed(tracker, model, [0.5])
    before = (tmp_path / STATE).read_bytes()

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="disk is full"):
        tracker.on_epoch_end(1, {"val_accuracy": 0.1})
    assert (tmp_path / STATE).read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {STATE, BEST}


@pytest.mark.parametrize(
    "damage",
    [lambda content: content[: len(content) // 2], lambda content: b"", lambda content: b"not a state" * 100],
    ids=["truncated", "empty", "garbage"],
)
def test_a_damaged_state_is_named_and_changes_nothing(tmp_path, damage):
    """One line that names the file and says that deleting it starts the execution anew; never a half-loaded model."""
    tracker = ResumableTraining(tmp_path, "val_accuracy", 10)
    _feed(tracker, _model(), [0.5])
    path = tmp_path / STATE
    path.write_bytes(damage(path.read_bytes()))
    model = _model(seed=7)
    before = model.get_weights()
    with pytest.raises(UserError, match=r"state\.npz"):
        ResumableTraining(tmp_path, "val_accuracy", 10).restore(model)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_a_state_of_another_network_is_refused(tmp_path):
    tracker = ResumableTraining(tmp_path, "val_accuracy", 10)
    _feed(tracker, _model(), [0.5])
    with pytest.raises(UserError, match=r"state\.npz"):
        ResumableTraining(tmp_path, "val_accuracy", 10).restore(_model(width=6))


def test_a_training_that_never_had_a_number_says_so(tmp_path, caplog):
    """A diverged loss is NaN in every epoch: there is no best epoch to predict with."""
    caplog.set_level(logging.ERROR)
    model, tracker = _model(), ResumableTraining(tmp_path, "val_loss", 10)
    _feed(tracker, model, [float("nan")] * 3)
    with pytest.raises(UserError, match="val_loss"):
        tracker.restore_best(model)
