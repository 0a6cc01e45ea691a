"""Lung masks for a whole cohort by the shipped U-Net, each computed once and kept."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from covid_keras.data.cohort import Cohort
from covid_keras.data.file_hashes import FileHashes
from covid_keras.data.images import read_image, write_image
from covid_keras.data.preparation import _bounded_map
from covid_keras.errors import UserError
from covid_keras.files import atomic_path, fingerprint, require_writable_folder
from covid_keras.models.lungs import BATCH, LungSegmenter
from covid_keras.preprocessing import crop_to_lungs
from covid_keras.progress import progress

_log = logging.getLogger(__name__)

_INDEX_NAME = "files.json"
# Of the empty file beside a kept mask that says whether it marks any lung, so that no resume decodes masks.
_LUNGS, _EMPTY = ".lungs", ".empty"


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


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the radiograph (H, W, 3) uint8 RGB with the lungs tinted and their border drawn in orange."""
    colour = np.repeat(image[..., None], 3, axis=2)
    tint = np.array([230, 159, 0], np.float32)  # Okabe-Ito orange: told from grey by colour-blind readers as well
    inside = mask > 127
    colour[inside] = (0.8 * colour[inside] + 0.2 * tint).astype(np.uint8)
    contours, _ = cv2.findContours((inside * 255).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, contours, -1, tint.tolist(), max(1, round(max(image.shape) / 300)))
    return colour


def segment_files(images: Sequence[Path], out: Path, weights: str | Path, threshold: float | None = None) -> Path:
    """Write mask, crop and overlay of each radiograph; return the folder.

    Every file is read before the first is written, so that a bad one leaves nothing half-done.

    Parameters
    ----------
    images : sequence of Path
    out : Path
        Receives `<stem>_mask.png` (0/255, the radiograph's own size), `<stem>_crop.png` (the box of both lungs
        with 2.5 % on each side) and `<stem>_overlay.png`.
    weights : str or Path
        Registered name or file.
    threshold : float, optional
        In 0..1; the registry's where not given.

    Raises
    ------
    UserError
        For a file that is no radiograph, two of one stem, or a folder that cannot be written.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise UserError(f"--threshold {threshold}", "must lie between 0 and 1", "0.5 is usual")
    stems = [path.stem for path in images]
    if repeated := next((stem for stem in stems if stems.count(stem) > 1), None):
        raise UserError(
            repeated,
            "is the name of two images, whose outputs would overwrite each other",
            "Segment them into two folders",
        )
    for path in images:
        read_image(path)
    segmenter = LungSegmenter(weights, threshold)
    segmenter.model  # noqa: B018 - loaded now, so that weights of another network leave no empty folder
    require_writable_folder(out)
    for path in progress(images, "marking lungs", len(images)):
        image = read_image(path)
        mask = segmenter.masks([image])[0]
        if not mask.any():
            _log.warning("%s: no lungs found, the crop is the whole image", path)
        write_image(out / f"{path.stem}_mask.png", mask)
        write_image(out / f"{path.stem}_crop.png", crop_to_lungs(image, mask))
        write_image(out / f"{path.stem}_overlay.png", overlay(image, mask))
    return out
