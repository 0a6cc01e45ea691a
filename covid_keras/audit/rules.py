"""Rules for a number and its images, standard deviation, interval or related metrics: `rule(book)` yields findings.

References
----------
.. [1] N. J. L. Brown and J. A. J. Heathers, The GRIM test, Soc. Psychol. Pers. Sci. 8(4), 2017.
.. [2] R. Bhatia and C. Davis, A better bound on the variance, Am. Math. Monthly 107(4), 2000.
.. [3] A. A. Taha and A. Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Med. Imaging 15:29, 2015.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np

from covid_keras.audit.book import Book
from covid_keras.audit.confusion import common_images_of, counts_for
from covid_keras.audit.findings import TRUNCATED, UNLIKELY, Finding, explain, judge, leave_open, place_of
from covid_keras.audit.intervals import (
    SLACK,
    Interval,
    as_printed,
    last_digit,
    scale_of,
    share_of,
    shown,
    spread_of,
    value_of,
)
from covid_keras.audit.moments import harmonic
from covid_keras.audit.slips import slip_or_impossible
from covid_keras.evaluation.possibility import AuditVerdict
from covid_keras.published.cells import PublishedCell

_ALWAYS_DEFINED = ("accuracy", "weighted_recall")
# Limit of numbers of images that are tried.
_MOST_TRIED = 1_000_000


def grim(book: Book) -> Iterator[Finding]:
    """Is the printed share a whole number out of the stated images (GRIM test [1]_)?

    For a mean over n trainings on the same images, possible values are n times as dense. For a mean over folds, the
    values are known exactly only if the paper states folds of equal size. Otherwise an accuracy that fits equal folds
    is consistent, and any other is left open, because folds by patient or by class differ in size.
    """
    for cell, images in book.shares:
        runs, folds, quantity = cell.facts.executions, cell.facts.folds, book.quantity(cell)
        grid = images // folds * runs
        if cell.facts.equal_folds == "classes" or (cell.facts.equal_folds and quantity in _ALWAYS_DEFINED):
            yield _grim_of_folds(cell, images)
        elif folds == 1 or (images % folds == 0 and quantity == "accuracy" and counts_for(value_of(cell), grid)):
            yield _grim(book, cell, images, grid)
        else:
            why = f"the sizes of the {folds} folds of {images:,} images are not stated"
            yield leave_open("grim", why, cell)


def _grim_of_folds(cell: PublishedCell, images: int) -> Finding:
    """Return whether a mean over folds whose sizes differ by at most one image is a possible mean of shares."""
    runs, folds, values = cell.facts.executions, cell.facts.folds, value_of(cell)
    size, larger = divmod(images, folds)
    sizes = f"{size:,}" + (f" or {size + 1:,}" if larger else "")
    if not size or size * runs * last_digit(cell) >= 1 or images * runs > _MOST_TRIED:
        why = f"{runs} shares of {sizes} images each can have any printed mean"
        return leave_open("grim", why, cell)
    # Contribution of the larger folds to the sum of shares, then the hits that the smaller folds need for the rest.
    added = np.arange(runs // folds * larger * (size + 1) + 1) / (size + 1)
    low, high = ((end * runs - added) * size for end in (values.low - 1e-9, values.high + 1e-9))
    most = runs // folds * (folds - larger) * size
    holds = bool((np.ceil(np.maximum(low, 0)) <= np.floor(np.minimum(high, most))).any())
    proof = f"{'A' if holds else 'No'} mean of {runs} shares of {sizes} images each is {as_printed(cell)}."
    return judge("grim", holds, proof, cell)


def _grim(book: Book, cell: PublishedCell, images: int, grid: int) -> Finding:
    values, step = value_of(cell), last_digit(cell)
    of = f"{grid:,}" + ("" if grid == images else f" ({cell.facts.executions} trainings, {images:,} images)")
    hits = counts_for(values, grid)
    if hits:
        if grid * step >= 1:
            why = f"with {of} images, every printed number is a possible share"
            return leave_open("grim", why, cell)
        return judge("grim", True, f"{hits[0]:,} of {of} are {as_printed(cell)}.", cell)
    near = math.floor(values.low * grid)
    beside = " and ".join(f"{k:,} are {shown(cell, k / grid, 1)}" for k in (near, near + 1) if 0 <= k <= grid)
    proof = f"No whole number out of {of} is {as_printed(cell)}" + (f": {beside}." if beside else ".")
    if counts_for(value_of(cell, cut=True), grid) and grid * step < UNLIKELY:
        return explain("grim", TRUNCATED, f"{proof} With digits cut off, one of them is.", cell)
    tried = [n for n in book.stated_images if n != images]
    others = [n for n in tried if counts_for(values, n)]
    if grid == images and len(others) == 1 and sum(min(1, n * step) for n in tried) < UNLIKELY:
        return explain("grim", f"{others[0]:,} images, which the paper states elsewhere", proof, cell)
    return judge("grim", False, proof, cell)


def common_images(book: Book) -> Iterator[Finding]:
    """Is there one number of images, within the stated bounds, that allows all shares of a column [1]_?"""
    groups: dict[tuple, list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        quantity = book.quantity(cell)
        # Other metrics, such as a sensitivity or an F1, have other denominators.
        if not cell.facts.images_from or not quantity.startswith(("accuracy", "weighted_recall")):
            continue
        if cell.unit in ("percent", "ratio") and cell.facts.executions == 1 and not book.of_unknown_runs(cell):
            bounds = book.count(cell.facts.images_from), book.count(cell.facts.images_to)
            groups[(cell.table, cell.column, quantity, *bounds)].append(cell)
    for (*_, low, high), cells in groups.items():
        if high - low >= _MOST_TRIED:
            continue
        shares = [value_of(cell) for cell in cells]
        fits = common_images_of(shares, low, high)
        if len(cells) == 1 and len(fits):
            continue
        values = ", ".join(f"{cell.mean:.{cell.decimals}f}" for cell in cells)
        if len(fits):
            proof = f"{values} are possible shares of {fits[0]:,} images, "
            proof += f"the first of {len(fits)} such numbers from {low:,} to {high:,}."
        else:
            beyond = common_images_of(shares, high, min(10 * high, high + _MOST_TRIED))
            later = f"; the next larger number that does is {beyond[0]:,}" if len(beyond) else ""
            proof = f"No number of images from {low:,} to {high:,} allows all of {values}{later}. "
            proof += "At least one is wrong."
        yield judge("common_images", bool(len(fits)), proof, *cells)


def deviation(book: Book) -> Iterator[Finding]:
    """Is the standard deviation possible for numbers between 0 and 1 with this mean [2]_?"""
    for cell in book.numbers:
        std, runs = spread_of(cell), cell.facts.executions
        if std is None or cell.unit not in ("percent", "ratio"):
            continue
        if runs < 2:
            why = "the number of trainings behind the standard deviation is not stated"
            yield leave_open("deviation", why, cell)
            continue
        mean = value_of(cell)
        middle = min(max(0.5, mean.low), mean.high)
        variance, few = max(middle * (1 - middle), 0), ""
        most = math.sqrt(variance * runs / (runs - 1))
        # A precision, or a rate in a fold without the class, may be undefined in all but two trainings.
        if std.low > most + SLACK and book.quantity(cell) not in _ALWAYS_DEFINED:
            most, few = math.sqrt(2 * variance), ", even if only two trainings have the metric,"
        proof = f"Numbers from 0 to 100 % with this mean{few} have a standard deviation of at most {shown(cell, most)}."
        yield judge("deviation", std.low <= most + 1e-9, proof, cell)


def interval(book: Book) -> Iterator[Finding]:
    """Does the printed interval contain the number, is a share within 0 and 100 %, and is a count at least 0?"""
    for cell in book.numbers:
        values, share = value_of(cell), cell.unit in ("percent", "ratio")
        if cell.low is not None:
            low, high = cell.low - _half(cell.low), cell.high + _half(cell.high)
            holds = Interval(low, high).scaled(scale_of(cell.unit)).meets(values)
            yield judge("interval", holds, f"The interval is {cell.low:g} to {cell.high:g}.", cell)
        if share and (values.high < -SLACK or values.low > 1 + SLACK):
            proof = "A share lies between 0 and 100 %."
            if book.quantity(cell):
                yield judge("interval", False, proof, cell)
            else:
                # A gain in percent may be negative or more than 100 %.
                why = "it cannot be a share, and published.yaml does not say what it is"
                yield leave_open("interval", why, cell, proof=proof)
        if cell.unit == "count" and cell.mean < 0 and not cell.facts.difference_of:
            yield judge("interval", False, "A count cannot be negative.", cell)


def _half(end: float) -> float:
    """Return half the weight of the last digit of an interval's end, ignoring trailing zeros."""
    return 10.0 ** -len(f"{end!r}".partition(".")[2].rstrip("0")) / 2


