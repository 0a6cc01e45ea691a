"""The rules that look at one number at a time, at sums and at repetitions: `rule(book)` returns its findings.

References
----------
.. [1] N. J. L. Brown and J. A. J. Heathers, The GRIM test, Soc. Psychol. Pers. Sci. 8(4), 2017.
.. [2] R. Bhatia and C. Davis, A better bound on the variance, Am. Math. Monthly 107(4), 2000.
.. [3] A. A. Taha and A. Hanbury, Metrics for evaluating 3D medical image segmentation, BMC Med. Imaging 15:29, 2015
   (Dice = 2 IoU / (1 + IoU), a concave function, so by Jensen's inequality a mean Dice is at most that of the mean IoU).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np

from covid_keras.audit.book import Book
from covid_keras.audit.confusion import counts_for
from covid_keras.audit.findings import CONSISTENT, EXPLAINED, IMPOSSIBLE, NOT_CHECKED, Finding, place_of
from covid_keras.audit.printed import (
    SHARES,
    Interval,
    as_printed,
    last_digit,
    shown,
    slips,
    spread_of,
    value_of,
)
from covid_keras.errors import UserError
from covid_keras.evaluation.comparison import COMPLEMENTS
from covid_keras.evaluation.counted import rest_metrics, weighted_metrics
from covid_keras.evaluation.facts import Place, place_text
from covid_keras.evaluation.metrics import metrics_from_confusion
from covid_keras.evaluation.published import PublishedCell

Rule = Callable[[Book], list[Finding]]
TRUNCATED = EXPLAINED.format(what="digits cut off instead of rounded")
# An explanation counts where so few random numbers would be explained as well.
UNLIKELY = 0.05


def judge(cell: PublishedCell, rule: str, holds: bool, proof: str) -> Finding:
    """Return the finding that a check holds or does not."""
    return Finding(place_of(cell), rule, CONSISTENT if holds else IMPOSSIBLE, proof)


def grim(book: Book) -> list[Finding]:
    """Is there a whole number of right answers that gives the printed share of the stated images [1]_?

    Of a mean over trainings on the same images the grid is that much finer. Over folds it is checked where all folds
    have the same size, for accuracies alone: of one class a paper does not say how many are in a fold.
    """
    found = []
    for cell, images in book.shares():
        runs, folds = cell.facts.executions, cell.facts.folds
        if folds > 1 and (images % folds or book.quantity(cell) != "accuracy"):
            why = f"how the {images:,} images lie in the {folds} folds is not stated, so any mean of {runs} shares is possible"
            found.append(Finding(place_of(cell), "grim", NOT_CHECKED.format(why=why), why.capitalize() + "."))
            continue
        found.append(_grim(book, cell, images, images // folds * runs))
    return found


def _grim(book: Book, cell: PublishedCell, images: int, grid: int) -> Finding:
    values, step = value_of(cell), last_digit(cell)
    of = f"{images:,}" if grid == images else f"{images:,} images, mean of {cell.facts.executions} trainings: {grid:,}"
    hits = counts_for(values, grid)
    if hits:
        if grid * step >= 1:
            why = f"with {of} images every printed number is some share"
            return Finding(place_of(cell), "grim", NOT_CHECKED.format(why=why), why.capitalize() + ".")
        return judge(cell, "grim", True, f"{hits[0]:,} of {of} are {as_printed(cell)}.")
    near = math.floor(values.low * grid)
    beside = " and ".join(f"{k:,} are {shown(cell, k / grid, 1)}" for k in (near, near + 1) if 0 <= k <= grid)
    proof = f"No whole number of {of} is {as_printed(cell)}: {beside}."
    if counts_for(value_of(cell, cut=True), grid) and grid * step < UNLIKELY:
        return Finding(place_of(cell), "grim", TRUNCATED, f"{proof} Cut off after the last digit, one of them is.")
    others = [n for n in book.stated_images() if n != images and counts_for(values, n)]
    tried = [n for n in book.stated_images() if n != images]
    if len(others) == 1 and sum(min(1, n * step) for n in tried) < UNLIKELY:
        what = EXPLAINED.format(what=f"{others[0]:,} images, which the paper states elsewhere")
        return Finding(place_of(cell), "grim", what, proof)
    return judge(cell, "grim", False, proof)


def common_images(book: Book) -> list[Finding]:
    """Is there one number of images, between the stated bounds, of which all shares of a column are shares [1]_?"""
    groups: dict[tuple, list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        if cell.facts.images_from and cell.unit in SHARES:
            key = (cell.table, cell.column, book.count(cell.facts.images_from), book.count(cell.facts.images_to))
            groups[key].append(cell)
    found = []
    for (_, _, low, high), cells in groups.items():
        fits = [n for n in range(low, high + 1) if all(counts_for(value_of(cell), n) for cell in cells)]
        if len(cells) == 1 and fits:
            continue
        values = ", ".join(f"{cell.mean:.{cell.decimals}f}" for cell in cells)
        if fits:
            proof = (
                f"{values} are shares of {fits[0]:,} images, one of {len(fits)} such numbers from {low:,} to {high:,}."
            )
        else:
            beyond = next((n for n in range(high, 10 * high) if all(counts_for(value_of(c), n) for c in cells)), None)
            later = f"; the first larger number is {beyond:,}" if beyond else ""
            proof = f"No number of images from {low:,} to {high:,} gives all of {values}{later}. At least one is wrong."
        found += [judge(cell, "common_images", bool(fits), proof) for cell in cells]
    return found


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


def slip_or(book: Book, cell: PublishedCell, rule: str, values: Interval, proof: str) -> Finding:
    """Return that one slip of the pen explains a number, where one alone gives a possible number, else impossible."""
    usual = book.usual_decimals(cell)
    fits = [text for text, value in slips(cell).items() if value in values and len(text.partition(".")[2]) == usual]
    if len(fits) == 1:
        what = EXPLAINED.format(what=f"a slip of the pen, {fits[0]}")
        more = (
            f"{fits[0]} is the only possible number that a lost, added or exchanged digit or a moved point makes of it."
        )
        return Finding(place_of(cell), rule, what, f"{proof} {more}")
    return judge(cell, rule, False, proof)


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
            f"Called a mean of {cell.facts.executions} trainings, and exactly what the one matrix of table {table} gives, "
            f"as all {len(found)} such means are; by chance that is 1 in {1 / chance:.0e}.",
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


def deviation(book: Book) -> list[Finding]:
    """Is the standard deviation one that numbers between 0 and 1 with this mean can have [2]_?"""
    found = []
    for cell in book.numbers:
        std, runs = spread_of(cell), cell.facts.executions
        if std is None or cell.unit not in ("percent", "ratio"):
            continue
        if runs < 2:
            why = "over how many trainings the deviation is, is not stated"
            found.append(Finding(place_of(cell), "deviation", NOT_CHECKED.format(why=why), why.capitalize() + "."))
            continue
        mean = value_of(cell)
        middle = min(max(0.5, mean.low), mean.high)
        most = math.sqrt(max(middle * (1 - middle), 0) * runs / (runs - 1))
        proof = f"Numbers from 0 to 100 % with this mean deviate by {shown(cell, most)} at most."
        found.append(judge(cell, "deviation", std.low <= most + 1e-9 and 0 <= mean.high and mean.low <= 1, proof))
    return found


def interval(book: Book) -> list[Finding]:
    """Does the printed interval hold the printed number, and does a share lie between 0 and 100 %?"""
    found = []
    for cell in book.numbers:
        if cell.low is not None:
            proof = f"The interval is {cell.low:g} to {cell.high:g}."
            found.append(judge(cell, "interval", cell.low <= cell.mean <= cell.high, proof))
        values = value_of(cell)
        if cell.unit in ("percent", "ratio") and (values.high < 0 or values.low > 1):
            found.append(judge(cell, "interval", False, "No share is below 0 or above 100 %."))
    return found


def dice_and_iou(book: Book) -> list[Finding]:
    """Are the means of Dice and IoU a pair, mean IoU <= mean Dice <= 2 mean IoU / (1 + mean IoU) [3]_?"""
    found, broken = [], []
    rows: dict[tuple[str, str], dict[str, PublishedCell]] = defaultdict(dict)
    for cell in book.numbers:
        rows[cell.table, cell.row][book.quantity(cell)] = cell
    for row in rows.values():
        for name, dice in row.items():
            iou = row.get("iou" + name.removeprefix("dice")) if name.startswith("dice") else None
            if iou is None:
                continue
            overlap, values = value_of(iou), value_of(dice)
            most = 2 * overlap.high / (1 + overlap.high)
            proof = f"With a mean IoU of {as_printed(iou)} no mean Dice exceeds 2 IoU / (1 + IoU) = {shown(dice, most)}"
            proof += f" or is below the IoU; the Dice is {as_printed(dice)}."
            holds = values.low <= most + 1e-9 and overlap.low <= values.high + 1e-9
            if holds:
                found += [judge(cell, "dice_and_iou", True, proof) for cell in (dice, iou)]
                continue
            broken.append((dice, iou, proof))
    for dice, iou, proof in broken:
        values = value_of(dice)
        other = judge(iou, "dice_and_iou", False, proof)
        # Where several pairs are impossible, something else than one pen has slipped.
        if len(broken) == 1:
            other = slip_or(book, iou, "dice_and_iou", Interval(values.low / (2 - values.low), values.high), proof)
        found += [judge(dice, "dice_and_iou", other.verdict != IMPOSSIBLE, proof), other]
    return found


def totals(book: Book) -> list[Finding]:
    """Do sums, means, differences and numbers given twice agree with the numbers that they are of?

    Where they do not, the number is at fault that no other such statement confirms; where that is not decided, all are.
    """
    checks = [check for cell in book.numbers for check in _checks(book, cell)]
    confirmed = {place for _, places, holds, _ in checks if holds and len(places) > 1 for place in places}
    found = []
    for rule, places, holds, proof in checks:
        doubted = [place for place in places if place not in confirmed] if not holds else places
        found += [judge(book.at[place], rule, holds, proof) for place in doubted or places]
    return found


_Check = tuple[str, list[Place], bool, str]


def _checks(book: Book, cell: PublishedCell) -> list[_Check]:
    """Return the checks of one cell: rule, cells that take part, whether it holds, proof."""
    facts, here = cell.facts, place_of(cell)
    checks: list[_Check] = []
    for other in facts.same_as:
        holds = agree(cell, book.at[other])
        if other in book.implied:
            implied = book.implied[other]
            shares = " to ".join(dict.fromkeys(shown(cell, share, 1) for share in (implied.low, implied.high)))
            proof = (
                f"The row of {place_text(other)}, implies {shares} for the same quantity; printed {as_printed(cell)}."
            )
            # The number there stands under another name; only the one here is of this quantity.
            checks.append(("same_quantity", [here], implied.meets(value_of(cell)), proof))
            continue
        proof = f"The same quantity is {as_printed(cell)} in table {here[0]} and {as_printed(book.at[other])} in {place_text(other)}."
        checks.append(("same_quantity", [here, other], holds, proof))
    for parts in facts.sum_of:
        total = _sum([value_of(book.at[part]) for part in parts])
        proof = f"{' + '.join(as_printed(book.at[part]) for part in parts)} = {_text(cell, total)}; printed {as_printed(cell)}."
        checks.append(("sum", [here, *parts], total.meets(value_of(cell)), proof))
    if facts.mean_of:
        checks.append(_mean_check(book, cell))
    for pair in facts.difference_of if not facts.bound else ():
        first, second = (value_of(book.at[place]) for place in pair)
        proof = f"{as_printed(book.at[pair[0]])} - {as_printed(book.at[pair[1]])} = {_text(cell, first - second)}; printed {as_printed(cell)}."
        checks.append(("difference", [here, *pair], (first - second).meets(value_of(cell)), proof))
    if facts.bound:
        checks.append(_bound_check(book, cell))
    return checks


def _mean_check(book: Book, cell: PublishedCell) -> _Check:
    parts = [book.at[part] for part in cell.facts.mean_of]
    mean = _sum([value_of(part) for part in parts]).scaled(1 / len(parts))
    proof = f"The {len(parts)} numbers have the mean {_text(cell, mean)}; printed {as_printed(cell)}."
    # A mean is of many numbers: that it holds says little of each of them, and where it does not, it is at fault.
    return "mean", [place_of(cell)], mean.meets(value_of(cell)), proof


def mean_of_copies(book: Book) -> list[Finding]:
    """Would a mean that does not hold do so with another number in place of one that is a copy?

    One number can put any mean right, so it has to lie among the others of which the mean is.
    """
    found = []
    for cell in book.numbers:
        copies = [place for place in cell.facts.mean_of if place in book.copies]
        if len(copies) != 1 or _mean_check(book, cell)[2]:
            continue
        rest = [value_of(book.at[place]) for place in cell.facts.mean_of if place not in copies]
        others = _sum([Interval((one.low + one.high) / 2, (one.low + one.high) / 2) for one in rest])
        needed = value_of(cell).scaled(len(rest) + 1) - others
        if min(one.low for one in rest) <= needed.low <= needed.high <= max(one.high for one in rest):
            part = book.at[copies[0]]
            values = f"{shown(part, needed.low)} to {shown(part, needed.high)}"
            what = EXPLAINED.format(what=f"the copied number of {place_text(copies[0])}")
            found.append(Finding(place_of(cell), "mean_of_copies", what, f"With {values} in its place the mean holds."))
    return found


def _bound_check(book: Book, cell: PublishedCell) -> _Check:
    own, least = value_of(cell), cell.facts.bound == "least"
    broken = []
    for first, second in cell.facts.difference_of:
        gap = value_of(book.at[first]) - value_of(book.at[second])
        if (least and gap.high < own.low - 1e-9) or (not least and gap.low > own.high + 1e-9):
            broken.append(f"{first[1]}: {shown(cell, (gap.low + gap.high) / 2, 2)}")
    number = len(cell.facts.difference_of)
    proof = f"Each of {number} differences is said to be at {cell.facts.bound} {as_printed(cell)}"
    proof += f"; not so {', '.join(broken)}." if broken else ", and is."
    return "bound", [place_of(cell)], not broken, proof


def agree(first: PublishedCell, second: PublishedCell) -> bool:
    """Return whether two printed numbers can be one, each rounded as it is printed; means with equal deviations."""
    if not value_of(first).meets(value_of(second)):
        return False
    stds = spread_of(first), spread_of(second)
    return None in stds or stds[0].meets(stds[1])


def _sum(values: Sequence[Interval]) -> Interval:
    return Interval(sum(one.low for one in values), sum(one.high for one in values))


def _text(cell: PublishedCell, values: Interval) -> str:
    return shown(cell, (values.low + values.high) / 2)


def same_system(book: Book) -> list[Finding]:
    """Is the same metric of the same system the same number wherever it is printed?"""
    groups: dict[tuple[str, str], list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        if cell.system and book.quantity(cell) and not cell.actual and cell.unit in SHARES:
            groups[cell.system, book.quantity(cell)].append(cell)
    found = []
    for cells in groups.values():
        for cell in cells if len(cells) > 1 else ():
            wrong = [other for other in cells if not agree(cell, other)]
            places = ", ".join(
                f"{as_printed(other)} in table {other.table}" for other in wrong or cells if other is not cell
            )
            proof = f"Printed as {as_printed(cell)} here, as {places}."
            found.append(judge(cell, "same_quantity", not wrong, proof))
    return found


def weighted_mean(book: Book) -> list[Finding]:
    """Is a rate the mean of the rates of its parts, weighted by their images?

    Over folds that is exact only where each part has its share in every fold; drawn at random, the mean may be off by
    as much as the parts' images and rates vary together, |covariance| <= product of the deviations.
    """
    found = []
    for cell in book.numbers:
        if not cell.facts.weighted_mean_of:
            continue
        parts = [(book.at[place], book.count(count)) for place, count in cell.facts.weighted_mean_of]
        total, folds = sum(count for _, count in parts), cell.facts.folds
        mean = _sum([value_of(part).scaled(count / total) for part, count in parts])
        slack = sum(_drift(part, count, total, folds) for part, count in parts)
        meets = mean.meets(value_of(cell))
        loose = Interval(mean.low - slack, mean.high + slack).meets(value_of(cell))
        terms = " + ".join(f"{count} x {as_printed(part)}" for part, count in parts)
        proof = f"({terms}) / {total} = {_text(cell, mean)}; printed {as_printed(cell)}."
        for one in (cell, *(part for part, _ in parts)):
            if meets or not loose:
                found.append(judge(one, "weighted_mean", meets, proof))
            else:
                why = "the folds need not hold each part's share"
                found.append(Finding(place_of(one), "weighted_mean", NOT_CHECKED.format(why=why), proof))
    return found


def _drift(part: PublishedCell, count: int, total: int, folds: int) -> float:
    if folds == 1:
        return 0.0
    std = spread_of(part)
    fold = total / folds
    drawn = math.sqrt(fold * (count / total) * (1 - count / total) * (1 - 1 / folds)) / fold
    return 3 * drawn * (std.high if std else 0.5)


def repeats(book: Book) -> list[Finding]:
    """Does a table repeat another one, number by number, where chance would not?

    Each equal number counts with the chance that two numbers as far apart as those of its column are printed alike.
    Rows that name the same system are the same numbers by right.
    """
    tables: dict[str, list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        if cell.unit in ("percent", "ratio") and cell.decimals:
            tables[cell.table].append(cell)
    found, names = [], list(tables)
    for at, later in enumerate(names):
        for first in names[:at]:
            found += _repeat(tables[first], tables[later])
    book.copies |= {finding.place for finding in found}
    return found


def _repeat(first: list[PublishedCell], later: list[PublishedCell]) -> list[Finding]:
    equal = [(a, b) for a, b in zip(first, later, strict=False) if (a.mean, a.std, a.unit) == (b.mean, b.std, b.unit)]
    named = any(a.system and a.system == b.system or place_of(a) in b.facts.same_as for a, b in equal)
    if len(first) != len(later) or len(equal) < len(first) or len(equal) < 3 or named:
        return []
    spread = max(cell.mean for cell in later) - min(cell.mean for cell in later)
    digits = sum(math.log10(max(spread / 10.0**-cell.decimals, 1)) for cell in later)
    if digits < 6:
        return []
    tables = first[0].table, later[0].table
    proof = f"All {len(equal)} numbers of tables {tables[0]} and {tables[1]} are equal, by chance 1 in 1e{digits:.0f}: one is a copy"
    what = EXPLAINED.format(what=f"a copy of table {tables[0]}")
    return [Finding(place_of(cell), "repeats", what, f"{proof}, the later one as far as is known.") for cell in later]


def no_fact_is_wrong(book: Book) -> None:
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
