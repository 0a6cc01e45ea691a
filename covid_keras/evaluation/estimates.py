"""Metrics of user predictions with intervals, and differences between two sets of predictions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import numpy as np
import pandas as pd

from covid_keras.common.progress import open_bar
from covid_keras.evaluation.calibration import Scored
from covid_keras.evaluation.counts import agreement_metrics, balanced_accuracy, macro_metrics
from covid_keras.evaluation.metrics import decisions_of, executions_of
from covid_keras.evaluation.own_tables import OwnPredictions
from covid_keras.evaluation.uncertainty import (
    DIFFERENCES,
    LEVEL,
    NO_INTERVAL,
    RESAMPLES,
    SHARES,
    ExecutionCounts,
    bearing_patients,
    interval_of,
    mean_metrics,
    patient_weights,
)

_MACRO = ("macro_precision", "macro_recall", "macro_f1")
# With more patients, resampling takes more than a few seconds.
_MANY = 5000
PERCENT, NUMBER = "percent", "number"
_NUMBERS = ("mcc", "kappa", "brier", "calibration_error", "calibration_slope", "calibration_intercept")
_OF_SCORES = ("auc", "auprc", "brier", "calibration_error", "calibration_slope", "calibration_intercept")


class Estimate(NamedTuple):
    """A value and its interval, in percent or as a plain number; NaN if undefined.

    `interval` is the kind of interval (see `covid_keras.evaluation.uncertainty.Interval`).
    """

    value: float
    low: float
    high: float
    unit: str
    interval: str


@dataclass(frozen=True)
class Drawing:
    """Settings of the bootstrap: resamples, seed and level."""

    resamples: int = RESAMPLES
    seed: int = 0
    level: float = LEVEL

    def weights(self, patients: int) -> Iterator[np.ndarray]:
        """Yield chunks of bootstrap weights, (b, patients); nothing for fewer than two patients."""
        if patients < 2:
            return
        chunks = patient_weights(patients, self.resamples, self.seed)
        if patients < _MANY:
            yield from chunks
            return
        with open_bar(total=self.resamples, desc="resampling", unit="resample") as bar:
            for weights in chunks:
                yield weights
                bar.update(len(weights))


USUAL = Drawing()


@dataclass(frozen=True)
class Execution:
    """Counts of an execution and, for two classes, its scores."""

    counts: ExecutionCounts
    scored: Scored | None

    def comparable(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics whose differences are meaningful, (b,) each."""
        found = self.counts.metrics(weights)
        confusion = self.counts.confusion(weights)
        agreement = {name: value / 100 for name, value in agreement_metrics(confusion).items()}
        found |= {"balanced_accuracy": balanced_accuracy(confusion)} | agreement
        if self.scored is None:
            return found | macro_metrics(confusion)
        return found | self.scored.metrics(weights)

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return all metrics, (b,) each."""
        return self.comparable(weights) | (self.scored.lines(weights) if self.scored else {})

    def compact(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics of counts, and the AUC and the Brier score, (b,) each; faster than `comparable`."""
        return self.counts.metrics(weights) | ({"brier": self.scored.brier(weights)} if self.scored else {})


