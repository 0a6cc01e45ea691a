"""Additional metrics of the paper: validation accuracies and, for three classes, specificity and NPV."""

from __future__ import annotations

import numpy as np
import pandas as pd

from covid_keras.evaluation import Measured, classes_of
from covid_keras.evaluation.counts import OfConfusion, part_accuracies, rest_metrics, summarise_counts


def measure(predictions: pd.DataFrame) -> list[Measured]:
    """Return the additional metrics of the systems in a table of predictions with one set of classes.

    `accuracy_validation`, and where it was predicted `accuracy_train`; of more than two classes `specificity_<class>`
    and `npv_<class>`, each class against the rest (Tables 8 and 9).
    """
    classes = classes_of(predictions)
    found = part_accuracies(predictions)
    if len(classes) > 2:
        functions = {
            f"{metric}_{name}": _of_class(metric, place)
            for place, name in enumerate(classes)
            for metric in ("specificity", "npv")
        }
        found += summarise_counts(predictions, functions)
    return found


def _of_class(metric: str, place: int) -> OfConfusion:
    def function(confusion: np.ndarray) -> np.ndarray:
        return rest_metrics(confusion)[metric][..., place]

    return function
