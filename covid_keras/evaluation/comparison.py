"""Paper against ours, cell by cell, with a verdict."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation.summary import Measured
from covid_keras.published.cells import LOST_TEXT, PublishedCell
from covid_keras.published.facts import Place

REPRODUCED = "reproduced"
WITHIN_INTERVAL = "within interval"
NOT_REPRODUCED = "not reproduced"
NOT_COMPARABLE = "not comparable ({reason})"
NOT_RUN = NOT_COMPARABLE.format(reason="not run")
NO_COUNTERPART = NOT_COMPARABLE.format(reason="no counterpart")
UNDEFINED = NOT_COMPARABLE.format(reason="undefined in what we measured")
NOT_IN_TEXT = NOT_COMPARABLE.format(reason=LOST_TEXT)

COMPARISON_COLUMNS = (
    "table", "row", "column", "paper", "paper_std", "ours", "ours_std", "low", "high",
    "difference", "tolerance", "verdict", "doubt", "executions", "target", "unit", "system", "metric",
    "paper_low", "paper_high", "paper_text",
)  # fmt: skip
# In two classes what is not on the diagonal of the confusion matrix is the rest of its row.
COMPLEMENTS = {"false_negative_rate": "sensitivity", "false_positive_rate": "specificity"}
DEFAULT = "default"
# How `covid_keras.audit`, which builds on this package, begins what it says of a number that is no target.
_IMPOSSIBLE, _EXPLAINED = "impossible", "explained by "
_OTHER_DATA = "measured on other data"

logger = logging.getLogger(__name__)


def compare(
    published: Iterable[PublishedCell],
    measured: Iterable[Measured],
    tolerance: float | Mapping[str, float],
    comparable: bool | str | Mapping[str, bool | str] = True,
    not_run: Mapping[str, str] | None = None,
    audit: Mapping[Place, tuple[str, str]] | None = None,
) -> pd.DataFrame:
    """Set what we measured beside what a paper prints.

    Parameters
    ----------
    published : iterable of PublishedCell
        From `load_published`.
    measured : iterable of Measured
        From `summarise`; matched by (system, metric). Published cells may also name the `COMPLEMENTS` of what was
        measured, 100 % less the metric, such as `false_positive_rate`.
    tolerance : float or mapping
        Percentage points, from the protocol, set before the run: one for all, or one a metric with an
        optional "default".
    comparable : bool, str or mapping
        True where we measured on the paper's data in the paper's way. Else the reason why not (False:
        "measured on other data"): every measured cell gets the verdict "not comparable (reason)" and is shown
        all the same. A mapping gives it for each system, the others are comparable.
    not_run : mapping, optional
        System to the reason why it was not run; without one the verdict says "not run" alone.
    audit : mapping, optional
        (table, row, column) to the verdict and the proof of `covid_keras.audit`. A number that is impossible as
        printed, or explained by something else, is no target unless the file of printed numbers names one.

    Returns
    -------
    pandas.DataFrame
        A row a published cell, in the paper's order, the columns `COMPARISON_COLUMNS`. `paper` is as printed
        (a cell of a confusion matrix: its percentage of the row), with `paper_low` and `paper_high` where the paper
        prints an interval; `paper_text` is what is printed where the number alone does not say it ("Yes",
        "598 of 603"), or that it is lost, else "". `target` is what `difference` = `ours` - `target` is taken from;
        all in `unit` (a "ratio" is 0..1). Cells that were not measured have NaN for `ours` and 0 executions; those
        that the paper's text has lost have NaN for `paper`, `target` and `difference`, and the verdict "not comparable
        (not published in the text)" whether we measured them or not. Verdicts: `reproduced` (|difference| <=
        tolerance), `within interval` (low <= target <= high), `not reproduced`, `not comparable (reason)`.
        With an `audit` the columns `audit` and `proof` come last; of a number that is no target the reason is
        "impossible as printed: ..." or "not as printed: ..."; where there is another reason already, or the printed
        number is named as the target nevertheless, the doubt says it.

    Raises
    ------
    UserError
        For a (system, metric) measured twice; a tolerance that is missing, negative or for no known metric.
    """
    cells, found = list(published), _by_key(measured)
    metrics = {cell.metric for cell in cells if cell.metric} | {metric for _, metric in found}
    tolerances = _tolerances(tolerance, metrics)
    for system in sorted({system for system, _ in found} - {cell.system for cell in cells}):
        logger.info("no published cell names the system %s; it is not in the comparison", system)
    rows = [_row(cell, _counterpart(cell, found), tolerances, comparable) for cell in cells]
    for row, cell in zip(rows, cells, strict=True):
        if row["verdict"] == NOT_RUN and (reason := (not_run or {}).get(cell.system)):
            row["verdict"] = NOT_COMPARABLE.format(reason=reason)
    if audit is None:
        return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))
    rows = [
        _audited(row, cell, *audit.get((cell.table, cell.row, cell.column), ("", "")))
        for row, cell in zip(rows, cells, strict=True)
    ]
    return pd.DataFrame(rows, columns=[*COMPARISON_COLUMNS, "audit", "proof"])


def _audited(row: dict[str, object], cell: PublishedCell, audit: str, proof: str) -> dict[str, object]:
    """Return a row with what the audit says: as its verdict where it would be judged, else in its doubt, once."""
    row = row | {"audit": audit, "proof": proof}
    # Another value that the file names was not audited.
    if cell.target != cell.value or not audit.startswith((_IMPOSSIBLE, _EXPLAINED)):
        return row
    what = audit.removeprefix(_EXPLAINED) if audit.startswith(_EXPLAINED) else ""
    word = f"not as printed: {what}" if what else "impossible as printed"
    if not cell.target_named and row["verdict"] in (REPRODUCED, WITHIN_INTERVAL, NOT_REPRODUCED):
        reason = word if what else f"{word}: {_first_sentence(proof)}"
        return row | {"verdict": NOT_COMPARABLE.format(reason=reason)}
    if (what or _IMPOSSIBLE).lower() in cell.doubt.lower():
        return row
    return row | {"doubt": f"{cell.doubt} Audit: {word}.".strip()}


def _first_sentence(text: str) -> str:
    """Return a text up to its first full stop, without it; a decimal point is none.

    >>> _first_sentence("No whole number of 120 is 96.1 %. TP 3 does so.")
    'No whole number of 120 is 96.1 %'
    """
    return re.split(r"\.\s+(?=[A-Z])", text, maxsplit=1)[0].rstrip(".")


def comparison_records(comparison: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows of a comparison as plain dicts for JSON: NaN is None."""
    return comparison.astype(object).where(comparison.notna(), None).to_dict("records")


