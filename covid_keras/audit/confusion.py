"""Find the two-class confusion matrices that match a row of printed metrics.

References
----------
.. [1] N. J. L. Brown and J. A. J. Heathers, The GRIM test: a simple technique detects numerous anomalies in the
   reporting of results in psychology, Soc. Psychol. Pers. Sci. 8(4), 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from covid_keras.audit.intervals import SLACK, Interval


class TooManyError(Exception):
    """Too many matrices to search."""


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
# Common mistakes: other formulas that a heading may stand for.
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

# The printed metrics of a row: name in `METRICS` to the values that round to the printed number.
Values = Mapping[str, Interval]

# Maximum number of matrices kept.
_KEPT = 20_000
# Maximum number of lines searched per row.
MOST_LINES = 1_000_000


@dataclass(frozen=True)
class Matrices:
    """Matrices that match a row: all of them, or only the first M of `total`.

    Parameters
    ----------
    counts : ndarray of int, shape (4, M)
        TP, FN, FP and TN.
    total : int
        Number of matching matrices, including those not kept.
    """

    counts: np.ndarray
    total: int

    def __len__(self) -> int:
        return self.counts.shape[1]

    def where(self, fits: np.ndarray) -> Matrices:
        """Return the kept matrices selected by `fits`, bool (M,)."""
        return Matrices(self.counts[:, fits], int(fits.sum()))

    def ratio(self, formula: Formula) -> np.ndarray:
        """Return a metric of the matrices, float (M,); NaN if its denominator is zero."""
        top, bottom = formula(*self.counts.astype(float))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(bottom > 0, top / bottom, np.nan)

    def range_of(self, formula: Formula) -> Interval:
        """Return the range of a metric over the matrices."""
        values = self.ratio(formula)
        return Interval(float(np.nanmin(values)), float(np.nanmax(values)))

    def first(self) -> str:
        """Describe the first matrix, as in "TP 70, FN 10, FP 12, TN 108"."""
        return ", ".join(
            f"{name} {count}" for name, count in zip(("TP", "FN", "FP", "TN"), self.counts[:, 0], strict=True)
        )


NO_MATRICES = Matrices(np.zeros((4, 0), int), 0)


def counts_for(values: Interval, images: int) -> range:
    """Return all k for which k / images rounds to the printed value [1]_."""
    low = int(np.ceil((values.low - SLACK) * images))
    high = int(np.floor((values.high + SLACK) * images))
    return range(max(low, 0), min(high, images) + 1)


def common_images_of(shares: Iterable[Interval], low: int, high: int) -> np.ndarray:
    """Return the numbers of images from `low` to `high`, int (N,), that are possible denominators of all `shares`."""
    images = np.arange(low, high + 1)
    for values in shares:
        first = np.maximum(np.ceil((values.low - SLACK) * images), 0)
        images = images[first <= np.minimum(np.floor((values.high + SLACK) * images), images)]
    return images


def solve(row: Values, positives: int, negatives: int) -> Matrices:
    """Return the matrices with these positives and negatives that match all printed metrics of a row.

    Raises
    ------
    TooManyError
        If the search is too wide: the printed rates leave too many counts in both classes.
    """
    hits = _allowed(row, "sensitivity", "false_negative_rate", positives)
    rights = _allowed(row, "specificity", "false_positive_rate", negatives)
    if min(len(hits), len(rights)) > MOST_LINES:
        raise TooManyError
    # One line of matrices per number of true positives, or per number of true negatives if these are fewer.
    if len(hits) <= len(rights):
        tp = np.arange(hits.start, hits.stop)
        start = (tp, positives - tp, negatives - rights.start, rights.start)
        return _on_lines(row, start, (0, 0, -1, 1), len(rights))
    tn = np.arange(rights.start, rights.stop)
    start = (hits.start, positives - hits.start, negatives - tn, tn)
    return _on_lines(row, start, (1, -1, 0, 0), len(hits))


def solve_images(row: Values, images: int) -> Matrices:
    """Return the matrices with this number of images that match all printed metrics of a row, for any class sizes.

    Each class has at least one image. The row must include an accuracy, which narrows the search. If very many
    matrices match, only the first are returned.

    Raises
    ------
    TooManyError
        If the search is too wide.
    """
    right = counts_for(row["accuracy"], images)
    if sum(images - correct + 1 for correct in right) > MOST_LINES:
        raise TooManyError
    found = [NO_MATRICES]
    for correct in right:
        # One line per number of false positives, along the number of true positives.
        fp = np.arange(images - correct + 1)
        made = _on_lines(row, (0, images - correct - fp, fp, correct), (1, 0, 0, -1), correct + 1)
        tp, fn, fp, tn = made.counts
        found.append(made.where((tp + fn > 0) & (tn + fp > 0)))
        if sum(map(len, found)) >= _KEPT:
            break
    counts = np.concatenate([one.counts for one in found], axis=1)
    return Matrices(counts, counts.shape[1])


def _allowed(row: Values, rate: str, rest: str, images: int) -> range:
    """Return the numbers of correct images of a class that its printed rates (correct `rate`, wrong `rest`) allow."""
    known = range(images + 1)
    if rate in row:
        known = counts_for(row[rate], images)
    if rest in row:
        wrong = counts_for(row[rest], images)
        known = range(max(known.start, images - wrong.stop + 1), min(known.stop, images - wrong.start + 1))
    return known


def _on_lines(row: Values, start: Sequence[np.ndarray | int], step: Sequence[int], length: int) -> Matrices:
    """Return the matrices start + t step, 0 <= t < length, that match a row; `start` holds the four counts per line.

    Along a line, numerator and denominator of every metric are affine in t. The condition that a metric is at least (or
    at most) a value is therefore a bound on t, which is computed instead of searched.
    """
    begin, by = np.stack(np.broadcast_arrays(*start)), np.array(step)[:, None]
    low, high = np.zeros(begin.shape[1]), np.full(begin.shape[1], length - 1.0)
    for name, values in row.items():
        top, bottom = METRICS[name](*begin.astype(float))
        after = METRICS[name](*(begin + by).astype(float))
        more, wider = after[0] - top, after[1] - bottom
        for value, sign in ((values.low - SLACK, 1), (values.high + SLACK, -1)):
            # sign (top + t more - value (bottom + t wider)) >= 0, which also holds where the denominator is 0.
            at, slope = sign * (top - value * bottom), sign * (more - value * wider)
            with np.errstate(divide="ignore", invalid="ignore"):
                bound = -at / slope
            low = np.maximum(low, np.where(slope > 0, bound - SLACK, 0))
            high = np.minimum(high, np.where(slope < 0, bound + SLACK, np.where((slope == 0) & (at < 0), -1, np.inf)))
        if not (low <= high).any():
            return NO_MATRICES
    low, high = np.ceil(low), np.floor(high)
    many = np.maximum(high - low + 1, 0)
    total = int(many.sum())
    lines = np.flatnonzero(many)[: np.searchsorted(np.cumsum(many[many > 0]), _KEPT) + 1]
    many = np.minimum(many[lines], _KEPT).astype(int)
    t = np.repeat(low[lines].astype(int), many) + np.arange(many.sum()) - np.repeat(np.cumsum(many) - many, many)
    made = Matrices(np.repeat(begin[:, lines], many, axis=1) + t * by, total)
    # An undefined ratio (denominator 0) may be printed as any number.
    fits = np.ones(len(made), bool)
    for name, values in row.items():
        found = made.ratio(METRICS[name])
        fits &= np.isnan(found) | values.holds(found)
    kept = made.where(fits)
    return replace(kept, total=total) if total > _KEPT else kept
