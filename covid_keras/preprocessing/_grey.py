"""Check 8-bit grey images and count their grey levels."""

from __future__ import annotations

import cv2
import numpy as np

from covid_keras.common.errors import UserError

LEVELS = 256
# cv2 returns counts as float32, which is exact up to here
_MOST_PIXELS_COUNTED_AT_ONCE = 2**24


def grey_plane(image: np.ndarray, what: str = "image") -> np.ndarray:
    """Return an image as a contiguous (H, W) uint8 array.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Any integer type, values 0..255.
    what : str
        Name of the argument, for error messages.

    Raises
    ------
    UserError
        If the shape differs, the image is empty, the type is not integer, or values lie outside 0..255.
    """
    image = np.asarray(image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 1) or image.size == 0:
        raise UserError(what, f"must have shape (H, W) or (H, W, 1) (got {image.shape})", "Give one grey plane")
    if image.dtype != np.uint8:
        if not np.issubdtype(image.dtype, np.integer):
            raise UserError(what, f"must have an integer type (got {image.dtype})", "Scale it to 0..255 (uint8)")
        if image.min() < 0 or image.max() >= LEVELS:
            raise UserError(
                what, f"values must lie in 0..255 (got {image.min()} to {image.max()})", "Scale it to 0..255 (uint8)"
            )
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
