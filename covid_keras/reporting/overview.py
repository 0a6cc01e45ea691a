"""The overview of all papers, from the committed results.

`covid-keras results` renders one `Report` as HTML and as `papers/RESULTS.md`.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from covid_keras.evaluation import Measured, compare, load_published, verdict_of
from covid_keras.evaluation.possibility import NO_TARGETS
from covid_keras.evaluation.verdicts import LOST, NO_COUNTERPART, NOT_RUN
from covid_keras.paper.paper import Paper
from covid_keras.published.cells import load_paper as load_citation
from covid_keras.published.cells import load_titles
from covid_keras.published.facts import table_title
from covid_keras.reporting.audits import audit_caption, audit_counts, audit_of, audit_section, audited_places
from covid_keras.reporting.comparisons import against, signs
from covid_keras.reporting.document import AgainstEntry, FigureEntry, Report, Section, TableEntry
from covid_keras.reporting.figures import headline_figure
from covid_keras.reporting.lung_network import lung_notes
from covid_keras.reporting.prose import notes, prose
from covid_keras.reporting.results import Results, report_of
from covid_keras.reporting.sources import committed_profiles
from covid_keras.reporting.tables import (
    AUDIT_SIGNS,
    NOT_JUDGED,
    NOT_MEASURED,
    VERDICTS,
    Cell,
    PaperTable,
    cell_of,
    doubtful_cells,
    measured_table,
    paper_tables,
)
from covid_keras.reporting.wording import NOTHING, counted, grouped, interval, number, stopped

# States of a published cell, the most informative first. Over several profiles, the first one counts.
STATES = (*VERDICTS, NOT_MEASURED, NO_COUNTERPART, LOST)
SHOWN = {"accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity"}
HEADLINE = "accuracy"
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
    """Return the papers with their committed results, by year and name."""
    return sorted(map(Entry.of, papers), key=lambda entry: (entry.name[-4:], entry.name))


class Tally(NamedTuple):
    """Counts of printed numbers: all, those with a number of ours, and those judged."""

    printed: int
    beside: int
    judged: int

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> Tally:
        """Count the published cells."""
        total = sum(entry.states for entry in entries)
        beside = int(total[list(VERDICTS)].sum())
        return cls(int(total.sum()), beside, beside - int(total[NOT_JUDGED]))


def overview_report(papers: Iterable[Paper]) -> Report:
    """Build the page from the committed results.

    Raises
    ------
    UserError
        If a committed file cannot be read.
    """
    entries = entries_of(papers)
    tally = Tally.of(entries)
    sources = [found.provenance for entry in entries for found in entry.results]
    return Report(
        title="COVID-19 in chest radiographs: the papers against ours",
        subtitle=prose(*TEXTS, "subtitle"),
        banner="" if tally.judged or not tally.beside else prose(*TEXTS, "none_judged"),
        facts=[
            ("Papers", ", ".join(entry.name for entry in entries)),
            ("Published numbers", f"{tally.printed}; ours beside {tally.beside} of them, {tally.judged} judged"),
            ("Executions", sum(source["executions"] for source in sources)),
            ("Training", f"{sum(source['training_hours'] for source in sources):.1f} hours"),
        ],
        sections=[
            _start(entries),
            Section("How to read a cell", notes=signs(entries[0].comparisons[0]) if entries else [], link="Signs"),
            *(_paper_section(entry) for entry in entries),
        ],
        citations=[(f"{e.paper.title}. {e.paper.citation}", f"https://doi.org/{e.paper.doi}") for e in entries],
    )


# --- the papers in numbers


def _start(entries: list[Entry]) -> Section:
    """Introduction, counts and cost per paper, and the headline figure."""
    section = Section(
        "The papers in numbers",
        prose(*TEXTS, "what"),
        tables=[_cells_table(entries), _audit_table(entries)],
        link="In numbers",
    )
    if any(entry.results for entry in entries):
        section.tables.append(_cost_table(entries))
    section.figures += headline(entries)
    return section


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


def _cost_table(entries: list[Entry]) -> TableEntry:
    """Cost of each run: executions, hours, device, software."""
    rows = [
        {
            "paper": entry.name,
            "profile": found.profile,
            "executions": source["executions"],
            "hours": f"{source['training_hours']:.2f}",
            "device": device_words(source),
            "software": software_words(source).replace(", ", "\n"),
            "code": "\n".join(source["training_revisions"]).replace("+changes", ", changed"),
        }
        for entry in entries
        for found in entry.results
        for source in [found.provenance]
    ]
    return TableEntry("What it cost", prose(*TEXTS, "cost"), pd.DataFrame(rows))


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


def in_percent(frame: pd.DataFrame) -> pd.DataFrame:
    """Convert the ratios of a comparison to percent, for one unit per column or axis."""
    frame, ratios = frame.copy(), frame["unit"] == "ratio"
    # Rounded, since 100 * 0.9715 is not exactly 97.15.
    frame.loc[ratios, list(_VALUES)] = (100 * frame.loc[ratios, list(_VALUES)]).round(6)
    frame.loc[ratios, "unit"] = "percent"
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


# --- one paper


def _paper_section(entry: Entry) -> Section:
    """Return a paper's section: results per profile, audit, and tables without a number of ours."""
    text = prose(*TEXTS, "paper", paper=entry.paper, results=entry.results)
    section = Section(entry.name, text, link=entry.name)
    section.parts = [_profile_part(entry, found) for found in entry.results]
    if not entry.results:
        section.parts = [_reasons_part(entry.paper, None, entry.comparisons[0])]
    section.parts.append(audit_section(entry.audit))
    shown = {table.name for frame in entry.comparisons for table in paper_tables(frame) if table.measured}
    others = [_against(entry, table) for table in paper_tables(entry.comparisons[0]) if table.name not in shown]
    doubts = doubtful_cells(entry.comparisons[0])
    of_lungs = dict.fromkeys(note for found in entry.results for note in lung_notes(found))
    known = (*report_of(entry.paper).notes, *of_lungs)
    details = [
        Section(f"Published tables without a number of ours ({len(others)})", against=others),
        Section(f"† Doubtful numbers in the paper ({len(doubts)})", notes=doubts),
        Section("Before you believe a number", notes=list(known)),
    ]
    section.details = [detail for detail in details if not detail.empty]
    return section


