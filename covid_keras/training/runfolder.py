"""The run folder: what a run consists of, and what is done already."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_record, require_writable_folder, sha256_of, write_json, write_text
from covid_keras.common.provenance import provenance
from covid_keras.common.settings import as_plain, build, read_yaml
from covid_keras.data.cohort import Cohort
from covid_keras.data.preparation import Preparation, PreparedImages, prepare_cohort
from covid_keras.data.splits import read_split, write_split
from covid_keras.paper.inputs import Inputs
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol, TrainingSettings
from covid_keras.paper.registered import load_paper
from covid_keras.paper.systems import System

if TYPE_CHECKING:
    import keras

RECORD = "run.json"
EXECUTIONS, EXECUTION_RECORD = "executions", "execution.json"
BEST, HISTORY = "best.weights.h5", "history.csv"
_EXECUTION_KEYS = ("predictions_sha256", "seconds", "epochs", "best_epoch", "versions", "machine", "device", "revision")
_RECORD_KEYS = ("identity", "paper", "profile", "settings", "cohort_fingerprint", "classes", "files", "provenance")


@dataclass(frozen=True)
class Execution:
    """One training: a system on one fold of one repeat of a run; see `covid_keras.paper.execution.Execution`."""

    run: RunFolder
    system: System
    repeat: int
    fold: int

    @property
    def name(self) -> str:
        """As progress and logs call it."""
        return f"{self.system.name} repeat {self.repeat + 1} fold {self.fold + 1}"

    # ------------------------------------------------------------------------------------------------ its files

    @property
    def folder(self) -> Path:
        """Everything that it leaves."""
        return self.run.path / EXECUTIONS / self.system.name / f"repeat{self.repeat}-fold{self.fold}"

    @property
    def predictions(self) -> Path:
        """The file that training ends in."""
        return self.folder / "predictions.csv"

    @property
    def weights(self) -> Path:
        """The best weights."""
        return self.folder / BEST

    @property
    def record(self) -> Path:
        """Written last: provenance, and the hash of the predictions."""
        return self.folder / EXECUTION_RECORD

    @property
    def done(self) -> bool:
        """Whether the training ended and its predictions are those that it wrote."""
        if not (self.record.is_file() and self.predictions.is_file()):
            return False
        return self.details["predictions_sha256"] == sha256_of(self.predictions)

    @property
    def details(self) -> dict[str, Any]:
        """What the record says: seed, cost, epochs, versions, device."""
        return read_record(self.record, _EXECUTION_KEYS)

    @property
    def begun(self) -> bool:
        """Whether a training left anything worth going on from."""
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
        """How its system is trained."""
        return self.system.training(self.protocol)

    @property
    def seed(self) -> int:
        """The protocol's seed, the repeat and the fold mixed in, distinct within a protocol."""
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
        """Return the execution of another system that this one builds on; raise `UserError` if it is not done."""
        system = self.run.paper.system(name)
        one = Execution(self.run, system, *system.place(self.repeat, self.fold))
        if not one.done:
            raise UserError(one.name, f"is not done, and {self.name} builds on it", "Train it first")
        return one

    @property
    def before(self) -> Execution | None:
        """The finished execution that it comes after, None if its system comes after none."""
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
        """Of the division of this repeat."""
        return self.protocol.split_of(self.system.split).seed + self.repeat

    @property
    def divided(self) -> np.ndarray:
        """The part of each image by the split alone, (n,) of str, "" for none."""
        return self.run.part(self.repeat, self.fold, self.system.split).fillna("").to_numpy(dtype=object)

    @cached_property
    def division(self) -> np.ndarray:
        """The part of each image, "" if it takes no part."""
        return self.system.division(self)

    @cached_property
    def part(self) -> np.ndarray:
        """The division without the images that a system below does not let through."""
        return self.system.part(self)

    @cached_property
    def preparation(self) -> Preparation:
        """What is done once to every image, the template of histogram matching taken from the training part."""
        preparation, template = self.system.preparation(self.protocol), self.system.template(self)
        if template is None:
            return preparation
        row = self.cohort.table.iloc[template]
        mask = row["mask_path"] if preparation.needs_mask else None
        return dataclasses.replace(preparation, reference=row["path"], reference_mask=mask)

    @property
    def prepared(self) -> PreparedImages:
        """The prepared images of the cohort, made and kept in the run's cache where they are not there yet."""
        return prepare_cohort(self.cohort, self.preparation, self.run.cache)

    @cached_property
    def inputs(self) -> Inputs:
        """What its network is fed."""
        return self.system.feed(self, self.cohort, self.part, self.prepared)

    # ------------------------------------------------------------------------------------------------ its result

    @property
    def network(self) -> keras.Model | None:
        """Its network with the best weights; None if its system has none."""
        return self.system.network(self)

    @property
    def history(self) -> pd.DataFrame | None:
        """Losses and accuracies of each epoch, None if nothing was trained; raise `UserError` if unreadable."""
        if not self.details["epochs"]:
            return None
        path = self.folder / HISTORY
        remedy = f"Restore it, or remove {self.folder} and run `covid-keras reproduce` again"
        try:
            return pd.read_csv(path)
        except OSError as error:
            raise UserError(path, f"cannot be read ({error.strerror})", remedy) from error
        except ValueError as error:  # covers ParserError, EmptyDataError and UnicodeDecodeError
            raise UserError(path, f"is not a readable CSV table ({error})", remedy) from error


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
        cls,
        path: str | Path,
        protocol: Protocol,
        cohort: Cohort,
        make_splits: Callable[[], tuple[dict[str, pd.DataFrame], pd.DataFrame]],
        settings: Mapping[str, Any],
        lungs: Mapping[str, Any] | None = None,
    ) -> RunFolder:
        """Write a new run, or open the one that is there where it is the very same.

        Parameters
        ----------
        path : str or Path
        protocol : Protocol
        cohort : Cohort
            Its `mask_path` set where masks are needed.
        make_splits : callable
            Returns the split tables by name ("" is the main one) and the near-duplicate pairs. Called for a new run
            only: one that is there keeps its own.
        settings : mapping
            `cache`, `strategy`, `precision` and `left_out`. All but the precision may change when a run goes on.
        lungs : mapping, optional
            What else decided the inputs: of the lung masks and of weight files that were given, the sha256.

        Raises
        ------
        UserError
            If the folder holds a run in which something was trained and that differs: names the first
            difference. Where the folder cannot be written.
        """
        run = cls(require_writable_folder(Path(path)).resolve())
        identity = {
            "protocol": _what_decides(protocol),
            "cohort": cohort.fingerprint(),
            "precision": settings["precision"],
            "lungs": as_plain(lungs or {}),
        }
        splits = None
        if (run.path / RECORD).is_file():
            difference = first_difference(run.record["identity"], identity)
            if difference is None:
                splits = {name: run.splits_of(name) for name in run.paper.splits_of(protocol)}
            elif any(execution.begun for execution in run.executions()):
                raise UserError(
                    run.path,
                    f"holds a run that differs: {difference}",
                    "Choose another --out, or remove that folder",
                )
        run._write(protocol, cohort, splits, make_splits, settings, identity)
        # Nothing cached from an older record may be read.
        return cls(run.path)

    def _write(self, protocol, cohort, splits, make_splits, settings, identity) -> None:
        """Write everything that a run starts with, its record last."""
        text = yaml.safe_dump(as_plain(protocol), sort_keys=False, allow_unicode=True)
        write_text(self.path / "protocol.yaml", text)
        cohort.to_csv(self.path / "cohort.csv")
        if splits is None:
            splits, duplicates = make_splits()
            for name, table in splits.items():
                write_split(self._split_path(name), table)
            write_text(self.path / "duplicates.csv", duplicates.to_csv(index=False))
        record = {
            "identity": identity,
            "paper": protocol.paper,
            "profile": protocol.profile,
            "settings": as_plain(settings),
            "cohort_fingerprint": identity["cohort"],
            "classes": list(cohort.classes),
            "files": {name: sha256_of(self.path / name) for name in ("protocol.yaml", "cohort.csv")},
        }
        write_json(self.path / RECORD, record | {"provenance": provenance()})

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run that is there; raise `UserError` if the folder is none."""
        run = cls(Path(path).resolve())
        try:
            there = (run.path / RECORD).is_file()
        except OSError as error:
            raise UserError(path, f"cannot be looked at ({error.strerror})", "Check the path") from error
        if not there:
            raise UserError(path, f"is no run folder (no {RECORD})", "Give the --out of `covid-keras reproduce`")
        _ = run.record  # a broken record is told at once
        return run

    @cached_property
    def record(self) -> dict[str, Any]:
        """What `run.json` says."""
        return read_record(self.path / RECORD, _RECORD_KEYS)

    @property
    def settings(self) -> dict[str, Any]:
        """How the run was asked for last: cache folder, strategy, precision."""
        return self.record["settings"]

    @cached_property
    def protocol(self) -> Protocol:
        """The resolved protocol, unchanged since the run began."""
        path = self._unchanged("protocol.yaml")
        return build(Protocol, read_yaml(path), path)

    @cached_property
    def paper(self) -> Paper:
        """The paper that it reproduces."""
        return load_paper(self.record["paper"])

    @property
    def cache(self) -> Path:
        """The folder of prepared images."""
        return Path(self.settings["cache"])

    @cached_property
    def cohort(self) -> Cohort:
        """The cohort, its masks included, unchanged since the run began."""
        return Cohort.from_csv(self._unchanged("cohort.csv"), classes=tuple(self.record["classes"]))

    def _unchanged(self, name: str) -> Path:
        """Return the path of a file of the run; raise `UserError` if it is gone or was edited."""
        path = self.path / name
        if not path.is_file():
            raise UserError(path, "is missing from the run folder", "Start the run anew in another --out")
        if sha256_of(path) != self.record["files"].get(name):
            raise UserError(path, "was changed after the run began", "Restore it, or start the run anew")
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
        try:
            return len(pd.read_csv(self.path / "duplicates.csv"))
        except (OSError, ValueError) as error:
            raise UserError(
                self.path / "duplicates.csv", f"cannot be read ({error})", "Start the run anew in another --out"
            ) from error

    def part(self, repeat: int, fold: int, split: str = "") -> pd.Series:
        """Return "train", "validation", "test" or NaN (in no part) for each row of the cohort, in its order."""
        table = self.splits_of(split)
        rows = table[(table["repeat"] == repeat) & (table["fold"] == fold)].set_index("image_id")["split"]
        return self.cohort.table["image_id"].map(rows)

    def execution(self, system: str, repeat: int, fold: int) -> Execution:
        """Return one execution by its place in the tables."""
        return Execution(self, self.paper.system(system), repeat, fold)

    @property
    def left_out(self) -> dict[str, str]:
        """The systems of the protocol that cannot be run here, and why."""
        return self.settings.get("left_out", {})

    def executions(self) -> list[Execution]:
        """Return all executions, fold by fold, so that a run cut short has all systems on the same folds."""
        return [execution for chains in self.chains() for chain in chains for execution in chain]

    def chains(self) -> list[list[list[Execution]]]:
        """Return, a fold, the executions in the smallest lists that can run apart: what builds on another follows it.

        A chain stays in its place, empty, where all of it is left out: machines that lack different files still agree
        on who trains what.
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
    """Return the names in groups, in their order, such that what any of them builds on is of its own group.

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
    """Return the protocol without what changes no result: where and how many train at once, where given files lie.

    What those files hold is told by their sha256.
    """
    plain = as_plain(protocol)
    del plain["jobs"], plain["executions_per_process"]
    return plain | {"files": sorted(protocol.files), "weights": Path(protocol.weights).name}


def first_difference(old: Any, new: Any, place: str = "") -> str | None:
    """Return where two nests of mappings differ first, as "place: old, now new"; None if they do not."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            inside = f"{place}.{key}" if place else str(key)
            if found := first_difference(old.get(key), new.get(key), inside):
                return found
        return None
    return None if old == new else f"{place} is {old!r} there and {new!r} here"
