"""Read user tables of predictions: detect the columns, and report every row that is left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import (
    choose,
    clean,
    one_spelling,
    parse_number,
    parse_numbers,
    patient_key,
    read_table,
    whole_number,
    word_key,
)
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.evaluation.image_matching import match_images
from covid_keras.evaluation.metrics import rows_of_test
from covid_keras.evaluation.predictions import (
    PREDICTION_COLUMNS,
    SCORE_PREFIX,
    SCORE_SUM_TOLERANCE,
    check_predictions,
    read_predictions,
)

Table: TypeAlias = pd.DataFrame | str | Path

# Usual column names; the first match counts.
_USUAL = {
    "label": ("label", "true_label", "truth", "ground_truth", "y_true", "true", "target", "gt", "class", "diagnosis",
              "finding", "y"),
    "patient": ("patient_id", "patient", "subject_id", "subject", "person_id", "participant_id", "case_id", "pid"),
    "image": ("image_id", "image", "file", "filename", "file_name", "path", "image_path", "study_id", "id", "name"),
    "predicted": ("predicted", "predicted_label", "y_pred", "prediction", "pred", "decision"),
    "score": ("score", "probability", "prob", "y_score", "y_prob", "proba", "p", "pred_proba", "confidence", "risk"),
}  # fmt: skip
# Prefixes of score columns, followed by the class.
_PREFIXES = ("probability_", SCORE_PREFIX, "prob_", "proba_", "p_")
# Labels that are recognised as positive.
_POSITIVE = {"1", "true", "yes", "y", "positive", "pos", "p", "+", "covid", "covid19", "covid+", "abnormal", "disease"}
_NEGATIVE = {"0", "false", "no", "n", "negative", "neg", "-", "normal", "healthy", "control", "covid-", "other"}
_EMPTY = {"", "nan", "na", "n/a", "null", "none", "<na>"}
REST = "other"
_NAMED = 3


@dataclass(frozen=True)
class Columns:
    """Column names. Default: the usual names.

    Parameters
    ----------
    label : str, optional
        The true class.
    score : tuple of str
        The score of the positive class, 0..1; of several classes one column per class.
    patient, image, predicted : str, optional
        Patient id, image id, and predicted class.
    """

    label: str | None = None
    score: tuple[str, ...] = ()
    patient: str | None = None
    image: str | None = None
    predicted: str | None = None


@dataclass(frozen=True)
class OwnPredictions:
    """Test predictions of one system in the suite's layout.

    Parameters
    ----------
    frame : pandas.DataFrame
        See `covid_keras.evaluation.predictions`. Of two classes the last is positive.
    scored : bool
        Whether the table has scores; otherwise the scores in the frame are 0 and 1, like the decisions.
    decided : bool
        Whether the table has decisions; otherwise they are derived from the scores.
    identified : bool
        Whether the table has image ids.
    notes : list of str
        Assumptions made, and rows left out with the reason.
    """

    frame: pd.DataFrame
    scored: bool = True
    decided: bool = True
    identified: bool = True
    notes: list[str] = field(default_factory=list)


def read_own(
    table: Table,
    columns: Columns = Columns(),
    positive: str | None = None,
    labels: Table | None = None,
    system: str | None = None,
) -> OwnPredictions:
    """Read a table of predictions.

    Parameters
    ----------
    table : DataFrame, str or Path
        One row per image, with labels, and with scores of the positive class, scores per class (`probability_<class>`
        or `score_<class>`) or decisions. The `predictions.csv` of a run is recognised.
    columns : Columns
    positive : str, optional
        The positive class; required if it cannot be recognised from the labels.
    labels : DataFrame, str or Path, optional
        A table of images, labels and optionally patients, for predictions without labels.
    system : str, optional
        The system to use, for predictions of several systems.

    Raises
    ------
    UserError
        If a column is missing or ambiguous, a label is unknown, a score is not a number from 0 to 1, an image is
        repeated with different contents, or there are no usable rows.
    """
    where = str(table) if isinstance(table, str | Path) else "predictions"
    raw = as_text(table)
    notes: list[str] = []
    if set(PREDICTION_COLUMNS) <= set(raw.columns) and columns == Columns() and labels is None:
        return _of_run(table, system, where)
    if system is not None:
        raise UserError(f"system {system}", f"{where} is not a run's file of predictions", "Leave it out")
    if labels is not None:
        raw = _with_labels(raw, labels, columns, where, notes)
    names = _resolve(raw, columns, where)
    raw = _usable(raw, names, where, notes)
    classes = _classes(raw, names, positive, where)
    frame = _identified(raw, names, notes).assign(label=_as_classes(raw, str(names.label), classes, where))
    if names.predicted:
        frame["predicted"] = _as_classes(raw, names.predicted, classes, where)
    scores = _scores(raw, names, classes, where, notes) if names.score else _one_hot(frame["predicted"], classes)
    if not names.predicted:
        frame["predicted"] = np.array(classes, object)[decide_scores(scores)]
    frame = frame.assign(**{SCORE_PREFIX + name: scores[:, place] for place, name in enumerate(classes)})
    frame = _once(frame, where, notes)
    return OwnPredictions(frame, bool(names.score), bool(names.predicted), names.image is not None, notes)


def has_labels(table: Table, columns: Columns = Columns()) -> bool:
    """Whether a table has a column of labels."""
    return _found(as_text(table), columns.label, "label", "predictions") is not None


def as_text(table: Table) -> pd.DataFrame:
    """Return a table with all cells as text ("" if empty)."""
    if not isinstance(table, pd.DataFrame):
        return read_table(table)
    raw = table.astype(object).where(table.notna(), "")
    return raw.map(lambda value: clean(str(value))).rename(columns=str).reset_index(drop=True)


def _of_run(table: Table, system: str | None, where: str) -> OwnPredictions:
    if isinstance(table, pd.DataFrame):
        check_predictions(table, where)
    rows = rows_of_test(table if isinstance(table, pd.DataFrame) else read_predictions(table))
    systems = list(dict.fromkeys(rows["system"]))
    if system is None and len(systems) > 1:
        raise UserError(
            where,
            f"has several systems: {', '.join(systems)}",
            "Choose one with --system, or of the other table with --against-system",
        )
    if system is not None and system not in systems:
        raise UserError(f"system {system}", f"is not in {where}", f"Use one of {', '.join(systems)}")
    frame = rows[rows["system"] == (system or systems[0])].reset_index(drop=True)
    notes = [f"System {system or systems[0]}, test images only"]
    if (several := frame.groupby(["repeat", "fold"]).ngroups) > 1:
        notes.append(f"Values are means over {several} executions")
    return OwnPredictions(frame, notes=notes)


# --- columns


def _resolve(raw: pd.DataFrame, columns: Columns, where: str) -> Columns:
    """Return the column names in the table; raise `UserError` without labels, or without scores and decisions."""
    label = _found(raw, columns.label, "label", where)
    if label is None:
        problem = f"has no column of labels; it has {_those_of(raw)}"
        raise UserError(where, problem, "Name it with --label, or a table of them with --labels")
    score, said = _score_columns(raw, columns.score, where), _found(raw, columns.predicted, "predicted", where)
    if said and not score and columns.predicted is None and _fractions(raw[said]):
        score = (said,)
    said = None if said in score or said == label else said
    if not score and said is None:
        remedy = "Name scores with --score, or decisions with --predicted"
        raise UserError(where, f"has neither scores nor decisions; it has {_those_of(raw)}", remedy)
    others = {what: _found(raw, getattr(columns, what), what, where) for what in ("patient", "image")}
    return Columns(label, score, others["patient"], others["image"], said)


def _found(raw: pd.DataFrame, given: str | None, what: str, where: str) -> str | None:
    """Return the column with a given or usual name; None if there is none."""
    keys = {word_key(name): name for name in reversed(raw.columns)}
    for name in (given,) if given is not None else _USUAL[what]:
        if name in raw.columns or word_key(name) in keys:
            return name if name in raw.columns else keys[word_key(name)]
    if given is not None:
        problem = f"{where} has no such column; it has {_those_of(raw)}"
        raise UserError(f"--{what} {given}", problem, "Name one of these")
    return None


def _those_of(raw: pd.DataFrame) -> str:
    return ", ".join(map(repr, raw.columns))


def _score_columns(raw: pd.DataFrame, given: tuple[str, ...], where: str) -> tuple[str, ...]:
    if given:
        return tuple(str(_found(raw, name, "score", where)) for name in given)
    for prefix in _PREFIXES:
        if len(found := [name for name in raw.columns if name.casefold().startswith(prefix)]) > 1:
            return tuple(found)
    one = _found(raw, None, "score", where)
    return (one,) if one else ()


def _fractions(cells: pd.Series) -> bool:
    """Whether all non-empty cells are numbers, and not all of them whole."""
    try:
        numbers = parse_numbers(cells[~_empty(cells)])
    except ValueError:
        return False
    return bool((numbers % 1).any())


# --- rows


def _empty(cells: pd.Series) -> pd.Series:
    return cells.str.casefold().isin(_EMPTY)


def _name_rows(raw: pd.DataFrame, image: str | None) -> str:
    """Return the first rows by image or row number, for messages."""
    names = raw[image] if image else [f"row {number + 1}" for number in raw.index]
    shown = ", ".join(list(names)[:_NAMED])
    return shown + (", ..." if len(raw) > _NAMED else "")


def _usable(raw: pd.DataFrame, names: Columns, where: str, notes: list[str]) -> pd.DataFrame:
    """Drop rows without a label, score or decision, with a note."""
    needed = [(str(names.label), "label"), *((name, "score") for name in names.score)]
    needed += [(names.predicted, "decision")] if names.predicted else []
    for column, what in needed:
        without = _empty(raw[column])
        if without.any():
            rows = f"{without.sum()} of {len(raw)} rows"
            notes.append(f"LEFT OUT: {rows} without a {what} in {column!r} ({_name_rows(raw[without], names.image)})")
            raw = raw[~without]
        if raw.empty:
            raise UserError(where, f"has no {what} in column {column!r}", "Name another column")
    return raw


def _identified(raw: pd.DataFrame, names: Columns, notes: list[str]) -> pd.DataFrame:
    """Return the columns of image and patient ids."""
    rows = pd.Series([f"row {number + 1}" for number in raw.index], index=raw.index)
    image = raw[names.image].where(~_empty(raw[names.image]), rows) if names.image else rows
    patient = image
    if names.patient:
        known = raw[names.patient].where(~_empty(raw[names.patient]), "")
        patient, changed = one_spelling(known, patient_key)
        if changed:
            one, same = changed[0]
            notes.append(
                f"{len(changed)} patient ids are other spellings of the same patient, such as {one!r} and {same!r}"
            )
        if (unknown := patient == "").any():
            notes.append(f"{unknown.sum()} rows have no patient; each counts as a separate patient")
            patient = patient.where(~unknown, "image " + image)
    else:
        notes.append("No column of patients; each image counts as one patient, so intervals may be too narrow")
    fixed = {"path": "", "source": "", "severity": "", "system": "predictions", "repeat": 0, "fold": 0, "split": "test"}
    return pd.DataFrame({"image_id": image, "patient_id": patient}).assign(**fixed)


def _once(frame: pd.DataFrame, where: str, notes: list[str]) -> pd.DataFrame:
    """Drop exact repetitions of rows; raise `UserError` for an image with different contents."""
    rows = frame.drop_duplicates()
    if len(again := rows[rows["image_id"].duplicated()]):
        image = again["image_id"].iloc[0]
        raise UserError(where, f"lists image {image} more than once, with different contents", "Keep one row per image")
    if len(rows) < len(frame):
        notes.append(f"LEFT OUT: {len(frame) - len(rows)} exact repetitions of other rows")
    return rows.reset_index(drop=True)


# --- classes


def _labels(raw: pd.DataFrame, column: str) -> pd.Series:
    return raw[column].map(whole_number)


def _classes(raw: pd.DataFrame, names: Columns, positive: str | None, where: str) -> tuple[str, ...]:
    """Return the classes: in the order of the score columns, or with the positive one last."""
    if len(names.score) > 1:
        classes = tuple(map(_class_of, names.score))
        if len(set(classes)) < len(classes):
            raise UserError(
                where, f"has several score columns per class: {', '.join(classes)}", "Name them with --score"
            )
        if len(classes) > 2:
            return classes
        chosen = _choose_class(positive, classes) if positive else _guess(classes) or classes[-1]
        return (*(name for name in classes if name != chosen), chosen)
    found = _labels(raw, str(names.label))
    if not names.score:
        found = pd.concat([found, _labels(raw, str(names.predicted))])
    labels = sorted(one_spelling(found, word_key)[0].unique())
    if not names.score and len(labels) > 2:
        return tuple(labels)
    chosen = _positive_of(labels, positive, where)
    others = [label for label in labels if label != chosen]
    return (others[0] if len(others) == 1 else REST, chosen)


def _class_of(column: str) -> str:
    prefix = next((one for one in _PREFIXES if column.casefold().startswith(one)), "")
    return column[len(prefix) :]


def _choose_class(given: str, classes: Sequence[str]) -> str:
    if (chosen := choose(whole_number(given), classes)) not in classes:
        raise UserError(f"--positive {given}", "is not a class of the predictions", f"Use one of {', '.join(classes)}")
    return chosen


def _positive_of(labels: Sequence[str], positive: str | None, where: str) -> str:
    """Return the positive label; it may be missing if there is only one label."""
    alone = len(labels) == 1
    if positive is not None:
        return positive if alone and choose(positive, labels) not in labels else _choose_class(positive, labels)
    if len(labels) > 2 or (guess := _guess(labels)) is None:
        problem = f"has labels {', '.join(labels)}, of which none is recognised as positive"
        raise UserError(where, problem, "Name it with --positive")
    return guess


def _guess(labels: Sequence[str]) -> str | None:
    """Guess the positive one of one or two labels by its name or that of the negative one."""
    known = [label for label in labels if word_key(label) in _POSITIVE]
    if not known:
        known = [label for label in labels if word_key(label) not in _NEGATIVE]
        known = [] if len(known) == len(labels) else known or (["positive"] if len(labels) == 1 else [])
    return known[0] if len(known) == 1 else None


def _as_classes(raw: pd.DataFrame, column: str, classes: Sequence[str], where: str) -> pd.Series:
    """Map a column of labels or decisions to classes."""
    cells = _labels(raw, column)
    meant = cells.map({cell: choose(cell, classes) for cell in cells.unique()})
    if (unknown := ~meant.isin(classes)).any():
        if classes[0] == REST:
            return meant.where(~unknown, REST)
        first = meant[unknown].iloc[0]
        problem = f"column {column!r} has {first!r}, which is not one of the classes {', '.join(classes)}"
        raise UserError(where, problem, "Correct the labels, or name other columns")
    return meant


# --- scores


def _scores(raw: pd.DataFrame, names: Columns, classes: Sequence[str], where: str, notes: list[str]) -> np.ndarray:
    """Return the scores (n, K) in class order."""
    if len(names.score) == 1:
        one = _numbers(raw, names.score[0], names.image, where)
        return np.stack([1 - one, one], axis=1)
    columns = {_class_of(name): name for name in names.score}
    scores = np.stack([_numbers(raw, columns[name], names.image, where) for name in classes], axis=1)
    if (np.abs(scores.sum(axis=1) - 1) > SCORE_SUM_TOLERANCE).any():
        notes.append("The scores of an image do not sum to 1")
        if len(classes) == 2:
            notes[-1] += f"; only the score of {classes[1]} is used"
            return np.stack([1 - scores[:, 1], scores[:, 1]], axis=1)
    return scores


def _numbers(raw: pd.DataFrame, column: str, image: str | None, where: str) -> np.ndarray:
    wrong = raw[~raw[column].map(_is_number)]
    if len(wrong):
        problem = (
            f"column {column!r} must contain numbers (got {wrong[column].iloc[0]!r}, {_name_rows(wrong[:1], image)})"
        )
        raise UserError(where, problem, "Name a column of scores with --score")
    numbers = parse_numbers(raw[column])
    outside = ~((numbers >= 0) & (numbers <= 1))
    if outside.any():
        first = f"{numbers[outside][0]:g} ({_name_rows(raw[outside][:1], image)})"
        problem = f"{outside.sum()} scores in column {column!r} lie outside 0..1, the first is {first}"
        raise UserError(where, problem, "Give probabilities (apply a sigmoid to logits, divide percentages by 100)")
    return numbers


def _is_number(cell: str) -> bool:
    try:
        return parse_number(cell) == parse_number(cell)
    except ValueError:
        return False


def _one_hot(said: pd.Series, classes: Sequence[str]) -> np.ndarray:
    return (said.to_numpy(object)[:, None] == np.array(classes, object)).astype(float)


# --- two tables


def _with_labels(raw: pd.DataFrame, labels: Table, columns: Columns, where: str, notes: list[str]) -> pd.DataFrame:
    """Join predictions with labels, and patients if given, from another table; drop unmatched rows."""
    theirs, there = as_text(labels), str(labels) if isinstance(labels, str | Path) else "labels"
    image = _found(raw, columns.image, "image", where)
    key = image if image in theirs else _found(theirs, None, "image", there)
    label = _found(theirs, columns.label, "label", there)
    for column, table, what in ((image, where, "image"), (key, there, "image"), (label, there, "label")):
        if column is None:
            raise UserError(table, f"has no column of {what}s", f"Name it with --{what}")
    patient = _found(theirs, columns.patient if columns.patient in theirs else None, "patient", there)
    named = [column for column in (key, label, patient) if column is not None]
    theirs = theirs.loc[~_empty(theirs[key]), list(dict.fromkeys(named))].drop_duplicates()
    matched = match_images(list(raw[image]), list(theirs[key]), where, there, notes)
    for what, column in (("label", label), ("patient", patient)):
        if column is not None:
            name = getattr(columns, what) or _USUAL[what][0]
            raw = raw.assign(**{name: theirs[column].to_numpy(object)[matched]})
    return raw[matched >= 0]