# Columns up to which a number and its interval fit beside each other on a page.
FEW_COLUMNS = 5


def _against(entry: Entry, table: PaperTable) -> AgainstEntry:
    wide = len(table.columns) > FEW_COLUMNS and all(map(table.measured_row, table.rows))
    return against(table, entry.titles, brief=not wide)


def _profile_part(entry: Entry, found: Results) -> Section:
    """Return the results of one profile."""
    source, protocol = found.provenance, found.protocol_text
    device, software = device_words(source), software_words(source)
    part = Section(
        f"Profile {found.profile}",
        protocol["description"],
        facts=list(
            notes(
                *TEXTS,
                "facts",
                counts=found.cohort_counts,
                source=source,
                protocol=protocol,
                device=device,
                software=software,
            )
        ),
        parts=[_reasons_part(entry.paper, found, found.comparison)],
    )
    for printed, of_systems in _system_tables(found):
        if printed:
            part.against.append(of_systems)
        else:
            title = f"{of_systems.table.name} ({len(of_systems.table.rows)})"
            part.details.append(Section(title, against=[of_systems]))
    for table in paper_tables(found.comparison):
        if table.measured:
            count = counted(sum(cell.measured for cell in table.cells.values()), "number")
            title = f"{table_title(table.name)}: {entry.titles.get(table.name, '')} ({count} of ours)"
            part.details.append(Section(title, against=[_against(entry, table)]))
    part.details.append(Section("All that was measured", tables=[_everything(found)]))
    return part


