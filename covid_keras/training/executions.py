"""Executions of a run: their files, their images, and what of them may be read."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import require_intact, sha256_of
from covid_keras.common.tables import read_written
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import PreparedImages, prepare_cohort
from covid_keras.evaluation.predictions import EXECUTION_COLUMNS, classes_of, read_predictions
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.protocol import Protocol, TrainingSettings
from covid_keras.paper.system import System
from covid_keras.training.records import HISTORY, ExecutionRecord, checked_record

if TYPE_CHECKING:
    import keras

    from covid_keras.paper.paper import Paper

EXECUTIONS, EXECUTION_RECORD = "executions", "execution.json"
BEST = "best.weights.h5"
# What predictions repeat of the cohort.
_OF_COHORT = ("label", "patient_id", "source", "severity")


class Run(typing.Protocol):
    """What an execution reads of its run (`covid_keras.training.runfolder.RunFolder`)."""

    @property
    def path(self) -> Path: ...
    @property
    def record(self) -> dict[str, Any]: ...
    @property
    def identity(self) -> str: ...
    @property
    def settings(self) -> dict[str, Any]: ...
    @property
    def paper(self) -> Paper: ...
    @property
    def protocol(self) -> Protocol: ...
    @property
    def cohort(self) -> Cohort: ...
    @property
    def cache(self) -> Path: ...
    def splits_of(self, name: str) -> pd.DataFrame: ...
    def part(self, repeat: int, fold: int, split: str = "") -> pd.Series: ...
    def execution(self, system: str, repeat: int, fold: int) -> Execution: ...


@dataclass(frozen=True)
class Execution:
    """One training: a system on one fold of one repeat of a run; see `covid_keras.paper.execution.Execution`."""

    run: Run
    system: System
    repeat: int
    fold: int

    @property
    def name(self) -> str:
        """Name in progress and logs."""
        return f"{self.system.name} repeat {self.repeat + 1} fold {self.fold + 1}"

    # ------------------------------------------------------------------------------------------------ its files

    @property
    def folder(self) -> Path:
        """The folder with all its files."""
        return self.run.path / EXECUTIONS / self.address

    @property
    def predictions(self) -> Path:
        """The file of predictions."""
        return self.folder / "predictions.csv"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.folder / BEST

    @property
    def record(self) -> Path:
        """The record, written last: provenance and the hash of the predictions."""
        return self.folder / EXECUTION_RECORD

    @property
    def done(self) -> bool:
        """Whether it is finished and its predictions are unchanged."""
        if not (self.record.is_file() and self.predictions.is_file()):
            return False
        details = self.details
        self.require_identity(details.get("run"))
        own = {"system": self.system.name, "repeat": self.repeat, "fold": self.fold}
        if other := [f"{key} {details[key]}" for key in own if details.get(key, own[key]) != own[key]]:
            raise UserError(self.record, f"is of another execution ({', '.join(other)})", self.remedy)
        return details["predictions_sha256"] == sha256_of(self.predictions)

    @property
    def ended(self) -> bool:
        """Whether it is finished; raise `UserError` if its predictions are missing or were changed since."""
        if not self.record.is_file():
            return False
        if not self.done:
            raise UserError(self.predictions, "is missing, or was changed or damaged after it was written", self.remedy)
        return True

    @property
    def remedy(self) -> str:
        """What to do about a damaged file."""
        return f"Restore it, or train again with `covid-keras reproduce ... --restart {self.address}`"

    @property
    def address(self) -> str:
        """Its folder below the executions of the run, as `--restart` takes it."""
        return f"{self.system.name}/repeat{self.repeat}-fold{self.fold}"

    @property
    def details(self) -> dict[str, Any]:
        """The record: seed, cost, epochs, versions, device."""
        return checked_record(self.record, ExecutionRecord, self.remedy)

    def require_identity(self, found: str | None) -> None:
        """Raise `UserError` unless files of this execution are of its run; runs before version 0.2 recorded nothing."""
        if self.run.identity and found != self.run.identity:
            problem = "holds an execution with other settings or images than this run's"
            remedy = f"Choose another --out, or train again with `covid-keras reproduce ... --restart {self.address}`"
            raise UserError(self.folder, problem, remedy)

    @property
    def begun(self) -> bool:
        """Whether a training left files."""
        return any(path.name != "log.txt" and not path.name.startswith(".") for path in self.folder.glob("*"))

    # ------------------------------------------------------------------------------------------------ its run

    @property
    def protocol(self) -> Protocol:
        """The run's protocol."""
        return self.run.protocol

    @property
    def cohort(self) -> Cohort:
        """The run's n images."""
        return self.run.cohort

    @property
    def training(self) -> TrainingSettings:
        """The training settings of its system."""
        return self.system.training(self.protocol)

    @property
    def seed(self) -> int:
        """The protocol's seed combined with repeat and fold, unique within a protocol."""
        return self.training.seed + 1000 * self.repeat + self.fold

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels of its network, in the order of its outputs."""
        return self.run.paper.classes_of(self.system, self.cohort)

    @property
    def scored(self) -> tuple[str, ...]:
        """The labels that are evaluated."""
        return self.run.paper.scored_of(self.system, self.cohort)

    def below(self, name: str) -> Execution:
        """Return the execution of another system on which this one builds; raise `UserError` if unfinished."""
        one = self._below(name)
        if not one.done:
            raise UserError(one.name, f"is not done, and {self.name} builds on it", "Train it first")
        return one

    def _below(self, name: str) -> Execution:
        system = self.run.paper.system(name)
        return Execution(self.run, system, *system.place(self.repeat, self.fold))

    @property
    def lower(self) -> list[Execution]:
        """The executions of all systems that it builds on, first to last, finished or not."""
        return [self._below(name) for name in self.run.paper.chain(self.system.name)[:-1]]

    @property
    def addresses(self) -> set[str]:
        """Its address, and those of all executions that it builds on, finished or not."""
        return {one.address for one in (*self.lower, self)}

    @property
    def before(self) -> Execution | None:
        """The finished execution on which it builds, or None."""
        return self.below(self.system.after) if self.system.after else None

    @property
    def chain(self) -> list[Execution]:
        """The finished executions of all systems that it builds on, first to last."""
        return [self.below(name) for name in self.run.paper.chain(self.system.name)[:-1]]

    # ------------------------------------------------------------------------------------------------ its images

    @property
    def splits(self) -> pd.DataFrame:
        """The split table of this repeat."""
        table = self.run.splits_of(self.system.split)
        return table[table["repeat"] == self.repeat]

    @property
    def split_seed(self) -> int:
        """The seed of this repeat's split."""
        return self.protocol.split_of(self.system.split).seed + self.repeat

    @property
    def divided(self) -> np.ndarray:
        """The part of each image by the split, (n,) of str, "" for none."""
        return self.run.part(self.repeat, self.fold, self.system.split).fillna("").to_numpy(dtype=object)

    @cached_property
    def division(self) -> np.ndarray:
        """The part of each image, "" if it takes no part."""
        return self.system.division(self)

    @cached_property
    def part(self) -> np.ndarray:
        """The division without images filtered out by systems on which it builds."""
        return self.system.part(self)

    @cached_property
    def preparation(self) -> Preparation:
        """The preparation of images, with the template for histogram matching from the training part."""
        preparation, template = self.system.preparation(self.protocol), self.system.template(self)
        if template is None:
            return preparation
        row = self.cohort.table.iloc[template]
        mask = row["mask_path"] if preparation.needs_mask else None
        return dataclasses.replace(preparation, reference=row["path"], reference_mask=mask)

    @property
    def prepared(self) -> PreparedImages:
        """The prepared images of the cohort, made if not in the run's cache."""
        return prepare_cohort(self.cohort, self.preparation, self.run.cache)

    @cached_property
    def inputs(self) -> Inputs:
        """The network's inputs."""
        return self.system.feed(self, self.cohort, self.part, self.prepared)

    # ------------------------------------------------------------------------------------------------ its result

    @cached_property
    def predicted(self) -> pd.DataFrame:
        """Its predictions; raise `UserError` unless they are those of its images, with their labels and parts."""
        frame = read_predictions(self.predictions)
        if problem := disagreement(frame, self):
            raise UserError(self.predictions, problem, self.remedy)
        return frame

    @property
    def network(self) -> keras.Model | None:
        """Its network with the best weights; None if its system has none."""
        return self.system.network(self)

    @property
    def passes(self) -> list[tuple[keras.Model, int]]:
        """The networks that an image passes until its prediction, each with how often."""
        return self.system.passes(self)

    @property
    def history(self) -> pd.DataFrame | None:
        """Losses and accuracies per epoch, None if nothing was trained; raise `UserError` if unreadable."""
        if not self.details["epochs"]:
            return None
        path = self.folder / HISTORY
        try:
            require_intact(path, self.details.get("history_sha256", ""), self.remedy)
            return read_written(path, columns=["epoch"])
        except UserError as error:
            raise UserError(path, error.problem, self.remedy) from error


