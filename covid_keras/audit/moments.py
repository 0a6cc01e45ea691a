"""Check whether any set of runs has the means and standard deviations printed in a row.

A run is one training. It has a sensitivity and a specificity; every other metric is a function of the two and of the
share of positives. A set of runs is a distribution over the square of sensitivity and specificity, and the printed
means and standard deviations are its moments. Whether such a distribution exists is a linear programme. It is solved on
a grid, and the error of bilinear interpolation is added to the tolerances: a row called impossible is impossible for
any runs, but a row called possible may still be impossible.

References
----------
.. [1] J. A. J. Heathers, J. Anaya, T. van der Zee, N. J. L. Brown, Recovering data from summary statistics: sample
   parameter reconstruction via iterative techniques (SPRITE), PeerJ Preprints 6:e26968v1, 2018.
.. [2] D. Bertsimas and I. Popescu, Optimal inequalities in probability theory: a convex optimization approach, SIAM J.
   Optim. 15(3), 2005 (moments by linear programmes).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.ndimage import maximum_filter
from scipy.optimize import linprog

from covid_keras.audit.confusion import METRICS
from covid_keras.audit.intervals import Interval

_STEPS, _FINE = 30, 5
# How far the share of positives in a test part, averaged over the runs, may be from the share in all images, in
# standard deviations of drawing single images at random: for folds of images, and for folds of patients with several
# images each, where the share varies more.
OF_IMAGES, OF_PATIENTS = 2.0, 6.0
# Constraints violated by less than this may be due to the solver's arithmetic.
_GIVE = 2e-6
MEAN, STD = "mean", "std"


@dataclass(frozen=True)
class Moments:
    """The printed mean and standard deviation of a metric over runs.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    mean : Interval
    std : Interval or None
        As printed; it may divide by n or by n - 1.
    """

    metric: str
    mean: Interval
    std: Interval | None


@dataclass(frozen=True)
class Runs:
    """What is known of the runs, and the two metrics that represent a run.

    Parameters
    ----------
    executions : int
        Number of runs.
    plane : str
        "rates": sensitivity and specificity; "positive" or "negative": recall and precision of that class.
    odds : Interval or None
        Negatives per positive in the test part of a run; only needed for "rates".
    may_lack : bool
        Whether a test part may lack a class, so that the recall of that class is undefined.
    may_miss : bool
        Whether a run may recognise none of a class's images, so that its F1 may be left out of the mean.
    """

    executions: int
    plane: str
    odds: Interval | None = None
    may_lack: bool = False
    may_miss: bool = True

    @property
    def metrics(self) -> tuple[str, ...]:
        """Return the metrics that are functions of the plane's two metrics, these two first."""
        return PLANES[self.plane]


PLANES = {
    "rates": tuple(dict.fromkeys(("sensitivity", "specificity", *METRICS))),
    "positive": ("sensitivity", "precision_positive", "f1_positive"),
    "negative": ("specificity", "precision_negative", "f1_negative"),
}


def runs_of(executions: int, folds: int, positives: int, negatives: int, spreads: float = OF_PATIENTS) -> Runs | None:
    """Return the runs of a row with stated classes; None if a test part may lack a class.

    With one fold, every test part holds all images. With several, the paper does not describe the split, so the number
    of positives in a test part may vary by `spreads` standard deviations of drawing images without replacement. A split
    stratified by class varies less.
    """
    if folds == 1:
        return Runs(executions, "rates", Interval(negatives / positives, negatives / positives))
    total, part = positives + negatives, (positives + negatives) / folds
    share = positives / total
    drawn = math.sqrt(part * share * (1 - share) * (1 - 1 / folds))
    slack = spreads * drawn + 1
    middle = share * part
    if min(middle, part - middle) < 4 * drawn + 2:
        return None
    low, high = max(middle - slack, 1.0), min(middle + slack, part - 1.0)
    return Runs(executions, "rates", Interval((part - high) / high, (part - low) / low))


def possible(row: Sequence[Moments], runs: Runs) -> bool:
    """Return whether some set of runs may have the moments of the row."""
    return _solve(row, runs) is not None


