"""Prepare radiographs once (decode, crop or mask, resize, enhance) and cache them on disk.

Each prepared image is a file of raw pixels, keyed by the content of the image, its mask and the settings. It is shared
by folds, repeats and runs.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint
from covid_keras.common.progress import progress
from covid_keras.common.threads import bounded_map
from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.store import Store, read_entry
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
    Picture,
    RemoveLungs,
    Resize,
    ShowMask,
    Stack,
    Step,
    ToFrame,
)

_log = logging.getLogger(__name__)

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


def prepare_image(
    image: np.ndarray | str | Path, mask: np.ndarray | str | Path | None, preparation: Preparation
) -> np.ndarray:
    """Prepare one radiograph.

    Parameters
    ----------
    image : ndarray (H, W) uint8, str or Path
        The image or its file.
    mask : ndarray (H, W), str, Path or None
        Its lung mask or mask file; required if the settings crop or mask.
    preparation : Preparation
        A reference is read and prepared in each call; `prepare_cohort` does so only once.

    Returns
    -------
    ndarray (H, W, C) uint8
        0..255, shape `preparation.shape`.

    Raises
    ------
    UserError
        If the image or mask cannot be read, their sizes differ, or a required mask is missing.
    """
    picture = _run(image, mask, preparation, _bound(preparation))
    return np.ascontiguousarray(picture.image.reshape(preparation.shape))


def _run(
    image: np.ndarray | str | Path,
    mask: np.ndarray | str | Path | None,
    preparation: Preparation,
    steps: tuple[Step, ...],
) -> Picture:
    picture = Picture(image if isinstance(image, np.ndarray) else read_image(image))
    if preparation.needs_mask:
        name = "radiograph" if isinstance(image, np.ndarray) else image
        picture = picture._replace(lungs=_read_mask(name, mask, picture.image.shape))
    for step in steps:
        picture = step(picture)
    return picture


def _bound(preparation: Preparation) -> tuple[Step, ...]:
    """Return the steps, with the reference prepared up to the histogram matching."""
    steps = preparation.steps
    for place, step in enumerate(steps):
        if isinstance(step, MatchHistogram):
            found = _run(step.reference, step.mask, preparation, steps[:place])
            if found.whole:
                _log.warning(
                    "%s: the reference for histogram matching has an empty mask and is used whole", step.reference
                )
            return (*steps[:place], dataclasses.replace(step, template=found.image), *steps[place + 1 :])
    return steps


def _read_mask(path: str | Path, mask: np.ndarray | str | Path | None, shape: tuple[int, ...]) -> np.ndarray:
    if mask is None or (isinstance(mask, str) and not mask):
        raise _mask_missing(path)
    if not isinstance(mask, np.ndarray):
        mask = read_mask(mask, shape)
    if mask.shape != shape:
        problem = f"has {shape[0]} x {shape[1]} pixels, but its mask {mask.shape[0]} x {mask.shape[1]}"
        raise UserError(path, problem, "Give the mask of this image")
    return mask


def _mask_missing(subject: str | Path) -> UserError:
    remedy = "Segment the lungs first (covid-keras segment) or fill in mask_path"
    return UserError(subject, "has no lung mask, which the crop or masking requires", remedy)


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


def stable_id(image_id: str) -> int:
    """Return an int64 hash of the image id, as the key of its random numbers."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "little", signed=True)


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """The prepared images of a cohort on disk, in the order of the cohort.

    Parameters
    ----------
    folder : Path
        The cache.
    keys : tuple of str
        Keys of the images in the `Store` at `folder`: uint8, H * W * C bytes, row by row.
    image_ids : tuple of str
    shape : (int, int, int)
        (H, W, C) of every image.
    whole_image_crops : tuple of str
        Ids of the images used whole because their mask is empty.
    prepared, reused : int
        Number of images prepared, and found in the cache.
    """

    folder: Path
    keys: tuple[str, ...]
    image_ids: tuple[str, ...]
    shape: tuple[int, int, int]
    whole_image_crops: tuple[str, ...] = ()
    prepared: int = 0
    reused: int = 0

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def n(self) -> int:
        """Number of images."""
        return len(self.keys)

    @functools.cached_property
    def paths(self) -> tuple[str, ...]:
        """The file of each image."""
        return tuple(str(Store(self.folder).path(key)) for key in self.keys)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """Stable int64 keys of the image ids, shape (n,)."""
        return np.array([stable_id(image_id) for image_id in self.image_ids], np.int64)

    def load(self, index: int) -> np.ndarray:
        """Return one prepared image, (H, W, C) uint8, 0..255; raise `UserError` if it is missing or damaged."""
        return read_entry(self.paths[index]).data.reshape(self.shape)

    def batch(self, indices: Iterable[int]) -> np.ndarray:
        """Return several prepared images, (n, H, W, C) uint8, 0..255, in the order of `indices`."""
        indices = list(indices)
        result = np.empty((len(indices), *self.shape), np.uint8)
        for place, index in enumerate(indices):  # np.stack would double the memory
            result[place] = self.load(index)
        return result


