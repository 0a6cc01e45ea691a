"""The fit loop of classifiers and segmenters: trains in stages and resumes a killed training."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from covid_keras.common.progress import open_bar
from covid_keras.data.pipeline import naming_damage
from covid_keras.paper.unfreezing import Stage
from covid_keras.training.resume import ResumableTraining

# Called after each epoch with the number of epochs done and what Keras logged.
Tell = Callable[[int, dict[str, float]], None]


@dataclass(frozen=True, eq=False)
class Feed:
    """Training and validation batches.

    Attributes
    ----------
    batches : callable
        (first epoch, end) -> training batches of the epochs up to `end` - 1: a dataset of all of them, or a
        `keras.utils.PyDataset` of one epoch, which counts the epochs itself.
    validation : Dataset or tuple of ndarray
        As `model.fit` takes it.
    options : dict
        Further arguments of `model.fit`.
    """

    batches: Callable[[int, int], tf.data.Dataset | keras.utils.PyDataset]
    validation: Any
    options: dict[str, Any] = field(default_factory=dict)


class _Telling(keras.callbacks.Callback):
    """Report the progress of the training."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self.tell = tell

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.tell(epoch + 1, {key: float(value) for key, value in (logs or {}).items()})


def fit(
    model: keras.Model,
    tracker: ResumableTraining,
    feed: Feed,
    stages: Sequence[Stage],
    tell: Tell,
    open_stage: Callable[[Stage], None] | None = None,
    watch: Callable[[Stage], list[keras.callbacks.Callback]] = lambda stage: [],
) -> None:
    """Train all stages, each until its last epoch or until patience runs out; restore the best epoch's weights.

    Parameters
    ----------
    model : keras.Model
        Compiled, its optimiser built.
    tracker : ResumableTraining
        Its folder holds the state of a killed training, which is resumed with identical steps.
    feed : Feed
    stages : sequence of Stage
        A single one without progressive unfreezing.
    tell : callable
    open_stage : callable, optional
        Prepares and compiles the model for a stage; called only if there are several.
    watch : callable
        Makes the callbacks of a stage that precede the tracker.
    """
    reached = tracker.stage_reached()
    for number in range(reached, len(stages)):
        if len(stages) > 1:
            if number > reached:
                tracker.restore_best(model)
            tracker.begin_stage(number, stages[number].patience)
            open_stage(stages[number])
            if number > reached:
                tracker.keep(model)  # the best weights on disk may be written before this stage's first state
        start = tracker.restore(model) if number == reached else len(tracker.history)
        end = tracker.stage_start + stages[number].epochs
        if not tracker.finished and start < end:
            fit_epochs(model, feed, start, end, [*watch(stages[number]), tracker], tell)
    tracker.restore_best(model)


def fit_epochs(
    model: keras.Model, feed: Feed, start: int, end: int, callbacks: Sequence[keras.callbacks.Callback], tell: Tell
) -> None:
    """Train the epochs `start` to `end` - 1 on batches in the given order."""
    batches = feed.batches(start, end)
    steps = len(batches) // (end - start) if isinstance(batches, tf.data.Dataset) else None
    options = {"shuffle": False, "steps_per_epoch": steps, "validation_data": feed.validation} | feed.options
    callbacks = [*callbacks, _Telling(tell)]
    if isinstance(batches, tf.data.Dataset):
        build_metrics(model, batches)
    with naming_damage():
        model.fit(batches, initial_epoch=start, epochs=end, verbose=0, callbacks=callbacks, **options)


def build_metrics(model: keras.Model, batches: tf.data.Dataset) -> None:
    """Create the variables of the compiled metrics of a network with one output.

    Keras would create them while it traces the training step, and TensorFlow would trace the step once more for that.
    """
    outputs, labels = getattr(model, "outputs", None) or (), batches.element_spec[1]
    if len(outputs) == 1 and None not in (*outputs[0].shape[1:], *labels.shape[1:]):
        said, known = (np.zeros((1, *one.shape[1:]), np.float32) for one in (outputs[0], labels))
        model.compute_metrics(None, known, said)
        model.reset_metrics()


@contextmanager
def epoch_bar(what: str, epochs: int) -> Iterator[Tell]:
    """Show a progress bar over epochs with losses, metrics and time left; yield its update function."""
    with open_bar(total=epochs, desc=f"training {what}", unit="epoch") as bar:

        def tell(done: int, values: dict[str, float]) -> None:
            bar.set_postfix({key: f"{value:.3f}" for key, value in values.items()}, refresh=False)
            bar.update(done - bar.n)

        yield tell


# -------------------------------------------------------------------------------------------- a rate that falls


def cosine_rate(first: float, start: int, epochs: int) -> keras.callbacks.Callback:
    """Return a callback that lowers the rate from `first` in epoch `start` to 0 after `epochs`, along half a cosine."""
    return keras.callbacks.LearningRateScheduler(
        lambda epoch, _: first * (1 + math.cos(math.pi * (epoch - start) / epochs)) / 2
    )


@dataclass(frozen=True)
class Plateau:
    """A learning rate that is reduced when the monitored quantity stops rising.

    Attributes
    ----------
    patience : int
        Epochs without a new best after which the rate is reduced; 0: never.
    factor : float
        Factor of the reduction.
    """

    patience: int
    factor: float

    def rate(self, first: float, values: Sequence[float]) -> float:
        """Return the rate of the next epoch, from the monitored values so far; NaN never counts as best.

        Depends only on the history, so that a resumed training has the same rates.
        """
        rate, best, waited = first, -np.inf, 0
        for value in values:
            waited = 0 if value > best else waited + 1
            best = value if value > best else best
            if waited == self.patience > 0:
                rate, waited = rate * self.factor, 0
        return rate


class PlateauRate(keras.callbacks.Callback):
    """Set the rate of each epoch from the tracker's history."""

    def __init__(self, plateau: Plateau, first: float, tracker: ResumableTraining) -> None:
        super().__init__()
        self.plateau, self.first, self.tracker = plateau, first, tracker

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = [one[self.tracker.monitor] for one in self.tracker.history]
        self.model.optimizer.learning_rate = self.plateau.rate(self.first, values)
