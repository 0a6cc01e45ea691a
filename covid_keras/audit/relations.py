"""The rules that compare printed numbers with each other: totals, means, numbers given twice, tables that repeat."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from covid_keras.audit.book import Book
from covid_keras.audit.confusion import common_images_of
from covid_keras.audit.findings import Finding, explain, judge, leave_open, odds, place_of
from covid_keras.audit.intervals import SHARES, Interval, as_printed, last_digit, scale_of, shown, spread_of, value_of
from covid_keras.audit.slips import slip_of
from covid_keras.published.cells import PublishedCell
from covid_keras.published.facts import Place, place_text, table_title

# Rule, cells that take part, whether it holds, proof.
_Check = tuple[str, list[Place], bool, str]
# Of so many images a fold, drawn at random, one of many folds may have none.
_FEW = 12
# A copy by chance is less likely than 1 in ten to the power of this.
_DIGITS = 6
# Numbers of images that are tried.
_TRIED = 3000
_SHARES_OF_IMAGES = (
    "accuracy", "weighted_recall", "recall_", "sensitivity", "specificity", "false_positive_rate",
    "false_negative_rate",
)  # fmt: skip


def totals(book: Book) -> list[Finding]:
    """Do sums, means, differences and numbers given twice agree with the numbers that they are of?

    Where they do not, the number is at fault that no other such statement and no confusion matrix confirms; of two
    values of one quantity that which the row it stands in rules out; where that is not decided, all are.
    """
    unknown = {place_of(cell) for cell in book.cells} - {place_of(cell) for cell in book.numbers}
    checks = [
        check for cell in book.numbers if unknown.isdisjoint(cell.facts.places()) for check in _checks(book, cell)
    ]
    confirmed = book.confirmed | {
        place for _, places, holds, _ in checks if holds and len(places) > 1 for place in places
    }
    found = []
    for rule, places, holds, proof in checks:
        doubted = [place for place in places if place not in confirmed] if not holds else places
        if not holds and rule == "same_quantity":
            doubted = [place for place in places if place in book.ruled_out] or doubted
        found.append(judge(rule, holds, proof, *(book.at[place] for place in doubted or places)))
    return found


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
        there = f"{as_printed(book.at[other])} in {place_text(other)}"
        proof = f"The same quantity is {as_printed(cell)} in {place_text(here)}, and {there}."
        checks.append(("same_quantity", [here, other], holds, proof))
    for parts in facts.sum_of:
        total = _sum([value_of(book.at[part]) for part in parts])
        terms = " + ".join(as_printed(book.at[part]) for part in parts)
        proof = f"{terms} = {_text(cell, total)}; printed {as_printed(cell)}."
        if len(parts) == 1:
            proof = f"All of it is {place_text(parts[0])}, {terms}; printed {as_printed(cell)}."
        checks.append(("sum", [here, *parts], total.meets(value_of(cell)), proof))
    if facts.mean_of:
        checks.append(_mean_check(book, cell))
    for pair in facts.difference_of if not facts.bound else ():
        gap = value_of(book.at[pair[0]]) - value_of(book.at[pair[1]])
        terms = " - ".join(as_printed(book.at[place]) for place in pair)
        proof = f"{terms} = {_text(cell, gap)}; printed {as_printed(cell)}."
        checks.append(("difference", [here, *pair], gap.meets(value_of(cell)), proof))
    if facts.share_of:
        checks.append(_share_check(book, cell))
    if facts.bound:
        checks.append(_bound_check(book, cell))
    return checks


def _share_check(book: Book, cell: PublishedCell) -> _Check:
    shares = []
    for part, whole in cell.facts.share_of:
        count, images = int(book.at[part].mean), book.count(whole)
        words = f"{count:,} of {images:,} ({place_text(part)}) are {shown(cell, count / images, 1)}"
        shares.append((count / images in value_of(cell), words))
    holds = all(one for one, _ in shares)
    wrong = [words for one, words in shares if one == holds]
    proof = f"{'; '.join(wrong[:_FEW])}; printed {as_printed(cell)}."
    # The counts are those of the images; the share is what is said of them.
    return "share", [place_of(cell)], holds, proof


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
            reason = f"the copied number of {place_text(copies[0])}"
            found.append(explain("mean_of_copies", reason, f"With {values} in its place the mean holds.", cell))
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
    """Is the same metric of the same system the same number wherever it is printed?

    Numbers of which the paper states other images, or another number of trainings, are not the same.
    """
    groups: dict[tuple[str, str], list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        if cell.system and book.quantity(cell) and not cell.actual and cell.unit in SHARES:
            groups[cell.system, book.quantity(cell)].append(cell)
    found = []
    for cells in groups.values():
        for cell in cells:
            others = [other for other in cells if other is not cell]
            wrong = [other for other in others if not agree(cell, other) and _same_images(book, cell, other)]
            alike = [other for other in others if agree(cell, other)]
            if wrong or alike:
                places = ", ".join(f"{as_printed(other)} in {table_title(other.table)}" for other in wrong or alike)
                proof = f"Printed as {as_printed(cell)} here, as {places}."
                found.append(judge("same_quantity", not wrong, proof, cell))
    return found


def _same_images(book: Book, first: PublishedCell, second: PublishedCell) -> bool:
    """Return whether nothing says that two numbers are of other images or of another number of trainings."""
    facts = first.facts, second.facts
    runs = {(cell.facts.executions, cell.facts.folds, book.of_unknown_runs(cell)) for cell in (first, second)}
    if len(runs) > 1:
        return False
    counts = [[book.count(one.positives), book.count(one.negatives), book.count(one.images)] for one in facts]
    for one in counts:
        if one[2] is None and None not in one[:2]:
            one[2] = one[0] + one[1]
    bounds = [(book.count(one.images_from), book.count(one.images_to)) for one in facts]
    pairs = zip(*counts, strict=True)
    return bounds[0] == bounds[1] and all(a is None or b is None or a == b for a, b in pairs)


def same_slip(book: Book) -> list[Finding]:
    """Is an impossible number the same metric of the same system as one that a slip of the pen explains elsewhere?

    Where the number without the slip is possible there too, the slip explains it; else more than the slip is wrong.
    """
    found = []
    for place, allowed in book.allowed.items():
        cell = book.at[place]
        for other, text in book.slips.items():
            twin = book.at[other]
            same = (cell.system, book.quantity(cell), cell.unit) == (twin.system, book.quantity(twin), twin.unit)
            if not (cell.system and same and (cell.mean, cell.std) == (twin.mean, twin.std)):
                continue
            there = f"{text}, which explains the same number of {place_text(other)},"
            if float(text) * scale_of(cell.unit) in allowed:
                found.append(explain("same_slip", slip_of(text), f"Here {there} is possible too.", cell))
            else:
                proof = f"Here {there} is impossible as well, so another number of the row is wrong besides."
                found.append(judge("same_slip", False, proof, cell))
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
        if any(not math.isfinite(part.mean) for part, _ in parts):
            continue
        total, folds = sum(count for _, count in parts), cell.facts.folds
        mean = _sum([value_of(part).scaled(count / total) for part, count in parts])
        slack = sum(_drift(part, count, total, folds, (mean.low + mean.high) / 2) for part, count in parts)
        meets = mean.meets(value_of(cell))
        loose = Interval(mean.low - slack, mean.high + slack).meets(value_of(cell))
        terms = " + ".join(f"{count:,} x {as_printed(part)}" for part, count in parts)
        proof = f"({terms}) / {total:,} = {_text(cell, mean)}; printed {as_printed(cell)}."
        cells = (cell, *(part for part, _ in parts))
        if meets or not loose:
            found.append(judge("weighted_mean", meets, proof, *cells))
        else:
            found.append(leave_open("weighted_mean", "the folds need not hold each part's share", *cells, proof=proof))
    return found


def _drift(part: PublishedCell, count: int, total: int, folds: int, mean: float) -> float:
    """Return how far a part's images and rates, and its images and those of all parts, may vary together."""
    if folds == 1:
        return 0.0
    # A part of few images has none in some fold, whose rate is not defined and not in the mean.
    if count < _FEW * folds:
        return 1.0
    std = spread_of(part)
    fold = total / folds
    drawn = math.sqrt(fold * (count / total) * (1 - 1 / folds)) / fold
    value = value_of(part)
    return 3 * drawn * ((std.high if std else 0.5) + max(abs(value.low - mean), abs(value.high - mean)))


