"""Scaling of grey levels, and histogram matching."""

from __future__ import annotations

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.preprocessing._grey import LEVELS, grey_plane, level_counts


def minmax_normalize(image: np.ndarray) -> np.ndarray:
    """Stretch an image linearly to 0..1: N = (x - min) / (max - min).

    Parameters
    ----------
    image : ndarray, any shape
        Any real type; minimum and maximum are taken over the whole array.

    Returns
    -------
    ndarray, same shape, float32
        0..1. All zeros if max == min; the authors drop such images (but keep their labels).

    Raises
    ------
    UserError
        If the image is empty or has values that are not finite.

    Notes
    -----
    Arias-Garzon et al. 2021, equation 1.

    Examples
    --------
    >>> minmax_normalize(np.array([[10, 20], [30, 50]], dtype=np.uint8))
    array([[0.  , 0.25],
           [0.5 , 1.  ]], dtype=float32)
    """
    pixels = _finite(image)
    low, high = pixels.min(), pixels.max()
    if low == high:
        return np.zeros(pixels.shape, dtype=np.float32)
    return ((pixels - low) / (high - low)).astype(np.float32)


def standardize(image: np.ndarray, mean: float | np.ndarray, std: float | np.ndarray) -> np.ndarray:
    """Centre and scale an image: Z = (N - mean) / std.

    Parameters
    ----------
    image : ndarray, any shape
        Any real type; in the paper the result of `minmax_normalize`.
    mean, std : float or ndarray that broadcasts to the image
        In the image's units. Compute them on the training part only.

    Returns
    -------
    ndarray, same shape, float32

    Raises
    ------
    UserError
        If `std` is not positive and finite, `mean` is not finite, they do not broadcast to the image, or the image is
        empty or has values that are not finite.

    Notes
    -----
    Arias-Garzon et al. 2021, equation 2.

    Examples
    --------
    >>> standardize(np.array([0.0, 0.5, 1.0]), mean=0.5, std=0.25)
    array([-2.,  0.,  2.], dtype=float32)
    """
    pixels = _finite(image)
    mean, std = np.asarray(mean, dtype=np.float64), np.asarray(std, dtype=np.float64)
    if not np.all(np.isfinite(mean)):
        raise UserError("mean", "must be finite", "Compute it on the training images")
    if not np.all(np.isfinite(std) & (std > 0)):
        raise UserError("std", "must be positive and finite", "Drop constant images before computing it")
    try:
        fits = np.broadcast_shapes(pixels.shape, mean.shape, std.shape) == pixels.shape
    except ValueError:
        fits = False
    if not fits:
        problem = f"shapes {mean.shape} and {std.shape} do not broadcast to an image {pixels.shape}"
        raise UserError("mean, std", problem, "Give numbers")
    return ((pixels - mean) / std).astype(np.float32)


def match_histogram(image: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Match the histogram of an image to that of a reference.

    Each level is mapped to the reference level with the same cumulative fraction of pixels, by linear interpolation.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.
    reference : ndarray, (H, W) or (H, W, 1)
        Integers 0..255; its size may differ. Take it from the training part.

    Returns
    -------
    ndarray, the image's shape, uint8
        Within the reference's range; truncated instead of rounded, as in the authors' code. A constant image takes the
        reference's brightest level.

    Raises
    ------
    UserError
        If one of the two is not one grey plane of integers 0..255.

    Notes
    -----
    COVID-CXNet (Haghanifar et al. 2020); its reference is the first image, cropped to the lungs. Before truncation the
    result equals that of `skimage.exposure.match_histograms`.
    """
    plane, template = grey_plane(image), grey_plane(reference, "reference")
    levels, shares = _cumulative_shares(plane)
    template_levels, template_shares = _cumulative_shares(template)
    level_map = np.zeros(LEVELS, dtype=np.uint8)
    level_map[levels] = np.interp(shares, template_shares, template_levels).astype(np.uint8)
    return cv2.LUT(plane, level_map).reshape(np.shape(image))


def _cumulative_shares(plane: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels that occur and the fraction of pixels at or below each."""
    counts = level_counts(plane)
    levels = np.flatnonzero(counts)
    shares = np.cumsum(counts[levels]).astype(np.float64)
    return levels, shares / shares[-1]


def _finite(image: np.ndarray) -> np.ndarray:
    """Return the pixels as float64; raise `UserError` if the image is empty or not finite."""
    pixels = np.asarray(image, dtype=np.float64)
    if pixels.size == 0:
        raise UserError("image", f"must not be empty (got shape {pixels.shape})", "Give an image")
    if not np.all(np.isfinite(pixels)):
        raise UserError("image", "has NaN or infinite pixels", "Repair or drop it")
    return pixels