def _system_tables(found: Results) -> list[tuple[bool, AgainstEntry]]:
    """Return tables of systems and stages, each with whether the paper prints any of its numbers."""
    frame = in_percent(found.comparison)
    masks = {
        one.metric: one.metric.replace("_", " ").replace("dice", "Dice").replace("iou", "IoU")
        for one in found.measured
        if one.metric.split("_")[0] in ("dice", "iou") and "validation" in one.metric
    }
    order = [*(system.name for system in found.paper.systems), *found.titles]
    entries = []
    for name, columns in (("Systems", SHOWN), ("Segmenters", masks)):
        cells = {(one.system, one.metric): _system_cell(frame, one) for one in found.measured if one.metric in columns}
        own = {system for (system, _), cell in cells.items() if cell.paper != NOTHING}
        everyone = [system for system in dict.fromkeys(order) if any(key[0] == system for key in cells)]
        for printed in (True, False):
            if rows := [system for system in everyone if (system in own) == printed]:
                # Without the paper's numbers, a column of dashes is left out.
                mine = cells if printed else {key: replace(cell, paper="") for key, cell in cells.items()}
                title = f"{name} of the paper" if printed else f"{name} without a counterpart in the paper"
                entries.append((printed, _system_entry(_system_table(title, found, rows, columns, mine), printed)))
    return entries


def _system_entry(table: PaperTable, printed: bool) -> AgainstEntry:
    """Explain what stands in a table of systems: its signs, dashes and measures."""
    if not printed:
        caption = prose(*TEXTS, "no_counterparts")
        return AgainstEntry(table, "percent; ours [95 % interval by patient]", caption, brief=True)
    dashes = any(cell.paper == NOTHING for cell in table.cells.values())
    published = any("published" in column for column in table.columns)
    words = prose(*TEXTS, "system_table", dashes=dashes, published=published)
    what = "percent; paper, then ours [95 % interval by patient]"
    return AgainstEntry(table, what, f"{_legend(table)} {words}".strip(), brief=True)


def _legend(table: PaperTable) -> str:
    """Return a line that explains the signs in a table."""
    cells = table.cells.values()
    kinds, said = dict.fromkeys(cell.kind for cell in cells if cell.kind), {cell.audit.verdict for cell in cells}
    return prose(
        "covid_keras.reporting",
        "comparison.md",
        "signs",
        verdicts=[f"{VERDICTS[kind][0]} {kind}" for kind in kinds],
        doubtful=any(cell.doubt for cell in cells),
        audit=[f"{sign} {word}" for word, (sign, _) in AUDIT_SIGNS.items() if sign and word in said],
    )


def _system_table(
    title: str,
    found: Results,
    systems: list[str],
    columns: Mapping[str, str],
    cells: Mapping[tuple[str, str], Cell],
) -> PaperTable:
    used = {metric: head for metric, head in columns.items() if any((name, metric) in cells for name in systems)}
    tested = {one.system: one for one in reversed(found.measured) if one.metric in columns}
    return PaperTable(
        title,
        tuple(found.titles[name] for name in systems),
        tuple(used.values()),
        {
            (found.titles[name], head): cells[name, metric]
            for name in systems
            for metric, head in used.items()
            if (name, metric) in cells
        },
        {found.titles[name]: _tested_words(tested[name]) for name in systems},
    )


def _tested_words(one: Measured) -> str:
    images, patients = counted(one.n_images, "image"), counted(one.n_patients, "patient")
    return f"{images} of {patients}, {counted(one.executions, 'execution')}"


def _system_cell(frame: pd.DataFrame, one: Measured) -> Cell:
    """Return a system's metric: all that the paper prints for it, beside ours."""
    rows = frame[(frame["system"] == one.system) & (frame["metric"] == one.metric)]
    if rows.empty:
        return Cell(NOTHING, number(one.mean), interval(one.low, one.high, kind=one.interval))
    # A number printed in several places counts once; places where it is lost are ignored.
    rows = rows[rows["paper"].notna()].drop_duplicates("paper") if rows["paper"].notna().any() else rows.head(1)
    first, *others = [cell_of(row) for row in rows.to_dict("records")]
    return replace(first, paper=" or ".join([first.paper, *(cell.paper for cell in others)]))


