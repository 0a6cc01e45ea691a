"""Check whether any set of trainings gives the means of a row."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from covid_keras.audit.book import Book, Row
from covid_keras.audit.findings import UNLIKELY, Finding, explain, judge, leave_open, odds
from covid_keras.audit.intervals import Interval, as_printed, scale_of, shown, spread_of, value_of
from covid_keras.audit.moments import (
    MEAN,
    OF_IMAGES,
    OF_PATIENTS,
    STD,
    Moments,
    Runs,
    at_fault,
    possible,
    range_of,
    runs_of,
)
from covid_keras.audit.slips import slip_or_impossible

RULE, WEIGHTS = "runs", "class_weights"
# Of several numbers of which one must be wrong, the one that is computed from the others.
_DERIVED = ("f1_positive", "f1_negative", "precision_positive", "precision_negative", "accuracy")


def runs_of_row(book: Book) -> Iterator[Finding]:
    """Is there any set of trainings with these means and standard deviations (see `covid_keras.audit.moments`)?

    Of recall, precision and F1 of a class, whatever the images: a mean F1 is at most the F1 of the mean precision and
    the mean recall (Jensen's inequality, the harmonic mean is concave), and its deviation follows from theirs within
    bounds. And of all metrics together, where the classes are stated; folds may be of patients with several images.
    Of several numbers of which one must be wrong, the one that is computed from the others is named, and the others in
    the proof; a slip of the pen explains it only where no other number can be the wrong one. A wrong mean accuracy is
    found only where it is far off.
    """
    for row in book.rows():
        if row.executions > 1:
            yield from _row(book, row)


def _row(book: Book, row: Row) -> Iterator[Finding]:
    moments = {name: Moments(name, value_of(cell), spread_of(cell)) for name, cell in row.cells.items()}
    blamed: dict[str, str] = {}
    checked: set[str] = set()
    for runs in _planes(row):
        here = {name: one for name, one in _cleared(moments, blamed).items() if name in runs.metrics}
        if len(here) < 3 and not (runs.plane == "rates" and len(here) == 2):
            continue
        checked |= set(here)
        if not possible(list(here.values()), runs):
            # The one number that is to blame, or all of them where no single one is.
            single = at_fault(here, runs, _DERIVED)
            blamed |= dict([single]) if single else dict.fromkeys(here, MEAN)
    for name, cell in row.cells.items():
        if name in blamed:
            yield _fault(book, row, moments, name, blamed)
        elif name in checked:
            proof = f"There are sets of {row.executions} trainings with the row's means and deviations."
            yield judge(RULE, True, proof, cell)


def _planes(row: Row, spreads: float = OF_PATIENTS) -> list[Runs]:
    """Return what is known of the runs: both classes together, where they are stated, and each one."""
    both = None
    if row.positives and row.negatives:
        both = runs_of(row.executions, row.folds, row.positives, row.negatives, spreads)
    may_lack = row.folds > 1 and both is None
    planes = [Runs(row.executions, plane, may_lack=may_lack) for plane in ("positive", "negative")]
    return planes if both is None else [both, *planes]


def _cleared(moments: Mapping[str, Moments], blamed: Mapping[str, str]) -> dict[str, Moments]:
    """Return the moments without those that are blamed: a mean with its deviation, or a deviation alone."""
    found = {name: one for name, one in moments.items() if blamed.get(name) != MEAN}
    return {name: Moments(name, one.mean, None) if name in blamed else one for name, one in found.items()}


def _fault(book: Book, row: Row, moments: Mapping[str, Moments], name: str, blamed: Mapping[str, str]) -> Finding:
    """Return what is found of a number that is to blame: a slip of the pen, or impossible."""
    cell = row.cells[name]
    what, rest = blamed[name], _cleared(moments, blamed)
    # What it would be is said for folds of images drawn at random; that it is wrong holds for folds of patients too.
    ranges = (_range(name, what, rest, _planes(row, spreads)) for spreads in (OF_IMAGES, OF_PATIENTS))
    values = next((one for one in ranges if one is not None and one.low <= one.high), None)
    word = "mean" if what == MEAN else "standard deviation"
    others = ", ".join(f"{other} {as_printed(row.cells[other])}" for other in rest if other != name)
    printed = value_of(cell) if what == MEAN else spread_of(cell)
    # A number within what the others allow was excluded on the finer grid that it makes for all of them.
    if values is None or values.meets(printed):
        return judge(RULE, False, f"No set of {row.executions} trainings has the row's means and deviations.", cell)
    proof = (
        f"With {others.replace('_', ' ')} and their deviations, no {row.executions} trainings have this {word}: it is "
        f"{shown(cell, values.low)} to {shown(cell, values.high)}."
    )
    if what == STD:
        proof += f" Printed ± {cell.std:.{cell.std_decimals}f}."
    if rivals := _rivals(name, moments, _planes(row)):
        proof += f" Or another number is the wrong one: {' or '.join(rivals).replace('_', ' ')}."
    if what == STD or rivals:
        return judge(RULE, False, proof, cell)
    return slip_or_impossible(book, RULE, cell, values, proof)


def _rivals(name: str, row: Mapping[str, Moments], planes: Sequence[Runs]) -> list[str]:
    """Return the other numbers without which, or without whose deviation, the row would be possible as well.

    By trainings that find something: without a recall, most of them could have found nothing.
    """
    found, planes = [], [replace(runs, may_miss=False) for runs in planes]
    for other in row:
        rest = [one for metric, one in row.items() if metric != other]
        tries = [rest, [*rest, Moments(other, row[other].mean, None)]]
        if other != name and any(_in_all(one, planes) for one in tries):
            found.append(other)
    return found


def _in_all(row: Sequence[Moments], planes: Sequence[Runs]) -> bool:
    return all(possible([one for one in row if one.metric in runs.metrics], runs) for runs in planes)


def _range(name: str, what: str, rest: Mapping[str, Moments], planes: Sequence[Runs]) -> Interval | None:
    """Return which values of a number the other numbers of the row allow, in all planes that it is in."""
    found = []
    for runs in planes:
        others = [one for other, one in rest.items() if other in runs.metrics and other != name]
        if name in runs.metrics and others:
            kept = [one for other, one in rest.items() if other in runs.metrics] if what == STD else others
            values = range_of(name, what, kept, runs) if possible(kept, runs) else None
            found += [] if values is None else [values]
    return Interval(max(one.low for one in found), min(one.high for one in found)) if found else None


def class_weights(book: Book) -> Iterator[Finding]:
    """Is a mean accuracy over folds the mean of sensitivity and specificity, weighted by the stated classes?

    A division by class keeps the weights in every fold up to one image; a division that the paper does not describe
    need not, so a row that the stated classes do not give is not impossible. Where equal weights give all such rows of
    a table to the last digit, they explain it: classes of equal size, or a balanced accuracy.
    """
    names, tables = ("accuracy", "sensitivity", "specificity"), defaultdict(list)
    for row in book.rows():
        if set(names) <= set(row.cells) and row.folds > 1 and row.positives and row.negatives:
            tables[row.table].append((row, _weigh(row)))
    for checks in tables.values():
        stated = all(one.stated for _, one in checks)
        chance = math.prod(one.chance for _, one in checks)
        equal = all(one.equal for _, one in checks) and chance < UNLIKELY / 10
        for row, one in checks:
            accuracy = row.cells["accuracy"]
            if stated:
                yield judge(WEIGHTS, True, one.proof, *(row.cells[name] for name in names))
            elif equal:
                proof = f"Equal weights give all {len(checks)} rows of the table; by chance about {odds(chance)}."
                reason = "classes of equal size, or a balanced accuracy"
                yield explain(WEIGHTS, reason, f"{one.proof} {proof}", accuracy)
            else:
                yield leave_open(WEIGHTS, "the folds need not hold each class's share", accuracy, proof=one.proof)


class _Weighing(NamedTuple):
    """Whether the stated weights and equal ones give an accuracy, the latter's chance, and the arithmetic."""

    stated: bool
    equal: bool
    chance: float
    proof: str


def _weigh(row: Row) -> _Weighing:
    accuracy, rates = row.cells["accuracy"], [row.cells[name] for name in ("sensitivity", "specificity")]
    images = row.positives + row.negatives
    share, fold = row.positives / images, images / row.folds
    sensitivity, specificity = map(value_of, rates)
    apart = abs(sensitivity.low - specificity.low) + sum(one.high if one else 0.5 for one in map(spread_of, rates))
    stated = sensitivity.scaled(share) + specificity.scaled(1 - share)
    equal = sensitivity.scaled(0.5) + specificity.scaled(0.5)
    slack = apart / fold
    drawn = 2 * math.sqrt(share * (1 - share) * (1 - 1 / row.folds) / fold) * apart
    step = 2 * scale_of(accuracy.unit) * 10.0**-accuracy.decimals
    proof = (
        f"{row.positives:,} positives and {row.negatives:,} negatives weigh {as_printed(rates[0])} and "
        f"{as_printed(rates[1])} to {shown(accuracy, stated.middle)}, equal classes to "
        f"{shown(accuracy, equal.middle)}; printed {as_printed(accuracy)}."
    )
    fits = Interval(stated.low - slack, stated.high + slack).meets(value_of(accuracy))
    return _Weighing(fits, equal.meets(value_of(accuracy)), min(1.0, step / (2 * drawn + step)), proof)
