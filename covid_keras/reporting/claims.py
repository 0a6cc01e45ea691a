"""The claims of papers judged on the results of a run, or on the committed results of all papers.

Of several committed profiles, a claim is judged on the one in which all its primary tests can be done and whose grade
is the highest; claims about systems of other papers are judged on committed results only.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.common.tables import read_table
from covid_keras.evaluation.claim_metrics import ClaimMetrics, NotTestable
from covid_keras.evaluation.claims import ClaimOutcome, ClaimVerdict, MeasuredTest, correct_families, judge_claim
from covid_keras.evaluation.counts import OfConfusion
from covid_keras.evaluation.overlap import read_overlap
from covid_keras.evaluation.printed_claims import PrintedSupport, judge_printed
from covid_keras.evaluation.verdicts import Grade
from covid_keras.paper.claims import claims_of
from covid_keras.paper.paper import Paper
from covid_keras.paper.registered import load_papers
from covid_keras.published.cells import load_published
from covid_keras.published.claims import OF_OVERLAP, SHIPPED, Claim, split_system
from covid_keras.published.facts import place_text
from covid_keras.reporting.audits import audit_of, audited_places
from covid_keras.reporting.results import Results
from covid_keras.reporting.sources import committed_profiles

OUTCOMES = "claims.csv"
_GRADES = tuple(Grade)
# The rule of the audit that looks at the last digits of a share.
_OF_DIGITS = "grim"
# Kinds of rows of the table of outcomes.
CLAIM, TEST, PRINTED = "claim", "test", "printed"
_NUMBERS = ("value", "low", "high", "p", "executions", "same_side", "trainings", "patients", "images")
COLUMNS = (
    "claim", "row", "what", "outcome", "claimed", "value", "low", "high", "p", "corrected_p", "printed", "grade",
    "source", "fixed", "primary", "executions", "same_side", "trainings", "patients", "images", "basis", "reason",
)  # fmt: skip


@dataclass(frozen=True)
class _Measured:
    """The measurements of results by paper, as `ClaimMetrics` needs them."""

    paper: str
    results: Mapping[str, Results]

    def predictions(self, system: str) -> pd.DataFrame:
        results, name = self._of(system)
        if name not in results.systems:
            raise self._missing(system)
        return results.predictions_of(name)

    def positive(self, system: str) -> str | None:
        return self._of(system)[0].paper.positive or None

    def functions(self, system: str) -> Mapping[str, OfConfusion]:
        return self._of(system)[0].report.counted

    def shares(self, system: str) -> pd.DataFrame:
        results, name = self._of(system)
        table = results.source.shares
        if table.empty or not (table["system"] == name).any():
            raise NotTestable(f"heat in the lungs was not measured for {system}")
        images = self.predictions(system).drop_duplicates("image_id").set_index("image_id")
        table = table[table["system"] == name]
        return table.assign(**{column: table["image_id"].map(images[column]) for column in ("source", "label")})

    def overlap(self, system: str) -> pd.DataFrame:
        results, name = self._of(system)
        folders = results.source.segmenters
        if name in folders:
            return read_overlap(folders[name])
        for folder in folders.values() if name == SHIPPED else ():
            if (path := folder / f"{SHIPPED}.csv").is_file():
                theirs = read_table(path, ("image_id", *OF_OVERLAP)).astype(dict.fromkeys(OF_OVERLAP, np.float64))
                known = read_overlap(folder)[["image_id", "patient_id", "part"]]
                return known.merge(theirs[["image_id", *OF_OVERLAP]], on="image_id", validate="one_to_one")
        raise self._missing(system)

    def _of(self, system: str) -> tuple[Results, str]:
        where, name = split_system(system, self.paper)
        if where not in self.results:
            raise NotTestable(f"{system} is not among these results")
        return self.results[where], name

    def _missing(self, system: str) -> NotTestable:
        results, name = self._of(system)
        reason = results.left_out.get(name, "").removeprefix("not run: ")
        return NotTestable(f"{system} was not run" + (f": {reason}" if reason else ""))


class _Evidence:
    """Results of one or more papers, on which the claims of one paper are judged."""

    def __init__(self, paper: str, results: Iterable[Results]) -> None:
        self.paper, self.results = paper, {one.paper.name: one for one in results}
        self.metrics = ClaimMetrics(_Measured(paper, self.results))

    def judge(self, claim: Claim, printed: PrintedSupport) -> ClaimOutcome:
        """Return the outcome of a claim, with grade and source if it can be tested."""
        found = judge_claim(claim, self.metrics, printed)
        if found.outcome == ClaimVerdict.NOT_TESTABLE:
            return found
        tested = [one.test for one in found.tests if one.test.primary and one.outcome != ClaimVerdict.NOT_TESTABLE]
        places = [split_system(name, self.paper) for test in tested for name in test.systems]
        used = [self.results[where] for where in dict.fromkeys(where for where, _ in places)]
        grades = [self.results[where].grading(name, "")[0] for where, name in set(places) if name != SHIPPED]
        own = [one.paper.name == self.paper for one in used]
        names = [
            one.profile if mine else f"{one.paper.name} {one.profile}" for one, mine in zip(used, own, strict=True)
        ]
        return replace(
            found,
            grade=max(grades, key=_GRADES.index, default=None),
            source=", ".join(names),
            fixed=all(own) and all(one.claims_fixed for one in used),
        )

    def preference(self, outcome: ClaimOutcome) -> tuple[int, int, int]:
        """Return what makes results preferable: tests that can be done, the grade, systems whose fate is known."""
        tested = sum(one.test.primary and one.outcome != ClaimVerdict.NOT_TESTABLE for one in outcome.tests)
        places = (split_system(name, self.paper) for name in outcome.claim.systems)
        known = {where: {*one.systems, *one.left_out} for where, one in self.results.items()}
        run = sum(name in known.get(where, ()) for where, name in places)
        return tested, -_GRADES.index(outcome.grade) if outcome.grade else -len(_GRADES), run


def run_outcomes(results: Results) -> tuple[ClaimOutcome, ...]:
    """Return the outcomes of a paper's claims on the results of one run, or of one committed profile.

    Raises
    ------
    UserError
        If the file of claims is invalid.
    """
    paper = results.paper
    evidence = _Evidence(paper.name, [results])
    outcomes = {claim.id: evidence.judge(claim, printed) for claim, printed in _printed(paper)}
    return tuple(correct_families(outcomes).values())


def committed_outcomes(paper: Paper) -> tuple[ClaimOutcome, ...]:
    """Return the outcomes of a paper's claims on the committed results; computed once per state of the files.

    Raises
    ------
    UserError
        If the file of claims is invalid, or a committed file cannot be read.
    """
    papers = {paper.name: paper, **_others(paper)}
    return _committed(_Papers(papers), paper.name, tuple(_state(papers)))


class _Papers(dict[str, Paper]):
    """Papers by name; equal to any other, since the cache compares the state of their files instead."""

    def __hash__(self) -> int:  # type: ignore[override]
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Papers)


@lru_cache(maxsize=16)
def _committed(papers: Mapping[str, Paper], name: str, state: tuple[Any, ...]) -> tuple[ClaimOutcome, ...]:
    results = {
        one.name: [Results.committed(one, profile) for profile in committed_profiles(one)] for one in papers.values()
    }
    made: dict[tuple[str, ...], list[_Evidence]] = {}
    outcomes = {}
    for claim, printed in _printed(papers[name]):
        needed = tuple(dict.fromkeys(split_system(system, name)[0] for system in claim.systems))
        if needed not in made:
            choices = itertools.product(*(results[one] for one in needed if results[one]))
            made[needed] = [_Evidence(name, chosen) for chosen in choices]
        found = [(evidence.judge(claim, printed), evidence) for evidence in made[needed]]
        outcomes[claim.id] = max(found, key=lambda one: one[1].preference(one[0]))[0]
    return tuple(correct_families(outcomes).values())


def _printed(paper: Paper) -> Iterator[tuple[Claim, PrintedSupport]]:
    """Yield the claims of a paper with what its own numbers say."""
    if claims := claims_of(paper):
        published, audit = load_published(paper.folder / "published.yaml"), audit_of(paper)
        # No whole number of images gives such a share, but the nearest one lies within an image of it.
        rejected = audited_places(audit[audit["rules"] != _OF_DIGITS])
        yield from ((claim, judge_printed(claim, published, rejected)) for claim in claims.values())


def _others(paper: Paper) -> dict[str, Paper]:
    """Return the other papers whose systems the claims of a paper are about."""
    names = {split_system(name, paper.name)[0] for claim in claims_of(paper).values() for name in claim.systems}
    return {name: one for name, one in load_papers().items() if name in names - {paper.name}} if names else {}


def _state(papers: Mapping[str, Paper]) -> Iterator[tuple[Path, int, int]]:
    """Yield what tells whether a file on which the outcomes depend was changed."""
    for paper in papers.values():
        for path in sorted([*paper.folder.glob("*.yaml"), *(paper.folder / "results").rglob("*")]):
            found = path.stat()
            if path.is_file() and path.name != OUTCOMES:
                yield path, found.st_mtime_ns, found.st_size


def claims_table(outcomes: Iterable[ClaimOutcome]) -> pd.DataFrame:
    """Return the outcomes of claims as a table.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`. Per claim a row "claim", then one per test ("test") and one per comparison of printed numbers
        ("printed"). `what` is the statement, the test or the places; `outcome` the verdict, of a printed comparison its
        support; `printed` the support of a claim; `claimed` the side, such as "> 0". The numbers of a claim are those
        of its deciding test, except for `p`. Percent or points; NaN or "" if there is none.
    """
    table = pd.DataFrame([row for outcome in outcomes for row in _rows(outcome)], columns=list(COLUMNS))
    texts = [name for name in COLUMNS if name not in (*_NUMBERS, "corrected_p")]
    whole = {name: "Int64" for name in ("executions", "same_side", "trainings", "patients", "images")}
    return table.astype(whole | dict.fromkeys(texts, object)).fillna(dict.fromkeys(texts, ""))


def _rows(outcome: ClaimOutcome) -> Iterator[dict[str, Any]]:
    claim, deciding = outcome.claim, outcome.deciding
    yield {
        **(_tested(deciding) if deciding else {}),
        "claim": claim.id,
        "row": CLAIM,
        "what": claim.statement,
        "outcome": str(outcome.outcome),
        "reason": outcome.reason,
        "p": outcome.p,
        "corrected_p": outcome.corrected_p,
        "printed": str(outcome.printed.support),
        "grade": str(outcome.grade or ""),
        "source": outcome.source,
        "fixed": "yes" if outcome.fixed else "no",
        "primary": "",
    }
    for test in outcome.tests:
        yield {"claim": claim.id, "row": TEST, **_tested(test)}
    for one in outcome.printed.tests:
        sides = [" and ".join(map(place_text, side)) for side in (one.comparison.a, one.comparison.b) if side]
        yield {
            "claim": claim.id,
            "row": PRINTED,
            "what": " less ".join(sides),
            "outcome": str(one.support),
            "claimed": one.comparison.words,
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "basis": one.basis,
            "reason": one.reason,
        }


def _tested(test: MeasuredTest) -> dict[str, Any]:
    return {
        "what": test.test.title,
        "outcome": str(test.outcome),
        "claimed": test.test.words,
        "primary": "yes" if test.test.primary else "no",
        "reason": test.reason,
        **{name: getattr(test, name) for name in _NUMBERS},
    }