def _everything(found: Results) -> TableEntry:
    """Every metric of every system, one row per system."""
    frame = measured_table(found.measured, found.titles).set_index("metric").T
    frame = frame.map(lambda text: text.replace(" [", "\n[")).rename_axis("system").reset_index()
    return TableEntry("All that was measured", prose(*TEXTS, "everything"), frame)


# --- why cells have no verdict


class Reason(NamedTuple):
    """Why published cells have no verdict: their state, number, reason and places."""

    state: str
    cells: int
    why: str
    which: str


def reasons_of(paper: Paper, found: Results | None, frame: pd.DataFrame) -> list[Reason]:
    """Return why cells have no verdict and systems have no number; `found` is None without results.

    Every cell without an outcome is counted once.
    """
    systems, left_out = (found.titles, found.left_out) if found else ({}, {})
    absent_words = "not part of this run" if found else "no results are committed"
    frame = frame.assign(state=[state_of(row) for row in frame.to_dict("records")])
    missing = frame[frame["state"] == NOT_MEASURED]
    undefined = missing[missing["system"].isin(systems)]
    reasons = [
        Reason(state, len(part), str(why), _table_words(part["table"]))
        for state, cells in (("measured, not judged", frame[frame["state"] == NOT_JUDGED]), ("", undefined))
        for why, part in cells.groupby("reason", sort=False)
    ]
    absent = {system.name: system.title for system in paper.systems if system.name not in systems}
    absent |= {name: name for name in missing["system"] if name not in {**absent, **systems}}
    for why, names in grouped((left_out.get(name, absent_words), name) for name in absent).items():
        count = int(missing["system"].isin(names).sum())
        reasons.append(Reason(NOT_RUN, count, why, "; ".join(absent[name] for name in names)))
    for state, block in ((NO_COUNTERPART, "no_counterpart"), (LOST, "lost")):
        part = frame[frame["state"] == state]
        if len(part):
            reasons.append(Reason(state, len(part), prose(*TEXTS, block), _table_words(part["table"])))
    return reasons


def _reasons_part(paper: Paper, found: Results | None, frame: pd.DataFrame) -> Section:
    """Return what cannot be compared, one line per reason, and the systems that are not the paper's own."""
    lines = []
    for one in reasons_of(paper, found, frame):
        title = f"{one.state.capitalize()}, no number in the paper"
        if one.cells:
            title = ": ".join(part for part in (counted(one.cells, "cell"), one.state) if part)
        lines.append((title, f"{one.which}: {stopped(one.why)}"))
    surrogates = {found.titles.get(name, ""): why for name, why in found.surrogates.items()} if found else {}
    for reason, titles in grouped((why, title) for title, why in surrogates.items() if title).items():
        lines.append(("Not the paper's own network or images", f"{'; '.join(titles)}: {stopped(reason)}"))
    return Section("What cannot be compared, and why", notes=lines)


def _table_words(names: Iterable[str]) -> str:
    """Return the titles of tables, joined by kind.

    >>> _table_words(["IV", "V", "text 5.1", "IV", "text 7", "Figure 2", "ROC"])
    'Tables IV, V; Running text, sections 5.1, 7; Figure 2; ROC'
    """
    groups: dict[str, list[str]] = {}
    for title in dict.fromkeys(table_title(str(name)) for name in names):
        head = next((head for head in ("Table ", "Figure ", "Running text, section ") if title.startswith(head)), "")
        groups.setdefault(head, []).append(title.removeprefix(head))
    return "; ".join(
        f"{head.rstrip()}{'s' * (len(found) > 1)} {', '.join(found)}" if head else ", ".join(found)
        for head, found in groups.items()
    )
