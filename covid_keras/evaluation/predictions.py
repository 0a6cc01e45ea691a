"""Predictions files: the predictions of one execution, the only input of all metrics.

A file has one row per image, with the columns `PREDICTION_COLUMNS` and one `score_<class>` column per class, in class
order.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import choose, parse_numbers, read_table, write_table
from covid_keras.data.cohort import SEVERITIES, one_patient_each
from covid_keras.data.splits import PARTS

PREDICTION_COLUMNS = (
    "image_id", "path", "patient_id", "source", "severity", "system",
    "repeat", "fold", "split", "label", "predicted",
)  # fmt: skip
EXECUTION_COLUMNS = ("system", "repeat", "fold")
SCORE_PREFIX = "score_"
SCORE_SUM_TOLERANCE = 1e-3

_KEYS = ("image_id", *EXECUTION_COLUMNS)
_INTEGERS = ("repeat", "fold")
_REMEDY = "Run the execution again, or restore the file"


def score_columns(frame: pd.DataFrame) -> list[str]:
    """Return the names of the `score_<class>` columns in order."""
    return [name for name in frame.columns if str(name).startswith(SCORE_PREFIX)]


def classes_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """Return the class names from the `score_<class>` columns in order."""
    return tuple(name[len(SCORE_PREFIX) :] for name in score_columns(frame))


def check_predictions(frame: pd.DataFrame, where: str | Path = "predictions") -> None:
    """Validate predictions.

    Parameters
    ----------
    frame : pandas.DataFrame
        Columns `PREDICTION_COLUMNS` and two or more `score_<class>` columns; further columns are allowed.
    where : str or Path
        Subject of error messages, usually the file.

    Raises
    ------
    UserError
        If a column is missing, the table is empty, an image is repeated in an execution, an image or patient id is
        empty, a split, label or predicted class is unknown, or scores are not finite, lie outside 0..1 or do not sum to
        1 within `SCORE_SUM_TOLERANCE`.
    """
    missing = [name for name in PREDICTION_COLUMNS if name not in frame.columns]
    if missing:
        raise UserError(where, f"has no column {', '.join(missing)}", _REMEDY)
    classes = classes_of(frame)
    if len(classes) < 2:
        raise UserError(where, f"has {len(classes)} score_<class> columns, at least two are needed", _REMEDY)
    if frame.empty:
        raise UserError(where, "has no rows", _REMEDY)
    _check_names(frame, classes, where)
    twice = frame.duplicated(list(_KEYS))
    if twice.any():
        image, system, repeat, fold = frame.loc[twice, list(_KEYS)].iloc[0]
        raise UserError(where, f"lists image {image} twice for {system}, repeat {repeat}, fold {fold}", _REMEDY)
    _check_scores(frame, where)


def _check_names(frame: pd.DataFrame, classes: tuple[str, ...], where: str | Path) -> None:
    for column, allowed in (("label", classes), ("predicted", classes), ("split", PARTS)):
        wrong = ~frame[column].isin(allowed)
        if wrong.any():
            row = frame.loc[wrong].iloc[0]
            text = f"image {row.image_id} has {column} {row[column]!r}, which is not one of {', '.join(allowed)}"
            raise UserError(where, text, _REMEDY)
    for column in ("image_id", "patient_id", "system"):
        empty = frame[column].isna() | (frame[column].astype(str) == "")
        if empty.any():
            text = f"row {int(np.flatnonzero(empty.to_numpy())[0]) + 1} has no {column}"
            raise UserError(where, text, _REMEDY)


def _check_scores(frame: pd.DataFrame, where: str | Path) -> None:
    scores = frame[score_columns(frame)].to_numpy(dtype=np.float64)
    finite = np.isfinite(scores).all(axis=1)
    within = (scores >= 0).all(axis=1) & (scores <= 1).all(axis=1)
    sums = np.abs(scores.sum(axis=1) - 1) <= SCORE_SUM_TOLERANCE
    for good, problem in (
        (finite, "has a score that is not a finite number"),
        (within, "has a score outside 0..1"),
        (sums, "has scores that do not sum to 1"),
    ):
        if not good.all():
            row = int(np.flatnonzero(~good)[0])
            shown = ", ".join(f"{score:g}" for score in scores[row])
            raise UserError(where, f"image {frame['image_id'].iloc[row]} {problem} ({shown})", _REMEDY)


def write_predictions(path: str | Path, frame: pd.DataFrame) -> Path:
    """Write predictions atomically as CSV; reading them back gives the same float32 scores.

    Parameters
    ----------
    path : str or Path
        The file to write.
    frame : pandas.DataFrame
        Valid predictions (see `check_predictions`); columns are written in the order of `PREDICTION_COLUMNS`.

    Raises
    ------
    UserError
        If the predictions are invalid or the path is not writable.
    """
    check_predictions(frame, path)
    scores = score_columns(frame)
    others = [name for name in frame.columns if name not in PREDICTION_COLUMNS and name not in scores]
    ordered = frame[[*PREDICTION_COLUMNS, *scores, *others]].astype(dict.fromkeys(scores, np.float32))
    # Nine significant digits identify every float32 (IEEE 754-2008, section 5.12.2).
    return write_table(path, ordered, "%.9g")


def read_predictions(paths: str | Path | Iterable[str | Path]) -> pd.DataFrame:
    """Read and concatenate predictions files.

    Parameters
    ----------
    paths : path or iterable of paths
        Files from `write_predictions`, also if saved again by a spreadsheet (see `covid_keras.common.tables`). All must
        have the same classes in the same order.

    Returns
    -------
    pandas.DataFrame
        The rows of all files in the order given; text columns as str ("" if empty), `repeat` and `fold` as int64,
        scores as float32.

    Raises
    ------
    UserError
        If a file is missing, unreadable or invalid (see `check_predictions`), has other classes than the first, or
        repeats an image of the same execution from an earlier file.
    """
    paths = [paths] if isinstance(paths, str | Path) else list(paths)
    if not paths:
        raise UserError("predictions", "need at least one file (got 0)", "Name a predictions.csv")
    frames = [_read_one(Path(path)) for path in paths]
    _check_together(paths, frames)
    return pd.concat(frames, ignore_index=True)


def _read_one(path: Path) -> pd.DataFrame:
    text = read_table(path, optional=PREDICTION_COLUMNS)
    kinds = dict.fromkeys(_INTEGERS, np.int64) | dict.fromkeys(score_columns(text), np.float32)
    for column in (name for name in kinds if name in text.columns):
        try:
            text[column] = parse_numbers(text[column], kinds[column])
        except (ValueError, OverflowError) as error:
            raise UserError(path, f"column {column} must contain numbers ({error})", _REMEDY) from error
    classes = classes_of(text)
    for column, known in (("label", classes), ("predicted", classes), ("split", PARTS), ("severity", SEVERITIES)):
        if column in text.columns:
            text[column] = text[column].map({cell: choose(cell, known) for cell in text[column].unique()})
    if "patient_id" in text.columns:
        text["patient_id"] = one_patient_each(text["patient_id"], str(path))
    check_predictions(text, path)
    return text


def choose_examples(predictions: pd.DataFrame, by_severity: bool = False) -> pd.DataFrame:
    """Return the correct and the wrong test image of each class with the highest score of the predicted class.

    A class without wrong images gives one row. With `by_severity`, the same for each severity level of each class, from
    the mildest level to the severest.
    """
    test = predictions[predictions["split"] == "test"]
    scores = test[[name for name in test.columns if name.startswith("score_")]].max(axis=1)
    level = pd.Categorical(test["severity"], ["", *SEVERITIES], ordered=True).codes if by_severity else 0
    test = test.assign(_score=scores, _level=level, _right=test["label"] == test["predicted"])
    groups = ["label", "_level", "_right"]
    chosen = test.sort_values(["_score", "image_id"], ascending=[False, True]).drop_duplicates(groups)
    return chosen.sort_values(groups, ascending=[False, True, False]).drop(columns=["_score", "_level", "_right"])


def _check_together(paths: list[str | Path], frames: list[pd.DataFrame]) -> None:
    classes = classes_of(frames[0])
    seen: set[tuple] = set()
    for path, frame in zip(paths, frames, strict=True):
        if classes_of(frame) != classes:
            text = f"has the classes {', '.join(classes_of(frame))}, but {paths[0]} has {', '.join(classes)}"
            raise UserError(path, text, "Read predictions of the same classes together")
        keys = set(frame[list(_KEYS)].itertuples(index=False, name=None))
        if repeated := sorted(keys & seen):
            image, system, repeat, fold = repeated[0]
            text = f"repeats image {image} of {system}, repeat {repeat}, fold {fold} from an earlier file"
            raise UserError(path, text, "Name each execution once")
        seen |= keys
