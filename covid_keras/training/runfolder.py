"""The run folder: what a run consists of, and what is done already."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from covid_keras.data.cohort import Cohort
from covid_keras.data.splits import read_split, write_split
from covid_keras.errors import UserError
from covid_keras.files import fingerprint, read_json, require_writable_folder, sha256_of, write_json, write_text
from covid_keras.settings import as_plain, build
from covid_keras.training.protocol import Protocol
from covid_keras.training.provenance import provenance


@dataclass(frozen=True)
class Execution:
    """One training: a system on one fold of one repeat, in its own folder."""

    folder: Path
    system: str
    repeat: int
    fold: int

    @property
    def name(self) -> str:
        """As progress and logs call it."""
        return f"{self.system} repeat {self.repeat + 1} fold {self.fold + 1}"

    @property
    def predictions(self) -> Path:
        """The file that training ends in."""
        return self.folder / "predictions.csv"

    @property
    def record(self) -> Path:
        """Written last: provenance, and the hash of the predictions."""
        return self.folder / "execution.json"

    @property
    def done(self) -> bool:
        """Whether the training ended and its predictions are those that it wrote."""
        if not (self.record.is_file() and self.predictions.is_file()):
            return False
        return read_json(self.record).get("predictions_sha256") == sha256_of(self.predictions)


@dataclass(frozen=True)
class RunFolder:
    """One run: resolved protocol, cohort, splits, executions, and the report made of them.

    Attributes
    ----------
    path : Path
        The folder (`--out`).
    """

    path: Path

    @classmethod
    def create(
        cls, path: str | Path, protocol: Protocol, cohort: Cohort, splits: pd.DataFrame, settings: dict[str, Any]
    ) -> RunFolder:
        """Write a new run, or open the one that is there where it is the very same.

        Raises
        ------
        UserError
            Where the folder holds a run of another protocol, cohort or split, or cannot be written.
        """
        run = cls(require_writable_folder(Path(path)).resolve())
        key = fingerprint(
            {
                "protocol": as_plain(protocol),
                "cohort": cohort.fingerprint(),
                "splits": splits.to_csv(index=False),
                "precision": settings.get("precision"),
            }
        )
        if (run.path / "run.json").is_file():
            if run.record["key"] != key:
                raise UserError(
                    run.path,
                    "holds a run of another protocol, cohort or precision",
                    "Choose another --out, or remove that folder",
                )
            return run
        write_text(run.path / "protocol.yaml", yaml.safe_dump(as_plain(protocol), sort_keys=False, allow_unicode=True))
        cohort.to_csv(run.path / "cohort.csv")
        write_split(run.path / "splits.csv", splits)
        record = {
            "key": key,
            "paper": protocol.paper,
            "profile": protocol.profile,
            "settings": as_plain(settings),
            "cohort_fingerprint": cohort.fingerprint(),
            "classes": list(cohort.classes),
        }
        # Last, so that a run.json means that all the rest is there.
        write_json(run.path / "run.json", record | {"provenance": provenance()})
        return run

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run that is there; raise `UserError` where the folder is none."""
        run = cls(Path(path).resolve())
        if not (run.path / "run.json").is_file():
            raise UserError(
                path, "is no run folder (no run.json)", "Give the --out of a finished `covid-keras reproduce`"
            )
        return run

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `run.json` says."""
        return read_json(self.path / "run.json")

    @cached_property
    def settings(self) -> dict[str, Any]:
        """How the run was asked for (cache folder, strategy, precision, banner)."""
        return self.record["settings"]

    @cached_property
    def protocol(self) -> Protocol:
        """The resolved protocol."""
        path = self.path / "protocol.yaml"
        return build(Protocol, yaml.safe_load(path.read_text(encoding="utf-8")), path)

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort, its masks included."""
        return Cohort.from_csv(self.path / "cohort.csv", classes=tuple(self.record["classes"]))

    @cached_property
    def splits(self) -> pd.DataFrame:
        """The split table, its hash checked."""
        return read_split(self.path / "splits.csv")

    def part(self, repeat: int, fold: int) -> pd.Series:
        """Return "train", "validation" or "test" for each row of the cohort, in its order."""
        table = self.splits
        rows = table[(table["repeat"] == repeat) & (table["fold"] == fold)].set_index("image_id")["split"]
        return self.cohort.table["image_id"].map(rows)

    def execution(self, system: str, repeat: int, fold: int) -> Execution:
        """Return one execution by its place in the tables."""
        return Execution(self.path / "executions" / system / f"repeat{repeat}-fold{fold}", system, repeat, fold)

    def executions(self) -> list[Execution]:
        """Return all executions, fold by fold, so that a run cut short has all systems on the same folds."""
        split = self.protocol.split
        return [
            self.execution(system, repeat, fold)
            for repeat in range(split.repeats)
            for fold in range(split.folds)
            for system in self.protocol.systems
        ]
