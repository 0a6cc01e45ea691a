"""Printed numbers as intervals of the values that round to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from covid_keras.published.cells import PublishedCell

SHARES = ("percent", "points", "ratio")
# Tolerance for rounding in binary arithmetic, so that both ends of an interval count as inside.
SLACK = 1e-9


@dataclass(frozen=True)
class Interval:
    """All values from `low` to `high`, both ends included."""

    low: float
    high: float

    @property
    def middle(self) -> float:
        """Return the value halfway between both ends."""
        return (self.low + self.high) / 2

    def __contains__(self, value: float) -> bool:
        return self.low - SLACK <= value <= self.high + SLACK

    def holds(self, values: np.ndarray) -> np.ndarray:
        """Return whether values lie in the interval, bool of the same shape."""
        return (values >= self.low - SLACK) & (values <= self.high + SLACK)

    def meets(self, other: Interval) -> bool:
        """Return whether two intervals overlap."""
        return self.low - SLACK <= other.high and other.low - SLACK <= self.high

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    def __sub__(self, other: Interval) -> Interval:
        return Interval(self.low - other.high, self.high - other.low)

    def scaled(self, factor: float) -> Interval:
        """Return all values times a positive factor."""
        return Interval(self.low * factor, self.high * factor)


def scale_of(unit: str) -> float:
    """Return the factor from the printed number to `value_of`: percent and percentage points become fractions."""
    return 0.01 if unit in ("percent", "points") else 1.0


def last_digit(cell: PublishedCell) -> float:
    """Return the weight of the last printed digit, in the unit of `value_of`; 0 for counts, but not for their means."""
    exact = cell.unit == "count" and not cell.decimals and not cell.facts.mean_of
    return 0.0 if exact else scale_of(cell.unit) * 10.0**-cell.decimals


def value_of(cell: PublishedCell, cut: bool = False) -> Interval:
    """Return the values that round to the printed number, shares as 0..1.

    Both ends are included, so any rule for rounding halves is covered. Counts are exact. With `cut`, return the values
    that truncate to the printed number instead.
    """
    step, mean = last_digit(cell), scale_of(cell.unit) * cell.mean
    return Interval(mean, mean + step) if cut else Interval(mean - step / 2, mean + step / 2)


def share_of(cell: PublishedCell) -> Interval:
    """Return `value_of` clipped to 0..1."""
    low, high = (min(max(end, 0.0), 1.0) for end in (value_of(cell).low, value_of(cell).high))
    return Interval(low, high)


def spread_of(cell: PublishedCell) -> Interval | None:
    """Return the values that round to the printed standard deviation, shares as 0..1; None if none is printed."""
    if cell.std is None:
        return None
    scale = scale_of(cell.unit)
    half = scale * 10.0**-cell.std_decimals / 2
    return Interval(max(scale * cell.std - half, 0.0), scale * cell.std + half)


def as_printed(cell: PublishedCell) -> str:
    """Return the printed number as text, with its decimals and its unit."""
    return shown(cell, scale_of(cell.unit) * cell.mean)


def shown(cell: PublishedCell, value: float, more: int = 0) -> str:
    """Return `value` (shares as 0..1) as text in the cell's unit, with the cell's number of decimals plus `more`."""
    number = f"{value / scale_of(cell.unit):.{cell.decimals + more}f}"
    return f"{number} %" if cell.unit == "percent" else number
