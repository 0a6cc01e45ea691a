"""Best epoch, early stopping and resume in one callback whose whole state is on disk after every epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

from covid_keras.files import atomic_path

STATE, BEST = "state.npz", "best.weights.h5"


class ResumableTraining(keras.callbacks.Callback):
    """Keep the best epoch on validation, stop without improvement, and continue after a kill.

    After each epoch all variables of model and optimiser (the seeds of dropout among them), the history and the
    counters go into one file that appears whole or not at all. A killed training restarts at the epoch it was in; with
    batches keyed by (seed, epoch), that epoch's steps are the very same.

    Parameters
    ----------
    folder : Path
        Run folder of the execution; receives `state.npz` while training and `best.weights.h5`.
    monitor : str
        "val_loss" or "loss" is minimised, anything else maximised; the first of equal epochs wins.
    patience : int
        Epochs without improvement before training stops.
    """

    def __init__(self, folder: Path, monitor: str, patience: int) -> None:
        super().__init__()
        self.folder, self.monitor, self.patience = folder, monitor, patience
        self.sign = -1.0 if monitor.endswith("loss") else 1.0
        self.history: list[dict[str, float]] = []
        self.best, self.best_epoch, self.finished = -np.inf, -1, False

    def restore(self, model: keras.Model) -> int:
        """Load the state left by a killed training, if any; return the epoch to start with."""
        path = self.folder / STATE
        if not path.is_file():
            return 0
        with np.load(path) as state:
            meta: dict[str, Any] = json.loads(str(state["meta"]))
            for i, variable in enumerate(_variables(model)):
                variable.assign(state[f"v{i}"])
        self.history, self.best_epoch, self.finished = meta["history"], meta["best_epoch"], meta["finished"]
        self.best = -np.inf if meta["best"] is None else meta["best"]
        return len(self.history)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record the epoch, keep it where it is the best, write the state, stop where patience is spent."""
        logs = {key: float(value) for key, value in (logs or {}).items()}
        value = self.sign * logs[self.monitor]
        self.history.append({"epoch": epoch} | logs)
        if value > self.best:
            self.best, self.best_epoch = value, epoch
            with atomic_path(self.folder / BEST) as temporary:
                self.model.save_weights(temporary)
        self.finished = epoch - self.best_epoch >= self.patience
        self.model.stop_training = self.finished
        self._write_state()

    def _write_state(self) -> None:
        meta = {
            "history": self.history,
            "best": None if np.isinf(self.best) else self.best,
            "best_epoch": self.best_epoch,
            "finished": self.finished,
        }
        arrays = {f"v{i}": np.asarray(variable) for i, variable in enumerate(_variables(self.model))}
        with atomic_path(self.folder / STATE) as temporary:
            np.savez(temporary, meta=np.array(json.dumps(meta)), **arrays)

    def restore_best(self, model: keras.Model) -> None:
        """Load the best epoch's weights and drop the state that is no longer needed."""
        model.load_weights(self.folder / BEST)


def _variables(model: keras.Model) -> list[keras.Variable]:
    """All variables that decide how training goes on, in a fixed order; running metrics start anew each epoch."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    return [v for v in model.variables if id(v) not in metrics] + list(model.optimizer.variables)
