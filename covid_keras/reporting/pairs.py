"""What the sections of papers have in common: ours and the printed number by system and metric, and their words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, Measured, PublishedCell
from covid_keras.reporting.wording import NOTHING, number

DAGGER = "†: the paper's own numbers, or its code, speak against the printed one; the tables of the comparison say why."
_EXECUTION = ["repeat", "fold"]

MeasuredOf = Mapping[tuple[str, str], Measured]


class Printed(NamedTuple):
    """A number of the paper in percent, and why it is to be distrusted ("" where nothing speaks against it)."""

    value: float
    doubt: str


PrintedOf = Mapping[tuple[str, str], Printed]


def measured_of(measured: Iterable[Measured]) -> dict[tuple[str, str], Measured]:
    """Return what was measured by (system, metric)."""
    return {(one.system, one.metric): one for one in measured}


def printed_of(published: Iterable[PublishedCell]) -> dict[tuple[str, str], Printed]:
    """Return what the paper prints by (system, metric), the first of several; of an evident slip what is meant.

    What is no number, or is lost, is left out.
    """
    found: dict[tuple[str, str], Printed] = {}
    for cell in published:
        if cell.system and cell.metric and not np.isnan(cell.target):
            scale = 100 if cell.compared_unit == "ratio" else 1
            found.setdefault((cell.system, cell.metric), Printed(scale * cell.target, cell.doubt))
    return found


def with_interval(one: Measured | None) -> str:
    """Return a mean with its interval on the line below."""
    return interval_words(np.nan, np.nan, np.nan) if one is None else interval_words(one.mean, one.low, one.high)


def interval_words(mean: float, low: float, high: float) -> str:
    """Return a number with its interval on the line below, or the sign for nothing.

    >>> interval_words(80, 75.5, 84), interval_words(float("nan"), 0, 0)
    ('80.00\\n[75.50, 84.00]', '–')
    """
    return NOTHING if np.isnan(mean) else f"{number(mean)}\n[{number(low)}, {number(high)}]"


def printed_words(one: Printed | None) -> str:
    """Return a printed number with a mark where it is doubtful."""
    return NOTHING if one is None or np.isnan(one.value) else number(one.value) + "†" * bool(one.doubt)


def difference_of_printed(first: Printed | None, second: Printed | None) -> str:
    """Return what is printed first less what is printed second; with a mark where either is doubtful."""
    if first is None or second is None or np.isnan([first.value, second.value]).any():
        return NOTHING
    return number(first.value - second.value, signed=True) + "†" * bool(first.doubt or second.doubt)


def difference_words(one: Difference) -> str:
    """Return a difference, signed, with its interval on the line below."""
    if np.isnan(one.difference):
        return NOTHING
    low, high = (number(value, signed=True) for value in (one.low, one.high))
    return f"{number(one.difference, signed=True)}\n[{low}, {high}]"


def rows_tested(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the test parts."""
    return frame[frame["split"] == "test"]


def shared_test_rows(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the test rows of two systems that stand in both: of a partial run some executions stand in one only."""
    return _shared(first, second, [*_EXECUTION, "image_id"])


def shared_executions(first: pd.DataFrame, second: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the test rows of two systems in the executions that both have, whatever their images."""
    return _shared(first, second, _EXECUTION)


def _shared(first: pd.DataFrame, second: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    frames = rows_tested(first), rows_tested(second)
    index = [pd.MultiIndex.from_frame(frame[keys]) for frame in frames]
    return frames[0][index[0].isin(index[1])], frames[1][index[1].isin(index[0])]
