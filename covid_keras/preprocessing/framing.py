"""Cuts of fixed shares, as COVIDNet frames a radiograph before it is resized, and COVID-CXNet's resize to one size.

References
----------
.. [1] L. Wang, Z. Q. Lin, A. Wong, "COVID-Net: a tailored deep convolutional neural network design for detection of
   COVID-19 cases from chest X-ray images", Scientific Reports 10, 19549 (2020), and the authors' code, which the
   rounding is as in: top rows, where texts are, then the centre square, then 480 x 480 pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from covid_keras.common.errors import UserError

OVERFLOWS = ("clip", "wrap")


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


def resize_truncated(
    image: np.ndarray, size: tuple[int, int], interpolation: int = cv2.INTER_CUBIC, overflow: str = "clip"
) -> np.ndarray:
    """Resize in floating point and round down to 8 bits, as COVID-CXNet brings every image to one size.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Values 0..255.
    size : (int, int)
        Height and width; the aspect is not kept.
    interpolation : int
        OpenCV's constant. Cubic, the authors' choice, overshoots at edges: below 0 and above 255.
    overflow : {"clip", "wrap"}
        "clip" holds what overshoots at 0 and at 255. "wrap" is what the authors' bare cast to 8 bits does on the usual
        processors, made the same on all: the fraction is dropped and the rest taken modulo 256, so that 256.4 becomes 0
        and -1.5 becomes 255, specks of black in white and of white in black.

    Returns
    -------
    ndarray, (h, w) or (h, w, C), uint8
        0..255.

    Raises
    ------
    UserError
        Where the image has no pixels or other axes, or `overflow` is unknown.

    Notes
    -----
    COVID-CXNet (Haghanifar et al. 2020), the authors' code: `cv2.resize` of float32, then a cast to uint8.
    """
    _size(image)
    if overflow not in OVERFLOWS:
        raise UserError("overflow", f"{overflow!r} is unknown", f"Use one of {', '.join(OVERFLOWS)}")
    values = cv2.resize(np.asarray(image, np.float32), (size[1], size[0]), interpolation=interpolation)
    return truncate(values, overflow)


def truncate(values: np.ndarray, overflow: str = "clip") -> np.ndarray:
    """Cast float values to uint8, rounding towards 0; `overflow` as in `resize_truncated`."""
    if overflow == "clip":
        values = np.clip(values, 0, 255)
    # By way of int32, whose cast to 8 bits is defined: that of a float out of range is not.
    return values.astype(np.int32).astype(np.uint8)


def _size(image: np.ndarray) -> tuple[int, int]:
    if np.ndim(image) not in (2, 3) or not np.size(image):
        raise UserError("image", f"shape {np.shape(image)} is no image", "Give an array (H, W) or (H, W, C)")
    return image.shape[:2]
