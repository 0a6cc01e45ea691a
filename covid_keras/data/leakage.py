"""Check any split for leakage: images, patients and near-duplicates in more than one part."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import clean, one_spelling, read_table, word_key
from covid_keras.data.cohort import Cohort, one_patient_each
from covid_keras.data.duplicates import find_duplicates
from covid_keras.data.own_images import UNLABELLED, find_images, locate_images

# Common column names, the most likely first.
ROLES = {
    "image": (
        *("image_id", "image", "filename", "file", "path", "image_name", "image_path", "file_path", "image_index"),
        *("img", "dicom_id", "name", "id"),
    ),
    "patient": ("patient_id", "patient", "subject_id", "subject", "participant_id", "participant", "person", "case_id"),
    "part": ("split", "part", "partition", "subset", "set", "data_split", "phase", "usage", "dataset", "fold"),
}
_PLACES = ("path", "file_path", "image_path", "file", "filename")
_DIVISIONS = ("repeat", "fold", "run")
MOST_PARTS = 200  # a column of more names something else
KINDS = ("image", "patient", "near-duplicate")
LEAK_COLUMNS = (
    *("kind", "division", "part_a", "part_b", "image_a", "image_b", "patient_a", "patient_b"),
    *("distance", "correlation"),
)


@dataclass(frozen=True)
class Parts:
    """Assignment of images and patients to parts.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per image, part and division: `image`, `place` (path of the file, as given), `patient` ("" if unknown),
        `part`, `division` (such as "repeat 0, fold 1"; "" for a single division).
    columns : dict
        Role ("image", "patient", "part") to the column used; "" for none.
    without_part : int
        Number of rows without a part, which are left out.
    """

    table: pd.DataFrame
    columns: dict[str, str]
    without_part: int = 0


def read_parts(paths: Sequence[str | Path], columns: Mapping[str, str] | None = None) -> Parts:
    """Read a split from one table with a column of parts, or from one table per part.

    Parameters
    ----------
    paths : sequence of path
        CSV files (see `covid_keras.common.tables.read_table`). Several files without a column of parts are one part
        each, named after the file.
    columns : mapping, optional
        Role ("image", "patient", "part") to column name. Default: the names in `ROLES`. If the table has columns such
        as `repeat` and `fold`, each of their combinations is a division.

    Raises
    ------
    UserError
        If a file cannot be read, a column is missing, or there are fewer than two parts or more than `MOST_PARTS`.
    """
    named = {role: name for role, name in (columns or {}).items() if name}
    tables = [read_table(path, named.values()) for path in paths]
    spelt = {word_key(column): column for column in tables[0].columns}
    tables = [table.rename(columns=lambda column: spelt.get(word_key(column), column)) for table in tables]
    found = {role: named.get(role) or _column(tables, ROLES[role]) for role in ROLES}
    if not found["part"] and len(tables) > 1:
        tables = [table.assign(**{" part": Path(path).stem}) for table, path in zip(tables, paths, strict=True)]
    part = found["part"] or " part"
    whole = pd.concat(tables, ignore_index=True)
    subject = ", ".join(map(str, paths))
    for role, name in (("image", found["image"]), ("part", part)):
        if name not in whole.columns:
            remedy = f"Name it with --{role}; the columns are {', '.join(map(repr, whole.columns))}"
            raise UserError(subject, f"has no column of {role}s", remedy)
    place = _column(tables, _PLACES) if found["image"] not in named.values() else ""
    table = pd.DataFrame({"image": whole[found["image"]], "place": whole[place or found["image"]]})
    table["patient"] = one_patient_each(whole[found["patient"]], subject) if found["patient"] else ""
    table["part"], _ = one_spelling(whole[part], word_key)
    table["division"] = _divisions(whole, found["image"], part)
    kept = table[(table["part"] != "") & (table["image"] != "")].reset_index(drop=True)
    if kept["part"].nunique() < 2:
        only = f"only one part, '{kept['part'].iloc[0]}'" if len(kept) else "no row with an image and a part"
        remedy = "Name the column of parts with --part, or give one file per part"
        raise UserError(subject, f"column '{part.strip()}' holds {only}", remedy)
    if (parts := kept["part"].nunique()) > MOST_PARTS:
        remedy = "Name the column of parts with --part"
        raise UserError(subject, f"column '{part.strip()}' holds {parts:,} parts, more than {MOST_PARTS}", remedy)
    return Parts(kept, found, len(table) - len(kept))


def _column(tables: Sequence[pd.DataFrame], names: Sequence[str]) -> str:
    """Return the first of `names` that is a column of every table, in the tables' spelling."""
    shared = [column for column in tables[0].columns if all(column in table.columns for table in tables)]
    return next((column for name in names for column in shared if word_key(column) == word_key(name)), "")


