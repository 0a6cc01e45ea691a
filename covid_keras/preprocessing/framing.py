"""Crops of fixed fractions as in COVIDNet, and the resize of COVID-CXNet.

References
----------
.. [1] L. Wang, Z. Q. Lin, A. Wong, "COVID-Net: a tailored deep convolutional neural network design for detection of
   COVID-19 cases from chest X-ray images", Scientific Reports 10, 19549 (2020). The authors' code, whose rounding is
   reproduced, drops the top rows (which hold text), then takes the centre square and resizes to 480 x 480.
"""

from __future__ import annotations

import cv2
import numpy as np

from covid_keras.common.errors import UserError

OVERFLOWS = ("clip", "wrap")


def drop_top(image: np.ndarray, share: float = 0.08) -> np.ndarray:
    """Drop rows at the top [1]_.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Any type and values.
    share : float
        Fraction of the height in [0, 1); int(share * H) rows are dropped.

    Returns
    -------
    ndarray
        The remaining rows, at least one, as a view.

    Raises
    ------
    UserError
        If the image is empty or has another number of axes, or the share is out of range.

    Examples
    --------
    >>> drop_top(np.zeros((99, 50))).shape
    (92, 50)
    """
    height, _ = _size(image)
    if not 0 <= share < 1:
        raise UserError("share", f"must be at least 0 and below 1 (got {share})", "COVIDNet uses 0.08")
    return image[int(share * height) :]


def centre_square(image: np.ndarray) -> np.ndarray:
    """Crop the largest centred square [1]_.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Any type and values.

    Returns
    -------
    ndarray
        (S, S) or (S, S, C) with S = min(H, W), as a view. Of an odd number of rows or columns, the extra one is dropped
        at the end.

    Raises
    ------
    UserError
        If the image is empty or has another number of axes.

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
    """Resize in floating point and truncate to 8 bits, as in COVID-CXNet.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Values 0..255.
    size : (int, int)
        Height and width; the aspect ratio is not kept.
    interpolation : int
        OpenCV constant. Cubic, the authors' choice, overshoots 0..255 at edges.
    overflow : {"clip", "wrap"}
        "clip" limits values to 0..255. "wrap" truncates and takes the result modulo 256, as the authors' cast does on
        common processors: 256.4 becomes 0 and -1.5 becomes 255, which shows as black and white specks.

    Returns
    -------
    ndarray, (h, w) or (h, w, C), uint8
        0..255.

    Raises
    ------
    UserError
        If the image is empty or has another number of axes, or `overflow` is unknown.

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
    # Casting an out-of-range float to 8 bits is undefined; casting via int32 is not.
    return values.astype(np.int32).astype(np.uint8)


def _size(image: np.ndarray) -> tuple[int, int]:
    if np.ndim(image) not in (2, 3) or not np.size(image):
        raise UserError("image", f"must have shape (H, W) or (H, W, C) (got {np.shape(image)})", "Give an image array")
    return image.shape[:2]
