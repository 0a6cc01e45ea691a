"""The report that a paper adds of its own, and all that follows from predictions and the paper's printed numbers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import yaml

from covid_keras.evaluation import (
    Measured,
    PublishedCell,
    compare,
    load_published,
    metrics_json,
    per_execution,
)
from covid_keras.evaluation.seeds import seed_metrics
from covid_keras.evaluation.summary import plain
from covid_keras.evaluation.uncertainty import Difference, difference_of_sets
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import SplitSettings
from covid_keras.published.cells import load_titles
from covid_keras.reporting.audits import audit_of, audited_places
from covid_keras.reporting.document import Section
from covid_keras.reporting.groups import Group, named_groups
from covid_keras.reporting.heat_shares import compared_shares
from covid_keras.reporting.prose import prose
from covid_keras.reporting.sources import CommittedSource, RecomputedSource, RunSource, Source, finished
from covid_keras.reporting.wording import sentence
from covid_keras.training.runfolder import Execution, RunFolder
from covid_keras.training.segmenter_runs import PaperSegmenters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from covid_keras.reporting.examples import Examples


Pictures = list[tuple[str, str, "Figure"]]


@dataclass(frozen=True)
class PaperReport:
    """The report of a paper; a paper that measures or shows something of its own overrides the methods.

    Attributes
    ----------
    notes : tuple of (title, text)
        What the reader must know before believing a number; every report and its page show them.
    proposed : tuple of str
        The paper's own systems: each of the others is compared with them on the same patients; all pairs where empty.
    pairs : tuple of (str, str)
        The pairs of systems whose difference is shown, the first minus the second; those of `proposed` where None.
    leaks : tuple of (str, str)
        Systems on a division that leaks as published, each with its twin on a disjoint one: their difference is shown.
    heat_pairs : tuple of (str, str)
        Systems whose share of heat in the lungs is compared over their whole test set.
    pictures : mapping
        System to a function of `covid_keras.reporting.examples.Examples` that returns a list of (title, caption,
        `matplotlib.figure.Figure`): what the report shows of the example images beside the heat maps.
    evidence_notes : mapping
        System to what the map of a class is a map of, where that is not simply the class's logit.
    """

    notes: tuple[tuple[str, str], ...] = ()
    proposed: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] | None = None
    leaks: tuple[tuple[str, str], ...] = ()
    heat_pairs: tuple[tuple[str, str], ...] = ()
    pictures: Mapping[str, Callable[[Examples], Pictures]] = field(default_factory=dict)
    evidence_notes: Mapping[str, str] = field(default_factory=dict)

    # The lung segmenters that the paper trains itself.
    segmenters: ClassVar[PaperSegmenters | None] = None

    def measure(self, predictions: pd.DataFrame) -> list[Measured]:
        """Return further metrics that the paper prints, of the predictions of one set of classes."""
        return []

    def measured_beside(self, run: RunFolder) -> list[Measured]:
        """Return what was measured of what the paper trains beside its systems, as far as that is done."""
        return self.segmenters.measured(run) if self.segmenters else []

    def measured_from(self, folder: Path, profile: str) -> list[Measured]:
        """Return the same, made again from the files that were published into a folder of results."""
        return self.segmenters.kept(folder, profile) if self.segmenters else []

    def published_files(self, run: RunFolder) -> dict[str, str]:
        """Return {file name: text} of what is published beside the predictions; names follow the profile's."""
        return self.segmenters.published_files(run) if self.segmenters else {}

    def sections(self, results: Results) -> list[Section]:
        """Return the sections that only this paper's report has."""
        return []


def report_of(paper: Paper) -> PaperReport:
    """Return the `REPORT` of the module that a paper names as its report; the plain one where it names none."""
    return importlib.import_module(paper.report).REPORT if paper.report else PaperReport()


