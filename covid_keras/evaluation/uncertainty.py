"""95 % intervals by bootstrap over patients.

Images of one patient are alike, and the same patient is tested in every repeat. So patients are drawn with
replacement, and each brings along all images in all executions; the statistic is the mean over executions of
a metric [1]_ [2]_. All metrics that are ratios of counts come from one matrix product per chunk of resamples:
weights (resamples, patients) times counts (patients, cells of the confusion matrix). The AUC is the weighted
rank statistic of each execution.

References
----------
.. [1] B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13 (percentile interval).
.. [2] C. Field, A. Welsh, Bootstrapping clustered data, J. R. Stat. Soc. B 69(3), 2007 (cluster bootstrap).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

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
_CHUNK_ELEMENTS = 4_000_000  # weights held at a time: 32 MB


@dataclass(frozen=True)
class Difference:
    """A metric of two systems: `a` minus `b`, percentage points, with its interval."""

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    n_patients: int


@dataclass(frozen=True)
class _Ranking:
    """Images of one execution in ascending order of one class's score."""

    patient: np.ndarray  # (n,) index into the patients
    is_class: np.ndarray  # (n,) bool
    starts: np.ndarray  # where each run of equal scores begins

    @classmethod
    def of(cls, scores: np.ndarray, is_class: np.ndarray, patient: np.ndarray) -> _Ranking:
        order = np.argsort(scores, kind="stable")
        starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf) > 0)
        return cls(patient[order], is_class[order], starts)

    def auc(self, weights: np.ndarray) -> np.ndarray:
        """Return the AUC in percent under each row of `weights`: weighted Mann-Whitney statistic, ties half."""
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
    """What resampling needs of one execution.

    Attributes
    ----------
    classes, binary
        As of `Decisions`.
    patient : ndarray of int, shape (m,)
        Index into all patients of each that the execution tests.
    counts : ndarray of float64, shape (m, K * K + 2 L)
        Of each: the confusion matrix, then (right, all) of each of the L severity levels.
    levels : tuple of str
    rankings : tuple
        For the AUC: one of two classes, else one per class.
    """

    classes: tuple[str, ...]
    binary: bool
    patient: np.ndarray
    counts: np.ndarray
    levels: tuple[str, ...]
    rankings: tuple[_Ranking, ...]

    @classmethod
    def of(cls, decisions: Decisions, patient: np.ndarray) -> ExecutionCounts:
        """Count the decisions of images (N,) whose patients have the index `patient`, (N,)."""
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
        """Return the confusion matrices, (b, K, K), under each row of `weights`, (b, patients)."""
        size = len(self.classes)
        return (weights[:, self.patient] @ self.counts[:, : size * size]).reshape(-1, size, size)

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics under each row of `weights`, shape (b,) each."""
        metrics = metrics_from_confusion(self.confusion(weights), self.classes, self.binary)
        metrics["auc"] = np.mean([ranking.auc(weights) for ranking in self.rankings], axis=0)
        levels = weights[:, self.patient] @ self.counts[:, len(self.classes) ** 2 :]
        for place, name in enumerate(self.levels):
            metrics[SEVERITY_PREFIX + name] = percent(levels[:, 2 * place], levels[:, 2 * place + 1])
        return metrics


def count_executions(
    rows: pd.DataFrame, patients: pd.Index, positive: str | None = None, threshold: float | None = None
) -> list[ExecutionCounts]:
    """Return the counts of each execution in rows of predictions, all of whose patients are in `patients`."""
    return [
        ExecutionCounts.of(decisions_of(group, positive, threshold), patients.get_indexer(group["patient_id"]))
        for _, group in executions_of(rows)
    ]


def mean_metrics(
    executions: Iterable[ExecutionCounts],
    weights: np.ndarray,
    metrics: Callable[[ExecutionCounts, np.ndarray], dict[str, np.ndarray]] = ExecutionCounts.metrics,
) -> dict[str, np.ndarray]:
    """Return the mean over executions of each metric under `weights` (b, patients): name to shape (b,).

    Executions in which a metric is undefined are left out of its mean; NaN where it is undefined in all.
    """
    sums: dict[str, np.ndarray] = {}
    defined: dict[str, np.ndarray] = {}
    for execution in executions:
        for name, values in metrics(execution, weights).items():
            known = np.isfinite(values)
            sums[name] = sums.get(name, 0.0) + np.where(known, values, 0.0)
            defined[name] = defined.get(name, 0) + known
    with np.errstate(invalid="ignore"):  # 0 / 0 is the NaN that is meant
        return {name: sums[name] / defined[name] for name in sums}


def bootstrap_intervals(
    predictions: pd.DataFrame,
    positive: str | None = None,
    threshold: float | None = None,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, tuple[float, float]]:
    """Compute the percentile interval of every metric of one system.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One system, one or several executions; only test rows are used.
    positive, threshold
        As in `covid_keras.evaluation.metrics.decisions_of`.
    n : int
        Resamples of patients.
    seed : int
        Same seed, same patients in any order of rows: same interval.
    level : float
        0.95 for a 95 % interval.

    Returns
    -------
    dict of str to (low, high)
        Percent. Executions (or whole resamples) in which a metric is undefined are left out of its mean; NaN
        where it is undefined in all.

    Raises
    ------
    UserError
        For several systems at once, or no test rows.
    """
    rows = rows_of_test(predictions)
    if rows["system"].nunique() > 1:
        raise UserError("predictions", "hold several systems", "Choose the rows of one system")
    patients = pd.Index(sorted(rows["patient_id"].unique()))
    executions = count_executions(rows, patients, positive, threshold)
    chunks = [mean_metrics(executions, weights) for weights in patient_weights(len(patients), n, seed)]
    return {name: interval_of(np.concatenate([chunk[name] for chunk in chunks]), level) for name in chunks[0]}


def bootstrap_interval(
    predictions: pd.DataFrame,
    statistic: str,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
    positive: str | None = None,
    threshold: float | None = None,
) -> tuple[float, float]:
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
    """Compare two systems on the patients that both tested: paired, so what the patients share cancels out.

    Parameters
    ----------
    predictions_a, predictions_b : pandas.DataFrame
        One system each (executions may differ in number); only test rows of shared patients are used.
    metric : str
        A key of `compute_metrics`.
    positive, threshold, n, seed, level
        As in `bootstrap_intervals`.

    Returns
    -------
    Difference
        Means over executions, their difference a - b and its interval, percentage points.

    Raises
    ------
    UserError
        Where no patient is shared, or the metric is unknown.
    """
    sides = [rows_of_test(predictions_a), rows_of_test(predictions_b)]
    patients = set(sides[0]["patient_id"]) & set(sides[1]["patient_id"])
    if not patients:
        raise UserError("predictions", "share no patient", "Compare systems tested on the same patients")
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
    """Compare two systems each on its own test images, such as those of a leaking division and of a disjoint one.

    Patients of either side are drawn, and both sides are computed on the drawn ones: whom both tested stays paired,
    and where nobody is shared the sides vary independently. The images differ as well as the networks, so the
    difference also holds that one set may be the easier one.

    Parameters and what is returned are as in `bootstrap_difference`, which this is where the sets are the same; all
    test rows are used, several seeds are several executions, and `n_patients` are those of both sides together.

    Raises
    ------
    UserError
        Where a side has no test rows, or the metric is unknown.
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
    """Return what the first side has more than the second, on the same drawn patients."""
    names, (n, seed, level) = pd.Index(sorted(patients)), drawing
    counted = [count_executions(rows[rows["patient_id"].isin(names)], names, positive, threshold) for rows in sides]

    def means(weights: np.ndarray) -> list[np.ndarray]:
        return [_pick(mean_metrics(executions, weights), metric) for executions in counted]

    a, b = (float(mean[0]) for mean in means(np.ones((1, len(names)))))
    chunks = [np.subtract(*means(weights)) for weights in patient_weights(len(names), n, seed)]
    return Difference(metric, a, b, a - b, *interval_of(np.concatenate(chunks), level), len(names))


