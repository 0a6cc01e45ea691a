"""Near-duplicates: the same radiograph twice, within a collection or across collections.

Public collections copy from one another, recompress, crop, window and annotate. A radiograph that is in training
under one name and in the test set under another makes every number too good.

Two steps. Candidates: pairs of images whose perceptual hashes (256 bits) differ in at most `CANDIDATE_DISTANCE`
bits, in fewer where there are many images (see `candidate_distance`). Confirmation: one is laid on the other by an
affine registration of their locally normalised 128-pixel thumbnails (enhanced correlation coefficient, [1]_), and
their correlation where they overlap must reach `MIN_CORRELATION`. Up to `SURE_DISTANCE` bits the hash alone decides.

Evidence for the numbers, from 2,257 frontal radiographs at up to 512 pixels: 453 of the COVID-19 Image Data
Collection (Cohen et al.), 898 of COVID-CXNet, 906 of a subset of NIH ChestX-ray14. Pairs that were confirmed, by
distance in bits: 133 at 0, 60 at 2-16, 22 at 18-36, 17 at 38-56, 21 at 58-80, 18 at 82-92; 271 in all.

- The hash alone cannot separate. Every pair up to 36 bits correlated at 0.95 or more after registration, and
  those looked at were one picture, recompressed, windowed or annotated. From 38 bits follow-ups of one patient
  come in, from 56 bits pairs that cannot be the same (an NIH image and one from a COVID-19 collection), while
  copies with another crop go on to 92 bits and, fewer, beyond.
- Registration does. Of pairs of different NIH patients up to 80 bits, the correlation stayed under 0.88; of
  follow-ups of one patient, under 0.935; the copies that were looked at had 0.944 or more. No NIH image was
  paired with one of another patient or collection. One copy with arrows and a caption was missed (0.89).
- Candidates grow steeply with the distance: 0.01 % of all pairs up to 64 bits, 0.05 % up to 76, 0.25 % up to 84,
  1.2 % up to 92. With 10,000 images the last are 600,000, with 40,000 images 10 million.
- Limit: a copy that lost more than about a tenth of a side may be missed, and mirrored or turned ones are.

References
----------
.. [1] Evangelidis & Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization",
   IEEE TPAMI 30(10), 2008.
"""

from __future__ import annotations

import contextlib
import functools
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint
from covid_keras.common.progress import open_bar, progress
from covid_keras.common.threads import bounded_map
from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image
from covid_keras.data.store import Store

# Raise it whenever an image gives another hash or thumbnail, or a pair another correlation, than before: all that
# was kept is then made anew.
ALGORITHM = 1
HASH_SIZE = 16
CANDIDATE_DISTANCE = 92
# Up to so many images CANDIDATE_DISTANCE holds; beyond, it falls, but not below MIN_CANDIDATE_DISTANCE.
MANY_IMAGES = 10_000
MIN_CANDIDATE_DISTANCE = 64
SURE_DISTANCE = 16
MIN_CORRELATION = 0.94

PAIR_COLUMNS = ("image_id_a", "image_id_b", "source_a", "source_b", "distance", "correlation")

_THUMBNAIL = 128
_MIN_OVERLAP = 0.5
_NORMALISATION_SIGMA = 8.0
_STOP_RULE = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT
_COARSE_STOP, _FINE_STOP = (_STOP_RULE, 10, 1e-3), (_STOP_RULE, 40, 1e-4)
_COARSE_CORRELATION = 0.85
_CACHED_THUMBNAILS = 3000  # normalised ones in memory, of 64 KiB each
_HASH_BYTES = HASH_SIZE**2 // 8
# Pairs that a thread compares, and that are kept, at a time: seconds of work, yet work for every thread.
_MIN_GROUP, _MAX_GROUP, _GROUPS = 8, 1024, 64


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of a grey image: the signs of its low frequencies about their median.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (H, W), uint8, 0..255.

    Returns
    -------
    numpy.ndarray
        Shape (256,), bool. Size, compression, brightness and contrast hardly change it; a crop, a turn or
        another patient does.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"a hash is made of a uint8 (H, W) image, not of {image.dtype} {image.shape}")
    return imagehash.phash(Image.fromarray(image), hash_size=HASH_SIZE).hash.ravel()


