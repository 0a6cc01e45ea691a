"""Names of metrics in `published.yaml`: the suite's names and common aliases; other names are errors.

Misspelt names are rejected: no audit rule would check such a number, so an impossible one would go unnoticed.
"""

from __future__ import annotations

import difflib
import re

_OF_RULES = (
    "accuracy", "sensitivity", "specificity", "precision_positive", "precision_negative", "f1_positive",
    "f1_negative", "false_positive_rate", "false_negative_rate", "weighted_recall", "dice", "iou",
)  # fmt: skip
# Checked only against a printed confusion matrix of the same system.
OF_MATRIX = (
    "mcc", "kappa", "balanced_accuracy", "youden", "macro_precision", "macro_recall", "macro_f1",
)  # fmt: skip
# Not checked by any audit rule.
WITHOUT_RULE = (
    "auprc", "brier", "log_loss", "calibration_error", "calibration_slope", "calibration_intercept",
    "likelihood_ratio_positive", "likelihood_ratio_negative", "diagnostic_odds_ratio", "g_mean", "prevalence",
    "loss",
)  # fmt: skip
# `average_recall`: unspecified average over classes.
NAMES = (*_OF_RULES, *OF_MATRIX, *WITHOUT_RULE, "auc", "weighted_precision", "weighted_f1", "average_recall")
# Prefixes followed by a class, severity or part. `own_<name>`: a measure defined by the paper.
FAMILIES = ("accuracy", "recall", "precision", "f1", "specificity", "npv", "auc", "dice", "iou", "confusion", "own")

# Aliases of two-class metrics refer to the positive class, as in scikit-learn.
_OTHER_NAMES = {
    "accuracy": "acc, overall_accuracy, classification_accuracy, ca",
    "sensitivity": "recall, tpr, true_positive_rate, hit_rate, sens, recall_positive, sensitivity_positive",
    "specificity": "tnr, true_negative_rate, selectivity, spec, recall_negative, specificity_positive",
    "precision_positive": "precision, ppv, positive_predictive_value, ppv_positive",
    "precision_negative": "npv, negative_predictive_value, npv_positive",
    "f1_positive": "f1, f1_score, f_score, f_measure, f1_measure, f1_score_positive",
    "f1_negative": "f1_score_negative",
    "false_positive_rate": "fpr, fall_out, false_alarm_rate",
    "false_negative_rate": "fnr, miss_rate",
    "dice": "dsc, dice_coefficient, dice_score, dice_similarity_coefficient",
    "iou": "jaccard, jaccard_index, intersection_over_union",
    "mcc": "matthews, matthews_correlation_coefficient, matthews_corrcoef, phi",
    "kappa": "cohen_kappa, cohens_kappa, cohen's_kappa",
    "balanced_accuracy": "bacc, bal_acc, balanced_acc",
    "youden": "youden_index, youden's_index, youden_j, j_statistic, informedness",
    "macro_f1": "f1_macro, macro_f1_score",
    "macro_precision": "precision_macro",
    "macro_recall": "recall_macro",
    "weighted_f1": "f1_weighted, weighted_f1_score",
    "weighted_precision": "precision_weighted",
    "weighted_recall": "recall_weighted",
    "auc": "auroc, roc_auc, auc_roc, roc, c_statistic, c_index, area_under_the_curve",
    "auprc": "aupr, pr_auc, auc_pr, average_precision, ap",
    "brier": "brier_score",
    "log_loss": "cross_entropy",
    "calibration_error": "ece, expected_calibration_error",
    "likelihood_ratio_positive": "lr+, plr, positive_likelihood_ratio",
    "likelihood_ratio_negative": "lr_, nlr, negative_likelihood_ratio",
    "diagnostic_odds_ratio": "dor",
    "g_mean": "gmean, geometric_mean",
}
ALIASES = {other: name for name, others in _OTHER_NAMES.items() for other in others.split(", ")}
_FAMILY_ALIASES = {"sensitivity": "recall", "ppv": "precision", "f1_score": "f1", "auroc": "auc", "acc": "accuracy"}
_SIDES = ("positive", "negative")


def metric_name(text: str) -> str:
    """Return the suite's name of a metric or alias, ignoring case, "-" and spaces.

    Parameters
    ----------
    text : str
        One of `NAMES` or `ALIASES`, or one of `FAMILIES` followed by "_" and a class, severity or part
        (case-sensitive).

    Raises
    ------
    ValueError
        If the name is unknown; the message suggests the closest one and lists all.

    Examples
    --------
    >>> metric_name("F1-Score"), metric_name("PPV_COVID-19"), metric_name("accuracy_Severe")
    ('f1_positive', 'precision_COVID-19', 'accuracy_Severe')
    """
    plain = re.sub(r"[\s_-]+", "_", text.strip().casefold())
    if plain in NAMES or plain in ALIASES:
        return ALIASES.get(plain, plain)
    for family in sorted({*FAMILIES, *_FAMILY_ALIASES}, key=len, reverse=True):
        suffix = text.strip()[len(family) + 1 :]
        if plain.startswith(f"{family}_") and suffix:
            near = difflib.get_close_matches(suffix.casefold(), _SIDES, n=1, cutoff=0.8)
            if near and suffix.casefold() not in _SIDES:
                raise _unknown(text, f"{family}_{near[0]}")
            return f"{_FAMILY_ALIASES.get(family, family)}_{suffix}"
    near = difflib.get_close_matches(plain, (*NAMES, *ALIASES), n=1)
    raise _unknown(text, near[0] if near else "")


def _unknown(text: str, near: str) -> ValueError:
    guess = f"did you mean {near!r}? " if near else ""
    known = ", ".join((*NAMES, *(f"{family}_<name>" for family in FAMILIES)))
    return ValueError(f"unknown metric {text!r}; {guess}Known: {known}, and common aliases")
