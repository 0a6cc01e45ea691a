"""NIH ChestX-ray14 (Wang and others, 2017), whole or as a two-folder subset.

What
    112,120 frontal radiographs of 30,805 patients of the NIH Clinical Center, with up to fourteen findings
    each, mined from the reports (so some are wrong; more than 90 % are thought right).
Layout
    Whole: `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv` (Image Index, Finding Labels, Follow-up #, Patient ID,
    Patient Age, Patient Gender, View Position, ...) with the images in `images/` or `images_001/images/` to
    `images_012/images/`, `<patient>_<follow-up>.png`.
    Subset: `No_findings/`, `Pneumonia/` with `<patient>_<follow-up>.jpg`. Its rows of the table are read from the
    table above or `Data_Entry_2017_rows.csv`, in its folder or beside it; without a table, views and ages are unknown.
Cohort
    Labels "No_findings" ("No Finding" in the table), "Pneumonia" (any image with that finding, whatever else it has)
    and, in the whole collection, "other". Further columns: `finding` (raw, "Cardiomegaly|Effusion"; in the subset the
    folder's name), `follow_up` (int), `age` (years, NaN if unknown), `sex` ("F", "M", "" if unknown). If the whole
    collection and the subset are both there, an image of both counts once, as in the whole collection.
Known problems
    Patients have several images and appear in both folders of the subset: patients are grouped over both. Two
    follow-ups of one patient in the subset are the same picture. Labels come from reports, not from readers.
    Within the subset, view and age alone tell the labels apart to some degree: "No_findings" is AP 314 and PA 142
    with 66 images of children, "Pneumonia" AP 209 and PA 241 with 18. Ages above 120 in the table are errors and
    count as unknown. Against COVID-19 collections, source and disease are confounded: a classifier can win by telling
    sources apart, and every result must say so.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import choose, clean, whole_number
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import (
    Source,
    find_folders,
    image_files,
    parse_age,
    parse_sex,
    read_metadata,
    refuse,
    warn_lost,
)
from covid_keras.data.sources.listed import match_names

FOLDERS = ("No_findings", "Pneumonia")
TABLE = "Data_Entry_2017.csv"
TABLES = (TABLE, "Data_Entry_2017_v2020.csv")
SUBSET_TABLES = ("Data_Entry_2017_rows.csv", *TABLES)
COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "View Position")
AGE, SEX = "Patient Age", ("Patient Gender", "Patient Sex")
NO_FINDING = "No Finding"
# In the collection's order, which is that of the outputs of networks trained on it.
FINDINGS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip
SUBSET_CHECKS = {"No_findings": 456, "Pneumonia": 450, "patients": 612}
SUBSET_VIEWS = {"AP": 523, "PA": 383}
_NAME = re.compile(r"(\d+)_(\d+)$")


def is_whole(folder: Path) -> bool:
    """Whether the folder holds the whole collection, with its table, and not the two-folder subset."""
    return _find_table((folder,), TABLES) is not None and not _is_subset(folder)


def _is_subset(folder: Path) -> bool:
    return os.path.isdir(folder / FOLDERS[0])


def _image_folders(folder: Path) -> list[Path]:
    return [place for place in (folder / "images", *sorted(folder.glob("images_[0-9]*/images"))) if place.is_dir()]


def _find_table(folders: Iterable[Path], names: Iterable[str]) -> Path | None:
    paths = (folder / name for folder in folders for name in names)
    return next((path for path in paths if os.path.isfile(path)), None)


def _patient(digits: str) -> str:
    return f"chestxray14/{int(digits):08d}"


def _parse_name(path: Path) -> tuple[str, int]:
    """Return patient id and follow-up number from `<patient>_<follow-up>.<suffix>`."""
    match = _NAME.match(path.stem)
    if match is None:
        problem = "is not named <patient>_<follow-up>, so its patient is unknown"
        raise UserError(path, problem, "Restore the collection's own file name")
    return _patient(match[1]), int(match[2])


def _read_subset(folder: Path) -> dict[str, Any]:
    files = [path for label in FOLDERS for path in image_files(folder / label)]
    stems = pd.Series([path.stem for path in files])
    if stems.duplicated().any():
        name = stems[stems.duplicated()].iloc[0]
        places = " and ".join(str(path.relative_to(folder)) for path in files if path.stem == name)
        raise UserError(folder, f"image '{name}' is there twice ({places})", "Keep the one that is right")
    patients, follow_ups = zip(*(_parse_name(path) for path in files), strict=True)
    folders = [path.parent.name for path in files]
    return {
        "image_id": [f"{patient}_{number:03d}" for patient, number in zip(patients, follow_ups, strict=True)],
        "path": files,
        "patient_id": patients,
        "label": folders,
        "finding": folders,
        "follow_up": follow_ups,
        **_subset_rows(folder, files),
    }


def _subset_rows(folder: Path, files: list[Path]) -> dict[str, Any]:
    """Return view, age and sex of the files; nothing if there is no table."""
    listing = _find_table((folder, folder.parent), SUBSET_TABLES)
    if listing is None:
        return {}
    table, names = _read_table(listing), [path.name for path in files]
    found = match_names(table["Image Index"], names, listing)
    rows = table[table["Image Index"].isin(found)]
    rows = rows.set_index(rows["Image Index"].map(found)).reindex(names)
    without = rows["Image Index"].isna()
    warn_lost(listing, f"images of {folder.name} without a row", rows.index[without].tolist())
    return _described(rows.fillna(""))


def _described(table: pd.DataFrame) -> dict[str, Any]:
    """Return the columns view, age and sex of a cohort from rows of the table."""
    return {
        "view": table["View Position"].tolist(),
        "age": table["age"].map(parse_age).tolist(),
        "sex": table["sex"].map(parse_sex).tolist(),
    }


def _read_table(listing: Path) -> pd.DataFrame:
    table = read_metadata(listing, COLUMNS, key="Image Index", optional=(AGE, *SEX))
    _check_cells(table, listing)
    sex = next((column for column in SEX if column in table), None)
    return table.assign(age=table.get(AGE, ""), sex=table[sex] if sex else "")


def _check_cells(table: pd.DataFrame, path: Path) -> None:
    """Normalise findings and numbers; raise `UserError` if they are invalid."""
    names, again = table["Image Index"], "Download the original table again"
    known = (NO_FINDING, *FINDINGS)
    table["Finding Labels"] = [
        "|".join(choose(clean(one), known) for one in cell.split("|")) for cell in table["Finding Labels"]
    ]
    for finding in table["Finding Labels"].unique():
        for unknown in sorted(set(finding.split("|")) - set(known))[:1]:
            problem = f"has the unknown finding '{unknown}' in column 'Finding Labels'"
            refuse(path, table["Finding Labels"] == finding, names, problem, again)
    for column in ("Patient ID", "Follow-up #"):
        table[column] = table[column].map(whole_number)
        refuse(
            path,
            ~table[column].str.fullmatch(r"\d+"),
            names,
            f"has no number in column '{column}': " + table[column],
            again,
        )


def _read_whole(folder: Path) -> dict[str, Any]:
    listing = _find_table((folder,), TABLES) or folder / TABLE
    table = _read_table(listing)
    places = _image_folders(folder)
    if not places:
        raise UserError(folder, "holds neither images/ nor images_001/images/", "Unpack the image archives here")
    files = {path.name: path for place in places for path in image_files(place)}
    names = table["Image Index"]
    found = match_names(names, files, listing)
    absent = ~names.isin(found)
    problem = f"of column 'Image Index' is missing on disk, as are {absent.sum() - 1} more"
    refuse(listing, absent, names, problem, "Unpack the missing archives, or remove these rows")
    findings = table["Finding Labels"]
    pneumonia = findings.str.contains("Pneumonia", regex=False)
    return {
        "image_id": ["chestxray14/" + Path(name).stem for name in names],
        "path": [files[found[name]] for name in names],
        "patient_id": table["Patient ID"].map(_patient),
        "label": np.select([findings == NO_FINDING, pneumonia], FOLDERS, "other"),
        "finding": findings,
        "follow_up": table["Follow-up #"].astype(int),
        **_described(table),
    }


class ChestXray14(Source):
    """NIH ChestX-ray14."""

    def is_own(self, folder: Path) -> bool:
        """A table alone is not the collection."""
        return _is_subset(folder) or bool(_image_folders(folder))

    def locate_all(self, data: Path) -> list[Path]:
        """Return the collection's folders, whole before subset; those with the table alone if there is no other."""
        found = super().locate_all(data) or find_folders(data, self.folders, TABLES)
        return sorted(found, key=_is_subset)

    def load(self, folder: Path) -> Cohort:
        """Return the whole collection (if its table is there) or the two-folder subset as a cohort.

        Further columns: `finding` (raw text), `follow_up` (int), `age` (years), `sex`. Raises `UserError` if a folder
        is missing or empty, a name does not tell the patient, or an image is in both folders; if a column of the table
        is missing, an image is listed twice or missing on disk, or a finding is unknown.
        """
        if is_whole(folder):
            return self.cohort(_read_whole(folder))
        return self.cohort(_read_subset(folder), FOLDERS)

    def count(self, folder: Path) -> dict[str, int]:
        """Return how many images, patients and images of each class were found."""
        cohort = self.load(folder)
        views = cohort.table["view"].value_counts().to_dict()
        return {"images": len(cohort), "patients": len(cohort.patients()), **cohort.counts(), **views}

    def expected(self, folder: Path) -> dict[str, int]:
        """Return the expected counts of the layout that lies in `folder`."""
        if is_whole(folder):
            return self.checks
        has_table = _find_table((folder, folder.parent), SUBSET_TABLES)
        return {**SUBSET_CHECKS, **(SUBSET_VIEWS if has_table else {})}