def _divisions(table: pd.DataFrame, image: str, part: str) -> pd.Series:
    by = [column for name in _DIVISIONS for column in table.columns if word_key(column) == name and column != part]
    if not by or not table[image].duplicated().any():
        return pd.Series("", index=table.index)
    return table[by].apply(lambda row: ", ".join(f"{name} {clean(cell)}" for name, cell in row.items()), axis=1)


@dataclass(frozen=True)
class Leakage:
    """Images, patients and near-duplicates shared by parts of a split.

    Attributes
    ----------
    parts : Parts
    rows : pandas.DataFrame
        Columns `LEAK_COLUMNS`, one row per shared item and pair of parts. `kind` is "image" (an image in both parts),
        "patient" (a patient with images in both; the first of each is named) or "near-duplicate" (two images of the
        same radiograph).
    searched : int
        Number of images searched for near-duplicates.
    absent : tuple of str
        Images without a file.
    unreadable : dict
        Image to the reason why its file could not be read.
    """

    parts: Parts
    rows: pd.DataFrame
    searched: int = 0
    absent: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)

    def between(self) -> list[dict[str, Any]]:
        """Return one row per pair of parts with leakage: `parts`, the count per kind of `KINDS`, and `divisions`."""
        found = []
        for (a, b), rows in self.rows.groupby(["part_a", "part_b"], sort=False):
            counts = {kind: len(_distinct(rows[rows["kind"] == kind], kind)) for kind in KINDS}
            found.append({"parts": [a, b], **counts, "divisions": int(rows["division"].nunique())})
        return found


def _distinct(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the rows of one kind, without repetitions across divisions."""
    return rows.drop_duplicates("patient_a" if kind == "patient" else ["image_a", "image_b"])


def check_parts(parts: Parts, images: str | Path | None = None) -> Leakage:
    """Find images, patients and near-duplicates in more than one part.

    Parameters
    ----------
    parts : Parts
    images : path, optional
        Image folder for the search for near-duplicates. Default: use the paths in the table, relative to the working
        directory. Unreadable files are left out and reported.

    Raises
    ------
    UserError
        If the folder contains none of the images.
    """
    table = parts.table.drop_duplicates("image")
    if images is None:
        files = {place: Path(place) for place in table["place"] if os.path.isfile(place)}
    else:
        files = locate_images(table["place"], find_images(images))
        if not files:
            problem = f"contains none of the images of the split, such as '{table['place'].iloc[0]}'"
            raise UserError(images, problem, "Name the image folder, or the column of file names with --image")
    there = table[table["place"].isin(files)]
    absent = tuple(table["image"][~table["place"].isin(files)]) if files else ()
    pairs, skipped = _near_duplicates(there, files)
    order = {part: number for number, part in enumerate(parts.table["part"].unique())}
    rows = [row for _, own in parts.table.groupby("division", sort=False) for row in _shared(own, pairs, order)]
    frame = pd.DataFrame(rows, columns=list(LEAK_COLUMNS))
    return Leakage(parts, frame, len(there) - len(skipped), absent, skipped)


def _near_duplicates(table: pd.DataFrame, files: Mapping[str, Path]) -> tuple[pd.DataFrame, dict[str, str]]:
    if table.empty:
        return pd.DataFrame(columns=["image_id_a", "image_id_b", "distance", "correlation"]), {}
    columns = {"image_id": table["image"], "patient_id": table["image"], "label": UNLABELLED}
    columns |= {"path": [str(files[place]) for place in table["place"]]}
    skipped: dict[str, str] = {}
    return find_duplicates(Cohort(pd.DataFrame(columns), (UNLABELLED,), "split"), skipped=skipped), skipped


def _shared(rows: pd.DataFrame, pairs: pd.DataFrame, order: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Yield the leaks of one division."""
    division = rows["division"].iloc[0]

    def row(kind: str, first: Any, second: Any, **more: Any) -> dict[str, Any]:
        first, second = sorted((first, second), key=lambda one: order[one.part])
        sides = {f"{name}_{side}": getattr(one, name) for side, one in (("a", first), ("b", second)) for name in _SIDES}
        return {"kind": kind, "division": division, **sides, **more}

    for kind in ("image", "patient"):
        first_ones = rows[rows[kind] != ""].drop_duplicates([kind, "part"])
        crossing = first_ones[first_ones.duplicated(kind, keep=False)]
        for _, own in crossing.groupby(kind, sort=False):
            for first, second in itertools.combinations(own.itertuples(), 2):
                yield row(kind, first, second)
    of_image: dict[str, list[Any]] = {}
    for one in rows.drop_duplicates(["image", "part"]).itertuples():
        of_image.setdefault(str(one.image), []).append(one)
    for pair in pairs.itertuples():
        for first, second in itertools.product(of_image.get(pair.image_id_a, ()), of_image.get(pair.image_id_b, ())):
            if first.part != second.part:
                measured = {"distance": pair.distance, "correlation": pair.correlation}
                yield row("near-duplicate", first, second, **measured)


_SIDES = ("part", "image", "patient")
