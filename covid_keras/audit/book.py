"""The printed cells of a paper with resolved facts: images, classes, related rows."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from covid_keras.audit.confusion import METRICS
from covid_keras.audit.findings import place_of
from covid_keras.audit.intervals import Interval
from covid_keras.common.errors import UserError
from covid_keras.published.cells import PublishedCell
from covid_keras.published.facts import Count, Facts, Place, place_text

_OF_ALL = ("accuracy", "weighted_recall")
_OF_A_PART = "accuracy_"
_COUNTS = ("images", "positives", "negatives", "positives_total", "negatives_total", "images_from", "images_to")
# Larger numbers of images are rejected: floating-point arithmetic would not be exact enough for a proof.
_MOST_IMAGES = 10**8


@dataclass(frozen=True)
class Row:
    """The shares printed for one evaluation, and the numbers of images behind them.

    Parameters
    ----------
    table, row, system : str
        Where the row is printed, and our name of its system.
    positives, negatives, images : int or None
        Numbers of images, if the paper states them.
    executions, folds : int
        See `covid_keras.published.facts`.
    totals : tuple of int or None
        Positives and negatives in all parts of the split together.
    cells : dict
        Quantity to cell.
    """

    table: str
    row: str
    system: str
    positives: int | None
    negatives: int | None
    images: int | None
    executions: int
    folds: int
    totals: tuple[int | None, int | None]
    cells: dict[str, PublishedCell]


class Book:
    """All cells of a paper.

    Parameters
    ----------
    cells : iterable of PublishedCell
        From `load_published`, with checked places.
    """

    def __init__(self, cells: Iterable[PublishedCell]) -> None:
        self.cells = tuple(cells)
        self.at: dict[Place, PublishedCell] = {place_of(cell): cell for cell in self.cells}
        # Where a heading stands for another formula: the values that the row implies for the quantity in the heading.
        self.implied: dict[Place, Interval] = {}
        # Cells of rows that match a confusion matrix.
        self.confirmed: set[Place] = set()
        # Misprinted numbers: corrected text where a single slip of the pen explains them, else the possible values.
        self.slips: dict[Place, str] = {}
        self.allowed: dict[Place, Interval] = {}
        # Number of readings tried so far; see `covid_keras.audit.rows`.
        self.tried = 0
        # Numbers that contradict others of their row, whatever the number of images.
        self.ruled_out: set[Place] = set()
        # Cells of tables that repeat another table, found by the rule `repeats`.
        self.copies: set[Place] = set()
        self.numbers = [cell for cell in self.cells if not cell.lost and math.isfinite(cell.mean)]
        self._deviating = {(cell.table, cell.row) for cell in self.numbers if cell.std is not None}

    def quantity(self, cell: PublishedCell) -> str:
        """Return the metric that a cell holds according to the paper; "" if we have no name for it."""
        return cell.facts.quantity or cell.metric

    def count(self, counts: Iterable[Count]) -> int | None:
        """Return the sum of stated numbers of images; None if none is stated."""
        found = [int(self.at[one].mean) if isinstance(one, tuple) else one for one in counts]
        return sum(found) if found else None

    def stated(self, cell: PublishedCell) -> tuple[int | None, int | None, int | None]:
        """Return the stated positives, negatives and images of a cell; images default to the sum of both."""
        positives, negatives, images = map(self.count, (cell.facts.positives, cell.facts.negatives, cell.facts.images))
        return positives, negatives, positives + negatives if images is None and positives and negatives else images

    def images(self, cell: PublishedCell) -> int | None:
        """Return the denominator of a share: a number of images, None if not stated or the cell is not a plain share.

        A mean with a standard deviation over an unstated number of trainings is not a plain share.
        """
        quantity, (positives, negatives, images) = self.quantity(cell), self.stated(cell)
        if cell.unit not in ("percent", "ratio") or self.of_unknown_runs(cell):
            return None
        if quantity in ("sensitivity", "false_negative_rate"):
            return positives
        if quantity in ("specificity", "false_positive_rate"):
            return negatives
        # The stated size of the whole test set does not apply to a level of severity or to the training images.
        of_a_part = quantity.startswith(_OF_A_PART) and None in (positives, negatives)
        return images if quantity in _OF_ALL or of_a_part else None

    def of_unknown_runs(self, cell: PublishedCell) -> bool:
        """Return whether the cell's row has standard deviations, but its number of trainings is not stated."""
        return cell.facts.executions == 1 and (cell.table, cell.row) in self._deviating

    @cached_property
    def shares(self) -> list[tuple[PublishedCell, int]]:
        """All cells that are proportions of a stated number of images."""
        found = [(cell, self.images(cell)) for cell in self.numbers]
        return [(cell, images) for cell, images in found if images]

    def evaluations(self) -> list[Row]:
        """Return the shares grouped by evaluation: same row, same system, same facts.

        A group that holds a quantity twice is left out, because the other numbers cannot be assigned to either.
        """
        groups: dict[tuple, list[tuple[str, PublishedCell]]] = defaultdict(list)
        for cell in self.numbers:
            if cell.unit not in ("percent", "ratio") or cell.actual:
                continue
            facts = cell.facts
            counts = tuple(self.count(one) for one in (facts.positives, facts.negatives, facts.images))
            totals = (self.count(facts.positives_total), self.count(facts.negatives_total))
            key = (cell.table, cell.row, cell.system, *counts, facts.executions, facts.folds, totals)
            if quantity := self.quantity(cell):
                groups[key].append((quantity, cell))
        return [Row(*key, dict(cells)) for key, cells in groups.items() if len(dict(cells)) == len(cells)]

    def rows(self) -> list[Row]:
        """Return the evaluations with at least two of `METRICS` and a known number of trainings."""
        rows = [
            replace(row, cells={name: cell for name, cell in row.cells.items() if name in METRICS})
            for row in self.evaluations()
        ]
        return [row for row in rows if len(row.cells) > 1 and not any(map(self.of_unknown_runs, row.cells.values()))]

    def matrices(self) -> dict[tuple[str, str], list[PublishedCell]]:
        """Return the printed confusion matrices without lost counts: (table, system) to cells."""
        found: dict[tuple[str, str], list[PublishedCell]] = defaultdict(list)
        for cell in self.cells:
            if cell.actual:
                found[cell.table, cell.system].append(cell)
        return {key: cells for key, cells in found.items() if not any(cell.lost for cell in cells)}

    def usual_decimals(self, cell: PublishedCell) -> int:
        """Return the most common number of decimals for the cell's table and unit."""
        return self._decimals[cell.table, cell.unit].most_common(1)[0][0]

    @cached_property
    def _decimals(self) -> dict[tuple[str, str], Counter[int]]:
        found: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
        for cell in self.numbers:
            found[cell.table, cell.unit][cell.decimals] += 1
        return found

    @cached_property
    def stated_images(self) -> list[int]:
        """All numbers of images that the paper states for a share or a confusion matrix, in ascending order."""
        own = {images for _, images in self.shares}
        own |= {int(sum(cell.mean for cell in cells)) for cells in self.matrices().values()}
        return sorted(own)


