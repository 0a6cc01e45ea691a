"""A small forest plot of the tests of a claim: the claimed side shaded, the bound as a line, our interval as a bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from covid_keras.evaluation.claims import MeasuredTest
from covid_keras.reporting.wording import interval, number

WIDTH, ROW, EDGE = 220.0, 13.0, 4.0
SCALES = (5.0, 10.0, 20.0, 30.0, 50.0, 70.0, 100.0)


class Mark(NamedTuple):
    """One test: its value, interval, bounds and claimed side in pixels from the left, and its look.

    `outcome` is the name of the look, such as "does-not-hold"; `text` is what the row says.
    """

    y: float
    value: float
    low: float
    high: float
    claimed: tuple[float, float]
    bounds: tuple[float, ...]
    outcome: str
    text: str


class ClaimPlot(NamedTuple):
    """The tests of a claim, one row each, and the axis: (pixels from the left, label) of its ticks."""

    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]
    width: float
    height: float


def claim_plot(tests: Sequence[MeasuredTest]) -> ClaimPlot | None:
    """Draw the primary tests that have a value; None if there are none.

    The axis is centred on the bound of each test. What lies outside of the axis is drawn at its end.
    """
    drawn = [one for one in tests if one.test.primary and not math.isnan(one.low)]
    if not drawn:
        return None
    centres = [_centre(one) for one in drawn]
    offsets = [abs(end - c) for one, c in zip(drawn, centres, strict=True) for end in (one.low, one.high, one.value)]
    reach = next((scale for scale in SCALES if scale >= max(offsets)), SCALES[-1])

    def place(value: float, centre: float) -> float:
        share = (min(max(value - centre, -reach), reach) + reach) / (2 * reach)
        return round(EDGE + share * (WIDTH - 2 * EDGE), 1)

    marks = tuple(
        Mark(
            ROW * (row + 0.5),
            place(one.value, c),
            place(one.low, c),
            place(one.high, c),
            (place(one.test.range[0], c), place(one.test.range[1], c)),
            tuple(place(bound, c) for bound in one.test.range if math.isfinite(bound)),
            str(one.outcome).replace(" ", "-"),
            test_words(one),
        )
        for row, (one, c) in enumerate(zip(drawn, centres, strict=True))
    )
    shared = len(set(centres)) == 1
    middle = _plain(centres[0]) if shared else "bound"
    sides = [_plain(centres[0] + step) if shared and centres[0] else f"{sign}{reach:g}"
             for sign, step in (("−", -reach), ("+", reach))]  # fmt: skip
    ticks = ((EDGE, sides[0]), (WIDTH / 2, middle), (WIDTH - EDGE, sides[1]))
    return ClaimPlot(marks, ticks, WIDTH, ROW * len(marks) + 13)


def _centre(one: MeasuredTest) -> float:
    low, high = one.test.range
    return (low + high) / 2 if math.isfinite(low + high) else low if math.isfinite(low) else high


def test_words(one: MeasuredTest) -> str:
    """Return a test with its value, interval and claimed side."""
    signed = one.test.two_sided
    value = f"{number(one.value, signed)} {interval(one.low, one.high, signed)}".rstrip()
    return f"{one.test.title}: {value}, claimed {claimed_words(one)}"


def claimed_words(one: MeasuredTest) -> str:
    """Return the claimed side, with a true minus sign."""
    return one.test.words.replace("-", "−")


def _plain(value: float) -> str:
    return f"{value:g}".replace("-", "−")
