"""Check whether a single confusion matrix matches all metrics of a row; if not, look for explanations."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np

from covid_keras.audit.book import Book, Row
from covid_keras.audit.confusion import (
    METRICS,
    MIRRORED,
    OTHER_FORMULAS,
    Formula,
    Matrices,
    TooManyError,
    Values,
    solve,
    solve_images,
)
from covid_keras.audit.findings import TRUNCATED, UNLIKELY, Finding, explain, judge, leave_open, odds, place_of
from covid_keras.audit.intervals import SLACK, Interval, as_printed, last_digit, value_of
from covid_keras.published.cells import PublishedCell

RULE = "one_matrix"
_SHARES = tuple(range(5, 55, 5))
_DRAWS, _REACH = 40, 30
_FEWER = 2
# Limit of readings per paper. Beyond it, rows are tried with the stated numbers of images only, or not at all.
_MOST_READINGS = 20_000
_TOO_MANY = "there are too many matrices with this number of images to search"


@dataclass(frozen=True)
class Sizes:
    """Positives and negatives to try, their origin in words ("" if stated), and how many positives may be missing."""

    pair: tuple[int, int]
    words: str = ""
    spare: int = 0


@dataclass(frozen=True)
class Reading:
    """One way to read a row: exchanged columns, cost, matching matrices, and class sizes in words if not as stated."""

    swapped: tuple[str, ...]
    cost: int
    matrices: Matrices
    words: str


@dataclass(frozen=True)
class Explanation:
    """What makes all rows of a table possible: another formula for a heading, other class sizes, exchanged columns."""

    heading: str
    formula: str
    sizes: Sizes
    readings: tuple[Reading, ...]
    cost: int

    @property
    def named(self) -> tuple[str, str]:
        """Return the heading and the formula that it stands for, both "" if that is its own formula."""
        return ("", "") if self.formula == self.heading else (self.heading, self.formula)


def one_matrix(book: Book) -> Iterator[Finding]:
    """Is there one confusion matrix with the stated classes that matches every metric of a row?

    This extends the GRIM test to several proportions of the same images. If only the number of images is stated, any
    class sizes are tried, and all numbers of an impossible row are accused, since at least one is wrong. Otherwise,
    tables with an impossible row are read in other ways, the simplest first. A reading that makes all rows of the table
    possible is an explanation, unless it would also explain many random rows.
    """
    tables = defaultdict(list)
    for row in book.rows():
        if row.executions > 1:
            continue
        try:
            if row.positives and row.negatives:
                tables[row.table, row.positives, row.negatives].append((row, _matrices(row)))
            elif row.images and "accuracy" in row.cells:
                made = solve_images(_values(row), row.images)
                proof = f"No confusion matrix of {row.images:,} images matches the row: {_text(row.cells)}."
                wrong = judge(RULE, False, f"{proof} At least one is wrong.", *row.cells.values())
                yield _consistent(book, row, made) if len(made) else wrong
        except TooManyError:
            yield leave_open(RULE, _TOO_MANY, *row.cells.values(), proof="")
    yield from _tables(book, list(tables.values()))


def _matrices(row: Row) -> Matrices:
    return solve(_values(row), row.positives, row.negatives)


def _values(row: Row, cut: bool = False) -> dict[str, Interval]:
    return {quantity: value_of(cell, cut) for quantity, cell in row.cells.items()}


def _tried(values: Values, positives: int, negatives: int) -> Matrices | None:
    """Return the matrices that match the values; None if there are none, or too many to search."""
    try:
        made = solve(values, positives, negatives)
    except TooManyError:
        return None
    return made if len(made) else None


def _share(value: float, decimals: int = 2) -> str:
    return "undefined" if math.isnan(value) else f"{100 * value:.{decimals}f} %"


def _text(cells: Mapping[str, PublishedCell]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {as_printed(cell)}" for name, cell in cells.items())


def _consistent(book: Book, row: Row, made: Matrices) -> Finding:
    _confirm(book, row.cells)
    many = "the only matrix that does" if made.total == 1 else f"one of {made.total:,} matrices that do"
    proof = f"{made.first()} matches the row, {many}."
    return judge(RULE, True, proof, *row.cells.values())


def _confirm(book: Book, cells: Mapping[str, PublishedCell]) -> None:
    """Record that a matrix matches the cells, unless there are only two, which it may match by chance."""
    if len(cells) > 2:
        book.confirmed.update(map(place_of, cells.values()))


def _tables(book: Book, tables: Sequence[Sequence[tuple[Row, Matrices]]]) -> Iterator[Finding]:
    """Yield the findings of tables, each a list of rows of the same images with the matrices that match them.

    If a table has no explanation of its own, only formulas that explain another table are tried.
    """
    judged = []
    for table in tables:
        rows, failing = [row for row, _ in table], [row for row, made in table if not len(made)]
        if failing:
            judged.append((rows, failing, Candidates.of(book, rows)))
        else:
            yield from (_consistent(book, row, made) for row, made in table)
    best = [candidates.best(failing) for _, failing, candidates in judged]
    known = {one[0].named for one in best if one is not None}
    for (rows, failing, candidates), explanation in zip(judged, best, strict=True):
        explanation = explanation or candidates.best(failing, known)
        if explanation is not None:
            yield from _explained(book, rows, failing, *explanation)
            continue
        for row in rows:
            if row not in failing:
                yield _consistent(book, row, _matrices(row))
                continue
            alone = Candidates.of(book, [row]).best([row]) if len(rows) > 1 else None
            yield from _explained(book, [row], [row], *alone) if alone else _blame(book, row)


@dataclass(frozen=True)
class Candidates:
    """All readings that make the rows of a table possible, and how many were tried.

    Parameters
    ----------
    found : tuple of Explanation
        The simplest (lowest cost) first.
    sizes, formulas : int
        Number of class sizes that were tried, and of formulas tried with each.
    """

    found: tuple[Explanation, ...]
    sizes: int
    formulas: int

    @classmethod
    def of(cls, book: Book, rows: Sequence[Row]) -> Candidates:
        """Try all combinations of heading, formula, exchanged columns and class sizes on the rows."""
        headings = [name for name in rows[0].cells if all(name in row.cells for row in rows)]
        sizes = list(_sizes(book, rows[0])) if len(rows[0].cells) > 2 else []
        readings = len(rows) * len(headings) * _effort(rows[0])
        sizes = next(some for some in (sizes, sizes[:1], []) if book.tried + len(some) * readings <= _MOST_READINGS)
        book.tried += len(sizes) * readings
        found = [one for size in sizes for heading in headings for one in _readings(rows, heading, size)]
        found.sort(key=lambda one: one.cost)
        return cls(tuple(found), len(sizes), len(headings) * (len(METRICS) + len(OTHER_FORMULAS)))

    def best(
        self, failing: Sequence[Row], known: Collection[tuple[str, str]] | None = None
    ) -> tuple[Explanation, float] | None:
        """Return the simplest reading and the probability that it fits by chance.

        None if several readings are equally simple, or if a fit by chance is not unlikely. With `known`, consider only
        these headings and formulas, which explain other tables.
        """
        found = [one for one in self.found if known is None or one.named in known]
        found = [one for one in found if one.cost == found[0].cost]
        same = {(one.named, one.sizes.words, tuple(reading.swapped for reading in one.readings)) for one in found}
        if len(same) != 1:
            return None
        tried = self.sizes * (self.formulas if known is None else len(known))
        chance = min(1.0, tried * math.prod(_luck(row, found[0]) for row in failing))
        return (found[0], chance) if chance < UNLIKELY else None


def _effort(row: Row) -> float:
    """Return the effort of reading a row under one heading: as printed, and with any two columns exchanged.

    If the row has neither a sensitivity nor a specificity, the search is wider and counts more.
    """
    wide = {"sensitivity", "specificity", "false_positive_rate", "false_negative_rate"}.isdisjoint(row.cells)
    return (math.comb(len(row.cells), 2) + 1) * (1 + wide * min(row.positives, row.negatives) / 1000)


def _sizes(book: Book, row: Row) -> Iterator[Sizes]:
    """Yield the stated class sizes, those stated elsewhere in the paper, and other shares of the stated totals."""
    stated = row.positives, row.negatives
    yield Sizes(stated)
    others = {(r.positives, r.negatives) for r in book.rows() if r.positives and r.negatives}
    for pair in sorted(others - {stated}):
        yield Sizes(pair, f"{_of_classes(pair)}, which the paper states elsewhere")
    for share in _SHARES if None not in row.totals else ():
        parts = [(math.floor(total * share / 100), math.ceil(total * share / 100)) for total in row.totals]
        if not parts[0][0] <= row.positives <= parts[0][1]:
            for pair in product(*(sorted(set(part)) for part in parts)):
                yield Sizes(pair, f"{share} % of the class totals", _FEWER)


def _of_classes(pair: tuple[int, int]) -> str:
    return f"{pair[0]:,} positives and {pair[1]:,} negatives"


def _readings(rows: Sequence[Row], heading: str, sizes: Sizes) -> list[Explanation]:
    """Return the formulas for one heading that make all rows possible with these class sizes."""
    options = [_read(row, _values(row), heading, sizes) for row in rows]
    names = set.intersection(*(set(one) for one in options))
    found = []
    for name in sorted(names):
        chosen = tuple(one[name] for one in options)
        cost = bool(sizes.words) + (name != heading) + sum(reading.cost for reading in chosen)
        if cost <= 1 + len(rows):
            found.append(Explanation(heading, name, sizes, chosen, cost))
    return found


def _read(row: Row, values: Values, heading: str, sizes: Sizes) -> dict[str, Reading]:
    """Return the simplest reading of a row for each formula that the heading may stand for."""
    found: dict[str, Reading] = {}
    for fewer, (swapped, changed) in product(range(sizes.spare + 1), list(_swaps(values))):
        cost = (fewer > 0) + bool(swapped)
        actual = (sizes.pair[0] - fewer, sizes.pair[1])
        if cost > 1 or actual[0] <= 0 or heading not in changed:
            continue
        made = _tried({name: one for name, one in changed.items() if name != heading}, *actual)
        for name, formula in _formulas(heading).items() if made is not None else ():
            kept = made.where(changed[heading].holds(made.ratio(formula)))
            if len(kept) and (name not in found or cost < found[name].cost):
                less = f", less {fewer} positives" if fewer > 1 else ", less one positive" if fewer else ""
                words = f"{_of_classes(actual)} ({sizes.words}{less})" if sizes.words else ""
                found[name] = Reading(swapped, cost, kept, words)
    return found


def _formulas(heading: str) -> dict[str, Formula]:
    others = {name: formula for name, formula in METRICS.items() if name != heading}
    return {heading: METRICS[heading], **OTHER_FORMULAS, **others}


def _swaps(values: Values) -> Iterator[tuple[tuple[str, ...], dict[str, Interval]]]:
    """Yield the values as printed, with any two exchanged, and with the two classes exchanged."""
    yield (), dict(values)
    for first, second in combinations(values, 2):
        yield (first, second), {**values, first: values[second], second: values[first]}
    mirrored = {MIRRORED[name]: one for name, one in values.items() if name in MIRRORED}
    if set(mirrored) != set(values) or len(mirrored) == len(values) > 3:
        yield tuple(values), mirrored


def _luck(row: Row, one: Explanation) -> float:
    """Return the share of random rows, each number up to 30 last digits away from this row, that are explained too."""
    values, rng = _values(row), np.random.default_rng(0)
    if not one.sizes.words and not any(reading.swapped for reading in one.readings):
        rest = {name: values[name] for name in values if name != one.heading}
        made = solve(rest, *one.sizes.pair)
        got = made.ratio(_formulas(one.heading)[one.formula])
        steps = np.rint((got - values[one.heading].middle) / last_digit(row.cells[one.heading]))
        return max(len(set(steps[np.abs(steps) <= _REACH])), 1) / (2 * _REACH + 1)
    hits = 0
    for _ in range(_DRAWS):
        moved = dict(values)
        for name in values:
            shift = int(rng.integers(-_REACH, _REACH + 1)) * last_digit(row.cells[name])
            moved[name] = Interval(moved[name].low + shift, moved[name].high + shift)
        hits += one.formula in _read(row, moved, one.heading, one.sizes)
    return (hits + 1) / (_DRAWS + 1)


def _explained(
    book: Book, rows: Sequence[Row], failing: Sequence[Row], one: Explanation, chance: float
) -> Iterator[Finding]:
    """Yield the findings of rows that another reading makes possible; `chance` is the probability of a chance fit."""
    repaired = sum(len(row.cells) if one.sizes.words else 1 for row in failing)
    for row, reading in zip(rows, one.readings, strict=True):
        proof = (
            f"No matrix of {_of_classes((row.positives, row.negatives))} matches the row as printed, but "
            f"{reading.matrices.first()} matches it read this way. This reading makes all rows possible (impossible as "
            f"printed: {len(failing)} of {len(rows)}); numbers corrected: {repaired}; probability by chance: about "
            f"{odds(chance)}."
        )
        if row not in failing:
            proof = f"{reading.matrices.first()} matches the row."
        fine = row not in failing and not one.sizes.words and not reading.swapped
        for name, cell in row.cells.items():
            changes = [
                reading.words,
                one.formula if name == one.heading != one.formula else "",
                f"exchanged {' and '.join(reading.swapped)}" if name in reading.swapped else "",
            ]
            reason = ", ".join(filter(None, changes))
            yield explain(RULE, reason, proof, cell) if reason and not fine else judge(RULE, True, proof, cell)
        if one.formula != one.heading:
            book.implied[place_of(row.cells[one.heading])] = reading.matrices.range_of(METRICS[one.heading])


def _blame(book: Book, row: Row) -> list[Finding]:
    """Return the findings of an impossible row: accuse the smallest set of numbers without which the rest is possible.

    Among sets of equal size, choose the one whose numbers are nearest to those of a matrix that matches the rest.
    """
    best, cut = _fewest(row, _values(row)), _fewest(row, _values(row, cut=True))
    # Truncation counts as an explanation if it corrects at least two numbers; one may fit by chance.
    if cut is not None and (best is None or len(cut[0]) < len(best[0]) - 1):
        return _cut(row, *cut)
    sizes = _of_classes((row.positives, row.negatives))
    if best is None:
        proof = f"No confusion matrix of {sizes} matches even one number of the row."
        return [judge(RULE, False, proof, *row.cells.values())]
    dropped, made = best
    others = {name: cell for name, cell in row.cells.items() if name not in dropped}
    _confirm(book, others)
    nearest = ", ".join(f"{name.replace('_', ' ')} {_share(made.ratio(METRICS[name])[0])}" for name in dropped)
    proof = f"No confusion matrix of {sizes} matches the row. {made.first()} gives {_text(others)}, but {nearest}."
    return [judge(RULE, name not in dropped, proof, cell) for name, cell in row.cells.items()]


def _fewest(row: Row, values: Values) -> tuple[tuple[str, ...], Matrices] | None:
    """Return the smallest set of numbers without which the row is possible, and the matrix nearest to that set."""
    best: tuple[float, tuple[str, ...], Matrices] | None = None
    for size in range(len(row.cells)):
        for dropped in combinations(row.cells, size):
            rest = {name: one for name, one in values.items() if name not in dropped}
            made = _tried(rest, row.positives, row.negatives)
            if made is not None:
                gaps, which = _gaps(made, {name: row.cells[name] for name in dropped})
                if best is None or gaps < best[0]:
                    best = (gaps, dropped, which)
        if best is not None:
            return best[1:]
    return None


def _cut(row: Row, dropped: tuple[str, ...], made: Matrices) -> list[Finding]:
    """Return the findings of a row whose numbers are truncated instead of rounded, except the `dropped` ones."""
    given = {name: made.ratio(METRICS[name])[0] for name in row.cells}
    text = ", ".join(f"{name.replace('_', ' ')} {_share(given[name], 3)}" for name in row.cells)
    proof = f"{made.first()} gives {text}, which is the row with digits cut off"
    proof += f", except for {' and '.join(dropped).replace('_', ' ')}." if dropped else "."
    found = []
    for name, cell in row.cells.items():
        if name in dropped or given[name] in value_of(cell):
            found.append(judge(RULE, name not in dropped, proof, cell))
        else:
            found.append(explain(RULE, TRUNCATED, proof, cell))
    return found


def _gaps(made: Matrices, dropped: Mapping[str, PublishedCell]) -> tuple[float, Matrices]:
    """Return the matrix nearest to the dropped numbers, preceded by its distance in units of their last digits."""
    gaps = np.zeros(len(made))
    for name, cell in dropped.items():
        values = value_of(cell)
        got = np.nan_to_num(made.ratio(METRICS[name]))
        gaps += np.maximum(np.maximum(values.low - got, got - values.high), 0) / max(last_digit(cell), SLACK)
    nearest = int(gaps.argmin())
    return float(gaps[nearest]), made.where(np.arange(len(made)) == nearest)
