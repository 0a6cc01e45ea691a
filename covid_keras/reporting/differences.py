"""Comparisons shared by the papers' reports: ours beside the printed number, and systems on the same test rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, Measured, PublishedCell
from covid_keras.reporting.wording import NOTHING, number, with_bounds

DAGGER = "†: contradicted by the paper's other numbers or its code; the comparison tables give the reason."
CHANCE = 50.0  # percent: the AUC of a coin
_EXECUTION = ["repeat", "fold"]

MeasuredOf = Mapping[tuple[str, str], Measured]


class Printed(NamedTuple):
    """A number of the paper in percent, and why it is doubtful ("" if it is not)."""

    value: float
    doubt: str


PrintedOf = Mapping[tuple[str, str], Printed]


def measured_of(measured: Iterable[Measured]) -> dict[tuple[str, str], Measured]:
    """Index measured metrics by (system, metric)."""
    return {(one.system, one.metric): one for one in measured}


def printed_of(published: Iterable[PublishedCell]) -> dict[tuple[str, str], Printed]:
    """Index the paper's numbers by (system, metric); the first of several counts.

    Evident misprints are replaced by their target. Texts and lost numbers are left out.
    """
    found: dict[tuple[str, str], Printed] = {}
    for cell in published:
        if cell.system and cell.metric and not np.isnan(cell.target):
            scale = 100 if cell.compared_unit == "ratio" else 1
            found.setdefault((cell.system, cell.metric), Printed(scale * cell.target, cell.doubt))
    return found


def standing(one: Measured | Difference, reference: float = 0.0) -> str:
    """Return whether an interval lies "above", "below" or "across" a reference; "unknown" for NaN.

    >>> standing(Difference("auc", 80, 70, 10, 2, 18, 9)), standing(Difference("auc", 80, 70, 10, -2, 18, 9))
    ('above', 'across')
    """
    if np.isnan([one.low, one.high]).any():
        return "unknown"
    return "above" if one.low > reference else "below" if one.high < reference else "across"


# --- as the tables write them


def with_interval(one: Measured | None, unit: str = "percent") -> str:
    """Return a mean with its interval on the line below; `unit` "ratio" converts from percent."""
    if one is None:
        return NOTHING
    scale = 100 if unit == "ratio" else 1
    return with_bounds(one.mean / scale, one.low / scale, one.high / scale, unit=unit, kind=one.interval)


def printed_words(one: Printed | None, unit: str = "percent") -> str:
    """Return a printed number, marked if doubtful."""
    if one is None or np.isnan(one.value):
        return NOTHING
    return number(one.value / (100 if unit == "ratio" else 1), unit=unit) + "†" * bool(one.doubt)


def measured_cells(ours: MeasuredOf, system: str, columns: Mapping[str, str]) -> dict[str, str]:
    """Return a system's means with their intervals by column; `columns` maps metric to column."""
    return {words: with_interval(ours.get((system, metric))) for metric, words in columns.items()}


def difference_of_printed(first: Printed | None, second: Printed | None) -> str:
    """Return the difference of two printed numbers, marked if either is doubtful."""
    if first is None or second is None or np.isnan([first.value, second.value]).any():
        return NOTHING
    return number(first.value - second.value, signed=True) + "†" * bool(first.doubt or second.doubt)


def difference_words(one: Difference | None) -> str:
    """Return a signed difference with its interval on the line below."""
    return NOTHING if one is None else with_bounds(one.difference, one.low, one.high, signed=True, kind=one.interval)


def forest_row(task: str, part: str, one: Measured | Difference, **more: Any) -> dict[str, Any]:
    """Return a row for `covid_keras.reporting.forest.forest_figure`: a mean or a difference."""
    mean = one.difference if isinstance(one, Difference) else one.mean
    return {"task": task, "part": part, "mean": mean, "low": one.low, "high": one.high} | more


# --- rows that two systems share


def rows_tested(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the test parts."""
    return frame[frame["split"] == "test"]


def shared_test_rows(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the test rows that two systems share; in a partial run, one may lack executions."""
    return _shared(first, second, [*_EXECUTION, "image_id"])


def shared_executions(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the test rows of two systems in the executions that both have; images may differ."""
    return _shared(first, second, _EXECUTION)


def _shared(first: pd.DataFrame, second: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    frames = rows_tested(first), rows_tested(second)
    index = [pd.MultiIndex.from_frame(frame[keys]) for frame in frames]
    return frames[0][index[0].isin(index[1])], frames[1][index[1].isin(index[0])]
