"""Cuts of fixed shares, as COVIDNet frames a radiograph before it is resized.

References
----------
.. [1] L. Wang, Z. Q. Lin, A. Wong, "COVID-Net: a tailored deep convolutional neural network design for detection of
   COVID-19 cases from chest X-ray images", Scientific Reports 10, 19549 (2020), and the authors' code, which the
   rounding is as in: top rows, where texts are, then the centre square, then 480 x 480 pixels.
"""

from __future__ import annotations

import numpy as np

from covid_keras.errors import UserError


def drop_top(image: np.ndarray, share: float = 0.08) -> np.ndarray:
    """Cut rows off the top [1]_.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Any type and values.
    share : float
        Of the height, 0 up to but not 1; int(share * H) rows go, so the number is rounded down.

    Returns
    -------
    ndarray
        The rows that are left, at least one; a view, as all slices of numpy.

    Raises
    ------
    UserError
        Where the image has no pixels or other axes, or the share is out of range.

    Examples
    --------
    >>> drop_top(np.zeros((99, 50))).shape
    (92, 50)
    """
    height, _ = _size(image)
    if not 0 <= share < 1:
        raise UserError("share", f"{share} is not a share of at least 0 and below 1", "COVIDNet uses 0.08")
    return image[int(share * height) :]


def centre_square(image: np.ndarray) -> np.ndarray:
    """Cut the largest square out of the centre [1]_.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Any type and values.

    Returns
    -------
    ndarray
        (S, S) or (S, S, C), where S = min(H, W); a view. Where an odd number of rows or columns must go, the one more
        goes at the end.

    Raises
    ------
    UserError
        Where the image has no pixels or other axes.

    Examples
    --------
    >>> centre_square(np.arange(4)[None])
    array([[1]])
    """
    height, width = _size(image)
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _size(image: np.ndarray) -> tuple[int, int]:
    if np.ndim(image) not in (2, 3) or not np.size(image):
        raise UserError("image", f"shape {np.shape(image)} is no image", "Give an array (H, W) or (H, W, C)")
    return image.shape[:2]
