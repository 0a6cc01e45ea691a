"""What a run has measured: its predictions, and everything that follows from them and the paper's printed numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_record, without_folders
from covid_keras.common.provenance import provenance
from covid_keras.evaluation import (
    Measured,
    PublishedCell,
    compare,
    load_published,
    metrics_json,
    per_execution,
    read_predictions,
    summarise,
)
from covid_keras.evaluation.seeds import seed_metrics
from covid_keras.evaluation.summary import plain
from covid_keras.evaluation.uncertainty import Difference, difference_of_sets
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import SplitSettings
from covid_keras.published.cells import load_titles
from covid_keras.reporting.audits import audit_of, audited_places
from covid_keras.reporting.heat_shares import SHARES, compared_shares, pairs_of, read_shares
from covid_keras.reporting.paper_report import PaperReport, report_of
from covid_keras.training.runfolder import Execution, RunFolder

SYNTHETIC = "PHANTOM DATA: synthetic images made by this suite. No number on this page says anything about a patient."
OTHER_DATA = "OTHER DATA THAN THE PAPER'S: every number of ours is shown, none is comparable. {reason}."


@dataclass(frozen=True)
class Results:
    """A run's predictions and everything that follows from them."""

    run: RunFolder
    paper: Paper
    executions: list[Execution]

    @classmethod
    def of(cls, run: RunFolder) -> Results:
        """Read a run's finished executions; raise `UserError` where there is none."""
        done = [execution for execution in run.executions() if execution.done]
        if not done:
            raise UserError(run.path, "holds no finished execution", "Run `covid-keras reproduce` until one is done")
        return cls(run, run.paper, done)

    @cached_property
    def report(self) -> PaperReport:
        """What the paper's report has of its own."""
        return report_of(self.paper)

    @cached_property
    def frames(self) -> list[pd.DataFrame]:
        """The predictions of the finished executions, a table for each set of classes that systems are evaluated in."""
        paths: dict[tuple[str, ...], list[Path]] = {}
        for execution in self.executions:
            paths.setdefault(self.classes_of(execution.system.name), []).append(execution.predictions)
        return [read_predictions(of_classes) for of_classes in paths.values()]

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """All of them below one another; scores of classes that a system does not know are NaN."""
        return pd.concat(self.frames, ignore_index=True)

    def predictions_of(self, system: str) -> pd.DataFrame:
        """Return one system's predictions, with the scores of its own classes."""
        frame = next(frame for frame in self.frames if (frame["system"] == system).any())
        return frame[frame["system"] == system]

    @cached_property
    def systems(self) -> dict[str, str]:
        """The systems measured: name to title."""
        return {name: self.paper.system(name).title for name in dict.fromkeys(e.system.name for e in self.executions)}

    def classes_of(self, system: str) -> tuple[str, ...]:
        """Return the classes that a system is evaluated in."""
        return self.paper.scored_of(self.paper.system(system), self.run.cohort)

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

    def has_seeds(self, system: str) -> bool:
        """Whether a system's executions differ by their seed alone, not by their fold."""
        return self.split_of(system).scheme != "folds"

    @cached_property
    def measured(self) -> list[Measured]:
        """Mean, std over executions and 95 % interval by patient, of every metric."""
        summarised = [one for frame in self.frames for one in summarise(frame, self.paper.positive or None)]
        further = [one for frame in self.frames for one in self.report.measure(frame)]
        return [*summarised, *further, *self.report.measured_beside(self.run)]

    @cached_property
    def published(self) -> list[PublishedCell]:
        """The paper's numbers."""
        return load_published(self.paper.folder / "published.yaml")

    @cached_property
    def published_titles(self) -> dict[str, str]:
        """What each of the paper's tables shows, by its name."""
        return load_titles(self.paper.folder / "published.yaml")

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Paper against ours, cell by cell."""
        protocol = self.run.protocol
        return compare(
            self.published,
            self.measured,
            protocol.tolerance,
            protocol.comparable,
            self.run.left_out,
            audited_places(self.audit),
            self.surrogates,
        )

    @cached_property
    def audit(self) -> pd.DataFrame:
        """Whether the paper's numbers are possible, as `audit_of` returns it."""
        return audit_of(self.paper)

    @cached_property
    def surrogates(self) -> dict[str, str]:
        """The systems measured that are no match for the paper's even on its own data, and why."""
        reasons = {name: self.paper.system(name).surrogate(self.run.protocol) for name in self.systems}
        return {name: reason for name, reason in reasons.items() if reason}

    def split_of(self, system: str) -> SplitSettings:
        """Return how the images of a system are divided."""
        return self.run.protocol.split_of(self.paper.system(system).split)

    @property
    def leaky(self) -> list[str]:
        """The systems measured whose images are divided as published, patients crossing."""
        return [name for name in self.systems if self.split_of(name).leaky_as_published]

    @cached_property
    def seeds(self) -> pd.DataFrame:
        """The metrics of each execution of the systems whose executions differ by their seed, and not by their fold."""
        single = [name for name in self.systems if self.has_seeds(name)]
        frames = [per_execution(one, self.paper.positive or None) for one in self.frames]
        frame = pd.concat(frames, ignore_index=True)
        return frame[frame["system"].isin(single)]

    @cached_property
    def leaks(self) -> list[tuple[str, Difference]]:
        """What a division that leaks adds to the metrics of each system that was trained on both."""
        found = []
        for leaky, disjoint in self.report.leaks:
            if {leaky, disjoint} <= set(self.systems):
                both = self.predictions_of(leaky), self.predictions_of(disjoint)
                for metric in seed_metrics(per_execution(both[0], self.paper.positive or None)):
                    found.append((disjoint, difference_of_sets(*both, metric, self.paper.positive or None)))
        return found

    @cached_property
    def heat_shares(self) -> list[dict[str, Any]]:
        """The share of heat in the lungs of the systems that the paper compares, once a report has measured it."""
        return compared_shares(read_shares(self.run.path / SHARES), pairs_of(self))

    @cached_property
    def facts(self) -> dict[str, Any]:
        """What was counted while the run was prepared."""
        path = self.run.path / "facts.json"
        return read_record(path, ()) if path.is_file() else {}

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """The provenance of each execution."""
        return [execution.details for execution in self.executions]

    def executions_of(self, system: str) -> list[tuple[Execution, dict[str, Any]]]:
        """Return a system's finished executions with their records."""
        both = zip(self.executions, self.records, strict=True)
        return [(execution, record) for execution, record in both if execution.system.name == system]

    @property
    def complete(self) -> bool:
        """Whether every execution of the protocol is done."""
        return len(self.executions) == len(self.run.executions())


