"""One execution: one training in its own folder, from prepared images to predictions."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from covid_keras.data.augment import Augmentation
from covid_keras.data.pipeline import make_dataset, steps_per_epoch
from covid_keras.data.preparation import PreparedImages, prepare_cohort
from covid_keras.errors import UserError
from covid_keras.evaluation.predictions import write_predictions
from covid_keras.files import atomic_path, sha256_of, write_json
from covid_keras.settings import as_plain
from covid_keras.training.devices import describe_device, resolve_strategy, set_precision
from covid_keras.training.experiment import Paper, System
from covid_keras.training.protocol import OptimizerSettings, TrainingSettings
from covid_keras.training.provenance import provenance
from covid_keras.training.resume import BEST, STATE, ResumableTraining
from covid_keras.training.runfolder import Execution, RunFolder

PROGRESS = "@progress "

_log = logging.getLogger(__name__)


def make_optimizer(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Return the optimiser that the protocol describes."""
    rate: Any = settings.learning_rate
    if settings.decay:
        rate = keras.optimizers.schedules.InverseTimeDecay(settings.learning_rate, 1, settings.decay)
    if settings.name == "adam":
        return keras.optimizers.Adam(rate)
    return keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=settings.nesterov)


def seed_of(training: TrainingSettings, execution: Execution) -> int:
    """Return the seed of an execution: the protocol's, the repeat's and the fold's, distinct within a protocol."""
    return training.seed + 1000 * execution.repeat + execution.fold


def execute(paper: Paper, run: RunFolder, execution: Execution) -> None:
    """Train one execution, or go on with it, and write its predictions; nothing to do where it is done.

    Raises
    ------
    UserError
        Where another process is training it, the images cannot be read, or the training diverged.
    """
    with _locked(execution.folder):
        if execution.done:
            return
        _remove_unfinished_files(execution.folder)
        system, protocol = paper.system(execution.system), run.protocol
        tf.config.experimental.enable_op_determinism()
        seed = seed_of(protocol.training, execution)
        keras.utils.set_random_seed(seed)
        strategy = resolve_strategy(run.settings["strategy"])
        set_precision(run.settings["precision"])
        prepared = prepare_cohort(run.cohort, system.preparation(protocol), Path(run.settings["cache"]))
        with strategy.scope():
            model = system.build(protocol, run.cohort.classes)
            model.compile(
                make_optimizer(protocol.training.optimizer),
                keras.losses.CategoricalCrossentropy(),
                metrics=["accuracy"],
                jit_compile=False,
            )
            model.optimizer.build(model.trainable_variables)
        static = isinstance(strategy, tf.distribute.TPUStrategy)  # a TPU compiles for one shape of batch
        tracker = _fit(model, system, run, execution, prepared, seed, static)
        tracker.restore_best(model)
        frame = predict(model, system, run, execution, prepared)
        _write(run, execution, frame, tracker, model, strategy, seed)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the execution's lock, which the system drops when the process dies, however it dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(folder, "is being trained by another process", "Wait for it, or end it first") from error
        yield


def _remove_unfinished_files(folder: Path) -> None:
    """Remove what a killed process was writing: large, and never read by anyone."""
    for path in folder.glob(".writing-*"):
        path.unlink()


class _Reporter(keras.callbacks.Callback):
    """Tell the parent process, line by line, how far the training is."""

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        values = {key: round(float(value), 4) for key, value in (logs or {}).items()}
        sys.stdout.write(PROGRESS + json.dumps({"epoch": epoch + 1} | values) + "\n")
        sys.stdout.flush()


def _fit(
    model: keras.Model,
    system: System,
    run: RunFolder,
    execution: Execution,
    prepared: PreparedImages,
    seed: int,
    static: bool,
) -> ResumableTraining:
    """Train until the last epoch or until patience is spent, from wherever a killed training stood."""
    training = run.protocol.training
    tracker = ResumableTraining(execution.folder, training.monitor, training.patience)
    start = tracker.restore(model)
    if tracker.finished or start >= training.epochs:
        return tracker
    part, labels = run.part(execution.repeat, execution.fold).to_numpy(), run.cohort.labels()
    train, validation = np.flatnonzero(part == "train"), np.flatnonzero(part == "validation")
    common = {
        "labels": labels,
        "batch_size": training.batch_size,
        "scaling": system.scaling,
        "channels": system.channels,
        "one_hot": len(run.cohort.classes),
    }
    augmentation = Augmentation(**as_plain(training.augmentation))
    batches = make_dataset(
        prepared,
        train,
        seed=seed,
        training=True,
        augmentation=augmentation,
        epochs=training.epochs,
        start_epoch=start,
        drop_remainder=static,
        **common,
    )
    model.fit(
        batches,
        epochs=training.epochs,
        initial_epoch=start,
        verbose=0,
        shuffle=False,
        steps_per_epoch=steps_per_epoch(len(train), training.batch_size, static),
        validation_data=make_dataset(prepared, validation, **common),
        callbacks=[tracker, _Reporter()],
    )
    return tracker


def predict(
    model: keras.Model, system: System, run: RunFolder, execution: Execution, prepared: PreparedImages
) -> pd.DataFrame:
    """Return the predictions of one execution on its validation and test parts, in the cohort's order."""
    cohort, part = run.cohort, run.part(execution.repeat, execution.fold)
    rows = np.flatnonzero(part.isin(("validation", "test")).to_numpy())
    batches = make_dataset(
        prepared, rows, batch_size=run.protocol.training.batch_size, scaling=system.scaling, channels=system.channels
    )
    scores = model.predict(batches, verbose=0).astype(np.float64)
    if not np.isfinite(scores).all():
        for name in (STATE, BEST):  # to go on from here would end here
            (execution.folder / name).unlink(missing_ok=True)
        raise UserError(execution.folder, "the training diverged: its scores are no numbers", "Lower the learning rate")
    scores /= scores.sum(axis=1, keepdims=True)
    table = cohort.table.iloc[rows]
    frame = table[["image_id", "path", "patient_id", "source", "severity"]].reset_index(drop=True)
    frame = frame.assign(
        system=execution.system,
        repeat=execution.repeat,
        fold=execution.fold,
        split=part.iloc[rows].to_numpy(),
        label=table["label"].to_numpy(),
        predicted=np.array(cohort.classes)[scores.argmax(axis=1)],
    )
    for i, name in enumerate(cohort.classes):
        frame[f"score_{name}"] = scores[:, i]
    return frame


def _write(
    run: RunFolder,
    execution: Execution,
    frame: pd.DataFrame,
    tracker: ResumableTraining,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
    seed: int,
) -> None:
    """Write predictions and history, then the record that says the execution is done."""
    with atomic_path(execution.folder / "history.csv") as temporary:
        pd.DataFrame(tracker.history).to_csv(temporary, index=False)
    write_predictions(execution.predictions, frame)
    record = provenance(
        system=execution.system,
        repeat=execution.repeat,
        fold=execution.fold,
        seed=seed,
        seconds=round(tracker.seconds, 1),
        epochs=len(tracker.history),
        best_epoch=tracker.best_epoch,
        parameters=int(model.count_params()),
        cohort_fingerprint=run.record["cohort_fingerprint"],
        device=describe_device() | {"strategy": type(strategy).__name__, "replicas": strategy.num_replicas_in_sync},
        policy=keras.config.dtype_policy().name,
        predictions_sha256=sha256_of(execution.predictions),
    )
    write_json(execution.record, record)
    (execution.folder / STATE).unlink(missing_ok=True)
