"""One execution: one training in its own folder, from prepared images to predictions."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from covid_keras.common.errors import UserError
from covid_keras.common.files import locked, remove_unfinished, sha256_of, write_record
from covid_keras.common.memory import TRAIN_LESS, naming_shortage
from covid_keras.common.provenance import provenance
from covid_keras.common.settings import as_plain
from covid_keras.common.tables import write_table
from covid_keras.common.threads import THREADS
from covid_keras.data.augment import Augmentation
from covid_keras.data.pipeline import make_dataset, naming_damage
from covid_keras.data.splits import PARTS
from covid_keras.evaluation.predictions import write_predictions
from covid_keras.models.compiling import ends_in_one
from covid_keras.models.pieces import train_in_pieces
from covid_keras.paper.execution import Outcome
from covid_keras.paper.protocol import TrainingSettings
from covid_keras.paper.system import System
from covid_keras.paper.unfreezing import Stage, open_stage
from covid_keras.training.devices import (
    compute_reproducibly,
    describe_device,
    needs_full_batches,
    require_pieces,
    resolve_strategy,
    set_graph_optimizer,
    set_precision,
)
from covid_keras.training.executions import Execution
from covid_keras.training.fitting import Feed, Tell, cosine_rate, fit
from covid_keras.training.kept import STATE, remove_spent
from covid_keras.training.records import HISTORY
from covid_keras.training.resume import ResumableTraining


def execute(execution: Execution, tell: Tell = lambda epoch, values: None) -> None:
    """Train or resume one execution and write its predictions; do nothing if it is finished.

    `tell` is called after each epoch.

    Raises
    ------
    UserError
        If another process is training it, the images cannot be read, memory runs out, or the training diverged.
    """
    with locked(execution.folder, wait=False):
        if execution.done:
            return
        remove_unfinished(execution.folder)
        started = time.monotonic()
        with naming_shortage(execution.name, TRAIN_LESS):
            outcome = execution.system.run(Training(execution, tell))
        _write(execution, outcome, time.monotonic() - started)
        remove_spent(execution)


class Training:
    """Carries out an execution (`covid_keras.paper.execution.Trainer`)."""

    def __init__(self, execution: Execution, tell: Tell = lambda epoch, values: None) -> None:
        self.execution, self.tell = execution, tell

    @property
    def system(self) -> System:
        """The system of the execution."""
        return self.execution.system

    def train(self) -> Outcome:
        """Train or resume the network, and predict with its best weights."""
        strategy = self._start()
        tracker = self._tracker()
        with strategy.scope():
            model = self.untrained()
        batch_size = self.execution.training.batch_size
        self._fit(model, tracker, static=needs_full_batches(strategy, len(self._train_rows), batch_size))
        frame = self.predict(model)
        stages = self._stages
        facts = self._facts(model.count_params(), strategy) | {
            "seconds": round(tracker.seconds, 1),
            "epochs": len(tracker.history),
            "best_epoch": tracker.best_epoch,
            "weights_sha256": tracker.best_sha256,
        }
        if len(stages) > 1:
            facts["stages"] = _stage_facts(stages, tracker)
        return Outcome(frame, facts, tracker.history)

    def apply(self) -> Outcome:
        """Predict with a network that is not trained here."""
        strategy, started = self._start(), time.monotonic()
        with strategy.scope():
            model = self.execution.network
        frame, facts = self.predict(model), self._facts(model.count_params(), strategy)
        return Outcome(frame, facts | {"seconds": round(time.monotonic() - started, 1)})

    def score(self, outputs_of: Callable[[np.ndarray], np.ndarray], parameters: int) -> Outcome:
        """Predict without a network, by outputs (m, outputs) of rows of the inputs."""
        strategy = self._start()
        return Outcome(self._predictions(outputs_of), self._facts(parameters, strategy))

    def _start(self) -> tf.distribute.Strategy:
        """Make the inputs; set devices, precision and seed; return the strategy."""
        run, execution = self.execution.run, self.execution
        compute_reproducibly()
        set_graph_optimizer(run.protocol.quick_start)
        strategy = resolve_strategy(self.system.strategy(run.settings["strategy"]))
        require_pieces(strategy, run.protocol.micro_batch)
        set_precision(run.settings["precision"])
        _ = execution.inputs
        # After the inputs: making them may draw random numbers, loading them does not.
        keras.utils.set_random_seed(execution.seed)
        return strategy

    def _tracker(self) -> ResumableTraining:
        training = self.execution.training
        return ResumableTraining(
            self.execution.folder,
            training.monitor,
            training.patience,
            training.stop,
            training.ties,
            self.execution.run.identity,
            self.execution.address,
        )

    def _facts(self, parameters: int, strategy: tf.distribute.Strategy) -> dict[str, Any]:
        """Return the record's entries on a network, or another classifier, and its device."""
        return {
            "seed": self.execution.seed,
            "parameters": int(parameters),
            "images": {name: int((self.execution.part == name).sum()) for name in PARTS},
            "device": describe_device()
            | {"strategy": type(strategy).__name__, "replicas": strategy.num_replicas_in_sync}
            | {"threads": int(os.environ.get(THREADS[0], 0))},  # 0: TensorFlow's default, one per processor
            "policy": keras.config.dtype_policy().name,
        }

    # ------------------------------------------------------------------------------------------------ training

    @property
    def _stages(self) -> list[Stage]:
        return self.system.stages(self.execution.protocol)

    @property
    def _at_a_time(self) -> int:
        return self.execution.protocol.at_a_time(self.execution.training.batch_size)

    @property
    def _train_rows(self) -> np.ndarray:
        return self.execution.inputs.rows_of(self.execution.part, "train")

    def untrained(self) -> keras.Model:
        """Return the network, compiled, with its initial weights."""
        execution, system = self.execution, self.system
        model = system.build(execution.protocol, execution.classes)
        system.initialise(model, execution.protocol)
        system.adapt(model, execution.inputs, self._train_rows)
        self._compile(model, execution.training)
        return model

    def _compile(self, model: keras.Model, training: TrainingSettings) -> None:
        """Attach optimiser and loss; build the optimiser's variables, which a resumed training restores."""
        inputs = self.execution.inputs
        counts = np.bincount(inputs.labels[self._train_rows], minlength=inputs.outputs)
        self.system.compile(model, training, self.execution.protocol, counts)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        train_in_pieces(model, self.execution.protocol.micro_batch)

    def _fit(self, model: keras.Model, tracker: ResumableTraining, static: bool) -> None:
        """Train the network; see `covid_keras.training.fitting.fit`."""
        system, protocol = self.system, self.execution.protocol

        def begin(stage: Stage) -> None:
            open_stage(model, system.groups, stage)
            with model.distribute_strategy.scope():  # else the stage's optimiser would be on one device only
                self._compile(model, stage.applied(self.execution.training))

        def watch(stage: Stage) -> list[keras.callbacks.Callback]:
            falls = self.execution.training.schedule == "cosine"
            rate = [cosine_rate(stage.learning_rate, tracker.stage_start, stage.epochs)] if falls else []
            return [*rate, *system.callbacks(protocol)]

        fit(model, tracker, self._feed(model, static), self._stages, self.tell, begin, watch)

    def _feed(self, model: keras.Model, static: bool) -> Feed:
        """Return the training and validation batches."""
        execution, inputs, training = self.execution, self.execution.inputs, self.execution.training
        train, common = self._train_rows, self._feeding(model)
        # The part that chooses the epoch.
        chosen_on = "test" if execution.protocol.split_of(self.system.split).chosen_on_test else "validation"
        plan = self.system.plan(inputs.labels[train], training, execution.protocol, execution.seed)

        def batches(start: int, end: int) -> tf.data.Dataset:
            return make_dataset(
                inputs.prepared,
                train,
                seed=execution.seed,
                training=True,
                augmentation=Augmentation(**as_plain(training.augmentation)),
                epochs=end,
                start_epoch=start,
                drop_remainder=static,
                plan=plan,
                **common,
            )

        rows, tested = inputs.rows_of(execution.part, chosen_on), common | {"batch_size": self._at_a_time}
        validation = make_dataset(inputs.prepared, rows, **tested)
        attached = self.system.weighs_classes
        weights = None if attached else class_weights(inputs.labels[train], inputs.outputs, training)
        return Feed(batches, validation, {"class_weight": weights})

    def _feeding(self, model: keras.Model) -> dict[str, Any]:
        """Return how images and labels are fed to the network, in training as in validation."""
        inputs, system = self.execution.inputs, self.system
        single = ends_in_one(model) and inputs.outputs == 2  # one sigmoid learns the index of the class
        return {
            "labels": inputs.labels[:, None].astype(np.float32) if single else inputs.labels,
            "batch_size": self.execution.training.batch_size,
            "scaling": system.scaling,
            "channels": system.channels,
            "one_hot": None if single else inputs.outputs,
        }

    def unaugmented(self, model: keras.Model) -> tf.data.Dataset:
        """Return the training batches, shuffled but not augmented."""
        return make_dataset(
            self.execution.inputs.prepared,
            self._train_rows,
            seed=self.execution.seed,
            training=True,
            **self._feeding(model),
        )

    # ------------------------------------------------------------------------------------------------ prediction

    def predict(self, model: keras.Model) -> pd.DataFrame:
        """Return the predictions on the scored images of the system's parts, in order."""
        inputs, system = self.execution.inputs, self.system

        def outputs_of(rows: np.ndarray) -> np.ndarray:
            batches = make_dataset(
                inputs.prepared,
                rows,
                batch_size=self._at_a_time,
                scaling=system.scaling,
                channels=system.channels,
            )
            with naming_damage():
                return model.predict(batches, verbose=0)

        return self._predictions(outputs_of)

    def _predictions(self, outputs_of: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
        execution, system, inputs = self.execution, self.system, self.execution.inputs
        labels = system.labelled(execution.cohort).table["label"]
        scored = np.where(labels.isin(execution.scored), execution.part, "")
        chosen = inputs.rows_of(scored, *system.parts)
        rows, views = np.unique(inputs.owner[chosen], return_counts=True)
        outputs = outputs_of(chosen)
        if not np.isfinite(outputs).all():
            for path in (execution.folder / STATE, execution.weights):  # resuming would fail again
                path.unlink(missing_ok=True)
            raise UserError(
                execution.folder, "the training diverged: its scores are not finite", "Lower the learning rate"
            )
        decided, scores = system.decide(outputs.reshape(len(rows), views[0], -1), execution.scored)
        table = execution.cohort.table.iloc[rows]
        frame = table[["image_id", "path", "patient_id", "source", "severity"]].reset_index(drop=True)
        frame = frame.assign(
            system=system.name,
            repeat=execution.repeat,
            fold=execution.fold,
            split=execution.part[rows],
            label=labels.to_numpy()[rows],
            predicted=np.array(execution.scored)[decided],
        )
        for i, name in enumerate(execution.scored):
            frame[f"score_{name}"] = scores[:, i]
        return frame


def untrained(execution: Execution) -> tuple[keras.Model, tf.data.Dataset]:
    """Return an execution's compiled network with its initial weights, and its training batches, not augmented."""
    training = Training(execution)
    _ = execution.inputs
    keras.utils.set_random_seed(execution.seed)
    model = training.untrained()
    return model, training.unaugmented(model)


def class_weights(labels: np.ndarray, classes: int, training: TrainingSettings) -> dict[int, float] | None:
    """Return the class weights of the loss as a dict (Keras once silently ignored arrays), or None."""
    if training.class_weights != "balanced":
        return None
    present = np.unique(labels)
    weights = compute_class_weight("balanced", classes=present, y=labels)
    return dict.fromkeys(range(classes), 1.0) | dict(zip(present.tolist(), weights.tolist(), strict=True))


def _stage_facts(stages: list[Stage], tracker: ResumableTraining) -> list[dict[str, Any]]:
    """Return epochs and best monitored value per stage (None for a stage without epochs)."""
    facts, monitor = [], tracker.monitor
    for number, stage in enumerate(stages):
        values = [epoch[monitor] for epoch in tracker.history if epoch["stage"] == number]
        best = (min(values) if monitor.endswith("loss") else max(values)) if values else None
        facts.append({"name": stage.name, "epochs": len(values), monitor: best})
    return facts


def _write(execution: Execution, outcome: Outcome, seconds: float) -> None:
    """Write predictions and history, then the record, which marks the execution as finished."""
    if outcome.history:
        write_table(execution.folder / HISTORY, pd.DataFrame(outcome.history))
    write_predictions(execution.predictions, outcome.frame)
    facts = {
        "system": execution.system.name,
        "repeat": execution.repeat,
        "fold": execution.fold,
        "run": execution.run.identity,
        "cohort_fingerprint": execution.run.record["cohort_fingerprint"],
        "seconds": round(seconds, 1),
        "epochs": 0,
        "best_epoch": -1,
    }
    record = facts | outcome.facts | {"predictions_sha256": sha256_of(execution.predictions)}
    if outcome.history:
        record["history_sha256"] = sha256_of(execution.folder / HISTORY)
    write_record(execution.record, provenance(**record))
