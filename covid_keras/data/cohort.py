"""The cohort: a checked table of radiographs, one row per image."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import atomic_path
from covid_keras.common.tables import (
    choose,
    clean,
    name_key,
    one_spelling,
    parse_numbers,
    patient_key,
    read_table,
    require_columns,
    whole_number,
    word_key,
)

TEXT_COLUMNS = ("image_id", "path", "patient_id", "source", "label", "view", "severity", "mask_path")
COLUMNS = ("image_id", "path", "patient_id", "source", "label", "view", "severity", "extent", "mask_path")
REQUIRED = ("image_id", "path", "patient_id", "label")
SEVERITIES = ("Normal-PCR+", "Mild", "Moderate", "Severe")
MAX_EXTENT = 8.0
# How tables spell the views (by `word_key`); others stay as they are.
_VIEWS = {"pa": "PA", "ap": "AP", "apsupine": "AP Supine", "l": "L", "lateral": "L"}
# What pandas, R and SQL write into an empty cell: all who are called so would be one patient.
_MISSING = frozenset({"nan", "NaN", "NA", "<NA>", "NULL"})
_NAMED = 5

_log = logging.getLogger(__name__)


def severity_level(extent: float) -> str:
    """Return the severity level of an extent score.

    Parameters
    ----------
    extent : float
        Extent of the opacities, 0 to 8 (0 to 4 a lung), as in the modified RALE score. A mean of several
        readers is rounded half up before it is binned.

    Returns
    -------
    str
        "Normal-PCR+" for 0, "Mild" for 1-2, "Moderate" for 3-5, "Severe" for 6-8, "" for NaN (unknown).

    Raises
    ------
    UserError
        If `extent` lies outside 0..8.

    References
    ----------
    Tabik et al., IEEE JBHI 24(12), 2020, section III (severity levels of COVIDGR-1.0).

    Examples
    --------
    >>> [severity_level(x) for x in (0.4, 0.5, 2.5, 8)]
    ['Normal-PCR+', 'Mild', 'Moderate', 'Severe']
    """
    if math.isnan(extent):
        return ""
    if not 0 <= extent <= MAX_EXTENT:
        raise UserError("extent", f"{extent} lies outside 0 to {MAX_EXTENT:g}", "Correct the severity scores")
    # math.floor(x + 0.5), since Python's round() sends halves to the even neighbour.
    score = math.floor(extent + 0.5)
    return SEVERITIES[0 if score == 0 else 1 if score <= 2 else 2 if score <= 5 else 3]


def _with_all_columns(table: pd.DataFrame, subject: str) -> pd.DataFrame:
    """Return a copy in the column order of COLUMNS, optional columns filled in as "unknown"."""
    require_columns(table, REQUIRED, subject, f"A cohort needs the columns {', '.join(REQUIRED)}")
    table = table.reset_index(drop=True).copy()
    for column in TEXT_COLUMNS:
        values = table[column] if column in table.columns else pd.Series("", index=table.index)
        table[column] = values.astype(object).where(values.notna(), "").astype(str)
    for column in ("image_id", "patient_id", "label", "view", "severity"):
        table[column] = _each(table[column], clean)
    table["patient_id"] = one_patient_each(table["patient_id"], subject)
    table["view"] = _each(table["view"], view_name)
    table["severity"] = _each(table["severity"], lambda severity: choose(severity, SEVERITIES))
    extent = table["extent"] if "extent" in table.columns else pd.Series(np.nan, index=table.index)
    try:
        table["extent"] = parse_numbers(extent.astype(object).where(extent.notna(), np.nan))
    except (ValueError, TypeError) as error:
        problem = f"column 'extent' holds something that is not a number ({error})"
        raise UserError(subject, problem, "Give numbers 0 to 8, or leave the cell empty") from error
    return table[[*COLUMNS, *(column for column in table.columns if column not in COLUMNS)]]


def _each(cells: pd.Series, change: Callable[[str], str]) -> pd.Series:
    """Return the cells changed, each different one only once."""
    return cells.map({text: change(text) for text in cells.unique()})


def view_name(text: str) -> str:
    """Return a view as this suite spells it ("PA", "AP", "AP Supine", "L"); other text as it is."""
    return _VIEWS.get(word_key(text), text)


def one_patient_each(cells: pd.Series, subject: str) -> pd.Series:
    """Return patients' ids with one spelling per patient ("" where unknown); warn of other spellings."""
    cells = _each(cells, lambda text: "" if text.rpartition("/")[2] in _MISSING else whole_number(text))
    patients, changed = one_spelling(cells, patient_key)
    if changed:
        named = ", ".join(f"'{text}' = '{kept}'" for text, kept in changed[:_NAMED])
        _log.warning("%s: %d patient ids are other spellings of one patient's: %s", subject, len(changed), named)
    return patients


