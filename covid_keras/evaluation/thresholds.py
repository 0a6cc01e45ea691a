"""Choose decision thresholds on validation predictions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from covid_keras.common.errors import UserError
from covid_keras.evaluation.decisions import DECISION_THRESHOLD, is_positive
from covid_keras.evaluation.metrics import decisions_of
from covid_keras.evaluation.predictions import EXECUTION_COLUMNS, classes_of

RULES = ("youden", "accuracy", "sensitivity", "specificity")


def choose_threshold(
    predictions: pd.DataFrame, positive: str | None = None, rule: str = "youden", target: float | None = None
) -> float:
    """Choose the smallest score of positive decisions.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Rows with split "validation" only.
    positive : str, optional
        The positive class. Default: the last of two.
    rule : {"youden", "accuracy", "sensitivity", "specificity"}
        "youden": the largest sensitivity + specificity - 1 [1]_. "accuracy": the largest accuracy; of equal ones, the
        nearest to 0.5, which is also tried. "sensitivity": the highest threshold that
        reaches a sensitivity of `target`. "specificity": the lowest threshold that reaches a specificity of `target`.
    target : float, optional
        Percent, above 0 and at most 100; required by the rules "sensitivity" and "specificity", and only allowed there.

    Returns
    -------
    float
        One of the scores, 0..1; ties go to the highest. If too many negatives share the highest score for the rule
        "specificity", the next larger number, so that no image is called positive. Decide by `score >= threshold`.

    Raises
    ------
    UserError
        If there are rows of other splits or only one class, or the rule or target is invalid.

    References
    ----------
    .. [1] W. J. Youden, Index for rating diagnostic tests, Cancer 3(1), 1950.
    """
    if rule not in RULES:
        raise UserError(rule, "is not a rule for a threshold", f"Choose one of {', '.join(RULES)}")
    if (rule in ("sensitivity", "specificity")) != (target is not None):
        text = "must be 'sensitivity' or 'specificity' with a target, or 'youden' or 'accuracy' without one"
        raise UserError(rule, text, "Correct the protocol")
    if target is not None and not 0 < target <= 100:
        raise UserError("target", f"must be above 0 and at most 100 (got {target})", f"Give a {rule} in percent")
    if "split" not in predictions.columns:
        raise UserError("threshold", "needs predictions with a column split", "Pass validation predictions")
    if wrong := sorted(set(predictions["split"]) - {"validation"}):
        text = f"must not be chosen on {', '.join(wrong)} predictions"
        raise UserError("threshold", text, "Choose it on validation predictions only")
    decisions = decisions_of(predictions, positive)
    if not decisions.binary:
        raise UserError("threshold", "needs a positive class if there are more than two", "Name it")
    if len(np.unique(decisions.truth)) < 2:
        raise UserError("threshold", "needs validation predictions of both classes", "Enlarge the validation part")
    if rule == "accuracy":
        return most_accurate_threshold(decisions.truth == 1, decisions.scores[:, 1])
    false_alarms, sensitivity, thresholds = roc_curve(decisions.truth, decisions.scores[:, 1], drop_intermediate=False)
    # Skip the first point of the ROC curve, an infinite threshold.
    false_alarms, sensitivity, thresholds = false_alarms[1:], sensitivity[1:], thresholds[1:]
    if target is None:  # Youden's rule
        return float(thresholds[np.argmax(sensitivity - false_alarms)])
    if rule == "specificity":
        reached = np.flatnonzero(100 * (1 - false_alarms) >= target - 1e-9)
        return float(thresholds[reached[-1]] if len(reached) else np.nextafter(thresholds[0], np.inf))
    return float(thresholds[np.argmax(100 * sensitivity >= target - 1e-9)])


def most_accurate_threshold(positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the most accurate threshold among the scores (n,) and 0.5; of equal ones, the nearest to 0.5.

    `positive`, bool (n,), is the truth.
    """
    candidates = np.unique(np.r_[scores, DECISION_THRESHOLD])
    below = np.searchsorted(np.sort(scores[~positive]), candidates)
    right = below - np.searchsorted(np.sort(scores[positive]), candidates)
    best = candidates[right == right.max()]
    return float(best[np.argmin(np.abs(best - DECISION_THRESHOLD))])


def choose_thresholds(
    predictions: pd.DataFrame, positive: str | None = None, rule: str = "youden", target: float | None = None
) -> dict[tuple[str, int, int], float]:
    """Choose a threshold per execution: maps (system, repeat, fold) to it; see `choose_threshold`."""
    groups = predictions.groupby(list(EXECUTION_COLUMNS), sort=False)
    return {key: choose_threshold(group, positive, rule, target) for key, group in groups}


def apply_thresholds(
    predictions: pd.DataFrame,
    thresholds: float | Mapping[tuple[str, int, int], float],
    positive: str | None = None,
) -> pd.DataFrame:
    """Return a copy of two-class predictions with decisions by `score >= threshold`.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Two classes, any splits.
    thresholds : float or mapping
        One for all, or one per (system, repeat, fold), as from `choose_thresholds`.
    positive : str, optional
        The positive class. Default: the last.

    Raises
    ------
    UserError
        If there are more than two classes, the positive class is unknown, or an execution has no threshold.
    """
    classes = classes_of(predictions)
    if len(classes) != 2:
        raise UserError("threshold", f"requires two classes (got {len(classes)})", "Use the argmax")
    chosen = classes[-1] if positive is None else positive
    if chosen not in classes:
        raise UserError(chosen, "is not a class of the predictions", f"Use one of {', '.join(classes)}")
    if isinstance(thresholds, Mapping):
        keys = list(predictions[list(EXECUTION_COLUMNS)].itertuples(index=False, name=None))
        if missing := sorted(set(keys) - set(thresholds)):
            system, repeat, fold = missing[0]
            raise UserError(
                "threshold", f"is missing for {system}, repeat {repeat}, fold {fold}", "Choose one per execution"
            )
        limits = np.array([thresholds[key] for key in keys], dtype=np.float64)
    else:
        limits = np.asarray(thresholds, np.float64)
    said = is_positive(predictions[f"score_{chosen}"].to_numpy(np.float64), limits)
    other = classes[1 - classes.index(chosen)]
    return predictions.assign(predicted=np.where(said, chosen, other))
