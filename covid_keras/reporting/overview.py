"""The suite's own page: every paper, system and cohort, paper against ours, made from the committed JSON alone.

`covid-keras results` writes it as HTML and as `papers/RESULTS.md`; both are one `Report`, so they cannot disagree.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd
import yaml

from covid_keras.evaluation import Measured, compare, load_published
from covid_keras.evaluation.comparison import AUDIT_COLUMNS, verdict_of
from covid_keras.evaluation.possibility import NO_TARGETS, AuditVerdict
from covid_keras.evaluation.verdicts import LOST, NO_COUNTERPART, NOT_RUN
from covid_keras.paper.paper import Paper
from covid_keras.published.cells import load_paper as load_citation
from covid_keras.published.cells import load_titles
from covid_keras.reporting.audits import (
    AUDIT_CAPTION,
    PLACE,
    audit_counts,
    audit_of,
    audit_section,
    audited_places,
)
from covid_keras.reporting.committed import Committed, committed_profiles
from covid_keras.reporting.document import AgainstEntry, FigureEntry, Report, Section, TableEntry
from covid_keras.reporting.figures import headline_figure
from covid_keras.reporting.markdown import markdown_of
from covid_keras.reporting.paper_report import report_of
from covid_keras.reporting.tables import (
    AUDIT_SIGNS,
    NO_SIGN,
    NOT_JUDGED,
    NOT_MEASURED,
    VERDICTS,
    Cell,
    PaperTable,
    cell_of,
    doubtful_cells,
    measured_table,
    paper_tables,
    table_title,
)
from covid_keras.reporting.wording import NOTHING, counted, number

# What becomes of a published cell, the most telling first: of several profiles that counts which says most.
STATES = (*VERDICTS, NOT_MEASURED, NO_COUNTERPART, LOST)
SHOWN = {"accuracy": "Accuracy", "sensitivity": "Sensitivity", "specificity": "Specificity"}
HEADLINE = "accuracy"
_VALUES = ("paper", "paper_std", "paper_low", "paper_high", "target", "ours", "ours_std", "low", "high")


@dataclass(frozen=True)
class Entry:
    """A paper with all that is committed of it.

    Attributes
    ----------
    paper : Paper
    results : tuple of Committed
        One a profile, none where no results are committed.
    audit : DataFrame
        As `audit_of` returns it.
    """

    paper: Paper
    results: tuple[Committed, ...]
    audit: pd.DataFrame

    @classmethod
    def of(cls, paper: Paper) -> Entry:
        """Read what is committed of a paper."""
        results = tuple(Committed.read(paper, profile) for profile in committed_profiles(paper))
        return cls(paper, results, audit_of(paper))

    @cached_property
    def name(self) -> str:
        """Authors and year, as one cites them."""
        cited = load_citation(self.paper.folder / "published.yaml")
        names = [author.split()[-1] for author in cited["authors"]]
        who = f"{names[0]} et al." if len(names) > 2 else " & ".join(names)
        return f"{who} {cited['year']}"

    @cached_property
    def titles(self) -> dict[str, str]:
        """What each of the paper's tables shows."""
        return load_titles(self.paper.folder / "published.yaml")

    @cached_property
    def comparisons(self) -> list[pd.DataFrame]:
        """Every published cell beside ours, a table a profile; one without a number of ours where there is none."""
        frames = [found.comparison for found in self.results]
        frames = frames or [self._without_results]
        frames = [frame.drop(columns=list(AUDIT_COLUMNS)) for frame in frames]
        return [frame.merge(self.audit, how="left", on=PLACE, validate="one_to_one") for frame in frames]

    @property
    def _without_results(self) -> pd.DataFrame:
        cells = load_published(self.paper.folder / "published.yaml")
        return compare(cells, [], 0.0, audit=audited_places(self.audit))

    @cached_property
    def states(self) -> pd.Series:
        """How many published cells there are of each of `STATES`."""
        ranks = [frame.apply(lambda row: STATES.index(state_of(row)), axis=1) for frame in self.comparisons]
        best = pd.concat(ranks, axis=1).min(axis=1)
        return best.map(STATES.__getitem__).value_counts().reindex(STATES, fill_value=0)

    @property
    def executions(self) -> int:
        """Executions of all profiles."""
        return sum(found.source["executions"] for found in self.results)

    @property
    def hours(self) -> float:
        """Hours of training of all profiles."""
        return sum(found.source["training_hours"] for found in self.results)


