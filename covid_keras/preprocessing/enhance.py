"""Contrast enhancement of COVID-CXNet (Haghanifar et al. 2020), with the libraries that it used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.preprocessing._grey import grey_plane
from covid_keras.preprocessing.beasf import beasf

CHANNELS = ("beasf", "clahe", "original")
"""Channels of `enhance_stack`, in the order of the paper's text and its later notebooks."""


def equalize_histogram(image: np.ndarray) -> np.ndarray:
    """Equalise the histogram of the whole image.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.

    Returns
    -------
    ndarray, same shape, uint8
        0..255, both reached; a constant image is not changed.

    Raises
    ------
    UserError
        If the image is not one grey plane of integers 0..255.

    Notes
    -----
    The "HE" panel of COVID-CXNet's Fig. 2, by `cv2.equalizeHist`.
    """
    return cv2.equalizeHist(grey_plane(image)).reshape(np.shape(image))


def equalize_adaptive(image: np.ndarray, radius: int = 40) -> np.ndarray:
    """Equalise each pixel against the disk around it (AHE).

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.
    radius : int
        Radius of the disk in pixels. COVID-CXNet uses 40 on 320 x 320 images, before lung segmentation.

    Returns
    -------
    ndarray, same shape, uint8
        255 times the fraction of pixels in the disk that are not brighter. A constant image becomes 255.

    Raises
    ------
    UserError
        If the image is not one grey plane of integers 0..255, or the radius is below 1.

    Notes
    -----
    The "AHE" panel of COVID-CXNet's Fig. 2, by `skimage.filters.rank.equalize` with `disk(40)`. Time grows with
    pixels times radius: downscale the image first.
    """
    if radius < 1:
        raise UserError("radius", f"must be at least 1 (got {radius})", "COVID-CXNet uses 40")
    # imported here because it takes longer than the rest of the package
    from skimage.filters import rank
    from skimage.morphology import disk

    return rank.equalize(grey_plane(image), disk(radius)).reshape(np.shape(image))


def clahe(image: np.ndarray, clip_limit: float = 2.0, tile_grid: tuple[int, int] = (8, 8)) -> np.ndarray:
    """Equalise adaptively with limited contrast (CLAHE).

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.
    clip_limit : float
        Positive limit of a histogram bin, relative to the mean bin of the tile.
    tile_grid : (int, int)
        Number of tiles along the columns (x) and the rows (y), in OpenCV's order.

    Returns
    -------
    ndarray, same shape, uint8
        0..255.

    Raises
    ------
    UserError
        If the image is not one grey plane of integers 0..255, the clip limit is not positive, or the grid is empty.

    Notes
    -----
    By `cv2.createCLAHE`; implementations in other libraries differ visibly. COVID-CXNet uses the defaults for its
    channels and a clip limit of 6 in its segmentation demo.
    """
    if not clip_limit > 0:  # which OpenCV reads as "no limit"
        raise UserError("clip_limit", f"must be above 0 (got {clip_limit})", "COVID-CXNet uses 2.0")
    if len(tile_grid) != 2 or min(tile_grid) < 1:
        raise UserError(
            "tile_grid", f"must be two positive numbers of tiles (got {tile_grid})", "COVID-CXNet uses (8, 8)"
        )
    # one object per call: its buffers are not thread-safe
    operator = cv2.createCLAHE(clipLimit=float(clip_limit), tileGridSize=tuple(int(n) for n in tile_grid))
    return operator.apply(grey_plane(image)).reshape(np.shape(image))


_ENHANCE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "beasf": beasf,
    "clahe": clahe,
    "original": lambda plane: plane,
}


def enhance_stack(image: np.ndarray, order: Sequence[str] = CHANNELS) -> np.ndarray:
    """Stack BEASF, CLAHE and the original image as three channels.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.
    order : sequence of 3 names out of "beasf", "clahe", "original"
        The channels; names may repeat. The run behind COVID-CXNet's 99.04 % used (original, BEASF, CLAHE).

    Returns
    -------
    ndarray, (H, W, 3), uint8
        0..255.

    Raises
    ------
    UserError
        If the image is not one grey plane of integers 0..255, or the order is unknown.

    Notes
    -----
    COVID-CXNet, section 3.2: BEASF with gamma 1.5, CLAHE with clip limit 2 and 8 x 8 tiles, on 320 x 320 images that
    are divided by 255 afterwards.
    """
    if len(order) != 3 or not set(order) <= set(_ENHANCE):
        raise UserError("order", f"must be three channels (got {tuple(order)})", f"Choose from {', '.join(_ENHANCE)}")
    plane = grey_plane(image)
    channels = {name: _ENHANCE[name](plane) for name in set(order)}
    return cv2.merge([channels[name] for name in order])
