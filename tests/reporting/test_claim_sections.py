"""Claims on a page: counts, one line per claim, what must be known of it, and a plot that shows the claimed side."""

from __future__ import annotations

import math

import pytest

from covid_keras.evaluation.claims import ClaimOutcome, ClaimVerdict, MeasuredTest
from covid_keras.evaluation.printed_claims import PrintedSupport, Support
from covid_keras.evaluation.verdicts import Grade
from covid_keras.published.claims import Claim, ClaimTest
from covid_keras.reporting.claim_plot import WIDTH, claim_plot
from covid_keras.reporting.claim_sections import claims_section, excerpt_section, overview_section
from covid_keras.reporting.document import Report
from covid_keras.reporting.renderer import fragment, render
from tests.helpers.pages import Page

INTERVALS = {ClaimVerdict.HOLDS: (2, 6), ClaimVerdict.FAILS: (-6, -2), ClaimVerdict.UNDECIDED: (-1, 9)}


def measured(low: float, high: float, outcome=ClaimVerdict.HOLDS, trainings=3, **side) -> MeasuredTest:
    test = ClaimTest(a=("a",), b=("b",), metric="accuracy", **side)
    return MeasuredTest(test, outcome, "", (low + high) / 2, low, high, 0.01, 3, 2, trainings, 40, 50)


def outcome_of(
    number: int,
    outcome=ClaimVerdict.HOLDS,
    source="text",
    support=Support.NOT_ENOUGH,
    trainings=3,
    fixed=True,
    grade=Grade.REPRODUCTION,
) -> ClaimOutcome:
    """A made claim."""
    shared = {"where": "Table V", "source": source, "kind": "order", "data": "any", "unprinted": "none"}
    text = f"Claim {number} is true."
    printed = PrintedSupport(support, (), "none")
    if outcome == ClaimVerdict.NOT_TESTABLE:
        claim = Claim(id=f"c{number}", statement=text, untested="other images", **shared)
        return ClaimOutcome(claim, outcome, "other images", (), printed)
    test = measured(*INTERVALS[outcome], outcome, trainings)
    claim = Claim(id=f"c{number}", statement=text, tests=(test.test,), caution="Small cohort.", **shared)
    return ClaimOutcome(claim, outcome, "", (test,), printed, 0.01, 0.01, grade, "cpu", fixed)


EACH = [outcome_of(number, kind) for number, kind in enumerate(ClaimVerdict)]


def page(section) -> Page:
    return Page(render(Report(title="Made", sections=[section])))


# --- the plot


@pytest.mark.parametrize(
    ("side", "claimed", "bounds"),
    [
        ({}, (0.5, 1), [0.5]),
        ({"side": "below"}, (0, 0.5), [0.5]),
        ({"above": 50}, (0.5, 1), [0.5]),
        ({"within": 5}, (0.25, 0.75), [0.25, 0.75]),
    ],
)
def test_the_claimed_side_is_shaded_from_the_bound_on(side, claimed, bounds):
    centre = side.get("above", 0)
    (mark,) = claim_plot([measured(centre + 1, centre + 9, **side)]).marks
    share = [(x - 4) / (WIDTH - 8) for x in (*mark.claimed, *mark.bounds)]
    assert share == pytest.approx([*claimed, *bounds], abs=0.001)
    assert mark.low < mark.value < mark.high
    assert (mark.low + mark.high) / 2 == pytest.approx(mark.value)


def test_an_axis_names_its_bound_and_ends_beyond_every_interval():
    above, far = measured(51, 59, above=50), measured(-40, 150)
    assert [text for _, text in claim_plot([above]).ticks] == ["40", "50", "60"]
    both = claim_plot([above, far])
    assert both.ticks[1][1] == "bound"
    assert all(0 <= x <= WIDTH for mark in both.marks for x in (mark.low, mark.value, mark.high))


def test_only_primary_tests_with_a_value_are_drawn():
    missing = measured(math.nan, math.nan)
    assert claim_plot([]) is None
    assert claim_plot([missing, measured(1, 2, primary=False)]) is None
    assert len(claim_plot([missing, measured(1, 2), measured(2, 3)]).marks) == 2


# --- a paper


def test_every_claim_has_its_line_and_what_cannot_be_tested_is_folded():
    section = claims_section("Claims", EACH, "here")
    (counts,) = section.tables
    assert counts.frame["all"].tolist() == [1, 1, 1, 1, 4]
    assert [one.outcome for one in section.claims] == ["holds", "does not hold", "undecided"]
    (folded,) = section.details
    assert [one.found for one in folded.claims] == ["other images"]
    text = fragment(section)
    assert all(text.count(f"| {one.claim.statement} |") == 1 for one in EACH)
    assert text.index("Claim 2") < text.index("<details>") < text.rindex("| Claim 3")
    parsed = page(section)
    assert [one["role"] for one in parsed.all("svg")] == ["img"] * 3
    assert "Small cohort." in parsed.text


def test_claims_of_the_abstract_come_first_and_there_the_decided_ones():
    claims = [
        outcome_of(0),
        outcome_of(1, source="conclusion"),
        outcome_of(2, ClaimVerdict.UNDECIDED, "abstract"),
        outcome_of(3, ClaimVerdict.FAILS, "abstract"),
    ]
    shown = claims_section("Claims", claims, "here").claims
    assert [one.statement.split()[1] for one in shown] == ["3", "2", "1", "0"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fixed": False}, "written down after the run"),
        ({"trainings": 1}, "chance of another training"),
        ({"grade": Grade.STAND_IN}, "and not the paper's numbers"),
    ],
)
def test_what_limits_a_claim_is_said_by_rule(change, words):
    plain, limited = (fragment(claims_section("Claims", [outcome_of(1, **one)], "here")) for one in ({}, change))
    assert words not in plain
    assert limited.count(words) == 2, "of all claims, and of this one"


# --- all papers


def test_three_questions_are_answered_with_the_most_prominent_claim_of_each_paper():
    open_ones = [outcome_of(7, ClaimVerdict.UNDECIDED), outcome_of(8, ClaimVerdict.NOT_TESTABLE)]
    known = outcome_of(9, ClaimVerdict.UNDECIDED, support=Support.SUPPORTED)
    papers = {"First": [outcome_of(1), outcome_of(2, source="abstract")], "Second": [*EACH, *open_ones, known]}
    section = overview_section(papers, whole=False)
    assert [(part.title, len(part.claims)) for part in section.parts] == [
        ("What holds here (3)", 2),
        ("What does not hold here (1)", 1),
        ("What nobody can know (4)", 1),
    ]
    assert section.parts[0].claims[0].statement == "Claim 2 is true."
    assert "Claim 9" not in fragment(section)
    assert "Claim 9" in page(overview_section(papers, whole=True)).text


def test_a_readme_has_counts_and_a_few_claims_in_words():
    text = fragment(excerpt_section({"First": EACH, "Second": EACH}, 2))
    assert text.startswith(
        "8 claims of 2 papers, tested here: 2 hold, 2 do not, 2 are undecided, 2 cannot be tested here."
    )
    assert text.count("| Claim ") == 4
    assert "First" not in fragment(excerpt_section({"First": EACH}, 3))


def test_without_claims_nothing_is_said():
    for section in (claims_section("Claims", (), "here"), overview_section({}, True), excerpt_section({}, 2)):
        assert section.empty
