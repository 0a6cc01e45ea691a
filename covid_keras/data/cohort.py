"""`Cohort`: a validated table of radiographs, one row per image."""

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
    write_table,
)

TEXT_COLUMNS = ("image_id", "path", "patient_id", "source", "label", "view", "severity", "mask_path")
COLUMNS = ("image_id", "path", "patient_id", "source", "label", "view", "severity", "extent", "mask_path")
REQUIRED = ("image_id", "path", "patient_id", "label")
NUMBERS = ("age", "follow_up")  # further columns that are not text
SEVERITIES = ("Normal-PCR+", "Mild", "Moderate", "Severe")
MAX_EXTENT = 8.0
# Spellings of the views (by `word_key`); others are kept as they are.
_VIEWS = {"pa": "PA", "ap": "AP", "apsupine": "AP Supine", "l": "L", "lateral": "L"}
# Empty cells as written by pandas, R and SQL; as ids, they would merge patients.
_MISSING = frozenset({"nan", "NaN", "NA", "<NA>", "NULL"})
_NAMED = 5

_log = logging.getLogger(__name__)


def severity_level(extent: float) -> str:
    """Return the severity level of an extent score.

    Parameters
    ----------
    extent : float
        Extent of the opacities, 0 to 8 (0 to 4 per lung), as in the modified RALE score. A mean over readers is rounded
        half up before binning.

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
        raise UserError("extent", f"must lie in 0 to {MAX_EXTENT:g} (got {extent})", "Correct the severity scores")
    # not round(), which rounds halves to even
    score = math.floor(extent + 0.5)
    return SEVERITIES[0 if score == 0 else 1 if score <= 2 else 2 if score <= 5 else 3]


def _with_all_columns(table: pd.DataFrame, subject: str) -> pd.DataFrame:
    """Return a copy with all COLUMNS in order; missing optional columns are filled with "unknown"."""
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
        problem = f"column 'extent' must contain numbers ({error})"
        raise UserError(subject, problem, "Give numbers 0 to 8, or leave the cell empty") from error
    return table[[*COLUMNS, *(column for column in table.columns if column not in COLUMNS)]]


def _each(cells: pd.Series, change: Callable[[str], str]) -> pd.Series:
    """Apply `change` once per distinct cell."""
    return cells.map({text: change(text) for text in cells.unique()})


def view_name(text: str) -> str:
    """Return the standard spelling of a view ("PA", "AP", "AP Supine", "L"); return other text unchanged."""
    return _VIEWS.get(word_key(text), text)


def one_patient_each(cells: pd.Series, subject: str) -> pd.Series:
    """Return patient ids with one spelling per patient ("" if unknown); log a warning for each other spelling."""
    cells = _each(cells, lambda text: "" if text.rpartition("/")[2] in _MISSING else whole_number(text))
    patients, changed = one_spelling(cells, patient_key)
    if changed:
        named = ", ".join(f"'{text}' = '{kept}'" for text, kept in changed[:_NAMED])
        _log.warning(
            "%s: %d patient ids are taken as other spellings of the same patient: %s", subject, len(changed), named
        )
    return patients


def _check_spellings(names: Iterable[str], key: Callable[[str], str], what: str, subject: str) -> None:
    """Raise `UserError` if two names differ only in case, blanks or dashes."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(key(name), name)
        if other != name:
            problem = f"{what} '{other}' and '{name}' differ only in case, blanks or dashes"
            raise UserError(subject, problem, "Rename one of them, or keep one")


def _check(table: pd.DataFrame, classes: tuple[str, ...], subject: str) -> None:
    if table.empty:
        raise UserError(subject, "the cohort has no images", "Check the folder, or the filter")
    if len(set(classes)) != len(classes) or not classes:
        raise UserError(
            subject, f"classes must be non-empty and distinct (got {list(classes)})", "Name each class once"
        )
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
        (
            outside,
            "extent of image '{0.image_id}' must lie in 0 to 8 (got {0.extent:g})",
            "Correct the severity scores",
        ),
    ):
        if wrong.any():
            raise UserError(subject, problem.format(table[wrong].iloc[0]), remedy)


