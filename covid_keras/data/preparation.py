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

from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image, read_mask
from covid_keras.errors import UserError
from covid_keras.files import atomic_path, fingerprint, require_writable_folder
from covid_keras.preprocessing import (
    CHANNELS,
    beasf,
    centre_square,
    clahe,
    drop_top,
    enhance_stack,
    equalize_histogram,
    keep_lungs,
    lung_bounding_box,
    remove_lungs,
)
from covid_keras.progress import progress

_log = logging.getLogger(__name__)
_In, _Out = TypeVar("_In"), TypeVar("_Out")

# Raise it whenever the same settings give other pixels than before: every cached image is then made anew.
ALGORITHM = 1
ENHANCEMENTS = ("equalize", "clahe", "beasf", "stack")
INTERPOLATIONS = {"area": cv2.INTER_AREA, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
_INDEX_NAME = "files.json"
# Results that may wait to be stored, for each thread: prepared images are small, so this costs little memory.
_AHEAD = 8


@dataclass(frozen=True)
class Preparation:
    """The settings of everything deterministic that is done once to an image, in this order.

    Parameters
    ----------
    drop_top : float
        Share of the rows cut off at the top, 0 to below 1 (COVIDNet: 0.08).
    square : bool
        Cut to the largest square in the middle.
    crop : None or "lungs"
        Cut to the box around both lungs.
    margin : float
        Added on each side of the box, as a share of its height or width.
    mask : None, "keep" or "remove"
        Set everything outside the lungs, or the lungs, to 0.
    size : (int, int)
        Height and width to resize to, in pixels. The aspect is not kept, as in the reproduced papers.
    interpolation : {"area", "linear", "cubic"}
        OpenCV's. "area" averages where both sides shrink and is "linear" where one grows.
    enhance : None, "equalize", "clahe", "beasf" or "stack"
        Done at the final size, as COVID-CXNet does; "stack" gives three channels.
    stack_order : tuple of str
        The channels of "stack".
    mask_threshold : int
        Mask values above it are lung. The default, 127, suits masks of 0 and 255 and human masks in which
        127 is "ignore" (devices, markings), which then is not lung.

    Raises
    ------
    UserError
        Where a setting is unknown or out of range.

    Notes
    -----
    Where a mask shows no lung, the whole image is used, neither cropped nor masked, and counted.
    """

    size: tuple[int, int] = (224, 224)
    crop: str | None = None
    margin: float = 0.025
    mask: str | None = None
    enhance: str | None = None
    interpolation: str = "area"
    stack_order: tuple[str, ...] = CHANNELS
    mask_threshold: int = 127
    drop_top: float = 0.0
    square: bool = False

    def __post_init__(self) -> None:
        size = self.size
        if not isinstance(size, list | tuple) or len(size) != 2 or any(int(s) != s or s < 1 for s in size):
            raise UserError("preparation size", f"{size!r} is not (height, width)", "Give two whole numbers")
        object.__setattr__(self, "size", (int(size[0]), int(size[1])))
        object.__setattr__(self, "stack_order", tuple(self.stack_order))
        for name, allowed in (
            ("crop", (None, "lungs")),
            ("mask", (None, "keep", "remove")),
            ("enhance", (None, *ENHANCEMENTS)),
            ("interpolation", tuple(INTERPOLATIONS)),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(
                    f"preparation {name}",
                    f"{getattr(self, name)!r} is unknown",
                    f"Use one of {', '.join(map(str, allowed))}",
                )
        if not 0 <= self.margin < 1:
            raise UserError("preparation margin", f"{self.margin} is not a share of 0 to 1", "Use 0.025")
        if not 0 <= self.drop_top < 1:
            raise UserError("preparation drop_top", f"{self.drop_top} is not a share of 0 to below 1", "Use 0.08")
        if self.needs_mask and (self.drop_top or self.square):
            raise UserError(
                "preparation", "a frame of fixed shares is for whole images", "Leave out drop_top and square"
            )
        if not 0 <= self.mask_threshold < 255:
            raise UserError("preparation mask_threshold", f"{self.mask_threshold} is not 0 to 254", "Use 127")

    @property
    def needs_mask(self) -> bool:
        """Whether an image needs its lung mask."""
        return self.crop is not None or self.mask is not None

    @property
    def channels(self) -> int:
        """Channels of a prepared image: 3 for "stack", else 1."""
        return 3 if self.enhance == "stack" else 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of a prepared image."""
        return (*self.size, self.channels)

    def key(self) -> str:
        """Return a key of the settings and of the algorithm's version (16 hexadecimal digits)."""
        return fingerprint({"algorithm": ALGORITHM, **dataclasses.asdict(self)})


def prepare_image(path: str | Path, mask: np.ndarray | str | Path | None, preparation: Preparation) -> np.ndarray:
    """Read one radiograph and prepare it.

    Parameters
    ----------
    path : str or Path
        The image.
    mask : ndarray (H, W), str, Path or None
        Its lung mask, or the mask's file; needed where the settings crop or mask.
    preparation : Preparation

    Returns
    -------
    ndarray (H, W, C) uint8
        0..255, of `preparation.shape`.

    Raises
    ------
    UserError
        Where the image or mask cannot be read, differ in size, or a mask is needed and missing.
    """
    return _prepare(path, mask, preparation)[0]


def _prepare(
    path: str | Path, mask: np.ndarray | str | Path | None, preparation: Preparation
) -> tuple[np.ndarray, bool]:
    """Return the prepared image and whether the whole image was taken since its mask shows no lung."""
    image, whole = read_image(path), False
    if preparation.needs_mask:
        lungs = _read_lungs(path, mask, image.shape, preparation)
        whole = not lungs.any()
        if not whole:
            image = _crop_and_mask(image, lungs, preparation)
    if preparation.drop_top:
        image = drop_top(image, preparation.drop_top)
    if preparation.square:
        image = centre_square(image)
    image = _resize(image, preparation)
    return np.ascontiguousarray(_enhance(image, preparation).reshape(preparation.shape)), whole


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
        box = lung_bounding_box(lungs, preparation.margin).slices
        image, lungs = image[box], lungs[box]
    if preparation.mask == "keep":
        return keep_lungs(image, lungs)
    if preparation.mask == "remove":
        return remove_lungs(image, lungs)
    return image


def _resize(image: np.ndarray, preparation: Preparation) -> np.ndarray:
    height, width = preparation.size
    interpolation = INTERPOLATIONS[preparation.interpolation]
    if interpolation == cv2.INTER_AREA and (height > image.shape[0] or width > image.shape[1]):
        # enlarging by "area" repeats pixels
        interpolation = cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=interpolation)


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
    folder = require_writable_folder(Path(cache_dir).absolute())
    hashes = FileHashes(folder / _INDEX_NAME)
    work = functools.partial(_prepare_row, preparation=preparation, folder=folder, hashes=hashes)
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


def _prepare_row(row: _Row, preparation: Preparation, folder: Path, hashes: FileHashes) -> _Result:
    mask_hash = hashes.of(row.mask_path) if row.mask_path else ""
    key = fingerprint([hashes.of(row.path), mask_hash, preparation.key()])
    if kept(folder, key, preparation.shape):
        return _Result(key, _whole_path(folder, key).exists(), None)
    pixels, whole = _prepare(row.path, row.mask_path, preparation)
    return _Result(key, whole, pixels)


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