def prepare_cohort(
    cohort: Cohort, preparation: Preparation, cache_dir: str | Path, workers: int | None = None
) -> PreparedImages:
    """Prepare all images of a cohort in parallel, and cache them on disk.

    Parameters
    ----------
    cohort : Cohort
        Its column `mask_path` gives the lung masks, if the settings need them.
    preparation : Preparation
        A reference is prepared once, before the images.
    cache_dir : str or Path
        The cache, which cohorts, settings and runs may share. Cached images are verified; damaged ones are prepared
        again.
    workers : int, optional
        Number of threads. Default: one per core. Each holds one decoded image and up to eight prepared ones in memory.

    Returns
    -------
    PreparedImages
        In the order of the cohort.

    Raises
    ------
    UserError
        For the first image in the cohort that cannot be prepared (images before it stay in the cache), or if
        `cache_dir` is not writable.
    """
    table, needs_mask = cohort.table, preparation.needs_mask
    rows = [_Row(*row) for row in zip(table["image_id"], table["path"], table["mask_path"], strict=True)]
    if needs_mask and (table["mask_path"] == "").any():
        raise _mask_missing(table["image_id"][table["mask_path"] == ""].iloc[0])
    preparation = _with_reference_mask(preparation, cohort)
    steps, settings_key = _bound(preparation), preparation.key()
    store = Store(Path(cache_dir).absolute())

    def work(row: _Row) -> _Result:
        key = fingerprint([hashes.of(row.path), hashes.of(row.mask_path) if needs_mask else "", settings_key])
        if (entry := store.find(key)) is not None:
            return _Result(key, entry.mark)
        picture = _run(row.path, row.mask_path, preparation, steps)
        return _Result(key, bool(picture.whole), picture.image)

    keys, whole, prepared = [], [], 0
    with FileHashes(store.folder) as hashes:
        done = bounded_map(work, rows, workers)
        for row, result in zip(rows, progress(done, "preparing images", len(rows)), strict=True):
            # A single writer, outside the threads: an error stops the cohort at once.
            if result.pixels is not None:
                prepared += 1
                store.put(result.key, result.pixels, result.whole)
            keys.append(result.key)
            if result.whole:
                whole.append(row.image_id)
    if whole:
        _log.warning(
            "%d of %d images have an empty lung mask and are used whole, e.g. %s", len(whole), len(rows), whole[0]
        )
    made = (tuple(whole), prepared, len(rows) - prepared)
    return PreparedImages(store.folder, tuple(keys), tuple(table["image_id"]), preparation.shape, *made)


def _with_reference_mask(preparation: Preparation, cohort: Cohort) -> Preparation:
    """Fill in the mask of a reference that is an image of the cohort."""
    if preparation.reference is None or preparation.reference_mask or not preparation.needs_mask:
        return preparation
    masks = cohort.table.loc[cohort.table["path"] == preparation.reference, "mask_path"]
    if not len(masks) or not masks.iloc[0]:
        raise _mask_missing(preparation.reference)
    return dataclasses.replace(preparation, reference_mask=masks.iloc[0])


class _Row(NamedTuple):
    image_id: str
    path: str
    mask_path: str


class _Result(NamedTuple):
    key: str
    whole: bool
    pixels: np.ndarray | None = None  # None if cached
