"""Check whether any set of trainings has the means of a row."""

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
# If one of several numbers must be wrong, the derived one is accused, in this order.
_DERIVED = ("f1_positive", "f1_negative", "precision_positive", "precision_negative", "accuracy")


def runs_of_row(book: Book) -> Iterator[Finding]:
    """Is there any set of trainings with these means and standard deviations (see `covid_keras.audit.moments`)?

    Recall, precision and F1 of a class are checked whatever the numbers of images: a mean F1 is at most the F1 of the
    mean precision and the mean recall (Jensen's inequality; the harmonic mean is concave), and its standard deviation
    is bounded by theirs. If the classes are stated, all metrics are checked together; folds may be of patients with
    several images. If one of several numbers must be wrong, the derived one is accused, and its proof names the others.
    A slip of the pen explains it only if no other number can be the wrong one. A wrong mean accuracy is found only if
    it is far off.
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
            # Accuse the single number without which the row is possible, or all numbers if there is none.
            single = at_fault(here, runs, _DERIVED)
            blamed |= dict([single]) if single else dict.fromkeys(here, MEAN)
    for name, cell in row.cells.items():
        if name in blamed:
            yield _fault(book, row, moments, name, blamed)
        elif name in checked:
            proof = f"Some set of {row.executions} trainings may have the means and standard deviations of the row."
            yield judge(RULE, True, proof, cell)


def _planes(row: Row, spreads: float = OF_PATIENTS) -> list[Runs]:
    """Return the runs to check: both classes together, if they are stated, and each class by itself."""
    both = None
    if row.positives and row.negatives:
        both = runs_of(row.executions, row.folds, row.positives, row.negatives, spreads)
    may_lack = row.folds > 1 and both is None
    planes = [Runs(row.executions, plane, may_lack=may_lack) for plane in ("positive", "negative")]
    return planes if both is None else [both, *planes]


def _cleared(moments: Mapping[str, Moments], blamed: Mapping[str, str]) -> dict[str, Moments]:
    """Return the moments without the accused ones: a mean and its standard deviation, or only the latter."""
    found = {name: one for name, one in moments.items() if blamed.get(name) != MEAN}
    return {name: Moments(name, one.mean, None) if name in blamed else one for name, one in found.items()}


def _fault(book: Book, row: Row, moments: Mapping[str, Moments], name: str, blamed: Mapping[str, str]) -> Finding:
    """Return the finding of an accused number: impossible, or explained by a slip of the pen."""
    cell = row.cells[name]
    what, rest = blamed[name], _cleared(moments, blamed)
    # The proof gives the values possible in folds of images, which are tighter, if there are any; the number is wrong
    # in folds of patients too.
    ranges = (_range(name, what, rest, _planes(row, spreads)) for spreads in (OF_IMAGES, OF_PATIENTS))
    values = next((one for one in ranges if one is not None and one.low <= one.high), None)
    word = "mean" if what == MEAN else "standard deviation"
    others = ", ".join(f"{other} {as_printed(row.cells[other])}" for other in rest if other != name)
    printed = value_of(cell) if what == MEAN else spread_of(cell)
    # The number may lie within the range computed without it, because the grid without it is coarser.
    if values is None or values.meets(printed):
        proof = f"No set of {row.executions} trainings has the means and standard deviations of the row."
        return judge(RULE, False, proof, cell)
    low, high = shown(cell, values.low), shown(cell, values.high)
    proof = (
        f"With {others.replace('_', ' ')} and their standard deviations, the {word} of {name.replace('_', ' ')} over "
        f"{row.executions} trainings is {low} to {high}."
    )
    if what == STD:
        proof += f" Printed ± {cell.std:.{cell.std_decimals}f}."
    if rivals := _rivals(name, moments, _planes(row)):
        proof += f" Alternatively, {' or '.join(rivals).replace('_', ' ')} is wrong."
    if what == STD or rivals:
        return judge(RULE, False, proof, cell)
    return slip_or_impossible(book, RULE, cell, values, proof)


def _rivals(name: str, row: Mapping[str, Moments], planes: Sequence[Runs]) -> list[str]:
    """Return the other numbers without which, or without whose standard deviation, the row would be possible too.

    Only trainings that recognise some image of each class are considered (`may_miss` is off); otherwise, without a
    printed recall, almost any row would be possible.
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
    """Return the values of a number that the other numbers of the row allow, in all planes that include it."""
    found = []
    for runs in planes:
        others = [one for other, one in rest.items() if other in runs.metrics and other != name]
        if name in runs.metrics and others:
            kept = [one for other, one in rest.items() if other in runs.metrics] if what == STD else others
            values = range_of(name, what, kept, runs) if possible(kept, runs) else None
            found += [] if values is None else [values]
    return Interval(max(one.low for one in found), min(one.high for one in found)) if found else None


def class_weights(book: Book) -> Iterator[Finding]:
    """Is a mean accuracy over folds the mean of sensitivity and specificity, weighted by the stated class sizes?

    Folds stratified by class keep the weights, up to one image. Other folds need not, so a row with another mean is
    left open, not called impossible. If equal weights give all such rows of a table to the last digit, they are the
    explanation: classes of equal size, or a balanced accuracy.
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
                proof = f"Equal weights give all {len(checks)} rows of the table (by chance about {odds(chance)})."
                reason = "classes of equal size, or a balanced accuracy"
                yield explain(WEIGHTS, reason, f"{one.proof} {proof}", accuracy)
            else:
                why = "the share of each class may differ between folds"
                yield leave_open(WEIGHTS, why, accuracy, proof=one.proof)


class _Weighing(NamedTuple):
    """Whether the stated and equal weights give an accuracy, the probability by chance of the latter, and a proof."""

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
        f"The mean of {as_printed(rates[0])} and {as_printed(rates[1])} is {shown(accuracy, stated.middle)} if "
        f"weighted by {row.positives:,} positives and {row.negatives:,} negatives, {shown(accuracy, equal.middle)} if "
        f"weighted equally; printed {as_printed(accuracy)}."
    )
    fits = Interval(stated.low - slack, stated.high + slack).meets(value_of(accuracy))
    return _Weighing(fits, equal.meets(value_of(accuracy)), min(1.0, step / (2 * drawn + step)), proof)
