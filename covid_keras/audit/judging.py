"""What rules share: how a check becomes a finding, and when a slip of the pen explains a number."""

from __future__ import annotations

import math
from collections.abc import Callable

from covid_keras.audit.book import Book
from covid_keras.audit.findings import CONSISTENT, EXPLAINED, IMPOSSIBLE, Finding, place_of
from covid_keras.audit.printed import Interval, slips
from covid_keras.published.cells import PublishedCell

Rule = Callable[[Book], list[Finding]]
TRUNCATED = EXPLAINED.format(what="digits cut off instead of rounded")
# An explanation counts where so few random numbers would be explained as well.
UNLIKELY = 0.05


def odds(chance: float) -> str:
    """Return a chance in words, of rare ones the power of ten.

    >>> odds(1 / 946), odds(3.1e-11)
    ('1 in 946', '1 in 10^10')
    """
    return f"1 in {1 / chance:,.0f}" if chance > 1e-6 else f"1 in 10^{math.floor(-math.log10(chance))}"


def judge(cell: PublishedCell, rule: str, holds: bool, proof: str) -> Finding:
    """Return the finding that a check holds or does not."""
    return Finding(place_of(cell), rule, CONSISTENT if holds else IMPOSSIBLE, proof)


def slip_or(book: Book, cell: PublishedCell, rule: str, values: Interval, proof: str) -> Finding:
    """Return that one slip of the pen explains a number, where one alone gives a possible number, else impossible."""
    usual = book.usual_decimals(cell)
    fits = [text for text, value in slips(cell).items() if value in values and len(text.partition(".")[2]) == usual]
    if len(fits) == 1:
        book.slips[place_of(cell)] = fits[0]
        what = EXPLAINED.format(what=f"a slip of the pen, {fits[0]}")
        more = (
            f"{fits[0]} is the only possible number that a lost, added or exchanged digit or a moved point makes of it."
        )
        return Finding(place_of(cell), rule, what, f"{proof} {more}")
    book.allowed[place_of(cell)] = values
    return judge(cell, rule, False, proof)
