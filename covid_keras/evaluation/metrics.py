"""Metrics of predictions, overall and per execution.

All values are percentages, 0 to 100. A ratio with denominator zero is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

from covid_keras.common.errors import UserError
from covid_keras.evaluation.decisions import is_positive
from covid_keras.evaluation.predictions import EXECUTION_COLUMNS, classes_of, score_columns

COUNT_KEYS = ("n", "tp", "tn", "fp", "fn")
SEVERITY_PREFIX = "accuracy_"
_REMEDY = "Pass rows as written in predictions.csv"


@dataclass(frozen=True)
class Decisions:
    """Predictions as arrays: truth, decisions and scores.

    Parameters
    ----------
    classes : tuple of str
        Class names; if `binary`, (the other class or "rest", the positive class).
    truth, predicted : ndarray of int64, shape (N,)
        Index into `classes`.
    scores : ndarray of float64, shape (N, len(classes))
        Scores per class, 0..1.
    severity : ndarray of str, shape (N,)
        "" if unknown.
    binary : bool
        Whether there is a positive class, so that the metrics are those of two classes.
    """

    classes: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    scores: np.ndarray
    severity: np.ndarray
    binary: bool

    def severity_rows(self) -> dict[str, np.ndarray]:
        """Return a mask of the images, (N,) bool, for each severity level in sorted order.

        If there is a positive class, only positives count.
        """
        counted = self.truth == 1 if self.binary else np.ones(len(self.truth), bool)
        levels = sorted({str(level) for level in np.unique(self.severity[counted])} - {""})
        return {level: counted & (self.severity == level) for level in levels}


def decisions_of(predictions: pd.DataFrame, positive: str | None = None, threshold: float | None = None) -> Decisions:
    """Convert predictions to arrays.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Columns `label`, `predicted`, `score_<class>`..., optionally `severity` and `split`.
    positive : str, optional
        The positive class; all others together are negative. Default: the last of two classes; none for more than two.
    threshold : float, optional
        Decide for the positive class if its score is at least `threshold` (0..1). Default: use the column `predicted`.

    Raises
    ------
    UserError
        If columns or rows are missing, classes or `positive` are unknown, rows belong to several splits, or there is a
        threshold without a positive class.
    """
    classes = classes_of(predictions)
    _check_input(predictions, classes, positive, threshold)
    index = {name: number for number, name in enumerate(classes)}

    def numbers(column: str) -> np.ndarray:
        return predictions[column].astype(str).map(index).to_numpy(np.int64)

    truth = numbers("label")
    scores = predictions[score_columns(predictions)].to_numpy(np.float64)
    if not np.isfinite(scores).all():
        raise UserError("predictions", "have a score that is not a finite number", _REMEDY)
    severity = np.full(len(truth), "", dtype=object)
    if "severity" in predictions.columns:
        severity = predictions["severity"].astype(object).fillna("").to_numpy(dtype=object)
    if positive is None and len(classes) > 2:
        return Decisions(classes, truth, numbers("predicted"), scores, severity, binary=False)
    chosen = index[positive] if positive is not None else 1
    said = numbers("predicted") == chosen if threshold is None else is_positive(scores[:, chosen], threshold)
    other = classes[1 - chosen] if len(classes) == 2 else "rest"
    two = np.stack([1 - scores[:, chosen], scores[:, chosen]], axis=1)
    truth, said = (truth == chosen).astype(np.int64), said.astype(np.int64)
    return Decisions((other, classes[chosen]), truth, said, two, severity, binary=True)


def _check_input(
    predictions: pd.DataFrame, classes: tuple[str, ...], positive: str | None, threshold: float | None
) -> None:
    needed = ["label"] if threshold is not None else ["label", "predicted"]
    missing = [name for name in needed if name not in predictions.columns]
    if len(classes) < 2:
        missing.append("score_<class> (two or more)")
    if missing:
        raise UserError("predictions", f"have no column {', '.join(missing)}", _REMEDY)
    if predictions.empty:
        raise UserError("predictions", "have no rows", _REMEDY)
    for column in needed:
        unknown = sorted(set(predictions[column].astype(str)) - set(classes))
        if unknown:
            text = f"column {column} has {unknown[0]!r}, which is not one of {', '.join(classes)}"
            raise UserError("predictions", text, _REMEDY)
    if "split" in predictions.columns and predictions["split"].nunique() > 1:
        names = ", ".join(sorted(predictions["split"].unique()))
        raise UserError("predictions", f"mix the splits {names}", "Choose the rows of one split")
    if positive is not None and positive not in classes:
        raise UserError(positive, "is not a class of the predictions", f"Use one of {', '.join(classes)}")
    if threshold is not None and positive is None and len(classes) > 2:
        raise UserError("threshold", "needs a positive class if there are more than two", "Name it")


def compute_metrics(
    predictions: pd.DataFrame, positive: str | None = None, threshold: float | None = None
) -> dict[str, float]:
    """Compute the metrics of predictions.

    Parameters
    ----------
    predictions : pandas.DataFrame
        One split of one execution, or of several pooled ones; for the columns see `decisions_of`.
    positive, threshold
        As in `decisions_of`.

    Returns
    -------
    dict of str to float
        In percent, 0 to 100, NaN if undefined. With a positive class: `accuracy`, `sensitivity` TP/(TP+FN),
        `specificity` TN/(TN+FP), `precision_positive` TP/(TP+FP), `precision_negative` TN/(TN+FN), `f1_positive`,
        `f1_negative`, `auc`, and the counts `n, tp, tn, fp, fn`. Otherwise: `accuracy`, `recall_<class>`,
        `precision_<class>`, `f1_<class>`, `auc` (one against the rest, mean over classes), `n` and
        `confusion_<actual>_<predicted>` (see `confusion_shares`). In both cases `accuracy_<severity>`, the accuracy on
        the images (with a positive class: the positives) of that level. F1 is 2TP/(2TP+FP+FN), so it is 0, not NaN, for
        a class that is present but never predicted.

    References
    ----------
    .. [1] S. Tabik et al., IEEE JBHI 24(12), 2020, section V: the seven metrics and accuracy(S).
    .. [2] T. Fawcett, An introduction to ROC analysis, Pattern Recognition Letters 27(8), 2006.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"label": ["N", "P", "P"], "predicted": ["N", "P", "N"],
    ...                       "score_N": [0.9, 0.2, 0.6], "score_P": [0.1, 0.8, 0.4]})
    >>> compute_metrics(table)["sensitivity"]
    50.0
    """
    decisions = decisions_of(predictions, positive, threshold)
    metrics = _binary_metrics(decisions) if decisions.binary else _class_metrics(decisions)
    for level, rows in decisions.severity_rows().items():
        right = decisions.truth[rows] == decisions.predicted[rows]
        metrics[SEVERITY_PREFIX + level] = 100 * float(right.mean())
    return metrics


def _ratios(decisions: Decisions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return precision, recall and F1 per class in percent, NaN if undefined."""
    precision, recall, f1, _ = precision_recall_fscore_support(
        decisions.truth, decisions.predicted, labels=range(len(decisions.classes)), zero_division=np.nan
    )
    return 100 * precision, 100 * recall, 100 * f1


