"""The rules of printed confusion matrices: what they give, and means that are one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from covid_keras.audit.book import Book
from covid_keras.audit.confusion import counts_for
from covid_keras.audit.findings import EXPLAINED, Finding, place_of
from covid_keras.audit.judging import TRUNCATED, UNLIKELY, judge, slip_or
from covid_keras.audit.printed import SHARES, Interval, as_printed, last_digit, shown, value_of
from covid_keras.evaluation.comparison import COMPLEMENTS
from covid_keras.evaluation.counted import rest_metrics, weighted_metrics
from covid_keras.evaluation.metrics import metrics_from_confusion
from covid_keras.evaluation.published import PublishedCell


def of_matrix(book: Book) -> list[Finding]:
    """Are metrics what the printed confusion matrix of the same system gives?"""
    found = []
    by_system: dict[str, dict[str, tuple[str, float]]] = {}
    for table, cells in book.matrices().items():
        known = _metrics_of(cells)
        for cell in cells:
            proof = f"The {int(cell.row_total):,} images of the row are whole numbers; table {table}."
            found.append(judge(cell, "of_matrix", True, proof))
        if len({cell.system for cell in cells}) == 1 and cells[0].system:
            by_system[cells[0].system] = {name: (table, value / 100) for name, value in known.items()}
    for cell in book.numbers:
        known = by_system.get(cell.system, {})
        quantity = book.quantity(cell)
        if cell.actual or cell.unit not in SHARES or quantity not in known:
            continue
        found.append(_recomputed(book, cell, *known[quantity]))
    return found


def _metrics_of(cells: Sequence[PublishedCell]) -> dict[str, float]:
    """Return all metrics of a printed matrix, percent."""
    classes = tuple(dict.fromkeys(cell.actual for cell in cells))
    counts = {(cell.actual, cell.predicted): cell.mean for cell in cells}
    matrix = np.array([[counts.get((row, column), 0) for column in classes] for row in classes])
    known = dict(metrics_from_confusion(matrix, classes, binary=len(classes) == 2))
    known |= weighted_metrics(matrix)
    known |= {f"{name}_{label}": float(values[i]) for name, values in rest_metrics(matrix).items()
              for i, label in enumerate(classes)}  # fmt: skip
    known |= {name: 100 - known[other] for name, other in COMPLEMENTS.items() if other in known}
    return {name: float(value) for name, value in known.items() if np.ndim(value) == 0 and np.isfinite(value)}


def _recomputed(book: Book, cell: PublishedCell, table: str, value: float) -> Finding:
    proof = f"The matrix of table {table} gives {shown(cell, value, 2)}."
    if value in value_of(cell):
        return judge(cell, "of_matrix", True, proof)
    if value in value_of(cell, cut=True):
        return Finding(place_of(cell), "of_matrix", TRUNCATED, proof)
    near = Interval(value - last_digit(cell) / 2, value + last_digit(cell) / 2)
    return slip_or(book, cell, "of_matrix", near, proof)


def mean_is_one_run(book: Book) -> list[Finding]:
    """Is what is called a mean of several trainings the value of the one printed matrix, oftener than by chance?

    The chance is that of a number from the printed interval rounding to that of the matrix.
    """
    found, chance, tables = [], 1.0, book.matrices()
    systems = {cells[0].system: table for table, cells in tables.items()}
    for cell in book.numbers:
        if cell.facts.executions == 1 or cell.low is None or cell.system not in systems:
            continue
        table = systems[cell.system]
        value = _metrics_of(tables[table]).get(book.quantity(cell))
        if value is None or value / 100 not in value_of(cell):
            return []
        chance *= min(1.0, 10.0**-cell.decimals / (cell.high - cell.low))
        found.append((cell, table))
    if chance > UNLIKELY / 100:
        return []
    return _like_them(book, {cell.table for cell, _ in found}) + [
        Finding(
            place_of(cell),
            "mean_is_one_run",
            EXPLAINED.format(what=f"the one training of table {table}"),
            f"Called a mean of {cell.facts.executions} trainings, and exactly what the one matrix of table {table} "
            f"gives, as all {len(found)} such means are; by chance that is 1 in {1 / chance:.0e}.",
        )
        for cell, table in found
    ]


def _like_them(book: Book, tables: set[str]) -> list[Finding]:
    """Return which further so-called means of these tables are no share of their images, read as one training too."""
    found = []
    for cell, images in book.shares():
        if cell.table in tables and cell.facts.executions > 1 and not counts_for(value_of(cell), images):
            proof = (
                f"The other means of the column are of one training each; of one training, no whole number of "
                f"{images:,} is {as_printed(cell)}."
            )
            found.append(judge(cell, "mean_is_one_run", False, proof))
    return found
