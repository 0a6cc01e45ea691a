"""Near-duplicates: the same radiograph twice, within a collection or across collections.

Public collections copy from one another, recompress, crop, window and annotate. A radiograph that is in training
under one name and in the test set under another makes every number too good.

Two steps. Candidates: pairs of images whose perceptual hashes (256 bits) differ in at most `CANDIDATE_DISTANCE`
bits. Confirmation: one is laid on the other by an affine registration of their locally normalised 128-pixel
thumbnails (enhanced correlation coefficient, [1]_), and their correlation where they overlap must reach
`MIN_CORRELATION`. Up to `SURE_DISTANCE` bits the hash alone decides.

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
- Limit: a copy that lost more than about a tenth of a side may be missed, and mirrored or turned ones are.

References
----------
.. [1] Evangelidis & Psarakis, "Parametric image alignment using enhanced correlation coefficient maximization",
   IEEE TPAMI 30(10), 2008.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import cv2
import imagehash
import numpy as np
import pandas as pd
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from covid_keras.progress import progress

HASH_SIZE = 16
CANDIDATE_DISTANCE = 92
SURE_DISTANCE = 16
MIN_CORRELATION = 0.94

PAIR_COLUMNS = ("image_id_a", "image_id_b", "source_a", "source_b", "distance", "correlation")

_THUMBNAIL = 128
_MIN_OVERLAP = 0.5
_NORMALISATION_SIGMA = 8.0
_STOP_RULE = cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT
_COARSE_STOP, _FINE_STOP = (_STOP_RULE, 10, 1e-3), (_STOP_RULE, 40, 1e-4)
_COARSE_CORRELATION = 0.85
_CACHED_THUMBNAILS = 3000  # of 64 KiB each


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


def hash_cohort(cohort: Cohort, workers: int | None = None) -> np.ndarray:
    """Hash every image of a cohort, in threads, under a progress bar.

    Parameters
    ----------
    cohort : Cohort
        The radiographs.
    workers : int, optional
        Threads. Default: one a core.

    Returns
    -------
    numpy.ndarray
        Shape (n, 256), bool, in the order of the rows.

    Raises
    ------
    UserError
        Where an image cannot be read.
    """
    paths = cohort.table["path"].tolist()
    return np.array(list(_threaded(_hash_file, paths, "hashing", "image", workers)))


def find_duplicates(
    cohort: Cohort,
    threshold: int = CANDIDATE_DISTANCE,
    hashes: np.ndarray | None = None,
    *,
    min_correlation: float | None = MIN_CORRELATION,
    workers: int | None = None,
) -> pd.DataFrame:
    """Find the pairs of images that show the same radiograph.

    Two radiographs of one patient (a follow-up) are no duplicates. Pairs within one patient are reported
    like any other where they are the same picture.

    Parameters
    ----------
    cohort : Cohort
        The radiographs, of one source or of several.
    threshold : int
        Largest distance of two hashes, in bits of 256. The number of pairs to compare, about 2 ms each, grows
        steeply with it and with the square of the images: for tens of thousands of images take 64.
    hashes : numpy.ndarray, optional
        What `hash_cohort` returned for this cohort, shape (n, bits).
    min_correlation : float or None
        Least correlation after registration, -1 to 1. None: the hash alone decides, and no image is read where
        `hashes` is given; take a threshold of at most 36 then.
    workers : int, optional
        Threads. Default: one a core.

    Returns
    -------
    pandas.DataFrame
        A row a pair, in the order of the cohort: `image_id_a`, `image_id_b`, `source_a`, `source_b`,
        `distance` (int, bits) and `correlation` (float; NaN where it was not measured or is undefined). Empty
        where there are none.

    Raises
    ------
    UserError
        Where an image cannot be read.
    """
    hashes = hash_cohort(cohort, workers) if hashes is None else np.asarray(hashes, dtype=bool)
    if hashes.ndim != 2 or len(hashes) != len(cohort):
        raise ValueError(f"hashes of shape {hashes.shape} do not fit {len(cohort)} images")
    first, second, distance = _near_pairs(hashes, threshold)
    correlation = np.full(len(first), np.nan)
    if min_correlation is not None:
        correlation[:] = _correlations(cohort.table["path"].tolist(), first, second, workers)
        keep = (distance <= SURE_DISTANCE) | (correlation >= min_correlation)
        first, second, distance, correlation = (x[keep] for x in (first, second, distance, correlation))
    names, sources = cohort.table["image_id"].to_numpy(), cohort.table["source"].to_numpy()
    columns = (names[first], names[second], sources[first], sources[second], distance, correlation)
    return pd.DataFrame(dict(zip(PAIR_COLUMNS, columns, strict=True)))


def duplicate_groups(cohort: Cohort, pairs: pd.DataFrame) -> np.ndarray:
    """Return a group key an image: patients joined, transitively, where they share a near-duplicate.

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


