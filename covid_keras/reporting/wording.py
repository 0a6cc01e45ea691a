"""Numbers and lists as text: two decimals, a true minus sign, a dash for NaN."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import TypeVar

import pandas as pd

from covid_keras.evaluation import Difference, Measured
from covid_keras.evaluation.uncertainty import EXACT

NOTHING = "–"
# Legend of the mark that `interval` sets.
EXACT_WORDS = "exact: Clopper-Pearson interval on patients, at 0 or 100 % where all resamples are equal"
Key = TypeVar("Key", bound=Hashable)


def number(value: float, signed: bool = False, unit: str = "percent") -> str:
    """Return one of our numbers with two decimals (a ratio with four), NaN as "–".

    >>> number(-1.234, signed=True), number(0.9984, unit="ratio")
    ('−1.23', '0.9984')
    """
    decimals = 4 if unit == "ratio" else 2
    return NOTHING if pd.isna(value) else f"{value:{'+' if signed else ''}.{decimals}f}".replace("-", "−")


def published_number(value: float, unit: str = "percent") -> str:
    """Return a paper's number with two decimals, or more if the paper prints more; NaN as "–".

    >>> published_number(76.2), published_number(72.689), published_number(float("nan"))
    ('76.20', '72.689', '–')
    >>> published_number(426, "count"), published_number(7_000_000, "count"), published_number(0.0001, "number")
    ('426', '7,000,000', '0.0001')
    """
    if pd.isna(value):
        return NOTHING
    if unit in ("count", "number"):
        return f"{value:,.12g}"
    text = repr(float(value))
    return text if "e" not in text and len(text.split(".")[-1]) > 2 else f"{value:.2f}"


def interval(low: float, high: float, signed: bool = False, unit: str = "percent", kind: str = "") -> str:
    """Return an interval in brackets, marked if exact (see `EXACT_WORDS`); "" for NaN.

    >>> interval(75.5, 84), interval(-1, 2, signed=True), interval(float("nan"), 0)
    ('[75.50, 84.00]', '[−1.00, +2.00]', '')
    >>> interval(15.8, 100, kind="exact")
    '[15.80, 100.00] exact'
    """
    return "" if pd.isna(low) else f"[{number(low, signed, unit)}, {number(high, signed, unit)}]{_mark(kind)}"


def _mark(kind: str) -> str:
    return f" {EXACT}" if kind == EXACT else ""


def with_bounds(
    mean: float, low: float, high: float, signed: bool = False, unit: str = "percent", kind: str = ""
) -> str:
    """Return a number with its interval on the line below; "–" for NaN.

    >>> with_bounds(80, 75.5, 84), with_bounds(float("nan"), 0, 0)
    ('80.00\\n[75.50, 84.00]', '–')
    """
    if pd.isna(mean):
        return NOTHING
    return f"{number(mean, signed, unit)}\n{interval(low, high, signed, unit, kind)}".rstrip()


def level(one: Measured) -> str:
    """Return a mean in percent with its interval: "80.00 % (75.50 to 84.00)"."""
    return f"{number(one.mean)} %{_in_line(one)}"


def points(one: Difference) -> str:
    """Return a difference in points with its interval: "+2.00 points (+1.00 to +3.00)"."""
    return f"{number(one.difference, signed=True)} points{_in_line(one, signed=True)}"


def _in_line(one: Measured | Difference, signed: bool = False) -> str:
    low, high = number(one.low, signed), number(one.high, signed)
    return "" if pd.isna(one.low) else f" ({low} to {high}{', exact' if one.interval == EXACT else ''})"


def percent(share: float, decimals: int = 0) -> str:
    """Return a share (0..1) in percent.

    >>> percent(0.256), percent(0.256, 1)
    ('26 %', '25.6 %')
    """
    return NOTHING if pd.isna(share) else f"{100 * share:.{decimals}f} %"


def counted(count: float, what: str) -> str:
    """Return a number with what it counts.

    >>> counted(1, "cell"), counted(2, "cell")
    ('1 cell', '2 cells')
    """
    return f"{count:g} {what}{'s' * bool(count != 1)}"


def span(values: Iterable[float]) -> str:
    """Return the range of some whole numbers.

    >>> span([3, 1, 2]), span([2, 2])
    ('1 to 3', '2')
    """
    low, high = min(values := list(values)), max(values)
    return str(low) if low == high else f"{low} to {high}"


def joined(names: Iterable[str]) -> str:
    """Return names as an enumeration.

    >>> joined(["a"]), joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def sentence(text: str) -> str:
    """Return a text with its first letter capitalised.

    >>> sentence("images of COVIDGR")
    'Images of COVIDGR'
    """
    return text[:1].upper() + text[1:]


def stopped(text: str) -> str:
    """Return a text that ends with one full stop.

    >>> stopped("made images."), stopped("made images")
    ('made images.', 'made images.')
    """
    return f"{text.rstrip('.')}."


def grouped(pairs: Iterable[tuple[Key, str]]) -> dict[Key, list[str]]:
    """Group names by key.

    >>> grouped([("why", "a"), ("other", "b"), ("why", "c")])
    {'why': ['a', 'c'], 'other': ['b']}
    """
    found: dict[Key, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return found
