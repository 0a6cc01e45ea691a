"""Tables of paper against ours, in the paper's layout.

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
# Outcome, or `NOT_JUDGED` -> symbol and meaning. Shapes differ, so that colour is not needed.
VERDICTS: dict[str, tuple[str, str]] = {
    Outcome.REPRODUCED: ("✓", "ours differs from the paper by no more than the tolerance set before the run"),
    Outcome.WITHIN_INTERVAL: ("≈", "outside the tolerance, but the paper's value lies in our 95 % interval"),
    Outcome.NOT_REPRODUCED: ("✗", "outside the tolerance and outside our 95 % interval"),
    NOT_JUDGED: (
        "○",
        "measured under other conditions than the paper's, or not a valid target as printed; shown, not judged",
    ),
}
# Verdict of the audit -> sign and meaning, the worst first.
AUDIT_SIGNS: dict[str, tuple[str, str]] = {
    AuditVerdict.IMPOSSIBLE: ("‡", "impossible as printed, or together with the numbers beside it"),
    AuditVerdict.EXPLAINED: ("§", "impossible as printed, for a known reason: another formula, another n, a misprint"),
    AuditVerdict.ONE_OF_THESE: ("¶", "impossible together with other numbers; which of them is wrong is unknown"),
    AuditVerdict.CONSISTENT: ("⁼", "possible, and agrees with every rule that applies"),
    AuditVerdict.NOT_CHECKABLE: ("", "no rule applies, or the number is missing from the available text"),
}
NO_SIGN = "no sign"
UNASKED = Audited()


@dataclass(frozen=True)
class Cell:
    """A published number beside ours, as text.

    `verdict` is None and `paper` is "" if the paper prints no such number. `audit` says whether the printed number is
    possible.
    """

    paper: str
    ours: str
    interval: str
    verdict: Verdict | None = None
    doubt: str = ""
    audit: Audited = UNASKED

    @property
    def measured(self) -> bool:
        """Whether the cell has a number of ours."""
        return self.ours != NOTHING

    @property
    def kind(self) -> str:
        """The verdict's key in `VERDICTS`; "" without a number of ours."""
        if not self.measured or self.verdict is None:
            return ""
        return self.verdict.outcome or NOT_JUDGED

    @property
    def symbol(self) -> str:
        """The verdict's sign; "" without a number of ours."""
        return VERDICTS[self.kind][0] if self.kind else ""

    @property
    def grade(self) -> str:
        """The grade of our number; "" without one."""
        return str(self.verdict.grade or "") if self.measured and self.verdict else ""

    @property
    def reason(self) -> str:
        """Why the number is not judged."""
        return self.verdict.reason if self.verdict and not self.verdict.outcome else ""

    @property
    def differing(self) -> str:
        """What differs from the paper, of a number that is judged nevertheless."""
        return self.verdict.reason if self.verdict and self.verdict.outcome else ""

    @property
    def audit_sign(self) -> str:
        """The sign of the audit; "" if the number was not or cannot be checked."""
        return AUDIT_SIGNS[self.audit.verdict][0] if self.audit.verdict else ""

    @property
    def audit_words(self) -> str:
        """The audit of the printed number, with its proof unless consistent."""
        proof = "" if self.audit.verdict == AuditVerdict.CONSISTENT else self.audit.proof
        return f"{self.audit.words}: {proof}" if proof else self.audit.words

    def __str__(self) -> str:
        mark = ("†" if self.doubt else "") + self.audit_sign
        ours = " ".join(part for part in (self.ours, self.interval, self.symbol) if part)
        return f"{self.paper}{mark} | {ours}" if self.paper else ours


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper: rows (systems) and columns (metrics) in printed order, cells, and notes on rows."""

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
        """Return why a row's cells are not comparable, each reason once.

        In a measured row, only cells with a number of ours count. `NO_COUNTERPART` is given only if it holds for the
        whole row.
        """
        cells = [cell for (name, _), cell in self.cells.items() if name == row and cell.reason]
        if self.measured_row(row):
            cells = [cell for cell in cells if cell.measured]
        cells = [cell for cell in cells if cell.reason != NO_COUNTERPART] or cells
        return tuple(dict.fromkeys(cell.reason for cell in cells))

    @property
    def grid(self) -> tuple[list[str], list[list[str]]]:
        """The head and the rows as text: system, note and grade if any row has one, one cell per column."""
        noted, graded = bool(self.notes), self.graded
        rows = [
            [
                row,
                *[self.notes.get(row, "")] * noted,
                *[self.grades_of(row)] * graded,
                *(str(self.cells.get((row, name), "")) for name in self.columns),
            ]
            for row in self.rows
        ]
        return ["system", *["tested on"] * noted, *["grade"] * graded, *self.columns], rows

    @property
    def judged(self) -> bool:
        """Whether any number of ours has an outcome."""
        return any(cell.verdict and cell.verdict.outcome for cell in self.cells.values())

    @property
    def graded(self) -> bool:
        """Whether any number of ours has a grade."""
        return any(cell.grade for cell in self.cells.values())

    def grades_of(self, row: str) -> str:
        """Return the grade of a row's numbers of ours; several joined by commas."""
        found = (cell.grade for (name, _), cell in self.cells.items() if name == row)
        return ", ".join(dict.fromkeys(filter(None, found)))

    def differing_of(self, row: str) -> tuple[str, ...]:
        """Return what differs from the paper in a row's judged cells, each text once."""
        found = (cell.differing for (name, _), cell in self.cells.items() if name == row)
        return tuple(dict.fromkeys(filter(None, found)))

    def measured_row(self, row: str) -> bool:
        """Whether any cell of the row has a number of ours."""
        return any(cell.measured for (name, _), cell in self.cells.items() if name == row)


