"""Do scores mean what they say? Brier score, calibration error, slope and intercept, the curve and average precision.

Everything is computed under weights of patients, so that one call gives the value and the bootstrap.

References
----------
.. [1] B. Van Calster et al., A calibration hierarchy for risk models was defined: from utopia to empirical data,
   J. Clin. Epidemiol. 74, 2016 (slope, and the intercept given a slope of 1).
.. [2] G. W. Brier, Verification of forecasts expressed in terms of probability, Mon. Weather Rev. 78(1), 1950.
.. [3] M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning,
   AAAI 2015 (expected calibration error).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import expit, logit

from covid_keras.evaluation.metrics import percent

BINS = 10
# Scores of exactly 0 or 1 have no logit.
NEAREST = 1e-6
_STEPS, _TOLERANCE, _STEEPEST = 30, 1e-8, 100.0
_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Scored:
    """The scores of the positive class in one execution.

    Parameters
    ----------
    patient : ndarray of int, shape (n,)
        Index into all patients.
    truth : ndarray of bool, shape (n,)
    score : ndarray of float64, shape (n,)
        Probabilities, 0..1.
    """

    patient: np.ndarray
    truth: np.ndarray
    score: np.ndarray

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics under each row of `weights` (b, patients), shape (b,) each.

        `auprc`, the average precision, in percent; `brier` and `calibration_error` (expected, of `BINS` bins of equal
        width), 0..1; `calibration_slope` and `calibration_intercept`, 1 and 0 where scores are calibrated: of a
        logistic regression of the truth on the scores' logits, the intercept with the slope held at 1. NaN where
        undefined: of one class, or of classes that the scores part without error.
        """
        every = weights[:, self.patient]
        total = every.sum(axis=1)
        scores, shares, sizes = self.curve(weights)
        gaps = np.nansum(np.abs(scores - shares) * sizes, axis=1)
        slope, intercept = self._lines(every)
        return {
            "auprc": self._average_precision(every),
            "brier": every @ (self.score - self.truth) ** 2 / total,
            "calibration_error": gaps / total,
            "calibration_slope": slope,
            "calibration_intercept": intercept,
        }

    def curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean score, share of positives (0..1, NaN where empty) and images of each bin: (b, BINS) each."""
        place = np.minimum((self.score * BINS).astype(int), BINS - 1)
        sums = np.zeros((weights.shape[1], 3 * BINS))
        for number, values in enumerate((self.score, self.truth, np.ones(len(self.score)))):
            np.add.at(sums, (self.patient, number * BINS + place), values)
        score, positives, images = np.split(weights @ sums, 3, axis=1)
        return percent(score, images) / 100, percent(positives, images) / 100, images

    @cached_property
    def _descending(self) -> tuple[np.ndarray, np.ndarray]:
        """Images from the highest score down, and where each run of equal scores ends."""
        order = np.argsort(-self.score, kind="stable")
        return order, np.flatnonzero(np.diff(self.score[order], append=-np.inf) < 0)

    def _average_precision(self, every: np.ndarray) -> np.ndarray:
        order, ends = self._descending
        said = np.cumsum(every[:, order], axis=1)[:, ends]
        found = np.cumsum((every * self.truth)[:, order], axis=1)[:, ends]
        precision = np.nan_to_num(percent(found, said))
        both = (found[:, -1] > 0) & (found[:, -1] < said[:, -1])
        return percent((np.diff(found, axis=1, prepend=0) * precision).sum(axis=1), found[:, -1] * both) / 100

    def _lines(self, every: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the calibration slope and intercept under each row of weights of images (b, n)."""
        logits = logit(np.clip(self.score, NEAREST, 1 - NEAREST))
        rows = max(1, _ELEMENTS // len(logits))
        parts = [
            (_fit(logits, self.truth, part)[1], _fit(logits, self.truth, part, slope=1.0)[0])
            for part in np.array_split(every, -(-len(every) // rows))
        ]
        slopes, intercepts = zip(*parts, strict=True)
        return np.concatenate(slopes), np.concatenate(intercepts)


def _fit(x: np.ndarray, truth: np.ndarray, weights: np.ndarray, slope: float | None = None) -> np.ndarray:
    """Return intercept and slope (2, b) of logistic regressions of `truth` on `x`, (n,), one per row of `weights`.

    By Newton's method from intercept 0 and slope 1; NaN where it does not converge. A given `slope` is held.
    """
    line = np.stack([np.zeros(len(weights)), np.ones(len(weights))])
    for _ in range(_STEPS):
        p = expit(line[0][:, None] + line[1][:, None] * x)
        wrong, spread = weights * (truth - p), weights * p * (1 - p)
        g0, g1 = wrong.sum(axis=1), wrong @ x
        h00, h01, h11 = spread.sum(axis=1), spread @ x, spread @ x**2
        if slope is not None:
            step = np.stack([np.divide(g0, h00, out=np.full_like(g0, np.nan), where=h00 > 0), np.zeros_like(g0)])
        else:
            det = h00 * h11 - h01**2
            step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0])
            step = np.divide(step, det, out=np.full_like(step, np.nan), where=det > _TOLERANCE)
        line = line + np.clip(step, -5, 5)
        if not (np.abs(step) > _TOLERANCE).any():
            break
    settled = (np.abs(step) <= 1e-4).all(axis=0) & (np.abs(line) < _STEEPEST).all(axis=0)
    return np.where(settled, line, np.nan)
