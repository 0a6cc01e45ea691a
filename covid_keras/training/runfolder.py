"""The run folder: the files of a run and the state of its executions."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.files import (
    fingerprint,
    is_cache,
    locked,
    mark_cache,
    require_own_files,
    require_writable_folder,
    sha256_of,
    write_record,
    write_text,
)
from covid_keras.common.provenance import git_revision, provenance
from covid_keras.common.settings import as_plain, read_yaml
from covid_keras.common.tables import read_written, write_table
from covid_keras.common.threads import THREADS, processors
from covid_keras.data.cohort import Cohort
from covid_keras.data.splits import read_split, write_split
from covid_keras.paper.claims import claims_hash
from covid_keras.paper.grading import Used
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import RETIRED, Protocol, resolved
from covid_keras.paper.registered import load_paper
from covid_keras.training.executions import EXECUTIONS, Execution
from covid_keras.training.records import RunFacts, RunRecord, checked_record, first_difference

_log = logging.getLogger(__name__)

RECORD, FACTS = "run.json", "facts.json"
REMAKE = "Restore it, or delete it and give the same `covid-keras reproduce` again"
_REMAKE_FACTS = "Give the same `covid-keras reproduce` again, which writes it and keeps finished executions"


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
        require_own_files(run.path)
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
        began = {
            "stamped": True,
            "claims_sha256": claims_hash(load_paper(protocol.paper)),
            "threads": threads_of(protocol),
        }
        if (self.path / RECORD).is_file():
            old = {"stamped": False, "claims_sha256": "", "threads": began["threads"]}  # of versions without them
            began = {key: self.record.get(key, value) for key, value in old.items()}
            self._require_same(identity)
        record = {"identity": identity, "settings": as_plain(settings)} | began
        self._write(protocol, cohort, make_splits, record)
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

    def _write(self, protocol, cohort, make_splits, record) -> None:
        """Write the files of a run, its record, which is completed, last; splits only if they are not there."""
        mark_cache(record["settings"]["cache"])
        text = yaml.safe_dump(as_plain(protocol), sort_keys=False, allow_unicode=True)
        write_text(self.path / "protocol.yaml", text)
        cohort.to_csv(self.path / "cohort.csv")
        if not (self.path / FACTS).is_file():
            write_record(self.path / FACTS, {"run": fingerprint(record["identity"])})  # until all is prepared
        record |= {
            "paper": protocol.paper,
            "profile": protocol.profile,
            "cohort_fingerprint": record["identity"]["cohort"],
            "classes": list(cohort.classes),
            "files": {name: sha256_of(self.path / name) for name in ("protocol.yaml", "cohort.csv")}
            | self._divided(protocol, make_splits, record["settings"].get("left_out", {})),
        }
        write_record(self.path / RECORD, record | {"provenance": provenance()})

    def _divided(self, protocol, make_splits, left_out) -> dict[str, str]:
        """Make the splits, or check those of an existing run; return the hashes of their files."""
        known = self.record["files"] if (self.path / RECORD).is_file() else None
        names = load_paper(protocol.paper).splits_of(protocol, left_out)
        files = ["duplicates.csv", *(self._split_path(name).name for name in names)]
        if known is not None and all((self.path / file).is_file() for file in files):
            for name in names:
                self.splits_of(name)
            return {file: sha256_of(self._unchanged(file)) for file in files}
        tables, duplicates = make_splits()
        for name, table in tables.items():
            path = write_split(self._split_path(name), table)
            if known and known.get(path.name, now := sha256_of(path)) != now:
                raise UserError(path, "is not made again as it was when the run began", "Start a new run")
        write_table(self.path / "duplicates.csv", duplicates)
        return {file: sha256_of(self.path / file) for file in files}

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run; raise `UserError` if the folder is not a run folder."""
        run = cls(Path(os.path.realpath(path)))
        try:
            there = (run.path / RECORD).is_file()
        except OSError as error:
            raise UserError(path, f"cannot be read ({error.strerror})", "Check the path") from error
        if not there:
            remedy = REMAKE if (run.path / EXECUTIONS).is_dir() else "Give the --out of `covid-keras reproduce`"
            raise UserError(path, f"is not a run folder (no {RECORD})", remedy)
        require_own_files(run.path)
        _ = run.record  # raises for a broken record
        return run

    @cached_property
    def record(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        remedy = f"{REMAKE}: finished executions are kept"
        return checked_record(self.path / RECORD, RunRecord, remedy)

    @property
    def facts(self) -> dict[str, Any]:
        """What was counted while the run was prepared; raise `UserError` unless it is there and of this run."""
        path = self.path / FACTS
        if not (self.identity or path.is_file()):
            return {}
        facts = checked_record(path, RunFacts, _REMAKE_FACTS)
        if facts.pop("run", self.identity) != self.identity:
            raise UserError(path, "is of another run", _REMAKE_FACTS)
        return facts

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Write what was counted while the run was prepared."""
        write_record(self.path / FACTS, facts | {"run": self.identity})

    @cached_property
    def identity(self) -> str:
        """Hash of all that determines the predictions; "" for runs before version 0.2, whose executions lack it."""
        return fingerprint(self.record["identity"]) if self.record.get("stamped") else ""

    @property
    def threads(self) -> int | None:
        """Processor threads of each of its trainings, which decide on the last digits; None before version 0.2."""
        return self.record.get("threads")

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
            raise UserError(path, "is missing from the run folder", REMAKE)
        # Versions before 0.2 recorded only the first two.
        recorded = self.record["files"].get(name, None if name in ("protocol.yaml", "cohort.csv") else "")
        if recorded != "" and sha256_of(path) != recorded:
            raise UserError(path, "was changed after the run began", REMAKE)
        return path

    @property
    def splits(self) -> pd.DataFrame:
        """The main split table, its hash checked."""
        return self.splits_of("")

    def splits_of(self, name: str) -> pd.DataFrame:
        """Return a split table by its name, "" for the main one, its hash checked."""
        if name not in self._splits:
            try:
                self._splits[name] = read_split(self._unchanged(self._split_path(name).name))
            except UserError as error:
                raise UserError(error.subject, error.problem, REMAKE) from error
        return self._splits[name]

    @cached_property
    def _splits(self) -> dict[str, pd.DataFrame]:
        return {}

    def _split_path(self, name: str) -> Path:
        return self.path / (f"splits-{name}.csv" if name else "splits.csv")

    @property
    def duplicate_pairs(self) -> int:
        """Number of near-duplicate pairs that the splits keep together."""
        return len(read_written(self._unchanged("duplicates.csv"), REMAKE))

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
        """The systems of the protocol that cannot be run here -> reason, without a final full stop."""
        return {name: reason.rstrip(".") for name, reason in self.settings.get("left_out", {}).items()}

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


def threads_of(protocol: Protocol) -> int:
    """Return the threads of each training of a new run: TF_NUM_INTRAOP_THREADS, else a share of the processors.

    It is the share under the profile's number of parallel trainings, so that --jobs changes no number.
    """
    given = os.environ.get(THREADS[0], "")
    meant = int(given) if given.isdecimal() and len(given) < 5 else 0
    return meant or max(1, processors() // protocol.jobs)


def _what_decides(protocol: Protocol) -> dict[str, Any]:
    """Return the protocol without settings that do not affect results (parallelism, paths of files)."""
    plain = as_plain(protocol)
    del plain["jobs"], plain["executions_per_process"]
    if not plain["micro_batch"]:  # runs before version 0.2 did not record it
        del plain["micro_batch"]
    return plain | {"files": sorted(protocol.files), "weights": Path(protocol.weights).name}
