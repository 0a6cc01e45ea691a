"""The papers with their committed results, and what became of their published numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from covid_keras.evaluation import compare, load_published, verdict_of
from covid_keras.evaluation.claims import ClaimOutcome
from covid_keras.evaluation.verdicts import LOST, NO_COUNTERPART
from covid_keras.paper.paper import Paper
from covid_keras.published.cells import load_citation, load_titles
from covid_keras.reporting.audits import audit_of, audited_places
from covid_keras.reporting.claims import committed_outcomes
from covid_keras.reporting.comparisons import Tally, judged_section
from covid_keras.reporting.document import Section, TableEntry
from covid_keras.reporting.prose import prose
from covid_keras.reporting.results import Results
from covid_keras.reporting.sources import committed_profiles
from covid_keras.reporting.tables import NOT_JUDGED, NOT_MEASURED, VERDICTS

# States of a published cell, the most informative first. Over several profiles, the first one counts.
STATES = (*VERDICTS, NOT_MEASURED, NO_COUNTERPART, LOST)
TEXTS = ("covid_keras.reporting", "results.md")
_VALUES = ("paper", "paper_std", "paper_low", "paper_high", "target", "ours", "ours_std", "low", "high")


@dataclass(frozen=True)
class Entry:
    """A paper with its committed results, one per profile."""

    paper: Paper
    results: tuple[Results, ...]

    @classmethod
    def of(cls, paper: Paper) -> Entry:
        """Read the committed results of a paper."""
        return cls(paper, tuple(Results.committed(paper, profile) for profile in committed_profiles(paper)))

    @cached_property
    def name(self) -> str:
        """Authors and year, as cited."""
        cited = load_citation(self.paper.folder / "published.yaml")
        names = [author.split()[-1] for author in cited["authors"]]
        who = f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
        return f"{who} {cited['year']}"

    @cached_property
    def titles(self) -> dict[str, str]:
        """What each of the paper's tables shows."""
        return load_titles(self.paper.folder / "published.yaml")

    @cached_property
    def audit(self) -> pd.DataFrame:
        """As `audit_of` returns it."""
        return audit_of(self.paper)

    @cached_property
    def claims(self) -> tuple[ClaimOutcome, ...]:
        """The outcomes of the paper's claims on the committed results; () without claims."""
        return committed_outcomes(self.paper)

    @cached_property
    def comparisons(self) -> list[pd.DataFrame]:
        """Published cells beside ours, one table per profile; one table without ours if there are no results."""
        cells = load_published(self.paper.folder / "published.yaml")
        nothing = [] if self.results else [compare(cells, [], 0.0, audit=audited_places(self.audit))]
        return [*(found.comparison for found in self.results), *nothing]

    @cached_property
    def states(self) -> pd.Series:
        """Number of published cells per state."""
        ranks = [frame.apply(lambda row: STATES.index(state_of(row)), axis=1) for frame in self.comparisons]
        best = pd.concat(ranks, axis=1).min(axis=1)
        return best.map(STATES.__getitem__).value_counts().reindex(STATES, fill_value=0)


def state_of(row: Mapping[str, Any]) -> str:
    """Return the state (one of `STATES`) of a row of a comparison."""
    verdict = verdict_of(row)
    if verdict.reason in (LOST, NO_COUNTERPART):
        return verdict.reason
    return NOT_MEASURED if pd.isna(row["ours"]) else verdict.outcome or NOT_JUDGED


def entries_of(papers: Iterable[Paper]) -> list[Entry]:
    """Return the papers that print numbers, with their committed results, by year and name."""
    entries = (Entry.of(paper) for paper in papers if paper.published_path)
    return sorted(entries, key=lambda entry: (entry.name[-4:], entry.name))


def tally_of(entries: Iterable[Entry]) -> Tally:
    """Count the published cells of papers."""
    total = sum(entry.states for entry in entries)
    beside = int(total[list(VERDICTS)].sum())
    return Tally(int(total.sum()), beside, beside - int(total[NOT_JUDGED]))


def in_percent(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert the ratios of a comparison to percent, for one unit per column or axis."""
    frame, ratios = frame.copy(), frame["unit"] == "ratio"
    # Rounded, since 100 * 0.9715 is not exactly 97.15.
    frame.loc[ratios, list(_VALUES)] = (100 * frame.loc[ratios, list(_VALUES)]).round(6)
    frame.loc[ratios, "unit"] = "percent"
    return frame


def device_words(source: Mapping[str, Any]) -> str:
    """Return the training device: GPUs, TPUs or cores."""
    machine = source["trained_on"]
    device = machine["device"]
    if device["gpus"]:
        return ", ".join(map(str, device["gpus"]))
    return f"{device['tpus']} TPU cores" if device["tpus"] else f"{machine['cores']} CPU cores"


def software_words(source: Mapping[str, Any]) -> str:
    """Return the software versions of the training."""
    versions = source["trained_with"]
    return f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}"


# --- what leads the pages of papers: judged numbers, then cost


def judged_of(entries: Iterable[Entry]) -> Section:
    """Return the judged numbers of all papers and profiles."""
    entries = list(entries)
    frames = {(entry.name, found.profile): found.comparison for entry in entries for found in entry.results}
    return judged_section(tally_of(entries), frames)


def cost_section(entries: Iterable[Entry]) -> Section:
    """Return the cost of each run: executions, hours, device; empty without results."""
    rows = [
        {
            "paper": entry.name,
            "profile": found.profile,
            "executions": source["executions"],
            "hours": f"{source['training_hours']:.2f}",
            "device": device_words(source),
        }
        for entry in entries
        for found in entry.results
        for source in [found.provenance]
    ]
    section = Section("What it cost", link="Cost")
    if rows:
        section.tables.append(TableEntry("", prose(*TEXTS, "cost"), pd.DataFrame(rows)))
    return section
