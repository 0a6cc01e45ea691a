"""Published numbers: the file `published.yaml` of a paper, checked and turned into cells.

Layout of the file (a mapping; every number is kept exactly as printed, so decimals are not lost)::

    paper: {title: ..., authors: [...], journal: ..., year: ..., doi: ..., citation: ...}
    tables:
      - table: "V"                 # the paper's own name
        title: what it shows
        unit: percent              # of UNITS; a column, row or cell may say otherwise
        doubt: a reason to distrust the whole table (optional)
        columns:
          - {name: N Specificity, metric: specificity}
        rows:
          - row: With seg. (ResNet-50)
            system: resnet50_crop  # the system of ours that this row is compared with (optional)
            values: [78.41 ± 7.09] # one a column, "-" where nothing is printed; or {column: value, ...}
            cells:                 # what a single cell needs to have said (optional)
              N Specificity: {target: 78.4, doubt: why}

`metric` and `unit` may stand at the column, the row or the cell, `doubt` and `source` (where in the paper) at
the table, the row or the cell; the closest one counts, doubts add up. `target` is the value to compare with
where the printed one is an evident slip.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from covid_keras.errors import UserError

UNITS = ("percent", "points", "count", "ratio")

_NUMBER = re.compile(r"(-?\d+(?:\.\d+)?)(?:\s*(?:±|\+-)\s*(\d+(?:\.\d+)?))?")
_NOT_PRINTED = "-"
_REMEDY = "Correct the file"
_KEYS = {
    "file": ({"paper", "tables"}, set()),
    "table": ({"table", "title", "unit", "rows"}, {"columns", "doubt", "source"}),
    "column": ({"name"}, {"metric", "unit"}),
    "row": ({"row", "values"}, {"system", "metric", "unit", "doubt", "source", "cells"}),
    "cell": (set(), {"target", "doubt", "metric", "unit", "source"}),
}
_CONTAINERS = {
    "paper": dict, "tables": list, "columns": list, "rows": list, "values": (list, dict), "cells": dict,
}  # fmt: skip
_PAPER_KEYS = ("title", "authors", "journal", "year", "doi", "citation")


@dataclass(frozen=True)
class PublishedCell:
    """One printed number.

    Parameters
    ----------
    table, row, column : str
        Where it stands.
    mean, std : float or None
        As printed, in `unit`; std is None where none is printed.
    unit : str
        One of `UNITS`; "ratio" is 0..1, "points" are percentage points.
    target : float
        The value to compare with: `mean`, or the recommended one where `mean` is an evident slip.
    doubt : str
        Why the number is to be distrusted, "" where nothing speaks against it.
    system, metric : str
        Ours that correspond, "" where there is no counterpart.
    decimals, std_decimals : int
        Decimals printed.
    source : str
        Where in the paper, where that is not the table itself.
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

    @property
    def name(self) -> str:
        """Return the place in words, for messages."""
        return f"table {self.table}, row {self.row!r}, column {self.column!r}"


def load_paper(path: str | Path) -> dict[str, Any]:
    """Return the paper's own entry: title, journal, year, doi, citation (str) and authors (list of str)."""
    return _load(Path(path))["paper"]


def load_titles(path: str | Path) -> dict[str, str]:
    """Return what each published table shows: its name ("V") to its title, in the file's order.

    Raises
    ------
    UserError
        Where the file cannot be read or a table is malformed.
    """
    return {table["table"]: " ".join(table["title"].split()) for table in _tables(Path(path))}


def load_published(path: str | Path) -> list[PublishedCell]:
    """Read the published numbers of a paper.

    Parameters
    ----------
    path : str or Path
        A `published.yaml`; the layout is described in the module's docstring.

    Returns
    -------
    list of PublishedCell
        In the order of the paper's tables, rows and columns.

    Raises
    ------
    UserError
        Naming the file and the table, row and column at fault.
    """
    path = Path(path)
    cells: list[PublishedCell] = []
    seen: set[tuple[str, str, str]] = set()
    for table in _tables(path):
        where = f"table {table['table']}"
        columns = table.get("columns", [])
        for column in columns:
            _check_keys(column, "column", path, where)
        for row in table["rows"]:
            for cell in _row_cells(path, table, {column["name"]: column for column in columns}, row):
                key = (cell.table, cell.row, cell.column)
                if key in seen:
                    raise UserError(path, f"{cell.name} stands there twice", _REMEDY)
                seen.add(key)
                cells.append(cell)
    return cells


