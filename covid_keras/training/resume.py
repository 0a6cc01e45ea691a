"""Best epoch, early stopping and resume in one callback whose whole state is on disk after every epoch."""

from __future__ import annotations

import json
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.training.runfolder import BEST

# So many times as long as a write took is waited before the next one.
WRITE_SHARE = 9.0
STATE = "state.npz"


class ResumableTraining(keras.callbacks.Callback):
    """Keep the best epoch on validation, stop without improvement, and continue after a kill.

    At the end of epochs all variables of model and optimiser (the seeds of dropout among them), the history and the
    counters go into one file that appears whole or not at all. A killed training restarts after the last epoch
    written; with batches keyed by (seed, epoch), the steps that follow are the very same.

    Parameters
    ----------
    folder : Path
        Run folder of the execution; receives `state.npz` while training and `best.weights.h5`.
    monitor : str
        "val_loss" or "loss" is minimised, anything else maximised; the first of equal epochs wins unless asked.
    patience : int
        Epochs without improvement before training stops.
    stop : str
        The quantity whose improvement patience waits for; `monitor` if not given.
    ties : {"first", "last"}
        Which of equally good epochs is kept.

    Attributes
    ----------
    stage, stage_start, staged : int, int, bool
        Of a training in stages, the one that it is in and the epoch at which that began: patience counts from there,
        the best epoch is that of all stages.
    """

    def __init__(self, folder: Path, monitor: str, patience: int, stop: str = "", ties: str = "first") -> None:
        super().__init__()
        self.folder, self.monitor, self.patience = folder, monitor, patience
        self.stop, self.ties = stop or monitor, ties
        self.stage, self.stage_start, self.staged = 0, 0, False
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.finished = -1, False
        self.seconds_before, self.started = 0.0, time.monotonic()
        self.next_write = 0.0

    @property
    def seconds(self) -> float:
        """Wall time of the training, including what a killed one had spent up to its last state."""
        return self.seconds_before + time.monotonic() - self.started

    def stage_reached(self) -> int:
        """Return the stage that a killed training was in, 0 for none; raise `UserError` for a damaged state."""
        return self._read()[0].get("stage", 0) if (self.folder / STATE).is_file() else 0

    def begin_stage(self, number: int, patience: int) -> None:
        """Begin a stage of a training in stages, the first of them or after what was trained so far."""
        self.stage, self.stage_start, self.staged = number, len(self.history), True
        self.patience, self.finished = patience, False

    def keep(self, model: keras.Model) -> None:
        """Write the state as it is, outside of any epoch."""
        self.set_model(model)
        self._write_state()

    def _read(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return what is kept: counters and history, and the variables in their order."""
        try:
            with np.load(self.folder / STATE) as state:
                return json.loads(str(state["meta"])), [state[f"v{i}"] for i in range(len(state.files) - 1)]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise self._unusable(f"is damaged ({error})") from error

    def restore(self, model: keras.Model) -> int:
        """Load the state left by a killed training, if any; return the epoch to start with.

        Raises
        ------
        UserError
            If the state is damaged or of another network; the model is left as it was.
        """
        if not (self.folder / STATE).is_file():
            return 0
        variables = _variables(model)
        meta, values = self._read()
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise self._unusable("is of another network")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.history, self.best_epoch, self.finished = meta["history"], meta["best_epoch"], meta["finished"]
        self.seconds_before = meta["seconds"]
        self.stage, self.stage_start = meta.get("stage", 0), meta.get("stage_start", 0)
        return len(self.history)

    def _unusable(self, problem: str) -> UserError:
        return UserError(self.folder / STATE, problem, "Delete it: the execution then starts at its first epoch")

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record the epoch, keep it where it is the best, write the state, stop where patience is spent."""
        logs = {key: float(value) for key, value in (logs or {}).items()}
        self.history.append({"epoch": epoch} | ({"stage": self.stage} if self.staged else {}) | logs)
        best_epoch = self._best_epoch(self.monitor, self.ties)
        better = best_epoch != self.best_epoch
        if better:
            self.best_epoch = best_epoch
            with atomic_path(self.folder / BEST) as temporary, _without_optimizers(self.model):
                self.model.save_weights(temporary)
        self.finished = epoch - max(self._best_epoch(self.stop, "first"), self.stage_start - 1) >= self.patience
        self.model.stop_training = self.finished
        # With every new best, so that the weights on disk are always those that the state means.
        if better or self.finished or time.monotonic() >= self.next_write:
            started = time.monotonic()
            self._write_state()
            # A network of 25 million values takes seconds to write: a tenth of the time at most, new bests aside.
            self.next_write = time.monotonic() + WRITE_SHARE * (time.monotonic() - started)

    def _best_epoch(self, name: str, ties: str) -> int:
        """Return the epoch so far that is best in one quantity; -1 if it was never a number."""
        values = np.array([epoch[name] for epoch in self.history])
        goodness = np.where(np.isnan(values), -np.inf, -values if name.endswith("loss") else values)
        if np.isneginf(goodness.max()):
            return -1
        best = np.flatnonzero(goodness == goodness.max())
        return int(best[-1 if ties == "last" else 0])

    def _write_state(self) -> None:
        meta = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "finished": self.finished,
            "stage": self.stage,
            "stage_start": self.stage_start,
        }
        arrays = {f"v{i}": np.asarray(variable) for i, variable in enumerate(_variables(self.model))}
        with atomic_path(self.folder / STATE) as temporary:
            np.savez(temporary, meta=np.array(json.dumps(meta)), **arrays)

    def restore_best(self, model: keras.Model) -> None:
        """Load the best epoch's weights.

        Raises
        ------
        UserError
            If no epoch had a finite value of what is monitored: the training diverged.
        """
        if self.best_epoch < 0:
            raise UserError(
                self.folder,
                f"the training diverged: {self.monitor} was never a number",
                "Lower the learning rate in the protocol",
            )
        with _without_optimizers(model):
            model.load_weights(self.folder / BEST)


@contextmanager
def _without_optimizers(model: keras.Model) -> Iterator[None]:
    """Set the optimisers aside: Keras keeps their state, two or three times the weights, in the same file."""
    kept = {name: getattr(model, name) for name in ("optimizer", "extra_optimizers") if hasattr(model, name)}
    for name in kept:
        setattr(model, name, None)
    try:
        yield
    finally:
        for name, optimizer in kept.items():
            setattr(model, name, optimizer)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """All variables that decide how training goes on, in a fixed order; running metrics start anew each epoch."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    optimizers = [model.optimizer, *getattr(model, "extra_optimizers", ())]
    own = [v for v in model.variables if id(v) not in metrics]
    return own + [variable for optimizer in optimizers for variable in optimizer.variables]
