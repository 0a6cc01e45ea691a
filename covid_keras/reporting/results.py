"""What a paper adds to its report, and the results that follow from predictions and printed numbers."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.settings import parse_yaml
from covid_keras.evaluation import (
    Grade,
    Measured,
    PublishedCell,
    compare,
    load_published,
    metrics_json,
    per_execution,
)
from covid_keras.evaluation.counts import OfConfusion
from covid_keras.evaluation.predictions import PREDICTION_COLUMNS, choose_examples
from covid_keras.evaluation.seeds import seed_metrics
from covid_keras.evaluation.summary import plain
from covid_keras.evaluation.uncertainty import Difference, difference_of_sets
from covid_keras.evaluation.verdicts import Grading
from covid_keras.paper.claims import claims_hash
from covid_keras.paper.grading import RunGrading, Used
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import SplitSettings, resolved
from covid_keras.published.cells import load_titles
from covid_keras.reporting.audits import audit_of, audited_places
from covid_keras.reporting.document import Section
from covid_keras.reporting.groups import Group, named_groups
from covid_keras.reporting.heat_shares import compared_shares
from covid_keras.reporting.prose import prose
from covid_keras.reporting.sources import CommittedSource, RecomputedSource, RunSource, Source, finished
from covid_keras.training.executions import Execution
from covid_keras.training.runfolder import RunFolder
from covid_keras.training.segmenter_runs import PaperSegmenters

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from covid_keras.reporting.examples import Examples


NO_RECORD = "the run has no record of the images used"
Pictures = list[tuple[str, str, "Figure"]]


@dataclass(frozen=True)
class PaperReport:
    """What a paper adds to its report; override the methods for further metrics and sections.

    Attributes
    ----------
    notes : tuple of (title, text)
        Caveats that the reader must know; shown in every report.
    proposed : tuple of str
        The paper's own systems. The others are compared with them; if empty, all pairs are compared.
    pairs : tuple of (str, str)
        Pairs of systems whose difference (first minus second) is shown. Default: chosen by `proposed`.
    leaks : tuple of (str, str)
        Systems trained on a leaking split as published, each with its counterpart on a split by patient.
    heat_pairs : tuple of (str, str)
        Systems whose share of heat in the lungs is compared over the whole test set.
    heat_systems : tuple of str
        Further systems whose share is measured.
    cost_systems : tuple of str
        Systems whose cost per image is measured; the first that was run is the reference of the times.
    pictures : mapping
        System -> function of `covid_keras.reporting.examples.Examples` that returns a list of (title, caption,
        `matplotlib.figure.Figure`), shown beside the heat maps.
    evidence_notes : mapping
        System -> what a class's map shows, if not the class's logit.
    labels : mapping
        Label of the cohort -> its name in reports, for labels that only the code explains.
    """

    notes: tuple[tuple[str, str], ...] = ()
    proposed: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] | None = None
    leaks: tuple[tuple[str, str], ...] = ()
    heat_pairs: tuple[tuple[str, str], ...] = ()
    heat_systems: tuple[str, ...] = ()
    cost_systems: tuple[str, ...] = ()
    pictures: Mapping[str, Callable[[Examples], Pictures]] = field(default_factory=dict)
    evidence_notes: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)

    # Metrics that only this paper has, for its claims: name -> function of confusion matrices.
    counted: ClassVar[Mapping[str, OfConfusion]] = {}
    # What `choose` takes examples of, as text.
    example_groups: ClassVar[str] = "class"
    # The paper's own lung segmenters.
    segmenters: ClassVar[PaperSegmenters | None] = None

    def choose(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of an execution's predictions whose images are shown with heat maps."""
        return choose_examples(predictions)

    def measure(self, predictions: pd.DataFrame) -> list[Measured]:
        """Return the paper's additional metrics of predictions with one set of classes."""
        return []

    def measured_beside(self, run: RunFolder) -> list[Measured]:
        """Return the metrics of what the paper trains beside its systems, as far as done."""
        return self.segmenters.measured(run) if self.segmenters else []

    def measured_from(self, folder: Path, profile: str) -> list[Measured]:
        """Return the same, recomputed from the published files in a results folder."""
        return self.segmenters.kept(folder, profile) if self.segmenters else []

    def published_files(self, run: RunFolder) -> dict[str, str]:
        """Return {file name: text} to publish beside the predictions; the profile's name is prefixed."""
        return self.segmenters.published_files(run) if self.segmenters else {}

    def sections(self, results: Results) -> list[Section]:
        """Return the sections that only this paper's report has."""
        return []

    def summary(self, results: Results) -> Section | None:
        """Return what the overview of all papers shows of committed results beside the printed numbers, if anything."""
        return None