def _tables(path: Path) -> list[dict[str, Any]]:
    """Return the tables of the file, the keys of each checked."""
    tables = _load(path)["tables"]
    for table in tables:
        where = f"table {table.get('table', '?') if isinstance(table, dict) else table}"
        _check_keys(table, "table", path, where)
    return tables


def _load(path: Path) -> dict[str, Any]:
    try:
        # BaseLoader keeps every scalar as text: 72.00 and 72 are different statements.
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Check the path") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(path, f"is not valid YAML ({error})", _REMEDY) from error
    _check_keys(content, "file", path, "the file")
    paper = content["paper"]
    missing = [key for key in _PAPER_KEYS if not paper.get(key)]
    if missing:
        raise UserError(path, f"paper lacks {', '.join(missing)}", _REMEDY)
    return content


def _check_keys(entry: Any, kind: str, path: Path, where: str) -> None:
    required, optional = _KEYS[kind]
    if not isinstance(entry, dict):
        raise UserError(path, f"{where}: a {kind} is a mapping, here is {entry!r}", _REMEDY)
    if missing := sorted(required - set(entry)):
        raise UserError(path, f"{where}: a {kind} lacks {', '.join(missing)}", _REMEDY)
    if unknown := sorted(set(entry) - required - optional):
        text = f"{where}: a {kind} has the unknown key {unknown[0]!r}"
        raise UserError(path, text, f"Known keys: {', '.join(sorted(required | optional))}")
    for key, value in entry.items():
        if not isinstance(value, _CONTAINERS.get(key, str)):
            raise UserError(path, f"{where}: {key} of a {kind} cannot be {value!r}", _REMEDY)


def _row_cells(path: Path, table: dict, columns: dict[str, dict], row: Any) -> list[PublishedCell]:
    where = f"table {table['table']}, row {row.get('row', '?') if isinstance(row, dict) else row!r}"
    _check_keys(row, "row", path, where)
    values = row["values"]
    if isinstance(values, list):
        if len(values) != len(columns):
            raise UserError(path, f"{where}: {len(values)} values for {len(columns)} columns", _REMEDY)
        values = dict(zip(columns, values, strict=True))
    special = row.get("cells", {})
    for name in special:
        _check_keys(special[name], "cell", path, f"{where}, column {name!r}")
        if name not in values:
            raise UserError(path, f"{where}: cells name the column {name!r}, which has no value", _REMEDY)
    return [
        _cell(path, table, columns.get(name, {}), row, special.get(name, {}), name, text)
        for name, text in values.items()
        if text != _NOT_PRINTED
    ]


def _cell(path: Path, table: dict, column: dict, row: dict, special: dict, name: str, text: str) -> PublishedCell:
    where = f"table {table['table']}, row {row['row']!r}, column {name!r}"
    mean, std = _parse(text, path, where)
    closest = [special, row, column, table]
    unit = next(entry["unit"] for entry in closest if "unit" in entry)
    if unit not in UNITS:
        raise UserError(path, f"{where}: unknown unit {unit!r}", f"Choose one of {', '.join(UNITS)}")
    target = _parse(special["target"], path, where)[0] if "target" in special else mean
    doubts = [entry["doubt"] for entry in (table, row, special) if entry.get("doubt")]
    return PublishedCell(
        table=table["table"],
        row=row["row"],
        column=name,
        mean=float(mean),
        std=None if std is None else float(std),
        unit=unit,
        target=float(target),
        doubt=" ".join(" ".join(doubts).split()),
        system=row.get("system", ""),
        metric=next((entry["metric"] for entry in closest if "metric" in entry), ""),
        decimals=_decimals(mean),
        std_decimals=_decimals(std or ""),
        source=next((entry["source"] for entry in closest if "source" in entry), ""),
    )


def _parse(text: Any, path: Path, where: str) -> tuple[str, str | None]:
    match = _NUMBER.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise UserError(path, f"{where}: {text!r} is not a number", "Write 78.41, 78.41 ± 7.09 or -")
    return match[1], match[2]


def _decimals(text: str) -> int:
    return len(text.partition(".")[2])
