"""Cropping to the lungs, keeping or removing them, and dilating their mask.

A mask is an array (H, W), or (H, W, 1), in which what is not 0 is lung. A network's map of probabilities is
taken too, where `threshold` says from which probability on a pixel is lung.
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
    """A box (top, bottom, left, right) in pixels, ends exclusive; `whole` where no lung was found.

    `image[box.slices]` is the crop. `whole` says that the mask was empty and the box is therefore the whole
    image, so that callers can count such images; a box of lungs that just fills the image is not `whole`.
    """

    whole: bool

    def __new__(cls, top: int, bottom: int, left: int, right: int, whole: bool = False) -> LungBox:
        box = super().__new__(cls, top, bottom, left, right)
        box.whole = whole
        return box

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns, to index an image with."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def authors_threshold(probability: np.ndarray) -> float:
    """Return the probability from which Tabik's crop takes a pixel for lung.

    Parameters
    ----------
    probability : ndarray, any shape
        A network's map, 0..1.

    Returns
    -------
    float
        0.931 of the map's maximum; 0.98 where the maximum is exactly 1.

    Notes
    -----
    COVID-SDNet (Tabik et al. 2020): the crop script of the authors' laboratory, not stated in the paper.
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
    """Return the smallest box that holds both lungs, enlarged on each side and clamped to the image.

    Parameters
    ----------
    mask : ndarray, (H, W) or (H, W, 1)
        Not 0 is lung; a map of probabilities with `threshold`.
    margin : float
        Added on each of the four sides, as a share of the box's own height or width.
    shape : (int, int), optional
        Height and width of the image where they differ from the mask's; the box is scaled to it.
    threshold : float or "authors", optional
        Pixels at or above it are lung; "authors" is `authors_threshold`.
    pixels : int, optional
        Added on each side in place of `margin`, in pixels of the image. COVID-CXNet names 10 and ran 0.
    inclusive : bool
        Whether the last row and column of lung belong to the box; they do not in either paper's code.

    Returns
    -------
    LungBox
        (top, bottom, left, right) in pixels of the image, ends exclusive, at least one pixel wide and high.
        The whole image, with `whole` set, where the mask has no lung.

    Raises
    ------
    UserError
        The mask is not one plane, holds fractions or NaN though no threshold is given, or a negative margin or
        number of pixels.

    Notes
    -----
    COVID-SDNet (Tabik et al. 2020); the arithmetic is that of the authors' laboratory. With r1 and r2 the
    first and last row that hold lung (scaled to the image, truncated), the rows are max(r1 - d, 0) to
    min(r2 + d, H), the end exclusive, with d = int(margin * (r2 - r1)); columns likewise. So where d is 0,
    which is where r2 - r1 is below 40 at the default margin, row r2 itself is left out.
    COVID-CXNet (Haghanifar et al. 2020) has d = `pixels` and no clamp, so that its crop fails where d > r1.

    Examples
    --------
    >>> mask = np.zeros((100, 100), dtype=np.uint8)
    >>> mask[20:81, 10:91] = 255
    >>> lung_bounding_box(mask)
    LungBox(top=19, bottom=81, left=8, right=92)
    """
    if not (math.isfinite(margin) and margin >= 0):
        raise UserError("margin", f"{margin} is not a share of 0 or more", "Tabik's crop uses 0.025")
    if pixels is not None and (int(pixels) != pixels or pixels < 0):
        raise UserError("pixels", f"{pixels} is no number of pixels of 0 or more", "COVID-CXNet names 10")
    kept = _lung_pixels(mask, threshold)
    height, width = (int(side) for side in (shape or kept.shape))
    if min(height, width) < 1:
        raise UserError("shape", f"{(height, width)} is no image size", "Give the image's height and width")
    if not kept.any():
        return LungBox(0, height, 0, width, whole=True)
    top, bottom = _side(kept.max(axis=1), height, margin, pixels, inclusive)
    left, right = _side(kept.max(axis=0), width, margin, pixels, inclusive)
    return LungBox(top, bottom, left, right)


def crop_to_lungs(
    image: np.ndarray, mask: np.ndarray, margin: float = 0.025, *, threshold: Threshold = None
) -> np.ndarray:
    """Cut out the rectangle around both lungs; what lies in it beside the lungs stays.

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, C)
        Any type and range.
    mask : ndarray, (H, W) or (H, W, 1)
        The image's own mask, not 0 is lung. With `threshold` a map of probabilities, of any size: it is taken
        to show the whole image.
    margin, threshold
        As in `lung_bounding_box`, which also tells whether the mask was empty.

    Returns
    -------
    ndarray, (h, w) or (h, w, C)
        A copy, the image's type. The whole image where the mask has no lung.

    Raises
    ------
    UserError
        The mask has another size than the image and no threshold declares it a map of probabilities, and
        whatever `lung_bounding_box` raises.
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
        Raw pixels, any type; normalise afterwards, as the paper does.
    mask : ndarray, (H, W) or (H, W, 1)
        Of the image's size; not 0 is lung.
    threshold : float or "authors", optional
        For a map of probabilities; Arias-Garzon et al. use 0.3.

    Returns
    -------
    ndarray
        A copy, the image's shape and type. All zeros where the mask has no lung.

    Raises
    ------
    UserError
        The mask has another size than the image, or holds fractions though no threshold is given.

    Notes
    -----
    Arias-Garzon et al. 2021, variation d: image x mask.
    """
    return _blank(image, mask, threshold, lungs=False)


