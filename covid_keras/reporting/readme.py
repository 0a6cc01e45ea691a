"""What the READMEs show of the committed results, as Markdown: one table per paper, counts, the lung masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_record
from covid_keras.common.tables import read_written
from covid_keras.evaluation import Grade
from covid_keras.evaluation.overlap import summarise_overlap
from covid_keras.evaluation.possibility import NO_TARGETS
from covid_keras.paper.paper import Paper
from covid_keras.published.facts import table_title
from covid_keras.reporting.audits import audit_of
from covid_keras.reporting.claim_sections import excerpt_section
from covid_keras.reporting.document import Section, TableEntry
from covid_keras.reporting.entries import entries_of, tally_of
from covid_keras.reporting.prose import prose
from covid_keras.reporting.renderer import fragment
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import Cell, paper_tables
from covid_keras.reporting.wording import NOTHING

METRICS = ("sensitivity", "specificity", "accuracy")
# Claims shown of each paper in the README of the suite, and in that of the paper.
OF_EACH, OF_ONE = 2, 5
TEXTS = ("covid_keras.reporting", "results.md")


def results_markdown(paper: Paper, profile: str, metrics: Sequence[str] = METRICS) -> str:
    """Return a few committed numbers of a paper: one table, one line per number, without signs.

    The table shown is the first of those with the most of the metrics, then with the most of the paper's own systems;
    of its rows those that were measured.
    """
    found = Results.committed(paper, profile)
    rows = found.comparison
    # A confusion matrix is read as a whole or not at all.
    rows = rows[rows["ours"].notna() & rows["metric"].isin(metrics) & (rows["paper_text"] == "")]
    if rows.empty:
        raise UserError(paper.name, f"has no {', '.join(metrics)} in its results of {profile}", "Name other metrics")
    tables = rows.assign(own=rows["system"].where(rows["system"].isin(found.report.proposed)))
    tables = tables.groupby("table", sort=False)[["metric", "own"]].nunique()
    rows = rows[rows["table"] == tables.apply(tuple, axis=1).idxmax()]
    (table,) = paper_tables(rows)
    lines = pd.DataFrame([_line(row, column, cell) for (row, column), cell in table.cells.items()])
    what = [table_title(table.name), "shares of 1" if set(rows["unit"]) == {"ratio"} else "percent"]
    if len(table.columns) == 1:
        what.insert(1, lines.pop("number").iloc[0])
    title = f"{', '.join(what)}: {found.published_titles[table.name]}"
    stand_ins = rows["grade"] == Grade.STAND_IN
    reasons, differing = ([*filter(None, part["reason"].unique())] for part in (rows[stand_ins], rows[~stand_ins]))
    words = prose(*TEXTS, "excerpt", source=found.provenance, reasons=reasons, differing=differing)
    return fragment(Section("", tables=[TableEntry(title, words, lines)]))


def _line(row: str, column: str, cell: Cell) -> dict[str, str]:
    refuted = ", not possible as printed" if cell.audit.verdict in NO_TARGETS else ""
    grade = cell.verdict.grade if cell.verdict and cell.verdict.grade else NOTHING
    outcome = f": {cell.verdict.outcome}" if cell.verdict and cell.verdict.outcome else ""
    return {
        "system": row,
        "number": column,
        "paper": cell.paper + refuted,
        "ours [95 % interval]": f"{cell.ours} {cell.interval}".rstrip(),
        "grade": f"{grade}{outcome}",
    }


def tally_markdown(papers: Iterable[Paper]) -> str:
    """Return how many of the published numbers are judged so far."""
    return fragment(Section("", prose(*TEXTS, "tally", tally=tally_of(entries_of(papers)))))


def claims_markdown(papers: Iterable[Paper]) -> str:
    """Return how many claims hold, and the most prominent of them: two of each paper, or five of a single one."""
    found = {entry.name: entry.claims for entry in entries_of(papers) if entry.claims}
    return fragment(excerpt_section(found, OF_EACH if len(found) > 1 else OF_ONE))


def audit_markdown(paper: Paper) -> str:
    """Return how many of a paper's printed numbers the audit finds impossible, and where the proofs stand."""
    counts = audit_of(paper)["audit"].value_counts()
    return fragment(Section("", prose(*TEXTS, "audit", paper=paper, counts=counts, cells=counts.sum())))


def lungs_markdown(path: Path) -> str:
    """Return the Dice and IoU of a table of masks per collection: mean, percentiles, and the ten worst images."""
    table = read_written(path, columns=["image_id", "patient_id", "view"], numbers=["dice", "iou"])
    names, rows = ("mean", "std", "min", "p5", "p25", "p50", "p75", "p95", "max"), []
    for collection, part in table.groupby(table["image_id"].str.split("/").str[0], sort=False):
        found = summarise_overlap(part)
        head = (collection, found["images"], found["patients"])
        rows += [(*head, one, *(f"{found[f'{one}_{name}']:.4f}" for name in names)) for one in ("dice", "iou")]
    worst = table.nsmallest(10, "dice")[["image_id", "view", "dice", "iou"]].round(4).astype(str)
    frame = pd.DataFrame(rows, columns=["collection", "images", "patients", "", *names])
    tables = [TableEntry("Held-out images", "", frame), TableEntry("The ten worst", "", worst)]
    return fragment(Section("", prose(*TEXTS, "lungs"), tables=tables))


def conventions_markdown(path: Path) -> str:
    """Return what the convention of masks changes, from the file that `covid-keras train-lungs` writes."""
    rows = []
    for collection, found in read_record(path).items():
        spread = (
            [f"{100 * found[f'{one}_{point}']:.1f} %" for point in ("mean", "p5", "p50", "p95")]
            for one in ("box_iou", "lost")
        )
        names = ("IoU of the two boxes", "whole lungs that the fields leave out")
        rows += [(collection, found["images"], name, *values) for name, values in zip(names, spread, strict=True)]
    frame = pd.DataFrame(rows, columns=["collection", "images", "", "mean", "p5", "p50", "p95"])
    return fragment(Section("", "", tables=[TableEntry("Fields against whole lungs", "", frame)]))
