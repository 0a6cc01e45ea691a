"""How scores become decisions: one rule for training, prediction, heat maps, thresholds and ensembles."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# The second of two classes is decided for from this probability on, so at exactly 0.5 too.
DECISION_THRESHOLD = 0.5


def is_positive(probability: ArrayLike, threshold: ArrayLike = DECISION_THRESHOLD) -> np.ndarray:
    """Return where a probability reaches the threshold.

    Parameters
    ----------
    probability : array_like of float, any shape
        Of the positive class, 0..1.
    threshold : array_like of float
        0..1; one for all, or of a shape that broadcasts with `probability`.

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
    """Return the class that each image's scores decide for.

    Parameters
    ----------
    scores : array_like of float, shape (..., n, k)
        k = 1: the probability of the second of two classes, as one sigmoid gives it, 0..1. k = 2: the scores of both
        classes, 0..1. Else the scores of k classes, in any range.
    threshold : float
        0..1; used for one or two scores only.

    Returns
    -------
    ndarray of int64, shape (..., n)
        For one or two scores 1 where `is_positive`, else 0; for more the index of the highest score, the lowest
        index where several tie.

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