def _binary_metrics(decisions: Decisions) -> dict[str, float]:
    (tn, fp), (fn, tp) = confusion_matrix(decisions.truth, decisions.predicted, labels=[0, 1]).tolist()
    precision, recall, f1 = _ratios(decisions)
    return {
        "accuracy": 100 * (tp + tn) / (tp + tn + fp + fn),
        "sensitivity": float(recall[1]),
        "specificity": float(recall[0]),
        "precision_positive": float(precision[1]),
        "precision_negative": float(precision[0]),
        "f1_positive": float(f1[1]),
        "f1_negative": float(f1[0]),
        "auc": _auc(decisions.truth == 1, decisions.scores[:, 1]),
        "n": tp + tn + fp + fn, "tp": tp, "tn": tn, "fp": fp, "fn": fn,
    }  # fmt: skip


def _class_metrics(decisions: Decisions) -> dict[str, float]:
    precision, recall, f1 = _ratios(decisions)
    metrics = {"accuracy": 100 * float((decisions.truth == decisions.predicted).mean())}
    for number, name in enumerate(decisions.classes):
        metrics[f"recall_{name}"] = float(recall[number])
        metrics[f"precision_{name}"] = float(precision[number])
        metrics[f"f1_{name}"] = float(f1[number])
    columns = range(len(decisions.classes))
    # Class by class: roc_auc_score(multi_class="ovr") requires sums closer to 1 than a float16 softmax gives.
    metrics["auc"] = float(np.mean([_auc(decisions.truth == k, decisions.scores[:, k]) for k in columns]))
    metrics["n"] = len(decisions.truth)
    confusion = confusion_matrix(decisions.truth, decisions.predicted, labels=columns)
    return metrics | {name: float(share) for name, share in confusion_shares(confusion, decisions.classes).items()}