def harmonic(first: float, second: float) -> float:
    """Return the harmonic mean of two numbers; 0 if both are 0."""
    return 2 * first * second / (first + second) if first + second else 0.0


def range_of(metric: str, what: str, row: Sequence[Moments], runs: Runs) -> Interval | None:
    """Return the means (`what` is `MEAN`) or standard deviations (`STD`) that a metric can have, given the row.

    None if the row itself is impossible. For a standard deviation, `row` must hold the metric's mean.
    """
    box = _box(row, runs)
    mean = next((one.mean for one in row if one.metric == metric), None)
    lower, upper = _moment(runs, box, metric, None if what == MEAN else mean.middle)
    least, most = _solve(row, runs, lower), _solve(row, runs, -upper)
    if least is None or most is None:
        return None
    if what == MEAN:
        return Interval(least, -most)
    half, more = (mean.high - mean.low) / 2, runs.executions / max(runs.executions - 1, 1)
    return Interval(math.sqrt(max(least - half**2, 0)), math.sqrt(max(-most, 0) * more))


def _solve(row: Sequence[Moments], runs: Runs, aim: np.ndarray | None = None) -> float | None:
    """Return the minimum of `aim` over all distributions on the nodes that have the row's moments; None if none has.

    Without `aim`, return the smallest violation of the constraints that is unavoidable; None if it is too large. If the
    solver fails, return minus infinity, because nothing is proven.
    """
    box, left, right = _box(row, runs), [], []
    for one in row:
        less = _least_part(runs, box, one.metric)
        bounds = [(None, one.mean)]
        if one.std is not None:
            half = (one.mean.high - one.mean.low) / 2
            # Variance about the middle of the mean's interval; the paper does not say whether it divides by n or n - 1.
            bounds.append((one.mean.middle, Interval(less * one.std.low**2, one.std.high**2 + half**2)))
        for about, values in bounds:
            lower, upper = _moment(runs, box, one.metric, about)
            left += [lower, -upper]
            right += [values.high, -values.low]
    # Scale all constraints to the same size: a variance is a hundred times smaller than a mean.
    sizes = np.array([max(np.abs(one).max(), 1e-6) for one in left] or [1.0])
    nodes = (_STEPS + 1) ** 2
    if aim is None:
        # Minimise the largest violation: unlike a feasibility problem, this always has a solution.
        aim, give = np.r_[np.zeros(nodes), 1.0], -np.ones(len(sizes))
    else:
        give = np.zeros(len(sizes))
    found = linprog(
        np.r_[aim, 0.0] if len(aim) == nodes else aim,
        A_ub=np.c_[np.array(left or [np.zeros(nodes)]) / sizes[:, None], give],
        b_ub=np.array(right or [0.0]) / sizes + 1e-7,
        A_eq=np.r_[np.ones(nodes), 0.0][None],
        b_eq=[1.0],
        method="highs",
    )
    # If the solver fails for another reason than infeasibility (status 2), nothing is proven.
    if found.status != 0:
        return None if found.status == 2 else -math.inf
    return None if give.any() and found.fun > _GIVE else float(found.fun)


def _least_part(runs: Runs, box: tuple[Interval, Interval], metric: str) -> float:
    """Return the smallest possible ratio (n - 1) / n, where n is the number of runs in which the metric is defined."""
    no_hits = box[runs.plane == "rates" and metric.endswith("negative")].low <= 0
    undefined = runs.may_lack or (runs.may_miss and no_hits and metric.startswith(("precision", "f1")))
    some = min(runs.executions, 2) if undefined else runs.executions
    return (some - 1) / some


def _box(row: Sequence[Moments], runs: Runs) -> tuple[Interval, Interval]:
    """Return the intervals that the plane's two metrics can lie in.

    No run is further than sqrt(n - 1) standard deviations from the mean (Samuelson's inequality); this holds whether
    the printed standard deviation divides by n or by n - 1.
    """
    known = {one.metric: one for one in row if one.std is not None}
    sides = []
    for metric in runs.metrics[:2]:
        low, high = 0.0, 1.0
        if metric in known:
            mean, std = known[metric].mean, known[metric].std
            reach = std.high * math.sqrt(max(runs.executions - 1, 1)) + 1e-3
            low, high = max(mean.low - reach, 0.0), min(mean.high + reach, 1.0)
        sides.append(Interval(low, high))
    return tuple(sides)