SOURCE = ChestXray14(
    name="chestxray14",
    classes=(*FOLDERS, "other"),
    title="NIH ChestX-ray14",
    url="https://nihcc.app.box.com/v/ChestXray-NIHCC",
    licence="free to use with attribution to the NIH Clinical Center",
    size="45 GB (the two-folder subset: 906 images)",
    images=112_120,
    layout="ChestX-ray14/ with Data_Entry_2017.csv and images/ or images_001/ to images_012/; or "
    "nih-chestxray14-subset/ with No_findings/, Pneumonia/",
    access="Get the archives and the table from https://nihcc.app.box.com/v/ChestXray-NIHCC and unpack them"
    " into the data folder, or the two folders from https://github.com/muhammedtalo/COVID-19",
    citation="Wang et al.: ChestX-ray8: Hospital-Scale Chest X-Ray Database and Benchmarks. CVPR 2017",
    doi="10.1109/CVPR.2017.369",
    checks={"images": 112_120, "patients": 30_805},
    folders=(
        "ChestX-ray14",
        "chestxray14",
        "ChestXray-NIHCC",
        "CXR8",
        "nih-chestxray14",
        "NIH",
        "nih-chestxray14-subset",
    ),
    marks=(*TABLES, f"{FOLDERS[0]}/"),
)
