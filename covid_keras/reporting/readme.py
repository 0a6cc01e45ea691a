"""What the READMEs show of the committed results, as Markdown: everything of a profile, an excerpt, audit, lungs."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation.overlap import summarise_overlap
from covid_keras.evaluation.possibility import NO_TARGETS
from covid_keras.paper.paper import Paper
from covid_keras.published.facts import table_title
from covid_keras.reporting.audits import audit_caption, audit_of, audit_section
from covid_keras.reporting.comparisons import against, legend
from covid_keras.reporting.document import Section, TableEntry
from covid_keras.reporting.prose import prose
from covid_keras.reporting.renderer import fragment
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import AUDIT_SIGNS, VERDICTS, Cell, measured_table, paper_tables
from covid_keras.reporting.wording import NOTHING

EXCERPT = ("sensitivity", "specificity", "accuracy")
TEXTS = ("covid_keras.reporting", "results.md")


def results_markdown(paper: Paper, profile: str) -> str:
    """Return a profile's committed results: the paper's tables with ours beside, then all metrics."""
    found = Results.committed(paper, profile)
    rows = _rows(found)
    tables = [against(table)._replace(what="(paper \\| ours)") for table in paper_tables(rows) if table.measured]
    everything = TableEntry("All that was measured", "", measured_table(found.measured, found.titles))
    head = prose(*TEXTS, "readme", source=found.provenance)
    return fragment(Section("", head, against=tables), Section("", legend(rows), tables=[everything]))


def excerpt_markdown(paper: Paper, profile: str) -> str:
    """Return a few committed numbers: one table, sensitivity, specificity and accuracy, one line of legend.

    The table is the one that holds the most of these of ours, of several the one with the most of the paper's own
    systems, of these the first; of its rows those that were measured.
    """
    found = Results.committed(paper, profile)
    rows = _rows(found)
    # A confusion matrix is read as a whole or not at all.
    rows = rows[rows["ours"].notna() & rows["metric"].isin(EXCERPT) & (rows["paper_text"] == "")]
    if rows.empty:
        raise UserError(paper.name, f"has no {', '.join(EXCERPT)} in its results of {profile}", "Take the full place")
    tables = rows.assign(own=rows["system"].where(rows["system"].isin(found.report.proposed)))
    tables = tables.groupby("table", sort=False)[["metric", "own"]].nunique()
    rows = rows[rows["table"] == tables.apply(tuple, axis=1).idxmax()]
    columns = rows.sort_values("metric", key=lambda names: names.map(EXCERPT.index))["column"].unique()
    (table,) = paper_tables(rows)
    lines = [
        {"system": f"{row}, {whose}"} | {column: text(table.cells.get((row, column))) for column in columns}
        for row in table.rows
        for whose, text in (("paper", _paper_text), ("ours", _our_text))
    ]
    kinds = dict.fromkeys(cell.kind for cell in table.cells.values())
    audited = {cell.audit_sign for cell in table.cells.values()}
    signs = [" ".join(VERDICTS[kind]) for kind in kinds]
    signs += [f"{sign} {meaning}" for sign, meaning in AUDIT_SIGNS.values() if sign and sign in audited]
    words = prose(*TEXTS, "excerpt", title=found.published_titles[table.name], source=found.provenance, signs=signs)
    unit = "shares of 1" if set(rows["unit"]) == {"ratio"} else "percent"
    entry = TableEntry(f"{table_title(table.name)}, {unit}", words, pd.DataFrame(lines))
    return fragment(Section("", tables=[entry]))


def audit_markdown(paper: Paper) -> str:
    """Return what the audit says of a paper's printed numbers: the counts, then every cell.

    What is no target stands open with its proof, the rest is folded.
    """
    section = audit_section(audit_of(paper), opened=NO_TARGETS)
    section.title, section.text = "", f"{section.text} {audit_caption()}"
    return fragment(section)


def lungs_markdown(path: Path) -> str:
    """Return the Dice and IoU of a table of masks: mean, percentiles, and the ten worst images."""
    table = pd.read_csv(path)
    found = summarise_overlap(table)
    names = ("mean", "std", "min", "p5", "p25", "p50", "p75", "p95", "max")
    rows = [[measure, *(f"{found[f'{measure}_{name}']:.4f}" for name in names)] for measure in ("dice", "iou")]
    worst = table.head(10)[["image_id", "view", "dice", "iou"]].round(4).astype(str)
    text = prose(*TEXTS, "lungs", images=found["images"], patients=found["patients"])
    frame = pd.DataFrame(rows, columns=["", *names])
    return fragment(
        Section("", text, tables=[TableEntry("All images", "", frame), TableEntry("The ten worst", "", worst)])
    )


def _rows(found: Results) -> pd.DataFrame:
    """Return the published cells of the systems that were measured or left out."""
    return found.comparison[found.comparison["system"].isin({*found.left_out, *found.titles})]


def _paper_text(cell: Cell | None) -> str:
    return cell.paper + cell.audit_sign if cell else NOTHING


def _our_text(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    return " ".join(part for part in (f"**{cell.ours}**", cell.interval, cell.symbol) if part)
