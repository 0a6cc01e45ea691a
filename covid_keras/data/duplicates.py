"""Find near-duplicates: images of the same radiograph, within or across collections.

Public collections copy from each other, and recompress, crop, window and annotate. A radiograph that is in both the
training and the test set under different names inflates every metric.

1. Candidates are pairs whose perceptual hashes (256 bits) differ in at most `CANDIDATE_DISTANCE` bits, or fewer for
   many images (see `candidate_distance`).
2. A candidate is confirmed by affine registration of the locally normalised 128-pixel thumbnails (enhanced correlation
   coefficient [1]_): the correlation in the overlap must reach `MIN_CORRELATION`. Up to `SURE_DISTANCE` bits the hash
   alone decides.

The thresholds are based on 2,257 frontal radiographs of up to 512 pixels: 453 of the COVID-19 Image Data Collection
(Cohen et al.), 898 of COVID-CXNet, 906 of NIH ChestX-ray14. Confirmed pairs by distance in bits: 133 at 0, 60 at 2-16,
22 at 18-36, 17 at 38-56, 21 at 58-80, 18 at 82-92; 271 in all.

- The hash alone does not separate. All pairs up to 36 bits correlated at 0.95 or more after registration, and those
  inspected showed one radiograph, recompressed, windowed or annotated. Follow-ups of one patient start at 38 bits, and
  certainly different images (NIH against a COVID-19 collection) at 56 bits, whereas differently cropped copies reach
  92 bits and more.
- Registration does separate. The correlation was below 0.88 for different NIH patients (up to 80 bits), below 0.935 for
  follow-ups of one patient, and at least 0.944 for inspected copies. No NIH image was paired with another patient or
  collection. One copy with arrows and a caption was missed (0.89).
- The number of candidates grows steeply: 0.01 % of all pairs up to 64 bits, 0.05 % up to 76, 0.25 % up to 84, 1.2 % up
  to 92 (600,000 pairs for 10,000 images, 10 million for 40,000).
- Copies that lost more than about a tenth of a side may be missed. Mirrored or rotated copies are missed.

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

# Increase it when hashes, thumbnails or correlations change: cached entries are then recomputed.
ALGORITHM = 1
HASH_SIZE = 16
CANDIDATE_DISTANCE = 92
# Above this number of images the candidate distance decreases, down to MIN_CANDIDATE_DISTANCE.
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
_CACHED_THUMBNAILS = 3000  # normalised thumbnails in memory, 64 KiB each
_HASH_BYTES = HASH_SIZE**2 // 8
# Pairs per task and cache entry: seconds of work, but enough tasks for all threads.
_MIN_GROUP, _MAX_GROUP, _GROUPS = 8, 1024, 64


def perceptual_hash(image: np.ndarray) -> np.ndarray:
    """Return the perceptual hash of a grey image: its low frequencies compared with their median.

    Parameters
    ----------
    image : numpy.ndarray
        Shape (H, W), uint8, 0..255.

    Returns
    -------
    numpy.ndarray
        Shape (256,), bool. Robust to size, compression, brightness and contrast, but not to cropping or rotation.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 2:
        raise ValueError(f"image must be uint8 (H, W), got {image.dtype} {image.shape}")
    return imagehash.phash(Image.fromarray(image), hash_size=HASH_SIZE).hash.ravel()


def candidate_distance(images: int) -> int:
    """Return the largest hash distance, in bits of 256, of candidate pairs.

    Parameters
    ----------
    images : int
        Number of images.

    Returns
    -------
    int
        `CANDIDATE_DISTANCE` up to `MANY_IMAGES`, then 8 bits less for each doubling of the number of images, which
        keeps the number of pairs at about half a million; at least `MIN_CANDIDATE_DISTANCE`. Always even,
        as distances are.

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
    """Find pairs of images that show the same radiograph.

    Follow-up radiographs of one patient are not duplicates. Copies within one patient are reported too.

    Each image is decoded once. Thumbnails (16 KiB) are stored on disk; memory use is limited to about 200 MiB.

    Parameters
    ----------
    cohort : Cohort
        The radiographs, of one or several sources.
    threshold : int, optional
        Largest hash distance in bits of 256. Default: see `candidate_distance`. The number of pairs to compare (some
        milliseconds each) grows steeply with it. Of the 271 copies in the evidence above, 84 bits find 263, 76 find
        248, 64 find 237.
    min_correlation : float or None
        Smallest correlation after registration, -1 to 1. None: use the hash alone, with a threshold of at most 36.
    workers : int, optional
        Number of threads. Default: one per core.
    cache : str or Path, optional
        Keep hashes, thumbnails and correlations below `cache/duplicates`, keyed by image content, so that an
        interrupted search continues and a repeated one reads from the cache. May be shared by cohorts. Default: a
        temporary folder.
    skipped : dict, optional
        If given, unreadable images are left out and entered here (id to problem). Otherwise they raise an error.

    Returns
    -------
    pandas.DataFrame
        One row per pair, in the order of the cohort: `image_id_a`, `image_id_b`, `source_a`, `source_b`,
        `distance` (int, bits) and `correlation` (float; NaN if not measured or undefined).

    Raises
    ------
    UserError
        If an image cannot be read, or the cache or temporary folder is not writable.
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
    """Return a group key per image, merging patients (transitively) that share near-duplicates.

    Parameters
    ----------
    cohort : Cohort
        The radiographs.
    pairs : pandas.DataFrame
        Columns `image_id_a` and `image_id_b`, as from `find_duplicates`. Ids outside the cohort count too: two
        near-duplicates of an absent third image stay together.

    Returns
    -------
    numpy.ndarray
        Shape (n,), str: the id of the group's first patient in the cohort. Images of one patient share a key.
    """
    pairs_a, pairs_b = (pairs[column].astype(str).tolist() for column in ("image_id_a", "image_id_b"))
    images = cohort.table["image_id"].tolist()
    node = {name: number for number, name in enumerate(dict.fromkeys([*images, *pairs_a, *pairs_b]))}
    patients = cohort.table["patient_id"]
    # Each image is linked to the patient's first image.
    anchor = patients.map(patients.drop_duplicates().pipe(lambda x: pd.Series(x.index, index=x.array)))
    starts = np.array([*range(len(images)), *map(node.__getitem__, pairs_a)], dtype=np.int64)
    ends = np.array([*anchor, *map(node.__getitem__, pairs_b)], dtype=np.int64)
    graph = coo_array((np.ones(len(starts), np.int8), (starts, ends)), shape=(len(node), len(node)))
    component = connected_components(graph, directed=False)[1][: len(images)]
    return patients.groupby(component).transform("first").to_numpy(dtype=str)