def _by_key(measured: Iterable[Measured]) -> dict[tuple[str, str], Measured]:
    found: dict[tuple[str, str], Measured] = {}
    for one in measured:
        if (one.system, one.metric) in found:
            raise UserError("measured", f"{one.metric} of {one.system} is there twice", "Pass each summary once")
        found[one.system, one.metric] = one
    return found


def _counterpart(cell: PublishedCell, found: Mapping[tuple[str, str], Measured]) -> Measured | None:
    """Return what was measured for a cell; of a complement the rest of 100 %, the interval's bounds change places."""
    if (cell.system, cell.metric) in found or cell.metric not in COMPLEMENTS:
        return found.get((cell.system, cell.metric))
    one = found.get((cell.system, COMPLEMENTS[cell.metric]))
    return one and replace(one, metric=cell.metric, mean=100 - one.mean, low=100 - one.high, high=100 - one.low)


def _tolerances(tolerance: float | Mapping[str, float], metrics: set[str]) -> dict[str, float]:
    given = dict(tolerance) if isinstance(tolerance, Mapping) else {DEFAULT: tolerance}
    if unknown := sorted(set(given) - metrics - {DEFAULT}):
        raise UserError("tolerance", f"names {unknown[0]!r}, which is no metric here", "Correct the protocol")
    if missing := sorted(metrics - set(given)) if DEFAULT not in given else []:
        raise UserError("tolerance", f"is not given for {missing[0]}", f"Add it, or {DEFAULT!r}, to the protocol")
    for name, value in given.items():
        if not (isinstance(value, int | float) and value >= 0):
            raise UserError("tolerance", f"{name}: {value!r} is no number of points", "Correct the protocol")
    return {metric: float(given.get(metric, given.get(DEFAULT, math.nan))) for metric in metrics}


def _row(
    cell: PublishedCell,
    ours: Measured | None,
    tolerances: Mapping[str, float],
    comparable: bool | str | Mapping[str, bool | str],
) -> dict[str, object]:
    scale = 0.01 if cell.unit == "ratio" else 1.0
    mean, std, low, high = (
        (scale * value for value in (ours.mean, ours.std, ours.low, ours.high)) if ours else [math.nan] * 4
    )
    limit = scale * tolerances[cell.metric] if cell.metric else math.nan
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
        "tolerance": limit,
        "verdict": _verdict(cell, ours, (mean, low, high), limit, comparable),
        "doubt": cell.doubt,
        "executions": ours.executions if ours else 0,
        "target": cell.target,
        "unit": cell.compared_unit,
        "system": cell.system,
        "metric": cell.metric,
        "paper_low": math.nan if cell.low is None else cell.low,
        "paper_high": math.nan if cell.high is None else cell.high,
        "paper_text": cell.printed,
    }


def _verdict(
    cell: PublishedCell,
    ours: Measured | None,
    values: tuple[float, float, float],
    limit: float,
    comparable: bool | str | Mapping[str, bool | str],
) -> str:
    if cell.lost:
        return NOT_IN_TEXT
    if not (cell.system and cell.metric):
        return NO_COUNTERPART
    if ours is None:
        return NOT_RUN
    state = comparable.get(cell.system, True) if isinstance(comparable, Mapping) else comparable
    if state is not True:
        return NOT_COMPARABLE.format(reason=state or _OTHER_DATA)
    mean, low, high = values
    if math.isnan(mean):
        return UNDEFINED
    # Decimal numbers of two or three places: a difference that equals the tolerance on paper is within it.
    if abs(mean - cell.target) <= limit + 1e-9:
        return REPRODUCED
    return WITHIN_INTERVAL if low <= cell.target <= high else NOT_REPRODUCED
