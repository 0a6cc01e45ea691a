"""Read and validate `published.yaml`, the published numbers of a paper.

Layout of the file (numbers are written exactly as printed, with all decimals)::

    paper: {title: ..., authors: [...], journal: ..., year: ..., doi: ..., citation: ...}
    tables:
      - table: "V"                 # the paper's own name
        title: what it shows       # (optional)
        unit: percent              # one of Unit; a column, row or cell may override it
        doubt: a reason to distrust the whole table (optional)
        columns:
          - {name: N Specificity, metric: specificity}
        rows:
          - row: With seg. (ResNet-50)
            system: resnet50_crop  # our system that this row is compared with (optional)
            values: [78.41 ± 7.09] # one per column, "-" if nothing is printed; or {column: value, ...}
            cells:                 # settings of single cells (optional)
              N Specificity: {target: 78.4, doubt: why}

`paper` may be omitted if the file is only audited. Names of metrics are those of `covid_keras.published.metrics`, which
accepts common aliases (recall, PPV) and rejects other names.

`metric` may be given at the column, row or cell, `unit` also at the table, `system` at the row or cell, `doubt` and
`source` (where in the paper) at the table, row or cell. The closest one counts, except that doubts add up. `target`, at
a cell, is the value to compare with if the printed one is an obvious slip. `target: printed`, at a cell or column,
keeps the printed number as the target although the audit rejects it: because our metric is what the paper really
printed, whatever it calls it, or because the number is wrong in its last digit only.

An interval is written as the paper prints it, `98.68 [94.0, 99.3]`. A word (`Yes`) has the unit `text`. A confusion
matrix is a table of counts whose rows name their class with `actual` and whose columns with `predicted`. Its cells are
compared as a percentage of their row, because test sets differ in size; the default metric is
`confusion_<actual>_<predicted>`.

The value `lost` marks a number that the paper prints, but that its available text lacks (a missing table body, a
figure). Unlike "-", it keeps the cell with system, metric and unit: reports show "not published in the text" beside our
number and do not judge it. A row of a confusion matrix is lost as a whole or not at all.

`audit`, at a table, column, row or cell, states further facts for the audit: the number of images behind a share, the
number of trainings behind a mean, the cells that a total adds up. Its keys are described in
`covid_keras.published.facts`; comparison and reports ignore it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import MinLen
from pydantic import AfterValidator

from covid_keras.common.errors import UserError
from covid_keras.common.settings import as_plain, build, read_yaml, unknown_key
from covid_keras.published.facts import NO_FACTS, Facts, place_text, read_facts
from covid_keras.published.metrics import FAMILIES, NAMES, metric_name

Unit = Literal["percent", "points", "count", "ratio", "number", "text"]

_POSITIVE = r"\d{1,15}(?:\.\d{1,15})?"  # digits that a float holds exactly
_DECIMAL = f"-?{_POSITIVE}"
_NUMBER = re.compile(rf"({_DECIMAL})(?:\s*(?:±|\+-)\s*({_POSITIVE}))?(?:\s*\[\s*({_DECIMAL})\s*,\s*({_DECIMAL})\s*\])?")
TEXT = "text"
LOST_TEXT = "not published in the text"
CONFUSION = "confusion_{actual}_{predicted}"
_Numbers = tuple[str | None, str | None, str | None, str | None]
_NO_NUMBERS: _Numbers = (None, None, None, None)
_NOT_PRINTED, _LOST, _AS_PRINTED = "-", "lost", "printed"
_REMEDY = "Correct the file"
_Words = Annotated[str, MinLen(1)]
_Metric = Annotated[str, AfterValidator(metric_name)]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """Keys allowed at a table, column, row or cell; the closest one counts."""

    unit: Unit | None = None
    audit: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Column(_Entry):
    name: str
    metric: _Metric | None = None
    predicted: str = ""
    target: Literal["printed"] | None = None


@dataclass(frozen=True, kw_only=True)
class _Printed(_Entry):
    metric: _Metric | None = None
    system: str | None = None
    source: str | None = None
    doubt: str = ""


@dataclass(frozen=True, kw_only=True)
class _Cell(_Printed):
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Row(_Printed):
    row: str
    values: list[str] | dict[str, str]
    cells: dict[str, _Cell] = field(default_factory=dict)
    actual: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Table(_Entry):
    table: str
    title: str = ""
    unit: Unit = field()  # without the default
    rows: tuple[_Row, ...]
    columns: tuple[_Column, ...] = ()
    source: str | None = None
    doubt: str = ""


@dataclass(frozen=True)
class _Citation:
    title: _Words
    authors: Annotated[tuple[str, ...], MinLen(1)]
    journal: _Words
    year: _Words
    doi: _Words
    citation: _Words


@dataclass(frozen=True)
class _Document:
    tables: Annotated[tuple[_Table, ...], MinLen(1)]
    paper: _Citation | None = None


@dataclass(frozen=True)
class PublishedCell:
    """A printed number or word, or a number that is lost in the available text.

    Parameters
    ----------
    table, row, column : str
        Position in the paper.
    mean, std : float or None
        As printed, in `unit`; std is None if not printed; mean is NaN for a word or if `lost`.
    unit : str
        One of `Unit`; "ratio" is 0..1, "points" are percentage points, "number" is any other plain number (a
        learning rate), "text" a word.
    target : float
        The value to compare with, in `compared_unit`: `value`, or the corrected one if the file gives it. NaN for a
        word and if `lost`.
    doubt : str
        Reason to distrust the number, or "".
    system, metric : str
        Our corresponding system and metric, or "".
    decimals, std_decimals : int
        Number of printed decimals.
    source : str
        Location in the paper, if not the table itself.
    low, high : float or None
        Printed interval, in `unit`, or None.
    text : str
        The printed text if `unit` is "text", `LOST_TEXT` if `lost`, else "".
    actual, predicted : str
        Our classes for a cell of a confusion matrix, else "".
    row_total : int or None
        Sum of the row of the confusion matrix; None if lost.
    lost : bool
        Whether the printed number is missing in the available text.
    facts : Facts
        Further statements of the paper about the number, for the audit.
    target_named : bool
        Whether the file specifies the target. Otherwise the printed number is the target unless the audit rejects it.
    """

    table: str
    row: str
    column: str
    mean: float
    std: float | None
    unit: str
    target: float
    doubt: str = ""
    system: str = ""
    metric: str = ""
    decimals: int = 0
    std_decimals: int = 0
    source: str = ""
    low: float | None = None
    high: float | None = None
    text: str = ""
    actual: str = ""
    predicted: str = ""
    row_total: int | None = None
    lost: bool = False
    facts: Facts = NO_FACTS
    target_named: bool = False

    @property
    def value(self) -> float:
        """Return the printed value in `compared_unit`: for a confusion matrix, the percentage of the row."""
        return self.mean if self.row_total is None else 100 * self.mean / self.row_total

    @property
    def compared_unit(self) -> str:
        """Return the unit of `value` and `target`."""
        return "percent" if self.actual or self.row_total is not None else self.unit

    @property
    def printed(self) -> str:
        """Return the printed text if the cell is not just a number, else ""."""
        return self.text if self.row_total is None else f"{self.mean:g} of {self.row_total}"

    @property
    def name(self) -> str:
        """Return the position as text, for messages."""
        return f"table {self.table}, row {self.row!r}, column {self.column!r}"


def load_citation(path: str | Path) -> dict[str, Any]:
    """Return the entry `paper`: title, journal, year, doi, citation (str) and authors (list of str).

    Raises
    ------
    UserError
        If the file cannot be read or has no such entry.
    """
    if (paper := _load(path).paper) is None:
        raise UserError(path, "lacks the key 'paper'", "Add it")
    return as_plain(paper)


def load_titles(path: str | Path) -> dict[str, str]:
    """Return the titles of the tables by name (such as "V"), in file order.

    Raises
    ------
    UserError
        If the file cannot be read or a table is malformed.
    """
    return {table.table: " ".join(table.title.split()) for table in _load(path).tables}


def load_published(path: str | Path) -> list[PublishedCell]:
    """Read the published numbers of a paper.

    Parameters
    ----------
    path : str or Path
        A `published.yaml`; see the module docstring for the layout.

    Returns
    -------
    list of PublishedCell
        In the order of tables, rows and columns.

    Raises
    ------
    UserError
        If the file is invalid; the message names the table, row and column.
    """
    cells: dict[tuple[str, str, str], PublishedCell] = {}
    for table in _load(path).tables:
        _check_classes(table, path)
        for row in table.rows:
            for cell in _row_cells(path, table, row):
                if (cell.table, cell.row, cell.column) in cells:
                    raise UserError(path, f"{cell.name} is repeated", _REMEDY)
                cells[cell.table, cell.row, cell.column] = cell
    _check_places(cells, path)
    _check_metrics(cells.values(), path)
    return list(cells.values())


def _load(path: str | Path) -> _Document:
    # BaseLoader keeps scalars as text, because 72.00 and 72 differ in precision.
    return build(_Document, read_yaml(path, yaml.BaseLoader), path, strict=False)


def _check_places(cells: Mapping[tuple[str, str, str], PublishedCell], path: str | Path) -> None:
    """Raise `UserError` if facts refer to a missing cell, or use a cell that is not a count as a number of images."""
    for cell in cells.values():
        if missing := [place for place in cell.facts.places() if place not in cells]:
            raise UserError(
                path, f"{cell.name}: audit refers to {place_text(missing[0])}, which does not exist", _REMEDY
            )
        for place in cell.facts.counted():
            if cells[place].unit != "count" or cells[place].lost or not _is_count(cells[place].mean):
                raise UserError(
                    path,
                    f"{cell.name}: audit uses {place_text(place)} as a number of images, but it is not a count",
                    _REMEDY,
                )


def _check_metrics(cells: Collection[PublishedCell], path: str | Path) -> None:
    """Raise `UserError` for a metric with a class similar, but not equal, to a class of a confusion matrix."""
    classes = {name.casefold(): name for cell in cells for name in (cell.actual, cell.predicted) if name}
    for cell in cells:
        family, _, suffix = cell.metric.partition("_")
        near = difflib.get_close_matches(suffix.casefold(), classes, n=1, cutoff=0.8)
        ours = cell.metric in NAMES or cell.actual
        if family in FAMILIES and near and suffix != classes[near[0]] and not ours:
            guess = f"{family}_{classes[near[0]]}"
            raise UserError(
                path, f"{cell.name}: unknown class in the metric {cell.metric!r}", f"Did you mean {guess!r}"
            )


def _check_classes(table: _Table, path: str | Path) -> None:
    """Raise `UserError` if rows and columns of a confusion matrix each have a class that the other lacks.

    A misspelt class would leave the matrix without metrics, and other numbers unchecked.
    """
    actual = {row.actual for row in table.rows if row.actual}
    predicted = {column.predicted for column in table.columns if column.predicted}
    if actual and actual - predicted and predicted - actual:
        here, there = sorted(actual - predicted)[0], ", ".join(sorted(predicted))
        raise UserError(
            path, f"table {table.table}: the actual class {here!r} is not one of the predicted classes {there}", _REMEDY
        )


def _row_cells(path: str | Path, table: _Table, row: _Row) -> list[PublishedCell]:
    where = f"table {table.table}, row {row.row!r}"
    columns = {column.name: column for column in table.columns}
    values = row.values
    if isinstance(values, list):
        if len(values) != len(columns):
            raise UserError(path, f"{where}: {len(values)} values for {len(columns)} columns", _REMEDY)
        values = dict(zip(columns, values, strict=True))
    if columns and (unknown := [name for name in values if name not in columns and name not in row.cells]):
        raise unknown_key(path, unknown[0], columns, f"the values of {where}")
    if without := [name for name in row.cells if name not in values]:
        raise UserError(path, f"{where}: cells name the column {without[0]!r}, which has no value", _REMEDY)
    cells = [
        _cell(path, table, columns.get(name, _Column(name=name)), row, row.cells.get(name, _Cell()), text)
        for name, text in values.items()
        if text != _NOT_PRINTED
    ]
    return cells if row.actual is None else list(_confusion_row(cells, columns, row.actual, path, where))


def _confusion_row(
    cells: list[PublishedCell], columns: dict[str, _Column], actual: str, path: str | Path, where: str
) -> Iterator[PublishedCell]:
    """Yield the cells of a row of a confusion matrix with their classes and row total."""
    predicted = [columns[cell.column].predicted for cell in cells if cell.column in columns]
    if len(predicted) < len(cells) or not all(predicted) or len(set(predicted)) < len(columns):
        raise UserError(path, f"{where}: has an actual class, but no cell has a predicted class", _REMEDY)
    if not all(cell.unit == "count" and (cell.lost or _is_count(cell.mean)) for cell in cells):
        raise UserError(path, f"{where}: must contain counts of images", _REMEDY)
    lost = any(cell.lost for cell in cells)
    if lost and not all(cell.lost for cell in cells):
        raise UserError(
            path, f"{where}: has lost some of its counts, so percentages are unknown", "Mark all of them as lost"
        )
    total = None if lost else int(sum(cell.mean for cell in cells))
    if total == 0:
        raise UserError(path, f"{where}: has no images", _REMEDY)
    for cell, name in zip(cells, predicted, strict=True):
        metric = cell.metric or CONFUSION.format(actual=actual, predicted=name)
        share = cell.target if total is None else 100 * cell.target / total
        yield replace(cell, target=share, metric=metric, actual=actual, predicted=name, row_total=total)


def _is_count(value: float) -> bool:
    return value.is_integer() and value >= 0


def _cell(path: str | Path, table: _Table, column: _Column, row: _Row, special: _Cell, text: str) -> PublishedCell:
    where = f"table {table.table}, row {row.row!r}, column {column.name!r}"
    closest = (special, row, column, table)
    unit = _closest("unit", closest)
    lost = text == _LOST
    if lost and special.target is not None:
        raise UserError(path, f"{where}: is lost and cannot have a target", "Remove the target")
    numbers = _NO_NUMBERS if lost or unit == TEXT else _parse(text, path, where)
    mean, std, low, high = (None if number is None else float(number) for number in numbers)
    target = mean
    if special.target is not None and special.target != _AS_PRINTED:
        target = float(_parse(special.target, path, where)[0])
    facts = {key: value for entry in reversed(closest) for key, value in entry.audit.items()}
    return PublishedCell(
        table=table.table,
        row=row.row,
        column=column.name,
        # The same NaN object, so that equal cells compare equal.
        mean=math.nan if mean is None else mean,
        std=std,
        unit=unit,
        target=math.nan if target is None else target,
        doubt=" ".join(" ".join((table.doubt, row.doubt, special.doubt)).split()),
        system=_closest("system", (special, row)) or "",
        metric=_closest("metric", (special, row, column)) or "",
        decimals=_decimals(numbers[0] or ""),
        std_decimals=_decimals(numbers[1] or ""),
        source=_closest("source", (special, row, table)) or "",
        low=low,
        high=high,
        text=LOST_TEXT if lost else " ".join(text.split()) if unit == TEXT else "",
        lost=lost,
        facts=read_facts(facts, path, where) if facts else NO_FACTS,
        target_named=special.target is not None or column.target is not None,
    )


def _closest(name: str, entries: tuple[_Entry, ...]) -> Any:
    """Return the first given value of the entries, else None."""
    return next((value for entry in entries if (value := getattr(entry, name)) is not None), None)


def _parse(text: str, path: str | Path, where: str) -> tuple[str, str | None, str | None, str | None]:
    """Return mean, std, low and high as text; None if missing."""
    match = _NUMBER.fullmatch(text.strip())
    if match is None:
        remedy = "Write 78.41, 78.41 ± 7.09, 78.41 [70.1, 85.2], lost or -, or give it the unit text"
        raise UserError(path, f"{where}: {text!r} is not a number", remedy)
    mean, std, low, high = match.groups()
    if low and float(low) > float(high):
        raise UserError(path, f"{where}: the interval of {text!r} must have low <= high", _REMEDY)
    return mean, std, low, high


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])