@dataclass(frozen=True)
class Results:
    """Predictions and everything that follows from them.

    `run`, `executions` and what asks for the cohort or the splits need a source that is a run folder.
    """

    source: Source

    @classmethod
    def of(cls, run: RunFolder) -> Results:
        """Read a run's finished executions; raise `UserError` if there is none."""
        return cls(finished(run))

    @classmethod
    def committed(cls, paper: Paper, profile: str) -> Results:
        """Read what is committed of a paper's profile; a missing or malformed file is an error once it is asked for."""
        return cls(CommittedSource(paper, profile))

    @classmethod
    def recomputed(cls, paper: Paper, profile: str) -> Results:
        """Read the same, with the metrics computed again from the committed predictions."""
        return cls(RecomputedSource(paper, profile))

    # --- of either source

    @property
    def paper(self) -> Paper:
        """The paper."""
        return self.source.paper

    @property
    def provenance(self) -> dict[str, Any]:
        """Protocol, data, device, revision and cost, as they are committed."""
        return self.source.provenance

    @property
    def profile(self) -> str:
        """The profile."""
        return self.source.profile

    @cached_property
    def protocol_text(self) -> dict[str, Any]:
        """The protocol of the run as it was then, as plain values."""
        return yaml.safe_load(self.provenance["protocol"])

    @property
    def facts(self) -> dict[str, Any]:
        """What was counted while the run was prepared."""
        return self.provenance["facts"]

    @property
    def complete(self) -> bool:
        """Whether every execution of the protocol is done."""
        return self.provenance["complete"]

    @property
    def left_out(self) -> dict[str, str]:
        """The systems that could not be run, and why."""
        return self.provenance.get("left_out", {})

    @property
    def surrogates(self) -> dict[str, str]:
        """The systems measured that are no match for the paper's even on its own data, and why."""
        return self.provenance.get("surrogates", {})

    @property
    def phantom(self) -> bool:
        """Whether the images are synthetic, of known truth."""
        return self.protocol_text["cohort"].get("kind") == "phantom"

    @cached_property
    def report(self) -> PaperReport:
        """What the paper's report has of its own."""
        return report_of(self.paper)

    @cached_property
    def measured(self) -> list[Measured]:
        """Mean, std over executions and 95 % interval by patient, of every metric."""
        return self.source.measured(self.report)

    @cached_property
    def published(self) -> list[PublishedCell]:
        """The paper's numbers."""
        return load_published(self.paper.folder / "published.yaml")

    @cached_property
    def published_titles(self) -> dict[str, str]:
        """What each of the paper's tables shows, by its name."""
        return load_titles(self.paper.folder / "published.yaml")

    @cached_property
    def audit(self) -> pd.DataFrame:
        """Whether the paper's numbers are possible, as `audit_of` returns it."""
        return audit_of(self.paper)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Every published cell beside ours; the tolerance is the one of the run's own protocol, set before it."""
        return compare(
            self.published,
            self.measured,
            self.protocol_text["tolerance"],
            self.provenance["comparable"],
            self.left_out,
            audited_places(self.audit),
            self.surrogates,
        )

    @cached_property
    def systems(self) -> dict[str, str]:
        """The systems with finished executions: name to title."""
        return {name: self.paper.system(name).title for name in self.source.systems}

    @cached_property
    def titles(self) -> dict[str, str]:
        """All that was measured, systems and stages: name to title.

        The title of a stage is the row of the paper's, where all its numbers stand in rows of one name, else its name.
        """
        rows = self.comparison.groupby("system")["row"].unique()
        return {
            name: self.systems.get(name) or (str(rows[name][0]) if name in rows and len(rows[name]) == 1 else name)
            for name in dict.fromkeys(one.system for one in self.measured)
        }

    @property
    def frames(self) -> list[pd.DataFrame]:
        """The predictions of the finished executions, one table per set of classes that systems are evaluated in."""
        return self.source.frames

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """All of them below one another; scores of classes that a system does not know are NaN."""
        return pd.concat(self.frames, ignore_index=True)

    def predictions_of(self, system: str) -> pd.DataFrame:
        """Return one system's predictions, with the scores of its own classes."""
        frame = next(frame for frame in self.frames if (frame["system"] == system).any())
        return frame[frame["system"] == system]

    # --- of a run folder

    @property
    def _source(self) -> RunSource:
        if not isinstance(self.source, RunSource):
            raise TypeError(f"{type(self.source).__name__} holds no run folder")
        return self.source

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return self._source.run

    @property
    def executions(self) -> list[Execution]:
        """The finished executions."""
        return self._source.executions

    @property
    def records(self) -> list[dict[str, Any]]:
        """The provenance of each execution."""
        return self._source.records

    def executions_of(self, system: str) -> list[tuple[Execution, dict[str, Any]]]:
        """Return a system's finished executions with their records."""
        both = zip(self.executions, self.records, strict=True)
        return [(execution, record) for execution, record in both if execution.system.name == system]

    def classes_of(self, system: str) -> tuple[str, ...]:
        """Return the classes that a system is evaluated in."""
        return self.executions_of(system)[0][0].scored

    def split_of(self, system: str) -> SplitSettings:
        """Return how the images of a system are divided."""
        return self.run.protocol.split_of(self.paper.system(system).split)

    def has_seeds(self, system: str) -> bool:
        """Whether a system's executions differ by their seed alone, not by their fold."""
        return self.split_of(system).scheme != "folds"

    @property
    def leaky(self) -> list[str]:
        """The systems measured whose images are divided as published, patients crossing."""
        return [name for name in self.systems if self.split_of(name).leaky_as_published]

    @cached_property
    def experiments(self) -> list[list[str]]:
        """The systems in groups that were tested on the same images (of the same executions)."""
        test = self.predictions[self.predictions["split"] == "test"]
        groups: dict[tuple, list[str]] = {}
        for name, rows in test.groupby("system", sort=False):
            # Repeats of one division differ by their seed, not by their images.
            keys = ["image_id", "fold"] if self.has_seeds(str(name)) else ["image_id", "repeat", "fold"]
            key = (self.classes_of(str(name)), frozenset(rows[keys].itertuples(index=False, name=None)))
            groups.setdefault(key, []).append(str(name))
        return list(groups.values())

    @cached_property
    def groups(self) -> list[Group]:
        """The experiments, each with its name and its systems' titles without what all of them share."""
        origins = {name: self.paper.system(name).origin for name in self.systems}
        several = len(self.frames) > 1
        return named_groups(
            [{name: self.systems[name] for name in names} for names in self.experiments],
            origins,
            [" or ".join(self.classes_of(names[0])) if several else "" for names in self.experiments],
        )

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """The metrics of each execution of the systems whose executions differ by their seed, and not by their fold."""
        frames = [per_execution(one, self.paper.positive or None) for one in self.frames]
        frame = pd.concat(frames, ignore_index=True)
        return frame[frame["system"].map(self.has_seeds)]

    @cached_property
    def leaks(self) -> list[tuple[str, Difference]]:
        """What a division that leaks adds to the metrics of each system that was trained on both."""
        found, positive = [], self.paper.positive or None
        for leaky, disjoint in self.report.leaks:
            if {leaky, disjoint} <= set(self.systems):
                both = self.predictions_of(leaky), self.predictions_of(disjoint)
                for metric in seed_metrics(per_execution(both[0], positive)):
                    found.append((disjoint, difference_of_sets(*both, metric, positive)))
        return found

    @property
    def heat_pairs(self) -> list[tuple[str, str]]:
        """The pairs that the paper compares by their heat, as far as both are measured and the lungs are known."""
        # The saturated pixels of the authors' mode are for cropping; they do not say where the lungs are.
        saturated = self.facts.get("lungs", {}).get("mode") == "authors"
        if saturated or self.run.cohort.table["mask_path"].eq("").all():
            return []
        return [pair for pair in self.report.heat_pairs if set(pair) <= set(self.systems)]

    @property
    def heat_shares(self) -> list[dict[str, Any]]:
        """The share of heat in the lungs of the systems that the paper compares, once a report has measured it."""
        if isinstance(self.source, CommittedSource):
            return self.provenance.get("heat_shares", [])
        return compared_shares(self.source.shares, self.heat_pairs)


