"""Typos: what a printed number may have been before a single slip of the pen."""

from __future__ import annotations

from decimal import Decimal

from covid_keras.audit.book import Book
from covid_keras.audit.findings import Finding, explain, judge, place_of
from covid_keras.audit.intervals import Interval, scale_of
from covid_keras.published.cells import PublishedCell


def slip_of(text: str) -> str:
    """Return the reason of a finding that a slip explains: `text` is the correct number."""
    return f"a slip of the pen, {text}"


def slip_or_impossible(book: Book, rule: str, cell: PublishedCell, values: Interval, proof: str) -> Finding:
    """Explain a number if exactly one slip leads to a possible one (in `values`); otherwise judge it impossible."""
    usual = book.usual_decimals(cell)
    fits = [text for text, value in slips(cell).items() if value in values and len(text.partition(".")[2]) == usual]
    if len(fits) == 1:
        book.slips[place_of(cell)] = fits[0]
        more = f"Only {fits[0]} is possible and differs by one lost, added or exchanged digit or a moved decimal point."
        return explain(rule, slip_of(fits[0]), f"{proof} {more}", cell)
    book.allowed[place_of(cell)] = values
    return judge(rule, False, proof, cell)


def slips(cell: PublishedCell) -> dict[str, float]:
    """Undo each common slip of the pen in the printed mean: text to value, shares as 0..1.

    Slips are one digit lost, one digit too many, two neighbouring digits exchanged, and the decimal point moved by one
    place.
    """
    printed = f"{cell.mean:.{cell.decimals}f}"
    whole, point, rest = printed.partition(".")
    digits, at = whole + rest, len(whole)
    # All digits, and the position of the decimal point.
    made = {(digits[:i] + d + digits[i:], at + (i <= at)) for i in range(len(digits) + 1) for d in "0123456789"}
    made |= {(digits[:at] + d + digits[at:], at) for d in "0123456789"}
    for i in range(len(digits) - 1):
        made.add((digits[:i] + digits[i + 1 :], at - (i < at)))
        made.add((digits[:i] + digits[i + 1] + digits[i] + digits[i + 2 :], at))
    if point:
        made |= {(digits, at - 1), (digits, at + 1)}
    texts = {f"{number[:place]}.{number[place:]}".rstrip(".") for number, place in made if 0 < place <= len(number)}
    return {text: scale_of(cell.unit) * float(text) for text in texts if Decimal(text) != Decimal(printed)}
