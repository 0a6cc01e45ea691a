"""Compare published cells with measurements and give each a verdict."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation.possibility import NO_TARGETS, Audited, AuditVerdict
from covid_keras.evaluation.summary import Measured
from covid_keras.evaluation.verdicts import (
    LOST,
    NO_COUNTERPART,
    NOT_RUN,
    UNDEFINED,
    Grade,
    Grading,
    Outcome,
    Verdict,
    as_published,
)
from covid_keras.published.cells import PublishedCell
from covid_keras.published.facts import Place

COMPARISON_COLUMNS = (
    "table", "row", "column", "paper", "paper_std", "ours", "ours_std", "low", "high",
    "difference", "tolerance", "verdict", "doubt", "executions", "target", "unit", "system", "metric",
    "paper_low", "paper_high", "paper_text", "grade", "outcome", "reason", "interval",
)  # fmt: skip
AUDIT_COLUMNS = ("audit", "audit_reason", "proof")
# For two classes, the off-diagonal cells of the confusion matrix are complements of the diagonal.
COMPLEMENTS = {"false_negative_rate": "sensitivity", "false_positive_rate": "specificity"}
DEFAULT = "default"

logger = logging.getLogger(__name__)


def compare(
    published: Iterable[PublishedCell],
    measured: Iterable[Measured],
    tolerance: float | Mapping[str, float],
    grading: Grading = as_published,
    not_run: Mapping[str, str] | None = None,
    audit: Mapping[Place, Audited] | None = None,
) -> pd.DataFrame:
    """Compare published cells with measurements.

    Parameters
    ----------
    published : iterable of PublishedCell
        From `load_published`.
    measured : iterable of Measured
        From `summarise`, matched by (system, metric). Published cells may also name `COMPLEMENTS` (100 % minus the
        metric), such as `false_positive_rate`.
    tolerance : float or mapping
        Tolerance in percentage points, set in the protocol before the run: one value, or one per metric with an
        optional "default".
    grading : callable
        (system, table) -> `Grade` and reason. Stand-ins are shown but not judged. Default: all are reproductions.
    not_run : mapping, optional
        System to the reason why it was not run. Default: "not run".
    audit : mapping, optional
        (table, row, column) to the finding of `covid_keras.audit`. A number that is impossible or explained otherwise
        is not used as a target, unless the file of published numbers names a target.

    Returns
    -------
    pandas.DataFrame
        One row per published cell, in the paper's order, with the columns `COMPARISON_COLUMNS`:
        `paper` is the printed value (for a confusion matrix, the percentage of the row), `paper_low` and `paper_high`
        its interval if printed. `paper_text` is the printed text if it is not just a number ("Yes", "598 of 603", or a
        note that it is lost). `difference` is `ours` - `target`; all are in `unit` (a "ratio" is 0..1). `ours` is NaN
        with 0 executions for cells that were not measured; `paper`, `target` and `difference` are NaN for lost cells.
        `interval` is the kind of interval (see `Measured`). `grade`, `outcome` and `reason` are those of `Verdict` (""
        for None), `verdict` is the text. Outcomes: `reproduced` (|difference| <= tolerance), `within interval` (low <=
        target <= high), `not reproduced`. With `audit`, the columns `AUDIT_COLUMNS` are appended. The finding for a
        rejected target becomes the reason ("impossible as printed: ..." or "not as printed: ..."), or is added to the
        doubt if there is another reason or the printed number is the target nevertheless.

    Raises
    ------
    UserError
        If a (system, metric) is measured twice, or a tolerance is missing, negative or for an unknown metric.
    """
    cells, found = list(published), _by_key(measured)
    metrics = {cell.metric for cell in cells if cell.metric} | {metric for _, metric in found}
    tolerances = _tolerances(tolerance, metrics)
    for system in sorted({system for system, _ in found} - {cell.system for cell in cells}):
        logger.info("no published cell names the system %s; it is not in the comparison", system)
    rows = []
    for cell in cells:
        ours = _counterpart(cell, found)
        row = _row(cell, ours, tolerances)
        verdict = _verdict(cell, ours, row, grading, (not_run or {}).get(cell.system, ""))
        if audit is not None:
            said = audit.get((cell.table, cell.row, cell.column), Audited())
            verdict, row["doubt"] = _audited(verdict, cell, said)
            row |= dict(zip(AUDIT_COLUMNS, said, strict=True))
        rows.append(row | {"verdict": str(verdict)} | {name: value or "" for name, value in asdict(verdict).items()})
    columns = [*COMPARISON_COLUMNS, *(AUDIT_COLUMNS if audit is not None else ())]
    return pd.DataFrame(rows, columns=columns)


def verdict_of(row: Mapping[str, Any]) -> Verdict:
    """Return the verdict of a row of the comparison, also when read from CSV ("" becomes NaN)."""
    grade, outcome, reason = ("" if pd.isna(row[name]) else row[name] for name in ("grade", "outcome", "reason"))
    return Verdict(Grade(grade) if grade else None, Outcome(outcome) if outcome else None, str(reason))


def _audited(verdict: Verdict, cell: PublishedCell, said: Audited) -> tuple[Verdict, str]:
    """Add the audit finding to a cell's verdict as its reason, or else to its doubt.

    A target named in the file of published numbers is not audited.
    """
    if cell.target != cell.value or said.verdict not in NO_TARGETS:
        return verdict, cell.doubt
    explained = said.verdict == AuditVerdict.EXPLAINED
    words = f"not as printed: {said.reason}" if explained else "impossible as printed"
    if verdict.outcome and not cell.target_named:
        reason = words if explained else f"{words}: {_first_sentence(said.proof)}"
        return Verdict(verdict.grade, None, reason), cell.doubt
    if (said.reason if explained else str(said.verdict)).lower() in cell.doubt.lower():
        return verdict, cell.doubt
    return verdict, f"{cell.doubt} Audit: {words}.".strip()


def _first_sentence(text: str) -> str:
    """Return the first sentence of a text, without its full stop.

    >>> _first_sentence("No whole number of 120 is 96.1 %. TP 3 does so.")
    'No whole number of 120 is 96.1 %'
    """
    return re.split(r"\.\s+(?=[A-Z])", text, maxsplit=1)[0].rstrip(".")


def _by_key(measured: Iterable[Measured]) -> dict[tuple[str, str], Measured]:
    found: dict[tuple[str, str], Measured] = {}
    for one in measured:
        if (one.system, one.metric) in found:
            raise UserError("measured", f"{one.metric} of {one.system} is repeated", "Pass each summary once")
        found[one.system, one.metric] = one
    return found


def _counterpart(cell: PublishedCell, found: Mapping[tuple[str, str], Measured]) -> Measured | None:
    """Return the measurement for a cell; for a complement, 100 % minus value and interval."""
    if (cell.system, cell.metric) in found or cell.metric not in COMPLEMENTS:
        return found.get((cell.system, cell.metric))
    one = found.get((cell.system, COMPLEMENTS[cell.metric]))
    return one and replace(one, metric=cell.metric, mean=100 - one.mean, low=100 - one.high, high=100 - one.low)


def _tolerances(tolerance: float | Mapping[str, float], metrics: set[str]) -> dict[str, float]:
    given = dict(tolerance) if isinstance(tolerance, Mapping) else {DEFAULT: tolerance}
    if unknown := sorted(set(given) - metrics - {DEFAULT}):
        raise UserError("tolerance", f"has the unknown metric {unknown[0]!r}", "Correct the protocol")
    if missing := sorted(metrics - set(given)) if DEFAULT not in given else []:
        raise UserError("tolerance", f"is missing for {missing[0]}", f"Add it, or {DEFAULT!r}, to the protocol")
    for name, value in given.items():
        if not (isinstance(value, int | float) and value >= 0):
            raise UserError(
                "tolerance", f"{name} must be at least 0 percentage points (got {value!r})", "Correct the protocol"
            )
    return {metric: float(given.get(metric, given.get(DEFAULT, math.nan))) for metric in metrics}


def _row(cell: PublishedCell, ours: Measured | None, tolerances: Mapping[str, float]) -> dict[str, Any]:
    """Return the row of a cell, without verdict."""
    scale = 0.01 if cell.unit == "ratio" else 1.0
    mean, std, low, high = (
        (scale * value for value in (ours.mean, ours.std, ours.low, ours.high)) if ours else [math.nan] * 4
    )
    return {
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "paper": cell.value,
        "paper_std": math.nan if cell.std is None else cell.std,
        "ours": mean,
        "ours_std": std,
        "low": low,
        "high": high,
        "difference": mean - cell.target,
        "tolerance": scale * tolerances[cell.metric] if cell.metric else math.nan,
        "doubt": cell.doubt,
        "executions": ours.executions if ours else 0,
        "target": cell.target,
        "unit": cell.compared_unit,
        "system": cell.system,
        "metric": cell.metric,
        "paper_low": math.nan if cell.low is None else cell.low,
        "paper_high": math.nan if cell.high is None else cell.high,
        "paper_text": cell.printed,
        "interval": ours.interval if ours else "",
    }


def _verdict(
    cell: PublishedCell, ours: Measured | None, row: Mapping[str, Any], grading: Grading, not_run: str
) -> Verdict:
    if cell.lost:
        return Verdict(None, None, LOST)
    if not (cell.system and cell.metric):
        return Verdict(None, None, NO_COUNTERPART)
    if ours is None:
        return Verdict(None, None, not_run or NOT_RUN)
    grade, reason = grading(cell.system, cell.table)
    if grade == Grade.STAND_IN:
        return Verdict(grade, None, reason)
    if math.isnan(row["ours"]):
        return Verdict(None, None, UNDEFINED)
    # Rounded, so that a decimal difference equal to the tolerance counts as within it.
    if abs(row["ours"] - cell.target) <= row["tolerance"] + 1e-9:
        return Verdict(grade, Outcome.REPRODUCED, reason)
    inside = row["low"] <= cell.target <= row["high"]
    return Verdict(grade, Outcome.WITHIN_INTERVAL if inside else Outcome.NOT_REPRODUCED, reason)
