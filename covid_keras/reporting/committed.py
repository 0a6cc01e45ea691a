"""What is committed below `papers/<paper>/results/`, read back, and its numbers as Markdown for the READMEs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd
import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.evaluation import Measured, compare, load_published, measured_from_json
from covid_keras.paper.paper import Paper
from covid_keras.published.cells import load_titles
from covid_keras.reporting.audits import audit_of, audited_places
from covid_keras.reporting.paper_report import report_of
from covid_keras.reporting.tables import (
    AUDIT_SIGNS,
    VERDICTS,
    Cell,
    comparison_pivot,
    left_out_line,
    markdown_table,
    measured_table,
    not_comparable_line,
    paper_tables,
    table_title,
    verdict_legend,
)
from covid_keras.reporting.wording import NOTHING

EXCERPT = ("sensitivity", "specificity", "accuracy")


@dataclass(frozen=True)
class Committed:
    """The committed results of a paper in one profile.

    Attributes
    ----------
    paper : Paper
    profile : str
    source : dict
        The provenance, as `covid_keras.reporting.results.results_json` writes it.
    measured : list of Measured
    """

    paper: Paper
    profile: str
    source: dict[str, Any]
    measured: list[Measured]

    @classmethod
    def read(cls, paper: Paper, profile: str) -> Committed:
        """Read `results/<profile>.json` of a paper; raise `UserError` where it is missing or of another layout."""
        path = paper.folder / "results" / f"{profile}.json"
        value = read_json(path)
        return cls(paper, profile, value["provenance"], measured_from_json(value, str(path)))

    @cached_property
    def systems(self) -> dict[str, str]:
        """What was measured, systems and stages: name to title.

        Of a stage that is the row of the paper's, where all its numbers stand in rows of one name, else its name.
        """
        titles = {system.name: system.title for system in self.paper.systems}
        rows = self.comparison.groupby("system")["row"].unique()
        return {
            name: titles.get(name) or (str(rows[name][0]) if name in rows and len(rows[name]) == 1 else name)
            for name in dict.fromkeys(one.system for one in self.measured)
        }

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """Every published cell beside what was measured.

        The tolerance is the one of the run's own protocol, which was set before it; today's may be another.
        """
        return compare(
            load_published(self.paper.folder / "published.yaml"),
            self.measured,
            yaml.safe_load(self.source["protocol"])["tolerance"],
            self.source["comparable"],
            self.left_out,
            audited_places(audit_of(self.paper)),
            self.source.get("surrogates"),
        )

    @cached_property
    def rows(self) -> pd.DataFrame:
        """The published cells of the systems that were measured or left out."""
        return self.comparison[self.comparison["system"].isin({*self.left_out, *self.systems})]

    @property
    def left_out(self) -> dict[str, str]:
        """The systems that could not be run, and why."""
        return self.source.get("left_out", {})

    @property
    def reason(self) -> str:
        """Why nothing is comparable with the paper, as a sentence after a space; "" where it is."""
        if self.source["comparable"] is True:
            return ""
        return f" Not comparable with the paper: {str(self.source['comparable']).rstrip('.')}."


def committed_profiles(paper: Paper) -> list[str]:
    """Return the profiles of which results of a paper are committed, the most demanding first."""
    return [profile for profile in paper.profiles if (paper.folder / "results" / f"{profile}.json").is_file()]


def results_markdown(paper: Paper, profile: str) -> str:
    """Return a profile's committed results as Markdown: the paper's tables with ours beside, then all metrics."""
    found = Committed.read(paper, profile)
    source, pivots = found.source, comparison_pivot(found.rows)
    tables = [
        f"**{table_title(table.name)}**: paper \\| ours\n\n{markdown_table(pivots[table.name].reset_index())}"
        + "".join(f"\n{line}\n" for line in (not_comparable_line(table), left_out_line(table)) if line)
        for table in paper_tables(found.rows)
        if table.measured
    ]
    counts = ", ".join(f"{name} {count}" for name, count in source["cohort_counts"].items())
    head = (
        f"Profile `{profile}`, {source['executions']} executions, {counts} images, "
        f"{source['training_hours']:.2f} hours of training on {source['trained_on']['cores']} cores "
        f'(code at {", ".join(source["training_revisions"])}; "+changes": uncommitted edits beside).{found.reason}\n'
    )
    everything = f"**All that was measured**\n\n{markdown_table(measured_table(found.measured, found.systems))}"
    return "\n".join([head, *tables, verdict_legend(found.rows), "", everything])


def excerpt_markdown(paper: Paper, profile: str) -> str:
    """Return a few committed numbers as Markdown: one table, sensitivity, specificity and accuracy, one line of legend.

    The table is the one that holds the most of these of ours, of several the one with the most of the paper's own
    systems, of these the first; of its rows those that were measured.
    """
    found = Committed.read(paper, profile)
    rows = found.rows
    # A confusion matrix is read as a whole or not at all.
    rows = rows[rows["ours"].notna() & rows["metric"].isin(EXCERPT) & (rows["paper_text"] == "")]
    if rows.empty:
        raise UserError(paper.name, f"has no {', '.join(EXCERPT)} in its results of {profile}", "Take the full place")
    tables = rows.assign(own=rows["system"].where(rows["system"].isin(report_of(paper).proposed)))
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
    legend = "; ".join(" ".join(VERDICTS[kind]) for kind in kinds)
    used = {cell.audit_sign for cell in table.cells.values()}
    legend += "".join(f"; {sign} {meaning}" for sign, meaning in AUDIT_SIGNS.values() if sign and sign in used)
    what = load_titles(paper.folder / "published.yaml")[table.name].rstrip(".")
    unit = "shares of 1" if set(rows["unit"]) == {"ratio"} else "percent"
    return (
        f"{table_title(table.name)}, {unit}:\n\n{markdown_table(pd.DataFrame(lines))}\n"
        f"{what}. Paper: as printed. Ours: profile `{profile}`, {found.source['executions']} executions in all, mean "
        f"and [95 % interval by patient]. {legend}.{found.reason}\n"
    )


def _paper_text(cell: Cell | None) -> str:
    return cell.paper + cell.audit_sign if cell else NOTHING


def _our_text(cell: Cell | None) -> str:
    if cell is None:
        return NOTHING
    return " ".join(part for part in (f"**{cell.ours}**", cell.interval, cell.symbol) if part)
