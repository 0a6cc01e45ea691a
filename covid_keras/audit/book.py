"""The printed cells of a paper with their facts resolved: which images, which classes, which rows belong together."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from covid_keras.audit.confusion import METRICS
from covid_keras.audit.findings import place_of
from covid_keras.audit.printed import SHARES, Interval
from covid_keras.errors import UserError
from covid_keras.evaluation.facts import Count, Place
from covid_keras.evaluation.published import PublishedCell

_OF_ALL = ("accuracy", "weighted_recall")


@dataclass(frozen=True)
class Row:
    """The metrics of one evaluation in one row: quantity to cell, and the images that they are of.

    Parameters
    ----------
    cells : dict
        By quantity, one of `METRICS`.
    positives, negatives, images : int or None
        As the paper states them.
    executions, folds : int
        See `covid_keras.evaluation.facts`.
    totals : tuple of int or None
        Positives and negatives of all parts of the division.
    """

    cells: dict[str, PublishedCell]
    positives: int | None
    negatives: int | None
    images: int | None
    executions: int
    folds: int
    totals: tuple[int | None, int | None] = (None, None)

    @property
    def table(self) -> str:
        """Return the table that the row stands in."""
        return next(iter(self.cells.values())).table


class Book:
    """All cells of a paper.

    Parameters
    ----------
    cells : iterable of PublishedCell
        As `load_published` returns them, places checked.
    """

    def __init__(self, cells: Iterable[PublishedCell]) -> None:
        self.cells = tuple(cells)
        self.at: dict[Place, PublishedCell] = {place_of(cell): cell for cell in self.cells}
        # What explained rows say that a quantity is, where it is not what is printed.
        self.implied: dict[Place, Interval] = {}
        # What stands in a row that a confusion matrix gives.
        self.confirmed: set[Place] = set()
        # Numbers that one slip of the pen explains, as they were without it, and numbers that none explains, with what
        # would be possible there.
        self.slips: dict[Place, str] = {}
        self.allowed: dict[Place, Interval] = {}
        # What repeats another table, found by the rule of that name.
        self.copies: set[Place] = set()
        self.numbers = [cell for cell in self.cells if not cell.lost and cell.mean == cell.mean]

    def quantity(self, cell: PublishedCell) -> str:
        """Return what the paper says that a cell is, "" where it is none of our metrics."""
        return cell.facts.quantity or cell.metric

    def count(self, counts: Iterable[Count]) -> int | None:
        """Return a stated number of images, None where nothing is stated."""
        found = [int(self.at[one].mean) if isinstance(one, tuple) else one for one in counts]
        return sum(found) if found else None

    def images(self, cell: PublishedCell) -> int | None:
        """Return how many images a share is of, None where that is not stated or the cell is no plain share."""
        facts, quantity = cell.facts, self.quantity(cell)
        if cell.unit not in SHARES or cell.unit == "points":
            return None
        positives, negatives = self.count(facts.positives), self.count(facts.negatives)
        if quantity in ("sensitivity", "false_negative_rate"):
            return positives
        if quantity in ("specificity", "false_positive_rate"):
            return negatives
        if quantity.startswith(_OF_ALL):
            both = None if positives is None or negatives is None else positives + negatives
            return self.count(facts.images) or both
        return None

    def shares(self) -> list[tuple[PublishedCell, int]]:
        """Return every cell that is a share of a stated number of images."""
        found = [(cell, self.images(cell)) for cell in self.numbers]
        return [(cell, images) for cell, images in found if images]

    def rows(self) -> list[Row]:
        """Return the rows of two or more metrics of two classes, all of one evaluation."""
        groups: dict[tuple, dict[str, PublishedCell]] = defaultdict(dict)
        for cell in self.numbers:
            quantity, facts = self.quantity(cell), cell.facts
            if quantity not in METRICS or cell.unit not in ("percent", "ratio") or cell.actual:
                continue
            counts = tuple(self.count(one) for one in (facts.positives, facts.negatives, facts.images))
            totals = (self.count(facts.positives_total), self.count(facts.negatives_total))
            key = (cell.table, cell.row, *counts, facts.executions, facts.folds, totals)
            groups[key].setdefault(quantity, cell)
        return [Row(cells, *rest) for (_, _, *rest), cells in groups.items() if len(cells) > 1]

    def matrices(self) -> dict[str, list[PublishedCell]]:
        """Return the printed confusion matrices, table to cells; those without a lost count."""
        found: dict[str, list[PublishedCell]] = defaultdict(list)
        for cell in self.cells:
            if cell.actual:
                found[cell.table].append(cell)
        return {table: cells for table, cells in found.items() if not any(cell.lost for cell in cells)}

    def usual_decimals(self, cell: PublishedCell) -> int:
        """Return how many decimals most numbers of the cell's table and unit are printed with."""
        same = [other.decimals for other in self.numbers if (other.table, other.unit) == (cell.table, cell.unit)]
        return Counter(same).most_common(1)[0][0]

    def stated_images(self) -> list[int]:
        """Return every number of images that the paper states of any share, or of a confusion matrix."""
        own = {images for _, images in self.shares()}
        own |= {int(sum(cell.mean for cell in cells)) for cells in self.matrices().values()}
        return sorted(own)


def check_facts(book: Book) -> None:
    """Refuse facts that contradict each other, such as more positives than images.

    Raises
    ------
    UserError
        Naming the cell.
    """
    for cell in book.cells:
        facts = cell.facts
        images, parts = book.count(facts.images), [book.count(facts.positives), book.count(facts.negatives)]
        if images is not None and None not in parts and sum(parts) != images:
            text = f"audit: {parts[0]} positives and {parts[1]} negatives are not {images} images"
            raise UserError(cell.name, text, "Correct the file")
        low, high = book.count(facts.images_from), book.count(facts.images_to)
        if low is not None and not 0 < low <= high:
            raise UserError(cell.name, f"audit: images from {low} to {high}", "Correct the file")
        if any(count == 0 for count in (images, *parts)):
            raise UserError(cell.name, "audit: a share of no image", "Correct the file")
