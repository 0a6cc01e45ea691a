"""Dice and IoU of masks: the true ones, and those computed by the authors' code.

The paper's "Dice" is computed per pixel and averaged: a correct pixel scores 1, a wrong one 1/2, so that for a binary
mask it is 1 - (share of wrong pixels) / 2, background included. Its "IoU" is computed over all pixels of a batch, with
probabilities in place of the mask. Neither is the Dice or IoU of an image, and the two are not consistent with each
other. `covid_keras.evaluation.overlap.mask_overlap` returns the true ones.

Nothing here imports TensorFlow; `pixel_dice` and `iou_of_sums` take its tensors as well as arrays.

References
----------
.. [1] D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
   Learning with Applications 6 (2021) 100138, table 2; the functions as in the authors' code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.files import read_record
from covid_keras.common.settings import Count, build
from covid_keras.evaluation import Measured
from covid_keras.evaluation import overlap as core
from covid_keras.evaluation.overlap import OVERLAP, PARTS, RECORD
from covid_keras.evaluation.uncertainty import LEVEL, RESAMPLES, Interval, interval_of

__all__ = ["OVERLAP", "PARTS", "PUBLISHED", "RECORD", "SUMS", "measured_of", "read_overlap", "summary_of"]

SMOOTH = 1.0
# Sums over the pixels of an image, from which the authors' IoU of a batch is computed.
SUMS = ("sum_both", "sum_lung", "sum_probability")
# Columns of the overlap of an image beside the true Dice and IoU.
PUBLISHED = ("dice_published", *SUMS)


@dataclass(frozen=True)
class BatchSettings:
    """The setting of a segmenter on which its published IoU depends."""

    batch_size: Count


def pixel_dice(lung, p):
    """Return the authors' Dice of each pixel, (2 y p + 1) / (y^2 + p^2 + 1), for arrays or tensors of equal shape.

    The authors' sums over channels are omitted, since a mask has one channel.
    """
    return (2 * lung * p + SMOOTH) / (lung * lung + p * p + SMOOTH)


def iou_of_sums(both, lung, p):
    """Return the authors' IoU, (both + 1) / (lung + p - both + 1), from sums over a batch's pixels.

    `both`, `lung` and `p` are the sums of y p, y and p, where p is the probability of lung. Without lung and p, the IoU
    is 1.
    """
    return (both + SMOOTH) / (lung + p - both + SMOOTH)


def authors_dice(lung: np.ndarray, p: np.ndarray, counts: np.ndarray | None = None) -> float:
    """Return the authors' "Dice" of an image, 1/2 (every pixel wrong) to 1: the mean of `pixel_dice`.

    `lung` (0 or 1) is the human mask, `p` (0..1) the probability of lung or a binary mask of the same shape, and
    `counts` (0 or 1) marks the annotated pixels (default, as in the authors' code: all). NaN if there are none.
    """
    each = pixel_dice(np.asarray(lung, np.float64), np.asarray(p, np.float64))
    if counts is None:
        return float(each.mean())
    counts = np.asarray(counts, np.float64)
    return float((each * counts).sum() / counts.sum()) if counts.any() else math.nan


def soft_sums(lung: np.ndarray, p: np.ndarray, counts: np.ndarray | None = None) -> tuple[float, float, float]:
    """Return the sums of y p, y and p over the annotated pixels, in float64."""
    lung, p = np.asarray(lung, np.float64), np.asarray(p, np.float64)
    if counts is not None:
        lung, p = lung * counts, p * counts
    return float((lung * p).sum()), float(lung.sum()), float(p.sum())


def batched_iou(sums: np.ndarray, batch_size: int) -> np.ndarray:
    """Return the authors' IoU per batch, from the `SUMS` per image, (n, 3), in order."""
    starts = np.arange(0, len(sums), batch_size)
    return iou_of_sums(*np.add.reduceat(np.asarray(sums, np.float64), starts, axis=0).T)


def read_overlap(folder: Path) -> pd.DataFrame:
    """Read a trained U-Net's `overlap.csv`; raise `UserError` if it is missing or malformed."""
    return core.read_overlap(folder, PUBLISHED)


def summary_of(table: pd.DataFrame, batch_size: int) -> dict[str, dict[str, float | int]]:
    """Return, for each part, images, patients and the means of true and published Dice and IoU, 0..1, four digits."""
    found = core.summary_of(table)
    for name, part in core.parts_of(table):
        means = {
            "dice_published": part["dice_published"].mean(),
            "iou_published": batched_iou(part[list(SUMS)].to_numpy(), batch_size).mean(),
        }
        found[name] |= {key: round(float(value), 4) for key, value in means.items()}
    return found


def measured_of(folder: Path, system: str) -> list[Measured]:
    """Return a trained segmenter's results on its training and validation images, in percent.

    Parameters
    ----------
    folder : Path
        Folder of a training by `covid_keras.training.segmenters.train_segmenter`.
    system : str
        Its name in the published cells.

    Returns
    -------
    list of Measured
        Per part: `dice_<part>` and `iou_<part>` (true ones, of the mask at the radiograph's own size),
        `dice_published_<part>` and `iou_published_<part>` (the authors' functions, of the probability at the network's
        size). Mean and std (ddof 1) over images, for `iou_published` over batches; interval by bootstrap over patients.
        The training part is measured with the final weights and without dropout; the paper's training numbers are means
        over an epoch during which the weights change.

    Raises
    ------
    UserError
        If the folder holds no finished training.
    """
    settings = _batch_settings(Path(folder) / RECORD)
    measured = []
    for name, part in core.parts_of(read_overlap(folder)):
        measured += core.measured_part(part, system, name, (*core.OWN_SIZE, "dice_published"))
        found, interval = _published_iou(part, settings.batch_size)
        measured.append(core.measured_of_part(part, system, f"iou_published_{name}", found, interval))
    return measured


def _batch_settings(path: Path) -> BatchSettings:
    return build(BatchSettings, read_record(path, ("settings",))["settings"], path, "settings", others=True)


def _published_iou(part: pd.DataFrame, batch_size: int) -> tuple[tuple[float, float], Interval]:
    """Return mean and std over batches, and the interval; each resample of patients is split into batches anew."""
    sums = part[list(SUMS)].to_numpy()
    values = batched_iou(sums, batch_size)
    rows = list(part.reset_index(drop=True).groupby("patient_id", sort=True).indices.values())
    rng = np.random.default_rng(0)
    means = [
        batched_iou(sums[np.concatenate([rows[i] for i in drawn])], batch_size).mean()
        for drawn in rng.integers(0, len(rows), size=(RESAMPLES, len(rows)))
    ]
    return (float(values.mean()), core.std_of(values)), interval_of(100 * np.array(means), LEVEL, len(rows))
