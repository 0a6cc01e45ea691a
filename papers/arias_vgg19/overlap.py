"""How well a mask fits: Dice and IoU as the authors' code computes them, and the true ones beside them.

The paper's "Dice" is taken pixel by pixel and averaged: a right pixel scores 1, a wrong one 1/2, so of a binary mask it
is 1 - (share of wrong pixels) / 2, background included. Its "IoU" is that of all pixels of a batch at once, with the
probability in place of the mask. The two are no pair of one mask, and neither is what its name says; the true Dice
and IoU of an image are those of `covid_keras.evaluation.overlap.mask_overlap`.

Nothing here imports TensorFlow; `pixel_dice` and `iou_of_sums` take its tensors as well as arrays.

References
----------
.. [1] D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
   Learning with Applications 6 (2021) 100138, table 2; the functions as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.data.cohort import read_table
from covid_keras.data.sources.darwin_v7 import IGNORE, LUNG
from covid_keras.errors import UserError
from covid_keras.evaluation import DDOF, Measured, bootstrap_mean
from covid_keras.evaluation.overlap import mask_overlap
from covid_keras.evaluation.summary import LEVEL, RESAMPLES
from covid_keras.files import read_record

SMOOTH = 1.0
PARTS = ("train", "validation")
RECORD, OVERLAP = "record.json", "overlap.csv"
# What the authors' IoU of a batch is made of: sums over the pixels of an image.
SUMS = ("sum_both", "sum_lung", "sum_probability")
_TEXT = ("image_id", "patient_id", "part")
_NUMBERS = ("dice", "iou", "dice_small", "iou_small", "dice_published", *SUMS)


def pixel_dice(lung, p):
    """Return the authors' Dice of each pixel: (2 y p + 1) / (y^2 + p^2 + 1), of arrays or tensors of one shape.

    Their sums over the channels are left out, since a mask has one channel.
    """
    return (2 * lung * p + SMOOTH) / (lung * lung + p * p + SMOOTH)


def iou_of_sums(both, lung, p):
    """Return the authors' IoU from the sums over pixels of y p, of y and of p: (both + 1) / (lung + p - both + 1)."""
    return (both + SMOOTH) / (lung + p - both + SMOOTH)


