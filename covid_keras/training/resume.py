"""Best epoch, early stopping and resume in one callback that keeps its state on disk."""

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
from covid_keras.common.files import atomic_path, require_intact, sha256_of
from covid_keras.models.weights import save_keras_weights
from covid_keras.training.executions import BEST
from covid_keras.training.kept import STATE

# Minimum wait between writes, in multiples of the duration of a write.
WRITE_SHARE = 9.0
_COUNTERS = {"history": list, "best_epoch": int, "seconds": int | float, "finished": bool}


class ResumableTraining(keras.callbacks.Callback):
    """Keep the best epoch on validation, stop without improvement, and resume after a kill.

    At the end of epochs, all variables of model and optimiser (including dropout seeds), the history and the counters
    are written atomically to one file. A killed training resumes after the last epoch written; with batches keyed by
    (seed, epoch), its steps are identical.

    Parameters
    ----------
    folder : Path
        Folder of the execution, for `best.weights.h5` and, while training, `state.npz`.
    monitor : str
        "val_loss" or "loss" is minimised, anything else maximised.
    patience : int
        Epochs without improvement before training stops.
    stop : str
        The quantity to which patience applies. Default: `monitor`.
    ties : {"first", "last"}
        Which of equally good epochs is kept.
    identity, place : str
        Hash of all that determines the run, and the address of the execution in it ("" for a segmenter); a state of
        others is refused. Without an identity, any is accepted.

    Attributes
    ----------
    stage, stage_start, staged : int, int, bool
        For a training in stages: the current stage and its first epoch. Patience counts within the stage, the best
        epoch over all stages.
    """

    def __init__(
        self,
        folder: Path,
        monitor: str,
        patience: int,
        stop: str = "",
        ties: str = "first",
        identity: str = "",
        place: str = "",
    ) -> None:
        super().__init__()
        self.identity, self.place, self.best_sha256 = identity, place, ""
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
        """Return the stage that a killed training had reached, else 0; raise `UserError` if the state is damaged."""
        return self._read()[0].get("stage", 0) if (self.folder / STATE).is_file() else 0

    def begin_stage(self, number: int, patience: int) -> None:
        """Begin a stage after the epochs trained so far."""
        self.stage, self.stage_start, self.staged = number, len(self.history), True
        self.patience, self.finished = patience, False

    def keep(self, model: keras.Model) -> None:
        """Write the current state between epochs."""
        self.set_model(model)
        self._write_state()

    def _read(self) -> tuple[dict[str, Any], list[np.ndarray]]:
        """Return counters with history, and the variables in order."""
        path = self.folder / STATE
        try:
            with zipfile.ZipFile(path) as archive:
                if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                    raise ValueError("it is compressed")  # ours are not, and may then not grow in memory
            with np.load(path) as state:
                return _checked(json.loads(str(state["meta"]))), [state[f"v{i}"] for i in range(len(state.files) - 1)]
        except (OSError, EOFError, ValueError, KeyError, RuntimeError, MemoryError, zipfile.BadZipFile) as error:
            raise self._unusable(f"is damaged ({error})") from error

    def restore(self, model: keras.Model) -> int:
        """Load the state of a killed training, if any; return the epoch to start with.

        Raises
        ------
        UserError
            If the state is damaged or of another network. The model is then unchanged.
        """
        if not (self.folder / STATE).is_file():
            return 0
        variables = _variables(model)
        meta, values = self._read()
        unstamped = self.identity if self.place else ""  # segmenters' states recorded nothing before version 0.2
        if self.identity and meta.get("run") not in (self.identity, unstamped):
            raise self._unusable("is of a training with other settings or images")
        if meta.get("execution", self.place) != self.place:  # not recorded before version 0.2
            raise self._unusable(f"is of the execution {meta['execution']}")
        if [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise self._unusable("is of another network")
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        self.history, self.best_epoch, self.finished = meta["history"], meta["best_epoch"], meta["finished"]
        self.seconds_before, self.best_sha256 = meta["seconds"], meta.get("best_sha256", "")
        self.stage, self.stage_start = meta.get("stage", 0), meta.get("stage_start", 0)
        return len(self.history)

    def _unusable(self, problem: str) -> UserError:
        return UserError(self.folder / STATE, problem, self._again)

    @property
    def _again(self) -> str:
        place = f" with `covid-keras reproduce ... --restart {self.place}`" if self.place else ""
        return f"Restore it, or train again{place or f': delete {self.folder}'}"

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record the epoch, keep it if it is the best, write the state, stop if patience runs out."""
        logs = {key: float(value) for key, value in (logs or {}).items()}
        self.history.append({"epoch": epoch} | ({"stage": self.stage} if self.staged else {}) | logs)
        best_epoch = self._best_epoch(self.monitor, self.ties)
        better = best_epoch != self.best_epoch
        if better:
            self.best_epoch = best_epoch
            with _without_optimizers(self.model):
                save_keras_weights(self.model, self.folder / BEST)
            self.best_sha256 = sha256_of(self.folder / BEST)
        self.finished = epoch - max(self._best_epoch(self.stop, "first"), self.stage_start - 1) >= self.patience
        self.model.stop_training = self.finished
        # With every new best, so that the weights on disk always match the state.
        if better or self.finished or time.monotonic() >= self.next_write:
            started = time.monotonic()
            self._write_state()
            # Large networks take seconds to write; spend at most a tenth of the time on it, new bests aside.
            self.next_write = time.monotonic() + WRITE_SHARE * (time.monotonic() - started)

    def _best_epoch(self, name: str, ties: str) -> int:
        """Return the best epoch so far in one quantity; -1 if all values are NaN."""
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
            "best_sha256": self.best_sha256,
            "run": self.identity,
            "execution": self.place,
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
            If the monitored quantity was never finite (the training diverged), or the file is not the one written.
        """
        if self.best_epoch < 0:
            raise UserError(
                self.folder,
                f"the training diverged: {self.monitor} was never finite",
                "Lower the learning rate in the protocol",
            )
        if not (self.folder / BEST).is_file():
            raise UserError(self.folder / BEST, "is missing", self._again)
        require_intact(self.folder / BEST, self.best_sha256, self._again)
        with _without_optimizers(model):
            model.load_weights(self.folder / BEST)


def _checked(meta: Any) -> dict[str, Any]:
    """Return the counters of a state; raise `ValueError` unless they are those of a training."""
    if not isinstance(meta, dict) or not all(isinstance(meta.get(name), kind) for name, kind in _COUNTERS.items()):
        raise ValueError("its counters are not those of a training")
    if not all(isinstance(epoch, dict) for epoch in meta["history"]):
        raise ValueError("its history has no epochs")
    return meta


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
    """Return all variables that determine further training, in a fixed order, without running metrics."""
    metrics = {id(variable) for metric in model.metrics for variable in metric.variables}
    optimizers = [model.optimizer, *getattr(model, "extra_optimizers", ())]
    own = [v for v in model.variables if id(v) not in metrics]
    return own + [variable for optimizer in optimizers for variable in optimizer.variables]
