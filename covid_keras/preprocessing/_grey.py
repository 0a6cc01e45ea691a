"""The 8-bit grey plane on which the enhancements work, and its histogram."""

from __future__ import annotations

import cv2
import numpy as np

from covid_keras.common.errors import UserError

LEVELS = 256
# cv2 hands counts back as float32, which is exact up to here
_MOST_PIXELS_COUNTED_AT_ONCE = 2**24


def grey_plane(image: np.ndarray, what: str = "image") -> np.ndarray:
    """Return an image as a contiguous (H, W) uint8 plane, or say why it is none.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Any integer type, values 0..255.
    what : str
        Name of the argument, for the message.

    Raises
    ------
    UserError
        Another shape, no pixels, a type that is not integer, or values outside 0..255.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 1) or image.size == 0:
        raise UserError(what, f"shape {image.shape} is not one grey plane", "Give (H, W) or (H, W, 1)")
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.integer):
            raise UserError(what, f"{image.dtype} pixels", "Give integers from 0 to 255 (uint8)")
        if image.min() < 0 or image.max() >= LEVELS:
            raise UserError(what, f"values from {image.min()} to {image.max()}", "Scale it to 0..255 (uint8)")
    return np.ascontiguousarray(image.reshape(image.shape[:2]), dtype=np.uint8)


def level_counts(plane: np.ndarray) -> np.ndarray:
    """Count the pixels of each grey level.

    Parameters
    ----------
    plane : ndarray, (H, W), uint8

    Returns
    -------
    ndarray, (256,), int64
    """
    counts = np.zeros(LEVELS, dtype=np.int64)
    rows = max(1, _MOST_PIXELS_COUNTED_AT_ONCE // plane.shape[1])
    for top in range(0, plane.shape[0], rows):
        block = cv2.calcHist([plane[top : top + rows]], [0], None, [LEVELS], [0, LEVELS])
        counts += block.ravel().astype(np.int64)
    return counts