def candidate_distance(images: int) -> int:
    """Return the largest distance of two hashes, in bits of 256, of a pair that is worth comparing.

    Parameters
    ----------
    images : int
        Number of images.

    Returns
    -------
    int
        `CANDIDATE_DISTANCE` up to `MANY_IMAGES`; 8 bits less each time that the images double beyond (even,
        since distances are), which keeps the pairs at about half a million; at least `MIN_CANDIDATE_DISTANCE`.

    Examples
    --------
    >>> [candidate_distance(n) for n in (100, 10_000, 20_000, 40_000, 1_000_000)]
    [92, 92, 84, 76, 64]
    """
    doublings = max(0.0, math.log2(max(images, 1) / MANY_IMAGES))
    return max(MIN_CANDIDATE_DISTANCE, CANDIDATE_DISTANCE - 2 * round(4 * doublings))


def find_duplicates(
    cohort: Cohort,
    threshold: int | None = None,
    *,
    min_correlation: float | None = MIN_CORRELATION,
    workers: int | None = None,
    cache: str | Path | None = None,
    skipped: dict[str, str] | None = None,
) -> pd.DataFrame:
    """Find the pairs of images that show the same radiograph.

    Two radiographs of one patient (a follow-up) are no duplicates. Pairs within one patient are reported
    like any other where they are the same picture.

    Each image is decoded once; its thumbnail (16 KiB) goes to disk, and memory holds 200 MiB of thumbnails at
    most, however many images there are.

    Parameters
    ----------
    cohort : Cohort
        The radiographs, of one source or of several.
    threshold : int, optional
        Largest distance of two hashes, in bits of 256. By default 92 up to 10,000 images, 84 for 20,000, 76 for
        40,000, at least 64 (see `candidate_distance`): the number of pairs to compare, some milliseconds each,
        grows steeply with it and with the square of the images. Of the 271 copies in the evidence above, 84 bits
        find 263, 76 find 248, 64 find 237.
    min_correlation : float or None
        Least correlation after registration, -1 to 1. None: the hash alone decides; take a threshold of at most 36
        then.
    workers : int, optional
        Threads. Default: one per core.
    cache : str or Path, optional
        Hashes and thumbnails are kept below `cache/duplicates` under a key of the image's bytes, and so are the
        correlations of groups of pairs: a search that was stopped goes on there, one that is repeated decodes
        nothing and compares nothing. May be shared by cohorts. Where not given, thumbnails lie in a temporary
        folder during the search.
    skipped : dict, optional
        Where given, an image that cannot be read is left out, and its id and what is wrong are entered here; else it
        is an error.

    Returns
    -------
    pandas.DataFrame
        One row per pair, in the order of the cohort: `image_id_a`, `image_id_b`, `source_a`, `source_b`,
        `distance` (int, bits) and `correlation` (float; NaN where it was not measured or is undefined). Empty
        where there are none.

    Raises
    ------
    UserError
        If an image cannot be read, or the cache (the temporary folder) cannot be written.
    """
    threshold = candidate_distance(len(cohort)) if threshold is None else threshold
    with _open_pictures(cohort, cache, workers) as pictures:
        hashes, wrong = pictures.hashes(skipped is not None)
        if skipped is not None:
            skipped |= {str(cohort.table["image_id"].iloc[number]): problem for number, problem in wrong.items()}
        first, second, distance = _near_pairs(hashes, threshold)
        readable = np.setdiff1d(np.arange(len(cohort)), list(wrong))
        first, second = readable[first], readable[second]
        correlation = np.full(len(first), np.nan)
        if min_correlation is not None and len(first):
            correlation = pictures.correlations(first, second)
            keep = (distance <= SURE_DISTANCE) | (correlation >= min_correlation)
            first, second, distance, correlation = (x[keep] for x in (first, second, distance, correlation))
    names, sources = cohort.table["image_id"].to_numpy(), cohort.table["source"].to_numpy()
    columns = (names[first], names[second], sources[first], sources[second], distance.astype(np.int64), correlation)
    return pd.DataFrame(dict(zip(PAIR_COLUMNS, columns, strict=True)))


