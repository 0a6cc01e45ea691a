"""Sources of results: a run folder, or the committed results in `papers/<paper>/results/`.

Both kinds of `Source` have `paper`, `profile`, `systems` and `provenance`; `frames`, the predictions, one table per set
of classes; `shares` and `costs`, the shares of heat in the lungs and the cost per image (may be empty); `segmenters`,
the folders of the paper's own segmenters; and `measured`, every metric of every system and stage (mean, std over
executions, 95 % interval).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.files import without_folders, without_paths
from covid_keras.common.provenance import provenance
from covid_keras.common.settings import CountOrZero, NotNegative, read_yaml
from covid_keras.evaluation import Measured, measured_from_json, read_predictions, summarise
from covid_keras.paper.paper import Paper
from covid_keras.reporting.heat_shares import COSTS, SHARES, read_measured
from covid_keras.training.executions import Execution
from covid_keras.training.records import checked_record
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.segmenter_runs import PaperSegmenters

REMEASURE = "Delete it: `covid-keras report` measures it again"


class Measures(Protocol):
    """A paper's additional metrics, see `covid_keras.reporting.results.PaperReport`."""

    def measure(self, predictions: pd.DataFrame) -> list[Measured]: ...
    def measured_beside(self, run: RunFolder) -> list[Measured]: ...
    def measured_from(self, folder: Path, profile: str) -> list[Measured]: ...


@dataclass(frozen=True)
class CommittedProvenance:
    """What the provenance of committed results holds."""

    protocol: str
    complete: bool
    executions: CountOrZero
    training_hours: NotNegative
    cohort_counts: dict[str, CountOrZero]
    facts: dict[str, Any]
    precision: str
    left_out: dict[str, str] = field(default_factory=dict)
    surrogates: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CommittedSystem:
    """What committed results hold of a system."""

    metrics: dict[str, dict[str, Any]]
    executions: list[dict[str, Any]]


@dataclass(frozen=True)
class CommittedRecord:
    """What the file of committed results holds."""

    provenance: CommittedProvenance
    systems: dict[str, CommittedSystem]


@dataclass(frozen=True)
class RunSource:
    """A run folder and its finished executions."""

    run: RunFolder
    executions: list[Execution]

    @property
    def paper(self) -> Paper:
        """The paper."""
        return self.run.paper

    @property
    def profile(self) -> str:
        """The profile."""
        return self.run.protocol.profile

    @property
    def systems(self) -> Sequence[str]:
        """The systems with finished executions."""
        return tuple(dict.fromkeys(execution.system.name for execution in self.executions))

    @cached_property
    def frames(self) -> list[pd.DataFrame]:
        """The predictions, one table per set of classes."""
        frames: dict[tuple[str, ...], list[pd.DataFrame]] = {}
        for execution in self.executions:
            frames.setdefault(execution.scored, []).append(execution.predicted)
        return [pd.concat(of_classes, ignore_index=True) for of_classes in frames.values()]

    @property
    def _segmenters(self) -> PaperSegmenters | None:
        return getattr(self.paper, "segmenters", None)

    @property
    def segmenters(self) -> dict[str, Path]:
        """Name -> folder of the paper's own segmenters that are trained."""
        return {name: self._segmenters.folders(self.run)[name] for name in self.segmented} if self._segmenters else {}

    @cached_property
    def segmented(self) -> dict[str, dict[str, Any]]:
        """Name -> record of the paper's own segmenters that are trained."""
        return self._segmenters.records(self.run) if self._segmenters else {}

    @property
    def planned(self) -> int:
        """Number of trainings of the run: its executions, and the paper's own segmenters."""
        return len(self.run.executions()) + (len(self._segmenters.folders(self.run)) if self._segmenters else 0)

    def measured(self, further: Measures) -> list[Measured]:
        """Return all metrics, from the predictions and from what the paper trains beside its systems."""
        return [*_measured_in(self, further), *further.measured_beside(self.run)]

    @property
    def shares(self) -> pd.DataFrame:
        """The shares of heat in the lungs, once a report has measured them."""
        return read_measured(self.run.path / SHARES, REMEASURE)

    @property
    def costs(self) -> pd.DataFrame:
        """The cost per image of the systems, once a report has measured it."""
        return read_measured(self.run.path / COSTS, REMEASURE)

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The provenance of each execution."""
        return [execution.details for execution in self.executions]

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Provenance as committed, with file names in place of local paths."""
        run, records, protocol = self.run, [*self.records, *self.segmented.values()], self.run.protocol
        reasons = {name: self.paper.system(name).surrogate(protocol) for name in self.systems}
        return without_folders(
            provenance(
                paper=protocol.paper,
                profile=protocol.profile,
                complete=len(records) == self.planned,
                executions=len(records),
                cohort_fingerprint=run.record["cohort_fingerprint"],
                cohort_counts=run.cohort.counts(),
                surrogates={name: reason for name, reason in reasons.items() if reason},
                sources=run.used.sources,
                classes=run.used.classes,
                other_files=run.used.files,
                left_out={name: without_paths(reason) for name, reason in run.left_out.items()},
                precision=run.settings["precision"],
                trained_with=records[0]["versions"],
                trained_on=records[0]["machine"] | {"device": records[0]["device"]},
                training_revisions=sorted({record["revision"] for record in records}),
                training_hours=round(sum(record["seconds"] for record in records) / 3600, 3),
                claims_sha256=run.record.get("claims_sha256", ""),
                protocol=read_protocol_text(run),
                facts=run.facts,
            )
        )