@dataclass(frozen=True)
class Cohort:
    """Radiographs with their patients and labels, validated on creation.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per image. Required: `image_id`, `path`, `patient_id`, `label`. Optional: `source`, `view` ("PA", "AP",
        "AP Supine", "L", "" if unknown), `severity` ("Normal-PCR+", "Mild", "Moderate", "Severe", "" if unknown),
        `extent` (0 to 8, NaN if unknown), `mask_path` ("" if none). Other columns are kept, by convention among them
        `age` (years, NaN if unknown) and `sex` ("F", "M", "" if unknown). The row order is kept; the index is reset.
    classes : tuple of str
        The labels, in the order of the class indices. Labels are matched ignoring case, blanks, dashes and underscores.
    name : str
        Name for error messages, usually the source or the file.

    Raises
    ------
    UserError
        If a required column is missing or has an empty cell, an image id is repeated, a label is not in `classes`, an
        extent lies outside 0..8, there are no images, or two image ids or classes differ only in case, blanks or
        dashes.

    Notes
    -----
    Cells are stripped. Patient ids 3, 3.0, "3 " and 003 are taken as one patient, likewise P1 and p1; a warning names
    them. Treat `table` as read-only: `filter`, `relabel` and `concat` return new cohorts.
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
        """Return the rows where `keep` (a boolean array, or a function of the table) is true.

        Raises `UserError` if no row is left.
        """
        mask = np.asarray(keep(self.table) if callable(keep) else keep, dtype=bool)
        if mask.shape != (len(self.table),):
            raise ValueError(f"filter must have shape ({len(self.table)},), got {mask.shape}")
        return Cohort(self.table[mask], self.classes, self.name)

    def counts(self) -> dict[str, int]:
        """Return the number of images per class, in class order."""
        found = self.table["label"].value_counts()
        return {label: int(found.get(label, 0)) for label in self.classes}

    def labels(self) -> np.ndarray:
        """Return the class indices, (n,) int64."""
        index = {label: number for number, label in enumerate(self.classes)}
        return self.table["label"].map(index).to_numpy(dtype=np.int64)

    def patients(self) -> list[str]:
        """Return the distinct patient ids, in the order of their first image."""
        return list(self.table["patient_id"].drop_duplicates())

    def frontal(self) -> Cohort:
        """Return the frontal images: `view` is PA or AP, including "AP Supine".

        Raises `UserError` if there are none.
        """
        return self.filter(self.table["view"].str.match(r"(PA|AP)\b"))

    def relabel(self, mapping: Mapping[str, str], classes: Sequence[str]) -> Cohort:
        """Rename or merge labels; labels not in `mapping` are kept.

        Raises `UserError` if a resulting label is not in `classes`.
        """
        table = self.table.copy()
        table["label"] = [mapping.get(label, label) for label in table["label"]]
        return Cohort(table, tuple(classes), self.name)

    @staticmethod
    def concat(cohorts: Iterable[Cohort], classes: Sequence[str], name: str = "") -> Cohort:
        """Concatenate cohorts in the order given; image ids must be distinct."""
        tables = [cohort.table for cohort in cohorts]
        if not tables:
            raise UserError(name or "cohort", "needs at least one cohort to join (got 0)", "Give at least one")
        return Cohort(pd.concat(tables, ignore_index=True), tuple(classes), name)

    def to_csv(self, path: str | Path) -> Path:
        """Write the table atomically as CSV; return the path."""
        return write_table(path, self.table)

    @classmethod
    def from_csv(cls, path: str | Path, classes: Sequence[str] | None = None) -> Cohort:
        """Read a table written by `to_csv`, or any table with the required columns.

        Parameters
        ----------
        path : str or Path
            A CSV file (see `covid_keras.common.tables.read_table`). Relative `path` and `mask_path` cells are relative
            to the folder of the CSV file. `age` (years) and `follow_up` are numbers, NaN where a cell is not a number.
            Other columns are read as text.
        classes : sequence of str, optional
            The labels in class order. Default: the sorted labels found.

        Raises
        ------
        UserError
            If the file cannot be read or the table is not a valid cohort.
        """
        path = Path(path)
        table = read_table(path, REQUIRED, COLUMNS)
        for column in ("path", "mask_path"):
            if column in table.columns:
                cells = table[column]
                table[column] = [str((path.parent / cell).resolve()) if cell else "" for cell in cells]
        if "extent" in table.columns:
            table["extent"] = table["extent"].replace("", np.nan)
        for column in table.columns.intersection(NUMBERS):
            table[column] = pd.to_numeric(table[column], errors="coerce")
        if not classes:
            table["label"], _ = one_spelling(table["label"], word_key)
        return cls(table, tuple(classes) if classes else tuple(sorted(set(table["label"]))), path.name)

    def fingerprint(self) -> str:
        """Return a key (16 hexadecimal digits) of ids, patients, labels, severities and file sizes.

        It does not depend on file locations or row order. Raises `UserError` if an image file is missing.
        """
        digest = hashlib.sha256(repr(self.classes).encode())
        for row in self.table.sort_values("image_id").itertuples():
            try:
                size = Path(row.path).stat().st_size
            except (OSError, ValueError) as error:  # ValueError: a null byte in the path
                problem = f"image '{row.image_id}' of the cohort is missing"
                raise UserError(row.path, problem, "Restore the file or remove the row") from error
            digest.update(repr((row.image_id, row.patient_id, row.label, row.severity, size)).encode())
        return digest.hexdigest()[:16]
