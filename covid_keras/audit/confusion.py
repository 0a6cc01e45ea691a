"""One confusion matrix of two classes: which ones give a row of printed metrics.

References
----------
.. [1] N. J. L. Brown and J. A. J. Heathers, The GRIM test: a simple technique detects numerous anomalies in the
   reporting of results in psychology, Soc. Psychol. Pers. Sci. 8(4), 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from covid_keras.audit.printed import SLACK, Interval

# TP, FN, FP, TN to numerator and denominator.
Formula = Callable[..., tuple[np.ndarray, np.ndarray]]
METRICS: dict[str, Formula] = {
    "accuracy": lambda tp, fn, fp, tn: (tp + tn, tp + fn + fp + tn),
    "sensitivity": lambda tp, fn, fp, tn: (tp, tp + fn),
    "specificity": lambda tp, fn, fp, tn: (tn, tn + fp),
    "precision_positive": lambda tp, fn, fp, tn: (tp, tp + fp),
    "precision_negative": lambda tp, fn, fp, tn: (tn, tn + fn),
    "f1_positive": lambda tp, fn, fp, tn: (2 * tp, 2 * tp + fp + fn),
    "f1_negative": lambda tp, fn, fp, tn: (2 * tn, 2 * tn + fp + fn),
    "false_positive_rate": lambda tp, fn, fp, tn: (fp, tn + fp),
    "false_negative_rate": lambda tp, fn, fp, tn: (fn, tp + fn),
}
# What else may stand under a heading: mistakes of formulas that are easily made.
OTHER_FORMULAS: dict[str, Formula] = {
    "(TP + TN) / (TP + TN + 2 FP)": lambda tp, fn, fp, tn: (tp + tn, tp + tn + 2 * fp),
    "(TP + TN) / (TP + TN + 2 FN)": lambda tp, fn, fp, tn: (tp + tn, tp + tn + 2 * fn),
    "balanced accuracy": lambda tp, fn, fp, tn: (tp * (tn + fp) + tn * (tp + fn), 2 * (tp + fn) * (tn + fp)),
    "the Jaccard index, TP / (TP + FP + FN)": lambda tp, fn, fp, tn: (tp, tp + fp + fn),
    "the mean of precision and recall": lambda tp, fn, fp, tn: (
        tp * (tp + fp) + tp * (tp + fn), 2 * (tp + fn) * (tp + fp),
    ),
    "the mean F1 of both classes": lambda tp, fn, fp, tn: (
        2 * tp * (2 * tn + fp + fn) + 2 * tn * (2 * tp + fp + fn), 2 * (2 * tp + fp + fn) * (2 * tn + fp + fn),
    ),
}  # fmt: skip
MIRRORED = {
    "accuracy": "accuracy",
    "sensitivity": "specificity",
    "precision_positive": "precision_negative",
    "f1_positive": "f1_negative",
    "false_positive_rate": "false_negative_rate",
}
MIRRORED |= {second: first for first, second in MIRRORED.items()}

# A ratio without a denominator is printed in one way or another: it may be anything.
_ANY = SLACK


@dataclass(frozen=True)
class Printed:
    """One printed metric of a row: what it is computed by and the values that are printed so."""

    formula: Formula
    values: Interval


@dataclass(frozen=True)
class Matrices:
    """All matrices that give a row, each array of shape (M,)."""

    tp: np.ndarray
    fn: np.ndarray
    fp: np.ndarray
    tn: np.ndarray

    def __len__(self) -> int:
        return len(self.tp)

    def range_of(self, formula: Formula) -> Interval:
        """Return the least and the largest value of a metric over the matrices."""
        values = ratio(formula, self.tp, self.fn, self.fp, self.tn)
        return Interval(float(np.nanmin(values)), float(np.nanmax(values)))

    def first(self) -> str:
        """Return one of the matrices in words."""
        return f"TP {self.tp[0]}, FN {self.fn[0]}, FP {self.fp[0]}, TN {self.tn[0]}"


def ratio(formula: Formula, tp: np.ndarray, fn: np.ndarray, fp: np.ndarray, tn: np.ndarray) -> np.ndarray:
    """Return the metric of matrices, NaN where its denominator is zero."""
    top, bottom = formula(*(np.asarray(part, float) for part in (tp, fn, fp, tn)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom > 0, top / bottom, np.nan)


def counts_for(values: Interval, images: int) -> range:
    """Return every whole number k of `images` whose share k / images is printed so [1]_."""
    low = int(np.ceil((values.low - SLACK) * images))
    high = int(np.floor((values.high + SLACK) * images))
    return range(max(low, 0), min(high, images) + 1)


def solve(row: Mapping[str, Printed], positives: int, negatives: int) -> Matrices:
    """Return every matrix of so many positives and negatives that gives all printed metrics of a row."""
    hits = _allowed(row, "sensitivity", "false_negative_rate", positives)
    rights = _allowed(row, "specificity", "false_positive_rate", negatives)
    if not len(hits) or not len(rights):
        return Matrices(*[np.zeros(0, int)] * 4)
    tp, tn = (part.ravel() for part in np.meshgrid(hits, rights, indexing="ij"))
    return _keep(row, tp, positives - tp, negatives - tn, tn)


def solve_images(row: Mapping[str, Printed], images: int) -> Matrices:
    """Return every matrix of so many images, whatever the classes, that gives all printed metrics of a row.

    The classes have an image each at least. Needs an accuracy among the metrics, else the search is too wide.
    """
    right = counts_for(row["accuracy"].values, images)
    found = []
    for correct in right:
        wrong = images - correct
        tp, fp = (part.ravel() for part in np.meshgrid(np.arange(correct + 1), np.arange(wrong + 1), indexing="ij"))
        fn, tn = wrong - fp, correct - tp
        real = (tp + fn > 0) & (tn + fp > 0)
        found.append(_keep(row, tp[real], fn[real], fp[real], tn[real]))
    parts = [np.concatenate([getattr(one, name) for one in found] or [[]]) for name in ("tp", "fn", "fp", "tn")]
    return Matrices(*(part.astype(int) for part in parts))


def _allowed(row: Mapping[str, Printed], rate: str, rest: str, images: int) -> np.ndarray:
    """Return the numbers of right answers in a class that a printed rate, of right or of wrong ones, allows."""
    known = range(images + 1)
    if rate in row and row[rate].formula is METRICS[rate]:
        known = counts_for(row[rate].values, images)
    if rest in row and row[rest].formula is METRICS[rest]:
        wrong = counts_for(row[rest].values, images)
        known = range(max(known.start, images - wrong.stop + 1), min(known.stop, images - wrong.start + 1))
    return np.arange(known.start, max(known.start, known.stop))


def _keep(row: Mapping[str, Printed], tp: np.ndarray, fn: np.ndarray, fp: np.ndarray, tn: np.ndarray) -> Matrices:
    for one in row.values():
        values = ratio(one.formula, tp, fn, fp, tn)
        fits = np.isnan(values) | ((values >= one.values.low - _ANY) & (values <= one.values.high + _ANY))
        tp, fn, fp, tn = tp[fits], fn[fits], fp[fits], tn[fits]
    return Matrices(tp, fn, fp, tn)
