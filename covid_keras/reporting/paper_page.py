"""The page of one paper, from its committed results: `papers/<paper>/RESULTS.md`, and its part of the overview."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import pandas as pd

from covid_keras.evaluation import Measured
from covid_keras.evaluation.verdicts import LOST, NO_COUNTERPART, NOT_RUN
from covid_keras.paper.paper import Paper
from covid_keras.published.facts import table_title
from covid_keras.reporting.audits import audit_section
from covid_keras.reporting.claim_sections import claims_section
from covid_keras.reporting.comparisons import against, signs
from covid_keras.reporting.document import AgainstEntry, Report, Section, TableEntry
from covid_keras.reporting.entries import (
    TEXTS,
    Entry,
    cost_section,
    device_words,
    in_percent,
    judged_of,
    software_words,
    state_of,
)
from covid_keras.reporting.lung_network import lung_notes
from covid_keras.reporting.prose import notes, prose
from covid_keras.reporting.results import Results, report_of
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

SHOWN = {"accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity"}
# Columns up to which a number and its interval fit beside each other on a page.
FEW_COLUMNS = 5


def paper_report(entry: Entry) -> Report:
    """Build the page of a paper: claims, judged numbers, cost, then all else, folded.

    Raises
    ------
    UserError
        If a committed file cannot be read.
    """
    return Report(
        title=f"{entry.name}: the paper against ours",
        subtitle=prose(*TEXTS, "paper", paper=entry.paper, results=entry.results),
        sections=[
            claims_section("What the paper claims", entry.claims, "here"),
            judged_of([entry]),
            cost_section([entry]),
            *paper_parts(entry),
        ],
        citations=[(entry.paper.citation, f"https://doi.org/{entry.paper.doi}")],
    )


def comparison_report(paper: Paper, results: Iterable[Results]) -> Report:
    """Build the page of a comparison of methods, which has no printed numbers: its own sections, once per profile.

    Raises
    ------
    UserError
        If a committed file cannot be read.
    """
    sections = []
    for found in results:
        parts = [*found.report.sections(found), Section("Data and cost", facts=list(_facts(found)))]
        sections.append(Section(f"Profile {found.profile}", found.protocol_text["description"], parts=parts))
        known = [*found.report.notes, *lung_notes(found)]
        sections.append(Section("Before you believe a number", notes=known))
    return Report(title=paper.title, sections=sections)


def _facts(found: Results) -> tuple[tuple[str, str], ...]:
    """Return data, settings, cost and code of a run."""
    source = found.provenance
    told = {"counts": found.cohort_counts, "source": source, "protocol": found.protocol_text}
    return notes(*TEXTS, "facts", **told, device=device_words(source), software=software_words(source))


def paper_section(entry: Entry) -> Section:
    """Return a paper's part of the overview."""
    text = prose(*TEXTS, "paper", paper=entry.paper, results=entry.results)
    return Section(entry.name, text, parts=paper_parts(entry))


def paper_parts(entry: Entry) -> list[Section]:
    """Return the results per profile, the audit, and the tables without a number of ours."""
    parts = [_profile_part(entry, found) for found in entry.results]
    shown = {table.name for frame in entry.comparisons for table in paper_tables(frame) if table.measured}
    others = [_against(entry, table) for table in paper_tables(entry.comparisons[0]) if table.name not in shown]
    doubts = doubtful_cells(entry.comparisons[0])
    of_lungs = dict.fromkeys(note for found in entry.results for note in lung_notes(found))
    known = (*report_of(entry.paper).notes, *of_lungs)
    details = [
        *([] if entry.results else [_reasons_part(entry.paper, None, entry.comparisons[0])]),
        Section(f"Published tables without a number of ours ({len(others)})", against=others),
        Section(f"† Doubtful numbers in the paper ({len(doubts)})", notes=doubts),
        Section("Before you believe a number", notes=list(known)),
        Section("How to read a cell", notes=signs(entry.comparisons[0])),
    ]
    further = Section("Further", details=[detail for detail in details if not detail.empty])
    return [*parts, audit_section(entry.audit), further]


def _against(entry: Entry, table: PaperTable) -> AgainstEntry:
    wide = len(table.columns) > FEW_COLUMNS and all(map(table.measured_row, table.rows))
    return against(table, entry.titles, brief=not wide)


def _profile_part(entry: Entry, found: Results) -> Section:
    """Return the results of one profile; tables without a judged number are folded."""
    facts = _facts(found)
    part = Section(f"Profile {found.profile}", found.protocol_text["description"])
    for one in _system_tables(found):
        if one.table.judged:
            part.against.append(one)
        else:
            kind = ": not judged" if one.table.graded else ""
            part.details.append(Section(f"{one.table.name}{kind} ({len(one.table.rows)})", against=[one]))
    for table in paper_tables(found.comparison):
        if table.measured:
            count = counted(sum(cell.measured for cell in table.cells.values()), "number")
            title = f"{table_title(table.name)}: {entry.titles.get(table.name, '')} ({count} of ours)"
            part.details.append(Section(title, against=[_against(entry, table)]))
    part.details += [
        Section("All that was measured", tables=[_everything(found)]),
        _reasons_part(entry.paper, found, found.comparison),
        Section("How it was run", facts=list(facts)),
    ]
    return part


def _system_tables(found: Results) -> list[AgainstEntry]:
    """Return tables of systems and stages, apart where the paper prints none of their numbers."""
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
                entries.append(_system_entry(_system_table(title, found, rows, columns, mine), printed))
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
    return TableEntry("", prose(*TEXTS, "everything"), frame)


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