def report_of(paper: Paper) -> PaperReport:
    """Return `REPORT` of the paper's report module, or the default report."""
    return importlib.import_module(paper.report).REPORT if paper.report else PaperReport()


@dataclass(frozen=True)
class Results:
    """Predictions and everything that follows from them.

    `run`, `executions` and whatever uses the cohort or the splits require a run folder as source.
    """

    source: Source

    @classmethod
    def of(cls, run: RunFolder) -> Results:
        """Read a run's finished executions; raise `UserError` if there is none."""
        return cls(finished(run))

    @classmethod
    def committed(cls, paper: Paper, profile: str) -> Results:
        """Return the committed results of a profile; files are read, and errors raised, on first use."""
        return cls(CommittedSource(paper, profile))

    @classmethod
    def recomputed(cls, paper: Paper, profile: str) -> Results:
        """Return the same, with metrics recomputed from the committed predictions."""
        return cls(RecomputedSource(paper, profile))

    # --- of either source

    @property
    def paper(self) -> Paper:
        """The paper."""
        return self.source.paper

    @property
    def provenance(self) -> dict[str, Any]:
        """Protocol, data, device, revision and cost, as committed."""
        return self.source.provenance

    @property
    def profile(self) -> str:
        """The profile."""
        return self.source.profile

    @cached_property
    def protocol_text(self) -> dict[str, Any]:
        """The protocol of the run, as plain values."""
        return parse_yaml(self.provenance["protocol"], f"protocol of {self.paper.name}, profile {self.profile}")

    @property
    def facts(self) -> dict[str, Any]:
        """Counts made while the run was prepared."""
        return self.provenance["facts"]

    @property
    def complete(self) -> bool:
        """Whether every execution of the protocol is done."""
        return self.provenance["complete"]

    @property
    def left_out(self) -> dict[str, str]:
        """The systems that were not run -> reason."""
        return self.provenance.get("left_out", {})

    @property
    def surrogates(self) -> dict[str, str]:
        """The measured systems that differ from the paper's even on its own data -> reason."""
        return self.provenance.get("surrogates", {})

    @property
    def phantom(self) -> bool:
        """Whether the images are synthetic, with known truth."""
        return self.protocol_text["cohort"].get("kind") == "phantom"

    @property
    def cohort_counts(self) -> dict[str, int]:
        """The number of images per label of the cohort, as `PaperReport.labels` names them."""
        return {self.report.labels.get(label, label): n for label, n in self.provenance["cohort_counts"].items()}

    @property
    def claims_fixed(self) -> bool:
        """Whether the paper's claims are those that its file had when the run began."""
        recorded = self.provenance.get("claims_sha256", "")
        return bool(recorded) and recorded == claims_hash(self.paper)

    @cached_property
    def report(self) -> PaperReport:
        """The paper's additions to the report."""
        return report_of(self.paper)

    @cached_property
    def measured(self) -> list[Measured]:
        """Mean, std over executions and 95 % interval by patient of every metric."""
        return self.source.measured(self.report)

    @cached_property
    def published(self) -> list[PublishedCell]:
        """The paper's numbers."""
        return load_published(path) if (path := self.paper.published_path) else []

    @cached_property
    def published_titles(self) -> dict[str, str]:
        """Table name -> title, for the paper's tables."""
        return load_titles(path) if (path := self.paper.published_path) else {}

    @cached_property
    def audit(self) -> pd.DataFrame:
        """The audit of the paper's numbers, from `audit_of`."""
        return audit_of(self.paper)

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Every published cell beside ours, with the tolerance of the run's own protocol."""
        return compare(
            self.published,
            self.measured,
            self.protocol_text["tolerance"],
            self.grading,
            self.left_out,
            audited_places(self.audit),
        )

    @cached_property
    def grading(self) -> Grading:
        """The grades of the systems, from what the run recorded of its images, settings and files."""
        facts = self.provenance
        if "sources" not in facts:  # published before version 0.2, with one reason for all
            return lambda system, table: (Grade.STAND_IN, str(facts.get("comparable") or NO_RECORD))
        where = f"results of {self.paper.name}, profile {self.profile}"
        used = Used.recorded(facts, where)
        return cache(RunGrading(self.paper, resolved(self.protocol_text, where), used))

    @cached_property
    def systems(self) -> dict[str, str]:
        """Name -> title of the systems with finished executions."""
        return {name: self.paper.system(name).title for name in self.source.systems}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Name -> title of all that was measured, systems and stages.

        A stage's title is its row in the paper's tables if that is unique, else its name.
        """
        rows = self.comparison.groupby("system")["row"].unique()
        return {
            name: self.systems.get(name) or (str(rows[name][0]) if name in rows and len(rows[name]) == 1 else name)
            for name in dict.fromkeys(one.system for one in self.measured)
        }

    @property
    def frames(self) -> list[pd.DataFrame]:
        """The predictions of the finished executions, one table per set of classes."""
        return self.source.frames

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """All predictions in one table; scores of classes unknown to a system are NaN."""
        return pd.concat(self.frames, ignore_index=True) if self.frames else pd.DataFrame(columns=PREDICTION_COLUMNS)

    def predictions_of(self, system: str) -> pd.DataFrame:
        """Return one system's predictions, with the scores of its own classes."""
        for frame in self.frames:
            if (frame["system"] == system).any():
                return frame[frame["system"] == system]
        where = f"results of {self.paper.name}, profile {self.profile}"
        raise UserError(where, f"have no predictions of {system}", "Publish the run again")

    # --- of a run folder

    @property
    def _source(self) -> RunSource:
        if not isinstance(self.source, RunSource):
            raise TypeError(f"{type(self.source).__name__} has no run folder")
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

    @property
    def segmented(self) -> dict[str, dict[str, Any]]:
        """Name -> record of the paper's own segmenters that are trained."""
        return self._source.segmented

    @property
    def planned(self) -> int:
        """Number of trainings of the run, those of segmenters included."""
        return self._source.planned

    def executions_of(self, system: str) -> list[tuple[Execution, dict[str, Any]]]:
        """Return a system's finished executions with their records."""
        both = zip(self.executions, self.records, strict=True)
        return [(execution, record) for execution, record in both if execution.system.name == system]

    def classes_of(self, system: str) -> tuple[str, ...]:
        """Return the classes in which a system is evaluated."""
        return self.executions_of(system)[0][0].scored

    def split_of(self, system: str) -> SplitSettings:
        """Return the split settings of a system."""
        return self.run.protocol.split_of(self.paper.system(system).split)

    def has_seeds(self, system: str) -> bool:
        """Whether a system's executions differ by seed only, not by fold."""
        return self.split_of(system).scheme != "folds"

    @property
    def leaky(self) -> list[str]:
        """The measured systems whose split leaks as published."""
        return [name for name in self.systems if self.split_of(name).leaky_as_published]

    @cached_property
    def experiments(self) -> list[list[str]]:
        """The systems in groups tested on the same images of the same executions."""
        test = self.predictions[self.predictions["split"] == "test"]
        groups: dict[tuple, list[str]] = {}
        for name, rows in test.groupby("system", sort=False):
            # Repeats of one split have the same images and differ by seed.
            keys = ["image_id", "fold"] if self.has_seeds(str(name)) else ["image_id", "repeat", "fold"]
            key = (self.classes_of(str(name)), frozenset(rows[keys].itertuples(index=False, name=None)))
            groups.setdefault(key, []).append(str(name))
        return list(groups.values())

    @cached_property
    def groups(self) -> list[Group]:
        """The experiments with their names; titles of systems omit what all in a group share."""
        origins = {name: self.paper.system(name).origin for name in self.systems}
        several = len(self.frames) > 1
        return named_groups(
            [{name: self.systems[name] for name in names} for names in self.experiments],
            origins,
            [" or ".join(self.classes_of(names[0])) if several else "" for names in self.experiments],
        )

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """The metrics per execution of the systems whose executions differ by seed only."""
        frames = [per_execution(one, self.paper.positive or None) for one in self.frames]
        frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["system"])
        return frame[frame["system"].map(self.has_seeds).astype(bool)]

    @cached_property
    def leaks(self) -> list[tuple[str, Difference]]:
        """What a leaking split adds to the metrics of each system trained on both splits."""
        found, positive = [], self.paper.positive or None
        for leaky, disjoint in self.report.leaks:
            if {leaky, disjoint} <= set(self.systems):
                both = self.predictions_of(leaky), self.predictions_of(disjoint)
                for metric in seed_metrics(per_execution(both[0], positive)):
                    found.append((disjoint, difference_of_sets(*both, metric, positive)))
        return found

    @property
    def heat_pairs(self) -> list[tuple[str, str]]:
        """The pairs compared by heat in the lungs; both must be measured and the lungs known."""
        return [pair for pair in self.report.heat_pairs if set(pair) <= set(self.systems)] if self._lungs_known else []

    @property
    def heat_systems(self) -> list[str]:
        """The systems whose share of heat in the lungs is measured: those of `heat_pairs`, and further ones."""
        further = [name for name in self.report.heat_systems if name in self.systems] if self._lungs_known else []
        return list(dict.fromkeys([*(name for pair in self.heat_pairs for name in pair), *further]))

    @property
    def _lungs_known(self) -> bool:
        # The authors' mode marks saturated pixels for cropping, not the lungs.
        saturated = self.facts.get("lungs", {}).get("mode") == "authors"
        return not saturated and self.run.cohort.table["mask_path"].ne("").any()

    @property
    def heat_shares(self) -> list[dict[str, Any]]:
        """The shares of heat in the lungs of `heat_pairs`, once a report has measured them."""
        if isinstance(self.source, CommittedSource):
            return self.provenance.get("heat_shares", [])
        return compared_shares(self.source.shares, self.heat_pairs)


def results_json(results: Results) -> dict[str, Any]:
    """Return metrics, provenance and verdicts as committed in `papers/<paper>/results/`."""
    source, positive = dict(results.provenance), results.paper.positive or None
    if results.heat_shares:
        source["heat_shares"] = [{key: plain(value) for key, value in one.items()} for one in results.heat_shares]
    whole = metrics_json(results.measured, pd.DataFrame(), source)
    for frame in results.frames:
        for name, entry in metrics_json([], per_execution(frame, positive))["systems"].items():
            whole["systems"][name]["executions"] = entry["executions"]
    measured = results.comparison[results.comparison["ours"].notna()]
    verdicts = measured[["table", "row", "column", "grade", "outcome", "reason"]].to_dict("records")
    return whole | {"verdicts": verdicts}


def banner_of(results: Results) -> str:
    """Return the warning at the top of the page; "" if any number is judged."""
    graded = results.comparison[results.comparison["grade"] != ""]
    return prose(
        "covid_keras.reporting",
        "report.md",
        "banner",
        complete=results.complete,
        done=results.provenance["executions"],
        planned=0 if results.complete else results.planned,
        phantom=results.phantom,
        stand_ins=len(graded) > 0 and (graded["grade"] == Grade.STAND_IN).all(),
    )
