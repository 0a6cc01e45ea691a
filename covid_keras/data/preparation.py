"""The settings of a preparation of radiographs (crop or mask, resize, enhance), and the steps that implement them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint
from covid_keras.preprocessing import CHANNELS, LungBox
from covid_keras.preprocessing.framing import OVERFLOWS
from covid_keras.preprocessing.steps import (
    ENHANCEMENTS,
    INTERPOLATIONS,
    CentreSquare,
    CropToLungs,
    DropTop,
    Enhance,
    KeepLungs,
    MarkLungs,
    MatchHistogram,
    RemoveLungs,
    Resize,
    ShowMask,
    Stack,
    Step,
    ToFrame,
)

# Increase it when the same settings give different pixels: cached images are then prepared again.
ALGORITHM = 2
DEFAULT_MARGIN = 0.025
_NAMES = {
    "crop": (None, "lungs"),
    "mask": (None, "keep", "remove", "alone"),
    "enhance": (None, *ENHANCEMENTS, "stack"),
    "interpolation": tuple(INTERPOLATIONS),
    "overflow": OVERFLOWS,
    "box": ("authors", "inclusive"),
    "empty": ("whole", "black"),
}


@dataclass(frozen=True)
class Preparation:
    """Settings of the deterministic preparation of images, and the `steps` that implement them.

    Without `frame`: crop or mask, resize to `size`, match, enhance. With `frame`, as in COVID-CXNet: resize to the
    frame, crop or mask, resize a crop to the frame again, match, enhance, and finally resize to `size` (by area) if it
    differs.

    Parameters
    ----------
    size : (int, int)
        Height and width of the result in pixels. The aspect ratio is not kept, as in the reproduced papers.
    crop : None or "lungs"
        Crop to the bounding box of both lungs.
    margin : float
        Added on each side of the box, as a fraction of its height or width.
    mask : None, "keep", "remove" or "alone"
        Set everything outside the lungs, or the lungs, to 0; or replace the image by its mask, 255 where there is lung.
    enhance : None, "equalize", "clahe", "beasf" or "stack"
        "stack" gives three channels.
    interpolation : {"area", "linear", "cubic", "nearest"}
        As in OpenCV; "area" becomes "linear" if a side grows.
    stack_order : tuple of str
        The channels of "stack"; three times "original" repeats the grey image.
    mask_threshold : int
        Mask values above it are lung. The default, 127, suits masks of 0 and 255, also with 127 for "ignore" (devices,
        markings).
    drop_top : float
        Fraction of the rows to drop at the top, in [0, 1) (COVIDNet: 0.08).
    square : bool
        Crop to the largest centred square.
    frame : (int, int), optional
        Working size of COVID-CXNet (320, 320). The first resize truncates
        (`covid_keras.preprocessing.resize_truncated`), with nearest neighbour for the mask; the second one is OpenCV's
        8-bit resize, which rounds and saturates.
    overflow : {"clip", "wrap"}
        How the first resize to the frame treats values outside 0..255: limit them, or wrap them as the authors' cast
        does (256.4 becomes 0).
    dilate : (int, int), optional
        Kernel size and iterations of a dilation of the mask for the crop box only (COVID-CXNet: 5, 3).
    margin_pixels : int, optional
        Replaces `margin`: pixels added on each side of the box, in the frame or, without frame, in the image.
        COVID-CXNet states 10 and used 0.
    box : {"authors", "inclusive"}
        "authors" excludes the last row and column of lung from the box, as the code of both papers that crop does;
        "inclusive" includes them.
    reference : str or Path, optional
        Image file, prepared likewise, to whose histogram all images are matched
        (`covid_keras.preprocessing.match_histogram`). Take it from the training part.
    reference_mask : str or Path, optional
        Lung mask of the reference, if the settings need masks. `prepare_cohort` finds it if the reference is an image
        of the cohort.
    empty : {"whole", "black"}
        How to treat images with an empty mask: use them whole (neither cropped nor masked) and count them, or, with
        `mask="keep"` and no crop, make them black.

    Raises
    ------
    UserError
        If a setting is unknown or out of range, or two settings exclude each other.
    """

    size: tuple[int, int] = (224, 224)
    crop: str | None = None
    margin: float = DEFAULT_MARGIN
    mask: str | None = None
    enhance: str | None = None
    interpolation: str = "area"
    stack_order: tuple[str, ...] = CHANNELS
    mask_threshold: int = 127
    drop_top: float = 0.0
    square: bool = False
    frame: tuple[int, int] | None = None
    overflow: str = "clip"
    dilate: tuple[int, int] | None = None
    margin_pixels: int | None = None
    box: str = "authors"
    reference: str | None = None
    reference_mask: str | None = None
    empty: str = "whole"

    def __post_init__(self) -> None:
        self._set("size", _two_sides("size", self.size))
        self._set("stack_order", tuple(self.stack_order))
        for name in ("reference", "reference_mask"):
            self._set(name, str(getattr(self, name)) if getattr(self, name) else None)
        if self.frame is not None:
            self._set("frame", _two_sides("frame", self.frame))
        if self.dilate is not None:
            self._set("dilate", _two_sides("dilate", self.dilate, "(kernel, iterations)"))
        self._check_names()
        self._check_numbers()
        self._check_combinations()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_names(self) -> None:
        for name, allowed in _NAMES.items():
            if (value := getattr(self, name)) not in allowed:
                remedy = f"Use one of {', '.join(map(str, allowed))}"
                raise UserError(f"preparation {name}", f"{value!r} is unknown", remedy)

    def _check_numbers(self) -> None:
        if not 0 <= self.margin < 1:
            raise UserError("preparation margin", f"must lie in 0 to 1 (got {self.margin})", "Use 0.025")
        pixels = self.margin_pixels
        if pixels is not None and (not isinstance(pixels, int) or pixels < 0):
            raise UserError(
                "preparation margin_pixels", f"must be a whole number of at least 0 (got {pixels!r})", "Use 10"
            )
        if not 0 <= self.drop_top < 1:
            raise UserError("preparation drop_top", f"must be at least 0 and below 1 (got {self.drop_top})", "Use 0.08")
        if not 0 <= self.mask_threshold < 255:
            raise UserError(
                "preparation mask_threshold", f"must lie in 0 to 254 (got {self.mask_threshold})", "Use 127"
            )

    def _check_combinations(self) -> None:
        shares = bool(self.drop_top or self.square)
        for wrong, problem, remedy in (
            (
                shares and self.needs_mask,
                "drop_top and square require whole images",
                "Leave out drop_top and square",
            ),
            (shares and self.frame, "drop_top and square exclude a frame", "Leave out frame"),
            (self.overflow != "clip" and not self.frame, "overflow requires a frame", "Give frame"),
            (
                self.margin_pixels is not None and self.margin != DEFAULT_MARGIN,
                "margin and margin_pixels exclude each other",
                "Give one of them",
            ),
            (self.reference_mask and not self.reference, "reference_mask requires a reference", "Give reference"),
        ):
            if wrong:
                raise UserError("preparation", problem, remedy)

    @property
    def needs_mask(self) -> bool:
        """Whether the settings need a lung mask."""
        return self.crop is not None or self.mask is not None

    @property
    def blackens_empty(self) -> bool:
        """Whether images with an empty mask become black instead of being used whole."""
        return self.empty == "black" and self.mask == "keep" and not self.crop

    @property
    def channels(self) -> int:
        """Number of channels: 3 for "stack", else 1."""
        return 3 if self.enhance == "stack" else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a prepared image."""
        return (*self.size, self.channels)

    @functools.cached_property
    def steps(self) -> tuple[Step, ...]:
        """The steps from the image as read (and its mask if `needs_mask`) to the prepared image."""
        possible = (
            self.needs_mask and MarkLungs(self.mask_threshold),
            self._frame,
            self.crop and self._cropping,
            self.mask == "keep" and KeepLungs(self.blackens_empty),
            self.mask == "remove" and RemoveLungs(),
            self.mask == "alone" and ShowMask(),
            self.drop_top and DropTop(self.drop_top),
            self.square and CentreSquare(),
            Resize(self.frame or self.size, self.interpolation),
            self.reference and MatchHistogram(self.reference, self.reference_mask if self.needs_mask else None),
            self.enhance and (Stack(self.stack_order) if self.enhance == "stack" else Enhance(self.enhance)),
            self.frame not in (None, self.size) and Resize(self.size, "area"),
        )
        return tuple(step for step in possible if isinstance(step, Step))

    @property
    def _frame(self) -> ToFrame | None:
        return ToFrame(self.frame, self.interpolation, self.overflow) if self.frame else None

    @property
    def _cropping(self) -> CropToLungs:
        return CropToLungs(self.margin, self.margin_pixels, self.box == "inclusive", self.dilate)

    def key(self) -> str:
        """Return a key of the steps and the version of the algorithm (16 hexadecimal digits).

        Raises `UserError` if the reference cannot be read.
        """
        return fingerprint([ALGORITHM, [step.key() for step in self.steps]])