def dice_and_iou(book: Book) -> Iterator[Finding]:
    """Do mean Dice and mean IoU agree: mean IoU <= mean Dice <= 2 mean IoU / (1 + mean IoU)?

    For one mask, Dice = 2 IoU / (1 + IoU) [3]_, a concave function of the IoU. By Jensen's inequality, the mean Dice is
    at most this function of the mean IoU.
    """
    broken = []
    for row in book.evaluations():
        for name, dice in row.cells.items():
            iou = row.cells.get("iou" + name.removeprefix("dice")) if name.startswith("dice") else None
            if iou is None:
                continue
            overlap, values = share_of(iou), share_of(dice)
            most = 2 * overlap.high / (1 + overlap.high)
            proof = f"With a mean IoU of {as_printed(iou)}, the mean Dice is at least the IoU and at most "
            proof += f"2 IoU / (1 + IoU) = {shown(dice, most)}; printed {as_printed(dice)}."
            if values.low <= most + 1e-9 and overlap.low <= values.high + 1e-9:
                yield judge("dice_and_iou", True, proof, dice, iou)
            else:
                broken.append((dice, iou, proof))
    for dice, iou, proof in broken:
        # If several pairs are impossible, a single slip of the pen is not the cause.
        if len(broken) > 1:
            yield judge("dice_and_iou", False, proof, dice, iou)
        else:
            values = share_of(dice)
            possible = Interval(values.low / (2 - values.low), values.high)
            other = slip_or_impossible(book, "dice_and_iou", iou, possible, proof)
            yield judge("dice_and_iou", other.verdict is not AuditVerdict.IMPOSSIBLE, proof, dice)
            yield other