def remove_lungs(image: np.ndarray, mask: np.ndarray, *, threshold: Threshold = None) -> np.ndarray:
    """Set the lungs to 0 and keep the rest: what a classifier must not be able to work with.

    Parameters, result and errors are those of `keep_lungs`; the two results add up to the image.

    Notes
    -----
    Arias-Garzon et al. 2021, variation e: image x (1 - mask).
    """
    return _blank(image, mask, threshold, lungs=True)


def dilate_mask(mask: np.ndarray, kernel: int | tuple[int, int] = (5, 5), iterations: int = 3) -> np.ndarray:
    """Grow a mask by a rectangle, several times.

    Parameters
    ----------
    mask : ndarray, (H, W) or (H, W, 1)
        bool, uint8, uint16, int16, float32 or float64; a map of probabilities grows too.
    kernel : int or (int, int)
        Height and width of the rectangle in pixels.
    iterations : int
        How often; 0 gives a copy. COVID-CXNet's 5 x 5, three times, is the maximum over 13 x 13.

    Returns
    -------
    ndarray, same shape and type

    Raises
    ------
    UserError
        Another type or shape, a kernel without pixels, or negative iterations.

    Notes
    -----
    COVID-CXNet (Haghanifar et al. 2020), `cv2.dilate`.
    """
    mask = np.asarray(mask)
    height, width = (kernel, kernel) if isinstance(kernel, int | np.integer) else kernel
    if min(height, width) < 1:
        raise UserError("kernel", f"{kernel} has no pixels", "COVID-CXNet uses (5, 5)")
    if iterations < 0:
        raise UserError("iterations", f"{iterations} is negative", "COVID-CXNet uses 3")
    plane = _mask_plane(mask)
    if plane.dtype == bool:
        plane = plane.astype(np.uint8)
    if plane.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):
        raise UserError("mask", f"{mask.dtype} cannot be dilated", "Give bool, uint8 or float32")
    grown = cv2.dilate(plane, np.ones((int(height), int(width)), np.uint8), iterations=int(iterations))
    return grown.reshape(mask.shape).astype(mask.dtype)


def _side(occupied: np.ndarray, size: int, margin: float, pixels: int | None, inclusive: bool) -> tuple[int, int]:
    """Return start and end of the box along one axis of `size` pixels, from the mask's occupied lines."""
    lines = np.flatnonzero(occupied)
    first, last = (int(line) * size // occupied.size for line in (lines[0], lines[-1]))
    extra = int(margin * (last - first)) if pixels is None else int(pixels)
    # the image's line after the last line of lung, rounded up
    end = -(-(int(lines[-1]) + 1) * size // occupied.size) if inclusive else last
    start = max(first - extra, 0)
    # one line of lung, or few after shrinking, would leave an empty box
    return start, max(min(end + extra, size), start + 1)


def _lung_pixels(mask: np.ndarray, threshold: Threshold) -> np.ndarray:
    """Return a bool plane of what is lung."""
    plane = _mask_plane(mask)
    if np.issubdtype(plane.dtype, np.floating) and np.isnan(plane).any():
        raise UserError("mask", "holds NaN", "Check the network that made it")
    if threshold == "authors":
        # an all-zero map would put the threshold at 0 and so everything inside it
        return (plane >= authors_threshold(plane)) & (plane > 0)
    if threshold is not None:
        if isinstance(threshold, str) or not 0 < threshold < math.inf:
            raise UserError("threshold", f"{threshold!r} is none", "Give a number above 0, or 'authors'")
        return plane >= threshold
    if np.issubdtype(plane.dtype, np.floating) and not np.array_equal(plane, np.rint(plane)):
        raise UserError("mask", "holds fractions, so it is a map of probabilities", "Give threshold, 0.5 say")
    return plane != 0


def _mask_plane(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim not in (2, 3) or (mask.ndim == 3 and mask.shape[2] != 1) or mask.size == 0:
        raise UserError("mask", f"shape {mask.shape} is not one plane", "Give an array (H, W) or (H, W, 1)")
    return mask.reshape(mask.shape[:2])


def _picture(image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim not in (2, 3) or image.size == 0:
        raise UserError("image", f"shape {image.shape} is no image", "Give an array (H, W) or (H, W, C)")
    return image


def _require_same_size(image: np.ndarray, mask: np.ndarray) -> None:
    height, width = _mask_plane(mask).shape
    if (height, width) != image.shape[:2]:
        problem = f"{height} rows x {width} columns, but its image has {image.shape[0]} x {image.shape[1]}"
        raise UserError("mask", problem, "Give the mask of this very image, at the image's size")


def _blank(image: np.ndarray, mask: np.ndarray, threshold: Threshold, lungs: bool) -> np.ndarray:
    """Set to 0 the lungs, or everything but the lungs."""
    image = _picture(image)
    _require_same_size(image, mask)
    result = image.copy()
    result[_lung_pixels(mask, threshold) == lungs] = 0
    return result