def _two_sides(name: str, value: object, meaning: str = "(height, width)") -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2 or any(int(v) != v or v < 1 for v in value):
        raise UserError(f"preparation {name}", f"must be {meaning} (got {value!r})", "Give two positive whole numbers")
    return int(value[0]), int(value[1])


def crop_box(mask: np.ndarray, preparation: Preparation) -> LungBox:
    """Return the crop box in pixels of the original image.

    Parameters
    ----------
    mask : ndarray (H, W)
        Lung mask of the image; nonzero is lung.
    preparation : Preparation
        Must have `crop`.

    Returns
    -------
    LungBox
        A box in a frame is scaled back to the image and rounded. The whole image, with `whole` set, if the mask is
        empty.
    """
    lungs, frame = np.asarray(mask) != 0, preparation._frame
    box = preparation._cropping.box(lungs if frame is None else frame.mask(lungs))
    if frame is None:
        return box
    (height, width), (rows, columns) = mask.shape[:2], frame.size
    top, left = round(box.top * height / rows), round(box.left * width / columns)
    # rounding could otherwise make a thin box empty if the frame is larger than the image
    top, left = min(top, height - 1), min(left, width - 1)
    bottom, right = round(box.bottom * height / rows), round(box.right * width / columns)
    return LungBox(top, max(bottom, top + 1), left, max(right, left + 1), box.whole)
