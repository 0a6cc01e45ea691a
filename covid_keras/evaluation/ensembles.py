"""Ensembles of classifiers: weighted averages of scores, and majority votes.

Decisions use float32 scores, as stored in predictions files. A file therefore agrees with its decisions, and ties do
not depend on the last bit of a float64 sum.

References
----------
.. [1] R. Hertel, R. Benlamri, A deep learning segmentation-classification pipeline for X-ray-based COVID-19 diagnosis,
       Biomedical Engineering Advances 3, 2022, 100041: the two ensembles. The paper does not specify ties and the
       choice of weights; these are ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.splits import PARTS
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.evaluation.predictions import (
    PREDICTION_COLUMNS,
    SCORE_PREFIX,
    check_predictions,
    classes_of,
    score_columns,
)

STEP = 0.05
TIES = ("probability", "lowest")
WEIGHTS = ("validation", "proportional", "equal")

_MOST_POINTS = 100_000
_LARGE = 1e9
_CHUNK_ELEMENTS = 1 << 21
_SAME_IMAGES = "Combine systems of the same images"


def _decided(scores: np.ndarray) -> np.ndarray:
    """Apply `decide_scores` to scores (..., n, classes) in float32; return int64 (..., n)."""
    return decide_scores(np.asarray(scores, np.float32))


def weighted_average(scores: np.ndarray, weights: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the weighted average of the members' scores: sum_m w_m p_m / sum_m w_m.

    Parameters
    ----------
    scores : ndarray of float, shape (members, n, classes)
        0..1.
    weights : sequence of float, length members
        Non-negative, not all 0, with any sum.

    Returns
    -------
    ndarray of float64, shape (n, classes)
        The scores of an image sum to 1 if those of each member do.

    Raises
    ------
    ValueError
        If `scores` has another shape.
    UserError
        If a weight is negative or not finite, all are 0, or their number is not that of the members.

    Examples
    --------
    >>> weighted_average([[[0.2, 0.8]], [[0.6, 0.4]]], [3, 1]).round(3).tolist()
    [[0.3, 0.7]]
    """
    scores = _stack(scores)
    return _average(scores, _check_weights(weights, len(scores)))


