"""Rules for printed confusion matrices: metrics derived from them, and means that equal those of a single training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from covid_keras.audit.book import Book
from covid_keras.audit.confusion import counts_for
from covid_keras.audit.findings import TRUNCATED, UNLIKELY, Finding, explain, judge, leave_open, odds
from covid_keras.audit.intervals import SHARES, Interval, as_printed, last_digit, scale_of, shown, value_of
from covid_keras.audit.slips import slip_or_impossible
from covid_keras.evaluation.comparison import COMPLEMENTS
from covid_keras.evaluation.counts import (
    agreement_metrics,
    balanced_accuracy,
    macro_metrics,
    rest_metrics,
    weighted_metrics,
)
from covid_keras.evaluation.metrics import metrics_from_confusion
from covid_keras.published.cells import PublishedCell
from covid_keras.published.facts import table_words


def of_matrix(book: Book) -> Iterator[Finding]:
    """Do printed metrics agree with the printed confusion matrix of the same system?

    If a system has several matrices, one of them must match. A matrix cannot refute a metric of another number of
    images, or a mean over several trainings. With two classes, the positive class is the one with which more of the
    system's metrics match.
    """
    by_system = defaultdict(list)
    for (table, system), cells in book.matrices().items():
        for cell in cells:
            proof = f"The counts of the row in {table_words(table)} are whole numbers ({int(cell.row_total):,} images)."
            yield judge("of_matrix", True, proof, cell)
        if system:
            by_system[system].append((table, cells))
    for system, printed in by_system.items():
        own = [cell for cell in book.numbers if cell.system == system and not cell.actual and cell.unit in SHARES]
        matrices = [Matrix.of(table, cells, [(book.quantity(one), one) for one in own]) for table, cells in printed]
        for cell in own:
            yield from _recomputed(book, cell, [one for one in matrices if book.quantity(cell) in one.metrics])


@dataclass(frozen=True)
class Matrix:
    """A printed confusion matrix.

    Parameters
    ----------
    table : str
        Table that prints it.
    actual : tuple of int
        Number of images per true class.
    metrics : dict
        Metric to value, shares as 0..1; empty if the matrix is not square.
    """

    table: str
    actual: tuple[int, ...]
    metrics: dict[str, float]

    @classmethod
    def of(cls, table: str, cells: Sequence[PublishedCell], printed: Iterable[tuple[str, PublishedCell]]) -> Matrix:
        """Return the matrix; with two classes, the positive one is that with which more `printed` metrics match."""
        classes = tuple(dict.fromkeys(cell.actual for cell in cells))
        counts = {(cell.actual, cell.predicted): int(cell.mean) for cell in cells}
        actual = tuple(sum(count for (row, _), count in counts.items() if row == name) for name in classes)
        # If a class is only a row or only a column, the matrix is incomplete and no metric is known.
        square = len(classes) > 1 and {said for _, said in counts} == set(classes)
        orders = [classes, classes[::-1]] if len(classes) == 2 else [classes]
        known = [_metrics_of(counts, order) if square else {} for order in orders]
        pairs = list(printed)
        given = [sum(one[name] in value_of(cell) for name, cell in pairs if name in one) for one in known]
        return cls(table, actual, known[given.index(max(given))])

    def is_of(self, book: Book, cell: PublishedCell) -> bool:
        """Return whether the matrix has as many images as the paper states for a metric, or none are stated."""
        *parts, images = book.stated(cell)
        of_classes = len(self.actual) > 2 or None in parts or sorted(parts) == sorted(self.actual)
        return images in (None, sum(self.actual)) and of_classes


def _metrics_of(counts: Mapping[tuple[str, str], int], classes: tuple[str, ...]) -> dict[str, float]:
    """Return all metrics of a matrix, shares as 0..1; of two classes, the second is the positive one."""
    matrix = np.array([[counts.get((row, column), 0) for column in classes] for row in classes])
    known = dict(metrics_from_confusion(matrix, classes, binary=False))
    if len(classes) == 2:
        known |= metrics_from_confusion(matrix, classes, binary=True)
        known["youden"] = known["sensitivity"] + known["specificity"] - 100
    known |= weighted_metrics(matrix) | macro_metrics(matrix) | agreement_metrics(matrix)
    known["balanced_accuracy"] = balanced_accuracy(matrix)
    known |= {f"{name}_{label}": float(values[i]) for name, values in rest_metrics(matrix).items()
              for i, label in enumerate(classes)}  # fmt: skip
    known |= {name: 100 - known[other] for name, other in COMPLEMENTS.items() if other in known}
    return {name: float(value) / 100 for name, value in known.items() if np.ndim(value) == 0 and np.isfinite(value)}


def _recomputed(book: Book, cell: PublishedCell, matrices: Sequence[Matrix]) -> Iterator[Finding]:
    """Yield the finding of comparing a cell with the matrices that have its metric."""
    quantity = book.quantity(cell)
    alike = [one for one in matrices if one.metrics[quantity] in value_of(cell)]
    known = [(one.table, one.metrics[quantity]) for one in alike or matrices if alike or one.is_of(book, cell)]
    proof = " ".join(f"The matrix of {table_words(table)} gives {shown(cell, value, 2)}." for table, value in known)
    if alike:
        yield judge("of_matrix", True, proof, cell)
    elif known and (cell.facts.executions > 1 or book.of_unknown_runs(cell)):
        yield leave_open("of_matrix", "the printed matrix may not cover all trainings", cell, proof=proof)
    elif any(value in value_of(cell, cut=True) for _, value in known):
        yield explain("of_matrix", TRUNCATED, proof, cell)
    elif len(known) > 1:
        yield judge("of_matrix", False, proof, cell)
    elif known:
        half = last_digit(cell) / 2
        near = Interval(known[0][1] - half, known[0][1] + half)
        yield slip_or_impossible(book, "of_matrix", cell, near, proof)


def mean_is_one_run(book: Book) -> list[Finding]:
    """Do numbers called means of several trainings all equal the metrics of one matrix, more often than by chance?

    Chance is the probability that a random value of the printed interval rounds to the metric of the matrix. Nothing is
    found if the matrix may be the sum over all trainings, which rightly gives their mean.
    """
    found, chance, matrices = [], 1.0, defaultdict(list)
    means = [cell for cell in book.numbers if cell.facts.executions > 1 and cell.low is not None and not cell.actual]
    for (table, system), cells in book.matrices().items():
        own = [(book.quantity(cell), cell) for cell in means if cell.system == system]
        matrices[system].append(Matrix.of(table, cells, own))
    for cell in means:
        known = [one for one in matrices[cell.system] if book.quantity(cell) in one.metrics]
        if not cell.system or not known:
            continue
        ((one, *others), runs) = known, cell.facts.executions
        if others or one.metrics[book.quantity(cell)] not in value_of(cell) or _may_be_sum(book, cell, one):
            return []
        values = (cell.high - cell.low) * scale_of(cell.unit)
        step = max(last_digit(cell), 1 / (sum(one.actual) * runs))
        chance *= step / values if values > step else 1.0
        found.append((cell, one.table))
    if chance > UNLIKELY / 100:
        return []
    return [*_like_them(book, {cell.table for cell, _ in found})] + [
        explain(
            "mean_is_one_run",
            f"the one training of {table_words(table)}",
            f"Called a mean of {cell.facts.executions} trainings, but equal to the metric of the single matrix of "
            f"{table_words(table)}, like all {len(found)} such means; the probability by chance is {odds(chance)}.",
            cell,
        )
        for cell, table in found
    ]


def _may_be_sum(book: Book, cell: PublishedCell, matrix: Matrix) -> bool:
    """Return whether a matrix may be the sum of the matrices of all trainings."""
    images = book.images(cell)
    if cell.facts.folds > 1:
        return True
    if images is not None:
        return sum(matrix.actual) != images
    return all(count % cell.facts.executions == 0 for count in matrix.actual)


def _like_them(book: Book, tables: set[str]) -> Iterator[Finding]:
    """Yield the other means of these tables that, as results of one training too, would be impossible shares."""
    for cell, images in book.shares:
        if cell.table in tables and cell.facts.executions > 1 and not counts_for(value_of(cell), images):
            proof = (
                f"Other means of the table come from one training; if this one does too, no whole number out of "
                f"{images:,} images is {as_printed(cell)}."
            )
            yield judge("mean_is_one_run", False, proof, cell)