def authors_dice(lung: np.ndarray, p: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Return the authors' "Dice": the mean of `pixel_dice` over the pixels that count.

    Parameters
    ----------
    lung : ndarray, any shape, 0 or 1
        The human mask.
    p : ndarray of the same shape, 0..1
        The probability of lung, or a binary mask.
    counts : ndarray of the same shape, 0 or 1, optional
        The pixels that a person has judged; all where not given, as in the authors' code.

    Returns
    -------
    float
        1/2 (every pixel wrong) to 1; NaN where no pixel counts.
    """
    each = pixel_dice(np.asarray(lung, np.float64), np.asarray(p, np.float64))
    if counts is None:
        return float(each.mean())
    counts = np.asarray(counts, np.float64)
    return float((each * counts).sum() / counts.sum()) if counts.any() else math.nan


def authors_iou(lung: np.ndarray, p: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Return the authors' "IoU" of one batch: of all its pixels at once, the probability standing for the mask.

    Parameters are those of `authors_dice`; of no lung and no probability it is 1.
    """
    return float(iou_of_sums(*soft_sums(lung, p, counts)))


def soft_sums(lung: np.ndarray, p: np.ndarray, counts: np.ndarray | None = None) -> tuple[float, float, float]:
    """Return the sums over the pixels that count of y p, of y and of p, in float64."""
    lung, p = np.asarray(lung, np.float64), np.asarray(p, np.float64)
    if counts is not None:
        lung, p = lung * counts, p * counts
    return float((lung * p).sum()), float(lung.sum()), float(p.sum())


def batched_iou(sums: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the authors' IoU of each batch from the `SUMS` of the images, (n, 3), in their order."""
    starts = np.arange(0, len(sums), batch_size)
    return iou_of_sums(*np.add.reduceat(np.asarray(sums, np.float64), starts, axis=0).T)


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


def read_overlap(folder: Path) -> pd.DataFrame:
    """Read a trained segmenter's `overlap.csv`; raise `UserError` where it is missing or no such table."""
    path = Path(folder) / OVERLAP
    table = read_table(path, (*_TEXT, *_NUMBERS))
    try:
        return table.astype(dict.fromkeys(_NUMBERS, np.float64))
    except ValueError as error:
        raise UserError(path, f"holds something that is no number ({error})", "Train the segmenter again") from error


def summary_of(table: pd.DataFrame, batch_size: int) -> dict[str, dict[str, float | int]]:
    """Return, for each part, images, patients and the means of true and published Dice and IoU, 0..1, four digits."""
    found = {}
    for name, part in _parts(table):
        means = {
            "dice": part["dice"].mean(),
            "iou": part["iou"].mean(),
            "dice_published": part["dice_published"].mean(),
            "iou_published": batched_iou(part[list(SUMS)].to_numpy(), batch_size).mean(),
        }
        found[name] = {"images": len(part), "patients": int(part["patient_id"].nunique())}
        found[name] |= {key: round(float(value), 4) for key, value in means.items()}
    return found


def measured_of(folder: Path, system: str) -> list[Measured]:
    """Return what a trained segmenter reached on its training and its validation images, in percent.

    Parameters
    ----------
    folder : Path
        As `papers.arias_vgg19.segmenters.train_segmenter` leaves it.
    system : str
        What the published cells call it.

    Returns
    -------
    list of Measured
        For each part `dice_<part>`, `iou_<part>` (true, of the mask at the radiograph's own size),
        `dice_published_<part>` and `iou_published_<part>` (the authors' functions, of the probability at the network's
        size). Mean and std (ddof 1) over images, of `iou_published` over batches; the interval by bootstrap over
        patients. The training part is measured without dropout and with the weights kept, where the paper's numbers
        are means over an epoch in which the weights still changed.

    Raises
    ------
    UserError
        Where the folder holds no finished training.
    """
    record = read_record(Path(folder) / RECORD, ("settings",))
    measured = []
    for name, part in _parts(read_overlap(folder)):
        for metric in ("dice", "iou", "dice_published"):
            values, patients = part[metric].to_numpy(), part["patient_id"].tolist()
            mean, low, high = bootstrap_mean(values, patients)
            measured.append(_measured(system, f"{metric}_{name}", part, (mean, _std(values), low, high)))
        found = _published_iou(part, int(record["settings"]["batch_size"]))
        measured.append(_measured(system, f"iou_published_{name}", part, found))
    return measured


def _parts(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    return ((name, table[table["part"] == name]) for name in PARTS)


def _measured(system: str, metric: str, part: pd.DataFrame, found: tuple[float, float, float, float]) -> Measured:
    mean, std, low, high = (100 * value for value in found)
    return Measured(system, metric, mean, std, DDOF, 1, low, high, part["patient_id"].nunique(), len(part))


def _std(values: np.ndarray) -> float:
    return float(values.std(ddof=DDOF)) if len(values) > DDOF else math.nan


def _published_iou(part: pd.DataFrame, batch_size: int) -> tuple[float, float, float, float]:
    """Return mean, std over batches and interval: the images of drawn patients are cut into batches again."""
    sums = part[list(SUMS)].to_numpy()
    values = batched_iou(sums, batch_size)
    rows = list(part.reset_index(drop=True).groupby("patient_id", sort=True).indices.values())
    rng = np.random.default_rng(0)
    means = [
        batched_iou(sums[np.concatenate([rows[i] for i in drawn])], batch_size).mean()
        for drawn in rng.integers(0, len(rows), size=(RESAMPLES, len(rows)))
    ]
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(values.mean()), _std(values), float(low), float(high)
