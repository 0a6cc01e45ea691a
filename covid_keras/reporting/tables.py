"""Paper against ours as tables, laid out as the paper prints them.

Each cell reads "paper | ours [95 % interval] symbol"; the symbol is the verdict (`VERDICTS`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from covid_keras.evaluation.comparison import AUDIT_COLUMNS, COMPARISON_COLUMNS, verdict_of
from covid_keras.evaluation.possibility import Audited, AuditVerdict
from covid_keras.evaluation.summary import Measured
from covid_keras.evaluation.verdicts import LOST, NO_COUNTERPART, NOT_RUN, Outcome, Verdict
from covid_keras.published.facts import table_title
from covid_keras.reporting.prose import prose
from covid_keras.reporting.wording import NOTHING, grouped, interval, number, published_number

NOT_JUDGED = "not comparable"
NOT_MEASURED = "not measured"
# Outcome, or that there is none -> symbol and meaning; the shape alone tells them apart, without colour.
VERDICTS: dict[str, tuple[str, str]] = {
    Outcome.REPRODUCED: ("✓", "ours differs from the paper by no more than the tolerance set before the run"),
    Outcome.WITHIN_INTERVAL: ("≈", "outside the tolerance, but the paper's value lies in our 95 % interval"),
    Outcome.NOT_REPRODUCED: ("✗", "outside the tolerance and outside our 95 % interval"),
    NOT_JUDGED: (
        "○",
        "not measured under the paper's conditions, or no target as the paper prints it; shown, not judged",
    ),
}
# What the audit says of a printed number -> sign and meaning, the worst first.
AUDIT_SIGNS: dict[str, tuple[str, str]] = {
    AuditVerdict.IMPOSSIBLE: ("‡", "not possible as printed, or not together with what is printed beside it"),
    AuditVerdict.EXPLAINED: (
        "§",
        "not possible as printed, and why is found: another formula, another n, a slip of the pen",
    ),
    AuditVerdict.ONE_OF_THESE: ("¶", "not possible together with others, and which of them is wrong is not known"),
    AuditVerdict.CONSISTENT: ("⁼", "possible, and agrees with all that a rule sets beside it"),
    AuditVerdict.NOT_CHECKABLE: ("", "no rule bears on the number, or the available text has lost it"),
}
NO_SIGN = "no sign"
UNASKED = Audited()


@dataclass(frozen=True)
class Cell:
    """A published number beside ours, as text.

    `verdict` is None if the paper prints no such number; `paper` is "" if ours stands alone. `audit` says
    whether the printed number is possible at all.
    """

    paper: str
    ours: str
    interval: str
    verdict: Verdict | None = None
    doubt: str = ""
    audit: Audited = UNASKED

    @property
    def measured(self) -> bool:
        """Whether this run has a number for the cell."""
        return self.ours != NOTHING

    @property
    def kind(self) -> str:
        """The key of the verdict in `VERDICTS`, empty if there is nothing of ours to judge."""
        if not self.measured or self.verdict is None:
            return ""
        return self.verdict.outcome or NOT_JUDGED

    @property
    def symbol(self) -> str:
        """The verdict's sign, empty if there is nothing of ours to judge."""
        return VERDICTS[self.kind][0] if self.kind else ""

    @property
    def reason(self) -> str:
        """Why the number is not judged."""
        return self.verdict.reason if self.verdict else ""

    @property
    def audit_sign(self) -> str:
        """The sign of what the audit says of the printed number; "" if it was not, or cannot be, checked."""
        return AUDIT_SIGNS[self.audit.verdict][0] if self.audit.verdict else ""

    @property
    def audit_words(self) -> str:
        """What the audit says of the printed number; its proof where that is more than consistent."""
        proof = "" if self.audit.verdict == AuditVerdict.CONSISTENT else self.audit.proof
        return f"{self.audit.words}: {proof}" if proof else self.audit.words

    def __str__(self) -> str:
        mark = ("†" if self.doubt else "") + self.audit_sign
        ours = " ".join(part for part in (self.ours, self.interval, self.symbol) if part)
        return f"{self.paper}{mark} | {ours}" if self.paper else ours


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper: rows (systems) and columns (metrics) in printed order, cells, and a note on some rows."""

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[tuple[str, str], Cell]
    notes: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> bool:
        """Whether any cell has a number of ours."""
        return any(cell.measured for cell in self.cells.values())

    def reasons_of(self, row: str) -> tuple[str, ...]:
        """Why a row's cells are not comparable, each reason once; of a row that was measured those with a number.

        That a cell has no counterpart is a reason only where it is so for the whole row.
        """
        cells = [cell for (name, _), cell in self.cells.items() if name == row and cell.reason]
        if self.measured_row(row):
            cells = [cell for cell in cells if cell.measured]
        cells = [cell for cell in cells if cell.reason != NO_COUNTERPART] or cells
        return tuple(dict.fromkeys(cell.reason for cell in cells))

    @property
    def grid(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows as text: system, the note where any row has one, a cell per column."""
        noted = bool(self.notes)
        rows = [
            [row, *[self.notes.get(row, "")] * noted, *(str(self.cells.get((row, name), "")) for name in self.columns)]
            for row in self.rows
        ]
        return ["system", *["tested on"] * noted, *self.columns], rows

    def measured_row(self, row: str) -> bool:
        """Whether any cell of the row has a number of ours."""
        return any(cell.measured for (name, _), cell in self.cells.items() if name == row)


