"""Lung masks for a whole cohort, each computed once and kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from covid_keras.common.files import atomic_path, fingerprint, require_writable_folder
from covid_keras.common.progress import progress
from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image, write_image
from covid_keras.data.preparation import _bounded_map
from covid_keras.models.lungs import BATCH, LungSegmenter

# Of the empty file beside a kept mask that says whether it marks any lung, so that no resume decodes masks.
_LUNGS, _EMPTY = ".lungs", ".empty"
_INDEX_NAME = "files.json"


def segment_cohort(
    cohort: Cohort, cache: Path, segmenter: LungSegmenter | None = None, *, mode: str = "shipped"
) -> tuple[Cohort, dict[str, object]]:
    """Return the cohort with `mask_path` set to masks predicted by the U-Net, and what was found on the way.

    Parameters
    ----------
    cohort : Cohort
        Masks that it has are replaced: a paper's pipeline sees predicted masks only, never human ones.
    cache : Path
        Masks are kept below `cache/masks` under a key of the radiograph's bytes, the weights, the threshold and the
        version of what is done before and after the network. Beside each lies an empty file that says whether it marks
        any lung (of masks without one this is found once), and `files.json` remembers the radiographs' hashes: a run
        that has its masks reads neither radiographs that did not change nor masks.
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
        Where the mode is unknown, a radiograph or a kept mask cannot be read, the weights cannot be used, or the cache
        cannot be written.
    """
    segmenter = segmenter or LungSegmenter(mode=mode)
    paths = cohort.table["path"].tolist()
    targets = _targets(paths, cache / "masks", segmenter)
    missing = [i for i, target in enumerate(targets) if not target.is_file()]
    groups = [missing[start : start + BATCH] for start in range(0, len(missing), BATCH)]
    with ThreadPoolExecutor() as pool:
        # A batch at a time, so that memory does not grow with the cohort.
        for group in progress(groups, "marking lungs", len(groups), "batch"):
            images = list(pool.map(lambda i: read_image(paths[i]), group))
            for i, mask in zip(group, segmenter.masks(images), strict=True):
                _note(targets[i], empty=not mask.any())
                write_image(targets[i], mask)
    found = progress(_bounded_map(_is_empty, targets, os.cpu_count() or 1), "counting empty masks", len(targets))
    empty = [row for row, is_empty in zip(cohort.table["image_id"], found, strict=True) if is_empty]
    table = cohort.table.assign(mask_path=[str(target) for target in targets])
    facts = {
        "images": len(cohort),
        "computed": len(missing),
        "empty": len(empty),
        "empty_ids": empty,
        "weights_sha256": segmenter.entry.sha256,
        "threshold": segmenter.threshold,
    }
    if segmenter.mode != "shipped":
        facts["mode"] = segmenter.mode
    if not segmenter.entry.ships:
        facts["by"] = segmenter.entry.title
    return Cohort(table, cohort.classes, cohort.name), facts


def _targets(paths: Sequence[str], folder: Path, segmenter: LungSegmenter) -> list[Path]:
    """Return where the mask of each radiograph is kept, or will be."""
    hashes = FileHashes(require_writable_folder(folder) / _INDEX_NAME)
    try:
        found = progress(_bounded_map(hashes.of, paths, os.cpu_count() or 1), "reading radiographs", len(paths))
        return [folder / f"{_mask_key(digest, segmenter)}.png" for digest in found]
    finally:
        hashes.save()


def _mask_key(digest: str, segmenter: LungSegmenter) -> str:
    return fingerprint({"image": digest} | segmenter.key)


def _is_empty(target: Path) -> bool:
    """Whether a kept mask marks no lung; where nothing says so yet, it is read, and noted."""
    for suffix in (_LUNGS, _EMPTY):
        if target.with_suffix(suffix).is_file():
            return suffix == _EMPTY
    empty = not read_image(target).any()
    _note(target, empty)
    return empty


def _note(target: Path, empty: bool) -> None:
    """Note whether a mask marks no lung; before the mask is written, so that whoever sees it sees the note too."""
    said, contrary = (_EMPTY, _LUNGS) if empty else (_LUNGS, _EMPTY)
    target.with_suffix(contrary).unlink(missing_ok=True)  # of a mask that was deleted
    with atomic_path(target.with_suffix(said)):
        pass