def paper_tables(frame: pd.DataFrame) -> list[PaperTable]:
    """Return the comparison in the layout of the paper's tables, in order of first appearance.

    Parameters
    ----------
    frame : DataFrame
        As `covid_keras.evaluation.compare` returns it: one row per published cell.

    Raises
    ------
    ValueError
        If a column is missing, a cell is duplicated, or a grade or outcome is unknown.
    """
    missing = [name for name in COMPARISON_COLUMNS if name not in frame.columns]
    if missing:
        raise ValueError(f"the comparison lacks the columns {', '.join(missing)}")
    twice = frame[frame.duplicated(["table", "row", "column"])]
    if len(twice):
        place = ", ".join(map(str, twice.iloc[0][["table", "row", "column"]]))
        raise ValueError(f"the comparison contains a cell twice: {place}")
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
    """Return a row of the comparison as text; the columns of the audit are optional."""
    unit, doubt = item["unit"], _text(item, "doubt")
    if not pd.isna(item["target"]) and item["target"] != item["paper"]:
        doubt = f"{doubt} Compared with {published_number(item['target'], unit)}.".strip()
    bounds = interval(item["low"], item["high"], unit=unit, kind=_text(item, "interval"))
    audited = Audited(*(_text(item, name) for name in AUDIT_COLUMNS))
    return Cell(_paper_words(item), number(item["ours"], unit=unit), bounds, verdict_of(item), doubt, audited)


def _text(item: Mapping[str, Any], name: str) -> str:
    """Return a text of a row, "" if absent or NaN (as CSV reads empty text)."""
    return "" if pd.isna(item.get(name, "")) else str(item.get(name, ""))


def _paper_words(item: Mapping[str, Any]) -> str:
    """Return what the paper prints: a word, a number with its std or interval, or a count with its share."""
    unit, text = item["unit"], _text(item, "paper_text")
    if pd.isna(item["paper"]):
        return text or NOTHING
    if text:  # a cell of a confusion matrix: the paper prints the count, `paper` is the share of the row
        return f"{text} = {number(item['paper'])} %"
    words = published_number(item["paper"], unit)
    if not pd.isna(item["paper_std"]):
        words += f" ± {published_number(item['paper_std'], unit)}"
    if not pd.isna(item["paper_low"]):
        words += f" [{published_number(item['paper_low'], unit)}, {published_number(item['paper_high'], unit)}]"
    return words