def results_json(results: Results) -> dict[str, Any]:
    """Return the metrics with their provenance, as committed below `papers/<paper>/results/`.

    `verdicts` lists the verdict on each published cell with a number of ours.
    """
    source, positive = dict(results.provenance), results.paper.positive or None
    if results.heat_shares:
        source["heat_shares"] = [{key: plain(value) for key, value in one.items()} for one in results.heat_shares]
    whole = metrics_json(results.measured, per_execution(results.frames[0], positive), source)
    for frame in results.frames[1:]:
        for name, entry in metrics_json([], per_execution(frame, positive))["systems"].items():
            whole["systems"][name]["executions"] = entry["executions"]
    measured = results.comparison[results.comparison["ours"].notna()]
    verdicts = measured[["table", "row", "column", "grade", "outcome", "reason"]].to_dict("records")
    return whole | {"verdicts": verdicts}


def banner_of(results: Results) -> str:
    """Return the warning across the page; "" if the numbers are comparable."""
    comparable = results.provenance["comparable"]
    return prose(
        "covid_keras.reporting",
        "report.md",
        "banner",
        complete=results.complete,
        done=results.provenance["executions"],
        planned=0 if results.complete else len(results.run.executions()),
        phantom=results.phantom,
        reason="" if comparable is True else sentence(str(comparable).strip().rstrip(".")),
    )