@dataclass(frozen=True)
class Sample:
    """Predictions prepared for resampling.

    Parameters
    ----------
    executions : tuple
        One per repeat and fold.
    patients : pandas.Index
        All patients, sorted.
    scored : bool
        Whether scores are available.
    repeats : tuple of int
        Place of each execution's repeat among the repeats; empty unless several repeats test the same images.
    """

    executions: tuple[Execution, ...]
    patients: pd.Index
    scored: bool
    repeats: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        own: OwnPredictions,
        positive: str | None = None,
        threshold: float | Mapping[tuple[int, int], float] | None = None,
        patients: pd.Index | None = None,
    ) -> Sample:
        """Build a sample of one system.

        For `positive` and `threshold` see `covid_keras.evaluation.metrics`; a mapping gives the threshold of each
        (repeat, fold).
        """
        patients = pd.Index(sorted(own.frame["patient_id"].unique())) if patients is None else patients
        found, places = [], []
        for (_, *place), rows in executions_of(own.frame):
            limit = threshold[place[0], place[1]] if isinstance(threshold, Mapping) else threshold
            decisions, patient = decisions_of(rows, positive, limit), patients.get_indexer(rows["patient_id"])
            scored = Scored(patient, decisions.truth == 1, decisions.scores[:, 1]) if decisions.binary else None
            found.append(Execution(ExecutionCounts.of(decisions, patient), scored))
            places.append(place[0])
        images = own.frame.groupby("repeat")["image_id"].agg(frozenset)
        several = len(images) > 1 and images.nunique() == 1
        order = sorted(set(places))
        return cls(tuple(found), patients, own.scored, tuple(map(order.index, places)) if several else ())

    def times(self, drawing: Drawing) -> np.ndarray | None:
        """Return how often each execution counts in each resample, (resamples, executions).

        Repeats that test the same images are drawn with replacement, each with all its folds. None if there is nothing
        to draw. Samples with equally many repeats get the same draws.
        """
        if not self.repeats:
            return None
        # A stream of its own: patients are drawn as without it.
        drawn = patient_weights(max(self.repeats) + 1, drawing.resamples, (drawing.seed, 1))
        return np.concatenate(list(drawn))[:, list(self.repeats)]

    def values(self, weights: np.ndarray, comparable: bool = False) -> dict[str, np.ndarray]:
        """Return the mean over executions of each (comparable) metric, for each row of weights (b, patients)."""
        found = mean_metrics(self.executions, weights, Execution.comparable if comparable else Execution.metrics)
        return found if self.scored else {name: one for name, one in found.items() if name not in _OF_SCORES}

    def compact(self, weights: np.ndarray, times: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Return the mean over executions of the metrics of `Execution.compact`; for `times` see `mean_metrics`."""
        return mean_metrics(self.executions, weights, Execution.compact, times)

    def once(self) -> np.ndarray:
        """Return weights of 1, (1, patients)."""
        return np.ones((1, len(self.patients)))

    def bearing(self) -> dict[str, int]:
        """Return the number of patients that contribute to each percentage metric."""
        found = bearing_patients([one.counts for one in self.executions], len(self.patients))
        return dict.fromkeys(("auprc", "balanced_accuracy", *_MACRO), found["auc"]) | found

    def estimates(self, drawing: Drawing) -> dict[str, Estimate]:
        """Return all metrics with intervals."""
        drawn = [self.values(weights) for weights in drawing.weights(len(self.patients))]
        values = {name: value[0] for name, value in self.values(self.once()).items()}
        return _estimates(values, drawn, dict.fromkeys(values, SHARES), self.bearing(), drawing)

    def curve(self, drawing: Drawing, repeats: bool = False) -> pd.DataFrame:
        """Return the calibration curve over all executions: `score`, `share`, `low`, `high` (0..1) and `images`.

        With `repeats`, these are drawn too (see `times`).
        """
        parts = [one.scored for one in self.executions if one.scored]
        times = self.times(drawing) if repeats else None

        def shares(weights: np.ndarray, often: np.ndarray | None = None) -> list[np.ndarray]:
            sums = [np.nan_to_num(part.curve(weights)) for part in parts]
            score, share, images = (np.stack([one[k] for one in sums]) for k in range(3))
            if often is not None:
                images = images * often.T[:, :, None]
            total = images.sum(axis=0)
            with np.errstate(invalid="ignore"):
                return [(score * images).sum(axis=0) / total, (share * images).sum(axis=0) / total, total]

        score, share, images = (one[0] for one in shares(self.once()))
        chunks = [shares(*chunk)[1] for chunk in with_times(drawing.weights(len(self.patients)), times)]
        drawn = 100 * np.concatenate(chunks) if chunks else np.full((1, len(score)), np.nan)
        bearing = np.sum([part.tested(len(self.patients)) for part in parts], axis=0).astype(bool).sum(axis=0)
        intervals = [interval_of(*one) for one in zip(drawn.T, repeat(drawing.level), bearing, strict=False)]
        low, high = np.transpose(intervals) / 100
        frame = pd.DataFrame({"score": score, "share": share, "low": low, "high": high, "images": images.astype(int)})
        return frame[frame["images"] > 0].reset_index(drop=True)


def with_times(
    chunks: Iterator[np.ndarray], times: np.ndarray | None
) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Yield chunks of weights of patients, each with the rows of `times` of the same resamples."""
    start = 0
    for weights in chunks:
        yield weights, None if times is None else times[start : start + len(weights)]
        start += len(weights)


def differences(a: Sample, b: Sample, drawing: Drawing) -> dict[str, Estimate]:
    """Return the paired differences `a` - `b` on the same patients.

    Calibration slope and intercept are left out: their optima are 1 and 0, so a difference is not meaningful.
    """

    def gaps(weights: np.ndarray) -> dict[str, np.ndarray]:
        first, second = (one.values(weights, comparable=True) for one in (a, b))
        return {name: first[name] - second[name] for name in first if name in second}

    here, there = a.values(a.once(), comparable=True), b.values(b.once(), comparable=True)
    # Identical decisions have a difference of exactly 0; two systems that are always right may still differ.
    sure = {name: DIFFERENCES if {here[name][0], there[name][0]} <= set(SHARES) else () for name in gaps(a.once())}
    drawn = [gaps(weights) for weights in drawing.weights(len(a.patients))]
    bearing = {name: min(n, b.bearing().get(name, n)) for name, n in a.bearing().items()}
    values = {name: value[0] for name, value in gaps(a.once()).items()}
    return _estimates(values, drawn, sure, bearing, drawing)


def _estimates(
    values: Mapping[str, float],
    drawn: Sequence[Mapping[str, np.ndarray]],
    sure: Mapping[str, tuple[float, ...]],
    bearing: Mapping[str, int],
    drawing: Drawing,
) -> dict[str, Estimate]:
    """Return values with intervals; `sure` and `bearing` are passed to `interval_of` per metric."""
    found = {}
    for name, value in values.items():
        several = np.concatenate([one[name] for one in drawn]) if drawn else np.empty(0)
        found[name] = estimate_of(name, value, several, bearing.get(name, len(several)), sure[name], drawing.level)
    return found


def estimate_of(
    name: str, value: float, resamples: np.ndarray, patients: int, sure: tuple[float, ...], level: float = LEVEL
) -> Estimate:
    """Return the value of the metric `name` with its interval; for the last arguments see `interval_of`."""
    number = name in _NUMBERS
    several = resamples if np.isfinite(value) else np.empty(0)
    made = interval_of(several, level, patients, () if number else sure)
    # There is no exact interval for a constant MCC or Brier score.
    if number and value and math.isclose(*made):
        made = NO_INTERVAL
    return Estimate(float(value), *made, NUMBER if number else PERCENT, made.kind)
