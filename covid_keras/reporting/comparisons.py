"""Paper against ours: a section of the page, and the files `comparison.csv`, `.md` and `.tex`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from covid_keras.common.files import write_text
from covid_keras.common.tables import write_table
from covid_keras.published.facts import table_title
from covid_keras.reporting.document import AgainstEntry, FigureEntry, Report, Section, TableEntry
from covid_keras.reporting.prose import prose
from covid_keras.reporting.renderer import render
from covid_keras.reporting.tables import (
    NO_SIGN,
    VERDICTS,
    PaperTable,
    audit_signs,
    doubtful_cells,
    judged_rows,
    measured_cells,
    paper_tables,
    reason_lines,
)
from covid_keras.reporting.wording import NOTHING

HERE, TEXTS = "covid_keras.reporting", "comparison.md"


class Tally(NamedTuple):
    """Counts of printed numbers: all, those with a number of ours, and those judged."""

    printed: int
    beside: int
    judged: int


def judged_section(tally: Tally, frames: Mapping[tuple[str, str], pd.DataFrame]) -> Section:
    """Return the judged numbers, one row per number, below how many there are.

    `frames` maps (paper, profile) to comparisons; a paper or profile that all rows share has no column.
    """
    rows = [
        {"paper": paper, "profile": profile} | row
        for (paper, profile), frame in frames.items()
        for row in judged_rows(frame)
    ]
    section = Section("Judged numbers", prose(HERE, TEXTS, "judged", tally=tally), link="Judged")
    if rows:
        table = pd.DataFrame(rows)
        shared = [name for name in ("paper", "profile") if table[name].nunique() == 1]
        section.tables.append(TableEntry("", prose(HERE, TEXTS, "judged_table"), table.drop(columns=shared)))
    return section


def comparison_section(
    frame: pd.DataFrame,
    titles: Mapping[str, str] | None = None,
    figures: Iterable[FigureEntry] = (),
    fold: bool = False,
) -> Section:
    """Return a comparison as a section: tables with a number of ours, and folded explanations.

    Parameters
    ----------
    frame : DataFrame
        From `covid_keras.evaluation.compare`.
    titles : mapping, optional
        Table -> title.
    figures : iterable of FigureEntry
        Shown below the tables.
    fold : bool
        Fold the tables without a judged number, and the figures.
    """
    tables, cells, doubts = paper_tables(frame), measured_cells(frame), doubtful_cells(frame)
    measured, others = ([against(one, titles) for one in tables if one.measured == wanted] for wanted in (True, False))
    shown = [one for one in measured if one.table.judged or not fold]
    folded = [one for one in measured if one not in shown]
    details = [
        *(Section(f"{table_title(one.table.name)}: {one.what} (not judged)", against=[one]) for one in folded),
        Section("What the signs mean", notes=signs(frame)),
        Section(
            f"Cell by cell: difference and tolerance ({len(cells)} cells)",
            tables=[TableEntry("Cell by cell", "", cells)] if len(cells) else [],
        ),
        Section(f"Published tables not measured in this run ({len(others)})", against=others),
        Section(f"† Doubtful numbers in the paper ({len(doubts)})", notes=doubts),
    ]
    key = prose(HERE, TEXTS, "key", measured=measured, audit=audit_signs(frame))
    return Section(
        "Paper against ours",
        key,
        against=shown,
        figures=[] if fold else list(figures),
        folded=list(figures) if fold else [],
        details=[detail for detail in details if not detail.empty],
    )


def against(table: PaperTable, titles: Mapping[str, str] | None = None, brief: bool = False) -> AgainstEntry:
    """Return a table of the paper with its title and, unless `brief`, why cells are not judged."""
    return AgainstEntry(table, (titles or {}).get(table.name, ""), "" if brief else reason_lines(table), brief)


def legend(frame: pd.DataFrame) -> str:
    """Return a paragraph that explains the cells and their signs."""
    return prose(HERE, TEXTS, "legend", verdicts=VERDICTS, audit=audit_signs(frame))


def signs(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the meaning of each sign in a cell."""
    return [
        ("Layout", prose(HERE, TEXTS, "layout")),
        *((f"{sign} {kind}", meaning) for kind, (sign, meaning) in VERDICTS.items()),
        (NOTHING, "no number"),
        ("†", "doubtful in the paper; this suite gives the reason"),
        *(
            (f"{sign}{':' * (sign == NO_SIGN)} {word}", f"audit: {meaning}")
            for sign, word, meaning in audit_signs(frame)
        ),
    ]


def write_comparison(folder: str | Path, frame: pd.DataFrame, stem: str = "comparison", banner: str = "") -> list[Path]:
    """Write the comparison as `<stem>.csv` (full precision), `.md` and `.tex`; return the paths.

    `banner` is the first line of the Markdown and LaTeX; the CSV has a column `reason`. The LaTeX contains the tables
    with a number of ours and needs the packages booktabs, amssymb and graphicx.
    """
    folder, section = Path(folder), comparison_section(frame)
    page = Report(banner=banner, sections=[section], disclaimer="")
    latex = Report(banner=banner, sections=[Section("", legend(frame), against=section.against)])
    return [
        write_table(folder / f"{stem}.csv", frame),
        write_text(folder / f"{stem}.md", render(page, "md")),
        write_text(folder / f"{stem}.tex", render(latex, "tex")),
    ]
