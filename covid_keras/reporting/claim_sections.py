"""What the claims of papers say, as part of a page: counts, and one line per claim with its tests folded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pandas as pd

from covid_keras.evaluation.claims import ClaimOutcome, ClaimVerdict, MeasuredTest
from covid_keras.evaluation.printed_claims import Support
from covid_keras.evaluation.verdicts import Grade
from covid_keras.published.facts import place_text
from covid_keras.reporting.claim_plot import claim_plot, claimed_words, test_words
from covid_keras.reporting.document import ClaimEntry, Section, TableEntry
from covid_keras.reporting.prose import notes, prose
from covid_keras.reporting.wording import NOTHING, interval, number

TEXTS = ("covid_keras.reporting", "claims.md")
# The most prominent place first; of one place, what is decided here.
SOURCES = ("abstract", "conclusion", "text")
DECIDED = (ClaimVerdict.HOLDS, ClaimVerdict.FAILS)
# Neither the paper's own numbers nor a test here tell whether the claim is true.
OPEN_IN_PAPER = (Support.WITHIN_NOISE, Support.NOT_ENOUGH)


def claims_section(title: str, outcomes: Sequence[ClaimOutcome], where: str) -> Section:
    """Return the claims of a paper: how many, one line for each, and those that cannot be tested, folded.

    `where` names what they are tested on, such as "on this run". Empty if there are no claims.
    """
    section = Section(title, link="Claims")
    if not outcomes:
        return section
    ordered = sorted(outcomes, key=prominence)
    tested = [one for one in ordered if one.outcome != ClaimVerdict.NOT_TESTABLE]
    untested = [one for one in ordered if one.outcome == ClaimVerdict.NOT_TESTABLE]
    section.text = claims_text(outcomes, where)
    section.tables = [counts_table(outcomes)]
    section.claims = [claim_entry(one) for one in tested]
    if untested:
        name = f"{ClaimVerdict.NOT_TESTABLE.capitalize()} ({len(untested)})"
        section.details = [Section(name, claims=[claim_entry(one) for one in untested])]
    return section


def overview_section(papers: Mapping[str, Sequence[ClaimOutcome]], whole: bool) -> Section:
    """Return the claims of all papers: how many, the most prominent by what is known of them, and how they are tested.

    With `whole`, the claims of each paper follow, folded. Empty if there are no claims.
    """
    outcomes = [one for own in papers.values() for one in own]
    section = Section("What the papers claim, and what holds", link="Claims")
    if not outcomes:
        return section
    section.text = claims_text(outcomes, "here on the committed results", len(papers))
    section.tables = [counts_table(outcomes)]
    section.parts = [
        Section(
            f"{title} ({len(own)})",
            text,
            claims=[claim_entry(one, name) for name, one in most_prominent(papers, 1, asked)],
        )
        for title, text, asked in (
            ("What holds here", "", lambda one: one.outcome == ClaimVerdict.HOLDS),
            ("What does not hold here", "", lambda one: one.outcome == ClaimVerdict.FAILS),
            ("What nobody can know", prose(*TEXTS, "unknown"), nobody_knows),
        )
        if (own := [*filter(asked, outcomes)])
    ]
    section.details = [Section("How claims are tested, and which are shown", prose(*TEXTS, "how"))]
    for name, own in papers.items() if whole else ():
        section.details.append(claims_section(f"All claims of {name} ({len(own)})", own, "here"))
    return section


def most_prominent(
    papers: Mapping[str, Sequence[ClaimOutcome]], of_each: int, asked: Callable[[ClaimOutcome], bool] = bool
) -> list[tuple[str, ClaimOutcome]]:
    """Return the most prominent claims of each paper among those asked for, with the name of the paper."""
    return [
        (name, one)
        for name, outcomes in papers.items()
        for one in sorted(filter(asked, outcomes), key=prominence)[:of_each]
    ]


def excerpt_section(papers: Mapping[str, Sequence[ClaimOutcome]], of_each: int) -> Section:
    """Return counts and the most prominent claims for a README, without intervals; empty without claims."""
    if not (outcomes := [one for own in papers.values() for one in own]):
        return Section("")
    rows = [
        {
            "claim": one.claim.statement,
            "paper": name,
            "its own numbers": str(one.printed.support),
            "tested here": ": ".join(filter(None, (str(one.outcome), _basis(one)))),
        }
        for name, one in most_prominent(papers, of_each)
    ]
    frame = pd.DataFrame(rows).drop(columns=[] if len(papers) > 1 else ["paper"])
    words = prose(*TEXTS, "excerpt", papers=len(papers))
    return Section("", counts_words(outcomes, "here", len(papers)), tables=[TableEntry("", words, frame)])


def claims_text(outcomes: Sequence[ClaimOutcome], where: str, papers: int = 1) -> str:
    """Return how many claims hold, and what must be known of all of them: grades, trainings, when they were written."""
    tested = [one for one in outcomes if one.outcome != ClaimVerdict.NOT_TESTABLE]
    return prose(
        *TEXTS,
        "claims",
        counts_words=counts_words(outcomes, where, papers),
        papers=papers,
        tested=len(tested),
        supported=sum(one.printed.support == Support.SUPPORTED for one in outcomes),
        contradicted=sum(one.printed.support == Support.CONTRADICTED for one in outcomes),
        unfixed=sum(not one.fixed for one in tested),
        stand_ins=sum(one.grade == Grade.STAND_IN for one in tested),
        single=sum(_single(one) for one in tested),
    )


def counts_words(outcomes: Sequence[ClaimOutcome], where: str, papers: int = 1) -> str:
    """Return the number of claims per outcome, as a sentence."""
    found = [one.outcome for one in outcomes]
    counts = {str(kind): found.count(kind) for kind in ClaimVerdict}
    return prose(*TEXTS, "counts", all=len(found), counts=counts, where=where, papers=papers)


def counts_table(outcomes: Sequence[ClaimOutcome]) -> TableEntry:
    """Return the number of claims per outcome here and support in the paper."""
    supports = (Support.SUPPORTED, Support.WITHIN_NOISE, Support.CONTRADICTED, Support.NOT_ENOUGH)
    rows = []
    for kind in ClaimVerdict:
        own = [one.printed.support for one in outcomes if one.outcome == kind]
        # Short heads, so that the table fits a narrow page.
        heads = {one.value.removesuffix(" by another number"): own.count(one) for one in supports}
        rows.append({"here": kind.value} | heads | {"all": len(own)})
    frame = pd.DataFrame(rows)
    frame.loc[len(frame)] = ["all", *frame.drop(columns="here").sum()]
    return TableEntry("Claims tested here, by what the paper's own numbers say", "", frame)


def prominence(one: ClaimOutcome) -> tuple[int, bool]:
    """Return a key that sorts claims: those of the abstract first, of these the decided ones."""
    return SOURCES.index(one.claim.source), one.outcome not in DECIDED


def nobody_knows(one: ClaimOutcome) -> bool:
    """Whether neither the paper's own numbers nor a test here tell if a claim is true."""
    return one.outcome not in DECIDED and one.printed.support in OPEN_IN_PAPER