def _average(scores: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average (members, n, classes) with weights (..., members) that sum to 1; return (..., n, classes).

    Sums elementwise in the order of the members, so that results do not depend on the leading shape; a matrix product
    may round differently.
    """
    total = np.zeros((*weights.shape[:-1], *scores.shape[1:]))
    for member, of_member in enumerate(scores):
        total += weights[..., member, None, None] * of_member
    return total


def _stack(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 3 or not len(scores) or scores.shape[2] < 2:
        raise ValueError(f"scores must have shape (members, n, at least 2 classes), got {scores.shape}")
    return scores


def _check_weights(weights: Sequence[float] | np.ndarray, members: int) -> np.ndarray:
    """Return the weights as float64 with sum 1; raise `UserError` if they are invalid."""
    weights = np.array(weights, np.float64)
    shown = ", ".join(f"{weight:g}" for weight in weights.ravel())
    if weights.shape != (members,):
        raise UserError(
            f"weights {shown}", f"must be {members}, one per member (got {weights.size})", "Give one weight per member"
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise UserError(f"weights {shown}", "must be finite, at least 0 and not all 0", "Correct the weights")
    if weights.max() > _LARGE:  # their sum may overflow
        weights /= weights.max()
    return weights / math.fsum(weights)


def majority_vote(scores: np.ndarray, ties: str = "probability") -> tuple[np.ndarray, np.ndarray]:
    """Decide by majority vote of the members.

    Parameters
    ----------
    scores : ndarray of float, shape (members, n, classes)
        0..1. Each member votes for the class from `decide_scores`.
    ties : {"probability", "lowest"}
        How to resolve ties. "probability": the tied class with the largest sum of scores, then the lowest index.
        "lowest": the lowest index, as scikit-learn's hard voting.

    Returns
    -------
    decided : ndarray of int64, shape (n,)
        Class indices.
    shares : ndarray of float64, shape (n, classes)
        Fraction of the votes per class; rows sum to 1.

    Raises
    ------
    ValueError
        If `scores` has another shape.
    UserError
        If `ties` is unknown.

    Examples
    --------
    >>> decided, shares = majority_vote([[[0.5, 0.3, 0.2]], [[0.1, 0.8, 0.1]], [[0.3, 0.2, 0.5]]])
    >>> decided.tolist(), shares.round(2).tolist()
    ([1], [[0.33, 0.33, 0.33]])
    """
    scores = _stack(scores)
    if ties not in TIES:
        raise UserError(f"ties {ties!r}", "is unknown", f"Use one of {', '.join(TIES)}")
    members, _, classes = scores.shape
    votes = (_decided(scores)[..., None] == np.arange(classes)).sum(axis=0)
    leading = votes == votes.max(axis=1, keepdims=True)
    # The mean stays in 0..1, like stored scores.
    support = _average(scores, np.full(members, 1 / members)).astype(np.float32)
    merit = np.where(leading, support if ties == "probability" else 1, -1)
    return merit.argmax(axis=1).astype(np.int64), votes / members


def simplex(members: int, step: float = STEP) -> np.ndarray:
    """Return all weight vectors that are multiples of `step` and sum to 1.

    Parameters
    ----------
    members : int
        At least 1.
    step : float
        Must divide 1, such as 0.05.

    Returns
    -------
    ndarray of float64, shape (points, members)
        Entries k/K with whole numbers k that sum to K = 1/step, which avoids accumulated rounding; ordered from
        (1, 0, ...) to (..., 0, 1). There are (K + members - 1)! / (K! (members - 1)!) points: 231 for three members and
        step 0.05.

    Raises
    ------
    UserError
        If the step does not divide 1, or there are more than 100,000 points.
    """
    counts, parts = _whole_steps(members, step)
    return counts / parts


def _whole_steps(members: int, step: float) -> tuple[np.ndarray, int]:
    """Return the weights of `simplex` in steps, int64 (points, members), and their sum, 1/step."""
    if members < 1:
        raise ValueError(f"members must be at least 1, got {members}")
    parts = round(1 / step) if 1 / _LARGE <= step <= 1 else 0
    if parts < 1 or abs(parts * step - 1) > 1e-9:
        raise UserError(f"step {step:g}", "must divide 1", "Use 0.05 or 0.1")
    if (points := math.comb(parts + members - 1, members - 1)) > _MOST_POINTS:
        problem = f"gives {points:,} combinations of {members} weights; at most {_MOST_POINTS:,} are allowed"
        raise UserError(f"step {step:g}", problem, "Give a larger one")
    # Stars and bars: the positions of members - 1 bars determine the number of stars per member.
    bars = np.array(list(combinations(range(parts + members - 1), members - 1)), np.int64).reshape(points, members - 1)
    return (np.diff(bars, axis=1, prepend=-1, append=parts + members - 1) - 1)[::-1], parts


def choose_weights(scores: np.ndarray, truth: np.ndarray, step: float = STEP) -> np.ndarray:
    """Choose the weights of an average by grid search for the highest accuracy.

    Parameters
    ----------
    scores : ndarray of float, shape (members, n, classes)
        Scores of validation images, 0..1.
    truth : ndarray of int, shape (n,)
        Indices of the true classes.
    step : float
        As in `simplex`.

    Returns
    -------
    ndarray of float64, shape (members,)
        A point of `simplex`. Ties go to the point nearest to equal weights (Euclidean distance), then to the first one.

    Raises
    ------
    ValueError
        If the shapes do not match.
    UserError
        If there are no images; also as `simplex`.
    """
    scores, truth = _stack(scores), np.asarray(truth)
    members, images, _ = scores.shape
    if truth.shape != (images,):
        raise ValueError(f"truth must have shape ({images},), got {truth.shape}")
    if not images:
        raise UserError("weights", "cannot be chosen without validation images", "Give the weights, or 'equal'")
    counts, parts = _whole_steps(members, step)
    weights = counts / parts
    size = max(1, _CHUNK_ELEMENTS // scores[0].size)
    chunks = (weights[first : first + size] for first in range(0, len(weights), size))
    right = np.concatenate([(_decided(_average(scores, chunk)) == truth).sum(axis=1) for chunk in chunks])
    # Integers, so that ties are exact.
    distance = ((members * counts - parts) ** 2).sum(axis=1)
    return weights[np.lexsort((distance, -right))[0]]


def proportional_weights(accuracies: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return weights proportional to the members' accuracies, float64 (members,) with sum 1.

    Raises
    ------
    UserError
        If an accuracy is negative or not finite, or all are 0.
    """
    return _check_weights(accuracies, len(accuracies))


@dataclass(frozen=True)
class Combined:
    """Predictions of an ensemble.

    Parameters
    ----------
    frame : pandas.DataFrame
        In the format of `covid_keras.evaluation.read_predictions`, without other columns.
    facts : list of dict
        One per (repeat, fold), JSON-serialisable: `repeat`, `fold`; `weights` (None for a vote); validation accuracies
        in percent, `accuracy` of the members and `accuracy_ensemble` (None without validation rows); `images` per
        split.
    """

    frame: pd.DataFrame
    facts: list[dict[str, Any]]


def average_predictions(
    frames: Sequence[pd.DataFrame],
    weights: str | Sequence[float] = "validation",
    step: float = STEP,
    system: str = "average",
) -> Combined:
    """Combine predictions by a weighted average of the members' scores.

    Parameters
    ----------
    frames : sequence of pandas.DataFrame
        Two or more members, each with the predictions of one system (see `covid_keras.evaluation.check_predictions`)
        for the same executions (repeat, fold), which are combined separately. A split without rows of some member, such
        as the training part, is left out.
    weights : {"validation", "proportional", "equal"} or sequence of float
        "validation": `choose_weights` on the validation rows of each execution. "proportional": proportional to the
        validation accuracies in each execution. Numbers: fixed weights for all executions.
    step : float
        Grid step for "validation".
    system : str
        Name of the ensemble.

    Returns
    -------
    Combined
        Class order and image columns (path, patient, ...) are those of the first member.

    Raises
    ------
    UserError
        If there are fewer than two members, a member has several systems, classes, executions, images or labels differ,
        or required validation rows are missing.
    """
    if isinstance(weights, str) and weights not in WEIGHTS:
        raise UserError(f"weights {weights!r}", "is unknown", f"Use one of {', '.join(WEIGHTS)}, or give numbers")

    def combine(part: _Execution) -> tuple[np.ndarray, np.ndarray, list[float]]:
        chosen = _weights_of(part, weights, step)
        scores = _average(part.scores, chosen)
        return _decided(scores), scores, chosen.tolist()

    return _combine(frames, combine, system)


def vote_predictions(frames: Sequence[pd.DataFrame], ties: str = "probability", system: str = "vote") -> Combined:
    """Combine predictions by a majority vote of the members.

    The scores are fractions of votes, which take few values, so that their AUC is coarse. With tied votes, the decision
    may differ from the first of the highest scores.

    Parameters
    ----------
    frames, system
        As in `average_predictions`.
    ties : {"probability", "lowest"}
        As in `majority_vote`.

    Returns
    -------
    Combined
        As in `average_predictions`, with None for `weights`.

    Raises
    ------
    UserError
        As `average_predictions` and `majority_vote`.
    """
    return _combine(frames, lambda part: (*majority_vote(part.scores, ties), None), system)


@dataclass(frozen=True)
class _Execution:
    """One execution with aligned members: rows of the first member, true class indices, all scores."""

    frame: pd.DataFrame
    truth: np.ndarray
    scores: np.ndarray
    """float64, (members, n, classes)"""

    def rows(self, split: str) -> np.ndarray:
        """Return a mask of the rows of a split, bool (n,)."""
        return (self.frame["split"] == split).to_numpy()

    def accuracy(self, decided: np.ndarray) -> Any:
        """Return the validation accuracy of decisions (..., n) in percent, as lists (...); None without such rows."""
        chosen = self.rows("validation")
        return (100 * (decided[..., chosen] == self.truth[chosen]).mean(axis=-1)).tolist() if chosen.any() else None


_Combine = Callable[[_Execution], tuple[np.ndarray, np.ndarray, list[float] | None]]


def _weights_of(part: _Execution, weights: str | Sequence[float], step: float) -> np.ndarray:
    members = len(part.scores)
    if not isinstance(weights, str):
        return _check_weights(weights, members)
    if weights == "equal":
        return np.full(members, 1 / members)
    chosen = part.rows("validation")
    if not chosen.any():
        repeat, fold = part.frame[["repeat", "fold"]].iloc[0]
        problem = f"need validation rows of every member in repeat {repeat}, fold {fold}"
        raise UserError(f"weights {weights!r}", problem, "Give the weights, or 'equal'")
    if weights == "validation":
        return choose_weights(part.scores[:, chosen], part.truth[chosen], step)
    return proportional_weights(part.accuracy(_decided(part.scores)))


def _combine(frames: Sequence[pd.DataFrame], combine: _Combine, system: str) -> Combined:
    """Apply `combine`, which returns (decided, scores, weights), to each execution."""
    parts, facts = [], []
    for part in _executions(frames):
        decided, scores, weights = combine(part)
        columns = dict(zip(score_columns(part.frame), scores.astype(np.float32).T, strict=True))
        predicted = np.array(classes_of(part.frame))[decided]
        parts.append(part.frame.assign(system=system, predicted=predicted, **columns))
        fact = {
            "repeat": int(part.frame["repeat"].iloc[0]),
            "fold": int(part.frame["fold"].iloc[0]),
            "weights": weights,
            "accuracy": part.accuracy(_decided(part.scores)),
            "accuracy_ensemble": part.accuracy(decided),
            "images": {split: int(part.rows(split).sum()) for split in PARTS if part.rows(split).any()},
        }
        facts.append(fact)
    return Combined(pd.concat(parts, ignore_index=True), facts)


def _executions(frames: Sequence[pd.DataFrame]) -> list[_Execution]:
    """Check the members and return their executions by repeat and fold."""
    frames = list(frames)
    if len(frames) < 2:
        raise UserError("ensemble", f"has {len(frames)} members", "Name two or more")
    names = [_name_of(frame, number) for number, frame in enumerate(frames, 1)]
    classes = require_same_classes(frames, names)
    groups = [dict(list(frame.groupby(["repeat", "fold"]))) for frame in frames]
    for name, own in zip(names, groups, strict=True):
        if own.keys() != groups[0].keys():
            problem = f"has {_listed(own)} as (repeat, fold), but {names[0]} has {_listed(groups[0])}"
            raise UserError(name, problem, "Combine systems of the same executions")
    return [_align([own[key] for own in groups], names, classes) for key in sorted(groups[0])]


def require_same_classes(frames: Sequence[pd.DataFrame], names: Sequence[str]) -> tuple[str, ...]:
    """Return the classes of the first member; raise `UserError` if another's are others, their order apart."""
    classes = classes_of(frames[0])
    for name, frame in zip(names, frames, strict=True):
        if sorted(classes_of(frame)) != sorted(classes):
            problem = f"has the classes {', '.join(classes_of(frame))}, but {names[0]} has {', '.join(classes)}"
            raise UserError(name, problem, "Combine systems of the same classes")
    return classes


def _listed(keys: dict) -> str:
    shown = [f"({repeat}, {fold})" for repeat, fold in sorted(keys)]
    return ", ".join(shown if len(shown) <= 5 else [*shown[:5], f"{len(shown) - 5} more"])


def _name_of(frame: pd.DataFrame, number: int) -> str:
    """Check a member's table and return its name for messages: position and system."""
    check_predictions(frame, f"member {number}")
    systems = list(dict.fromkeys(frame["system"]))
    if len(systems) > 1:
        raise UserError(f"member {number}", f"has several systems: {', '.join(systems)}", "Pass the rows of one system")
    return f"member {number} ({systems[0]})"


def _align(frames: list[pd.DataFrame], names: list[str], classes: tuple[str, ...]) -> _Execution:
    """Align the rows of all members of an execution with the first member."""
    common = [split for split in PARTS if all((frame["split"] == split).any() for frame in frames)]
    if not common:
        raise UserError(names[0], "has no split in common with the other members", _SAME_IMAGES)
    frames = [frame[frame["split"].isin(common)] for frame in frames]
    first, columns = frames[0], [SCORE_PREFIX + name for name in classes]
    stacked = []
    for name, frame in zip(names, frames, strict=True):
        own = _rows_of(first, frame, names[0], name)
        stacked.append(own[columns].to_numpy(np.float64))
    truth = first["label"].map({name: number for number, name in enumerate(classes)}).to_numpy(np.int64)
    return _Execution(first[[*PREDICTION_COLUMNS, *columns]].reset_index(drop=True), truth, np.stack(stacked))


def _rows_of(first: pd.DataFrame, frame: pd.DataFrame, other: str, name: str) -> pd.DataFrame:
    """Align a member's rows with those of the first; raise `UserError` if images, splits or labels differ."""
    images, own_images = pd.Index(first["image_id"]), pd.Index(frame["image_id"])
    repeat, fold = frame[["repeat", "fold"]].iloc[0]
    for missing, lacks, has in (
        (images.difference(own_images, sort=False), name, other),
        (own_images.difference(images), other, name),
    ):
        if len(missing):
            problem = f"lacks {len(missing)} images that {has} has in repeat {repeat}, fold {fold}, {missing[0]} first"
            raise UserError(lacks, problem, _SAME_IMAGES)
    own = frame.iloc[own_images.get_indexer(images)]
    for column in ("split", "label"):
        differs = own[column].to_numpy() != first[column].to_numpy()
        if differs.any():
            row = int(differs.argmax())
            here, there = own[column].iloc[row], first[column].iloc[row]
            problem = f"has {column} {here!r} for image {images[row]}, but {other} has {there!r}"
            raise UserError(name, f"{problem} ({int(differs.sum())} differ)", _SAME_IMAGES)
    return own