def identities(book: Book) -> Iterator[Finding]:
    """Do the metrics of a row agree with each other, whatever the numbers of images?

    For one training, F1 is the harmonic mean of precision and recall, and the accuracy lies between sensitivity and
    specificity. The recall weighted by class size equals the accuracy, also for means. Means of F1 are left to
    `runs_of_row`. If a row disagrees, the derived metric is accused, though one of the others may be wrong instead.
    """
    for row in book.evaluations():
        one_run = row.executions == 1 and not any(map(book.of_unknown_runs, row.cells.values()))
        for names, allowed in _identities(row.cells, one_run):
            cells = [row.cells[name] for name in names]
            name, *others = (name.replace("_", " ") for name in names)
            terms = " and ".join(f"{other} {as_printed(cell)}" for other, cell in zip(others, cells[1:], strict=True))
            low, high = (shown(cells[0], end, 1) for end in (allowed.low, allowed.high))
            proof = f"With {terms}, {name} is {low} to {high}"
            if allowed.meets(value_of(cells[0])):
                yield judge("identities", True, f"{proof}.", *cells)
            else:
                book.ruled_out.add(place_of(cells[0]))
                yield judge("identities", False, f"{proof}, unless one of those is wrong.", cells[0])


def _identities(row: dict[str, PublishedCell], one_run: bool) -> Iterator[tuple[tuple[str, ...], Interval]]:
    """Yield each derived metric with those that it follows from, and the values that these allow."""
    values = {name: share_of(cell) for name, cell in row.items()}
    for side, recall in (("positive", "sensitivity"), ("negative", "specificity")):
        names = (f"f1_{side}", f"precision_{side}", recall)
        if one_run and set(names) <= set(row):
            first, second = values[names[1]], values[recall]
            yield names, Interval(harmonic(first.low, second.low), harmonic(first.high, second.high))
    names = ("accuracy", "sensitivity", "specificity")
    if one_run and set(names) <= set(row):
        rates = values["sensitivity"], values["specificity"]
        yield names, Interval(min(one.low for one in rates), max(one.high for one in rates))
    if {"accuracy", "weighted_recall"} <= set(row):
        yield ("weighted_recall", "accuracy"), values["accuracy"]
