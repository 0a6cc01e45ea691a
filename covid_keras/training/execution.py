"""One execution: one training in its own folder, from prepared images to predictions."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, locked, sha256_of, write_json
from covid_keras.common.provenance import provenance
from covid_keras.common.settings import as_plain
from covid_keras.data.augment import Augmentation
from covid_keras.data.pipeline import make_dataset
from covid_keras.evaluation.predictions import read_predictions, write_predictions
from covid_keras.paper.paper import Paper, System
from covid_keras.paper.protocol import OptimizerSettings, Protocol, TrainingSettings
from covid_keras.paper.unfreezing import Stage, open_stage, stages_of
from covid_keras.training.devices import describe_device, resolve_strategy, set_precision
from covid_keras.training.fitting import Feed, Tell, fit
from covid_keras.training.inputs import Inputs, admitted, decide, inputs_of, part_of
from covid_keras.training.networks import chosen_of, members_of, network_of
from covid_keras.training.resume import BEST, STATE, ResumableTraining
from covid_keras.training.runfolder import Execution, RunFolder


def make_optimizer(settings: OptimizerSettings) -> keras.optimizers.Optimizer:
    """Return the optimiser that the protocol describes."""
    rate: Any = settings.learning_rate
    if settings.decay:
        rate = keras.optimizers.schedules.InverseTimeDecay(settings.learning_rate, 1, settings.decay)
    if settings.name == "adam":
        return keras.optimizers.Adam(rate, epsilon=settings.epsilon)
    return keras.optimizers.SGD(rate, momentum=settings.momentum, nesterov=settings.nesterov)


def seed_of(training: TrainingSettings, execution: Execution) -> int:
    """Return the seed of an execution: the protocol's, the repeat's and the fold's, distinct within a protocol."""
    return training.seed + 1000 * execution.repeat + execution.fold


def execute(paper: Paper, run: RunFolder, execution: Execution, tell: Tell = lambda epoch, values: None) -> None:
    """Train one execution, or go on with it, and write its predictions; nothing to do where it is done.

    `tell` is called after each epoch.

    Raises
    ------
    UserError
        Where another process is training it, the images cannot be read, or the training diverged.
    """
    with locked(execution.folder, wait=False):
        if execution.done:
            return
        _remove_unfinished_files(execution.folder)
        if paper.system(execution.system).members:
            _combine(paper, run, execution)
            return
        tf.config.experimental.enable_op_determinism()
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": run.protocol.quick_start})
        asked = run.settings["strategy"]
        strategy = resolve_strategy("one" if paper.system(execution.system).one_device else asked)
        set_precision(run.settings["precision"])
        part = admitted(paper, run, execution, part_of(paper, run, execution))
        system = paper.system(execution.system)
        seed = seed_of(system.training(run.protocol), execution)
        inputs = inputs_of(paper, run, execution, part)
        job = _Job(paper, system, run, execution, part, inputs, seed)
        # After the inputs: making them may draw random numbers, and finding them made does not.
        keras.utils.set_random_seed(seed)
        with strategy.scope():
            model, tracker = _model(job)
        if job.system.trained:
            # A TPU compiles for one shape of batch.
            _fit(job, model, tracker, isinstance(strategy, tf.distribute.TPUStrategy), tell)
        frame = predict(job, model)
        _write(job, frame, tracker, model, strategy)


def _combine(paper: Paper, run: RunFolder, execution: Execution) -> None:
    """Write the predictions of an ensemble, made of those of its members on the same fold."""
    started, system = time.monotonic(), paper.system(execution.system)
    members = members_of(paper, run, execution)
    combined = system.combine(run.protocol, [read_predictions(one.predictions) for one in members], execution.system)
    write_predictions(execution.predictions, combined.frame)
    part = combined.frame["split"]
    record = provenance(
        **_identity(run, execution),
        seed=system.training(run.protocol).seed,
        seconds=round(time.monotonic() - started, 1),
        epochs=0,
        best_epoch=-1,
        parameters=sum(one.details["parameters"] for one in members),
        images={name: int((part == name).sum()) for name in ("train", "validation", "test")},
        device=members[0].details["device"],
        policy=members[0].details["policy"],
        predictions_sha256=sha256_of(execution.predictions),
        combined=combined.facts,
    )
    write_json(execution.record, record)


def _identity(run: RunFolder, execution: Execution) -> dict[str, Any]:
    """Which execution of which cohort a record is of."""
    return {
        "system": execution.system,
        "repeat": execution.repeat,
        "fold": execution.fold,
        "cohort_fingerprint": run.record["cohort_fingerprint"],
    }


