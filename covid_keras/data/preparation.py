"""Everything that is done to a radiograph once: decode, crop or mask, resize, enhance; kept on disk.

The result of an image is a file of raw pixels, named by the content of the image, of its mask and the
settings. Folds, repeats and runs share it; nothing is prepared twice, and no change of a file or a setting
goes unnoticed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path, fingerprint, require_writable_folder, sha256_of
from covid_keras.common.progress import progress
from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image, read_mask
from covid_keras.preprocessing import (
    CHANNELS,
    LungBox,
    beasf,
    centre_square,
    clahe,
    dilate_mask,
    drop_top,
    enhance_stack,
    equalize_histogram,
    keep_lungs,
    lung_bounding_box,
    match_histogram,
    remove_lungs,
    resize_truncated,
)
from covid_keras.preprocessing.framing import OVERFLOWS

_log = logging.getLogger(__name__)
_In, _Out = TypeVar("_In"), TypeVar("_Out")

# Raise it whenever the same settings give other pixels than before: every cached image is then made anew.
ALGORITHM = 1
ENHANCEMENTS = ("equalize", "clahe", "beasf", "stack")
INTERPOLATIONS = {
    "area": cv2.INTER_AREA,
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "nearest": cv2.INTER_NEAREST,
}
BOXES = ("authors", "inclusive")
EMPTY = ("whole", "black")
# Settings that came after the first results: at their defaults they are left out of a key, which so stays what it was.
_ADDED = ("frame", "overflow", "dilate", "margin_pixels", "box", "reference", "reference_mask", "empty")
_INDEX_NAME = "files.json"
# Results that may wait to be stored, for each thread: prepared images are small, so this costs little memory.
_AHEAD = 8
DEFAULT_MARGIN = 0.025


@dataclass(frozen=True)
class Preparation:
    """The settings of everything deterministic that is done once to an image.

    Without `frame`: cut or mask, resize to `size`, match, enhance. With it, as COVID-CXNet does: resize to the frame,
    cut or mask there, resize what was cut to the frame again, match, enhance, and last, only where `size` is not the
    frame, shrink by averaging over areas.

    Parameters
    ----------
    size : (int, int)
        Height and width of the result, in pixels. The aspect is not kept, as in the reproduced papers.
    crop : None or "lungs"
        Cut to the box around both lungs.
    margin : float
        Added on each side of the box, as a share of its height or width.
    mask : None, "keep" or "remove"
        Set everything outside the lungs, or the lungs, to 0.
    enhance : None, "equalize", "clahe", "beasf" or "stack"
        "stack" gives three channels.
    interpolation : {"area", "linear", "cubic", "nearest"}
        OpenCV's. "area" averages where both sides shrink and is "linear" where one grows.
    stack_order : tuple of str
        The channels of "stack"; "original" three times is the grey image in three channels.
    mask_threshold : int
        Mask values above it are lung. The default, 127, suits masks of 0 and 255 and human masks in which
        127 is "ignore" (devices, markings), which then is not lung.
    drop_top : float
        Share of the rows cut off at the top, 0 to below 1 (COVIDNet: 0.08).
    square : bool
        Cut to the largest square in the middle.
    frame : (int, int), optional
        Height and width of COVID-CXNet's working size (320, 320). The first resize is in floating point and rounds
        down (`covid_keras.preprocessing.resize_truncated`), the mask's takes the nearest pixel, and the second resize
        is OpenCV's own for 8 bits, which rounds and saturates.
    overflow : {"clip", "wrap"}
        What becomes of values beyond 0..255 that the first resize to the frame gives: held at the end of the range, or
        wrapped as the authors' cast does (256.4 becomes 0).
    dilate : (int, int), optional
        Kernel's side and iterations by which the mask grows before its box is taken (COVID-CXNet: 5, 3). What `mask`
        keeps or removes does not grow.
    margin_pixels : int, optional
        Added on each side of the box in place of `margin`, in pixels of the frame (of the image where there is none),
        clamped to it. COVID-CXNet names 10 and ran 0.
    box : {"authors", "inclusive"}
        Whether the box leaves out the last row and column of lung, as the code of both papers that crop does (it
        matters where the margin is 0), or holds them.
    reference : str or Path, optional
        File of the image to whose histogram every image is matched (`covid_keras.preprocessing.match_histogram`), after
        it went the same way. Take it from the training part.
    reference_mask : str or Path, optional
        File of its lung mask, where the settings need masks; `prepare_cohort` finds it by itself where the reference
        is an image of the cohort.

    empty : {"whole", "black"}
        What becomes of an image whose mask shows no lung: used whole, neither cropped nor masked, and counted; or,
        with `mask` "keep" and no crop, black, since nothing of it is kept.

    Raises
    ------
    UserError
        Where a setting is unknown or out of range, or two exclude each other.
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
        for name, allowed in (
            ("crop", (None, "lungs")),
            ("mask", (None, "keep", "remove")),
            ("enhance", (None, *ENHANCEMENTS)),
            ("interpolation", tuple(INTERPOLATIONS)),
            ("overflow", OVERFLOWS),
            ("box", BOXES),
            ("empty", EMPTY),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"preparation {name}",
                    f"{getattr(self, name)!r} is unknown",
                    f"Use one of {', '.join(map(str, allowed))}",
                )

    def _check_numbers(self) -> None:
        if not 0 <= self.margin < 1:
            raise UserError("preparation margin", f"{self.margin} is not a share of 0 to 1", "Use 0.025")
        pixels = self.margin_pixels
        if pixels is not None and (not isinstance(pixels, int) or pixels < 0):
            raise UserError("preparation margin_pixels", f"{pixels!r} is no number of pixels", "Use 10")
        if not 0 <= self.drop_top < 1:
            raise UserError("preparation drop_top", f"{self.drop_top} is not a share of 0 to below 1", "Use 0.08")
        if not 0 <= self.mask_threshold < 255:
            raise UserError("preparation mask_threshold", f"{self.mask_threshold} is not 0 to 254", "Use 127")

    def _check_combinations(self) -> None:
        shares = bool(self.drop_top or self.square)
        for wrong, problem, remedy in (
            (
                shares and self.needs_mask,
                "a frame of fixed shares is for whole images",
                "Leave out drop_top and square",
            ),
            (shares and self.frame, "drop_top and square are cut before any resize", "Leave out frame"),
            (self.overflow != "clip" and not self.frame, "overflow is of the resize to a frame", "Give frame"),
            (
                self.margin_pixels is not None and self.margin != DEFAULT_MARGIN,
                "margin and margin_pixels exclude each other",
                "Give one of them",
            ),
            (self.reference_mask and not self.reference, "reference_mask is of no reference", "Give reference"),
        ):
            if wrong:
                raise UserError("preparation", problem, remedy)

    @property
    def needs_mask(self) -> bool:
        """Whether an image needs its lung mask."""
        return self.crop is not None or self.mask is not None

    @property
    def blackens_empty(self) -> bool:
        """Whether an image whose mask shows no lung becomes black instead of being used whole."""
        return self.empty == "black" and self.mask == "keep" and not self.crop

    @property
    def channels(self) -> int:
        """Channels of a prepared image: 3 for "stack", else 1."""
        return 3 if self.enhance == "stack" else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a prepared image."""
        return (*self.size, self.channels)

    def key(self) -> str:
        """Return a key of the settings and of the algorithm's version (16 hexadecimal digits).

        The reference enters by the content of its file and of its mask, where masks are used, and not by their names.

        Raises
        ------
        UserError
            Where the reference cannot be read.
        """
        defaults = {field.name: field.default for field in dataclasses.fields(self) if field.name in _ADDED}
        settings = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if name not in _ADDED or value != defaults[name]
        }
        if not self.needs_mask:
            settings.pop("reference_mask", None)
        for name in {"reference", "reference_mask"} & set(settings):
            settings[name] = _content(settings[name])
        return fingerprint({"algorithm": ALGORITHM, **settings})


def _two_sides(name: str, value: object, meaning: str = "(height, width)") -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2 or any(int(v) != v or v < 1 for v in value):
        raise UserError(f"preparation {name}", f"{value!r} is not {meaning}", "Give two whole numbers")
    return int(value[0]), int(value[1])


def _content(path: str) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise UserError(
            path, f"the reference of the matching cannot be read ({error.strerror})", "Give another reference"
        ) from error


def prepare_image(path: str | Path, mask: np.ndarray | str | Path | None, preparation: Preparation) -> np.ndarray:
    """Read one radiograph and prepare it.

    Parameters
    ----------
    path : str or Path
        The image.
    mask : ndarray (H, W), str, Path or None
        Its lung mask, or the mask's file; needed where the settings crop or mask.
    preparation : Preparation
        A reference in it is read and prepared at every call; `prepare_cohort` does so once for all images.

    Returns
    -------
    ndarray (H, W, C) uint8
        0..255, of `preparation.shape`.

    Raises
    ------
    UserError
        Where the image or mask cannot be read, differ in size, or a mask is needed and missing.
    """
    return _prepare(path, mask, preparation, _template(preparation))[0]


def _prepare(
    path: str | Path, mask: np.ndarray | str | Path | None, preparation: Preparation, template: np.ndarray | None
) -> tuple[np.ndarray, bool]:
    """Return the prepared image and whether the whole image was taken since its mask shows no lung."""
    image, whole = _plane(path, mask, preparation)
    if template is not None:
        image = match_histogram(image, template)
    image = _enhance(image, preparation)
    if image.shape[:2] != preparation.size:  # only in a frame of another size
        image = _resize(image, preparation.size, "area")
    return np.ascontiguousarray(image.reshape(preparation.shape)), whole


def _template(preparation: Preparation) -> np.ndarray | None:
    """Return the reference as every image is before it is matched, uint8 (H, W); None without a reference."""
    if preparation.reference is None:
        return None
    template, whole = _plane(preparation.reference, preparation.reference_mask, preparation)
    if whole:
        _log.warning(
            "%s: the reference of the matching shows no lung in its mask and is used whole", preparation.reference
        )
    return template


def _plane(path: str | Path, mask: np.ndarray | str | Path | None, preparation: Preparation) -> tuple[np.ndarray, bool]:
    """Read an image, cut or mask it and resize it: all before matching and enhancing, uint8 (H, W)."""
    image, whole = read_image(path), False
    lungs = _read_lungs(path, mask, image.shape, preparation) if preparation.needs_mask else None
    if preparation.frame:
        name = _shrinking(preparation.interpolation, image.shape, preparation.frame)
        image = resize_truncated(image, preparation.frame, INTERPOLATIONS[name], preparation.overflow)
    if lungs is not None:
        lungs = _in_frame(lungs, preparation)
        whole = not lungs.any() and not preparation.blackens_empty
        if not whole:
            image = _crop_and_mask(image, lungs, preparation)
    if preparation.drop_top:
        image = drop_top(image, preparation.drop_top)
    if preparation.square:
        image = centre_square(image)
    return _resize(image, preparation.frame or preparation.size, preparation.interpolation), whole


def _in_frame(lungs: np.ndarray, preparation: Preparation) -> np.ndarray:
    """Bring a mask, bool (H, W), to the frame where there is one."""
    if not preparation.frame:
        return lungs
    height, width = preparation.frame
    return cv2.resize(lungs.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0


def _read_lungs(
    path: str | Path, mask: np.ndarray | str | Path | None, shape: tuple[int, ...], preparation: Preparation
) -> np.ndarray:
    if mask is None or (isinstance(mask, str) and not mask):
        raise _mask_missing(path)
    if not isinstance(mask, np.ndarray):
        mask = read_mask(mask, shape)
    if mask.shape != shape:
        raise UserError(
            path,
            f"its mask has {mask.shape[0]} x {mask.shape[1]} pixels, the image {shape[0]} x {shape[1]}",
            "Give the mask of this very image",
        )
    return mask > (0 if mask.dtype == bool else preparation.mask_threshold)


def _mask_missing(subject: str | Path) -> UserError:
    return UserError(
        subject,
        "has no lung mask, which the crop or masking asked for needs",
        "Segment the lungs first (covid-keras segment) or fill in mask_path",
    )


def _crop_and_mask(image: np.ndarray, lungs: np.ndarray, preparation: Preparation) -> np.ndarray:
    if preparation.crop == "lungs":
        box = _lung_box(lungs, preparation).slices
        image, lungs = image[box], lungs[box]
    if preparation.mask == "keep":
        return keep_lungs(image, lungs)
    if preparation.mask == "remove":
        return remove_lungs(image, lungs)
    return image


def _lung_box(lungs: np.ndarray, preparation: Preparation) -> LungBox:
    if preparation.dilate:
        lungs = dilate_mask(lungs, *preparation.dilate)
    return lung_bounding_box(
        lungs, preparation.margin, pixels=preparation.margin_pixels, inclusive=preparation.box == "inclusive"
    )


def crop_box(mask: np.ndarray, preparation: Preparation) -> LungBox:
    """Return what the preparation crops an image to, in pixels of the image itself.

    Parameters
    ----------
    mask : ndarray (H, W)
        The image's lung mask, not 0 is lung.
    preparation : Preparation
        With `crop`.

    Returns
    -------
    LungBox
        Where the crop is made in a frame, the box is brought back to the image's size and rounded to whole pixels.
        The whole image, with `whole` set, where the mask, in the frame, has no lung.
    """
    box = _lung_box(_in_frame(np.asarray(mask) != 0, preparation), preparation)
    if not preparation.frame:
        return box
    (height, width), (rows, columns) = mask.shape[:2], preparation.frame
    top, left = round(box.top * height / rows), round(box.left * width / columns)
    # a frame larger than the image may round a thin box away
    top, left = min(top, height - 1), min(left, width - 1)
    bottom, right = round(box.bottom * height / rows), round(box.right * width / columns)
    return LungBox(top, max(bottom, top + 1), left, max(right, left + 1), box.whole)


def _resize(image: np.ndarray, size: tuple[int, int], interpolation: str) -> np.ndarray:
    name = _shrinking(interpolation, image.shape, size)
    return cv2.resize(image, (size[1], size[0]), interpolation=INTERPOLATIONS[name])


def _shrinking(interpolation: str, shape: tuple[int, ...], size: tuple[int, int]) -> str:
    """Return "linear" for an "area" that would enlarge, which repeats pixels; else what was asked for."""
    return "linear" if interpolation == "area" and (size[0] > shape[0] or size[1] > shape[1]) else interpolation


def _enhance(image: np.ndarray, preparation: Preparation) -> np.ndarray:
    if preparation.enhance is None:
        return image
    if preparation.enhance == "stack":
        return enhance_stack(image, preparation.stack_order)
    return {"equalize": equalize_histogram, "clahe": clahe, "beasf": beasf}[preparation.enhance](image)


def stable_id(image_id: str) -> int:
    """Return an int64 that depends on the image id alone, for keying its random numbers."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "little", signed=True)


