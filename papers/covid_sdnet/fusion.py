"""The four classes of transformed images, and the fusion of predictions on the transformed versions of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

# <true class><sign of the generator>: x+ is the output of the generator of P, x- of that of N.
FOUR = ("P+", "P-", "N+", "N-")
BINARY = ("N", "P")

# Tabik et al. 2020, section IV: what the most probable class of x+ (row) and of x- (column) decide together, both in
# the order of FOUR. P: rule 2, N: rule 1, ?: rule 3, the larger of the two families' largest probabilities.
DECISIONS = np.array(
    [
        ["?", "P", "?", "?"],
        ["?", "?", "?", "?"],
        ["?", "?", "?", "N"],
        ["?", "?", "?", "?"],
    ]
)


def relabel(true_label: ArrayLike, generator: ArrayLike) -> np.ndarray | str:
    """Return the class of a transformed image.

    Parameters
    ----------
    true_label : array_like of {"N", "P"}
        Class of the original image.
    generator : array_like of {"N", "P"}
        Class of the generator that transformed it; broadcast against `true_label`.

    Returns
    -------
    ndarray of str, or str
        One of FOUR per image; a str if both arguments are.

    Raises
    ------
    ValueError
        If a label is neither "N" nor "P".

    Examples
    --------
    >>> relabel(["P", "N"], "P").tolist()
    ['P+', 'N+']
    """
    true_label, generator = np.broadcast_arrays(np.asarray(true_label), np.asarray(generator))
    for labels in (true_label, generator):
        if unknown := sorted(set(np.unique(labels).tolist()) - set(BINARY)):
            raise ValueError(f"labels must be of {BINARY}, not {unknown[0]!r}")
    return np.array(FOUR)[2 * (true_label == "N") + (generator == "N")]


def fuse(theta: ArrayLike, psi: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Decide between positive and negative from the predictions on both transformed versions of each image.

    Parameters
    ----------
    theta, psi : array_like of float, (n, 4)
        Softmax outputs, in the order of FOUR, for x+ (from the generator of P) and x- (from that of N).

    Returns
    -------
    is_positive : ndarray of bool, (n,)
        The paper's three rules; argmax takes the first of equals, and rule 3 gives positive where both families
        reach the same probability. Apart from such ties it is the family of the largest of the eight.
    score_positive : ndarray of float, (n,)
        Largest probability of P+ or P-, divided by its sum with that of N+ or N-: at least 0.5 exactly where
        `is_positive`, so that ROC curves agree with the decisions.

    Raises
    ------
    ValueError
        If the shapes are not (n, 4) and equal, or a value is NaN.

    References
    ----------
    S. Tabik et al., "COVIDGR dataset and COVID-SDNet methodology for predicting COVID-19 based on chest X-ray
    images", IEEE JBHI 24(12), 2020, section IV, inference.
    """
    theta, psi = np.asarray(theta), np.asarray(psi)
    if theta.ndim != 2 or theta.shape[1] != len(FOUR) or psi.shape != theta.shape:
        raise ValueError(f"two arrays of shape (n, {len(FOUR)}) are required, not {theta.shape} and {psi.shape}")
    if np.isnan(theta).any() or np.isnan(psi).any():
        raise ValueError("a probability is not a number")
    largest = np.maximum(theta, psi)
    positive, negative = largest[:, :2].max(1), largest[:, 2:].max(1)
    decision = DECISIONS[theta.argmax(1), psi.argmax(1)]
    is_positive = np.where(decision == "?", positive >= negative, decision == "P")
    positive, negative = positive.astype(np.float64), negative.astype(np.float64)
    return is_positive, positive / (positive + negative)


def fuse_logits(logits: np.ndarray, classes: int) -> np.ndarray:
    """Return the decision of FuCiTNet alone: the class of the largest logit of all versions of an image.

    Parameters
    ----------
    logits : ndarray of float, (n, classes * classes)
        Per image the logits of one version after the other, as returned by `CiTNetwork`.
    classes : int
        Number of classes, which is also the number of versions.

    Returns
    -------
    ndarray of int, (n,)
        Class indices. Of equal logits, the first counts.

    Raises
    ------
    ValueError
        If the shape differs.
    """
    logits = np.asarray(logits)
    if logits.ndim != 2 or logits.shape[1] != classes * classes:
        raise ValueError(f"logits of shape (n, {classes * classes}) are needed, not {logits.shape}")
    return logits.argmax(axis=1) % classes