def claim_entry(one: ClaimOutcome, paper: str = "") -> ClaimEntry:
    """Return a claim as a line of a page; with the name of its `paper`, tests are not listed."""
    claim, deciding = one.claim, one.deciding
    named = claim.source == "text" or claim.source in claim.where.lower()
    where = claim.where if named else f"{claim.source}; {claim.where}"
    return ClaimEntry(
        claim.statement,
        f"{paper}, {claim.source}" if paper else where,
        str(one.printed.support),
        str(one.outcome),
        _basis(one),
        _found(one, deciding),
        claim_plot(one.tests),
        Section("") if paper else _detail(one),
    )


def _found(one: ClaimOutcome, deciding: MeasuredTest | None) -> str:
    """Return the deciding test and its number of rivals, or why there is none."""
    if deciding is None:
        return one.reason
    primary = sum(not math.isnan(test.p) for test in one.tests if test.test.primary)
    return test_words(deciding) + (f" (the deciding one of {primary} tests)" if primary > 1 else "")


def _basis(one: ClaimOutcome) -> str:
    """Return the grade, and whether each image was tested by a single training."""
    return ", ".join(filter(None, (str(one.grade or ""), "one training each" if _single(one) else "")))


def _single(one: ClaimOutcome) -> bool:
    return one.deciding is not None and one.deciding.trainings == 1


def _detail(one: ClaimOutcome) -> Section:
    """Return reasons, caution and all tests of a claim."""
    about = notes(*TEXTS, "about", one=one, claim=one.claim, single=_single(one), stand_in=one.grade == Grade.STAND_IN)
    tables = [TableEntry("Tests here", "", pd.DataFrame([_test_row(test) for test in one.tests]))] if one.tests else []
    if one.printed.tests:
        rows = [
            {
                "numbers": " less ".join(
                    " and ".join(map(place_text, side)) for side in (of.comparison.a, of.comparison.b) if side
                ),
                "claimed": of.comparison.words,
                "value [95 % interval]": _bounded(of.value, of.low, of.high, bool(of.comparison.b)),
                "from": of.basis or of.reason,
                "verdict": of.support.value,
            }
            for of in one.printed.tests
        ]
        tables.append(TableEntry("The paper's own numbers", "", pd.DataFrame(rows)))
    return Section("", notes=list(about), tables=tables)


def _test_row(one: MeasuredTest) -> dict[str, str]:
    executions = f"{one.same_side} of {one.executions}" if one.executions else NOTHING
    return {
        "test": one.test.title + ("" if one.test.primary else " (further)"),
        "claimed": claimed_words(one),
        "value [95 % interval]": _bounded(one.value, one.low, one.high, one.test.two_sided),
        "p": NOTHING if math.isnan(one.p) else f"{one.p:.3f}",
        "executions on this side": executions,
        "outcome": one.outcome.value + (f": {one.reason}" if one.reason else ""),
    }


def _bounded(value: float, low: float, high: float, signed: bool) -> str:
    return f"{number(value, signed)}\n{interval(low, high, signed)}".rstrip()
