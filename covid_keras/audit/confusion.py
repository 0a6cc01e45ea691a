"""Find the two-class confusion matrices that give a row of printed metrics.

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
    """There are too many matrices to search."""


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
# Other formulas under a heading: common mistakes.
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

# The printed metrics of a row: one of `METRICS` to the values that are printed so.
Values = Mapping[str, Interval]

# Number of solutions kept.
_KEPT = 20_000
# Limit of lines to search per row.
MOST_LINES = 1_000_000


@dataclass(frozen=True)
class Matrices:
    """Matrices that give a row: all, or the first M of `total`.

    Parameters
    ----------
    counts : ndarray of int, shape (4, M)
        TP, FN, FP and TN.
    total : int
    """

    counts: np.ndarray
    total: int

    def __len__(self) -> int:
        return self.counts.shape[1]

    def where(self, fits: np.ndarray) -> Matrices:
        """Return the kept matrices selected by `fits`, bool (M,)."""
        return Matrices(self.counts[:, fits], int(fits.sum()))

    def ratio(self, formula: Formula) -> np.ndarray:
        """Return a metric of the matrices, (M,); NaN if its denominator is zero."""
        top, bottom = formula(*self.counts.astype(float))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(bottom > 0, top / bottom, np.nan)

    def range_of(self, formula: Formula) -> Interval:
        """Return the range of a metric over the matrices."""
        values = self.ratio(formula)
        return Interval(float(np.nanmin(values)), float(np.nanmax(values)))

    def first(self) -> str:
        """Describe one of the matrices."""
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
    """Return the numbers of images from `low` to `high`, int (N,), of which all `shares` are printed shares."""
    images = np.arange(low, high + 1)
    for values in shares:
        first = np.maximum(np.ceil((values.low - SLACK) * images), 0)
        images = images[first <= np.minimum(np.floor((values.high + SLACK) * images), images)]
    return images


def solve(row: Values, positives: int, negatives: int) -> Matrices:
    """Return the matrices with these positives and negatives that give all printed metrics of a row.

    Raises
    ------
    TooManyError
        If neither rate of the row is printed and the classes are too large to look through.
    """
    hits = _allowed(row, "sensitivity", "false_negative_rate", positives)
    rights = _allowed(row, "specificity", "false_positive_rate", negatives)
    if min(len(hits), len(rights)) > MOST_LINES:
        raise TooManyError
    # A line of matrices for each number of hits, or of right negatives where these are fewer.
    if len(hits) <= len(rights):
        tp = np.arange(hits.start, hits.stop)
        start = (tp, positives - tp, negatives - rights.start, rights.start)
        return _on_lines(row, start, (0, 0, -1, 1), len(rights))
    tn = np.arange(rights.start, rights.stop)
    start = (hits.start, positives - hits.start, negatives - tn, tn)
    return _on_lines(row, start, (1, -1, 0, 0), len(hits))


def solve_images(row: Values, images: int) -> Matrices:
    """Return the matrices with this number of images, and any classes, that give all printed metrics of a row.

    The classes have an image each at least. Needs an accuracy among the metrics, else the search is too wide. Of very
    many it may return the first only.

    Raises
    ------
    TooManyError
        If there are too many images to search.
    """
    right = counts_for(row["accuracy"], images)
    if sum(images - correct + 1 for correct in right) > MOST_LINES:
        raise TooManyError
    found = [NO_MATRICES]
    for correct in right:
        # Lines along the hits, of so many false alarms each.
        fp = np.arange(images - correct + 1)
        made = _on_lines(row, (0, images - correct - fp, fp, correct), (1, 0, 0, -1), correct + 1)
        tp, fn, fp, tn = made.counts
        found.append(made.where((tp + fn > 0) & (tn + fp > 0)))
        if sum(map(len, found)) >= _KEPT:
            break
    counts = np.concatenate([one.counts for one in found], axis=1)
    return Matrices(counts, counts.shape[1])


def _allowed(row: Values, rate: str, rest: str, images: int) -> range:
    """Return the numbers of right answers in a class that a printed rate, of right or of wrong ones, allows."""
    known = range(images + 1)
    if rate in row:
        known = counts_for(row[rate], images)
    if rest in row:
        wrong = counts_for(row[rest], images)
        known = range(max(known.start, images - wrong.stop + 1), min(known.stop, images - wrong.start + 1))
    return known


def _on_lines(row: Values, start: Sequence[np.ndarray | int], step: Sequence[int], length: int) -> Matrices:
    """Return the matrices start + t step, 0 <= t < length, that give a row; `start` holds four counts, of all lines.

    Along such a line numerator and denominator of every metric are affine in t, so the t of which a metric is at least
    (at most) a value are all those above or below a bound, and nothing has to be tried.
    """
    begin, by = np.stack(np.broadcast_arrays(*start)), np.array(step)[:, None]
    low, high = np.zeros(begin.shape[1]), np.full(begin.shape[1], length - 1.0)
    for name, values in row.items():
        top, bottom = METRICS[name](*begin.astype(float))
        after = METRICS[name](*(begin + by).astype(float))
        more, wider = after[0] - top, after[1] - bottom
        for value, sign in ((values.low - SLACK, 1), (values.high + SLACK, -1)):
            # sign (top + t more - value (bottom + t wider)) >= 0; without a denominator that is so.
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
    # A ratio without a denominator may be printed as anything.
    fits = np.ones(len(made), bool)
    for name, values in row.items():
        found = made.ratio(METRICS[name])
        fits &= np.isnan(found) | values.holds(found)
    kept = made.where(fits)
    return replace(kept, total=total) if total > _KEPT else kept
