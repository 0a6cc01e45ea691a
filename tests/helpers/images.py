"""Made radiographs, cohorts of them, and prepared images without a preparation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.images import write_image
from covid_keras.data.prepared_images import PreparedImages
from covid_keras.data.store import Store


def smooth_noise(seed: int, height: int = 90, width: int = 80) -> np.ndarray:
    """Return smooth lights and shades, (height, width) uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (9, 8), dtype=np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def cohort_of(folder: Path, images: Mapping[str, np.ndarray], masks: Mapping[str, np.ndarray] | None = None) -> Cohort:
    """Write images, and masks of the same names, below a folder; return their cohort, one patient per image."""
    rows = []
    for number, (name, image) in enumerate(images.items()):
        path = write_image(folder / "images" / f"{number}.png", image)
        mask = "" if masks is None else write_image(folder / "images" / f"{number}_mask.png", masks[name])
        row = {"image_id": name, "path": str(path), "patient_id": name, "source": "made", "mask_path": str(mask)}
        rows.append({**row, "label": ("normal", "covid")[number % 2]})
    return Cohort(pd.DataFrame(rows), ("normal", "covid"))


def prepared_images(folder: Path, pixels: np.ndarray) -> PreparedImages:
    """Keep pixels (n, H, W, C) uint8 as prepared images with the ids made/0, made/1, ..."""
    keys = tuple(f"{number:016x}" for number in range(len(pixels)))
    for key, image in zip(keys, pixels, strict=True):
        Store(folder).put(key, image)
    return PreparedImages(folder, keys, tuple(f"made/{number}" for number in range(len(pixels))), pixels.shape[1:])


def damage(path: str | Path, how: str) -> None:
    """Damage a kept file: "flip" a byte in its middle, "truncate" it, or leave its "checksum" out."""
    content = bytearray(Path(path).read_bytes())
    content[len(content) // 2] ^= 1 if how == "flip" else 0
    cut = {"flip": 0, "truncate": len(content) // 2, "checksum": 5}[how]
    Path(path).write_bytes(content[: len(content) - cut])


DAMAGES = ("flip", "truncate", "checksum")
