"""Rules that compare printed numbers: totals, means, repeated numbers, repeated tables."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations

from covid_keras.audit.book import Book
from covid_keras.audit.confusion import common_images_of
from covid_keras.audit.findings import Finding, explain, judge, leave_open, odds, one_of, place_of
from covid_keras.audit.intervals import SHARES, Interval, as_printed, last_digit, scale_of, shown, spread_of, value_of
from covid_keras.audit.slips import slip_of
from covid_keras.evaluation.possibility import AuditVerdict
from covid_keras.published.cells import PublishedCell
from covid_keras.published.facts import Place, place_text, table_title, table_words

# With fewer images of a part per fold on average, some fold may have none.
_FEW = 12
# A repeated table is called a copy if equality by chance is less likely than 1 in ten to the power of this.
_DIGITS = 6
# Largest number of images that is tried.
_TRIED = 3000
_SHARES_OF_IMAGES = (
    "accuracy", "weighted_recall", "recall_", "sensitivity", "specificity", "false_positive_rate",
    "false_negative_rate",
)  # fmt: skip


def totals(book: Book) -> Iterator[Finding]:
    """Do sums, means, differences and repeated quantities agree with the numbers that they are made of?

    For a wrong sum and the like, `_at_fault` decides which number is called impossible. If a quantity has two values,
    the value that its own row rules out is called impossible, else the one that nothing confirms, else both.
    """
    unknown = {place_of(cell) for cell in book.cells} - {place_of(cell) for cell in book.numbers}
    checks = [
        check for cell in book.numbers if unknown.isdisjoint(cell.facts.places()) for check in _checks(book, cell)
    ]
    right = [check.places for check in checks if check.verdict is AuditVerdict.CONSISTENT]
    confirmed = book.confirmed.union(*(places for places in right if len(places) > 1))
    wrong = [check for check in checks if check.verdict is AuditVerdict.IMPOSSIBLE]
    often = Counter(place for check in wrong for place in check.places if place not in confirmed)
    for check in checks:
        if check.verdict is not AuditVerdict.IMPOSSIBLE:
            yield check
        elif check.rule == "same_quantity":
            doubted = [place for place in check.places if place in book.ruled_out]
            doubted = doubted or [place for place in check.places if place not in confirmed]
            yield replace(check, places=tuple(doubted) or check.places)
        else:
            yield from _at_fault(check, confirmed, often)


def _at_fault(check: Finding, confirmed: Collection[Place], often: Mapping[Place, int]) -> Iterator[Finding]:
    """Yield the findings of a failed check: the number that should follow and the numbers that it should follow from.

    Numbers confirmed elsewhere are not accused, unless all are; then the number that should follow is. Of the others,
    the one in the most failed checks is called impossible; on a tie, the number that should follow. The rest get "one
    of these is wrong".
    """
    doubted = [place for place in check.places if place not in confirmed] or [check.places[0]]
    most = max(often.get(place, 0) for place in doubted)
    fault = [place for place in doubted if often.get(place, 0) == most]
    if len(fault) > 1:
        fault = [place for place in doubted if place == check.places[0]]
    if fault:
        yield replace(check, places=tuple(fault))
    if rest := [place for place in doubted if place not in fault]:
        yield one_of(replace(check, places=tuple(doubted)), *rest)


def _checks(book: Book, cell: PublishedCell) -> Iterator[Finding]:
    """Yield the checks of one cell, with the cells that take part."""
    facts, own = cell.facts, value_of(cell)
    for place in facts.same_as:
        yield _same_check(book, cell, book.at[place])
    for places in facts.sum_of:
        parts = [book.at[place] for place in places]
        total, terms = _sum(map(value_of, parts)), " + ".join(map(as_printed, parts))
        proof = f"{terms} = {_text(cell, total)}; printed {as_printed(cell)}."
        if len(parts) == 1:
            proof = f"It should equal {place_text(places[0])}, which is {terms}; printed {as_printed(cell)}."
        yield judge("sum", total.meets(own), proof, cell, *parts)
    if facts.mean_of:
        yield _mean_check(book, cell)
    for places in facts.difference_of if not facts.bound else ():
        first, second = (book.at[place] for place in places)
        gap = value_of(first) - value_of(second)
        proof = f"{as_printed(first)} - {as_printed(second)} = {_text(cell, gap)}; printed {as_printed(cell)}."
        yield judge("difference", gap.meets(own), proof, cell, first, second)
    if facts.share_of:
        yield _share_check(book, cell)
    if facts.bound:
        yield _bound_check(book, cell)


def _same_check(book: Book, cell: PublishedCell, other: PublishedCell) -> Finding:
    here, there = place_text(place_of(cell)), place_text(place_of(other))
    if (implied := book.implied.get(place_of(other))) is not None:
        shares = " to ".join(dict.fromkeys(shown(cell, share, 1) for share in (implied.low, implied.high)))
        proof = f"The row of {there}, implies {shares} for the same quantity; printed {as_printed(cell)}."
        # The other number is another quantity under a wrong heading, so only this cell is judged.
        return judge("same_quantity", implied.meets(value_of(cell)), proof, cell)
    proof = f"The same quantity is {as_printed(cell)} in {here}, and {as_printed(other)} in {there}."
    return judge("same_quantity", agree(cell, other), proof, cell, other)


def _share_check(book: Book, cell: PublishedCell) -> Finding:
    shares = []
    for part, whole in cell.facts.share_of:
        count, images = int(book.at[part].mean), book.count(whole)
        words = f"{count:,} of {images:,} ({place_text(part)}) are {shown(cell, count / images, 1)}"
        shares.append((count / images in value_of(cell), words))
    holds = all(one for one, _ in shares)
    wrong = [words for one, words in shares if one == holds]
    # The counts are taken as given, so only the share is judged.
    return judge("share", holds, f"{'; '.join(wrong[:_FEW])}; printed {as_printed(cell)}.", cell)


def _mean_check(book: Book, cell: PublishedCell) -> Finding:
    parts = [value_of(book.at[part]) for part in cell.facts.mean_of]
    mean = _sum(parts).scaled(1 / len(parts))
    proof = f"The {len(parts)} numbers have the mean {_text(cell, mean)}; printed {as_printed(cell)}."
    # Only the mean itself is judged: it says little about each of its many numbers.
    return judge("mean", mean.meets(value_of(cell)), proof, cell)


def mean_of_copies(book: Book) -> Iterator[Finding]:
    """Would a wrong mean be right if one of its numbers, a copy from another table, were a different number?

    Some number always makes the mean right, so it must also lie in the range of the mean's other numbers.
    """
    for cell in book.numbers:
        copies = [place for place in cell.facts.mean_of if place in book.copies]
        if len(copies) != 1 or _mean_check(book, cell).verdict is AuditVerdict.CONSISTENT:
            continue
        rest = [value_of(book.at[place]) for place in cell.facts.mean_of if place not in copies]
        needed = value_of(cell).scaled(len(rest) + 1) - _sum(Interval(one.middle, one.middle) for one in rest)
        if min(one.low for one in rest) <= needed.low <= needed.high <= max(one.high for one in rest):
            part = book.at[copies[0]]
            proof = f"With {shown(part, needed.low)} to {shown(part, needed.high)} in its place, the mean is right."
            yield explain("mean_of_copies", f"the copied number of {place_text(copies[0])}", proof, cell)


def _bound_check(book: Book, cell: PublishedCell) -> Finding:
    own, least = value_of(cell), cell.facts.bound == "least"
    broken = []
    for first, second in cell.facts.difference_of:
        gap = value_of(book.at[first]) - value_of(book.at[second])
        if (least and gap.high < own.low - 1e-9) or (not least and gap.low > own.high + 1e-9):
            broken.append(f"{first[1]}: {shown(cell, gap.middle, 2)}")
    proof = f"Each of {len(cell.facts.difference_of)} differences should be at {cell.facts.bound} {as_printed(cell)}"
    proof += f"; violated by {', '.join(broken)}." if broken else ", and is."
    return judge("bound", not broken, proof, cell)


def agree(first: PublishedCell, second: PublishedCell) -> bool:
    """Return whether two printed numbers, and their standard deviations, can be roundings of the same value."""
    if not value_of(first).meets(value_of(second)):
        return False
    stds = spread_of(first), spread_of(second)
    return None in stds or stds[0].meets(stds[1])


def _sum(values: Iterable[Interval]) -> Interval:
    return sum(values, Interval(0, 0))


def _text(cell: PublishedCell, values: Interval) -> str:
    return shown(cell, values.middle)


def same_system(book: Book) -> Iterator[Finding]:
    """Is the same metric of the same system the same number wherever it is printed?

    Numbers for which the paper states different numbers of images or trainings are not compared.
    """
    groups: dict[tuple[str, str], list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        if cell.system and book.quantity(cell) and not cell.actual and cell.unit in SHARES:
            groups[cell.system, book.quantity(cell)].append(cell)
    for cells in groups.values():
        for cell in cells:
            others = [other for other in cells if other is not cell]
            wrong = [other for other in others if not agree(cell, other) and _same_images(book, cell, other)]
            alike = [other for other in others if agree(cell, other)]
            if wrong or alike:
                places = " and ".join(f"{as_printed(one)} in {table_words(one.table)}" for one in wrong or alike)
                proof = f"Printed as {as_printed(cell)} here, and as {places}."
                yield judge("same_quantity", not wrong, proof, cell)


def _same_images(book: Book, first: PublishedCell, second: PublishedCell) -> bool:
    """Return whether nothing stated says that two numbers differ in their images or number of trainings."""
    ways, counts = [], []
    for cell in (first, second):
        facts = cell.facts
        bounds = book.count(facts.images_from), book.count(facts.images_to)
        ways.append((facts.executions, facts.folds, book.of_unknown_runs(cell), bounds))
        counts.append(book.stated(cell))
    return ways[0] == ways[1] and all(None in pair or pair[0] == pair[1] for pair in zip(*counts, strict=True))


def same_slip(book: Book) -> Iterator[Finding]:
    """Does an impossible number repeat one that a slip of the pen explains elsewhere (same system, metric and value)?

    If the corrected number is possible here too, the slip explains this one as well; else another number is also wrong.
    """
    for place, allowed in book.allowed.items():
        cell = book.at[place]
        for other, text in book.slips.items():
            twin = book.at[other]
            same = (cell.system, book.quantity(cell), cell.unit) == (twin.system, book.quantity(twin), twin.unit)
            if not (cell.system and same and (cell.mean, cell.std) == (twin.mean, twin.std)):
                continue
            there = f"{text}, which explains the same number of {place_text(other)},"
            if float(text) * scale_of(cell.unit) in allowed:
                yield explain("same_slip", slip_of(text), f"Here {there} is possible too.", cell)
            else:
                proof = f"Here {there} is impossible too, so another number of the row must also be wrong."
                yield judge("same_slip", False, proof, cell)


def weighted_mean(book: Book) -> Iterator[Finding]:
    """Is a rate the mean of the rates of its parts, weighted by their numbers of images?

    Over several folds this is exact only if each part has the same share in every fold. In random folds, the mean may
    be off by the covariance of the parts' shares and rates, which is at most the product of their standard deviations.
    """
    for cell in book.numbers:
        parts = [(book.at[place], book.count(count)) for place, count in cell.facts.weighted_mean_of]
        if not parts or any(not math.isfinite(part.mean) for part, _ in parts):
            continue
        total, folds = sum(count for _, count in parts), cell.facts.folds
        mean = _sum(value_of(part).scaled(count / total) for part, count in parts)
        slack = sum(_drift(part, count, total, folds, mean.middle) for part, count in parts)
        meets = mean.meets(value_of(cell))
        terms = " + ".join(f"{count:,} x {as_printed(part)}" for part, count in parts)
        proof = f"({terms}) / {total:,} = {_text(cell, mean)}; printed {as_printed(cell)}."
        cells = (cell, *(part for part, _ in parts))
        if meets or not Interval(mean.low - slack, mean.high + slack).meets(value_of(cell)):
            check = judge("weighted_mean", meets, proof, *cells)
            yield from [check] if meets else _at_fault(check, book.confirmed, {})
        else:
            why = "the share of each part may differ between folds"
            yield leave_open("weighted_mean", why, *cells, proof=proof)


def _drift(part: PublishedCell, count: int, total: int, folds: int, mean: float) -> float:
    """Return how far one part may shift the weighted mean, because its share and its rate vary between folds."""
    if folds == 1:
        return 0.0
    # A small part may be missing from a fold; its rate is then undefined and left out of the mean.
    if count < _FEW * folds:
        return 1.0
    std, value, fold = spread_of(part), value_of(part), total / folds
    drawn = math.sqrt(fold * (count / total) * (1 - 1 / folds)) / fold
    return 3 * drawn * ((std.high if std else 0.5) + max(abs(value.low - mean), abs(value.high - mean)))


def repeats(book: Book) -> list[Finding]:
    """Does a table repeat another one, number by number, and not by chance?

    About six equal numbers in three rows are enough; in two rows, if they have many decimals. Each equal number counts
    with the probability that two numbers in the range of its column, out of those that its number of images allows, are
    printed alike. 0 and 100 % do not count. Of the metrics of one evaluation only two count, because the others follow
    from them. Tables that name the same system rightly repeat its numbers.
    """
    tables: dict[str, list[PublishedCell]] = defaultdict(list)
    for cell in book.numbers:
        if cell.unit in ("percent", "ratio") and cell.decimals:
            tables[cell.table].append(cell)
    pairs = combinations(tables.values(), 2)
    found = [finding for first, later in pairs for finding in _repeat(book, first, later)]
    book.copies.update(*(finding.places for finding in found))
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
    proof = f"All {len(equal)} numbers of {tables[0]} and {tables[1]} are equal ({chance}), so one table is a copy"
    return [explain("repeats", f"a copy of {tables[0]}", f"{proof}, presumably the later one.", *later)]


def _digits(book: Book, cells: Sequence[PublishedCell]) -> float:
    """Return how unlikely it is that other results are printed as these numbers; 6 means 1 in 10^6."""
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
        # Accuracies of other parts, such as the training part, are of other images and count separately.
        group = cell.column if quantity.startswith("accuracy_") else ""
        evaluations[cell.row, cell.system, group].append(0.0 if saturated else math.log10(max(steps, 1)))
    return sum(sum(sorted(digits)[-2:]) for digits in evaluations.values())


def _images_of(book: Book, cells: Sequence[PublishedCell]) -> dict[str, float]:
    """Return the number of images behind a table's numbers, by quantity: as stated, else the fewest that allow them.

    A small test set allows few different shares, so two networks can easily have the same one.
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
            # The denominator of a precision or an F1 differs in each row, so use that of the plain shares.
            found[name] = shares.get(name) or max(shares.values(), default=max(_least([cell]) for cell in own))
    return found


def _least(cells: Sequence[PublishedCell]) -> float:
    """Return the smallest number of images that is a possible denominator of all cells; infinity if none is."""
    fits = common_images_of([value_of(cell) for cell in cells], 1, _TRIED)
    return int(fits[0]) if len(fits) else math.inf
