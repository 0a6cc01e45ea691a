"""Test the claims of a paper on predictions.

Each test claims that a value lies on one side of a bound. Its 95 % interval is a bootstrap over patients, paired by
image unless the test compares different sets of images; where systems were trained several times on the same images,
the repeats are drawn along (`covid_keras.evaluation.claim_metrics`). A test holds if the whole interval lies on the
claimed side, does not hold if it lies on the other, and is undecided otherwise. A claim holds if all primary tests
hold, does not hold if one does not, and is undecided otherwise.

Claims of one family are corrected for their number by Holm's method [1]_. The p-value of a claim that holds is the
largest of its primary tests, all of which must hold [2]_; of one that does not, the smallest times their number, since
any of them decides (Bonferroni). p-values are two-sided bootstrap tail probabilities, consistent with the intervals. A
correction never makes a decided claim more than undecided.

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
from covid_keras.published.claims import Claim, ClaimTest, families

_NAN = float("nan")


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
        of the bound as the value; 0 for spreads over executions.
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
        Why it is not testable, or undecided after the correction for several claims; else "".
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
        if math.isnan(self.p):
            return None
        primary = [one for one in self.tests if one.test.primary]
        fails = [one for one in primary if one.outcome == ClaimVerdict.FAILS]
        return min(fails, key=lambda one: one.p) if fails else max(primary, key=lambda one: one.p)


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
    if failing := [one.p for one in primary if one.outcome == ClaimVerdict.FAILS]:
        p = min(1.0, min(failing) * len(primary))
        return ClaimOutcome(claim, ClaimVerdict.FAILS, "", tests, printed, p, p)
    if missing := [one.reason for one in primary if one.outcome == ClaimVerdict.NOT_TESTABLE]:
        return ClaimOutcome(claim, ClaimVerdict.NOT_TESTABLE, missing[0], tests, printed)
    holds = all(one.outcome == ClaimVerdict.HOLDS for one in primary)
    p = max(one.p for one in primary)
    return ClaimOutcome(claim, ClaimVerdict.HOLDS if holds else ClaimVerdict.UNDECIDED, "", tests, printed, p, p)


def correct_families(outcomes: Mapping[str, ClaimOutcome]) -> dict[str, ClaimOutcome]:
    """Apply Holm's correction to the claims of each family that were tested.

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
    for name, ids in families({key: one.claim for key, one in outcomes.items()}).items():
        tested = sorted((key for key in ids if not math.isnan(outcomes[key].p)), key=lambda key: outcomes[key].p)
        least = 0.0
        for rank, key in enumerate(tested):
            least = min(1.0, max(least, (len(tested) - rank) * outcomes[key].p))
            corrected[key] = _corrected(outcomes[key], least, f"the {len(tested)} claims of the family {name!r}")
    return corrected


def _corrected(one: ClaimOutcome, p: float, family: str) -> ClaimOutcome:
    if one.outcome == ClaimVerdict.UNDECIDED or p <= 1 - LEVEL:
        return replace(one, corrected_p=p)
    alone, before = f"{one.outcome} alone", one.p
    if one.outcome == ClaimVerdict.FAILS and len(one.claim.primary) > 1 and one.deciding:
        alone, before = "one test does not hold", one.deciding.p
        family = f"its {len(one.claim.primary)} tests and {family}"
    reason = f"{alone} (p = {before:.3f}), but not after correction for {family} (p = {p:.3f})"
    return replace(one, outcome=ClaimVerdict.UNDECIDED, reason=reason, corrected_p=p)


def judge_test(test: ClaimTest, metrics: ClaimMetrics) -> MeasuredTest:
    """Test one value against its bound; raise `UserError` if the metric is not computed from the predictions."""
    a, b = Side(test.a, test.metric, test.part), None
    if test.two_sided:
        b = Side(test.b or test.a, test.less or test.metric, test.part_b or test.part)
    try:
        return _measure(test, [a, b] if b else [a], metrics)
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
    each = _each(sides, draws)
    low, high = test.range
    return MeasuredTest(
        test,
        _verdict(interval, test.range),
        "",
        value,
        *interval,
        p=_p_value(resampled, value, test.range, bearing, interval),
        executions=int(np.isfinite(each).sum()),
        same_side=int((((low < each) & (each < high)) == (low < value < high))[np.isfinite(each)].sum()),
        trainings=min(len({repeat for repeat, _ in one.executions}) for one in draws),
        patients=len(patients),
        images=len(set().union(*(one["image_id"] for one in rows))),
    )


def _verdict(interval: tuple[float, float], claimed: tuple[float, float]) -> ClaimVerdict:
    if claimed[0] < interval[0] and interval[1] < claimed[1]:
        return ClaimVerdict.HOLDS
    outside = interval[1] < claimed[0] or claimed[1] < interval[0]
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
        beyond = min((known <= bound).sum(), (known >= bound).sum())
        return min(1.0, 2 * (1 + float(beyond)) / (1 + len(known)))

    bounds = [bound for bound in claimed if math.isfinite(bound)]
    return max(of(bound) for bound in bounds)