def state_of(row: Mapping[str, Any]) -> str:
    """Return which of `STATES` a row of a comparison is in."""
    verdict = verdict_of(row)
    if verdict.reason in (LOST, NO_COUNTERPART):
        return verdict.reason
    return NOT_MEASURED if pd.isna(row["ours"]) else verdict.outcome or NOT_JUDGED


def overview_markdown(papers: Iterable[Paper]) -> str:
    """Return the page as Markdown, as it is committed in `papers/RESULTS.md`."""
    return markdown_of(overview_report(papers, everything=False))


def overview_report(papers: Iterable[Paper], everything: bool = True) -> Report:
    """Put the page together from what is committed; `everything` adds, folded, all that was measured and the notes.

    Raises
    ------
    UserError
        Where a committed file cannot be read.
    """
    entries = [Entry.of(paper) for paper in papers]
    entries.sort(key=lambda entry: (entry.name[-4:], entry.name))
    total = sum(entry.states for entry in entries)
    beside = int(total[list(VERDICTS)].sum())
    judged = beside - int(total[NOT_JUDGED])
    return Report(
        title="COVID-19 in chest radiographs: the papers against ours",
        subtitle="Made by covid-keras results, as one HTML page and as papers/RESULTS.md, from the committed results "
        "alone; no number here is typed by hand.",
        banner="" if judged or not total[NOT_JUDGED] else NONE_JUDGED,
        facts=[
            ("Papers", ", ".join(entry.name for entry in entries)),
            ("Published numbers", f"{total.sum()}; ours beside {beside} of them, {judged} judged"),
            ("Executions", sum(entry.executions for entry in entries)),
            ("Training", f"{sum(entry.hours for entry in entries):.1f} hours"),
        ],
        sections=[
            _start(entries),
            Section("How to read a cell", notes=_signs(), link="Signs"),
            *(_paper_section(entry, everything) for entry in entries),
        ],
        citations=[(f"{e.paper.title}. {e.paper.citation}", f"https://doi.org/{e.paper.doi}") for e in entries],
    )


NONE_JUDGED = (
    "NO NUMBER OF OURS ON THIS PAGE IS COMPARABLE WITH A PAPER'S: other images, other or smaller networks. "
    "All are shown, none is judged."
)
WHAT = """\
Each paper's printed numbers stand beside what this suite measured with the same kind of network on the cohort named. \
Ours is the mean over executions (trainings with their test) with a 95 % interval (bootstrap by patient). Where it was \
not measured under the paper's conditions it is shown and not judged, and the reason is given; what the paper prints \
for others, for its data or in a text that has lost it is counted too, so that nothing drops out unseen."""
CELLS_CAPTION = (
    "Published numbers by what became of them. ○: measured, not under the paper's conditions, or no target "
    "as printed. Not measured: a system that could not be, or was not, run here. No counterpart: numbers of data "
    "sets, of others' work, of settings, or printed twice. Lost: the available text of the paper does not hold them. "
    "Systems run: all that has a number of ours, with lung segmenters and controls that the paper does not have."
)
COST_CAPTION = "Training alone; making masks, predicting and reporting come on top. Code: revisions that trained."
HEADLINE_CAPTION = (
    "{metric} of every system that has both numbers, of several profiles one line each. The paper's number is the one "
    "compared with: as printed, unless the suite's file of published numbers names another value. Behind a name, what "
    "the audit says of it: {signs}. The two bars say different things: the paper's is what it prints, the spread of "
    "its executions or an interval, where it prints any; ours is the uncertainty of the mean over patients."
)


def _start(entries: list[Entry]) -> Section:
    """What the page is, the papers in numbers, what it cost, and the headline drawn."""
    section = Section(
        "The papers in numbers",
        WHAT,
        tables=[_cells_table(entries), _audit_table(entries)],
        link="In numbers",
    )
    if any(entry.results for entry in entries):
        section.tables.append(_cost_table(entries))
    if panels := _headline_panels(entries):
        signs = ", ".join(f"{AUDIT_SIGNS[word][0]} {word}" for word in NO_TARGETS)
        caption = HEADLINE_CAPTION.format(metric=HEADLINE.capitalize(), signs=signs)
        figure = headline_figure(panels, f"{HEADLINE} (%)")
        section.figures.append(FigureEntry(f"{HEADLINE.capitalize()}, paper against ours", caption, figure))
    return section