class _Pictures:
    """Cached hashes and thumbnails of images, and correlations of pairs.

    Parameters
    ----------
    paths : sequence of str
        The images.
    store : Store
        The cache. The entry of an image is its hash (32 bytes) and its thumbnail before normalisation.
    digests : FileHashes or None
        Keys entries by image content. None: keys by path, for a single search, without keeping correlations.
    workers : int or None
        Number of threads.
    """

    def __init__(self, paths: Sequence[str], store: Store, digests: FileHashes | None, workers: int | None) -> None:
        self._paths, self._store, self._digests, self._workers = paths, store, digests, workers
        self._keys = [""] * len(paths)
        self._normalised = functools.lru_cache(_CACHED_THUMBNAILS)(self._normalise)

    def hashes(self, skip: bool = False) -> tuple[np.ndarray, dict[int, str]]:
        """Compute missing hashes; return them, (n, 256) bool, and the problem of each unreadable image.

        Without `skip`, an unreadable image raises an error.
        """
        numbers, wrong = range(len(self._paths)), {}

        def hashed(number: int) -> np.ndarray | None:
            try:
                return self._hash(number)
            except UserError as error:
                # A full cache is not the image's fault.
                if not skip or Path(error.subject) != Path(self._paths[number]):
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
        """Return the correlation of each pair after registration; call `hashes` first."""
        # Group pairs by image, so that thumbnails needed next are still in memory.
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
    """Yield the pictures of a cohort, stored in the cache or a temporary folder."""
    paths = cohort.table["path"].tolist()
    if cache is None:
        with tempfile.TemporaryDirectory(prefix="covid_keras-") as folder:
            yield _Pictures(paths, Store(Path(folder)), None, workers)
    else:
        store = Store(Path(cache).absolute() / "duplicates")
        with FileHashes(store.folder) as digests:
            yield _Pictures(paths, store, digests, workers)


def _near_pairs(hashes: np.ndarray, threshold: int, block: int = 2048) -> tuple[np.ndarray, ...]:
    """Return (first, second, distance) for all pairs first < second with at most `threshold` differing bits.

    With bits as -1 and 1, a matrix product gives agreeing minus differing bits. Blocks limit the memory to 16 MiB plus
    the pairs found (int32, int32, int16).
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
    """Normalise a thumbnail, (128, 128) uint8, to local mean 0 and local spread 1, float32.

    Otherwise any two chests would correlate (bright mediastinum, dark lungs). After normalisation ribs and vessels
    decide, and changes of window or brightness have little effect.
    """
    small = thumbnail.astype(np.float32)
    centred = small - cv2.GaussianBlur(small, (0, 0), _NORMALISATION_SIGMA)
    variance = cv2.GaussianBlur(centred**2, (0, 0), _NORMALISATION_SIGMA)
    # 4 = (2 grey levels)^2 suppresses noise in empty borders; the last blur equalises sharpness.
    return cv2.GaussianBlur(centred / np.sqrt(variance + 4), (0, 0), 1)


def _register(
    fixed: np.ndarray, moving: np.ndarray, stop: tuple[int, int, float], blur: int
) -> tuple[float, np.ndarray]:
    """Return the enhanced correlation and the (2, 3) affine matrix; NaN and the identity if registration fails."""
    start = np.eye(2, 3, dtype=np.float32)
    try:
        # OpenCV's type stubs lack None for "no mask".
        arguments: tuple[Any, ...] = (cv2.MOTION_AFFINE, stop, None, blur)
        return cv2.findTransformECC(fixed, moving, start.copy(), *arguments)
    except cv2.error:  # not converged, or a constant image
        return float("nan"), start


def _registered_correlation(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Return the correlation of two thumbnails after affine registration; NaN if undefined.

    A registration at half the size, six times faster, rejects clearly different images: all observed copies but one
    reached 0.95 there, and 95 % of the other candidates stayed below 0.83.
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