def paper_tables(frame: pd.DataFrame) -> list[PaperTable]:
    """Return the comparison laid out as the paper's tables, everything in the order it first appears.

    Parameters
    ----------
    frame : DataFrame
        As `covid_keras.evaluation.compare` returns it: one row per published cell.

    Raises
    ------
    ValueError
        If a column is missing, a cell is there twice or a grade or outcome is unknown.
    """
    missing = [name for name in COMPARISON_COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"the comparison lacks the columns {', '.join(missing)}")
    twice = frame[frame.duplicated(["table", "row", "column"])]
    if len(twice):
        place = ", ".join(map(str, twice.iloc[0][["table", "row", "column"]]))
        raise ValueError(f"the comparison holds a cell twice: {place}")
    return [
        PaperTable(
            name=str(name),
            rows=tuple(dict.fromkeys(part["row"].astype(str))),
            columns=tuple(dict.fromkeys(part["column"].astype(str))),
            cells={(str(item["row"]), str(item["column"])): cell_of(item) for item in part.to_dict("records")},
        )
        for name, part in frame.groupby("table", sort=False)
    ]


def cell_of(item: Mapping[str, Any]) -> Cell:
    """Return a row of the comparison as text; its columns of the audit may be there or not."""
    unit, doubt = item["unit"], _text(item, "doubt")
    if not pd.isna(item["target"]) and item["target"] != item["paper"]:
        doubt = f"{doubt} Compared with {published_number(item['target'], unit)}.".strip()
    bounds = interval(item["low"], item["high"], unit=unit, kind=_text(item, "interval"))
    audited = Audited(*(_text(item, name) for name in AUDIT_COLUMNS))
    return Cell(_paper_words(item), number(item["ours"], unit=unit), bounds, verdict_of(item), doubt, audited)


def _text(item: Mapping[str, Any], name: str) -> str:
    """Return a text of a row, "" if it has none; an empty one comes back from CSV as NaN."""
    return "" if pd.isna(item.get(name, "")) else str(item.get(name, ""))


def _paper_words(item: Mapping[str, Any]) -> str:
    """Return what the paper prints: a word, a number with its std or interval, a count with its share of the row.

    Where its text has lost the number, it says so.
    """
    unit, text = item["unit"], _text(item, "paper_text")
    if pd.isna(item["paper"]):
        return text or NOTHING
    if text:  # A cell of a confusion matrix: the paper prints the count, the share of the row is made here.
        return f"{text} = {number(item['paper'])} %"
    words = published_number(item["paper"], unit)
    if not pd.isna(item["paper_std"]):
        words += f" ± {published_number(item['paper_std'], unit)}"
    if not pd.isna(item["paper_low"]):
        words += f" [{published_number(item['paper_low'], unit)}, {published_number(item['paper_high'], unit)}]"
    return words


def verdict_counts(frame: pd.DataFrame) -> dict[str, int]:
    """Return how many measured cells got each of `VERDICTS`, and how many are `NOT_MEASURED`."""
    measured = frame["ours"].notna()
    kinds = frame.loc[measured, "outcome"].replace("", NOT_JUDGED).fillna(NOT_JUDGED)
    return {**{kind: int((kinds == kind).sum()) for kind in VERDICTS}, NOT_MEASURED: int((~measured).sum())}


def audit_signs(frame: pd.DataFrame | None) -> list[tuple[str, str, str]]:
    """Return sign, word and meaning of what the audit says of a cell; nothing if the comparison has no audit."""
    if frame is None or "audit" not in frame.columns:
        return []
    return [(AUDIT_SIGNS[word][0] or NO_SIGN, word, AUDIT_SIGNS[word][1]) for word in audit_kinds(frame["audit"])]


