"""Test the claims of a paper on predictions.

Each test claims that a value lies on one side of a bound. Its 95 % interval is a bootstrap over patients, paired by
image unless the test compares different sets of images; where systems were trained several times on the same images,
the repeats are drawn along (`covid_keras.evaluation.claim_metrics`). A test holds if the whole interval lies on the
claimed side, does not hold if it lies on the other, and is undecided otherwise. A claim holds if all primary tests
hold, does not hold if one does not, and is undecided otherwise; tests that cannot be done here are left out, and named.

The p-value of a claim that holds is the largest of its primary tests, all of which must hold [2]_; of one that does not
hold, the smallest times their number, since any of them decides (Bonferroni). Claims of one family are corrected for
their number by Holm's method [1]_; a claim without family is one of its own. p-values are two-sided bootstrap tail
probabilities, consistent with the intervals. A decided claim whose corrected p-value is too large becomes undecided.

References
----------
.. [1] S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6, 1979.
.. [2] R. L. Berger, Multiparameter hypothesis testing and acceptance sampling, Technometrics 24, 1982
   (intersection-union test).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation.claim_metrics import ClaimMetrics, Draws, NotTestable, Side
from covid_keras.evaluation.printed_claims import PrintedSupport
from covid_keras.evaluation.uncertainty import DIFFERENCES, EXACT, LEVEL, SHARES, Interval, interval_of
from covid_keras.evaluation.verdicts import Grade
from covid_keras.published.claims import Claim, ClaimTest

_NAN = float("nan")
_NAMED = 3  # reasons that are written out
_SAME = 1e-9  # points by which equal values may differ, rounded


class ClaimVerdict(StrEnum):
    """The outcome of a test, and of a claim."""

    HOLDS = "holds"
    FAILS = "does not hold"
    UNDECIDED = "undecided"
    NOT_TESTABLE = "not testable here"


@dataclass(frozen=True)
class MeasuredTest:
    """The outcome of a test on predictions.

    Attributes
    ----------
    test : ClaimTest
    outcome : ClaimVerdict
    reason : str
        Why it is not testable, else "".
    value, low, high : float
        With the 95 % interval; percent, or points for a difference. NaN if not testable.
    p : float
        Two-sided bootstrap p-value against the bound that decides.
    executions, same_side : int
        Number of executions (pairs, if both sides have the same ones), and how many of them alone are on the same side
        of the bound as the value (0 for spreads over executions).
    trainings : int
        Trainings per image that were drawn; 1 if the interval contains no chance of another training.
    patients, images : int
        Of both sides.
    """

    test: ClaimTest
    outcome: ClaimVerdict
    reason: str = ""
    value: float = _NAN
    low: float = _NAN
    high: float = _NAN
    p: float = _NAN
    executions: int = 0
    same_side: int = 0
    trainings: int = 0
    patients: int = 0
    images: int = 0


@dataclass(frozen=True)
class ClaimOutcome:
    """The outcome of a claim, ours and what the paper's own numbers allow.

    Attributes
    ----------
    claim : Claim
    outcome : ClaimVerdict
    reason : str
        Why it is not testable, or undecided after the correction for several tests and claims, and which primary tests
        were not done; else "".
    tests : tuple of MeasuredTest
        In the order of the claim; empty if it has no tests.
    printed : PrintedSupport
    p, corrected_p : float
        Of the claim, without and with Holm's correction; NaN if not testable.
    grade : Grade or None
        The lowest of its systems; None if not testable.
    source : str
        The results that were used, such as "cpu"; "" if not testable.
    fixed : bool
        Whether `claims.yaml` was, before the run, what it is now.
    """

    claim: Claim
    outcome: ClaimVerdict
    reason: str
    tests: tuple[MeasuredTest, ...]
    printed: PrintedSupport
    p: float = _NAN
    corrected_p: float = _NAN
    grade: Grade | None = None
    source: str = ""
    fixed: bool = False

    @property
    def deciding(self) -> MeasuredTest | None:
        """The primary test that decides: of those that do not hold the clearest, else the least clear of all."""
        done = [one for one in self.tests if one.test.primary and one.outcome != ClaimVerdict.NOT_TESTABLE]
        fails = [one for one in done if one.outcome == ClaimVerdict.FAILS]
        return min(fails, key=lambda one: one.p) if fails else max(done, key=lambda one: one.p, default=None)


def judge_claim(claim: Claim, metrics: ClaimMetrics, printed: PrintedSupport) -> ClaimOutcome:
    """Test a claim on predictions, without correction for other claims.

    Raises
    ------
    UserError
        If a metric is not computed from a system's predictions.
    """
    if not claim.tests:
        return ClaimOutcome(claim, ClaimVerdict.NOT_TESTABLE, claim.untested, (), printed)
    try:
        tests = tuple(judge_test(test, metrics) for test in claim.tests)
    except UserError as error:
        raise UserError(f"claim {claim.id!r}", f"{error.subject} {error.problem}", error.remedy) from error
    primary = [one for one in tests if one.test.primary]
    measured = [one for one in primary if one.outcome != ClaimVerdict.NOT_TESTABLE]
    reason = _not_measured([one.reason for one in primary if one not in measured], len(primary))
    if not measured:
        return ClaimOutcome(claim, ClaimVerdict.NOT_TESTABLE, reason, tests, printed)
    if failing := [one.p for one in measured if one.outcome == ClaimVerdict.FAILS]:
        p = min(1.0, min(failing) * len(measured))
        return ClaimOutcome(claim, ClaimVerdict.FAILS, reason, tests, printed, p, p)
    holds = all(one.outcome == ClaimVerdict.HOLDS for one in measured)
    p = max(one.p for one in measured)
    return ClaimOutcome(claim, ClaimVerdict.HOLDS if holds else ClaimVerdict.UNDECIDED, reason, tests, printed, p, p)


def _not_measured(reasons: Sequence[str], tests: int) -> str:
    """Return why primary tests were not done; how many, if others were."""
    if not reasons:
        return ""
    different = list(dict.fromkeys(reasons))
    text = "; ".join(different[:_NAMED]) + ("; ..." if len(different) > _NAMED else "")
    return text if len(reasons) == tests else f"{len(reasons)} of {tests} tests not done: {text}"


def correct_families(outcomes: Mapping[str, ClaimOutcome]) -> dict[str, ClaimOutcome]:
    """Apply Holm's correction to the claims of each family that were tested; a claim without family is one of its own.

    Parameters
    ----------
    outcomes : mapping
        Claim id -> outcome from `judge_claim`.

    Returns
    -------
    dict
        The same, in the same order, with `corrected_p`; claims whose corrected p-value exceeds 1 - `LEVEL` become
        undecided, with the reason.
    """
    corrected = dict(outcomes)
    groups: dict[str, list[str]] = {}
    for key, one in outcomes.items():
        if not math.isnan(one.p):
            groups.setdefault(one.claim.family or f"claim {key}", []).append(key)
    for name, ids in groups.items():
        least, family = 0.0, f"the {len(ids)} claims of the family {name!r}" if len(ids) > 1 else ""
        for rank, key in enumerate(sorted(ids, key=lambda key: outcomes[key].p)):
            least = min(1.0, max(least, (len(ids) - rank) * outcomes[key].p))
            corrected[key] = _corrected(outcomes[key], least, family)
    return corrected


def _corrected(one: ClaimOutcome, p: float, family: str) -> ClaimOutcome:
    if one.outcome == ClaimVerdict.UNDECIDED or p <= 1 - LEVEL:
        return replace(one, corrected_p=p)
    tests = sum(test.test.primary and test.outcome != ClaimVerdict.NOT_TESTABLE for test in one.tests)
    several = one.outcome == ClaimVerdict.FAILS and tests > 1
    number = " and ".join(filter(None, (f"its {tests} tests" if several else "", family)))
    alone = f"one test {one.outcome}" if several else f"{one.outcome} alone"
    before = one.deciding.p if one.deciding else one.p
    reason = f"{alone} (p = {before:.3f}), but not after correction for {number} (p = {p:.3f})"
    reason = "; ".join(filter(None, (reason, one.reason)))
    return replace(one, outcome=ClaimVerdict.UNDECIDED, reason=reason, corrected_p=p)


def judge_test(test: ClaimTest, metrics: ClaimMetrics) -> MeasuredTest:
    """Test one value against its bound; raise `UserError` if the metric is not computed from the predictions."""
    try:
        return _measure(test, Side.of(test), metrics)
    except NotTestable as missing:
        return MeasuredTest(test, ClaimVerdict.NOT_TESTABLE, str(missing))


def _measure(test: ClaimTest, sides: list[Side], metrics: ClaimMetrics) -> MeasuredTest:
    rows, shared = [metrics.rows(side) for side in sides], None
    if len(sides) > 1 and not test.sets:
        shared = frozenset.intersection(*(frozenset(one["image_id"]) for one in rows))
        if not shared:
            raise NotTestable(f"{' and '.join(test.systems)} were tested on no image in common")
        rows = [one[one["image_id"].isin(shared)] for one in rows]
    patients = pd.Index(sorted(set().union(*(one["patient_id"] for one in rows))))
    draws = [metrics.draws(side, shared, patients) for side in sides]
    # Spreads of both sides are independent.
    drawn = [one.resampled(side, (metrics.seed, k)) for k, (side, one) in enumerate(zip(sides, draws, strict=True))]
    values = [one.value(side) for side, one in zip(sides, draws, strict=True)]
    value, resampled = values[0], drawn[0]
    if len(sides) > 1:
        value, resampled = values[0] - values[1], drawn[0] - drawn[1]
    bearing = min(one.contributing(side) for side, one in zip(sides, draws, strict=True))
    certain = set(values) <= set(SHARES) and not any(side.spread for side in sides)
    sure = SHARES if len(sides) == 1 else DIFFERENCES
    interval = interval_of(resampled, LEVEL, bearing, sure if certain else ())
    if math.isnan(value) or math.isnan(interval[0]):
        raise NotTestable(f"{test.metric} is undefined on the images of {' and '.join(test.systems)}")
    each, same = _each(sides, draws), _on_side(value, test.range)
    return MeasuredTest(
        test,
        _verdict(interval, test.range),
        "",
        value,
        *interval,
        p=_p_value(resampled, value, test.range, bearing, interval),
        executions=int(np.isfinite(each).sum()),
        same_side=sum(same != 0 and _on_side(float(one), test.range) == same for one in each),
        trainings=min(len({repeat for repeat, _ in one.executions}) for one in draws),
        patients=len(patients),
        images=len(set().union(*(one["image_id"] for one in rows))),
    )


def _on_side(value: float, claimed: tuple[float, float]) -> int:
    """Return 1 for a value on the claimed side, -1 on the other, 0 exactly on a bound or for NaN."""
    low, high = claimed
    if low + _SAME < value < high - _SAME:
        return 1
    return -1 if value < low - _SAME or high + _SAME < value else 0


def _verdict(interval: tuple[float, float], claimed: tuple[float, float]) -> ClaimVerdict:
    if {_on_side(end, claimed) for end in interval} == {1}:
        return ClaimVerdict.HOLDS
    outside = interval[1] < claimed[0] - _SAME or claimed[1] + _SAME < interval[0]
    return ClaimVerdict.FAILS if outside else ClaimVerdict.UNDECIDED


def _each(sides: Sequence[Side], draws: Sequence[Draws]) -> np.ndarray:
    """Return the value of each execution, or the difference of each pair if both sides have the same executions.

    Other executions of one side are compared with the mean of the other.
    """
    first = draws[0].each(sides[0])
    if len(sides) == 1:
        return first
    second = draws[1].each(sides[1])
    if draws[0].executions == draws[1].executions:
        return first - second
    if len(first) == 1:
        return first - second
    return first - draws[1].value(sides[1])


def _p_value(
    resampled: np.ndarray, value: float, claimed: tuple[float, float], patients: int, interval: Interval
) -> float:
    """Return the two-sided p-value against the bound that decides: the nearest one, of both if the value is within."""

    def of(bound: float) -> float:
        if interval.kind == EXACT:  # as Clopper and Pearson's interval for 0 of n patients
            return min(1.0, 2 * (1 - min(abs(value - bound), 100.0) / 100) ** patients)
        known = resampled[np.isfinite(resampled)]
        beyond = min((known <= bound + _SAME).sum(), (known >= bound - _SAME).sum())
        return min(1.0, 2 * (1 + float(beyond)) / (1 + len(known)))

    bounds = [bound for bound in claimed if math.isfinite(bound)]
    return max(of(bound) for bound in bounds)