def duplicate_groups(cohort: Cohort, pairs: pd.DataFrame) -> np.ndarray:
    """Return a group key per image: patients joined, transitively, where they share a near-duplicate.

    Parameters
    ----------
    cohort : Cohort
        The radiographs.
    pairs : pandas.DataFrame
        Columns `image_id_a` and `image_id_b`, as from `find_duplicates`. Ids that are not in the cohort still
        join others: two images that are both near-duplicates of an absent third stay together.

    Returns
    -------
    numpy.ndarray
        Shape (n,), str: the patient id that comes first in the cohort among the group's patients. Images of one
        patient always share a key.
    """
    pairs_a, pairs_b = (pairs[column].astype(str).tolist() for column in ("image_id_a", "image_id_b"))
    images = cohort.table["image_id"].tolist()
    node = {name: number for number, name in enumerate(dict.fromkeys([*images, *pairs_a, *pairs_b]))}
    patients = cohort.table["patient_id"]
    # A patient's images hang on that patient's first one.
    anchor = patients.map(patients.drop_duplicates().pipe(lambda x: pd.Series(x.index, index=x.array)))
    starts = np.array([*range(len(images)), *map(node.__getitem__, pairs_a)], dtype=np.int64)
    ends = np.array([*anchor, *map(node.__getitem__, pairs_b)], dtype=np.int64)
    graph = coo_array((np.ones(len(starts), np.int8), (starts, ends)), shape=(len(node), len(node)))
    component = connected_components(graph, directed=False)[1][: len(images)]
    return patients.groupby(component).transform("first").to_numpy(dtype=str)


class _Pictures:
    """Hash and thumbnail of each image of a cohort, made once, a file each; the correlations of pairs of them.

    Parameters
    ----------
    paths : sequence of str
        The images.
    store : Store
        Where they are kept. An image's entry is its hash, 32 bytes, then its thumbnail before normalisation.
    digests : FileHashes or None
        Names an entry by the bytes of its image, so that it holds for good. None: by its path, for one search, and
        correlations are not kept.
    workers : int or None
        Threads.
    """

    def __init__(self, paths: Sequence[str], store: Store, digests: FileHashes | None, workers: int | None) -> None:
        self._paths, self._store, self._digests, self._workers = paths, store, digests, workers
        self._keys = [""] * len(paths)
        self._normalised = functools.lru_cache(_CACHED_THUMBNAILS)(self._normalise)

    def hashes(self, skip: bool = False) -> tuple[np.ndarray, dict[int, str]]:
        """Make what is missing; return the hash of each image that is readable, (n, 256) bool, and what others have.

        Without `skip` an image that is not readable is an error.
        """
        numbers, wrong = range(len(self._paths)), {}

        def hashed(number: int) -> np.ndarray | None:
            try:
                return self._hash(number)
            except UserError as error:
                if not skip:
                    raise
                wrong[number] = error.problem
                return None

        made = progress(bounded_map(hashed, numbers, self._workers), "hashing", len(numbers))
        found = [one for one in made if one is not None]
        return np.array(found, bool).reshape(len(found), HASH_SIZE**2), wrong

    def _hash(self, number: int) -> np.ndarray:
        path = self._paths[number]
        content = path if self._digests is None else self._digests.of(path)
        key = self._keys[number] = fingerprint({"image": content, "duplicates": ALGORITHM})
        if (entry := self._store.find(key)) is not None:
            return np.unpackbits(entry.data[:_HASH_BYTES]).astype(bool)
        image = read_image(path)
        found = perceptual_hash(image)
        thumbnail = cv2.resize(image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
        self._store.put(key, np.concatenate([np.packbits(found), thumbnail.ravel()]))
        return found

    def _normalise(self, number: int) -> np.ndarray:
        record = self._store.read(self._keys[number]).data
        return _normalise(record[_HASH_BYTES:].reshape(_THUMBNAIL, _THUMBNAIL))

    def correlations(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return the correlation of each pair after registration; `hashes` must have been asked for before."""
        # Pairs of the same few images together, so that memory holds the thumbnails that are needed next.
        tile = _CACHED_THUMBNAILS // 2
        order = np.lexsort((second, first, second // tile, first // tile))
        size = min(_MAX_GROUP, max(_MIN_GROUP, len(order) // _GROUPS))
        groups = [order[start : start + size] for start in range(0, len(order), size)]
        result = np.empty(len(order))
        found = bounded_map(lambda group: self._compare(first[group], second[group]), groups, self._workers)
        with open_bar(total=len(order), desc="comparing", unit="pair") as bar:
            for group, correlations in zip(groups, found, strict=True):
                result[group] = correlations
                bar.update(len(group))
        return result

    def _compare(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        names = [self._keys[number] for number in (*first, *second)]
        key = fingerprint({"pairs": names, "duplicates": ALGORITHM})
        if self._digests is not None and (entry := self._store.find(key)) is not None:
            return entry.data.view(np.float64)
        pairs = zip(first.tolist(), second.tolist(), strict=True)
        result = np.array([_registered_correlation(self._normalised(i), self._normalised(j)) for i, j in pairs])
        if self._digests is not None:
            self._store.put(key, result)
        return result


@contextlib.contextmanager
def _open_pictures(cohort: Cohort, cache: str | Path | None, workers: int | None) -> Iterator[_Pictures]:
    """Yield the pictures of a cohort, kept in the cache or, without one, in a temporary folder."""
    paths = cohort.table["path"].tolist()
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="covid_keras-") as folder:
            yield _Pictures(paths, Store(Path(folder)), None, workers)
    else:
        store = Store(Path(cache).absolute() / "duplicates")
        with FileHashes(store.folder) as digests:
            yield _Pictures(paths, store, digests, workers)


def _near_pairs(hashes: np.ndarray, threshold: int, block: int = 2048) -> tuple[np.ndarray, ...]:
    """Return (first, second, distance) of all pairs first < second with at most `threshold` differing bits.

    With bits as -1 and 1, a matrix product counts the agreeing bits less the differing ones. Blocks bound the
    memory at 16 MiB plus the pairs found, int32, int32 and int16.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    count, bits = signs.shape
    found: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int16))]
    for row in progress(range(0, count, block), "pairing", unit="block"):
        for column in range(row, count, block):
            agreement = signs[row : row + block] @ signs[column : column + block].T
            i, j = np.nonzero(agreement >= bits - 2 * threshold)
            upper = row + i < column + j
            i, j = i[upper], j[upper]
            distance = np.rint((bits - agreement[i, j]) / 2).astype(np.int16)
            found.append(((row + i).astype(np.int32), (column + j).astype(np.int32), distance))
    first, second, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order], distance[order]