def bootstrap_mean(
    values: Sequence[float] | np.ndarray,
    patients: Sequence[str],
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> tuple[float, float, float]:
    """Return (mean, low, high) of values of images, such as paired differences, by bootstrap over patients.

    Parameters
    ----------
    values : sequence of float, length m
        A finite number an image.
    patients : sequence of str, length m
        Whose image each is. A patient brings along all images, so one with many weighs more, as in the mean.
    n, seed, level
        As in `bootstrap_intervals`.

    Raises
    ------
    ValueError
        Where there are no values, one is not finite, or patients and values differ in number.
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or len(values) != len(patients) or not np.isfinite(values).all():
        raise ValueError("a mean needs finite values, one at least, and a patient for each")
    names, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    sums = np.bincount(patient, weights=values)
    counts = np.bincount(patient).astype(np.float64)
    means = [(weights @ sums) / (weights @ counts) for weights in patient_weights(len(names), n, seed)]
    return float(values.mean()), *interval_of(np.concatenate(means), level)


def _pick(values: dict, name: str):
    if name not in values:
        raise UserError(name, f"is none of the metrics {', '.join(values)}", "Choose one of them")
    return values[name]


def interval_of(values: np.ndarray, level: float) -> tuple[float, float]:
    """Return the percentile interval (low, high) of resampled values; NaN where none is finite."""
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def patient_weights(patients: int, n: int, seed: int) -> Iterator[np.ndarray]:
    """Yield how often each patient is drawn: float64 chunks of shape (resamples, patients)."""
    generator = np.random.default_rng(seed)
    size = max(1, _CHUNK_ELEMENTS // patients)
    for first in range(0, n, size):
        rows = min(size, n - first)
        drawn = generator.integers(0, patients, size=(rows, patients))
        drawn += patients * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * patients).reshape(rows, patients).astype(np.float64)
