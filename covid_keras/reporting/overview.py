"""The overview of all papers, from the committed results: one `Report`, as HTML page and as `papers/RESULTS.md`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Any

import pandas as pd

from covid_keras.evaluation.possibility import NO_TARGETS
from covid_keras.evaluation.verdicts import LOST
from covid_keras.paper.paper import Paper
from covid_keras.reporting.audits import audit_caption, audit_counts
from covid_keras.reporting.claim_sections import overview_section
from covid_keras.reporting.comparisons import signs
from covid_keras.reporting.document import FigureEntry, Report, Section, TableEntry
from covid_keras.reporting.entries import STATES, TEXTS, Entry, cost_section, entries_of, in_percent, judged_of
from covid_keras.reporting.figures import headline_figure
from covid_keras.reporting.paper_page import paper_section
from covid_keras.reporting.prose import prose
from covid_keras.reporting.results import Results, report_of
from covid_keras.reporting.sources import committed_profiles
from covid_keras.reporting.tables import VERDICTS

HEADLINE = "accuracy"


def overview_report(papers: Iterable[Paper], whole: bool = True) -> Report:
    """Build the page from the committed results: claims, comparisons of methods, judged numbers, cost, then all else.

    Parameters
    ----------
    papers : iterable of Paper
    whole : bool
        Whether the page holds the page of every paper; else it links to `<paper>/RESULTS.md`.

    Raises
    ------
    UserError
        If a committed file cannot be read.
    """
    papers = list(papers)
    entries = entries_of(papers)
    return Report(
        title="COVID-19 in chest radiographs: the papers against ours",
        subtitle=prose(*TEXTS, "subtitle"),
        sections=[
            overview_section({entry.name: entry.claims for entry in entries if entry.claims}, whole),
            *_summaries(papers),
            *(_printed_sections(entries, whole) if entries else []),
        ],
        citations=[(f"{e.paper.title}. {e.paper.citation}", f"https://doi.org/{e.paper.doi}") for e in entries],
    )


def _printed_sections(entries: list[Entry], whole: bool) -> list[Section]:
    """Printed numbers beside ours."""
    parts = map(paper_section, entries) if whole else [_pages_section(entries)]
    return [judged_of(entries), cost_section(entries), _numbers_section(entries), *parts]


def _summaries(papers: Iterable[Paper]) -> list[Section]:
    """What papers have to say in short of their committed results, such as a comparison of methods."""
    found = (
        report_of(paper).summary(Results.committed(paper, profile))
        for paper in papers
        for profile in committed_profiles(paper)
    )
    return [section for section in found if section is not None]


def _pages_section(entries: Iterable[Entry]) -> Section:
    """Where the pages of the papers are."""
    links = [f"{entry.paper.folder.name}/RESULTS.md" for entry in entries]
    pages = [(entry.name, f"[{link}]({link})") for entry, link in zip(entries, links, strict=True)]
    return Section("Paper by paper", prose(*TEXTS, "pages"), notes=pages)


def _numbers_section(entries: list[Entry]) -> Section:
    """Counts of all published numbers, and the headline figure, folded."""
    tables = [_cells_table(entries), _audit_table(entries)]
    details = [Section(one.title, tables=[one._replace(title="")]) for one in tables]
    details.append(Section("How to read a cell", notes=signs(entries[0].comparisons[0]) if entries else []))
    text = prose(*TEXTS, "what")
    return Section("All published numbers", text, folded=headline(entries), details=details, link="All numbers")


def headline(entries: Iterable[Entry]) -> list[FigureEntry]:
    """Return the figure of the headline metric of all systems; [] without numbers."""
    if not (panels := _headline_panels(entries)):
        return []
    title = f"{HEADLINE.capitalize()}, paper against ours"
    figure = headline_figure(panels, title, f"{HEADLINE} (%)")
    return [FigureEntry(title, prose(*TEXTS, "headline", metric=HEADLINE), figure)]


def _cells_table(entries: list[Entry]) -> TableEntry:
    """States of the published numbers, one row per paper."""
    heads = {kind: f"{VERDICTS[kind][0]} {kind}" if kind in VERDICTS else kind for kind in STATES} | {LOST: "lost"}
    rows = [
        {"paper": entry.name, "published": entry.states.sum()}
        | {heads[kind]: entry.states[kind] for kind in STATES}
        | {"systems run": sum(len(found.titles) for found in entry.results)}
        for entry in entries
    ]
    return TableEntry("What became of the published numbers", prose(*TEXTS, "cells"), _with_total(rows))


def _audit_table(entries: list[Entry]) -> TableEntry:
    """Audit of the printed numbers, one row per paper."""
    counts = [audit_counts(entry.audit) for entry in entries]
    heads = dict.fromkeys(head for one in counts for head in one)
    rows = [{"paper": entry.name} | dict.fromkeys(heads, 0) | one for entry, one in zip(entries, counts, strict=True)]
    return TableEntry("Are the printed numbers possible?", audit_caption(), _with_total(rows))


def _with_total(rows: list[dict[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    frame.loc[len(frame)] = ["all", *frame.drop(columns="paper").sum()]
    return frame


def _headline_panels(entries: Iterable[Entry]) -> dict[str, pd.DataFrame]:
    """Rows of the headline figure, one panel per paper and profile; the first of repeated numbers."""
    panels = {}
    for entry in entries:
        for found in entry.results:
            rows = in_percent(found.comparison)
            rows = rows[(rows["metric"] == HEADLINE) & rows["ours"].notna() & rows["target"].notna()]
            rows = rows.drop_duplicates("system")
            if len(rows):
                names = [textwrap.shorten(found.titles[name], 60) for name in rows["system"]]
                # Where the suite names another value as the target, that is what is drawn.
                refuted = rows["audit"].isin(NO_TARGETS) & (rows["target"] == rows["paper"])
                profile = f", profile {found.profile}" if len(entry.results) > 1 else ""
                panels[entry.name + profile] = rows.assign(row=names, refuted=refuted)
    return panels
