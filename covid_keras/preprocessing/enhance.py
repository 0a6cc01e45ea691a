"""Contrast enhancement as COVID-CXNet does it (Haghanifar et al. 2020), by the libraries that it used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.preprocessing._grey import grey_plane
from covid_keras.preprocessing.beasf import beasf

CHANNELS = ("beasf", "clahe", "original")
"""The three channels of `enhance_stack`, in the order of the paper's text and its later notebooks."""


def equalize_histogram(image: np.ndarray) -> np.ndarray:
    """Equalise the histogram of the whole image.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.

    Returns
    -------
    ndarray, same shape, uint8
        0..255, both reached unless the image has one grey level, which it then keeps.

    Raises
    ------
    UserError
        Not one grey plane of integers 0..255.

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
        Of the disk, in pixels. COVID-CXNet takes 40 on images of 320 x 320, before it segments the lungs.

    Returns
    -------
    ndarray, same shape, uint8
        0..255: 255 times the share of the disk's pixels that are no brighter. One grey level gives 255
        everywhere.

    Raises
    ------
    UserError
        Not one grey plane of integers 0..255, or a radius below 1.

    Notes
    -----
    `skimage.filters.rank.equalize` with `disk(40)`, the "AHE" of COVID-CXNet's Fig. 2. Its time grows with
    pixels times radius: shrink the image first.
    """
    if radius < 1:
        raise UserError("radius", f"{radius} is below 1", "COVID-CXNet uses 40")
    # imported here: it takes longer to load than everything else in this package together
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
        Above 0; how far a bin of a tile's histogram may exceed the mean bin.
    tile_grid : (int, int)
        Number of tiles along the columns (x) and the rows (y), in OpenCV's order.

    Returns
    -------
    ndarray, same shape, uint8
        0..255.

    Raises
    ------
    UserError
        Not one grey plane of integers 0..255, a clip limit that is not above 0, or a grid without tiles.

    Notes
    -----
    `cv2.createCLAHE`; other libraries' CLAHE differ from it visibly. COVID-CXNet uses the defaults for its
    channels, and a clip limit of 6 in its segmentation demonstration.
    """
    if not clip_limit > 0:  # OpenCV would take it for "no limit"
        raise UserError("clip_limit", f"{clip_limit} is not above 0", "COVID-CXNet uses 2.0")
    if len(tile_grid) != 2 or min(tile_grid) < 1:
        raise UserError("tile_grid", f"{tile_grid} is not two numbers of tiles", "COVID-CXNet uses (8, 8)")
    # a new object a call: OpenCV's holds buffers that threads must not share
    operator = cv2.createCLAHE(clipLimit=float(clip_limit), tileGridSize=tuple(int(n) for n in tile_grid))
    return operator.apply(grey_plane(image)).reshape(np.shape(image))


_ENHANCE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "beasf": beasf,
    "clahe": clahe,
    "original": lambda plane: plane,
}


def enhance_stack(image: np.ndarray, order: Sequence[str] = CHANNELS) -> np.ndarray:
    """Stack BEASF, CLAHE and the image itself as three channels; both enhance the same image.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255.
    order : sequence of 3 names out of "beasf", "clahe", "original"
        The channels; a name may occur again. The run that gave COVID-CXNet's 99.04 % had (original, BEASF,
        CLAHE).

    Returns
    -------
    ndarray, (H, W, 3), uint8
        0..255.

    Raises
    ------
    UserError
        Not one grey plane of integers 0..255, or an unknown order.

    Notes
    -----
    COVID-CXNet, section 3.2: BEASF with gamma 1.5, CLAHE with clip limit 2 and 8 x 8 tiles, on images of
    320 x 320 that are divided by 255 afterwards.
    """
    if len(order) != 3 or not set(order) <= set(_ENHANCE):
        raise UserError("order", f"{tuple(order)} is not three channels", f"Choose of {', '.join(_ENHANCE)}")
    plane = grey_plane(image)
    channels = {name: _ENHANCE[name](plane) for name in set(order)}
    return cv2.merge([channels[name] for name in order])
