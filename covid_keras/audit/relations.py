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
from covid_keras.published.facts import Place, place_text, table_title

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


def totals(book: Book) -> Iterator[Finding]:
    """Do sums, means, differences and numbers given twice agree with the numbers that they are of?

    Where they do not, see `_at_fault` for sums and the like; of two values of one quantity that is at fault which
    nothing confirms, or which the row it stands in rules out; if that is not decided, both are.
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
    """Yield what a number is called, and those that it should follow from, where it does not.

    Impossible is the one that nothing else confirms, or that alone is in the most wrong statements; else the number
    that is said to follow, unless something confirms it. Of the rest nothing tells which is wrong.
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
    """Yield the checks of one cell, with all cells that take part."""
    facts, own = cell.facts, value_of(cell)
    for place in facts.same_as:
        yield _same_check(book, cell, book.at[place])
    for places in facts.sum_of:
        parts = [book.at[place] for place in places]
        total, terms = _sum(map(value_of, parts)), " + ".join(map(as_printed, parts))
        proof = f"{terms} = {_text(cell, total)}; printed {as_printed(cell)}."
        if len(parts) == 1:
            proof = f"All of it is {place_text(places[0])}, {terms}; printed {as_printed(cell)}."
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
        # The number there stands under another name; only the one here is of this quantity.
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
    # The counts are those of the images; the share is what is said of them.
    return judge("share", holds, f"{'; '.join(wrong[:_FEW])}; printed {as_printed(cell)}.", cell)


def _mean_check(book: Book, cell: PublishedCell) -> Finding:
    parts = [value_of(book.at[part]) for part in cell.facts.mean_of]
    mean = _sum(parts).scaled(1 / len(parts))
    proof = f"The {len(parts)} numbers have the mean {_text(cell, mean)}; printed {as_printed(cell)}."
    # A mean is of many numbers: that it holds says little of each of them, and where it does not, it is at fault.
    return judge("mean", mean.meets(value_of(cell)), proof, cell)


def mean_of_copies(book: Book) -> Iterator[Finding]:
    """Would a mean that does not hold do so with another number in place of one that is a copy?

    One number can put any mean right, so it has to lie among the others of which the mean is.
    """
    for cell in book.numbers:
        copies = [place for place in cell.facts.mean_of if place in book.copies]
        if len(copies) != 1 or _mean_check(book, cell).verdict is AuditVerdict.CONSISTENT:
            continue
        rest = [value_of(book.at[place]) for place in cell.facts.mean_of if place not in copies]
        needed = value_of(cell).scaled(len(rest) + 1) - _sum(Interval(one.middle, one.middle) for one in rest)
        if min(one.low for one in rest) <= needed.low <= needed.high <= max(one.high for one in rest):
            part = book.at[copies[0]]
            proof = f"With {shown(part, needed.low)} to {shown(part, needed.high)} in its place the mean holds."
            yield explain("mean_of_copies", f"the copied number of {place_text(copies[0])}", proof, cell)


def _bound_check(book: Book, cell: PublishedCell) -> Finding:
    own, least = value_of(cell), cell.facts.bound == "least"
    broken = []
    for first, second in cell.facts.difference_of:
        gap = value_of(book.at[first]) - value_of(book.at[second])
        if (least and gap.high < own.low - 1e-9) or (not least and gap.low > own.high + 1e-9):
            broken.append(f"{first[1]}: {shown(cell, gap.middle, 2)}")
    proof = f"Each of {len(cell.facts.difference_of)} differences is said to be at {cell.facts.bound} "
    proof += as_printed(cell) + (f"; not so {', '.join(broken)}." if broken else ", and is.")
    return judge("bound", not broken, proof, cell)


def agree(first: PublishedCell, second: PublishedCell) -> bool:
    """Return whether two printed numbers can be one, each rounded as it is printed; means with equal deviations."""
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

    Numbers of which the paper states other images, or another number of trainings, are not the same.
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
                places = ", ".join(f"{as_printed(other)} in {table_title(other.table)}" for other in wrong or alike)
                proof = f"Printed as {as_printed(cell)} here, as {places}."
                yield judge("same_quantity", not wrong, proof, cell)


def _same_images(book: Book, first: PublishedCell, second: PublishedCell) -> bool:
    """Return whether nothing says that two numbers are of other images or of another number of trainings."""
    ways, counts = [], []
    for cell in (first, second):
        facts = cell.facts
        bounds = book.count(facts.images_from), book.count(facts.images_to)
        ways.append((facts.executions, facts.folds, book.of_unknown_runs(cell), bounds))
        counts.append(book.stated(cell))
    return ways[0] == ways[1] and all(None in pair or pair[0] == pair[1] for pair in zip(*counts, strict=True))


def same_slip(book: Book) -> Iterator[Finding]:
    """Is an impossible number the same metric of the same system as one that a slip of the pen explains elsewhere?

    Where the number without the slip is possible there too, the slip explains it; else more than the slip is wrong.
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
                proof = f"Here {there} is impossible as well, so another number of the row is wrong besides."
                yield judge("same_slip", False, proof, cell)


def weighted_mean(book: Book) -> Iterator[Finding]:
    """Is a rate the mean of the rates of its parts, weighted by their images?

    Over folds that is exact only where each part has its share in every fold; drawn at random, the mean may be off by
    as much as the parts' images and rates vary together, |covariance| <= product of the deviations.
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
            yield leave_open("weighted_mean", "the folds need not hold each part's share", *cells, proof=proof)


def _drift(part: PublishedCell, count: int, total: int, folds: int, mean: float) -> float:
    """Return how far a part's images and rates, and its images and those of all parts, may vary together."""
    if folds == 1:
        return 0.0
    # A part of few images has none in some fold, whose rate is not defined and not in the mean.
    if count < _FEW * folds:
        return 1.0
    std, value, fold = spread_of(part), value_of(part), total / folds
    drawn = math.sqrt(fold * (count / total) * (1 - 1 / folds)) / fold
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