@dataclass(frozen=True)
class Group:
    """Systems that were tested on the same images.

    Attributes
    ----------
    name : str
        What tells the group from the others; "" where there is nothing to tell.
    titles : dict
        System to title, without the group's name.
    """

    name: str
    titles: dict[str, str]

    def titled(self, what: str) -> str:
        """Return the title of a figure or table of the group."""
        return f"{what}: {self.name}" if self.name else what


def named_groups(
    groups: list[dict[str, str]], origins: Mapping[str, str] = MappingProxyType({}), classes: Sequence[str] = ()
) -> list[Group]:
    """Name groups of systems (name to title) by the ending, after a comma, that all titles of a group share.

    A group of one system among several is named by its title, one of systems of one origin by that; where systems tell
    other classes apart, those (of each group, as text) stand before the name. What has no such name or not its own
    gets its place too.

    >>> [group.name for group in named_groups([{"a": "A", "b": "B"}, {"c": "A, cut", "d": "B, cut"}])]
    ['', 'cut']
    >>> named_groups([{"c": "A, cut", "d": "B, cut"}])[0].titles
    {'c': 'A', 'd': 'B'}
    """
    named = [
        Group(origin, titles)
        if len(titles) > 1 and (origin := _common(origins.get(name, "") for name in titles))
        else _named(titles, alone=len(groups) == 1)
        for titles in groups
    ]
    for place, (group, what) in enumerate(zip(named, classes, strict=False)):
        if what and len(group.titles) > 1:
            named[place] = Group(", ".join(filter(None, (what, group.name))), group.titles)
    names = [group.name for group in named]
    return [
        Group(f"{group.name} ({place} of {len(named)})".strip(), group.titles) if names.count(group.name) > 1 else group
        for place, group in enumerate(named, 1)
    ]


