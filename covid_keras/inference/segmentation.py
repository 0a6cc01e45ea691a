"""`covid-keras segment`: mask, crop and overlay of the user's radiographs by the shipped U-Net."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import require_writable_folder
from covid_keras.common.progress import progress
from covid_keras.data.images import read_image, write_image
from covid_keras.inference.files import require_different_stems
from covid_keras.models.lungs import LungSegmenter
from covid_keras.preprocessing import crop_to_lungs

_log = logging.getLogger(__name__)


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
        For a file that is not a radiograph, two of one stem, or a folder that cannot be written.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise UserError(f"--threshold {threshold}", "must lie between 0 and 1", "0.5 is usual")
    require_different_stems(images, "outputs", "Segment")
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
