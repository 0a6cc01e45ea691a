"""Covariance of AUCs on the same images by DeLong's method.

References
----------
.. [1] E. R. DeLong, D. M. DeLong, D. L. Clarke-Pearson, Comparing the areas under two or more correlated receiver
   operating characteristic curves: a nonparametric approach, Biometrics 44(3), 1988.
.. [2] N. A. Obuchowski, Nonparametric analysis of clustered ROC curve data, Biometrics 53(2), 1997.
.. [3] X. Sun, W. Xu, Fast implementation of DeLong's algorithm for comparing the areas under correlated receiver
   operating characteristic curves, IEEE Signal Process. Lett. 21(11), 2014.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata

from covid_keras.evaluation.uncertainty import LEVEL


@dataclass(frozen=True)
class AucDifference:
    """Two AUCs in percent, their difference `a` - `b` in points with its interval, and the two-sided p-value."""

    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float


def auc_covariance(truth: np.ndarray, scores: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the AUCs of several scores of the same images and their covariance.

    DeLong's method [1]_, computed from ranks [3]_, and extended to several images per patient by Obuchowski [2]_.

    Parameters
    ----------
    truth : ndarray of bool, shape (n,)
        True for positive images.
    scores : ndarray of float, shape (k, n)
        Any range; higher is more positive. Ties count half.
    patients : ndarray, shape (n,)
        Patient of each image.

    Returns
    -------
    aucs : ndarray of float64, shape (k,)
        0..1.
    covariance : ndarray of float64, shape (k, k)

    Raises
    ------
    ValueError
        If a class has images of fewer than two patients.
    """
    truth = np.asarray(truth, bool)
    _, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    positives, negatives = int(truth.sum()), int((~truth).sum())
    groups = [len(np.unique(patient[part])) for part in (truth, ~truth)]
    if min(groups) < 2:
        raise ValueError("a class has images of fewer than two patients")
    beaten = np.empty(np.shape(scores))  # per image: fraction of the other class that it is ranked correctly against
    for row, one in zip(beaten, scores, strict=True):
        ranks = rankdata(one)
        row[truth] = (ranks[truth] - rankdata(one[truth])) / negatives
        row[~truth] = 1 - (ranks[~truth] - rankdata(one[~truth])) / positives
    aucs = beaten[:, truth].mean(axis=1)
    apart = beaten - aucs[:, None]
    sums = [_by_patient(apart * part, patient) for part in (truth, ~truth)]
    sizes, every = (positives, negatives), patient.max() + 1
    cross = sums[0] @ sums[1].T * every / (every - 1) / (positives * negatives)
    own = [one @ one.T * n / (n - 1) / size**2 for one, n, size in zip(sums, groups, sizes, strict=True)]
    return aucs, own[0] + own[1] + cross + cross.T


def _by_patient(values: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Sum values (k, n) per patient: (k, patients)."""
    return np.stack([np.bincount(patient, weights=row) for row in values])


def compare_aucs(
    truth: np.ndarray, a: np.ndarray, b: np.ndarray, patients: np.ndarray, level: float = LEVEL
) -> AucDifference:
    """Compare the AUCs of two scores on the same images; for arguments and errors see `auc_covariance`."""
    aucs, covariance = auc_covariance(truth, np.stack([a, b]), patients)
    difference = float(aucs[0] - aucs[1])
    error = math.sqrt(max(0.0, covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]))
    half = NormalDist().inv_cdf((1 + level) / 2) * error
    p = math.erfc(abs(difference) / error / math.sqrt(2)) if error > 1e-12 else float(abs(difference) < 1e-12)
    a_auc, b_auc, low, high = (100 * float(one) for one in (*aucs, difference - half, difference + half))
    return AucDifference(a_auc, b_auc, 100 * difference, low, high, p)
