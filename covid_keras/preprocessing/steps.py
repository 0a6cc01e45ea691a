"""Steps of a preparation: each maps a picture to the next one.

The key of a step is its name and fields; steps with the same key produce the same pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import sha256_of
from covid_keras.preprocessing.beasf import beasf
from covid_keras.preprocessing.enhance import clahe, enhance_stack, equalize_histogram
from covid_keras.preprocessing.framing import centre_square, drop_top, resize_truncated
from covid_keras.preprocessing.intensity import match_histogram
from covid_keras.preprocessing.lungs import LungBox, dilate_mask, keep_lungs, lung_bounding_box, remove_lungs

ENHANCEMENTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "equalize": equalize_histogram,
    "clahe": clahe,
    "beasf": beasf,
}
INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}


class Picture(NamedTuple):
    """An image between two steps.

    Attributes
    ----------
    image : ndarray (H, W) or (H, W, C) uint8
    lungs : ndarray (H, W)
        Lung mask if a step needs one, else empty. Grey levels before `MarkLungs`, bool after it.
    whole : bool, optional
        True if the mask is empty and the image is therefore used whole; None until a step needs to know.
    """

    image: np.ndarray
    lungs: np.ndarray = np.empty((0, 0), bool)
    whole: bool | None = None

    def judged(self) -> Picture:
        """Return the picture with `whole` set; it is set only once, because a crop may remove the last lung pixels."""
        return self if self.whole is not None else self._replace(whole=not bool(self.lungs.any()))


@dataclass(frozen=True)
class Step:
    """Base class of the steps. A step does not modify its argument."""

    def __call__(self, picture: Picture) -> Picture:
        """Return the next picture."""
        raise NotImplementedError

    def key(self) -> list[Any]:
        """Return name and fields, JSON-serialisable."""
        return [type(self).__name__, dataclasses.asdict(self)]


@dataclass(frozen=True)
class MarkLungs(Step):
    """Threshold the mask: values above `threshold` are lung. Bool masks are not changed."""

    threshold: int

    def __call__(self, picture: Picture) -> Picture:
        lungs = picture.lungs
        return picture._replace(lungs=lungs > (0 if lungs.dtype == bool else self.threshold))


@dataclass(frozen=True)
class ToFrame(Step):
    """Resize the image to a frame in floating point, with truncation; resize the mask by nearest neighbour."""

    size: tuple[int, int]
    interpolation: str
    overflow: str

    def __call__(self, picture: Picture) -> Picture:
        image, lungs = picture.image, picture.lungs
        how = _interpolation(self.interpolation, image.shape, self.size)
        image = resize_truncated(image, self.size, how, self.overflow)
        return Picture(image, self.mask(lungs) if lungs.size else lungs)

    def mask(self, lungs: np.ndarray) -> np.ndarray:
        """Resize a mask, bool (H, W), to the frame."""
        return cv2.resize(lungs.astype(np.uint8), self.size[::-1], interpolation=cv2.INTER_NEAREST) > 0


@dataclass(frozen=True)
class CropToLungs(Step):
    """Crop to the bounding box of both lungs; an image with an empty mask stays whole."""

    margin: float
    pixels: int | None
    inclusive: bool
    dilate: tuple[int, int] | None

    def __call__(self, picture: Picture) -> Picture:
        picture = picture.judged()
        if picture.whole:
            return picture
        box = self.box(picture.lungs).slices
        return picture._replace(image=picture.image[box], lungs=picture.lungs[box])

    def box(self, lungs: np.ndarray) -> LungBox:
        """Return the crop box for a mask, bool (H, W), in its own pixels."""
        if self.dilate:
            lungs = dilate_mask(lungs, *self.dilate)
        return lung_bounding_box(lungs, self.margin, pixels=self.pixels, inclusive=self.inclusive)


@dataclass(frozen=True)
class KeepLungs(Step):
    """Set everything outside the lungs to 0; an image with an empty mask stays whole, or with `blacken` becomes 0."""

    blacken: bool

    def __call__(self, picture: Picture) -> Picture:
        picture = picture.judged()
        if picture.whole and not self.blacken:
            return picture
        return picture._replace(image=keep_lungs(picture.image, picture.lungs), whole=False)


@dataclass(frozen=True)
class RemoveLungs(Step):
    """Set the lungs to 0; an image with an empty mask stays whole."""

    def __call__(self, picture: Picture) -> Picture:
        picture = picture.judged()
        return picture if picture.whole else picture._replace(image=remove_lungs(picture.image, picture.lungs))


@dataclass(frozen=True)
class ShowMask(Step):
    """Replace the image by its mask: 255 in the lungs, 0 outside; an empty mask gives a black image."""

    def __call__(self, picture: Picture) -> Picture:
        return picture._replace(image=np.where(picture.lungs, 255, 0).astype(np.uint8), whole=False)


@dataclass(frozen=True)
class DropTop(Step):
    """Drop a fraction of the rows at the top."""

    share: float

    def __call__(self, picture: Picture) -> Picture:
        return picture._replace(image=drop_top(picture.image, self.share))


@dataclass(frozen=True)
class CentreSquare(Step):
    """Crop the largest centred square."""

    def __call__(self, picture: Picture) -> Picture:
        return picture._replace(image=centre_square(picture.image))


@dataclass(frozen=True)
class Resize(Step):
    """Resize with OpenCV in 8 bits; the aspect ratio is not kept."""

    size: tuple[int, int]
    interpolation: str

    def __call__(self, picture: Picture) -> Picture:
        how = _interpolation(self.interpolation, picture.image.shape, self.size)
        return picture._replace(image=cv2.resize(picture.image, self.size[::-1], interpolation=how))


@dataclass(frozen=True)
class MatchHistogram(Step):
    """Match the histogram to that of a reference image that went through the same steps.

    The key depends on the content of the reference files, not on their names.
    """

    reference: str
    mask: str | None
    template: Any = dataclasses.field(default=None, compare=False, repr=False)  # the prepared reference

    def __call__(self, picture: Picture) -> Picture:
        return picture._replace(image=match_histogram(picture.image, self.template))

    def key(self) -> list[Any]:
        """Return name and file digests; raise `UserError` if a file cannot be read."""
        return [type(self).__name__, [_content(path) for path in (self.reference, self.mask) if path]]


@dataclass(frozen=True)
class Enhance(Step):
    """Enhance the contrast with one of `ENHANCEMENTS`."""

    method: str

    def __call__(self, picture: Picture) -> Picture:
        return picture._replace(image=ENHANCEMENTS[self.method](picture.image))


@dataclass(frozen=True)
class Stack(Step):
    """Stack three enhancements as channels."""

    channels: tuple[str, ...]

    def __call__(self, picture: Picture) -> Picture:
        return picture._replace(image=enhance_stack(picture.image, self.channels))


def _interpolation(name: str, shape: tuple[int, ...], size: tuple[int, int]) -> int:
    """Return OpenCV's constant; "area" becomes "linear" when enlarging, where it would repeat pixels."""
    enlarges = size[0] > shape[0] or size[1] > shape[1]
    return INTERPOLATIONS["linear" if name == "area" and enlarges else name]


def _content(path: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        problem = f"the reference for histogram matching cannot be read ({error.strerror})"
        raise UserError(path, problem, "Give another reference") from error
