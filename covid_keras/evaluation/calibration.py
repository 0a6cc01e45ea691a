"""Calibration of scores: Brier score, calibration error, slope, intercept and curve; average precision.

All functions take patient weights, so that one call computes a value and its bootstrap.

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
# Avoids the infinite logits of scores 0 and 1.
NEAREST = 1e-6
_STEPS, _SMALL, _TOLERANCE, _STEEPEST = 60, 1e-6, 1e-8, 30.0
_ELEMENTS = 2_000_000


@dataclass(frozen=True)
class Scored:
    """The scores of the positive class in one execution.

    Parameters
    ----------
    patient : ndarray of int, shape (n,)
        Patient indices.
    truth : ndarray of bool, shape (n,)
    score : ndarray of float64, shape (n,)
        Probabilities, 0..1.
    """

    patient: np.ndarray
    truth: np.ndarray
    score: np.ndarray

    def metrics(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics under each row of `weights` (b, patients), shape (b,) each.

        `auprc`, the average precision, in percent (NaN for a single class); `brier` and `calibration_error` (expected
        calibration error, with `BINS` bins of equal width), 0..1.
        """
        every = weights[:, self.patient]
        total = every.sum(axis=1)
        scores, shares, sizes = self.curve(weights)
        gaps = np.nansum(np.abs(scores - shares) * sizes, axis=1)
        return {
            "auprc": self._average_precision(every),
            "brier": self.brier(weights),
            "calibration_error": gaps / total,
        }

    def brier(self, weights: np.ndarray) -> np.ndarray:
        """Return the Brier score, 0..1, under each row of `weights`, shape (b,); NaN without images."""
        every = weights[:, self.patient]
        return percent(every @ (self.score - self.truth) ** 2, every.sum(axis=1)) / 100

    def curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return mean score, fraction of positives (NaN if empty) and number of images per bin, (b, BINS) each."""
        place = self._bins
        sums = np.zeros((weights.shape[1], 3 * BINS))
        for number, values in enumerate((self.score, self.truth, np.ones(len(self.score)))):
            np.add.at(sums, (self.patient, number * BINS + place), values)
        score, positives, images = np.split(weights @ sums, 3, axis=1)
        return percent(score, images) / 100, percent(positives, images) / 100, images

    def tested(self, patients: int) -> np.ndarray:
        """Return whether each patient has an image in each bin, bool (patients, BINS)."""
        found = np.zeros((patients, BINS), bool)
        found[self.patient, self._bins] = True
        return found

    @cached_property
    def _bins(self) -> np.ndarray:
        return np.minimum((self.score * BINS).astype(int), BINS - 1)

    @cached_property
    def _descending(self) -> tuple[np.ndarray, np.ndarray]:
        """Image indices by descending score, and the ends of runs of equal scores."""
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

        From logistic regressions of the truth on the logits of the scores; the intercept is fitted with slope 1.
        Calibrated scores give 1 and 0. NaN if undefined: for a single class, or classes that the scores separate
        perfectly.
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
        """Intercept and slope for all images, free and with slope 1: starting points for the resamples."""
        once, start = np.ones((1, len(self.truth))), np.array([0.0, 1.0])
        found = [_fit(self._logits, self.truth, once, start, held)[:, 0] for held in (0, 1)]
        return [one if np.isfinite(one).all() else start for one in found]


def _fit(x: np.ndarray, truth: np.ndarray, weights: np.ndarray, start: np.ndarray, held: int) -> np.ndarray:
    """Fit logistic regressions of `truth` on `x`, (n,), one per row of `weights`; return intercepts and slopes (2, b).

    Newton's method from `start`, (2,), damped when a step does not increase the likelihood (for scores near 0 and 1).
    NaN without convergence. The slope is fixed if `held` is 1.
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
    """Return log likelihood, gradient and information matrix of lines (2, b), stacked to (6, b)."""
    eta = line[0][:, None] + line[1][:, None] * x
    decay = np.exp(-np.abs(eta))  # a single exponential, which dominates the time
    p = np.where(eta >= 0, 1, decay) / (1 + decay)
    wrong, spread = weights * (truth - p), weights * (decay / (1 + decay) ** 2)
    likelihood = (weights * (truth * eta - np.maximum(eta, 0) - np.log1p(decay))).sum(axis=1)
    return np.stack([likelihood, wrong.sum(axis=1), wrong @ x, spread.sum(axis=1), spread @ x, spread @ x**2])
