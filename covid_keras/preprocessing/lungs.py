"""Crop to the lungs, keep or remove them, and dilate lung masks.

A mask is an array (H, W) or (H, W, 1); nonzero pixels are lung. With `threshold`, a probability map
is accepted instead.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import cv2
import numpy as np

from covid_keras.common.errors import UserError

Threshold = float | Literal["authors"] | None


class _Box(NamedTuple):
    top: int
    bottom: int
    left: int
    right: int


class LungBox(_Box):
    """A box (top, bottom, left, right) in pixels, ends exclusive.

    `image[box.slices]` is the crop. `whole` is true if the mask was empty and the box is therefore the whole image; it
    is false for lungs that happen to fill the image.
    """

    whole: bool

    def __new__(cls, top: int, bottom: int, left: int, right: int, whole: bool = False) -> LungBox:
        box = super().__new__(cls, top, bottom, left, right)
        box.whole = whole
        return box

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices for indexing an image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def authors_threshold(probability: np.ndarray) -> float:
    """Return the lung threshold of the crop of Tabik et al.

    Parameters
    ----------
    probability : ndarray, any shape
        Probability map, 0..1.

    Returns
    -------
    float
        0.931 times the maximum of the map; 0.98 if the maximum is exactly 1.

    Notes
    -----
    COVID-SDNet (Tabik et al. 2020): from the crop script of the authors' laboratory; the paper does not state it.
    """
    highest = float(np.max(probability))
    if highest != 1.0:
        highest *= 0.95
    return highest * (1 - 0.02)


def lung_bounding_box(
    mask: np.ndarray,
    margin: float = 0.025,
    *,
    shape: tuple[int, int] | None = None,
    threshold: Threshold = None,
    pixels: int | None = None,
    inclusive: bool = False,
) -> LungBox:
    """Return the bounding box of both lungs, enlarged on each side and clamped to the image.

    Parameters
    ----------
    mask : ndarray, (H, W) or (H, W, 1)
        Nonzero is lung; with `threshold`, a probability map.
    margin : float
        Added on each side, as a fraction of the height or width of the box.
    shape : (int, int), optional
        Height and width of the image, if they differ from the mask's; the box is scaled to the image.
    threshold : float or "authors", optional
        Pixels at or above it are lung; "authors" uses `authors_threshold`.
    pixels : int, optional
        Replaces `margin`: pixels added on each side. COVID-CXNet states 10 and used 0.
    inclusive : bool
        Include the last row and column of lung in the box; both papers' code excludes them.

    Returns
    -------
    LungBox
        In pixels of the image, at least one pixel wide and high. The whole image, with `whole` set, if the mask is
        empty.

    Raises
    ------
    UserError
        If the mask is not one plane, has NaN, or has fractions although no threshold is given; `margin` or `pixels` is
        negative.

    Notes
    -----
    COVID-SDNet (Tabik et al. 2020), with the arithmetic of the authors' code. Let r1 and r2 be the first and last row
    of lung (scaled to the image, truncated). The box has the rows max(r1 - d, 0) to min(r2 + d, H), end exclusive, with
    d = int(margin * (r2 - r1)); columns likewise. If d is 0 (at the default margin, if r2 - r1 is below 40), row r2 is
    excluded.
    COVID-CXNet (Haghanifar et al. 2020) uses d = `pixels` without clamping; its crop fails if d > r1.

    Examples
    --------
    >>> mask = np.zeros((100, 100), dtype=np.uint8)
    >>> mask[20:81, 10:91] = 255
    >>> lung_bounding_box(mask)
    LungBox(top=19, bottom=81, left=8, right=92)
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise UserError("margin", f"must be a finite number of at least 0 (got {margin})", "Tabik's crop uses 0.025")
    if pixels is not None and (int(pixels) != pixels or pixels < 0):
        raise UserError("pixels", f"must be a whole number of at least 0 (got {pixels})", "COVID-CXNet states 10")
    kept = _lung_pixels(mask, threshold)
    height, width = (int(side) for side in (shape or kept.shape))
    if min(height, width) < 1:
        raise UserError("shape", f"must be positive (got {(height, width)})", "Give the image's height and width")
    if not kept.any():
        return LungBox(0, height, 0, width, whole=True)
    top, bottom = _side(kept.max(axis=1), height, margin, pixels, inclusive)
    left, right = _side(kept.max(axis=0), width, margin, pixels, inclusive)
    return LungBox(top, bottom, left, right)


def crop_to_lungs(
    image: np.ndarray, mask: np.ndarray, margin: float = 0.025, *, threshold: Threshold = None
) -> np.ndarray:
    """Crop an image to the bounding box of both lungs.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Any type and range.
    mask : ndarray, (H, W) or (H, W, 1)
        The mask of this image; nonzero is lung. With `threshold`, a probability map of any size that covers the whole
        image.
    margin, threshold
        See `lung_bounding_box`, which also reports an empty mask.

    Returns
    -------
    ndarray, (h, w) or (h, w, C)
        A copy of the image's type. The whole image if the mask is empty.

    Raises
    ------
    UserError
        As `lung_bounding_box`; also if the sizes of mask and image differ and no threshold is given.
    """
    image = _picture(image)
    if threshold is None:
        _require_same_size(image, mask)
    box = lung_bounding_box(mask, margin, shape=image.shape[:2], threshold=threshold)
    return image[box.slices].copy()


