"""`covid-keras segment`: mask, crop and overlay of the user's radiographs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from covid_keras import models
from covid_keras.common.errors import UserError
from covid_keras.common.files import staged
from covid_keras.common.quiet import import_tensorflow
from covid_keras.common.threads import limit_threads
from covid_keras.data.images import write_image
from covid_keras.inference.inputs import (
    ERRORS,
    Item,
    Read,
    RefusedImages,
    filled,
    find_items,
    read_in_groups,
    require_readable,
    write_errors,
)
from covid_keras.preprocessing import crop_to_lungs

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter

_log = logging.getLogger(__name__)


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the radiograph as RGB, (H, W, 3) uint8, with the lungs tinted and outlined in orange."""
    tint = np.array([230, 159, 0], np.float32)  # Okabe-Ito orange, colour-blind-safe
    tinted = (0.8 * np.arange(256)[:, None] + 0.2 * tint).astype(np.uint8)
    inside = np.where(mask > 127, 255, 0).astype(np.uint8)
    grey = cv2.merge([image] * 3)
    colour = cv2.copyTo(cv2.LUT(grey, tinted[None]), inside, grey)
    contours, _ = cv2.findContours(inside, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(colour, contours, -1, tint.tolist(), max(1, round(max(image.shape) / 300)))
    return colour


class Segmented(NamedTuple):
    """The result of `segment_files`.

    Attributes
    ----------
    folder : Path
        The output folder.
    record : dict
        For JSON: the network, and under "images" one row per radiograph with its file, output names relative to the
        folder, lung area, warnings and error.
    failed : list of (Path, str)
        Files without a mask, and the reason.
    """

    folder: Path
    record: dict[str, Any]
    failed: list[tuple[Path, str]]


def segment_files(
    given: Sequence[Path],
    out: Path,
    weights: str | Path | None = None,
    threshold: float | None = None,
    *,
    lungs: str | None = None,
    skip_unreadable: bool = False,
    threads: int | None = None,
) -> Segmented:
    """Write mask, crop and overlay of each radiograph, and `errors.csv` of unreadable ones.

    Parameters
    ----------
    given : sequence of Path
        Files (PNG, JPEG, TIFF, BMP or DICOM) and folders of them.
    out : Path
        Output folder for `<name>_mask.png` (0/255, the radiograph's own size), `<name>_crop.png` (bounding box of both
        lungs with a margin of 2.5 %) and `<name>_overlay.png`, mirroring the input folders (see `find_items`).
    weights : str or Path, optional
        Registered name or file. Default: the network for `lungs`.
    threshold : float, optional
        In 0..1. Default: the registry's.
    lungs : {"fields", "whole"}, optional
        Convention: without the heart, or with the lung behind it (see `covid_keras.models.LungSegmenter`). Default:
        "whole".
    skip_unreadable : bool
        Skip unreadable files. Without it, one such file leaves no output, and all of them are named.
    threads : int, optional
        Processor threads. Default: one per processor.

    Raises
    ------
    RefusedImages
        A `UserError` that names every unreadable file.
    UserError
        If the threshold is out of range, the weights are unusable or of another convention, a folder has no
        radiographs, or `out` cannot be written.
    """
    require_threshold(threshold)
    items = find_items(given, out)
    if not skip_unreadable:
        require_readable(items)
    import_tensorflow()
    limit_threads(threads)
    segmenter = models.LungSegmenter(weights, threshold, lungs=lungs)
    segmenter.model  # noqa: B018 - loaded first, so that unusable weights leave no empty folder
    rows: list[dict[str, Any]] = []
    with staged(out) as folder:
        for read, mask in masks_of(items, segmenter, skip_unreadable, threads):
            rows.append(_written(folder, read, mask))
        failed = [(Path(row["image"]), row["error"]) for row in rows if row["error"]]
        write_errors(folder, failed)
    if not failed:  # an earlier call's
        (out / ERRORS).unlink(missing_ok=True)
    entry = segmenter.entry
    network = {"weights": entry.name, "sha256": entry.sha256, "lungs": segmenter.lungs}
    network["threshold"] = segmenter.threshold
    return Segmented(out, {"folder": str(out), **network, "images": rows}, failed)


def require_threshold(threshold: float | None) -> None:
    """Raise `UserError` if the threshold is not between 0 and 1."""
    if threshold is not None and not 0 < threshold < 1:
        raise UserError("--threshold", f"must be between 0 and 1 (got {threshold})", "0.5 is usual")


def masks_of(
    items: Sequence[Item], segmenter: LungSegmenter, skip_unreadable: bool = False, threads: int | None = None
) -> Iterator[tuple[Read, np.ndarray | None]]:
    """Yield each radiograph with its mask, uint8 (H, W) of 0/255, or None if unreadable, in order.

    Unless skipped, unreadable ones raise `RefusedImages` after all were read.
    """
    errors: list[UserError] = []
    for group in read_in_groups(items, "marking lungs", threads):
        errors += [read.error for read in group if read.error]
        if skip_unreadable or not errors:
            images = [read.radiograph.pixels for read in group if read.radiograph]
            masks = iter(segmenter.masks(filled(images, items)))
            yield from ((read, next(masks) if read.radiograph else None) for read in group)
    if errors and not skip_unreadable:
        raise RefusedImages(errors)


def _written(folder: Path, read: Read, mask: np.ndarray | None) -> dict[str, Any]:
    """Write the pictures of one radiograph; return its row."""
    kinds = ("mask", "crop", "overlay")
    row: dict[str, Any] = {"image": str(read.item.path)}
    if read.radiograph is None or mask is None:
        problem = read.error.problem if read.error else ""
        return row | dict.fromkeys(kinds, "") | {"lung_area": None, "warnings": [], "error": problem}
    image = read.radiograph.pixels if read.radiograph.stored is None else read.radiograph.stored
    warnings = list(read.radiograph.warnings)
    if not mask.any():
        warnings.append("no lungs found, the crop is the whole image")
    for warning in warnings:
        _log.warning("%s: %s", read.item.path, warning)
    names = {kind: f"{read.item.place}_{kind}.png" for kind in kinds}
    pictures = (mask, crop_to_lungs(image, mask), overlay(image, mask))
    for name, picture in zip(names.values(), pictures, strict=True):
        write_image(folder / name, picture, effort=1)  # most of the command's time goes here
    return row | names | {"lung_area": float((mask > 0).mean()), "warnings": warnings, "error": ""}