def disagreement(frame: pd.DataFrame, execution: Execution) -> str | None:
    """Return how predictions differ from cohort, split and record of their execution; None if they agree."""
    if classes_of(frame) != execution.scored:
        return f"has the classes {', '.join(classes_of(frame))}, not {', '.join(execution.scored)}"
    own = dict(zip(EXECUTION_COLUMNS, (execution.system.name, execution.repeat, execution.fold), strict=True))
    for column, value in own.items():
        if wrong := set(frame[column]) - {value}:
            return f"is of {column} {min(wrong)}, not {value}"
    table = execution.system.labelled(execution.cohort).table.set_index("image_id")
    parts, complete = execution.system.predicted_parts(execution)
    table = table[list(_OF_COHORT)].assign(split=parts)[parts != ""]
    if other := sorted(set(frame["image_id"]) - set(table.index)):
        return f"has image {other[0]}, which this execution does not predict"
    if complete and (lacking := sorted(set(table.index) - set(frame["image_id"]))):
        return f"lacks {len(lacking)} of {len(table)} images, such as {lacking[0]}"
    table = table.loc[frame["image_id"]]
    for column in table:
        wrong = frame[column].to_numpy(dtype=object) != table[column].to_numpy(dtype=object)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            found, known = frame[column].iloc[row], table[column].iloc[row]
            return f"says {column} {found!r} of image {table.index[row]}, not {known!r}"
    return None
