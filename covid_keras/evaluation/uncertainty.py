"""Intervals by bootstrap over patients.

Images of one patient are correlated, and each repeat tests the same patients. Patients are therefore drawn with
replacement, together with all their images in all executions; the statistic is the mean of a metric over executions
[1]_ [2]_. Ratios of counts are computed by one matrix product per chunk of resamples: weights (resamples, patients)
times counts (patients, cells of the confusion matrix). The AUC is a weighted rank statistic per execution.

At 0 and 100 % all resamples are equal, which is a limitation of the bootstrap. The interval is then the exact one of
Clopper and Pearson [3]_ for the number of patients that contribute to the metric: those with an image in its
denominator, or those of the rarest class for an AUC or a mean over classes. There is no interval for fewer than two
patients.

References
----------
.. [1] B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
.. [2] C. Field, A. Welsh, Bootstrapping clustered data, J. R. Stat. Soc. B 69(3), 2007 (cluster bootstrap).
.. [3] C. Clopper, E. Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
   Biometrika 26(4), 1934. The probability that n values in 0..1 are all 1 is at most mean^n, so at the bounds the
   interval holds for such values too, not only for proportions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from covid_keras.common.errors import UserError
from covid_keras.evaluation.metrics import (
    SEVERITY_PREFIX,
    Decisions,
    decisions_of,
    executions_of,
    metrics_from_confusion,
    percent,
    rows_of_test,
)

RESAMPLES = 1000
LEVEL = 0.95
# Values of a percentage and of a difference at which all resamples may be equal.
SHARES, DIFFERENCES = (0.0, 100.0), (0.0, -100.0, 100.0)
_SAME = 1e-9
_CHUNK_ELEMENTS = 4_000_000  # weights per chunk: 32 MB


# Kinds of intervals.
BOOTSTRAP, EXACT, NONE = "bootstrap", "exact", "none"


class Interval(tuple[float, float]):
    """An interval (low, high), NaN if there is none, with its kind.

    Attributes
    ----------
    kind : str
        "bootstrap", "exact" (Clopper-Pearson on patients, at 0 and 100 %) or "none" (fewer than two patients).
    """

    kind: str

    def __new__(cls, low: float, high: float, kind: str = BOOTSTRAP) -> Interval:
        made = super().__new__(cls, (low, high))
        made.kind = kind
        return made

    def __getnewargs__(self) -> tuple[float, float, str]:  # type: ignore[override]
        return (*self, self.kind)


NO_INTERVAL = Interval(float("nan"), float("nan"), NONE)


@dataclass(frozen=True)
class Difference:
    """A metric of two systems, and the difference `a` - `b` in percentage points with its interval."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    n_patients: int
    interval: str = BOOTSTRAP