@lru_cache(maxsize=256)
def _moment(
    runs: Runs, box: tuple[Interval, Interval], metric: str, about: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest and largest value near each node, (nodes,), of a metric or its squared distance `about`."""
    odds = (runs.odds.low, runs.odds.high) if runs.odds else (1.0, 1.0)
    ends = [_near_nodes(runs, box, metric, about, value) for value in odds]
    low, high = np.min([low for low, _ in ends], axis=0), np.max([high for _, high in ends], axis=0)
    if about is not None and odds[0] != odds[1]:
        # Between both odds, the metric may equal `about`, which makes the squared distance 0.
        first, second = (np.nan_to_num(_on_grid(runs, box, metric, value, 1), nan=about) - about for value in odds)
        low = np.where((first * second <= 0).ravel(), np.minimum(low, 0.0), low)
    return low, high


def _on_grid(runs: Runs, box: tuple[Interval, Interval], metric: str, odds: float, fine: int) -> np.ndarray:
    """Return a metric on the nodes of the box, `fine` times as many per side; NaN where it is undefined."""
    sides = (np.linspace(side.low, side.high, _STEPS * fine + 1) for side in box)
    x, y = np.meshgrid(*sides, indexing="ij")
    with np.errstate(divide="ignore", invalid="ignore"):
        if runs.plane != "rates":
            # Without hits, F1 counts as 0 or is left out of the mean; if the recall is undefined, the precision is 0.
            undefined = (runs.may_miss & (x == 0)) | (runs.may_lack & (y == 0))
            f1 = np.where(undefined, np.nan, np.nan_to_num(2 * x * y / (x + y)))
            return (x, y, f1)[PLANES[runs.plane].index(metric)]
        top, bottom = METRICS[metric](x, 1 - x, odds * (1 - y), odds * y)
        undefined = metric.startswith("f1") & (top == 0) & (runs.may_miss | (bottom == 0))
        return np.where(undefined, np.nan, top / bottom)


def _near_nodes(
    runs: Runs, box: tuple[Interval, Interval], metric: str, about: float | None, odds: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the values on the nodes, minus and plus the interpolation error in the adjacent cells."""
    fine = _on_grid(runs, box, metric, odds, _FINE)
    if about is not None:
        fine = (fine - about) ** 2
    nodes = fine[::_FINE, ::_FINE]
    error = _error(fine, nodes)
    middle = np.where(np.isnan(nodes), 0.5, nodes)
    return (middle - error).ravel(), (middle + error).ravel()


def _error(fine: np.ndarray, nodes: np.ndarray) -> np.ndarray:
    """Return the largest error of bilinear interpolation in the cells adjacent to each node."""
    at = np.arange(fine.shape[0]) / _FINE
    first = np.minimum(at.astype(int), _STEPS - 1)
    part = at - first
    along = nodes[first] * (1 - part)[:, None] + nodes[first + 1] * part[:, None]
    both = along[:, first] * (1 - part) + along[:, first + 1] * part
    # The fine grid samples the error at some points only, hence the factor.
    wrong = 1.3 * np.abs(both - fine)
    wrong = np.where(np.isnan(wrong), 1.0, wrong)
    return maximum_filter(wrong, 2 * _FINE + 1, mode="nearest")[::_FINE, ::_FINE]


def at_fault(row: Mapping[str, Moments], runs: Runs, order: Sequence[str]) -> tuple[str, str] | None:
    """Return the first number without which an impossible row becomes possible; None if no single number suffices.

    The metrics are tried in `order`, then the others. `STD` means that dropping the metric's standard deviation is
    enough; `MEAN`, that its mean must be dropped too.
    """
    for metric in (*(name for name in order if name in row), *(name for name in row if name not in order)):
        one = row[metric]
        rest = [other for name, other in row.items() if name != metric]
        if one.std is not None and possible([*rest, Moments(metric, one.mean, None)], runs):
            return metric, STD
        if possible(rest, runs):
            return metric, MEAN
    return None
