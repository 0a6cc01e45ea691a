"""Further metrics computed from the confusion matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from covid_keras.evaluation.metrics import percent
from covid_keras.evaluation.summary import Measured, measured_of
from covid_keras.evaluation.uncertainty import (
    LEVEL,
    RESAMPLES,
    ExecutionCounts,
    bearing_patients,
    count_executions,
    interval_of,
    mean_metrics,
    patient_weights,
)

OfConfusion = Callable[[np.ndarray], np.ndarray]


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the accuracy of confusion matrices (..., K, K), percent, shape (...)."""
    return percent(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Return the mean recall over classes, percent, shape (...); NaN if a class has no images."""
    return percent(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1)).mean(axis=-1)


def weighted_metrics(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 averaged over classes, weighted by their images, percent.

    As `average="weighted"` in scikit-learn; weighted recall equals accuracy. Keys `weighted_precision`,
    `weighted_recall`, `weighted_f1`, shape (...) each.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    actual, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    shares = actual / np.maximum(actual.sum(axis=-1, keepdims=True), 1)
    # As in scikit-learn, the precision of a class that is never predicted is 0.
    parts = {
        "precision": percent(right, said),
        "recall": percent(right, actual),
        "f1": percent(2 * right, actual + said),
    }
    return {f"weighted_{name}": (np.nan_to_num(values) * shares).sum(axis=-1) for name, values in parts.items()}


def macro_metrics(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall and F1 as unweighted means over classes, percent, shape (...) each.

    Keys `macro_precision`, `macro_recall`, `macro_f1`; NaN if undefined for a class.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    actual, said = np.asarray(confusion).sum(axis=-1), np.asarray(confusion).sum(axis=-2)
    parts = {"precision": (right, said), "recall": (right, actual), "f1": (2 * right, actual + said)}
    return {f"macro_{name}": percent(*ratio).mean(axis=-1) for name, ratio in parts.items()}


def agreement_metrics(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return MCC and Cohen's kappa, 100 for perfect agreement, shape (...) each.

    Keys `mcc`, the K-class correlation coefficient (Matthews' for two classes) [1]_, and `kappa` [2]_; NaN if the truth
    or the prediction is a single class.

    References
    ----------
    .. [1] J. Gorodkin, Comparing two K-category assignments by a K-category correlation coefficient, Comput. Biol.
       Chem. 28, 2004.
    .. [2] J. Cohen, A coefficient of agreement for nominal scales, Educ. Psychol. Meas. 20(1), 1960.
    """
    confusion = np.asarray(confusion, np.float64)
    actual, said, n = confusion.sum(axis=-1), confusion.sum(axis=-2), confusion.sum(axis=(-2, -1))
    chance = (actual * said).sum(axis=-1)
    beyond = np.trace(confusion, axis1=-2, axis2=-1) * n - chance
    spread = np.sqrt((n**2 - (actual**2).sum(axis=-1)) * (n**2 - (said**2).sum(axis=-1)))
    return {"mcc": percent(beyond, spread), "kappa": np.where(spread > 0, percent(beyond, n**2 - chance), np.nan)}


def rest_metrics(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return one-against-rest specificity and NPV per class, percent, shape (..., K) each.

    Keys `specificity`, TN/(TN+FP), and `npv`, TN/(TN+FN).
    """
    confusion = np.asarray(confusion)
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    all_, actual, said = confusion.sum(axis=(-2, -1))[..., None], confusion.sum(axis=-1), confusion.sum(axis=-2)
    negatives = all_ - actual - said + right
    return {"specificity": percent(negatives, all_ - actual), "npv": percent(negatives, all_ - said)}


def part_accuracies(predictions: pd.DataFrame, parts: Iterable[str] = ("train", "validation")) -> list[Measured]:
    """Return `accuracy_<part>` for each part and each system that predicted it, as `summarise_counts` does."""
    return [one for part in parts for one in summarise_counts(predictions, {f"accuracy_{part}": accuracy}, part)]


def summarise_counts(
    predictions: pd.DataFrame,
    functions: Mapping[str, OfConfusion],
    part: str = "test",
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Measured]:
    """Summarise functions of the confusion matrix over the executions of each system.

    Parameters
    ----------
    predictions : pandas.DataFrame
        From `read_predictions`; of two classes the second is positive.
    functions : mapping
        Metric name to a function from confusion matrices (..., K, K), rows = truth, to percent (...).
    part : str
        The part to use: "test", "validation" or "train". Systems without rows are left out.
    n, seed, level
        As in `covid_keras.evaluation.summarise`.

    Returns
    -------
    list of Measured
        Systems in the order they appear, metrics in the order given.
    """
    rows = predictions[predictions["split"] == part]
    measured = []

    def metrics(execution: ExecutionCounts, weights: np.ndarray) -> dict[str, np.ndarray]:
        confusion = execution.confusion(weights)
        return {name: function(confusion) for name, function in functions.items()}

    def alone(execution: ExecutionCounts) -> dict[str, np.ndarray]:
        return {name: function(execution.alone()) for name, function in functions.items()}

    for system in dict.fromkeys(rows["system"]):
        mine = rows[rows["system"] == system]
        patients = pd.Index(sorted(mine["patient_id"].unique()))
        executions = count_executions(mine, patients)
        once = [metrics(execution, np.ones((1, len(patients)))) for execution in executions]
        drawn = [mean_metrics(executions, weights, metrics) for weights in patient_weights(len(patients), n, seed)]
        bearing = bearing_patients(executions, len(patients), alone)
        sizes = len(patients), mine["image_id"].nunique()
        for name in functions:
            values = np.concatenate([one[name] for one in once])
            interval = interval_of(np.concatenate([chunk[name] for chunk in drawn]), level, bearing[name])
            measured.append(measured_of(system, name, values, interval, sizes, (level, n, seed)))
    return measured
