"""BEASF: bi-histogram equalisation with adaptive sigmoid functions, as used by COVID-CXNet.

Reference: E. F. Arriaga-Garcia et al., "Bi-histogram equalization with adaptive sigmoid functions for image
contrast enhancement", CONIELECOMP 2014, in the version used by A. Haghanifar et al. (COVID-CXNet, 2020).
Their code departs from textbook bi-histogram equalisation in several places (bins over [min, max], lags of one level,
unequal truncation). These are reproduced to match their output exactly, including the order of floating-point
operations.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.preprocessing._grey import LEVELS, grey_plane, level_counts

TOP = LEVELS - 1


def beasf(image: np.ndarray, gamma: float = 1.5) -> np.ndarray:
    """Enhance contrast with two sigmoids, one below and one above the mean grey level.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.
    gamma : float
        Steepness of both sigmoids; COVID-CXNet uses 1.5.

    Returns
    -------
    ndarray
        Same shape and type, 0..255. Level 0 stays 0, and 255 stays 255.
        An unchanged copy where the authors' function fails or divides zero by zero: a constant image, a very dark
        or bright one (such as mean below 2 or at least 254), or a gamma near 0.

    Raises
    ------
    UserError
        If the image is not one grey plane of integers 0..255, or gamma is not finite.

    Notes
    -----
    Identical to the COVID-CXNet authors' function where that is defined, except that their sum of pixels overflows
    above about 8.4 million pixels.

    Examples
    --------
    >>> beasf(np.array([[0, 60, 90], [120, 200, 255]], dtype=np.uint8))
    array([[  0,  17,  69],
           [119, 190, 255]], dtype=uint8)
    """
    if not math.isfinite(gamma):
        raise UserError("gamma", f"{gamma} is not a finite number", "COVID-CXNet uses 1.5")
    image = np.asarray(image)
    plane = grey_plane(image)
    levels = _level_map(level_counts(plane), float(gamma))
    if levels is None:
        return image.copy()
    return cv2.LUT(plane, levels).reshape(image.shape).astype(image.dtype, copy=False)


def _level_map(counts: np.ndarray, gamma: float) -> np.ndarray | None:
    """Return the new level of each of the 256 levels, (256,) uint8; None if the map is undefined."""
    present = np.flatnonzero(counts)
    low, high = int(present[0]), int(present[-1])
    mean = int(counts @ np.arange(LEVELS)) // int(counts.sum())
    if low == high or mean == 0:
        return None
    half_low, half_up = _half_levels(counts, low, high, mean)
    lower = _lower_levels(mean, half_low, gamma)
    upper = _upper_levels(mean, half_up, gamma)
    if lower is None or upper is None:
        return None
    return np.concatenate([lower, upper]).astype(np.uint8)


def _half_levels(counts: np.ndarray, low: int, high: int, mean: int) -> tuple[int, int]:
    """Return the level at which each half of the histogram reaches half of its pixels; the upper one is 1 too low.

    The 256 bins span the image's own range, but the halves are split at the bin whose number is the mean *level*. That
    bin belongs to both halves.
    """
    bins = LEVELS * np.arange(high - low + 1) // (high - low)
    bins[-1] = TOP
    shares = np.zeros(LEVELS)
    shares[bins] = counts[low : high + 1] / counts.sum()
    lower, upper = shares[: mean + 1], shares[mean:]
    # cumsum adds from left to right; sum adds pairwise and may differ in the last bit
    lower = np.cumsum(lower / np.cumsum(lower)[-1])
    upper = np.cumsum(upper / np.cumsum(upper)[-1])
    return int(np.argmax(lower > 0.5)), mean + int(np.argmax(upper[1:] > 0.5))


def _sigmoid(levels: np.ndarray, centre: int, width: int, gamma: float) -> np.ndarray:
    with np.errstate(over="ignore"):  # for a very steep sigmoid exp is infinite and the result 0
        return 1 / (1 + np.exp(-gamma * 5 * (levels - centre) / width))


def _lower_levels(mean: int, half: int, gamma: float) -> np.ndarray | None:
    """Map the levels 0..mean onto 0..mean; None if the range is empty.

    Rounding may map the last level to mean - 1.
    """
    curve = np.trunc(mean * _sigmoid(np.arange(mean + 1), half, mean, gamma))
    rise = curve[-1] - curve[0]
    if rise == 0:
        return None
    return np.trunc((mean / rise) * (curve - curve[0]))


def _upper_levels(mean: int, half: int, gamma: float) -> np.ndarray | None:
    """Map the levels mean + 1..255 onto mean..255; None if the range is empty."""
    width = TOP - mean
    # level i takes the sigmoid of level i - 1
    curve = np.trunc(mean + width * _sigmoid(np.arange(mean, TOP), half, width, gamma))
    rise = curve[-1] - curve[0]
    if rise == 0:
        return None
    return width * (curve - curve[0]) / rise + mean