@dataclass(frozen=True, eq=False)
class PreparedImages:
    """The prepared images of a cohort, on disk, in the cohort's order.

    Parameters
    ----------
    folder : Path
        The cache.
    keys : tuple of str
        Of each image; its pixels are `folder/<key[:2]>/<key>.raw`, uint8, H * W * C bytes, row by row.
    image_ids : tuple of str
    shape : (int, int, int)
        (H, W, C) of every image.
    whole_image_crops : tuple of str
        The image ids used whole since their mask shows no lung.
    prepared, reused : int
        How many images this call made, and found in the cache.
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
        """The file of each image's pixels."""
        return tuple(str(_raw_path(self.folder, key)) for key in self.keys)

    @functools.cached_property
    def ids(self) -> np.ndarray:
        """A stable int64 key of each image id, shape (n,)."""
        return np.array([stable_id(image_id) for image_id in self.image_ids], np.int64)

    def load(self, index: int) -> np.ndarray:
        """Return one prepared image, (H, W, C) uint8, 0..255."""
        path = self.paths[index]
        try:
            pixels = np.fromfile(path, np.uint8)
        except OSError as error:
            raise UserError(
                path,
                f"prepared image cannot be read ({error.strerror})",
                "Run the same command again to prepare it anew",
            ) from error
        if pixels.size != int(np.prod(self.shape)):
            raise UserError(path, "prepared image is damaged", "Run the same command again to prepare it anew")
        return pixels.reshape(self.shape)

    def batch(self, indices: Iterable[int]) -> np.ndarray:
        """Return several prepared images, (n, H, W, C) uint8, 0..255, in the order of `indices`."""
        indices = list(indices)
        result = np.empty((len(indices), *self.shape), np.uint8)
        for place, index in enumerate(indices):
            result[place] = self.load(index)
        return result


