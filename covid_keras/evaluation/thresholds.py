"""Decision thresholds, chosen on validation predictions and never on test."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.metrics import roc_curve

from covid_keras.common.errors import UserError
from covid_keras.evaluation.decisions import is_positive
from covid_keras.evaluation.metrics import decisions_of
from covid_keras.evaluation.predictions import EXECUTION_COLUMNS, classes_of

RULES = ("youden", "sensitivity")


def choose_threshold(
    predictions: pd.DataFrame, positive: str | None = None, rule: str = "youden", target: float | None = None
) -> float:
    """Choose the score from which an image is called positive.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Rows with split "validation", and no others.
    positive : str, optional
        The positive class; left out, the last of two.
    rule : {"youden", "sensitivity"}
        "youden": the largest sensitivity + specificity - 1 [1]_. "sensitivity": the highest threshold that
        reaches a sensitivity of `target`.
    target : float, optional
        Percent, above 0 to 100; needed by, and only by, the rule "sensitivity".

    Returns
    -------
    float
        One of the scores, 0..1; the highest where several are as good. Decide by `score >= threshold`.

    Raises
    ------
    UserError
        For rows of the test split or of any other than validation, one class only, an unknown rule or target.

    References
    ----------
    .. [1] W. J. Youden, Index for rating diagnostic tests, Cancer 3(1), 1950.
    """
    if rule not in RULES:
        raise UserError(rule, "is not a rule for a threshold", f"Choose one of {', '.join(RULES)}")
    if (rule == "sensitivity") != (target is not None):
        raise UserError(rule, "goes with a target where it is 'sensitivity', and only there", "Correct the protocol")
    if target is not None and not 0 < target <= 100:
        raise UserError("target", f"{target} is not a sensitivity in percent", "Give a number above 0, at most 100")
    if "split" not in predictions.columns:
        raise UserError("threshold", "the predictions have no column split", "Pass validation predictions")
    if wrong := sorted(set(predictions["split"]) - {"validation"}):
        text = f"would be chosen on {', '.join(wrong)} predictions"
        raise UserError("threshold", text, "Choose it on validation predictions only")
    decisions = decisions_of(predictions, positive)
    if not decisions.binary:
        raise UserError("threshold", "needs a positive class where there are more than two", "Name it")
    if len(np.unique(decisions.truth)) < 2:
        raise UserError("threshold", "the validation predictions hold one class only", "Enlarge it")
    false_alarms, sensitivity, thresholds = roc_curve(decisions.truth, decisions.scores[:, 1], drop_intermediate=False)
    # The first point of a ROC curve is "nobody is positive" at an infinite threshold: no choice.
    false_alarms, sensitivity, thresholds = false_alarms[1:], sensitivity[1:], thresholds[1:]
    if target is None:  # Youden's rule
        return float(thresholds[np.argmax(sensitivity - false_alarms)])
    return float(thresholds[np.argmax(100 * sensitivity >= target - 1e-9)])


def choose_thresholds(
    predictions: pd.DataFrame, positive: str | None = None, rule: str = "youden", target: float | None = None
) -> dict[tuple[str, int, int], float]:
    """Choose a threshold for each execution: (system, repeat, fold) to threshold; see `choose_threshold`."""
    groups = predictions.groupby(list(EXECUTION_COLUMNS), sort=False)
    return {key: choose_threshold(group, positive, rule, target) for key, group in groups}


def apply_thresholds(
    predictions: pd.DataFrame,
    thresholds: float | Mapping[tuple[str, int, int], float],
    positive: str | None = None,
) -> pd.DataFrame:
    """Decide two-class predictions anew: a copy whose column `predicted` follows `score >= threshold`.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Two classes; any splits.
    thresholds : float or mapping
        One for all, or one for each (system, repeat, fold) as `choose_thresholds` returns them.
    positive : str, optional
        The positive class; left out, the last.

    Raises
    ------
    UserError
        For more than two classes, an unknown positive class, or an execution without a threshold.
    """
    classes = classes_of(predictions)
    if len(classes) != 2:
        raise UserError("threshold", f"decides between two classes, here are {len(classes)}", "Use the argmax")
    chosen = classes[-1] if positive is None else positive
    if chosen not in classes:
        raise UserError(chosen, f"is none of the classes {', '.join(classes)}", "Choose one of them")
    if isinstance(thresholds, Mapping):
        keys = list(predictions[list(EXECUTION_COLUMNS)].itertuples(index=False, name=None))
        if missing := sorted(set(keys) - set(thresholds)):
            system, repeat, fold = missing[0]
            raise UserError("threshold", f"none for {system}, repeat {repeat}, fold {fold}", "Choose one for each")
        limits = np.array([thresholds[key] for key in keys], dtype=np.float64)
    else:
        limits = np.asarray(thresholds, np.float64)
    said = is_positive(predictions[f"score_{chosen}"].to_numpy(np.float64), limits)
    other = classes[1 - classes.index(chosen)]
    return predictions.assign(predicted=np.where(said, chosen, other))
