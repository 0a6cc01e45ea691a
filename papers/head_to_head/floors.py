"""Two floors: logistic regression on a thumbnail, and on the shape of the lungs alone.

A thumbnail shows the exposure, the frame and the posture, but no texture of the lungs; a mask shows not even the
thumbnail's grey levels. What they tell apart, a network need not have found in the lungs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from covid_keras.data.preparation import Preparation
from covid_keras.paper import System
from covid_keras.paper.execution import Execution, Outcome, Trainer
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.retested import Retested

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

SIDE = 32  # pixels of the thumbnail
# Inverse strengths of the L2 penalty, of which the validation part chooses one.
STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Regression(System):
    """Logistic regression on standardised features, classes weighted equally.

    Attributes
    ----------
    features : callable
        Prepared images, uint8 (n, H, W, 1) -> features, float64 (n, k).
    """

    features: Callable[[np.ndarray], np.ndarray]

    def summary(self, protocol: Protocol) -> str:
        return "logistic regression,\nits penalty chosen on validation"

    def learned_from(self, execution: Execution) -> np.ndarray:
        return execution.division == "train"

    def network(self, execution: Execution) -> None:
        return None

    def run(self, trainer: Trainer) -> Outcome:
        return self.judge(trainer, trainer.execution)

    def judge(self, trainer: Trainer, learned: Execution) -> Outcome:
        """Return the outcome of an execution by the regression fitted to the training part of `learned`."""
        fitted, images = self.fit(learned), trainer.execution.inputs.prepared
        parameters = fitted[-1].coef_.size + fitted[-1].intercept_.size
        return trainer.score(lambda rows: fitted.predict_proba(self.features(images.batch(rows))), parameters)

    def fit(self, execution: Execution) -> Pipeline:
        """Return the regression with the smallest cross-entropy on the validation part."""
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import log_loss
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        inputs = execution.inputs
        rows = [inputs.rows_of(execution.part, name) for name in ("train", "validation")]
        (x, y), (others, truth) = ((self.features(inputs.prepared.batch(one)), inputs.labels[one]) for one in rows)
        found = [
            make_pipeline(StandardScaler(), LogisticRegression(C=strength, class_weight="balanced", max_iter=2000))
            for strength in STRENGTHS
        ]
        return min(
            (one.fit(x, y) for one in found), key=lambda one: log_loss(truth, one.predict_proba(others), labels=[0, 1])
        )


@dataclass(frozen=True, kw_only=True)
class RegressionElsewhere(Retested):
    """A regression, tested on other images."""

    trained: Regression

    def learned_from(self, execution: Execution) -> np.ndarray:
        return np.zeros(len(execution.cohort), bool)

    def network(self, execution: Execution) -> None:
        return None

    def run(self, trainer: Trainer) -> Outcome:
        return self.trained.judge(trainer, trainer.execution.below(self.trained.name))


def thumbnail(protocol: Protocol) -> Preparation:
    """Return the preparation of the thumbnail."""
    return Preparation(size=(SIDE, SIDE))


def mask_alone(protocol: Protocol) -> Preparation:
    """Return the preparation of the lung mask."""
    return Preparation(size=protocol.size, mask="alone")


def grey_levels(images: np.ndarray) -> np.ndarray:
    """Return the pixels, 0..1, float64 (n, H * W), of images uint8 (n, H, W, 1)."""
    return images.reshape(len(images), -1) / 255


def lung_shapes(masks: np.ndarray) -> np.ndarray:
    """Return what describes the shape of the lungs, as fractions of the image's area and sides.

    Parameters
    ----------
    masks : ndarray (n, H, W, 1) uint8
        255 in the lungs. The column of their centre of mass divides left from right.

    Returns
    -------
    ndarray (n, 25) float64
        Of each half: area, box (top, bottom, left, right) and logarithms of the seven Hu moments, 0 if it is empty.
        Then the difference of the areas, divided by their sum.
    """
    return np.array([_shape_of(mask[..., 0]) for mask in masks])


def _shape_of(mask: np.ndarray) -> list[float]:
    weight = mask.sum(axis=0, dtype=np.float64)
    middle = round(float(np.average(np.arange(len(weight)), weights=weight))) if weight.any() else mask.shape[1] // 2
    image_right, image_left = np.array(mask), np.array(mask)
    image_left[:, middle:], image_right[:, :middle] = 0, 0
    halves = [_half(half) for half in (image_left, image_right)]
    first, second = halves[0][0], halves[1][0]
    return [*halves[0], *halves[1], (first - second) / (first + second) if first + second else 0.0]


def _half(mask: np.ndarray) -> list[float]:
    rows, columns = np.nonzero(mask > 127)
    if not len(rows):
        return [0.0] * 12
    height, width = mask.shape
    box = [rows.min() / height, rows.max() / height, columns.min() / width, columns.max() / width]
    hu = cv2.HuMoments(cv2.moments(np.float32(mask) / 255)).ravel()
    return [float(mask.mean()) / 255, *box, *(-np.sign(hu) * np.log10(np.abs(hu) + _TINY))]


THUMBNAIL = Regression("thumbnail", "", thumbnail, channels=1, features=grey_levels)
LUNG_SHAPE = Regression("lung_shape", "", mask_alone, channels=1, features=lung_shapes)
