"""Dice and IoU of predicted lung masks against human masks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_record, require_intact
from covid_keras.common.tables import read_table
from covid_keras.data.sources.darwin_v7 import IGNORE, LUNG
from covid_keras.evaluation.summary import DDOF, Measured
from covid_keras.evaluation.uncertainty import SHARES, Interval, mean_interval

PARTS = ("train", "validation")
# Of the folder of a trained segmenter: the overlap of every image, and what vouches for the training.
OVERLAP, RECORD = "overlap.csv", "record.json"
# What every such table has: of the mask at the radiograph's own size, and of that at the network's.
OWN_SIZE, NETWORK_SIZE = ("dice", "iou"), ("dice_small", "iou_small")
_TEXT = ("image_id", "patient_id", "part")
_REMEDY = "Restore it, or train the segmenter again: delete its folder and give `covid-keras reproduce` again"


def mask_overlap(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return Dice and IoU of a mask (0/255) against a human one (255 lung, 127 ignored), at full size."""
    counts = truth != IGNORE
    marked, lung = (mask > 127) & counts, (truth == LUNG) & counts
    both, either = np.count_nonzero(marked & lung), np.count_nonzero(marked | lung)
    total = np.count_nonzero(marked) + np.count_nonzero(lung)
    return (2 * both / total if total else 1.0), (both / either if either else 1.0)


def summarise_overlap(table: pd.DataFrame) -> dict[str, float | None]:
    """Return mean, percentiles and extremes of Dice and IoU over images, rounded to four digits.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per image: `patient_id`, `dice`, `iou` (0..1).

    Returns
    -------
    dict
        `images`, `patients`; per measure `<measure>_mean`, `_std` (ddof 1; None for a single image), `_min`, `_max` and
        the percentiles `_p5`, `_p25`, `_p50`, `_p75`, `_p95`.
    """
    values: dict[str, float | None] = {"images": len(table), "patients": int(table["patient_id"].nunique())}
    for name in OWN_SIZE:
        column = table[name]
        found = {"mean": column.mean(), "std": column.std(ddof=1) if len(column) > 1 else None}
        found |= {"min": column.min(), "max": column.max()}
        found |= {f"p{p}": np.percentile(column, p) for p in (5, 25, 50, 75, 95)}
        values |= {f"{name}_{key}": value for key, value in found.items()}
    return {key: round(float(value), 4) if isinstance(value, float) else value for key, value in values.items()}


def binary_overlap(lung: np.ndarray, p: np.ndarray, counts: np.ndarray, threshold: float) -> tuple[float, float]:
    """Return Dice and IoU of an image at the size of the network.

    Parameters
    ----------
    lung, counts : ndarray (H, W), 0 or 1
        The human mask, and the mask of annotated pixels.
    p : ndarray (H, W), 0..1
    threshold : float
        Smallest probability of lung.
    """
    truth = np.where(np.asarray(counts) > 0, np.where(np.asarray(lung) > 0, LUNG, 0), IGNORE).astype(np.uint8)
    return mask_overlap(np.where(np.asarray(p) >= threshold, 255, 0).astype(np.uint8), truth)


# -------------------------------------------------------------------------------------------- a trained segmenter


def read_overlap(folder: Path, further: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read the overlap per image from the folder of a trained segmenter.

    Parameters
    ----------
    folder : Path
        As written by `covid_keras.training.segmenters.train_segmenter`.
    further : tuple of str
        Further required numeric columns.

    Returns
    -------
    pandas.DataFrame
        One row per image: `image_id`, `patient_id`, `part` ("train" or "validation"), `dice`, `iou`, `dice_small`,
        `iou_small` (0..1) and `further`.

    Raises
    ------
    UserError
        If the table is missing, has another format, or is not the one in the folder's record.
    """
    path, numbers = Path(folder) / OVERLAP, (*OWN_SIZE, *NETWORK_SIZE, *further)
    table = read_table(path, (*_TEXT, *numbers))
    try:
        table = table.astype(dict.fromkeys(numbers, np.float64))
    except ValueError as error:
        raise UserError(path, f"must contain numbers ({error})", _REMEDY) from error
    if (Path(folder) / RECORD).is_file():
        _require_recorded(path, table, read_record(Path(folder) / RECORD, (), _REMEDY))
    return table


def _require_recorded(path: Path, table: pd.DataFrame, record: dict[str, Any]) -> None:
    """Raise `UserError` unless a table has the hash, and per part the images and mean Dice, of its record."""
    require_intact(path, record.get("overlap_sha256", ""), _REMEDY)
    overlap = record.get("overlap", {})
    for name, part in parts_of(table):
        found = {"images": len(part), "dice": round(float(part["dice"].mean()), 4)} if len(part) else {"images": 0}
        for key, value in overlap.get(name, {}).items():
            if key in found and not np.isclose(found[key], value, rtol=0, atol=1e-4):
                raise UserError(path, f"has {key} {found[key]} in the {name} part, the record {value}", _REMEDY)


def parts_of(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield name and rows of the training part and the validation part."""
    return ((name, table[table["part"] == name]) for name in PARTS)


def summary_of(table: pd.DataFrame) -> dict[str, dict[str, float | int]]:
    """Return images, patients and the means of Dice and IoU at full size (0..1, four digits) per part."""
    return {
        name: {"images": len(part), "patients": int(part["patient_id"].nunique())}
        | {measure: round(float(part[measure].mean()), 4) for measure in OWN_SIZE}
        for name, part in parts_of(table)
    }


def measured_part(part: pd.DataFrame, system: str, name: str, measures: tuple[str, ...] = OWN_SIZE) -> list[Measured]:
    """Return the mean over the images of a part in percent, with std (ddof 1) and interval.

    Parameters
    ----------
    part : pandas.DataFrame
        `patient_id` and the measures, 0..1.
    system, name : str
        `name` is the part, such as "validation"; the metric is named `<measure>_<name>`.
    measures : tuple of str
        Columns.

    Returns
    -------
    list of Measured
        The interval is a bootstrap over patients; std is NaN for a single image.
    """
    patients = part["patient_id"].tolist()
    found = []
    for measure in measures:
        values = part[measure].to_numpy()
        interval = mean_interval(100 * values, patients, sure=SHARES)
        found.append(measured_of_part(part, system, f"{measure}_{name}", (values.mean(), std_of(values)), interval))
    return found


def measured_of_part(
    part: pd.DataFrame, system: str, metric: str, found: tuple[float, float], interval: Interval
) -> Measured:
    """Convert (mean, std) of the images of `part`, 0..1, and an interval in percent to `Measured` in percent."""
    mean, std = (100 * float(value) for value in found)
    sizes = part["patient_id"].nunique(), len(part)
    return Measured(system, metric, mean, std, DDOF, 1, *interval, *sizes, interval=interval.kind)


def std_of(values: np.ndarray) -> float:
    """Return the std (ddof 1); NaN for fewer than two values."""
    return float(values.std(ddof=DDOF)) if len(values) > DDOF else math.nan
