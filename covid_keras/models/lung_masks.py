"""Lung masks for a whole cohort, each computed once and kept."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from covid_keras.common.files import fingerprint
from covid_keras.common.progress import progress
from covid_keras.common.threads import bounded_map
from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import encode_png, read_image
from covid_keras.data.store import Store
from covid_keras.models.lungs import BATCH, LungSegmenter


def segment_cohort(
    cohort: Cohort, cache: Path, segmenter: LungSegmenter | None = None, *, mode: str = "shipped"
) -> tuple[Cohort, dict[str, object]]:
    """Return the cohort with `mask_path` set to masks predicted by the U-Net, and what was found on the way.

    Parameters
    ----------
    cohort : Cohort
        Masks that it has are replaced: a paper's pipeline sees predicted masks only, never human ones.
    cache : Path
        Masks are kept in a `Store` below `cache/masks` under a key of the radiograph's bytes, the weights, the
        threshold and the version of what is done before and after the network; one that marks no lung is marked so,
        and one that is damaged is made anew. `files.json` remembers the radiographs' hashes: a run that has its masks
        neither reads radiographs that did not change nor decodes masks.
    segmenter : LungSegmenter, optional
        The shipped U-Net where not given. The network is built and loaded only where a mask is missing.
    mode : {"shipped", "authors"}
        How the shipped U-Net is used where no segmenter is given: as it was trained, or as COVID-CXNet uses its own
        (see `LungSegmenter`). The masks of the two are kept apart.

    Returns
    -------
    cohort : Cohort
    facts : dict
        `images`, `computed`, `empty` (number of empty masks), `empty_ids`, `weights_sha256`, `threshold`, `mode` where
        it is not "shipped", and `by`, the network's title, where it is not the one that ships.

    Raises
    ------
    UserError
        If the mode is unknown, a radiograph cannot be read, the weights cannot be used, or the cache
        cannot be written.
    """
    segmenter = segmenter or LungSegmenter(mode=mode)
    paths = cohort.table["path"].tolist()
    store = Store(cache / "masks", ".png")
    with FileHashes(store.folder) as hashes:
        digests = list(progress(bounded_map(hashes.of, paths), "reading radiographs", len(paths)))
    keys = [fingerprint({"image": digest} | segmenter.key) for digest in digests]
    found = progress(bounded_map(store.find, keys), "checking masks", len(keys))
    empty = {i: entry.mark for i, entry in enumerate(found) if entry is not None}
    missing = [i for i in range(len(keys)) if i not in empty]
    groups = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
    with ThreadPoolExecutor() as pool:
        # A batch at a time, so that memory does not grow with the cohort.
        for group in progress(groups, "marking lungs", len(groups), "batch"):
            images = list(pool.map(lambda i: read_image(paths[i]), group))
            for i, mask in zip(group, segmenter.masks(images), strict=True):
                empty[i] = not bool(mask.any())
                store.put(keys[i], encode_png(mask), empty[i])
    empty_ids = [name for i, name in enumerate(cohort.table["image_id"]) if empty[i]]
    table = cohort.table.assign(mask_path=[str(store.path(key)) for key in keys])
    facts = {
        "images": len(cohort),
        "computed": len(missing),
        "empty": len(empty_ids),
        "empty_ids": empty_ids,
        "weights_sha256": segmenter.entry.sha256,
        "threshold": segmenter.threshold,
    }
    if segmenter.mode != "shipped":
        facts["mode"] = segmenter.mode
    if not segmenter.entry.ships:
        facts["by"] = segmenter.entry.title
    return Cohort(table, cohort.classes, cohort.name), facts
