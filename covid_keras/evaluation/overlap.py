"""Dice and IoU of lung masks against human ones, of one image and of the images of a trained segmenter."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
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


def mask_overlap(mask: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Return Dice and IoU of a mask (0/255) against a human one (255 lung, 127 not counted), at full size."""
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
        `images`, `patients`; for each measure `<measure>_mean`, `_std` (ddof 1; None for one image), `_min`, `_max`
        and the percentiles `_p5`, `_p25`, `_p50`, `_p75`, `_p95`.
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
    """Return true Dice and IoU of one image at the network's size.

    Parameters
    ----------
    lung, counts : ndarray (H, W), 0 or 1
        The human mask and the pixels that a person has judged.
    p : ndarray (H, W), 0..1
    threshold : float
        Probability from which on a pixel is marked.
    """
    truth = np.where(np.asarray(counts) > 0, np.where(np.asarray(lung) > 0, LUNG, 0), IGNORE).astype(np.uint8)
    return mask_overlap(np.where(np.asarray(p) >= threshold, 255, 0).astype(np.uint8), truth)


# -------------------------------------------------------------------------------------------- a trained segmenter


def read_overlap(folder: Path, further: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read the overlap of every image that a trained segmenter left in its folder.

    Parameters
    ----------
    folder : Path
        As `covid_keras.training.segmenters.train_segmenter` leaves it.
    further : tuple of str
        Columns of numbers that must be there beside Dice and IoU.

    Returns
    -------
    pandas.DataFrame
        One row per image: `image_id`, `patient_id`, `part` ("train" or "validation"), `dice`, `iou`, `dice_small`,
        `iou_small` (0..1) and `further`.

    Raises
    ------
    UserError
        If the table is missing or no such table.
    """
    path, numbers = Path(folder) / OVERLAP, (*OWN_SIZE, *NETWORK_SIZE, *further)
    table = read_table(path, (*_TEXT, *numbers))
    try:
        return table.astype(dict.fromkeys(numbers, np.float64))
    except ValueError as error:
        raise UserError(path, f"holds something that is no number ({error})", "Train the segmenter again") from error


def parts_of(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield the name and the rows of the training and of the validation part of such a table."""
    return ((name, table[table["part"] == name]) for name in PARTS)


def summary_of(table: pd.DataFrame) -> dict[str, dict[str, float | int]]:
    """Return, for each part, images, patients and the means of Dice and IoU at own size, 0..1, four digits."""
    return {
        name: {"images": len(part), "patients": int(part["patient_id"].nunique())}
        | {measure: round(float(part[measure].mean()), 4) for measure in OWN_SIZE}
        for name, part in parts_of(table)
    }


def measured_part(part: pd.DataFrame, system: str, name: str, measures: tuple[str, ...] = OWN_SIZE) -> list[Measured]:
    """Return the mean over the images of one part in percent, with std (ddof 1) and interval.

    Parameters
    ----------
    part : pandas.DataFrame
        `patient_id` and the measures, 0..1.
    system, name : str
        Of the part, such as "validation": the metric is called `<measure>_<name>`.
    measures : tuple of str
        Columns.

    Returns
    -------
    list of Measured
        The interval is by bootstrap over patients; std is NaN for one image.
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
    """Return (mean, std), 0..1, of the images of `part`, and an interval in percent, as `Measured` in percent."""
    mean, std = (100 * float(value) for value in found)
    sizes = part["patient_id"].nunique(), len(part)
    return Measured(system, metric, mean, std, DDOF, 1, *interval, *sizes, interval=interval.kind)


def std_of(values: np.ndarray) -> float:
    """Return the std (ddof 1) of values; NaN of fewer than two."""
    return float(values.std(ddof=DDOF)) if len(values) > DDOF else math.nan