def verdict_counts(frame: pd.DataFrame) -> dict[str, int]:
    """Return the number of measured cells per verdict, and of those `NOT_MEASURED`; {} without published cells."""
    if frame.empty:
        return {}
    measured = frame["ours"].notna()
    kinds = frame.loc[measured, "outcome"].replace("", NOT_JUDGED).fillna(NOT_JUDGED)
    return {**{kind: int((kinds == kind).sum()) for kind in VERDICTS}, NOT_MEASURED: int((~measured).sum())}


def audit_signs(frame: pd.DataFrame | None) -> list[tuple[str, str, str]]:
    """Return sign, word and meaning of each audit verdict; [] if the comparison has no audit."""
    if frame is None or "audit" not in frame.columns:
        return []
    return [(AUDIT_SIGNS[word][0] or NO_SIGN, word, AUDIT_SIGNS[word][1]) for word in audit_kinds(frame["audit"])]


def audit_kinds(said: Iterable[str]) -> list[str]:
    """Return the keys of `AUDIT_SIGNS`; "one of these is wrong" only if it occurs in `said`."""
    rare = {AuditVerdict.ONE_OF_THESE} - set(said)
    return [word for word in AUDIT_SIGNS if word not in rare]


def reason_lines(table: PaperTable) -> str:
    """Return the paragraphs below a table: why cells are not judged, how judged ones differ, which rows were left out.

    `LOST` is shown in the cell itself, and repeated here only if it is the only reason.

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
        # A reason shared by all rows needs no row names.
        everywhere=next(iter(measured.values())) if len(set(measured.values())) == 1 else (),
        not_comparable=grouped((reason, row) for row, reasons in measured.items() for reason in reasons),
        differing=grouped((reason, row) for row in table.rows for reason in table.differing_of(row)),
        left_out=grouped((reason, row) for row, reasons in missing.items() for reason in reasons),
        sign=VERDICTS[NOT_JUDGED][0],
    )


def judged_rows(frame: pd.DataFrame) -> list[dict[str, str]]:
    """Return the judged cells of a comparison as text, one row per cell."""
    return [
        {
            "number": f"{table_title(str(item['table']))}, {item['row']}, {item['column']}",
            "printed": cell.paper,
            "ours [95 % interval]": f"{cell.ours}\n{cell.interval}",
            "outcome": f"{cell.symbol} {cell.kind}",
            "grade": cell.grade,
        }
        for item in frame[frame["outcome"] != ""].to_dict("records")
        for cell in [cell_of(item)]
    ]


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
                # NaN if the number is missing from the paper's text.
                "difference (tolerance)": NOTHING if pd.isna(item["difference"]) else difference,
                "executions": item["executions"],
            }
        )
    return pd.DataFrame(rows)


def doubtful_cells(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return (place, reason) of the doubtful published numbers, joined by table and reason."""
    joined: dict[tuple[str, str], list[str]] = {}
    for table in paper_tables(frame):
        for (row, column), cell in table.cells.items():
            if cell.doubt:
                joined.setdefault((table_title(table.name), cell.doubt), []).append(f"{row}, {column}")
    return [(f"{name} ({'; '.join(places)})", doubt) for (name, doubt), places in joined.items()]


def measured_table(
    measured: Iterable[Measured], names: Mapping[str, str] | None = None, metrics: Iterable[str] | None = None
) -> pd.DataFrame:
    """Return the metrics as text: one row per metric, one column per system, "mean ± std [low, high]".

    Parameters
    ----------
    measured : iterable of Measured
    names : mapping, optional
        System -> displayed name.
    metrics : iterable of str, optional
        Metrics to show, in this order. Default: all, in order of appearance.
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
