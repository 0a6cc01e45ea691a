"""Compute and cache lung masks for a cohort."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from covid_keras.common.files import fingerprint
from covid_keras.common.progress import progress
from covid_keras.common.threads import bounded_map
from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import encode_png, read_image
from covid_keras.data.store import Store
from covid_keras.models.lungs import BATCH, LungSegmenter


def segment_cohort(
    cohort: Cohort,
    cache: Path,
    segmenter: LungSegmenter | None = None,
    *,
    mode: str = "shipped",
    lungs: str | None = None,
) -> tuple[Cohort, dict[str, object]]:
    """Return the cohort with `mask_path` set to masks predicted by the U-Net, and a summary.

    Parameters
    ----------
    cohort : Cohort
        Existing masks are replaced: the papers' pipelines use predicted masks only.
    cache : Path
        Masks are stored below `cache/masks`, keyed by the radiograph's content, the weights, the convention, the
        threshold and the version of pre- and postprocessing. `files.json` caches the hashes of the radiographs, so that
        unchanged ones are not read again.
    segmenter : LungSegmenter, optional
        Default: a shipped U-Net. The network is loaded only if a mask is missing.
    mode : {"shipped", "authors"}
        Mode of the shipped U-Net if no segmenter is given (see `LungSegmenter`).
    lungs : {"fields", "whole"}, optional
        Its convention. The masks of modes and conventions are cached separately.

    Returns
    -------
    cohort : Cohort
    facts : dict
        `images`, `computed`, `empty` (number of empty masks), `empty_ids`, `weights_sha256`, `threshold`; also `mode`
        if not "shipped", `lungs`, the convention of a shipped network, or `by`, the title of another one.

    Raises
    ------
    UserError
        If the mode is unknown, a radiograph cannot be read, the weights cannot be used, or the cache is not writable.
    """
    segmenter = segmenter or LungSegmenter(mode=mode, lungs=lungs)
    paths = cohort.table["path"].tolist()
    store = Store(cache / "masks", ".png")
    with FileHashes(store.folder) as hashes:
        digests = list(progress(bounded_map(hashes.of, paths), "reading radiographs", len(paths)))
    keys = [fingerprint({"image": digest} | segmenter.key) for digest in digests]
    found = progress(bounded_map(store.find, keys), "checking masks", len(keys))
    empty = {i: entry.mark for i, entry in enumerate(found) if entry is not None}
    missing = [i for i in range(len(keys)) if i not in empty]
    for i, mask in _segmented(paths, missing, segmenter):
        empty[i] = not bool(mask.any())
        store.put(keys[i], encode_png(mask), empty[i])
    empty_ids = [name for i, name in enumerate(cohort.table["image_id"]) if empty[i]]
    table = cohort.table.assign(mask_path=[str(store.path(key)) for key in keys])
    facts = {"images": len(cohort), "computed": len(missing), "empty": len(empty_ids), "empty_ids": empty_ids}
    return Cohort(table, cohort.classes, cohort.name), facts | _facts_of(segmenter)


def _segmented(
    paths: Sequence[str], places: Sequence[int], segmenter: LungSegmenter
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the mask of the radiograph at each place, in batches, to limit the memory."""
    groups = [places[start : start + BATCH] for start in range(0, len(places), BATCH)]
    with ThreadPoolExecutor() as pool:
        for group in progress(groups, "marking lungs", len(groups), "batch"):
            images = list(pool.map(lambda i: read_image(paths[i]), group))
            yield from zip(group, segmenter.masks(images), strict=True)


def _facts_of(segmenter: LungSegmenter) -> dict[str, object]:
    facts: dict[str, object] = {"weights_sha256": segmenter.entry.sha256, "threshold": segmenter.threshold}
    if segmenter.mode != "shipped":
        facts["mode"] = segmenter.mode
    own = {"lungs": segmenter.lungs} if segmenter.entry.ships else {"by": segmenter.entry.title}
    return facts | own
