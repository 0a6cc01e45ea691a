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
from scipy.special import logit

from covid_keras.evaluation.metrics import percent

BINS = 10
# Scores of exactly 0 or 1 have no logit.
NEAREST = 1e-6
_STEPS, _SMALL, _TOLERANCE, _STEEPEST = 60, 1e-6, 1e-8, 30.0
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

        `auprc`, the average precision, in percent, NaN of one class; `brier` and `calibration_error` (expected, of
        `BINS` bins of equal width), 0..1.
        """
        every = weights[:, self.patient]
        total = every.sum(axis=1)
        scores, shares, sizes = self.curve(weights)
        gaps = np.nansum(np.abs(scores - shares) * sizes, axis=1)
        return {
            "auprc": self._average_precision(every),
            "brier": every @ (self.score - self.truth) ** 2 / total,
            "calibration_error": gaps / total,
        }

    def curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean score, share of positives (0..1, NaN where empty) and images of each bin: (b, BINS) each."""
        place = self._bins
        sums = np.zeros((weights.shape[1], 3 * BINS))
        for number, values in enumerate((self.score, self.truth, np.ones(len(self.score)))):
            np.add.at(sums, (self.patient, number * BINS + place), values)
        score, positives, images = np.split(weights @ sums, 3, axis=1)
        return percent(score, images) / 100, percent(positives, images) / 100, images

    def tested(self, patients: int) -> np.ndarray:
        """Return which patients have an image in each bin, bool (patients, BINS)."""
        found = np.zeros((patients, BINS), bool)
        found[self.patient, self._bins] = True
        return found

    @cached_property
    def _bins(self) -> np.ndarray:
        return np.minimum((self.score * BINS).astype(int), BINS - 1)

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

    def lines(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return `calibration_slope` and `calibration_intercept` under each row of `weights`, shape (b,) each.

        1 and 0 where scores are calibrated: of a logistic regression of the truth on the scores' logits, the intercept
        with the slope held at 1. NaN where undefined: of one class, or of classes that the scores part without error.
        """
        every = weights[:, self.patient]
        rows = max(1, _ELEMENTS // len(self.truth))
        parts = np.array_split(every, -(-len(every) // rows))
        slopes, intercepts = (
            np.concatenate([_fit(self._logits, self.truth, part, start, held)[1 - held] for part in parts])
            for held, start in enumerate(self._starts)
        )
        return {"calibration_slope": slopes, "calibration_intercept": intercepts}

    @cached_property
    def _logits(self) -> np.ndarray:
        return logit(np.clip(self.score, NEAREST, 1 - NEAREST))

    @cached_property
    def _starts(self) -> list[np.ndarray]:
        """Intercept and slope of all images, from which those of resamples are soon found; with the slope held last."""
        once, start = np.ones((1, len(self.truth))), np.array([0.0, 1.0])
        found = [_fit(self._logits, self.truth, once, start, held)[:, 0] for held in (0, 1)]
        return [one if np.isfinite(one).all() else start for one in found]


def _fit(x: np.ndarray, truth: np.ndarray, weights: np.ndarray, start: np.ndarray, held: int) -> np.ndarray:
    """Return intercept and slope (2, b) of logistic regressions of `truth` on `x`, (n,), one per row of `weights`.

    By Newton's method from `start`, (2,), damped wherever a step does not raise the likelihood (scores near 0 and 1
    mislead it); NaN where it does not converge. The slope stays as it is where `held` is 1.
    """
    line, damp = np.repeat(start[:, None], len(weights), axis=1), np.zeros(len(weights))
    at = _likelihood(x, truth, weights, line)
    step = np.full_like(line, np.inf)
    for _ in range(_STEPS):
        _, g0, g1, h00, h01, h11 = at
        h00, h11, h01, g1 = h00 * (1 + damp), h11 * (1 + damp) + held, h01 * (1 - held), g1 * (1 - held)
        det = h00 * h11 - h01**2
        step = np.stack([h11 * g0 - h01 * g1, h00 * g1 - h01 * g0])
        step = np.divide(step, det, out=np.full_like(step, np.inf), where=det > _TOLERANCE**2)
        trial = line + np.clip(step, -_STEEPEST, _STEEPEST)
        there = _likelihood(x, truth, weights, trial)
        better = there[0] >= at[0] - _TOLERANCE
        line, at = np.where(better, trial, line), np.where(better, there, at)
        damp = np.where(better, damp / 10, np.maximum(10 * damp, 0.01))
        if (better & (np.abs(step) < _SMALL).all(axis=0)).all():
            break
    settled = (np.abs(step) <= 100 * _SMALL).all(axis=0) & (np.abs(line) < _STEEPEST).all(axis=0) & (damp < 1)
    return np.where(settled, line, np.nan)


def _likelihood(x: np.ndarray, truth: np.ndarray, weights: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Return, (6, b), the log likelihood of lines (2, b), its gradient, and the entries of the information matrix."""
    eta = line[0][:, None] + line[1][:, None] * x
    decay = np.exp(-np.abs(eta))  # one exponential for all: this is where the time goes
    p = np.where(eta >= 0, 1, decay) / (1 + decay)
    wrong, spread = weights * (truth - p), weights * (decay / (1 + decay) ** 2)
    likelihood = (weights * (truth * eta - np.maximum(eta, 0) - np.log1p(decay))).sum(axis=1)
    return np.stack([likelihood, wrong.sum(axis=1), wrong @ x, spread.sum(axis=1), spread @ x, spread @ x**2])
