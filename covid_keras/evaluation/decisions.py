"""The decision rule shared by training, prediction, heat maps, thresholds and ensembles."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# A probability of exactly 0.5 counts as positive.
DECISION_THRESHOLD = 0.5


def is_positive(probability: ArrayLike, threshold: ArrayLike = DECISION_THRESHOLD) -> np.ndarray:
    """Return whether each probability reaches the threshold.

    Parameters
    ----------
    probability : array_like of float, any shape
        Probability of the positive class, 0..1.
    threshold : array_like of float
        0..1; must broadcast with `probability`.

    Returns
    -------
    ndarray of bool
        `probability >= threshold`.

    Examples
    --------
    >>> is_positive([0.4999, 0.5, 0.7]).tolist()
    [False, True, True]
    """
    return np.asarray(probability) >= threshold


def decide_scores(scores: ArrayLike, threshold: float = DECISION_THRESHOLD) -> np.ndarray:
    """Return the predicted class of each image.

    Parameters
    ----------
    scores : array_like of float, shape (..., n, k)
        k = 1: sigmoid probability of the second of two classes. k = 2: scores of both classes, 0..1. Otherwise scores
        of k classes in any range.
    threshold : float
        0..1; used only for k = 1 and k = 2.

    Returns
    -------
    ndarray of int64, shape (..., n)
        For k <= 2: 1 if `is_positive`, else 0. Otherwise the index of the highest score; ties go to the lowest index.

    Examples
    --------
    >>> decide_scores([[0.4], [0.5]]).tolist()
    [0, 1]
    >>> decide_scores([[0.5, 0.5], [0.6, 0.4]]).tolist()
    [1, 0]
    >>> decide_scores([[0.4, 0.4, 0.2]]).tolist()
    [0]
    """
    scores = np.asarray(scores)
    if scores.shape[-1] <= 2:
        return is_positive(scores[..., -1], threshold).astype(np.int64)
    return scores.argmax(axis=-1).astype(np.int64)