def audit_kinds(said: Iterable[str]) -> list[str]:
    """Return the keys of `AUDIT_SIGNS`; "one of these is wrong" only where it is among what is said."""
    rare = {AuditVerdict.ONE_OF_THESE} - set(said)
    return [word for word in AUDIT_SIGNS if word not in rare]


def reason_lines(table: PaperTable) -> str:
    """Return the paragraphs below a table: why cells are not judged, and which rows could not be run here.

    That the paper's text has lost a number is said in its cell, so here only where nothing else is to be said.

    >>> judged = Cell("1", "2", "", Verdict(None, None, "why"))
    >>> gone = Cell("1", "–", "", Verdict(None, None, "no file"))
    >>> reason_lines(PaperTable("V", ("A", "B"), ("C",), {("A", "C"): judged, ("B", "C"): gone}))
    '○ not comparable: why.\\n\\nLeft out: B: no file.'
    """
    measured = {row: table.reasons_of(row) for row in table.rows if table.measured_row(row)}
    others = {row: tuple(reason for reason in reasons if reason != LOST) for row, reasons in measured.items()}
    if any(others.values()):
        measured = {row: reasons for row, reasons in others.items() if reasons or not measured[row]}
    missing = {row: table.reasons_of(row) for row in table.rows if not table.measured_row(row)}
    missing = {row: tuple(one for one in reasons if one not in (NOT_RUN, LOST)) for row, reasons in missing.items()}
    return prose(
        "covid_keras.reporting",
        "comparison.md",
        "reasons",
        # One reason for all needs no names.
        everywhere=next(iter(measured.values())) if len(set(measured.values())) == 1 else (),
        not_comparable=grouped((reason, row) for row, reasons in measured.items() for reason in reasons),
        left_out=grouped((reason, row) for row, reasons in missing.items() for reason in reasons),
        sign=VERDICTS[NOT_JUDGED][0],
    )


def measured_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the cells with a number of ours as text, one row per cell, with difference and tolerance."""
    rows = []
    for item in frame[frame["ours"].notna()].to_dict("records"):
        cell, unit = cell_of(item), item["unit"]
        difference = f"{number(item['difference'], signed=True, unit=unit)} (±{number(item['tolerance'], unit=unit)})"
        rows.append(
            {
                "cell": f"{table_title(str(item['table']))}, {item['row']}, {item['column']}",
                "verdict": f"{cell.symbol} {cell.kind}",
                "paper": cell.paper,
                "ours, mean ± std": f"{cell.ours} ± {number(item['ours_std'], unit=unit)}",
                "95 % interval": cell.interval,
                # The paper's text has lost some numbers: there is nothing to subtract.
                "difference (tolerance)": NOTHING if pd.isna(item["difference"]) else difference,
                "executions": item["executions"],
            }
        )
    return pd.DataFrame(rows)


def doubtful_cells(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (where, why) of each published number in doubt; a table's cells with one reason are joined."""
    joined: dict[tuple[str, str], list[str]] = {}
    for table in paper_tables(frame):
        for (row, column), cell in table.cells.items():
            if cell.doubt:
                joined.setdefault((table_title(table.name), cell.doubt), []).append(f"{row}, {column}")
    return [(f"{name} ({'; '.join(places)})", doubt) for (name, doubt), places in joined.items()]


def measured_table(
    measured: Iterable[Measured], names: Mapping[str, str] | None = None, metrics: Iterable[str] | None = None
) -> pd.DataFrame:
    """Return what was measured as text: one row per metric, one column per system, "mean ± std [low, high]".

    Parameters
    ----------
    measured : iterable of Measured
    names : mapping, optional
        System to the name shown.
    metrics : iterable of str, optional
        Which metrics, in this order; by default all, in the order they come.
    """
    found = {(one.system, one.metric): one for one in measured}
    systems = list(dict.fromkeys(system for system, _ in found))
    shown = list(metrics if metrics is not None else dict.fromkeys(metric for _, metric in found))
    texts = {
        (names or {}).get(system, system): [_measured_text(found.get((system, metric))) for metric in shown]
        for system in systems
    }
    return pd.DataFrame({"metric": [metric.replace("_", " ") for metric in shown], **texts}, dtype=str)


def _measured_text(one: Measured | None) -> str:
    if one is None or pd.isna(one.mean):
        return NOTHING
    spread = "" if pd.isna(one.std) else f" ± {number(one.std)}"
    return f"{number(one.mean)}{spread} {interval(one.low, one.high, kind=one.interval)}".rstrip()