def _normalise(thumbnail: np.ndarray) -> np.ndarray:
    """Return a thumbnail, (128, 128) uint8, as float32 with local mean 0 and local spread 1.

    Without it, every two chests correlate: bright mediastinum, dark lungs. With it, ribs and vessels decide, and
    a copy with another window or brightness stays a copy.
    """
    small = thumbnail.astype(np.float32)
    centred = small - cv2.GaussianBlur(small, (0, 0), _NORMALISATION_SIGMA)
    variance = cv2.GaussianBlur(centred**2, (0, 0), _NORMALISATION_SIGMA)
    # 4 = (2 grey levels)^2 keeps the noise of empty borders small; the last blur evens out the sharpness.
    return cv2.GaussianBlur(centred / np.sqrt(variance + 4), (0, 0), 1)


def _register(
    fixed: np.ndarray, moving: np.ndarray, stop: tuple[int, int, float], blur: int
) -> tuple[float, np.ndarray]:
    """Return the enhanced correlation and the (2, 3) affine matrix; NaN and the identity where there is none."""
    start = np.eye(2, 3, dtype=np.float32)
    try:
        # OpenCV's stubs do not know the None for "no mask".
        arguments: tuple[Any, ...] = (cv2.MOTION_AFFINE, stop, None, blur)
        return cv2.findTransformECC(fixed, moving, start.copy(), *arguments)
    except cv2.error:  # OpenCV's way of saying that it did not converge, or that an image is constant
        return float("nan"), start


def _registered_correlation(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Return the correlation of two thumbnails after affine registration; NaN where it is undefined.

    A registration at half the size, six times faster, ends the search where it is clear that they differ: all
    copies but one of those seen reached 0.95 there, 95 % of the other candidates stayed under 0.83.
    """
    half, moving_half = (cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for x in (fixed, moving))
    coarse, _ = _register(half, moving_half, _COARSE_STOP, 3)
    if not coarse >= _COARSE_CORRELATION:
        return coarse
    _, transform = _register(fixed, moving, _FINE_STOP, 5)
    size = fixed.shape[::-1]
    warped = cv2.warpAffine(moving, transform, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    inside = (
        cv2.warpAffine(np.ones(moving.shape, np.uint8), transform, size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
        > 0
    )
    if inside.mean() < _MIN_OVERLAP:
        return float("nan")
    a, b = fixed[inside] - fixed[inside].mean(), warped[inside] - warped[inside].mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm > 0 else float("nan")
