"""Prepare radiographs once (decode, then the steps of a preparation) and cache them on disk.

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
from covid_keras.data.preparation import Preparation
from covid_keras.data.store import Store, read_entry
from covid_keras.preprocessing.steps import MatchHistogram, Picture, Step

_log = logging.getLogger(__name__)


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