@dataclass(frozen=True)
class _Ranking:
    """Images of an execution in ascending order of the score of a class."""

    patient: np.ndarray  # (n,) index into the patients
    is_class: np.ndarray  # (n,) bool
    starts: np.ndarray  # where each run of equal scores begins

    @classmethod
    def of(cls, scores: np.ndarray, is_class: np.ndarray, patient: np.ndarray) -> _Ranking:
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
        return cls(patient[order], is_class[order], starts)

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Return the AUC in percent for each row of `weights`: weighted Mann-Whitney statistic, ties count half."""
        every = weights[:, self.patient]
        positives = np.where(self.is_class, every, 0.0)
        negatives = every - positives
        if len(self.starts) < len(self.patient):
            positives = np.add.reduceat(positives, self.starts, axis=1)
            negatives = np.add.reduceat(negatives, self.starts, axis=1)
        below = np.cumsum(negatives, axis=1) - negatives / 2
        pairs = positives.sum(axis=1) * negatives.sum(axis=1)
        return percent(np.einsum("bn,bn->b", positives, below), pairs)


@dataclass(frozen=True)
class ExecutionCounts:
    """Counts per patient of an execution, for resampling.

    Attributes
    ----------
    classes, binary
        As in `Decisions`.
    patient : ndarray of int, shape (m,)
        Indices of the patients tested in the execution.
    counts : ndarray of float64, shape (m, K * K + 2 L)
        Per patient: the confusion matrix, then (correct, all) per severity level.
    levels : tuple of str
    rankings : tuple
        For the AUC: one for two classes, else one per class.
    """

    classes: tuple[str, ...]
    binary: bool
    patient: np.ndarray
    counts: np.ndarray
    levels: tuple[str, ...]
    rankings: tuple[_Ranking, ...]

    @classmethod
    def of(cls, decisions: Decisions, patient: np.ndarray) -> ExecutionCounts:
        """Count the decisions of N images per patient; `patient` holds the patient indices, (N,)."""
        present, local = np.unique(patient, return_inverse=True)
        size = len(decisions.classes)
        severity = decisions.severity_rows()
        counts = np.zeros((len(present), size * size + 2 * len(severity)))
        np.add.at(counts, (local, decisions.truth * size + decisions.predicted), 1)
        right = decisions.truth == decisions.predicted
        for place, mask in enumerate(severity.values()):
            column = size * size + 2 * place
            np.add.at(counts[:, column], local[mask & right], 1)
            np.add.at(counts[:, column + 1], local[mask], 1)
        columns = [1] if decisions.binary else range(size)
        rankings = tuple(_Ranking.of(decisions.scores[:, k], decisions.truth == k, patient) for k in columns)
        return cls(decisions.classes, decisions.binary, present, counts, tuple(severity), rankings)

    def confusion(self, weights: np.ndarray) -> np.ndarray:
        """Return the confusion matrices, (b, K, K), for each row of `weights`, (b, patients)."""
        size = len(self.classes)
        return (weights[:, self.patient] @ self.counts[:, : size * size]).reshape(-1, size, size)

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics for each row of `weights`, shape (b,) each."""
        metrics = metrics_from_confusion(self.confusion(weights), self.classes, self.binary)
        metrics["auc"] = np.mean([ranking.auc(weights) for ranking in self.rankings], axis=0)
        levels = weights[:, self.patient] @ self.counts[:, len(self.classes) ** 2 :]
        for place, name in enumerate(self.levels):
            metrics[SEVERITY_PREFIX + name] = percent(levels[:, 2 * place], levels[:, 2 * place + 1])
        return metrics

    def alone(self) -> np.ndarray:
        """Return the confusion matrix per tested patient, (m, K, K)."""
        size = len(self.classes)
        return self.counts[:, : size * size].reshape(-1, size, size)

    def metrics_alone(self) -> dict[str, np.ndarray]:
        """Return the metrics per patient, (m,) each; NaN if the patient does not contribute."""
        metrics = metrics_from_confusion(self.alone(), self.classes, self.binary)
        metrics["auc"] = np.full(len(self.patient), np.nan)
        levels = self.counts[:, len(self.classes) ** 2 :]
        for place, name in enumerate(self.levels):
            metrics[SEVERITY_PREFIX + name] = percent(levels[:, 2 * place], levels[:, 2 * place + 1])
        return metrics


def bearing_patients(
    executions: Sequence[ExecutionCounts],
    patients: int,
    alone: Callable[[ExecutionCounts], dict[str, np.ndarray]] = ExecutionCounts.metrics_alone,
) -> dict[str, int]:
    """Return the number of patients that contribute to each metric: it is defined for them alone in some execution.

    For metrics not defined for a single patient, such as the AUC, it is the number of patients of the rarest class.
    """
    bearing: dict[str, np.ndarray] = {}
    of_class: dict[int, np.ndarray] = {}
    for execution in executions:
        for name, values in alone(execution).items():
            bearing.setdefault(name, np.zeros(patients, bool))[execution.patient[np.isfinite(values)]] = True
        for number, images in enumerate(execution.alone().sum(axis=2).T):
            of_class.setdefault(number, np.zeros(patients, bool))[execution.patient[images > 0]] = True
    rarest = min(int(found.sum()) for found in of_class.values())
    return {name: int(found.sum()) or rarest for name, found in bearing.items()}


def count_executions(
    rows: pd.DataFrame, patients: pd.Index, positive: str | None = None, threshold: float | None = None
) -> list[ExecutionCounts]:
    """Return the counts per execution; `patients` must contain all patients of the predictions."""
    return [
        ExecutionCounts.of(decisions_of(group, positive, threshold), patients.get_indexer(group["patient_id"]))
        for _, group in executions_of(rows)
    ]


