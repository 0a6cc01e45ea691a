"""What the convention of lung masks changes: Tabik's crop, and the lungs that Arias-Garzon et al. keep or remove."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.progress import progress
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from covid_keras.data.sources import get_source
from covid_keras.models.lungs import BATCH, LungSegmenter
from covid_keras.preprocessing import lung_bounding_box

# Collections that the papers classify.
CLASSIFIED = ("cohen", "chestxray14")
_MEASURES = ("box_iou", "lost", "share_fields", "share_whole")


def compare_conventions(cohort: Cohort, fields: LungSegmenter, whole: LungSegmenter) -> pd.DataFrame:
    """Return how the masks of two networks differ, one row per radiograph of a cohort.

    Returns
    -------
    pandas.DataFrame
        `image_id`, `source`; `box_iou`, intersection over union of the two lung boxes with Tabik's margin; `lost`, the
        share of the whole lungs that the lung fields leave out, which part d of Arias-Garzon et al. blackens and part e
        keeps; `share_fields` and `share_whole`, the lungs' share of the picture. NaN where the whole lungs are empty.
    """
    rows: list[tuple] = []
    table = cohort.table
    for start in progress(range(0, len(table), BATCH), "comparing conventions", -(-len(table) // BATCH), "batch"):
        part = table.iloc[start : start + BATCH]
        images = [read_image(path) for path in part["path"]]
        pairs = zip(fields.masks(images), whole.masks(images), strict=True)
        found = [difference_of_masks(without, with_heart) for without, with_heart in pairs]
        rows += [(*names, *one) for names, one in zip(part[["image_id", "source"]].to_numpy(), found, strict=True)]
    return pd.DataFrame(rows, columns=["image_id", "source", *_MEASURES])


def difference_of_masks(fields: np.ndarray, whole: np.ndarray) -> tuple[float, float, float, float]:
    """Return `box_iou`, `lost`, `share_fields` and `share_whole` of two masks, uint8 (H, W) of 0/255."""
    boxes = np.zeros((2, *whole.shape), bool)
    for box, mask in zip(boxes, (fields, whole), strict=True):
        box[lung_bounding_box(mask).slices] = True
    lost = np.count_nonzero((whole > 0) & (fields == 0)) / np.count_nonzero(whole) if whole.any() else np.nan
    return boxes.all(0).sum() / boxes.any(0).sum(), lost, (fields > 0).mean(), (whole > 0).mean()


def summarise_conventions(table: pd.DataFrame) -> dict[str, dict[str, float | int]]:
    """Return mean and 5th, 50th and 95th percentile of each measure per collection, four digits."""
    found: dict[str, dict[str, float | int]] = {}
    for source, rows in table.groupby("source"):
        found[str(source)] = {"images": len(rows)}
        for name in _MEASURES:
            values = rows[name].dropna()
            points = {"mean": values.mean()} | {f"p{p}": np.percentile(values, p) for p in (5, 50, 95)}
            found[str(source)] |= {f"{name}_{key}": round(float(value), 4) for key, value in points.items()}
    return found


def classified_cohorts(data: Path, names: Sequence[str] = CLASSIFIED) -> list[Cohort]:
    """Return the radiographs, without lateral ones, of the classified collections that are available."""
    folders = [(get_source(name), get_source(name).locate(data)) for name in names]
    cohorts = [source.load(folder) for source, folder in folders if folder is not None]
    return [cohort.filter(~cohort.table["view"].str.startswith("L")) for cohort in cohorts]