def _threaded(
    function: Callable[[Any], Any], items: Sequence[Any], description: str, unit: str, workers: int | None
) -> Iterator[Any]:
    """Yield `function` of each item in order; the first error stops the rest."""
    # process_cpu_count (Python 3.13) heeds the processors that this process may use.
    cores = getattr(os, "process_cpu_count", os.cpu_count)()
    pool = ThreadPoolExecutor(workers or cores or 1)
    try:
        yield from progress(pool.map(function, items), description, total=len(items), unit=unit)
    finally:
        pool.shutdown(cancel_futures=True)


def _hash_file(path: str) -> np.ndarray:
    return perceptual_hash(read_image(path))


def _near_pairs(hashes: np.ndarray, threshold: int, block: int = 2048) -> tuple[np.ndarray, ...]:
    """Return (first, second, distance) of all pairs first < second with at most `threshold` differing bits.

    With bits as -1 and 1, a matrix product counts the agreeing bits less the differing ones. Blocks bound the
    memory at 16 MiB plus the pairs found.
    """
    signs = np.where(hashes, np.float32(1), np.float32(-1))
    count, bits = signs.shape
    found: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.int64),) * 3]
    for row in range(0, count, block):
        for column in range(row, count, block):
            distance = (bits - signs[row : row + block] @ signs[column : column + block].T) / 2
            i, j = np.nonzero(distance <= threshold)
            upper = row + i < column + j
            i, j = i[upper], j[upper]
            found.append((row + i, column + j, np.rint(distance[i, j]).astype(np.int64)))
    first, second, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return first[order], second[order], distance[order]


def _correlations(
    paths: Sequence[str], first: Iterable[int], second: Iterable[int], workers: int | None
) -> list[float]:
    thumbnail = functools.lru_cache(_CACHED_THUMBNAILS)(lambda number: _thumbnail(read_image(paths[number])))

    def correlate(pair: tuple[int, int]) -> float:
        return _registered_correlation(thumbnail(pair[0]), thumbnail(pair[1]))

    pairs = list(zip(first, second, strict=True))
    return list(_threaded(correlate, pairs, "comparing", "pair", workers)) if pairs else []


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """Return a (128, 128) float32 thumbnail with local mean 0 and local spread 1.

    Without it, every two chests correlate: bright mediastinum, dark lungs. With it, ribs and vessels decide, and
    a copy with another window or brightness stays a copy.
    """
    small = cv2.resize(image, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
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
        return cv2.findTransformECC(fixed, moving, start.copy(), cv2.MOTION_AFFINE, stop, None, blur)
    except cv2.error:  # OpenCV's way of saying that it did not converge, or that an image is constant
        return float("nan"), start


def _registered_correlation(fixed: np.ndarray, moving: np.ndarray) -> float:
    """Return the correlation of two thumbnails after affine registration; NaN where it is undefined.

    A registration at half the size, six times faster, ends the search where it is clear that they differ: all
    copies but one of those seen reached 0.95 there, 95 % of the other candidates stayed under 0.83.
    """
    halves = (cv2.resize(x, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for x in (fixed, moving))
    coarse, _ = _register(*halves, _COARSE_STOP, 3)
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