def mean_metrics(
    executions: Iterable[Any],
    weights: np.ndarray,
    metrics: Callable[[Any, np.ndarray], dict[str, np.ndarray]] = ExecutionCounts.metrics,
    times: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Return the mean over executions of each metric for `weights` (b, patients): name to shape (b,).

    `times` (b, executions) is how often each execution counts; default: once. Executions in which a metric is undefined
    are ignored; NaN if it is undefined in all.
    """
    sums: dict[str, np.ndarray] = {}
    defined: dict[str, np.ndarray] = {}
    for number, execution in enumerate(executions):
        often = 1.0 if times is None else times[:, number]
        for name, values in metrics(execution, weights).items():
            known = np.isfinite(values)
            sums[name] = sums.get(name, 0.0) + often * np.where(known, values, 0.0)
            defined[name] = defined.get(name, 0) + often * known
    with np.errstate(invalid="ignore"):  # 0 / 0 gives NaN
        return {name: sums[name] / defined[name] for name in sums}


def bootstrap_intervals(
    predictions: pd.DataFrame,
    positive: str | None = None,
    threshold: float | None = None,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, Interval]:
    """Compute the intervals of all metrics of a system.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One system, one or more executions; only test rows are used.
    positive, threshold
        As in `covid_keras.evaluation.metrics.decisions_of`.
    n : int
        Number of resamples.
    seed : int
        The same seed gives the same interval for any order of rows.
    level : float
        0.95 for a 95 % interval.

    Returns
    -------
    dict of str to Interval (low, high)
        In percent. Executions and resamples in which a metric is undefined are ignored; NaN if it is always undefined.

    Raises
    ------
    UserError
        If there are several systems or no test rows.
    """
    rows = rows_of_test(predictions)
    if rows["system"].nunique() > 1:
        raise UserError("predictions", "have several systems", "Choose the rows of one system")
    patients = pd.Index(sorted(rows["patient_id"].unique()))
    executions = count_executions(rows, patients, positive, threshold)
    chunks = [mean_metrics(executions, weights) for weights in patient_weights(len(patients), n, seed)]
    bearing = bearing_patients(executions, len(patients))
    return {
        name: interval_of(np.concatenate([chunk[name] for chunk in chunks]), level, bearing[name]) for name in chunks[0]
    }


def bootstrap_interval(
    predictions: pd.DataFrame,
    statistic: str,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    positive: str | None = None,
    threshold: float | None = None,
) -> Interval:
    """Return (low, high) of one metric, named as in `compute_metrics`; see `bootstrap_intervals`."""
    return _pick(bootstrap_intervals(predictions, positive, threshold, n, seed, level), statistic)


def bootstrap_difference(
    predictions_a: pd.DataFrame,
    predictions_b: pd.DataFrame,
    metric: str,
    positive: str | None = None,
    threshold: float | None = None,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Difference:
    """Compare two systems by a paired bootstrap over the patients tested by both.

    Parameters
    ----------
    predictions_a, predictions_b : pandas.DataFrame
        One system each, possibly with different numbers of executions; only test rows of shared patients are used.
    metric : str
        A key of `compute_metrics`.
    positive, threshold, n, seed, level
        As in `bootstrap_intervals`.

    Returns
    -------
    Difference
        Means over executions, and their difference a - b with its interval in percentage points.

    Raises
    ------
    UserError
        If no patients are shared or the metric is unknown.
    """
    sides = [rows_of_test(predictions_a), rows_of_test(predictions_b)]
    patients = set(sides[0]["patient_id"]) & set(sides[1]["patient_id"])
    if not patients:
        raise UserError("predictions", "have no patient in common", "Compare systems tested on the same patients")
    return _difference(sides, patients, metric, positive, threshold, (n, seed, level))


def difference_of_sets(
    predictions_a: pd.DataFrame,
    predictions_b: pd.DataFrame,
    metric: str,
    positive: str | None = None,
    threshold: float | None = None,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> Difference:
    """Compare two systems on different test sets, such as those of a leaking and a disjoint split.

    Patients of either side are drawn, and both sides are computed on them: shared patients stay paired, others vary
    independently. The difference includes that one test set may be easier.

    Parameters and result are those of `bootstrap_difference`, to which this is equal for identical test sets. All test
    rows are used, and `n_patients` counts the patients of both sides.

    Raises
    ------
    UserError
        If a side has no test rows or the metric is unknown.
    """
    sides = [rows_of_test(predictions_a), rows_of_test(predictions_b)]
    patients = set(sides[0]["patient_id"]) | set(sides[1]["patient_id"])
    return _difference(sides, patients, metric, positive, threshold, (n, seed, level))


def _difference(
    sides: list[pd.DataFrame],
    patients: set[str],
    metric: str,
    positive: str | None,
    threshold: float | None,
    drawing: tuple[int, int, float],
) -> Difference:
    """Return the difference of two sides on the same resamples."""
    names, (n, seed, level) = pd.Index(sorted(patients)), drawing
    counted = [count_executions(rows[rows["patient_id"].isin(names)], names, positive, threshold) for rows in sides]

    def means(weights: np.ndarray) -> list[np.ndarray]:
        return [_pick(mean_metrics(executions, weights), metric) for executions in counted]

    a, b = (float(mean[0]) for mean in means(np.ones((1, len(names)))))
    chunks = [np.subtract(*means(weights)) for weights in patient_weights(len(names), n, seed)]
    bearing = min(bearing_patients(executions, len(names))[metric] for executions in counted)
    # Identical decisions have a difference of exactly 0; two systems that are always right may still differ.
    sure = DIFFERENCES if {a, b} <= set(SHARES) else ()
    interval = interval_of(np.concatenate(chunks), level, bearing, sure)
    return Difference(metric, a, b, a - b, *interval, len(names), interval.kind)


def bootstrap_mean(
    values: Sequence[float] | np.ndarray,
    patients: Sequence[str],
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    sure: tuple[float, ...] = (),
) -> tuple[float, float, float]:
    """Return (mean, low, high) of values per image, such as paired differences, by bootstrap over patients.

    See `mean_interval`, which also returns the kind of interval.
    """
    values = np.asarray(values, dtype=np.float64)
    interval = mean_interval(values, patients, n, seed, level, sure)
    return float(values.mean()), *interval


def mean_interval(
    values: Sequence[float] | np.ndarray,
    patients: Sequence[str],
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    sure: tuple[float, ...] = (),
) -> Interval:
    """Return the interval of the mean of values per image, by bootstrap over patients.

    Parameters
    ----------
    values : sequence of float, length m
        One finite number per image.
    patients : sequence of str, length m
        Patient of each image. Patients are drawn with all their images, so those with more images have more weight.
    n, seed, level
        As in `bootstrap_intervals`.
    sure : tuple of float
        See `interval_of`; use `SHARES` for percentages. Default: none.

    Raises
    ------
    ValueError
        If there are no values, one is not finite, or the numbers of patients and values differ.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or len(values) != len(patients) or not np.isfinite(values).all():
        raise ValueError("values must be finite and non-empty, with one patient each")
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    sums = np.bincount(patient, weights=values)
    counts = np.bincount(patient).astype(np.float64)
    means = [(weights @ sums) / (weights @ counts) for weights in patient_weights(len(names), n, seed)]
    return interval_of(np.concatenate(means), level, len(names), sure)


def _pick(values: dict, name: str):
    if name not in values:
        raise UserError(name, "is not a known metric", f"Use one of {', '.join(values)}")
    return values[name]


def interval_of(values: np.ndarray, level: float, patients: int, sure: tuple[float, ...] = SHARES) -> Interval:
    """Return the interval from the resampled values of a metric.

    Parameters
    ----------
    values : ndarray (n,)
        Values that are not finite are ignored.
    level : float
        0.95 for a 95 % interval.
    patients : int
        Number of patients that contribute to the metric.
    sure : tuple of float
        Values with an exact interval if all resamples have them: `SHARES` (percent), `DIFFERENCES` (points).

    Returns
    -------
    Interval
        Percentiles; the exact interval at a value in `sure`; none for fewer than two patients or without finite values.
    """
    values = values[np.isfinite(values)]
    if not len(values) or patients < 2:
        return NO_INTERVAL
    low, high = (float(value) for value in np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
    for value in sure:
        if abs(low - value) < _SAME and abs(high - value) < _SAME:
            slack = 100 * float(binomtest(0, patients).proportion_ci(level, "exact").high)
            return Interval(max(value - slack, min(sure)), min(value + slack, max(sure)), EXACT)
    return Interval(low, high)


def patient_weights(patients: int, n: int, seed: int | Sequence[int]) -> Iterator[np.ndarray]:
    """Yield the bootstrap weights of patients: float64 chunks of shape (resamples, patients)."""
    generator = np.random.default_rng(seed)
    size = max(1, _CHUNK_ELEMENTS // patients)
    for first in range(0, n, size):
        rows = min(size, n - first)
        drawn = generator.integers(0, patients, size=(rows, patients))
        drawn += patients * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)
