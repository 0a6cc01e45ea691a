"""Accuracy at the threshold chosen on validation images, compared with 0.5."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from covid_keras.evaluation import apply_thresholds, bootstrap_difference, classes_of
from covid_keras.evaluation.counts import summarise_counts
from covid_keras.evaluation.decisions import DECISION_THRESHOLD
from covid_keras.evaluation.metrics import executions_of
from covid_keras.evaluation.thresholds import most_accurate_threshold
from covid_keras.reporting.differences import difference_words, rows_tested, with_interval
from covid_keras.reporting.wording import NOTHING, number
from papers.arias_vgg19.measures import DECISION_METRICS

STEPS = np.linspace(0, 1, 201)
Thresholds = Mapping[tuple[str, int, int], float]


class ThresholdCurves(NamedTuple):
    """Accuracy of one system at each of `thresholds`, 0..1, shape (t,), as the mean over executions.

    `accuracy` maps "validation" and "test" to percent, shape (t,); `chosen` has the chosen threshold of each execution.
    """

    thresholds: np.ndarray
    accuracy: Mapping[str, np.ndarray]
    chosen: tuple[float, ...]


def right_answers(positive: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count the correct decisions of `score >= threshold`, int64, shape of `thresholds`.

    >>> right_answers(np.array([False, True, True]), np.array([0.2, 0.4, 0.9]), np.array([0.1, 0.3, 0.5]))
    array([2, 3, 2])
    """
    of_positives, of_others = np.sort(scores[positive]), np.sort(scores[~positive])
    return len(of_positives) - np.searchsorted(of_positives, thresholds) + np.searchsorted(of_others, thresholds)


def best_thresholds(frame: pd.DataFrame) -> Thresholds:
    """Return the threshold chosen on validation by (system, repeat, fold), of executions with a validation part."""
    validation = frame[frame["split"] == "validation"]
    return {key: most_accurate_threshold(*_answers(rows)) for key, rows in executions_of(validation)}


def threshold_rows(frame: pd.DataFrame, thresholds: Thresholds) -> list[dict[str, str]]:
    """Return one system's test metrics in two rows: at 0.5, and at the chosen threshold of each execution."""
    test = pd.concat([rows for key, rows in executions_of(rows_tested(frame)) if key in thresholds])
    chosen = ", ".join(number(thresholds[key]) for key in sorted(thresholds))
    both = {f"{DECISION_THRESHOLD:g}": DECISION_THRESHOLD, f"chosen: {chosen}": thresholds}
    decided = [apply_thresholds(test, given) for given in both.values()]
    gains = [NOTHING, difference_words(bootstrap_difference(*decided[::-1], "accuracy"))]
    rows = []
    for words, predictions, gain in zip(both, decided, gains, strict=True):
        found = {one.metric: one for one in summarise_counts(predictions, DECISION_METRICS)}
        metrics = {f"{metric} (%)": with_interval(found[metric]) for metric in DECISION_METRICS}
        rows.append({"threshold": words} | metrics | {"gain in accuracy (points)": gain})
    return rows


def threshold_curves(frame: pd.DataFrame, thresholds: Thresholds) -> ThresholdCurves:
    """Return the accuracy at each threshold, on validation and on test."""
    means = {}
    for part in ("validation", "test"):
        rows = frame[frame["split"] == part]
        answers = [_answers(own) for key, own in executions_of(rows) if key in thresholds]
        if answers:
            means[part] = np.mean([100 * right_answers(*one, STEPS) / len(one[0]) for one in answers], axis=0)
    return ThresholdCurves(STEPS, means, tuple(thresholds.values()))


def _answers(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each image is positive, bool, and the scores of the positive (last) class, float64."""
    positive = classes_of(rows)[-1]
    return rows["label"].eq(positive).to_numpy(), rows[f"score_{positive}"].to_numpy(np.float64)