def _common(values: Iterable[str]) -> str:
    """Return the value that all have; "" where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _named(titles: dict[str, str], alone: bool) -> Group:
    if len(titles) == 1:
        return Group("" if alone else next(iter(titles.values())), titles)
    endings = {title.rpartition(", ")[2] if ", " in title else "" for title in titles.values()}
    ending = endings.pop() if len(endings) == 1 else ""
    return Group(ending, {name: title.removesuffix(f", {ending}") for name, title in titles.items()})


def results_json(results: Results) -> dict[str, Any]:
    """Return the run's metrics with their provenance, as committed below `papers/<paper>/results/`.

    Paths of this machine are given by their file name alone.
    """
    run, records = results.run, results.records
    seconds = sum(record["seconds"] for record in records)
    source = without_folders(
        provenance(
            paper=run.protocol.paper,
            profile=run.protocol.profile,
            complete=results.complete,
            executions=len(results.executions),
            cohort_fingerprint=run.record["cohort_fingerprint"],
            cohort_counts=run.cohort.counts(),
            comparable=run.protocol.comparable,
            surrogates=results.surrogates,
            left_out=run.left_out,
            precision=run.settings["precision"],
            trained_with=records[0]["versions"],
            trained_on=records[0]["machine"] | {"device": records[0]["device"]},
            training_revisions=sorted({record["revision"] for record in records}),
            training_hours=round(seconds / 3600, 3),
            protocol=read_protocol_text(run),
            facts=results.facts,
        )
    )
    positive = results.paper.positive or None
    if results.heat_shares:
        source["heat_shares"] = plain_records(results.heat_shares)
    whole = metrics_json(results.measured, per_execution(results.frames[0], positive), source)
    for frame in results.frames[1:]:
        for name, entry in metrics_json([], per_execution(frame, positive))["systems"].items():
            whole["systems"][name]["executions"] = entry["executions"]
    return whole


def plain_records(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return records with numbers rounded to six decimals, NaN as None."""
    return [{key: plain(value) for key, value in record.items()} for record in records]


def read_protocol_text(run: RunFolder) -> str:
    """Return the resolved protocol as YAML text, its paths (such as that of `--weights`) as file names."""
    text = (run.path / "protocol.yaml").read_text(encoding="utf-8")
    given = yaml.safe_load(text)
    portable = without_folders(given)
    return text if portable == given else yaml.safe_dump(portable, sort_keys=False, allow_unicode=True)


def is_phantom(results: Results) -> bool:
    """Whether the run's images are synthetic, of known truth."""
    return results.run.protocol.cohort.get("kind") == "phantom"


def banner_of(results: Results) -> str:
    """Return the warning across the page; "" where the numbers are comparable."""
    protocol = results.run.protocol
    parts = (
        []
        if results.complete
        else [f"INCOMPLETE: {len(results.executions)} of {len(results.run.executions())} executions."]
    )
    if is_phantom(results):
        parts.append(SYNTHETIC)
    elif protocol.comparable is not True:
        reason = str(protocol.comparable).strip().rstrip(".")
        # Only the first letter: capitalize() would write Covidgr and Nih.
        parts.append(OTHER_DATA.format(reason=reason[:1].upper() + reason[1:]))
    return " ".join(parts)