@dataclass(frozen=True, eq=False)
class _Job:
    """Everything that one execution is made of."""

    paper: Paper
    system: System
    run: RunFolder
    execution: Execution
    part: np.ndarray
    inputs: Inputs
    seed: int

    @property
    def training(self) -> TrainingSettings:
        """How it is trained."""
        return self.system.training(self.run.protocol)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of its network."""
        return self.paper.classes_of(self.system, self.run.cohort)

    @property
    def scored(self) -> tuple[str, ...]:
        """The labels that are evaluated."""
        return self.paper.scored_of(self.system, self.run.cohort)

    @property
    def stages(self) -> list[Stage]:
        """The stages of its training; one where nothing is unfrozen."""
        return stages_of(self.training, self.system.unfreezing)

    @property
    def chosen_on(self) -> str:
        """The part that chooses the epoch."""
        return "test" if self.run.protocol.split_of(self.system.split).chosen_on_test else "validation"


def _model(job: _Job) -> tuple[keras.Model, ResumableTraining]:
    """Build and compile the network, or load the one that was released; and what watches its training."""
    system, protocol, training = job.system, job.run.protocol, job.training
    tracker = ResumableTraining(job.execution.folder, training.monitor, training.patience, training.stop, training.ties)
    if not system.trained:
        return network_of(job.paper, job.run, job.execution), tracker
    model = system.build(protocol, job.classes)
    if system.adapt is not None:
        system.adapt(model, job.inputs, job.inputs.rows_of(job.part, "train"))
    _compile(job, model, training)
    return model, tracker


def _compile(job: _Job, model: keras.Model, training: TrainingSettings) -> None:
    """Attach optimiser and loss, the optimiser with its variables, which a resumed training restores."""
    train = job.inputs.rows_of(job.part, "train")
    counts = np.bincount(job.inputs.labels[train], minlength=job.inputs.outputs)
    (job.system.compile or compile_classifier)(model, training, job.run.protocol, counts)
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def compile_classifier(model: keras.Model, training: TrainingSettings, protocol: Protocol, counts: np.ndarray) -> None:
    """Attach the protocol's optimiser and cross-entropy: on softmax outputs, or on one sigmoid."""
    del protocol, counts
    single = ends_in_one(model)
    loss = keras.losses.BinaryCrossentropy if single else keras.losses.CategoricalCrossentropy
    model.compile(
        make_optimizer(training.optimizer),
        loss(label_smoothing=training.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,
    )


def _remove_unfinished_files(folder: Path) -> None:
    """Remove what a killed process was writing: large, and never read by anyone."""
    for path in folder.glob(".writing-*"):
        path.unlink()


def _feed_of(job: _Job, model: keras.Model, static: bool) -> Feed:
    """Return what the network learns from; `static`: in batches of one size."""
    training, system, inputs = job.training, job.system, job.inputs
    train, validation = inputs.rows_of(job.part, "train"), inputs.rows_of(job.part, job.chosen_on)
    common, augmentation = _feeding(job, model), Augmentation(**as_plain(training.augmentation))
    plan = system.plan and system.plan(inputs.labels[train], training, job.run.protocol, job.seed)

    def batches(start: int, end: int) -> tf.data.Dataset:
        return make_dataset(
            inputs.prepared,
            train,
            seed=job.seed,
            training=True,
            augmentation=augmentation,
            epochs=end,
            start_epoch=start,
            drop_remainder=static,
            plan=plan,
            **common,
        )

    weights = class_weights(inputs.labels[train], inputs.outputs, training)
    return Feed(batches, make_dataset(inputs.prepared, validation, **common), {"class_weight": weights})


def _fit(job: _Job, model: keras.Model, tracker: ResumableTraining, static: bool, tell: Tell) -> None:
    """Train the network; see `covid_keras.training.fitting.fit`."""
    system, protocol = job.system, job.run.protocol

    def begin(stage: Stage) -> None:
        open_stage(model, system.unfreezing, stage)
        with model.distribute_strategy.scope():  # or the stage's optimiser would be one device's
            _compile(job, model, stage.applied(job.training))

    watch = (lambda: system.callbacks(protocol)) if system.callbacks else list
    fit(model, tracker, _feed_of(job, model, static), job.stages, tell, begin, watch)


def ends_in_one(model: keras.Model) -> bool:
    """Whether a network ends in a single unit; one that is no graph of layers, with losses of its own, does not."""
    outputs = getattr(model, "outputs", None)
    return bool(outputs) and len(outputs) == 1 and outputs[0].shape[-1] == 1


def _feeding(job: _Job, model: keras.Model) -> dict[str, Any]:
    """Return how images and labels are fed to the network, in training as in validation."""
    inputs, system = job.inputs, job.system
    single = ends_in_one(model) and inputs.outputs == 2  # one sigmoid learns the index of the class
    return {
        "labels": inputs.labels[:, None].astype(np.float32) if single else inputs.labels,
        "batch_size": job.training.batch_size,
        "scaling": system.scaling,
        "channels": system.channels,
        "one_hot": None if single else inputs.outputs,
    }


def untrained(paper: Paper, run: RunFolder, execution: Execution) -> tuple[keras.Model, tf.data.Dataset]:
    """Return an execution's network, compiled and with its initial weights, and its training part, not augmented."""
    system, part = paper.system(execution.system), admitted(paper, run, execution, part_of(paper, run, execution))
    seed = seed_of(system.training(run.protocol), execution)
    job = _Job(paper, system, run, execution, part, inputs_of(paper, run, execution, part), seed)
    keras.utils.set_random_seed(seed)
    model, _ = _model(job)
    train = job.inputs.rows_of(part, "train")
    return model, make_dataset(job.inputs.prepared, train, seed=seed, training=True, **_feeding(job, model))


def class_weights(labels: np.ndarray, classes: int, training: TrainingSettings) -> dict[int, float] | None:
    """Return the weight of each class in the loss, a dict since Keras once ignored arrays in silence; None for none."""
    if training.class_weights != "balanced":
        return None
    present = np.unique(labels)
    weights = compute_class_weight("balanced", classes=present, y=labels)
    return dict.fromkeys(range(classes), 1.0) | dict(zip(present.tolist(), weights.tolist(), strict=True))


def predict(job: _Job, model: keras.Model) -> pd.DataFrame:
    """Return the predictions of one execution on the scored images of the parts that it predicts, in order."""
    cohort, inputs, execution = job.run.cohort, job.inputs, job.execution
    labels = job.system.labelled(cohort).table["label"]
    scored = np.where(labels.isin(job.scored), job.part, "")
    chosen = inputs.rows_of(scored, *job.system.parts)
    rows, views = np.unique(inputs.owner[chosen], return_counts=True)
    batches = make_dataset(
        inputs.prepared,
        chosen,
        batch_size=job.training.batch_size,
        scaling=job.system.scaling,
        channels=job.system.channels,
    )
    outputs = model.predict(batches, verbose=0)
    if not np.isfinite(outputs).all():
        for name in (STATE, BEST):  # to go on from here would end here
            (execution.folder / name).unlink(missing_ok=True)
        raise UserError(execution.folder, "the training diverged: its scores are no numbers", "Lower the learning rate")
    decided, scores = decide(job.system, outputs.reshape(len(rows), views[0], -1), job.scored)
    table = cohort.table.iloc[rows]
    frame = table[["image_id", "path", "patient_id", "source", "severity"]].reset_index(drop=True)
    frame = frame.assign(
        system=execution.system,
        repeat=execution.repeat,
        fold=execution.fold,
        split=job.part[rows],
        label=labels.to_numpy()[rows],
        predicted=np.array(job.scored)[decided],
    )
    for i, name in enumerate(job.scored):
        frame[f"score_{name}"] = scores[:, i]
    return frame


def _stage_facts(stages: list[Stage], tracker: ResumableTraining) -> list[dict[str, Any]]:
    """What each stage of a training took, and the best that it reached by itself (None for one without an epoch)."""
    facts, monitor = [], tracker.monitor
    for number, stage in enumerate(stages):
        values = [epoch[monitor] for epoch in tracker.history if epoch["stage"] == number]
        best = (min(values) if monitor.endswith("loss") else max(values)) if values else None
        facts.append({"name": stage.name, "epochs": len(values), monitor: best})
    return facts


def _write(
    job: _Job,
    frame: pd.DataFrame,
    tracker: ResumableTraining,
    model: keras.Model,
    strategy: tf.distribute.Strategy,
) -> None:
    """Write predictions and history, then the record that says the execution is done."""
    execution = job.execution
    if tracker.history:
        with atomic_path(execution.folder / "history.csv") as temporary:
            pd.DataFrame(tracker.history).to_csv(temporary, index=False)
    write_predictions(execution.predictions, frame)
    record = provenance(
        **_identity(job.run, execution),
        seed=job.seed,
        seconds=round(tracker.seconds, 1),
        epochs=len(tracker.history),
        best_epoch=tracker.best_epoch,
        parameters=int(model.count_params()),
        images={name: int((job.part == name).sum()) for name in ("train", "validation", "test")},
        device=describe_device() | {"strategy": type(strategy).__name__, "replicas": strategy.num_replicas_in_sync},
        policy=keras.config.dtype_policy().name,
        predictions_sha256=sha256_of(execution.predictions),
        **({"chosen": chosen_of(job.paper, job.run, execution).system} if job.system.choose else {}),
        **({"stages": _stage_facts(job.stages, tracker)} if len(job.stages) > 1 else {}),
    )
    write_json(execution.record, record)
    (execution.folder / STATE).unlink(missing_ok=True)