def prepare_cohort(
    cohort: Cohort, preparation: Preparation, cache_dir: str | Path, workers: int | None = None
) -> PreparedImages:
    """Prepare every image of a cohort once, in parallel, and keep the results on disk.

    Parameters
    ----------
    cohort : Cohort
        Its column `mask_path` names the lung masks, where the settings need them.
    preparation : Preparation
        Its reference, where there is one, is prepared once, before the images.
    cache_dir : str or Path
        The cache; may be shared by cohorts, settings and runs. A file of a wrong size in it is made anew; other
        damage to it is not noticed (delete the folder where in doubt).
    workers : int, optional
        Threads; the number of processors by default. Each holds one decoded image at a time, and at most
        eight prepared ones wait to be stored.

    Returns
    -------
    PreparedImages
        In the cohort's order.

    Raises
    ------
    UserError
        For the first image, in the cohort's order, that cannot be prepared; the images before it stay in the
        cache, and no file is half-written. Where `cache_dir` cannot be written.
    """
    rows = [
        _Row(row.image_id, row.path, row.mask_path if preparation.needs_mask else "")
        for row in cohort.table.itertuples()
    ]
    for row in rows:
        if preparation.needs_mask and not row.mask_path:
            raise _mask_missing(row.image_id)
    preparation = _with_reference_mask(preparation, cohort)
    template, settings_key = _template(preparation), preparation.key()
    folder = require_writable_folder(Path(cache_dir).absolute())
    hashes = FileHashes(folder / _INDEX_NAME)

    def work(row: _Row) -> _Result:
        key = _image_key(row, settings_key, hashes)
        if kept(folder, key, preparation.shape):
            return _Result(key, _whole_path(folder, key).exists(), None)
        pixels, whole = _prepare(row.path, row.mask_path, preparation, template)
        return _Result(key, whole, pixels)

    keys, whole, prepared = [], [], 0
    done = _bounded_map(work, rows, workers or os.cpu_count() or 1)
    for row, result in zip(rows, progress(done, "preparing images", len(rows)), strict=True):
        # Written here, not in the threads: one writer, and the images of a failing cohort stop at once.
        if result.pixels is not None:
            prepared += 1
            _store(folder, result)
        keys.append(result.key)
        if result.whole:
            whole.append(row.image_id)
    hashes.save()
    if whole:
        _log.warning(
            "%d of %d images show no lung in their mask and are used whole, e.g. %s", len(whole), len(rows), whole[0]
        )
    return PreparedImages(
        folder,
        tuple(keys),
        tuple(row.image_id for row in rows),
        preparation.shape,
        tuple(whole),
        prepared,
        len(rows) - prepared,
    )


