"""The run folder: the files of a run and the state of its executions."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.files import (
    fingerprint,
    is_cache,
    locked,
    mark_cache,
    require_writable_folder,
    sha256_of,
    write_json,
    write_text,
)
from covid_keras.common.provenance import git_revision, provenance
from covid_keras.common.settings import as_plain, read_yaml
from covid_keras.common.tables import read_written, write_table
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation, PreparedImages, prepare_cohort
from covid_keras.data.splits import read_split, write_split
from covid_keras.paper.claims import claims_hash
from covid_keras.paper.grading import Used
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import RETIRED, Protocol, TrainingSettings, resolved
from covid_keras.paper.registered import load_paper
from covid_keras.paper.systems import System
from covid_keras.training.records import ExecutionRecord, RunRecord, checked_record, first_difference

if TYPE_CHECKING:
    import keras

_log = logging.getLogger(__name__)

RECORD = "run.json"
EXECUTIONS, EXECUTION_RECORD = "executions", "execution.json"
BEST, HISTORY = "best.weights.h5", "history.csv"


@dataclass(frozen=True)
class Execution:
    """One training: a system on one fold of one repeat of a run; see `covid_keras.paper.execution.Execution`."""

    run: RunFolder
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
        return details["predictions_sha256"] == sha256_of(self.predictions)

    @property
    def address(self) -> str:
        """Its folder below the executions of the run, as `--restart` takes it."""
        return f"{self.system.name}/repeat{self.repeat}-fold{self.fold}"

    @property
    def details(self) -> dict[str, Any]:
        """The record: seed, cost, epochs, versions, device."""
        return checked_record(self.record, ExecutionRecord, f"Train it again with --restart {self.address}")

    def require_identity(self, found: str | None) -> None:
        """Raise `UserError` unless files of this execution are of its run; runs before version 0.2 recorded nothing."""
        if self.run.identity and found != self.run.identity:
            problem = "holds an execution with other settings or images than this run's"
            raise UserError(
                self.folder, problem, f"Choose another --out, or train it again with --restart {self.address}"
            )

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
    def addresses(self) -> set[str]:
        """Its address, and those of all executions that it builds on, finished or not."""
        return {self.address, *(self._below(name).address for name in self.run.paper.chain(self.system.name)[:-1])}

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
        remedy = f"Restore it, or train it again: `covid-keras reproduce` with --restart {self.address}"
        try:
            return read_written(path, columns=["epoch"])
        except UserError as error:
            raise UserError(path, error.problem, remedy) from error


@dataclass(frozen=True)
class RunFolder:
    """One run: resolved protocol, cohort, splits, executions, and the report.

    Attributes
    ----------
    path : Path
        The folder (`--out`).
    """

    path: Path

    @classmethod
    def create(
        cls,
        path: str | Path,
        protocol: Protocol,
        cohort: Cohort,
        make_splits: Callable[[], tuple[dict[str, pd.DataFrame], pd.DataFrame]],
        settings: Mapping[str, Any],
        lungs: Mapping[str, Any] | None = None,
        images: str = "",
    ) -> RunFolder:
        """Write a new run, or open an existing identical one.

        Parameters
        ----------
        path : str or Path
        protocol : Protocol
        cohort : Cohort
            With `mask_path` set if masks are needed.
        make_splits : callable
            Returns the split tables by name ("" is the main one) and the near-duplicate pairs. Called for a new run
            only.
        settings : mapping
            `cache`, `strategy`, `precision`, `left_out` and `files` (see `Used`). All except the precision may change
            when a run is resumed.
        lungs : mapping, optional
            Hashes of what else determines the inputs: lung masks and given weight files.
        images : str
            Hash of the contents of the cohort's files.

        Raises
        ------
        UserError
            If the folder contains a different run (names the first difference), or cannot be written.
        """
        run = cls(require_writable_folder(Path(path)).resolve())
        # Another command may be making a run in this folder; whichever comes second has to fit the first.
        with locked(run.path, wait=True):
            return run._made(protocol, cohort, make_splits, settings, lungs, images)

    def _made(self, protocol, cohort, make_splits, settings, lungs, images) -> RunFolder:
        """Write this run, or compare it with what is there; return it as opened anew."""
        identity = {
            "protocol": _what_decides(protocol),
            "cohort": cohort.fingerprint(),
            "precision": settings["precision"],
            "lungs": as_plain(lungs or {}),
            "images": images,
        }
        splits = None
        began = {"stamped": True, "claims_sha256": claims_hash(load_paper(protocol.paper))}
        if (self.path / RECORD).is_file():
            began = {
                "stamped": self.record.get("stamped", False),
                "claims_sha256": self.record.get("claims_sha256", ""),
            }
            self._require_same(identity)
            names = self.paper.splits_of(protocol, settings.get("left_out", {}))
            if all(self._split_path(name).is_file() for name in names):
                splits = {name: self.splits_of(name) for name in names}
        record = {"identity": identity, "settings": as_plain(settings)} | began
        self._write(protocol, cohort, splits, make_splits, record)
        # A new object, so that nothing cached from an older record is read.
        return RunFolder(self.path)

    def _require_same(self, identity: Mapping[str, Any]) -> None:
        """Raise `UserError` if the folder contains a run of another identity; warn if it began with other code."""
        before = dict(self.record["identity"])
        before["protocol"] = {key: before["protocol"][key] for key in before["protocol"] if key not in RETIRED}
        before = {"images": identity["images"]} | before  # not recorded before version 0.2
        if difference := first_difference(before, identity):
            # Even if nothing is trained: another command may have begun that run.
            trained = any(execution.begun for execution in self.executions())
            problem = f"contains a different run{'' if trained else ', not trained yet'}: {difference}"
            raise UserError(self.path, problem, "Choose another --out, or remove that folder")
        begun, here = self.record["provenance"].get("revision"), git_revision()
        if begun != here:
            _log.warning("%s began with revision %s of the code and goes on with %s", self.path, begun, here)

    def _write(self, protocol, cohort, splits, make_splits, record) -> None:
        """Write the files of a new run, its record, which is completed, last."""
        mark_cache(record["settings"]["cache"])
        text = yaml.safe_dump(as_plain(protocol), sort_keys=False, allow_unicode=True)
        write_text(self.path / "protocol.yaml", text)
        cohort.to_csv(self.path / "cohort.csv")
        if splits is None:
            splits, duplicates = make_splits()
            for name, table in splits.items():
                write_split(self._split_path(name), table)
            write_table(self.path / "duplicates.csv", duplicates)
        record |= {
            "paper": protocol.paper,
            "profile": protocol.profile,
            "cohort_fingerprint": record["identity"]["cohort"],
            "classes": list(cohort.classes),
            "files": {name: sha256_of(self.path / name) for name in ("protocol.yaml", "cohort.csv")},
        }
        write_json(self.path / RECORD, record | {"provenance": provenance()})

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run; raise `UserError` if the folder is not a run folder."""
        run = cls(Path(path).resolve())
        try:
            there = (run.path / RECORD).is_file()
        except OSError as error:
            raise UserError(path, f"cannot be read ({error.strerror})", "Check the path") from error
        if not there:
            raise UserError(path, f"is not a run folder (no {RECORD})", "Give the --out of `covid-keras reproduce`")
        _ = run.record  # raises for a broken record
        return run

    @cached_property
    def record(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        remedy = "Delete it, and give the same `covid-keras reproduce` again: finished executions are kept"
        record = checked_record(self.path / RECORD, RunRecord, remedy)
        if not isinstance(record["settings"].get("cache"), str):
            raise UserError(self.path / RECORD, "has no settings.cache", remedy)
        return record

    @cached_property
    def identity(self) -> str:
        """Hash of all that determines the predictions; "" for runs before version 0.2, whose executions lack it."""
        return fingerprint(self.record["identity"]) if self.record.get("stamped") else ""

    @property
    def settings(self) -> dict[str, Any]:
        """The latest settings: cache folder, strategy, precision."""
        return self.record["settings"]

    @cached_property
    def protocol(self) -> Protocol:
        """The resolved protocol, unchanged since the run began."""
        path = self._unchanged("protocol.yaml")
        protocol = resolved(read_yaml(path), path)
        # The names become parts of paths.
        recorded = self.record["paper"], self.record["profile"]
        if (protocol.paper, protocol.profile) != recorded or protocol.profile not in self.paper.profiles:
            problem = f"names the profile {protocol.profile!r} of {protocol.paper!r}, which does not exist"
            raise UserError(path, problem, "Restore the run folder")
        return protocol

    @cached_property
    def paper(self) -> Paper:
        """The paper that it reproduces."""
        return load_paper(self.record["paper"])

    @property
    def cache(self) -> Path:
        """The folder of prepared images: the one that `reproduce` marked as a cache, else one in the run folder.

        A run folder received from elsewhere may name any folder of this machine.
        """
        folder = Path(self.settings["cache"])
        return folder if is_cache(folder) else self.path / "cache"

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort, its masks included, unchanged since the run began."""
        return Cohort.from_csv(self._unchanged("cohort.csv"), classes=tuple(self.record["classes"]))

    def _unchanged(self, name: str) -> Path:
        """Return the path of a file of the run; raise `UserError` if it is missing or was edited."""
        path = self.path / name
        if not path.is_file():
            raise UserError(path, "is missing from the run folder", "Start a new run in another --out")
        if sha256_of(path) != self.record["files"].get(name):
            raise UserError(path, "was changed after the run began", "Restore it, or start a new run")
        return path

    @cached_property
    def splits(self) -> pd.DataFrame:
        """The main split table, its hash checked."""
        return read_split(self._split_path(""))

    def splits_of(self, name: str) -> pd.DataFrame:
        """Return a split table by its name, "" for the main one, its hash checked."""
        if not name:
            return self.splits
        if name not in self._further_splits:
            self._further_splits[name] = read_split(self._split_path(name))
        return self._further_splits[name]

    @cached_property
    def _further_splits(self) -> dict[str, pd.DataFrame]:
        return {}

    def _split_path(self, name: str) -> Path:
        return self.path / (f"splits-{name}.csv" if name else "splits.csv")

    @property
    def duplicate_pairs(self) -> int:
        """Number of near-duplicate pairs that the splits keep together."""
        remedy = "Restore it, or start a new run in another --out"
        return len(read_written(self.path / "duplicates.csv", remedy))

    def part(self, repeat: int, fold: int, split: str = "") -> pd.Series:
        """Return "train", "validation", "test" or NaN (in no part) for each row of the cohort, in its order."""
        table = self.splits_of(split)
        rows = table[(table["repeat"] == repeat) & (table["fold"] == fold)].set_index("image_id")["split"]
        return self.cohort.table["image_id"].map(rows)

    @cached_property
    def used(self) -> Used:
        """What its systems use, as the grades of their numbers need it; an image counts in whatever part it is."""
        sources = self.cohort.table["source"].to_numpy()
        systems = dict.fromkeys(execution.system.name for execution in self.executions())
        taken = {name: self.execution(name, 0, 0).division != "" for name in systems}
        labels = {name: self.paper.system(name).labelled(self.cohort).table["label"] for name in systems}
        counts = {name: pd.Series(sources[rows]).value_counts().to_dict() for name, rows in taken.items()}
        counts |= self.paper.used_beside(self.protocol, self.cache.parent)
        classes = {name: labels[name][rows].value_counts().to_dict() for name, rows in taken.items()}
        return Used(counts, classes, self.settings["precision"], self.settings.get("files", {}))

    def execution(self, system: str, repeat: int, fold: int) -> Execution:
        """Return one execution by its place in the tables."""
        return Execution(self, self.paper.system(system), repeat, fold)

    @property
    def left_out(self) -> dict[str, str]:
        """The systems of the protocol that cannot be run here -> reason."""
        return self.settings.get("left_out", {})

    def executions(self) -> list[Execution]:
        """Return all executions, fold by fold, so that an interrupted run has all systems on the same folds."""
        return [execution for chains in self.chains() for chain in chains for execution in chain]

    def chains(self) -> list[list[list[Execution]]]:
        """Return, per fold, the chains of executions that can run independently; each follows those it builds on.

        A chain that is entirely left out stays as an empty list, so that machines with different files agree on shards.
        """
        protocol, paper, folds = self.protocol, self.paper, []
        systems = [paper.system(name) for name in protocol.systems]
        splits = [protocol.split_of(name) for name in dict.fromkeys(system.split for system in systems)]
        for repeat, fold in itertools.product(
            range(max(split.repeats for split in splits)), range(max(split.folds for split in splits))
        ):
            running = [system.name for system in systems if paper.runs_in(system, protocol, repeat, fold)]
            folds.append(
                [
                    [self.execution(name, repeat, fold) for name in names if name not in self.left_out]
                    for names in linked(running, paper.chain)
                ]
            )
        return folds


def linked(names: Sequence[str], chain: Callable[[str], list[str]]) -> list[list[str]]:
    """Group the names, in order, such that each group contains all that its members build on.

    >>> below = {"a": ["a"], "b": ["b"], "c": ["c"], "ab": ["a", "b", "ab"]}
    >>> linked(["a", "b", "c", "ab"], below.get)
    [['a', 'b', 'ab'], ['c']]
    """
    groups: list[list[str]] = []
    for name in names:
        below = set(chain(name))
        mine = [group for group in groups if below & set(group)]
        if not mine:
            groups.append([name])
            continue
        mine[0] += [one for group in mine[1:] for one in group] + [name]
        groups = [group for group in groups if not any(group is other for other in mine[1:])]
    return groups


def _what_decides(protocol: Protocol) -> dict[str, Any]:
    """Return the protocol without settings that do not affect results (parallelism, paths of files)."""
    plain = as_plain(protocol)
    del plain["jobs"], plain["executions_per_process"]
    if not plain["micro_batch"]:  # runs before version 0.2 did not record it
        del plain["micro_batch"]
    return plain | {"files": sorted(protocol.files), "weights": Path(protocol.weights).name}
