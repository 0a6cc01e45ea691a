"""The paper's lung segmenters U-Net 1, 2 and 3: scaling of the input, loss and metrics.

`covid_keras.training.segmenters` trains and applies them. Unlike the recipe of the shipped U-Net
(`covid_keras.training.lung_recipe`), everything is as published: no batch normalisation, no augmentation, a constant
learning rate, a loss of 1 - Dice per pixel, and the epoch with the best validation Dice.

Two deliberate differences from the authors' code: pixels that annotators marked "ignore" count neither in the loss nor
in the metrics (the paper's collections have none), and large radiographs are reduced by area averaging instead of
bilinear interpolation.

References
----------
.. [1] D. Arias-Garzon et al., "COVID-19 detection in X-ray images using convolutional neural networks", Machine
   Learning with Applications 6 (2021) 100138, sections 2.4 and 3.2, equations 1 to 4; loss, dropout and threshold as in
   the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops

from covid_keras.common.errors import UserError
from covid_keras.models.unet import build_unet
from covid_keras.training.segmenters import SegmenterKind
from papers.arias_vgg19.overlap import SUMS, authors_dice, iou_of_sums, pixel_dice, soft_sums, summary_of
from papers.arias_vgg19.settings import SegmenterSettings, Standardise


@dataclass(frozen=True)
class Scaling:
    """Equation 2, z = (x - mean) / std, for images scaled to 0..1 by equation 1.

    Attributes
    ----------
    mode : {"global", "authors", "per_image"}
        "global": mean and std of all training pixels, for every image (as the paper says). "authors": training images
        by their own mean and std, all others by the averages of these. "per_image": each image by its own.
    mean, std : float
        The two scalars; recorded but not used in mode "per_image".
    """

    mode: Standardise
    mean: float
    std: float

    @classmethod
    def of(cls, mode: Standardise, images: np.ndarray) -> Scaling:
        """Fit the scalars to the training images, (n, H, W) in 0..1, without constant ones.

        Raises
        ------
        UserError
            If every image is constant.
        """
        images = images.astype(np.float64)
        varied = images[np.ptp(images, axis=(1, 2)) > 0]
        if not len(varied):
            raise UserError("segmenter", "every training image has a single grey level", "Check the radiographs")
        if mode == "global":
            return cls(mode, float(varied.mean()), float(varied.std()))
        return cls(mode, float(varied.mean(axis=(1, 2)).mean()), float(varied.std(axis=(1, 2)).mean()))

    def __call__(self, images: np.ndarray, training: bool = False) -> np.ndarray:
        """Scale images, (n, H, W) in 0..1, to the network's input, float32 (n, H, W, 1).

        `training` marks training images, which mode "authors" scales differently. A constant image becomes 0 if it is
        scaled by its own std.
        """
        mean, std = self.mean, self.std
        if self.mode == "per_image" or (self.mode == "authors" and training):
            mean = images.mean(axis=(1, 2), dtype=np.float64, keepdims=True)
            std = images.std(axis=(1, 2), dtype=np.float64, keepdims=True)
            std = np.where(std > 0, std, 1.0)
        return ((images - mean) / std).astype(np.float32)[..., None]

    def recorded(self) -> dict[str, float]:
        """Return the two scalars."""
        return {"mean": self.mean, "std": self.std}


# -------------------------------------------------------------------------------------------- loss and metrics


def dice(y_true, y_pred):
    """Return the authors' Dice (`pixel_dice`) per image, over counted pixels.

    `y_true` is float (batch, H, W, 2): the mask and the pixels that count; `y_pred` (batch, H, W, 1), in 0..1.
    """
    counts = y_true[..., 1]
    each = pixel_dice(y_true[..., 0], y_pred[..., 0]) * counts
    return ops.sum(each, axis=(1, 2)) / ops.maximum(ops.sum(counts, axis=(1, 2)), 1.0)


def iou(y_true, y_pred):
    """Return the authors' IoU of the whole batch; arguments as in `dice`."""
    counts = y_true[..., 1]
    lung, p = y_true[..., 0] * counts, y_pred[..., 0] * counts
    return iou_of_sums(ops.sum(lung * p), ops.sum(lung), ops.sum(p))


def dice_loss(y_true, y_pred):
    """Return 1 - the authors' Dice per image; arguments as in `dice`."""
    return 1 - dice(y_true, y_pred)


class UNetKind(SegmenterKind):
    """The three U-Nets."""

    paper = "arias_vgg19"
    citation = "Arias-Garzon et al."
    settings = SegmenterSettings
    monitor = "val_dice"
    input_range = "standardised, see record.json"

    def network(self, settings: SegmenterSettings) -> keras.Model:
        further = {"form": settings.form} if settings.form != "published" else {}
        return build_unet((settings.size, settings.size, 1), settings.filters, **further)

    def losses(self) -> tuple[Any, list[Any]]:
        return dice_loss, [dice, iou]

    def scaling(self, settings: SegmenterSettings, images: np.ndarray) -> Scaling:
        return Scaling.of(settings.standardise, images)

    def scaling_of(self, settings: SegmenterSettings, record: dict[str, Any]) -> Scaling:
        return Scaling(settings.standardise, record["mean"], record["std"])

    def measure(self, lung: np.ndarray, p: np.ndarray, counts: np.ndarray) -> dict[str, float]:
        """Return the authors' metrics of one image, from the probability."""
        sums = dict(zip(SUMS, soft_sums(lung, p, counts), strict=True))
        return {"dice_published": authors_dice(lung, p, counts)} | sums

    def summary(self, table: pd.DataFrame, settings: SegmenterSettings) -> dict[str, dict[str, float | int]]:
        return summary_of(table, settings.batch_size)