def _check_spellings(names: Iterable[str], key: Callable[[str], str], what: str, subject: str) -> None:
    """Refuse two names that differ in case, blanks or dashes only."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(key(name), name)
        if other != name:
            problem = f"{what} '{other}' and '{name}' differ in case, blanks or dashes only"
            raise UserError(subject, problem, "Rename one of them, or keep one")


def _check(table: pd.DataFrame, classes: tuple[str, ...], subject: str) -> None:
    if table.empty:
        raise UserError(subject, "the cohort holds no image", "Check the folder, or the filter that emptied it")
    if len(set(classes)) != len(classes) or not classes:
        raise UserError(subject, f"the classes {list(classes)} are empty or repeat", "Name each class once")
    _check_spellings(classes, word_key, "the classes", subject)
    _check_spellings(table["image_id"], name_key, "the image ids", subject)
    for column in REQUIRED:
        empty = table[column] == ""
        if empty.any():
            named = table["image_id"][empty].iloc[0] or f"row {int(np.flatnonzero(empty)[0]) + 1}"
            raise UserError(subject, f"column '{column}' is empty for {named}", "Fill it in")
    outside = table["extent"].notna() & ~table["extent"].between(0, MAX_EXTENT)
    for wrong, problem, remedy in (
        (table["image_id"].duplicated(), "image id '{0.image_id}' is listed more than once", "Keep one row per image"),
        (
            ~table["label"].isin(classes),
            "label '{0.label}' of image '{0.image_id}' is unknown",
            f"Use one of {', '.join(classes)}",
        ),
        (outside, "extent {0.extent:g} of image '{0.image_id}' lies outside 0 to 8", "Correct the severity scores"),
    ):
        if wrong.any():
            raise UserError(subject, problem.format(table[wrong].iloc[0]), remedy)


@dataclass(frozen=True)
class Cohort:
    """Radiographs with their patients and labels, checked when made.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per image; `image_id`, `path`, `patient_id` and `label` are required. Optional: `source`, `view`
        ("PA", "AP", "AP Supine", "L", "" unknown), `severity` ("Normal-PCR+", "Mild", "Moderate",
        "Severe", "" unknown), `extent` (0 to 8, NaN unknown), `mask_path` ("" none). Further columns are
        kept. The order of the rows is kept; the index is renumbered from 0.
    classes : tuple of str
        The labels, in the order of the class indices. A label that differs from one of them in case, blanks, dashes
        or underscores only counts as that one.
    name : str
        What errors call the cohort, usually its source or its file.

    Raises
    ------
    UserError
        If a required column is missing or has an empty cell, an image id is listed twice, a label is not
        in `classes`, an extent lies outside 0..8, or no image is left; where two image ids or two classes differ in
        case, blanks or dashes only.

    Notes
    -----
    Cells are stripped. Patients 3, 3.0, "3 " and 003 are one, and so are P1 and p1: a warning names such ids.
    Treat `table` as read-only: `filter`, `relabel` and `concat` return new cohorts.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    name: str = field(default="")

    def __post_init__(self) -> None:
        classes = tuple(str(label) for label in self.classes)
        table = _with_all_columns(self.table, self.name or "cohort")
        table["label"] = _each(table["label"], lambda label: choose(label, classes))
        _check(table, classes, self.name or "cohort")
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "classes", classes)

    def __len__(self) -> int:
        return len(self.table)

    def filter(self, keep: np.ndarray | pd.Series | Callable[[pd.DataFrame], object]) -> Cohort:
        """Return the cohort of the rows where `keep` (boolean array, or callable on the table) is true.

        Raises `UserError` if nothing is left.
        """
        mask = np.asarray(keep(self.table) if callable(keep) else keep, dtype=bool)
        if mask.shape != (len(self.table),):
            raise ValueError(f"a filter of shape {mask.shape} does not fit {len(self.table)} images")
        return Cohort(self.table[mask], self.classes, self.name)

    def counts(self) -> dict[str, int]:
        """Return the number of images of each class, in class order (0 where there is none)."""
        found = self.table["label"].value_counts()
        return {label: int(found.get(label, 0)) for label in self.classes}

    def labels(self) -> np.ndarray:
        """Return the class index of each image, shape (n,), int64."""
        index = {label: number for number, label in enumerate(self.classes)}
        return self.table["label"].map(index).to_numpy(dtype=np.int64)

    def patients(self) -> list[str]:
        """Return the patient ids, each once, in the order of their first image."""
        return list(self.table["patient_id"].drop_duplicates())

    def frontal(self) -> Cohort:
        """Return the cohort of the frontal views: `view` is PA or AP, whatever the posture ("AP Supine").

        Raises `UserError` if there is none.
        """
        return self.filter(self.table["view"].str.match(r"(PA|AP)\b"))

    def relabel(self, mapping: Mapping[str, str], classes: Sequence[str]) -> Cohort:
        """Return the cohort with labels renamed or merged; labels absent from `mapping` stay.

        Raises `UserError` if a resulting label is not in `classes`.
        """
        table = self.table.copy()
        table["label"] = [mapping.get(label, label) for label in table["label"]]
        return Cohort(table, tuple(classes), self.name)

    @staticmethod
    def concat(cohorts: Iterable[Cohort], classes: Sequence[str], name: str = "") -> Cohort:
        """Return one cohort of all the images, in the order given; image ids must not repeat."""
        tables = [cohort.table for cohort in cohorts]
        if not tables:
            raise UserError(name or "cohort", "there is no cohort to join", "Give at least one")
        return Cohort(pd.concat(tables, ignore_index=True), tuple(classes), name)

    def to_csv(self, path: str | Path) -> Path:
        """Write the table as CSV, whole or not at all; return the path."""
        with atomic_path(path) as temporary:
            self.table.to_csv(temporary, index=False, lineterminator="\n")
        return Path(path)

    @classmethod
    def from_csv(cls, path: str | Path, classes: Sequence[str] | None = None) -> Cohort:
        """Read a table written by `to_csv`, or one of the user's own with the required columns.

        Parameters
        ----------
        path : str or Path
            The CSV, as `covid_keras.common.tables.read_table` takes it. Relative `path` and `mask_path` cells are
            taken from the CSV's own folder. Cells of further columns are read as text.
        classes : sequence of str, optional
            The labels in class order. Without it: the labels found, sorted.

        Raises
        ------
        UserError
            If the file cannot be read, or the table fails the cohort's checks.
        """
        path = Path(path)
        table = read_table(path, REQUIRED, COLUMNS)
        for column in ("path", "mask_path"):
            if column in table.columns:
                cells = table[column]
                table[column] = [str((path.parent / cell).resolve()) if cell else "" for cell in cells]
        if "extent" in table.columns:
            table["extent"] = table["extent"].replace("", np.nan)
        if not classes:
            table["label"], _ = one_spelling(table["label"], word_key)
        return cls(table, tuple(classes) if classes else tuple(sorted(set(table["label"]))), path.name)

    def fingerprint(self) -> str:
        """Return a key (16 hexadecimal digits) of the ids, patients, labels, severities and file sizes.

        It does not depend on where the files lie or on the order of the rows. Raises `UserError` if an image's file
        is missing.
        """
        digest = hashlib.sha256(repr(self.classes).encode())
        for row in self.table.sort_values("image_id").itertuples():
            try:
                size = Path(row.path).stat().st_size
            except OSError as error:
                problem = f"image '{row.image_id}' of the cohort is missing"
                raise UserError(row.path, problem, "Restore the file or remove the row") from error
            digest.update(repr((row.image_id, row.patient_id, row.label, row.severity, size)).encode())
        return digest.hexdigest()[:16]