def check_facts(book: Book, source: str | Path = "") -> None:
    """Raise `UserError` for impossible or contradictory facts, such as more positives than images.

    Raises
    ------
    UserError
        The message names the cell, and the file `source` if given.
    """
    for cell in book.cells:
        if text := _places_wrong(book, cell.facts) or _counts_wrong(book, cell.facts):
            subject, where = (source, f"{cell.name}: ") if source else (cell.name, "")
            raise UserError(subject, f"{where}audit: {text}", "Correct the file")


def _places_wrong(book: Book, facts: Facts) -> str:
    """Return the problem with a place in the facts: missing, or not a number of images where one is needed."""
    counted = set(facts.counted())
    for place in facts.places():
        if place not in book.at:
            return f"{place_text(place)}, is missing"
        cell = book.at[place]
        if place in counted and not (cell.unit == "count" and cell.mean.is_integer() and cell.mean >= 0):
            return f"{place_text(place)}, is not a number of images"
    return ""


def _counts_wrong(book: Book, facts: Facts) -> str:
    """Return the problem with the numbers of images in the facts: impossible, or contradictory."""
    counts = {name: book.count(getattr(facts, name)) for name in _COUNTS}
    images, parts = counts["images"], [counts["positives"], counts["negatives"]]
    low, high = counts["images_from"], counts["images_to"]
    if None not in (images, *parts) and sum(parts) != images:
        return f"{parts[0]} positives and {parts[1]} negatives are not {images} images"
    if (low is None) != (high is None) or (low is not None and not 0 < low <= high):
        return f"images_from {low} and images_to {high} are not a range"
    if 0 in (images, *parts, counts["positives_total"], counts["negatives_total"]):
        return "a number of images is 0"
    for part, total in zip(parts, (counts["positives_total"], counts["negatives_total"]), strict=True):
        if part is not None and total is not None and part > total:
            return f"{part} images of a class are more than the {total} of all parts"
    weights = [book.count(count) for _, count in facts.weighted_mean_of]
    if None in weights or (weights and not any(weights)):
        return "the numbers of images of weighted_mean_of are missing or all 0"
    shares = [book.count(count) for _, count in facts.share_of]
    if not all(shares):
        return "a number of images of share_of is missing or 0"
    if too_many := [count for count in (*counts.values(), *weights, *shares) if count and count > _MOST_IMAGES]:
        return f"{too_many[0]:.3g} images are more than {_MOST_IMAGES:,}"
    if facts.executions < 1 or facts.folds < 1 or facts.executions % facts.folds:
        return f"{facts.executions} executions are not a multiple of {facts.folds} folds"
    return ""