def _with_reference_mask(preparation: Preparation, cohort: Cohort) -> Preparation:
    """Fill in the mask of a reference that is one of the cohort's images."""
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
    pixels: np.ndarray | None  # None where the cache had them


def kept(folder: Path, key: str, shape: tuple[int, int, int]) -> bool:
    """Whether the pixels of a key are in a cache, whole."""
    path = _raw_path(folder, key)
    return path.is_file() and path.stat().st_size == int(np.prod(shape))


def keep_prepared(folder: Path, key: str, pixels: np.ndarray) -> None:
    """Put pixels, uint8 (H, W, C), into a cache under their key, whole or not at all."""
    with atomic_path(_raw_path(folder, key)) as temporary:
        np.ascontiguousarray(pixels, np.uint8).tofile(temporary)


def _raw_path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.raw"


def _whole_path(folder: Path, key: str) -> Path:
    """The empty file that says of a cached image that its mask shows no lung."""
    return folder / key[:2] / f"{key}.whole"


def _image_key(row: _Row, settings_key: str, hashes: FileHashes) -> str:
    mask_hash = hashes.of(row.mask_path) if row.mask_path else ""
    return fingerprint([hashes.of(row.path), mask_hash, settings_key])


def _store(folder: Path, result: _Result) -> None:
    # The mark first: whoever sees the pixels must see it too.
    if result.whole:
        with atomic_path(_whole_path(folder, result.key)):
            pass
    keep_prepared(folder, result.key, result.pixels)


def _bounded_map(function: Callable[[_In], _Out], items: Sequence[_In], workers: int) -> Iterator[_Out]:
    """Yield `function(item)` in order, computed by threads at most _AHEAD * workers items ahead."""
    with ThreadPoolExecutor(workers) as pool:
        pending: deque = deque()
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= _AHEAD * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
