"""Additional metrics of the paper: training accuracies, the faulty accuracy, weighted averages."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covid_keras.evaluation import Measured
from covid_keras.evaluation.counts import (
    accuracy,
    balanced_accuracy,
    part_accuracies,
    summarise_counts,
    weighted_metrics,
)
from covid_keras.evaluation.metrics import percent

# Functions of a confusion matrix of two classes, the second of which is positive.
DECISION_METRICS = {
    "accuracy": accuracy,
    "sensitivity": lambda confusion: percent(confusion[..., 1, 1], confusion[..., 1, :].sum(axis=-1)),
    "specificity": lambda confusion: percent(confusion[..., 0, 0], confusion[..., 0, :].sum(axis=-1)),
}


def faulty_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return (TP + TN) / (TP + TN + 2 FP), the "accuracy" of Tables 6, 10, 14 and 15, percent, shape (...).

    The authors' code uses the false positives in place of the false negatives.

    Parameters
    ----------
    confusion : ndarray (..., 2, 2)
        Rows: true class; the second class is COVID-19.
    """
    right = np.trace(confusion, axis1=-2, axis2=-1)
    return percent(right, right + 2 * confusion[..., 0, 1])


def measure(predictions: pd.DataFrame) -> list[Measured]:
    """Return the additional metrics of all systems in a table of predictions with two classes."""
    functions = {
        "accuracy_faulty": faulty_accuracy,
        "balanced_accuracy": balanced_accuracy,
        **{name: _weighted(name) for name in ("weighted_precision", "weighted_recall", "weighted_f1")},
    }
    found = summarise_counts(predictions, functions)
    trained = set(predictions.loc[predictions["split"] == "train", "system"])
    return found + part_accuracies(predictions[predictions["system"].isin(trained)])


def _weighted(name: str):
    return lambda confusion: weighted_metrics(confusion)[name]
