"""What a paper's own numbers say about its claims, by rule and without data.

A comparison of two printed numbers, or of one with a bound, is contradicted if the numbers lie on the other side. If
they lie on the claimed side, the 95 % interval of their difference decides: it is supported if the interval lies there
too, and within noise otherwise. The interval of a number comes from the first of these that the paper gives:

1. the standard deviation over n executions: mean ± t s √(1/n), and s √(1/n + 1/(k - 1)) for k-fold cross-validation,
   because the training sets of its folds overlap [1]_;
2. the printed interval;
3. the number of images, for a share of images: Wilson's interval of a binomial proportion [2]_.

Counts are exact. Of printed standard deviations over n executions, the interval is that of normal executions, from the
chi-square distribution.

The interval of a difference combines both, each with its own distance to the limits [3]_. Test sets count as
independent: what the same images tested by both would narrow is not printed. Two cells of one row of a confusion matrix
exclude each other, which widens the interval of their difference.

References
----------
.. [1] C. Nadeau, Y. Bengio, Inference for the generalization error, Machine Learning 52, 2003.
.. [2] E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
.. [3] R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison of eleven
   methods, Statistics in Medicine 17, 1998 (method 10); G. Y. Zou, A. Donner, Construction of confidence limits about
   effect measures: a general approach, Statistics in Medicine 27, 2008 (correlated estimates).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from scipy.stats import binomtest, chi2
from scipy.stats import t as student

from covid_keras.evaluation.possibility import NO_TARGETS, Audited
from covid_keras.evaluation.uncertainty import LEVEL
from covid_keras.published.cells import PublishedCell
from covid_keras.published.claims import Claim, Comparison
from covid_keras.published.facts import Count, Place, place_text

PublishedCells = Mapping[Place, PublishedCell]
_NAN = float("nan")


class Support(StrEnum):
    """What the printed numbers allow, from worst to best."""

    CONTRADICTED = "contradicted by another number"
    WITHIN_NOISE = "within noise"
    NOT_ENOUGH = "not enough printed"
    SUPPORTED = "supported"


@dataclass(frozen=True)
class PrintedTest:
    """A comparison of printed numbers.

    Attributes
    ----------
    comparison : Comparison
    support : Support
    value, low, high : float
        `a` less `b`, or `a`, and its 95 % interval; in percentage points or percent, or in the unit of the cells if
        that is neither. NaN if unknown.
    basis : str
        What the interval is computed from, such as "std over 25 executions, 5 folds".
    reason : str
        Why not enough is printed, else "".
    """

    comparison: Comparison
    support: Support
    value: float = _NAN
    low: float = _NAN
    high: float = _NAN
    basis: str = ""
    reason: str = ""


@dataclass(frozen=True)
class PrintedSupport:
    """What the printed numbers say about a claim: the worst of its comparisons; the reason if there are none."""

    support: Support
    tests: tuple[PrintedTest, ...] = ()
    reason: str = ""


@dataclass(frozen=True)
class _Limits:
    """A value with its 95 % interval; `complete` if nothing that adds to it is unknown."""

    value: float
    low: float
    high: float
    basis: str = ""
    complete: bool = True


def judge_printed(
    claim: Claim, published: Iterable[PublishedCell], audit: Mapping[Place, Audited] | None = None
) -> PrintedSupport:
    """Judge a claim by the paper's own numbers.

    Parameters
    ----------
    claim : Claim
    published : iterable of PublishedCell
        All numbers of the paper, from `load_published`.
    audit : mapping, optional
        (table, row, column) to the finding of `covid_keras.audit`, as for `compare`. Impossible numbers and those
        explained otherwise prove nothing, unless `published.yaml` names them as targets.
    """
    if not claim.printed:
        return PrintedSupport(Support.NOT_ENOUGH, (), claim.unprinted)
    cells = {(cell.table, cell.row, cell.column): cell for cell in published}
    tests = tuple(_judge(one, cells, audit or {}) for one in claim.printed)
    worst = min((test.support for test in tests), key=list(Support).index)
    return PrintedSupport(worst, tests, next((test.reason for test in tests if test.support == worst), ""))


def _judge(comparison: Comparison, cells: PublishedCells, audit: Mapping[Place, Audited]) -> PrintedTest:
    std = comparison.of == "std"
    for place in comparison.places:
        reason = "no standard deviation is printed" if std and cells[place].std is None else ""
        if reason := _unusable(cells[place], audit.get(place, Audited())) or reason:
            return PrintedTest(comparison, Support.NOT_ENOUGH, reason=f"{place_text(place)}: {reason}")
    a, b = ([cells[place] for place in side] for side in (comparison.a, comparison.b))
    limits = _limits_of_std if std else partial(_limits, known=cells)
    found = _difference(a, limits)
    if b:
        correlation = 0.0 if std or len(a) + len(b) > 2 else _correlation(a[0], b[0])
        found = _less(found, _difference(b, limits), correlation)
    low, high = comparison.range
    inside = low < found.low and found.high < high
    # What is unknown can only widen an interval that already reaches over the bound.
    known = found.complete or not inside
    shown = (found.low, found.high, found.basis) if known and found.basis else (_NAN, _NAN, "")
    if not low <= found.value <= high:
        return PrintedTest(comparison, Support.CONTRADICTED, found.value, *shown)
    if not known:
        reason = "neither a spread nor the number of images is printed"
        return PrintedTest(comparison, Support.NOT_ENOUGH, found.value, reason=reason)
    return PrintedTest(comparison, Support.SUPPORTED if inside else Support.WITHIN_NOISE, found.value, *shown)


def _unusable(cell: PublishedCell, said: Audited) -> str:
    """Return why a cell proves nothing, "" if it does."""
    if cell.lost:
        return cell.text
    if said.verdict in NO_TARGETS and cell.target == cell.value and not cell.target_named:
        return said.words
    return ""


def _difference(cells: Sequence[PublishedCell], limits: Callable[[PublishedCell], _Limits]) -> _Limits:
    """Return a printed number, or the absolute difference of two."""
    first, *others = map(limits, cells)
    if not others:
        return first
    found = _less(first, others[0], _correlation(*cells))
    far = max(abs(found.low), abs(found.high))
    near = 0.0 if found.low <= 0 <= found.high else min(abs(found.low), abs(found.high))
    return _Limits(abs(found.value), near, far, found.basis, found.complete)


def _less(a: _Limits, b: _Limits, correlation: float = 0.0) -> _Limits:
    """Return the difference with its interval, from the intervals of both."""

    def reach(first: float, second: float) -> float:
        return math.sqrt(first**2 + second**2 - 2 * correlation * first * second)

    value = a.value - b.value
    low = value - reach(a.value - a.low, b.high - b.value)
    high = value + reach(a.high - a.value, b.value - b.low)
    basis = " and ".join(dict.fromkeys(filter(None, (a.basis, b.basis))))
    return _Limits(value, low, high, basis, a.complete and b.complete)


def _correlation(a: PublishedCell, b: PublishedCell) -> float:
    """Return the correlation of two printed shares: that of a multinomial in a row of a confusion matrix, else 0."""
    if a.row_total is None or (a.table, a.row) != (b.table, b.row):
        return 0.0
    p, q = a.target / 100, b.target / 100
    rest = (1 - p) * (1 - q)
    return -math.sqrt(p * q / rest) if rest else -1.0


def _limits(cell: PublishedCell, known: PublishedCells) -> _Limits:
    """Return the printed number, in percent if it is a share, with its interval."""
    scale = 100.0 if cell.unit == "ratio" else 1.0
    value, n, k = scale * cell.target, cell.facts.executions, cell.facts.folds
    if cell.std is not None and n > 1:
        overlap = 1 / (k - 1) if k > 1 else 0.0
        error = scale * cell.std * math.sqrt(1 / n + overlap) * float(student.ppf((1 + LEVEL) / 2, n - 1))
        basis = f"std over {n} executions" + (f" of {k} folds" if k > 1 else "")
        return _Limits(value, value - error, value + error, basis)
    if cell.low is not None and cell.high is not None:
        return _Limits(value, min(value, scale * cell.low), max(value, scale * cell.high), "printed interval")
    if images := _images(cell, known):
        share = min(max(value / 100, 0.0), 1.0)
        found = binomtest(round(share * images), images).proportion_ci(LEVEL, "wilson")
        low, high = min(100 * float(found.low), value), max(100 * float(found.high), value)
        return _Limits(value, low, high, f"{images:,} images")
    if cell.unit == "count":
        return _Limits(value, value, value, "counts")
    return _Limits(value, value, value, complete=False)


def _limits_of_std(cell: PublishedCell) -> _Limits:
    """Return the printed standard deviation, in percentage points if it is one of shares, with its interval."""
    value, n = (100.0 if cell.unit == "ratio" else 1.0) * float(cell.std or 0.0), cell.facts.executions
    if n < 2:
        return _Limits(value, value, value, complete=False)
    low, high = (value * math.sqrt((n - 1) / float(chi2.ppf(one, n - 1))) for one in ((1 + LEVEL) / 2, (1 - LEVEL) / 2))
    return _Limits(value, low, high, f"std over {n} executions")


def _images(cell: PublishedCell, known: PublishedCells) -> int:
    """Return the number of images whose share a cell is; 0 if it is not a share or the number is not printed."""
    if cell.row_total is not None:
        return cell.row_total
    facts, metric = cell.facts, cell.facts.quantity or cell.metric

    def count(counts: Sequence[Count]) -> int:
        return sum(one if isinstance(one, int) else int(known[one].mean) for one in counts)

    if metric in ("sensitivity", "false_negative_rate"):
        return count(facts.positives)
    if metric in ("specificity", "false_positive_rate"):
        return count(facts.negatives)
    if metric != "accuracy" and not metric.startswith("accuracy_"):
        return 0
    both = count((*facts.positives, *facts.negatives)) if facts.positives and facts.negatives else 0
    return count(facts.images) or both or count(facts.images_from)
