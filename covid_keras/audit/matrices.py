"""Rules for printed confusion matrices: metrics derived from them, and means that equal a single run."""

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
from covid_keras.published.facts import table_title


def of_matrix(book: Book) -> Iterator[Finding]:
    """Are metrics what the printed confusion matrix of the same system gives?

    Where a system has several matrices, one has to give the metric. A matrix of another number of images than the
    paper states of the metric has no say in it, and that a mean over trainings is not what one matrix gives is no
    fault. Of two classes the paper's positive one is that which gives more of the system's metrics.
    """
    by_system = defaultdict(list)
    for (table, system), cells in book.matrices().items():
        for cell in cells:
            proof = f"The {int(cell.row_total):,} images of the row are whole numbers; {table_title(table)}."
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
        Where it stands.
    actual : tuple of int
        Images of each class.
    metrics : dict
        Its metrics, shares of 1.
    """

    table: str
    actual: tuple[int, ...]
    metrics: dict[str, float]

    @classmethod
    def of(cls, table: str, cells: Sequence[PublishedCell], printed: Iterable[tuple[str, PublishedCell]]) -> Matrix:
        """Return the matrix; of two classes with that one as positive which gives more of the `printed` metrics."""
        classes = tuple(dict.fromkeys(cell.actual for cell in cells))
        counts = {(cell.actual, cell.predicted): int(cell.mean) for cell in cells}
        actual = tuple(sum(count for (row, _), count in counts.items() if row == name) for name in classes)
        # A class that is only named, or only true, would be lacking: no metric is known then.
        square = len(classes) > 1 and {said for _, said in counts} == set(classes)
        orders = [classes, classes[::-1]] if len(classes) == 2 else [classes]
        known = [_metrics_of(counts, order) if square else {} for order in orders]
        pairs = list(printed)
        given = [sum(one[name] in value_of(cell) for name, cell in pairs if name in one) for one in known]
        return cls(table, actual, known[given.index(max(given))])

    def is_of(self, book: Book, cell: PublishedCell) -> bool:
        """Return whether the matrix is of as many images as the paper states of a metric, if it does."""
        *parts, images = book.stated(cell)
        of_classes = len(self.actual) > 2 or None in parts or sorted(parts) == sorted(self.actual)
        return images in (None, sum(self.actual)) and of_classes


def _metrics_of(counts: Mapping[tuple[str, str], int], classes: tuple[str, ...]) -> dict[str, float]:
    """Return all metrics of a matrix, shares of 1; of two classes the second one is positive."""
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
    """Yield what matrices that have a cell's metric say of it."""
    quantity = book.quantity(cell)
    alike = [one for one in matrices if one.metrics[quantity] in value_of(cell)]
    known = [(one.table, one.metrics[quantity]) for one in alike or matrices if alike or one.is_of(book, cell)]
    proof = " ".join(f"The matrix of {table_title(table)} gives {shown(cell, value, 2)}." for table, value in known)
    if alike:
        yield judge("of_matrix", True, proof, cell)
    elif known and (cell.facts.executions > 1 or book.of_unknown_runs(cell)):
        yield leave_open("of_matrix", "the printed matrix need not be that of all trainings", cell, proof=proof)
    elif any(value in value_of(cell, cut=True) for _, value in known):
        yield explain("of_matrix", TRUNCATED, proof, cell)
    elif len(known) > 1:
        yield judge("of_matrix", False, proof, cell)
    elif known:
        half = last_digit(cell) / 2
        near = Interval(known[0][1] - half, known[0][1] + half)
        yield slip_or_impossible(book, "of_matrix", cell, near, proof)


def mean_is_one_run(book: Book) -> list[Finding]:
    """Is what is called a mean of several trainings the value of the one printed matrix, oftener than by chance?

    The chance is that of a number from the printed interval rounding to that of the matrix. A matrix that may be the
    sum over the trainings gives their mean by right.
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
            f"the one training of {table_title(table)}",
            f"Called a mean of {cell.facts.executions} trainings, and exactly what the one matrix of "
            f"{table_title(table)} gives, as all {len(found)} such means are; by chance that is {odds(chance)}.",
            cell,
        )
        for cell, table in found
    ]


def _may_be_sum(book: Book, cell: PublishedCell, matrix: Matrix) -> bool:
    """Return whether a matrix may be the sum of those of all trainings."""
    images = book.images(cell)
    if cell.facts.folds > 1:
        return True
    if images is not None:
        return sum(matrix.actual) != images
    return all(count % cell.facts.executions == 0 for count in matrix.actual)


def _like_them(book: Book, tables: set[str]) -> Iterator[Finding]:
    """Yield the further means of these tables that, read as one training too, are not a share of their images."""
    for cell, images in book.shares():
        if cell.table in tables and cell.facts.executions > 1 and not counts_for(value_of(cell), images):
            proof = (
                f"The other means of the column are of one training each; of one training, no whole number of "
                f"{images:,} is {as_printed(cell)}."
            )
            yield judge("mean_is_one_run", False, proof, cell)