@dataclass(frozen=True)
class CommittedSource:
    """The committed results of a paper in one profile."""

    paper: Paper
    profile: str

    @property
    def folder(self) -> Path:
        """The results folder."""
        return self.paper.folder / "results"

    @cached_property
    def _file(self) -> dict[str, Any]:
        """The metrics file; raise `UserError` if missing or malformed."""
        path = self.folder / f"{self.profile}.json"
        return checked_record(
            path, CommittedRecord, "Run `covid-keras publish RUN` again, or take it from the repository"
        )

    @property
    def provenance(self) -> dict[str, Any]:
        """Provenance as committed."""
        return self._file["provenance"]

    @property
    def systems(self) -> Sequence[str]:
        """The systems with finished executions."""
        own = {system.name for system in self.paper.systems}
        return tuple(name for name, one in self._file["systems"].items() if name in own and one["executions"])

    @cached_property
    def frames(self) -> list[pd.DataFrame]:
        """The committed predictions, validated, one table per set of classes."""
        count = len(list(self.folder.glob(f"{self.profile}-predictions*.csv")))
        return [read_predictions(path) for path in predictions_files(self.folder, self.profile, count)]

    @property
    def segmenters(self) -> dict[str, Path]:
        """Name -> committed folder of the paper's own segmenters that were trained."""
        names = getattr(getattr(self.paper, "segmenters", None), "names", ())
        folders = {name: self.folder / f"{self.profile}-{name}" for name in names}
        return {name: folder for name, folder in folders.items() if folder.is_dir()}

    def measured(self, further: Measures) -> list[Measured]:
        """Return the committed metrics."""
        return measured_from_json(self._file, str(self.folder / f"{self.profile}.json"))

    @property
    def shares(self) -> pd.DataFrame:
        """The committed shares of heat in the lungs."""
        return read_measured(self.folder / f"{self.profile}-{SHARES}")

    @property
    def costs(self) -> pd.DataFrame:
        """The committed cost per image of the systems."""
        return read_measured(self.folder / f"{self.profile}-{COSTS}")


class RecomputedSource(CommittedSource):
    """The committed results, with metrics recomputed from the predictions."""

    def measured(self, further: Measures) -> list[Measured]:
        """Return the metrics recomputed from the committed predictions and files."""
        return [*_measured_in(self, further), *further.measured_from(self.folder, self.profile)]


Source = RunSource | CommittedSource


def _measured_in(source: Source, further: Measures) -> list[Measured]:
    """Return the metrics of the predictions, then the paper's additional ones."""
    found = [one for frame in source.frames for one in summarise(frame, source.paper.positive or None)]
    return [*found, *(one for frame in source.frames for one in further.measure(frame))]


def predictions_files(folder: Path, profile: str, count: int) -> list[Path]:
    """Return the files of a profile's predictions, one per set of classes."""
    return [folder / f"{profile}-predictions{'' if place == 1 else f'-{place}'}.csv" for place in range(1, count + 1)]


def committed_profiles(paper: Paper) -> list[str]:
    """Return the profiles with committed results, the most demanding first."""
    folder = paper.folder / "results"
    return [one for one in paper.profiles if (folder / f"{one}.json").is_file()] if folder.is_dir() else []


def read_protocol_text(run: RunFolder) -> str:
    """Return the resolved protocol as YAML, with file names in place of paths (such as that of `--weights`)."""
    path = run.path / "protocol.yaml"
    given, text = read_yaml(path), path.read_text(encoding="utf-8")
    portable = without_folders(given)
    return text if portable == given else yaml.safe_dump(portable, sort_keys=False, allow_unicode=True)


def finished(run: RunFolder) -> RunSource:
    """Read a run's finished executions; raise `UserError` if neither one nor a segmenter is done, or one is damaged."""
    source = RunSource(run, [execution for execution in run.executions() if execution.ended])
    if not (source.executions or source.segmented):
        raise UserError(run.path, "has no finished execution", "Run `covid-keras reproduce` until one is done")
    return source