def keep_lungs(image: np.ndarray, mask: np.ndarray, *, threshold: Threshold = None) -> np.ndarray:
    """Set everything outside the lungs to 0.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Raw pixels, any type. Normalise afterwards, as the paper does.
    mask : ndarray, (H, W) or (H, W, 1)
        Of the same size; nonzero is lung.
    threshold : float or "authors", optional
        For a probability map; Arias-Garzon et al. use 0.3.

    Returns
    -------
    ndarray
        A copy of the same shape and type. All zeros if the mask is empty.

    Raises
    ------
    UserError
        If the sizes of mask and image differ, or the mask has fractions although no threshold is given.

    Notes
    -----
    Arias-Garzon et al. 2021, variation d: image x mask.
    """
    return _blank(image, mask, threshold, lungs=False)


def remove_lungs(image: np.ndarray, mask: np.ndarray, *, threshold: Threshold = None) -> np.ndarray:
    """Set the lungs to 0 and keep the rest, to test whether a classifier works without the lungs.

    Parameters, result and errors are those of `keep_lungs`. The two results add up to the image.

    Notes
    -----
    Arias-Garzon et al. 2021, variation e: image x (1 - mask).
    """
    return _blank(image, mask, threshold, lungs=True)


def dilate_mask(mask: np.ndarray, kernel: int | tuple[int, int] = (5, 5), iterations: int = 3) -> np.ndarray:
    """Dilate a mask with a rectangular kernel.

    Parameters
    ----------
    mask : ndarray, (H, W) or (H, W, 1)
        bool, uint8, uint16, int16, float32 or float64; a probability map works too.
    kernel : int or (int, int)
        Height and width of the kernel in pixels.
    iterations : int
        Number of dilations; 0 returns a copy. COVID-CXNet's three times 5 x 5 equals once 13 x 13.

    Returns
    -------
    ndarray, same shape and type

    Raises
    ------
    UserError
        If the type or shape is unsupported, the kernel is empty, or iterations is negative.

    Notes
    -----
    COVID-CXNet (Haghanifar et al. 2020), `cv2.dilate`.
    """
    mask = np.asarray(mask)
    height, width = (kernel, kernel) if isinstance(kernel, int | np.integer) else kernel
    if min(height, width) < 1:
        raise UserError("kernel", f"must be at least 1 x 1 (got {kernel})", "COVID-CXNet uses (5, 5)")
    if iterations < 0:
        raise UserError("iterations", f"must be at least 0 (got {iterations})", "COVID-CXNet uses 3")
    plane = _mask_plane(mask)
    if plane.dtype == bool:
        plane = plane.astype(np.uint8)
    if plane.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):
        raise UserError("mask", f"has the unsupported type {mask.dtype}", "Give bool, uint8 or float32")
    grown = cv2.dilate(plane, np.ones((int(height), int(width)), np.uint8), iterations=int(iterations))
    return grown.reshape(mask.shape).astype(mask.dtype)


def _side(occupied: np.ndarray, size: int, margin: float, pixels: int | None, inclusive: bool) -> tuple[int, int]:
    """Return start and end of the box along one axis of `size` pixels, from the mask lines that have lung."""
    lines = np.flatnonzero(occupied)
    first, last = (int(line) * size // occupied.size for line in (lines[0], lines[-1]))
    extra = int(margin * (last - first)) if pixels is None else int(pixels)
    # one past the last line of lung, rounded up
    end = -(-(int(lines[-1]) + 1) * size // occupied.size) if inclusive else last
    start = max(first - extra, 0)
    # a few lines of lung could otherwise give an empty box
    return start, max(min(end + extra, size), start + 1)


def _lung_pixels(mask: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return the lung pixels as a bool plane."""
    plane = _mask_plane(mask)
    if np.issubdtype(plane.dtype, np.floating) and np.isnan(plane).any():
        raise UserError("mask", "contains NaN", "Check the network that made it")
    if threshold == "authors":
        # for an all-zero map the threshold would be 0 and every pixel lung
        return (plane >= authors_threshold(plane)) & (plane > 0)
    if threshold is not None:
        if isinstance(threshold, str) or not 0 < threshold < math.inf:
            raise UserError(
                "threshold", f"must be above 0 or 'authors' (got {threshold!r})", "Arias-Garzon et al. use 0.3"
            )
        return plane >= threshold
    if np.issubdtype(plane.dtype, np.floating) and not np.array_equal(plane, np.rint(plane)):
        raise UserError("mask", "contains fractions, so it is a probability map", "Give threshold, such as 0.5")
    return plane != 0


def _mask_plane(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim not in (2, 3) or (mask.ndim == 3 and mask.shape[2] != 1) or mask.size == 0:
        raise UserError("mask", f"must have shape (H, W) or (H, W, 1) (got {mask.shape})", "Give one plane")
    return mask.reshape(mask.shape[:2])


def _picture(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.size == 0:
        raise UserError("image", f"must have shape (H, W) or (H, W, C) (got {image.shape})", "Give an image array")
    return image


def _require_same_size(image: np.ndarray, mask: np.ndarray) -> None:
    height, width = _mask_plane(mask).shape
    if (height, width) != image.shape[:2]:
        problem = f"has {height} x {width} pixels, but its image {image.shape[0]} x {image.shape[1]}"
        raise UserError("mask", problem, "Give the mask of this image at its size")


def _blank(image: np.ndarray, mask: np.ndarray, threshold: Threshold, lungs: bool) -> np.ndarray:
    """Set the lungs, or everything else, to 0."""
    image = _picture(image)
    _require_same_size(image, mask)
    result = image.copy()
    result[_lung_pixels(mask, threshold) == lungs] = 0
    return result