def _signs() -> list[tuple[str, str]]:
    """What the signs in a cell mean."""
    return [
        (
            "Layout",
            "The paper's number, with the standard deviation or interval that it prints and signs of doubt and audit; "
            "then ours, the sign of the verdict and the 95 % interval. Ours is this suite's, but in the names of rows, "
            "which are the paper's own words.",
        ),
        *((f"{sign} {kind}", meaning) for kind, (sign, meaning) in VERDICTS.items()),
        (NOTHING, "no number"),
        ("†", "doubtful in the paper, for a reason that this suite's authors give"),
        *((_audit_head(word), f"audit: {meaning}") for word, (_, meaning) in AUDIT_SIGNS.items()),
    ]


def _legend(table: PaperTable) -> str:
    """Explain the signs of a table in one line: those that stand in it."""
    cells = table.cells.values()
    signs = [f"{VERDICTS[kind][0]} {kind}" for kind in dict.fromkeys(cell.kind for cell in cells if cell.kind)]
    signs += ["† doubtful"] * any(cell.doubt for cell in cells)
    used = {cell.audit.verdict for cell in cells}
    audit = [_audit_head(word) for word in AUDIT_SIGNS if word in used and word != AuditVerdict.NOT_CHECKABLE]
    words = f"{'; '.join(signs)}. " if signs else ""
    rest = _audit_head(AuditVerdict.NOT_CHECKABLE)
    return words + (f"Audit of the printed number: {', '.join(audit)}; {rest}." if audit else "")


def _audit_head(word: str) -> str:
    sign = AUDIT_SIGNS[word][0]
    return f"{sign} {word}" if sign else f"{NO_SIGN}: {word}"


def _cells_table(entries: list[Entry]) -> TableEntry:
    """The papers, a line each: what became of their published numbers."""
    heads = {kind: f"{VERDICTS[kind][0]} {kind}" if kind in VERDICTS else kind for kind in STATES}
    heads[LOST] = "lost"
    rows = [
        {"paper": entry.name, "published": entry.states.sum()}
        | {heads[kind]: entry.states[kind] for kind in STATES}
        | {"systems run": sum(len(found.systems) for found in entry.results)}
        for entry in entries
    ]
    frame = pd.DataFrame(rows)
    frame.loc[len(frame)] = ["all", *frame.drop(columns="paper").sum()]
    return TableEntry("What became of the published numbers", CELLS_CAPTION, frame)


def _audit_table(entries: list[Entry]) -> TableEntry:
    """The papers, a line each: what the audit says of their printed numbers."""
    counts = pd.DataFrame([{"paper": entry.name} | audit_counts(entry.audit) for entry in entries])
    counts.loc[len(counts)] = ["all", *counts.drop(columns="paper").sum()]
    return TableEntry("Are the printed numbers possible?", AUDIT_CAPTION, counts)


def _cost_table(entries: list[Entry]) -> TableEntry:
    """What each run cost: executions, hours, device, software."""
    rows = [
        {
            "paper": entry.name,
            "profile": found.profile,
            "executions": found.source["executions"],
            "hours": f"{found.source['training_hours']:.2f}",
            "device": device_words(found.source),
            "software": _software(found.source).replace(", ", "\n"),
            "code": "\n".join(found.source["training_revisions"]).replace("+changes", ", changed"),
        }
        for entry in entries
        for found in entry.results
    ]
    return TableEntry("What it cost", COST_CAPTION, pd.DataFrame(rows))


def device_words(source: Mapping[str, Any]) -> str:
    """Return what trained: the GPUs or TPUs, else the cores."""
    machine = source["trained_on"]
    device = machine["device"]
    if device["gpus"]:
        return ", ".join(map(str, device["gpus"]))
    return f"{device['tpus']} TPU cores" if device["tpus"] else f"{machine['cores']} CPU cores"


def _software(source: Mapping[str, Any]) -> str:
    versions = source["trained_with"]
    return f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}"