def _auc(is_class: np.ndarray, scores: np.ndarray) -> float:
    """Return the area under the ROC curve in percent; NaN for a single class."""
    if is_class.all() or not is_class.any():
        return float("nan")
    return 100 * float(roc_auc_score(is_class, scores))


def metrics_from_confusion(confusion: np.ndarray, classes: tuple[str, ...], binary: bool) -> dict[str, np.ndarray]:
    """Compute the count-based metrics of `compute_metrics` for many (weighted) confusion matrices.

    Parameters
    ----------
    confusion : ndarray of float, shape (..., K, K)
        Rows = truth, columns = prediction, in the order of `classes`.
    classes : tuple of str, length K
    binary : bool
        Use the metric names for two classes, with the second one positive.

    Returns
    -------
    dict of str to ndarray of float64, shape (...)
        Percent, NaN if undefined; the keys of `compute_metrics` without `auc`, severities and counts.
    """
    right = np.diagonal(confusion, axis1=-2, axis2=-1)
    actual, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    recall, precision = percent(right, actual), percent(right, said)
    f1 = percent(2 * right, actual + said)
    metrics = {"accuracy": percent(right.sum(axis=-1), actual.sum(axis=-1))}
    if binary:
        metrics |= {"sensitivity": recall[..., 1], "specificity": recall[..., 0]}
        metrics |= {"precision_positive": precision[..., 1], "precision_negative": precision[..., 0]}
        return metrics | {"f1_positive": f1[..., 1], "f1_negative": f1[..., 0]}
    for number, name in enumerate(classes):
        metrics[f"recall_{name}"] = recall[..., number]
        metrics[f"precision_{name}"] = precision[..., number]
        metrics[f"f1_{name}"] = f1[..., number]
    return metrics | confusion_shares(confusion, classes)


def confusion_shares(confusion: np.ndarray, classes: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return the cells of confusion matrices as percentages of their rows, independent of the size of the test set.

    For two classes these are specificity, sensitivity and their complements, so the metrics contain them only for more.

    Parameters
    ----------
    confusion : ndarray, shape (..., K, K)
        Rows = truth, columns = prediction, in the order of `classes`.
    classes : tuple of str, length K

    Returns
    -------
    dict of str to ndarray of float64, shape (...)
        `confusion_<actual>_<predicted>` in percent, NaN for a class without images.
    """
    shares = percent(confusion, np.asarray(confusion).sum(axis=-1, keepdims=True))
    return {
        f"confusion_{actual}_{said}": shares[..., row, column]
        for row, actual in enumerate(classes)
        for column, said in enumerate(classes)
    }


def percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return 100 * part / whole elementwise; NaN if whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), np.asarray(whole, np.float64))
    return np.divide(100 * part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def rows_of_test(predictions: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with split "test"; raise `UserError` if a system has none."""
    missing = [name for name in (*EXECUTION_COLUMNS, "split") if name not in predictions.columns]
    if missing:
        raise UserError("predictions", f"have no column {', '.join(missing)}", _REMEDY)
    chosen = predictions[predictions["split"] == "test"]
    without = sorted(set(predictions["system"]) - set(chosen["system"]))
    if without or chosen.empty:
        raise UserError("predictions", f"have no test rows of {', '.join(without) or 'any system'}", _REMEDY)
    return chosen


def executions_of(predictions: pd.DataFrame) -> list[tuple[tuple[str, int, int], pd.DataFrame]]:
    """Return ((system, repeat, fold), rows) per execution: systems in order of appearance, then repeat and fold."""
    order = {system: place for place, system in enumerate(dict.fromkeys(predictions["system"]))}
    groups = predictions.groupby(list(EXECUTION_COLUMNS), sort=False)
    return sorted(groups, key=lambda item: (order[item[0][0]], item[0][1], item[0][2]))


def per_execution(
    predictions: pd.DataFrame, positive: str | None = None, threshold: float | None = None
) -> pd.DataFrame:
    """Compute the test metrics of each execution.

    Parameters
    ----------
    predictions : pandas.DataFrame
        From `read_predictions`; rows of other splits are ignored.
    positive, threshold
        As in `decisions_of`.

    Returns
    -------
    pandas.DataFrame
        One row per execution: `system, repeat, fold`, then the keys of `compute_metrics`. Severity levels without
        images are NaN.

    Raises
    ------
    UserError
        If a system has no test rows.
    """
    return pd.DataFrame(
        dict(zip(EXECUTION_COLUMNS, key, strict=True)) | compute_metrics(group, positive, threshold)
        for key, group in executions_of(rows_of_test(predictions))
    )