def repeats(book: Book) -> list[Finding]:
    """Does a table repeat another one, number by number, where chance would not?

    Six numbers or so of three rows are enough, of two where the last digits are fine.
    Each equal number counts with the chance that two numbers as far apart as those of its column are printed alike, of
    the many that so many images can give; 0 and 100 % count for nothing, and of all metrics of one evaluation only two,
    from which the others follow. Rows that name the same system are the same numbers by right.
    """
    tables: dict[str, list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        if cell.unit in ("percent", "ratio") and cell.decimals:
            tables[cell.table].append(cell)
    found, names = [], list(tables)
    for at, later in enumerate(names):
        for first in names[:at]:
            found += _repeat(book, tables[first], tables[later])
    book.copies |= {place for finding in found for place in finding.places}
    return found


def _repeat(book: Book, first: list[PublishedCell], later: list[PublishedCell]) -> list[Finding]:
    equal = [(a, b) for a, b in zip(first, later, strict=False) if (a.mean, a.std, a.unit) == (b.mean, b.std, b.unit)]
    named = any((a.system and a.system == b.system) or place_of(a) in b.facts.same_as for a, b in equal)
    if len(first) != len(later) or len(equal) < len(first) or len(equal) < 3 or named:
        return []
    digits = _digits(book, later)
    if digits < _DIGITS:
        return []
    tables = [table_title(cells[0].table) for cells in (first, later)]
    chance = f"by chance {odds(10.0 ** -math.floor(digits))}"
    proof = f"All {len(equal)} numbers of {tables[0]} and {tables[1]} are equal, {chance}: one is a copy"
    return [explain("repeats", f"a copy of {tables[0]}", f"{proof}, the later one as far as is known.", *later)]


def _digits(book: Book, cells: Sequence[PublishedCell]) -> float:
    """Return how unlikely it is that other numbers are these, as the exponent of ten: 6 is one in a million."""
    evaluations: dict[tuple[str, ...], list[float]] = defaultdict(list)
    images = _images_of(book, cells)
    for cell in cells:
        quantity = book.quantity(cell)
        alike = [one.mean for one in cells if book.quantity(one) == quantity]
        spread = scale_of(cell.unit) * max(max(alike) - min(alike), 10 * 10.0**-cell.decimals)
        steps = spread / last_digit(cell)
        if cell.facts.executions == 1 and not book.of_unknown_runs(cell):
            steps = min(steps, spread * images[quantity])
        saturated = cell.mean in (0, 1 / scale_of(cell.unit))
        # Accuracies of other parts, of training, are of other images.
        group = cell.column if quantity.startswith("accuracy_") else ""
        evaluations[cell.row, cell.system, group].append(0.0 if saturated else math.log10(max(steps, 1)))
    return sum(sum(sorted(digits)[-2:]) for digits in evaluations.values())


def _images_of(book: Book, cells: Sequence[PublishedCell]) -> dict[str, float]:
    """Return of how many images the numbers of a table may be, by quantity: as stated, else the least that give them.

    A small test set has few shares, and two networks easily the same one.
    """
    columns: dict[str, list[PublishedCell]] = defaultdict(list)
    for cell in cells:
        columns[book.quantity(cell)].append(cell)
    if stated := [images for cell in cells if (images := book.images(cell))]:
        return dict.fromkeys(columns, max(stated))
    shares = {name: _least(own) for name, own in columns.items() if name.startswith(_SHARES_OF_IMAGES)}
    found = {}
    for name, own in columns.items():
        if not name:
            by_column = {cell.column: [one for one in own if one.column == cell.column] for cell in own}
            found[name] = min(_least(one) for one in by_column.values())
        else:
            # A precision or an F1 is of fewer images in each row.
            found[name] = shares.get(name) or max(shares.values(), default=max(_least([cell]) for cell in own))
    return found


def _least(cells: Sequence[PublishedCell]) -> float:
    """Return the least number of images of which all cells are shares."""
    fits = common_images_of([value_of(cell) for cell in cells], 1, _TRIED)
    return int(fits[0]) if len(fits) else math.inf