def in_percent(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison with its ratios as percent, so that one column or axis holds one unit."""
    frame, ratios = frame.copy(), frame["unit"] == "ratio"
    # A ratio of three decimals times 100 is one of one decimal, not 97.14999999999999.
    frame.loc[ratios, list(_VALUES)] = (100 * frame.loc[ratios, list(_VALUES)]).round(6)
    frame.loc[ratios, "unit"] = "percent"
    return frame


def _headline_panels(entries: Iterable[Entry]) -> dict[str, pd.DataFrame]:
    """The rows of the figure, a panel a paper and profile; of a number printed twice the first."""
    panels = {}
    for entry in entries:
        for found, frame in zip(entry.results, entry.comparisons, strict=False):
            rows = in_percent(frame)
            rows = rows[(rows["metric"] == HEADLINE) & rows["ours"].notna() & rows["target"].notna()]
            rows = rows.drop_duplicates("system")
            if len(rows):
                title = f"{entry.name}, profile {found.profile}"
                panels[title] = rows.assign(row=[_line_name(found.systems[row["system"]], row) for row in _rows(rows)])
    return panels


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return frame.to_dict("records")


def _line_name(title: str, row: Mapping[str, Any]) -> str:
    """Return a system's name in the figure, with the audit's sign where the number drawn is no possible one."""
    cell = cell_of(row)
    spoken_against = cell.audit.verdict in NO_TARGETS and row["target"] == row["paper"]
    # A space at which no line is broken.
    return textwrap.shorten(title, 48) + f"\N{NO-BREAK SPACE}{cell.audit_sign}" * spoken_against


def _paper_section(entry: Entry, everything: bool) -> Section:
    """A paper: each profile's results, whether its numbers are possible, and what has no number of ours."""
    section = Section(entry.name, f"{entry.paper.title}. {entry.paper.citation}.", link=entry.name)
    if not entry.results:
        section.text += (
            f"\n\nNo results are committed yet: none of its {len(entry.paper.systems)} systems has a number here. "
            f"`covid-keras reproduce {entry.paper.aliases[0]}`, then `covid-keras publish RUN`, puts them in."
        )
    both = zip(entry.results, entry.comparisons, strict=False)
    section.parts = [_profile_part(entry, found, frame, everything) for found, frame in both]
    if not entry.results:
        section.parts = [_reasons_part(entry.paper, None, entry.comparisons[0])]
    section.parts.append(audit_section(entry.audit, everything))
    shown = {table.name for frame in entry.comparisons for table in paper_tables(frame) if table.measured}
    others = [table for table in paper_tables(entry.comparisons[0]) if table.name not in shown]
    if others:
        title = f"Published tables without a number of ours ({len(others)})"
        section.details.append(Section(title, against=[_against(entry, table) for table in others]))
    if doubts := doubtful_cells(entry.comparisons[0]):
        section.details.append(Section(f"† Doubtful numbers in the paper ({len(doubts)})", notes=doubts))
    if everything and (notes := report_of(entry.paper).notes):
        section.details.append(Section("Before you believe a number", notes=list(notes)))
    return section


# Columns up to which a number and its interval fit beside each other on a page.
FEW_COLUMNS = 5


def _against(entry: Entry, table: PaperTable) -> AgainstEntry:
    wide = len(table.columns) > FEW_COLUMNS and all(map(table.measured_row, table.rows))
    return AgainstEntry(table, entry.titles.get(table.name, ""), brief=not wide)


def _profile_part(entry: Entry, found: Committed, frame: pd.DataFrame, everything: bool) -> Section:
    """What was measured in one profile."""
    protocol = yaml.safe_load(found.source["protocol"])
    tables = _system_tables(found, frame)
    others = [entry for entry in tables if entry.caption == OTHERS_CAPTION]
    part = Section(
        f"Profile {found.profile}",
        protocol["description"],
        facts=_profile_facts(found, protocol),
        against=[entry for entry in tables if entry not in others],
        parts=[_reasons_part(entry.paper, found, frame)],
    )
    for other in others:
        part.details.append(Section(f"{other.table.name} ({len(other.table.rows)})", against=[other]))
    for table in paper_tables(frame):
        if table.measured:
            count = sum(cell.measured for cell in table.cells.values())
            title = (
                f"{table_title(table.name)}: {entry.titles.get(table.name, '')} ({counted(count, 'number')} of ours)"
            )
            part.details.append(Section(title, against=[_against(entry, table)]))
    if everything:
        part.details.append(Section("All that was measured", tables=[_everything(found)]))
    return part


def _profile_facts(found: Committed, protocol: Mapping[str, Any]) -> list[tuple[str, Any]]:
    source, counts = found.source, found.source["cohort_counts"]
    size = " x ".join(map(str, protocol["size"]))
    return [
        ("Cohort", f"{sum(counts.values())} images: " + "; ".join(f"{name} {n}" for name, n in counts.items())),
        ("Fingerprint of the cohort", source["cohort_fingerprint"]),
        ("Input and start", f"{size} px unless a system has its own, initial weights: {protocol['weights']}"),
        ("Executions", source["executions"]),
        ("Cost", f"{source['training_hours']:.2f} hours of training on {device_words(source)}, {source['precision']}"),
        ("Software", _software(source)),
        ("Code", _code_words(source)),
        ("Tolerance", f"{_tolerance_words(protocol['tolerance'])}, set before the run"),
        ("Numbers and predictions", f"papers/{found.paper.name}/results/{found.profile}*"),
    ]


def _code_words(source: Mapping[str, Any]) -> str:
    """Return the revisions that trained and evaluated."""
    words = f"trained at {', '.join(source['training_revisions'])}, evaluated at {source['revision']}"
    return words.replace("+changes", " with uncommitted changes")


def _tolerance_words(tolerance: float | Mapping[str, float]) -> str:
    if isinstance(tolerance, Mapping):
        return ", ".join(f"{name} {value:g}" for name, value in tolerance.items()) + " points"
    return counted(tolerance, "point")


SYSTEMS_WHAT = "percent; paper, then ours [95 % interval by patient]"
OTHERS_WHAT = "percent; ours [95 % interval by patient]"
SYSTEMS_CAPTION = (
    "–: the paper prints no such number for the system; what it prints under another name, or by another formula, "
    "stands in its tables below."
)
OTHERS_CAPTION = "The paper prints none of these numbers for them; others that it prints stand in its tables below."
PUBLISHED_CAPTION = (
    "Published: as the authors' code computes it, which is no Dice or IoU of a mask; the others are the mean over "
    "images of Dice and IoU as they are usually defined."
)


def _system_tables(found: Committed, frame: pd.DataFrame) -> list[AgainstEntry]:
    """Every system and stage: first those of which the paper prints one of these numbers, then the others."""
    frame = in_percent(frame)
    masks = dict.fromkeys(
        one.metric
        for one in found.measured
        if one.metric.split("_")[0] in ("dice", "iou") and "validation" in one.metric
    )
    order = [*(system.name for system in found.paper.systems), *found.systems]
    systems = [name for name in dict.fromkeys(order) if name in found.systems]
    groups = (
        ("Systems", SHOWN),
        (
            "Segmenters",
            {metric: metric.replace("_", " ").replace("dice", "Dice").replace("iou", "IoU") for metric in masks},
        ),
    )
    entries = []
    for name, columns in groups:
        cells = {(one.system, one.metric): _system_cell(frame, one) for one in found.measured if one.metric in columns}
        own = {system for (system, _), cell in cells.items() if cell.paper != NOTHING}
        everyone = [system for system in systems if any(key[0] == system for key in cells)]
        for rest in (False, True):
            rows = [system for system in everyone if (system in own) != rest]
            if rows:
                title = f"{name} without a counterpart in the paper" if rest else f"{name} of the paper"
                # A dash in every cell would say nothing.
                mine = {key: replace(cell, paper="") for key, cell in cells.items()} if rest else cells
                table = _system_table(title, found, rows, columns, mine)
                what, caption = (OTHERS_WHAT, OTHERS_CAPTION) if rest else (SYSTEMS_WHAT, _table_caption(table))
                entries.append(AgainstEntry(table, what, caption, brief=True))
    return entries


def _table_caption(table: PaperTable) -> str:
    """Explain what stands in a table of systems: its signs, dashes and measures."""
    parts = [_legend(table)]
    parts += [SYSTEMS_CAPTION] * any(cell.paper == NOTHING for cell in table.cells.values())
    parts += [PUBLISHED_CAPTION] * any("published" in column for column in table.columns)
    return " ".join(part for part in parts if part)


def _system_table(
    title: str,
    found: Committed,
    systems: list[str],
    columns: Mapping[str, str],
    cells: Mapping[tuple[str, str], Cell],
) -> PaperTable:
    used = {metric: head for metric, head in columns.items() if any((name, metric) in cells for name in systems)}
    tested = {one.system: one for one in reversed(found.measured) if one.metric in columns}
    return PaperTable(
        title,
        tuple(found.systems[name] for name in systems),
        tuple(used.values()),
        {
            (found.systems[name], head): cells[name, metric]
            for name in systems
            for metric, head in used.items()
            if (name, metric) in cells
        },
        {found.systems[name]: _tested_words(tested[name]) for name in systems},
    )


def _tested_words(one: Measured) -> str:
    images, patients = counted(one.n_images, "image"), counted(one.n_patients, "patient")
    return f"{images} of {patients}, {counted(one.executions, 'execution')}"


def _system_cell(frame: pd.DataFrame, one: Measured) -> Cell:
    """A metric of a system: what the paper prints for it, wherever it does, beside ours."""
    rows = frame[(frame["system"] == one.system) & (frame["metric"] == one.metric)]
    if rows.empty:
        interval = "" if pd.isna(one.low) else f"[{number(one.low)}, {number(one.high)}]"
        return Cell(NOTHING, number(one.mean), interval)
    # One number printed in two places is one, the first; where the text has lost it in one of them, it has the other.
    rows = rows[rows["paper"].notna()].drop_duplicates("paper") if rows["paper"].notna().any() else rows.head(1)
    first, *others = [cell_of(row) for row in rows.to_dict("records")]
    return replace(first, paper=" or ".join([first.paper, *(cell.paper for cell in others)]))


class Reason(NamedTuple):
    """Why published cells have no verdict: what became of them, how many they are, why, and which."""

    state: str
    cells: int
    why: str
    which: str


def reasons_of(paper: Paper, found: Committed | None, frame: pd.DataFrame) -> list[Reason]:
    """Return why published cells have no verdict, and why systems have no number; `found` is None without results.

    Every cell of the comparison without a verdict of its own is counted in one of them.
    """
    systems = found.systems if found else {}
    left_out, absent_words = (found.left_out, "not in this profile") if found else ({}, "no results are committed")
    frame = frame.assign(state=[state_of(row) for row in frame.to_dict("records")])
    missing = frame[frame["state"] == NOT_MEASURED]
    undefined = missing[missing["system"].isin(systems)]
    reasons = [
        Reason(state, len(part), why, _table_words(part["table"]))
        for state, cells in (("measured, not judged", frame[frame["state"] == NOT_JUDGED]), ("", undefined))
        for why, part in cells.groupby("reason", sort=False)
    ]
    absent = {system.name: system.title for system in paper.systems if system.name not in systems}
    absent |= {name: name for name in missing["system"] if name not in {**absent, **systems}}
    by_reason: dict[str, list[str]] = {}
    for name in absent:
        by_reason.setdefault(left_out.get(name, absent_words), []).append(name)
    for why, names in by_reason.items():
        count = int(missing["system"].isin(names).sum())
        titles = "; ".join(absent[name] for name in names)
        reasons.append(Reason(NOT_RUN, count, why.removeprefix("not run: "), titles))
    for state, why in ((NO_COUNTERPART, NO_COUNTERPART_WORDS), (LOST, LOST_WORDS)):
        part = frame[frame["state"] == state]
        if len(part):
            reasons.append(Reason(state, len(part), why, _table_words(part["table"])))
    return reasons


NO_COUNTERPART_WORDS = "numbers of data sets, of others' work, of settings, or printed twice"
LOST_WORDS = "the available text of the paper has lost them; ours, where there is one, is shown beside"


def _reasons_part(paper: Paper, found: Committed | None, frame: pd.DataFrame) -> Section:
    """What cannot be compared, a line a reason; of surrogates the reason that holds on the paper's own data too."""
    notes = [
        (
            ": ".join(part for part in (counted(one.cells, "cell"), one.state) if part)
            if one.cells
            else f"{one.state.capitalize()}, and the paper prints no number of theirs",
            f"{one.which}: {one.why.rstrip('.')}.",
        )
        for one in reasons_of(paper, found, frame)
    ]
    for reason, names in _surrogates(found) if found else []:
        titles = "; ".join(found.systems[name] for name in names)
        notes.append(("Not the paper's own network or images", f"{titles}: {reason.rstrip('.')}."))
    return Section("What cannot be compared, and why", notes=notes)


def _surrogates(found: Committed) -> list[tuple[str, list[str]]]:
    reasons: dict[str, list[str]] = {}
    for name, reason in found.source.get("surrogates", {}).items():
        if name in found.systems:
            reasons.setdefault(reason, []).append(name)
    return list(reasons.items())


def _table_words(names: Iterable[str]) -> str:
    """Return the tables by name, those that differ by their number alone together.

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


def _everything(found: Committed) -> TableEntry:
    """Every metric of every system, a row a system: there are more of these than of metrics."""
    frame = measured_table(found.measured, found.systems).set_index("metric").T
    frame = frame.map(lambda text: text.replace(" [", "\n[")).rename_axis("system").reset_index()
    return TableEntry("All that was measured", "Percent: mean ± std over executions [95 % interval by patient].", frame)
