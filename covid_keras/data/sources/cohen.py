"""COVID-19 Image Data Collection (Cohen, Morrison, Dao and others, 2020).

What
    Radiographs and CT slices gathered from publications and web pages, of patients with COVID-19 or another
    pneumonia; patient, day, view, finding and licence of each in `metadata.csv`.
Layout
    `images/*`, `metadata.csv` (patientid, finding, view, modality, filename, license, ...),
    `annotations/covid-severity-scores.csv` (filename, geographic_mean 0-8, opacity_mean 0-6: means of three
    radiologists for the paper of Cohen, Dao, Roth and others, Cureus 12(7), 2020),
    `annotations/lung-masks-darwin-v7/<stem>.png` (optional; see `darwin_v7`).
Cohort
    X-ray images that have a row and a finding, lateral views included (`Cohort.frontal()` selects PA and AP).
    Label "COVID-19" if `finding` contains "COVID-19" in any spelling (both "COVID-19, ARDS" and the later
    "Pneumonia/Viral/COVID-19"), else "other" (mostly other pneumonias, a few "No Finding"); the raw text
    stays in the column `finding`. `extent` is geographic_mean; `severity` is its level, for COVID-19 only.
Known problems
    A few files have two rows; the first is kept. If the patient ids of the two rows differ, they are one person
    (same radiograph), so all images of both get the first id: 285 = 339 and 287 = 340. So the 267 ids with a frontal
    view are 265 patients. Some listed files are not in the folder and some files have no
    row: both are left out and counted. The same radiograph also occurs under two names and two ids
    (find_duplicates finds those). Images from publications carry arrows, letters and compression artefacts,
    and the finding goes with the publication: a classifier can learn the source instead of the disease.
    Later snapshots have other counts, which is not an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key, one_spelling, read_table, word_key
from covid_keras.data.cohort import Cohort, severity_level
from covid_keras.data.sources.base import (
    Download,
    Source,
    image_files,
    image_ids,
    parse_age,
    parse_extent,
    read_metadata,
    refuse,
    warn_lost,
)
from covid_keras.data.sources.listed import match_names, require_most
from covid_keras.data.sources.nlm import masks_by_stem

LOGGER = logging.getLogger(__name__)

COLUMNS = ("patientid", "finding", "view", "modality", "filename")
MASKS = Path("annotations") / "lung-masks-darwin-v7"
SCORES = Path("annotations") / "covid-severity-scores.csv"
# Findings that are not decided yet.
_UNDECIDED = {"", "todo", "unknown"}
# In a finding's `word_key`: "COVID-19", "Covid 19", "Pneumonia/Viral/COVID-19", but not "non-COVID-19".
_COVID = re.compile(r"(?<!non)(?<!not)(?<!\bno)(covid|sars-?cov-?2|2019-?ncov)(?!(19)?negative)")


def _one_row_per_file(table: pd.DataFrame) -> pd.DataFrame:
    """Keep each file's first row; give patients who share a file one id (the first in the table)."""
    files, _ = pd.factorize(table["filename"])
    patients, names = pd.factorize(table["patientid"])
    size = len(names) + files.max() + 1
    links = coo_array((np.ones(len(table)), (patients, files + len(names))), shape=(size, size))
    component = connected_components(links, directed=False)[1][: len(names)]
    # np.unique's first occurrence: factorize numbers the ids in the order of the table.
    _, first, group = np.unique(component, return_index=True, return_inverse=True)
    table = table.assign(patientid=np.asarray(names)[first[group]][patients])
    return table.drop_duplicates("filename").reset_index(drop=True)


def _survey(folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the table of usable X-ray rows (with `path`) and how many of what was left out."""
    listing = folder / "metadata.csv"
    table = read_metadata(listing, COLUMNS, optional=("license", "age"), patient="patientid")
    for column in ("filename", "patientid"):
        refuse(listing, table[column] == "", table.index + 2, f"has an empty column '{column}'", what="line")
    table["filename"], _ = one_spelling(table["filename"], name_key)
    files = {path.name: path for path in image_files(folder / "images")}
    found = match_names(table["filename"], files, listing)
    table = _one_row_per_file(table)
    is_xray = table["modality"].map(word_key) == "xray"
    computed = int((~is_xray & table["filename"].isin(found)).sum())
    table = table[is_xray]
    require_most(table["filename"].tolist(), found, folder / "images", listing)
    there = table["filename"].isin(found)
    table = table[there]
    undecided = table["finding"].str.casefold().isin(_UNDECIDED)
    warn_lost(listing, "X-rays without a finding", table["filename"][undecided].tolist())
    table = table[~undecided].assign(filename=table["filename"][~undecided].map(found))
    return table.assign(path=[str(files[name]) for name in table["filename"]]), {
        "CT left out": computed,
        "images without a row left out": len(files) - len(found),
        "listed X-rays missing": int((~there).sum()),
        "undecided findings left out": int(undecided.sum()),
    }


def read_scores(folder: Path, files: Iterable[str]) -> dict[str, float]:
    """Return geographic_mean (extent, 0 to 8) by the files' names; empty if the table of scores is absent.

    Raises `UserError` if a column is missing, a file is listed twice, or a score is not a number from 0 to 8.
    """
    path = folder / SCORES
    if not path.is_file():
        LOGGER.warning("%s is missing: the cohort has no severity levels", path)
        return {}
    table = read_metadata(path, ("filename", "geographic_mean"), key="filename")
    found = match_names(table["filename"], files, path)
    return {
        found.get(name, name): parse_extent(score, path, "geographic_mean", name)
        for name, score in zip(table["filename"], table["geographic_mean"], strict=True)
    }


class Cohen(Source):
    """COVID-19 Image Data Collection."""

    def is_own(self, folder: Path) -> bool:
        """Check the folder name or the table header, because other collections have a metadata.csv too."""
        if self.is_named(folder):
            return True
        try:
            read_table(folder / "metadata.csv", ("patientid", "finding"))
        except UserError:
            return False
        return True

    def load(self, folder: Path) -> Cohort:
        """Return the X-rays of the collection as a cohort, classes "other" and "COVID-19".

        Further columns: `finding` (raw text), `license`, `age` (years, NaN if unknown). Raises `UserError` if a file or
        column is missing, the image folder is empty, or more than a tenth of the X-rays listed are missing.
        """
        table, _ = _survey(folder)
        names = table["filename"]
        extent = names.map(read_scores(folder, names)).astype(float)
        covid = table["finding"].map(lambda finding: bool(_COVID.search(word_key(finding))))
        masks = masks_by_stem((folder / MASKS,), [Path(name).stem for name in names])
        levels = [severity_level(score) if positive else "" for score, positive in zip(extent, covid, strict=True)]
        return self.cohort(
            {
                "image_id": image_ids("cohen", names),
                "path": table["path"],
                "patient_id": "cohen/" + table["patientid"],
                "label": np.where(covid, "COVID-19", "other"),
                "view": table["view"],
                "severity": levels,
                "extent": extent,
                "mask_path": masks,
                "finding": table["finding"],
                "license": table.get("license", ""),
                "age": table["age"].map(parse_age).tolist() if "age" in table else np.nan,
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return what was found for each key of `checks`, and how many X-rays have no finding yet."""
        _, left_out = _survey(folder)
        cohort = self.load(folder)
        frontal = cohort.frontal()
        return {
            "X-rays": len(cohort),
            "frontal X-rays": len(frontal),
            "frontal COVID-19": frontal.counts()["COVID-19"],
            "patients (frontal)": len(frontal.patients()),
            "severity scores": int(cohort.table["extent"].notna().sum()),
            **left_out,
        }


SOURCE = Cohen(
    name="cohen",
    classes=("other", "COVID-19"),
    title="COVID-19 Image Data Collection",
    url="https://github.com/ieee8023/covid-chestxray-dataset",
    licence="one for each image (column license of metadata.csv); several forbid commercial use or derivatives",
    size="561 images, some hundred MB (snapshot of June 2020)",
    images=491,
    layout="covid-chestxray-dataset/ with images/, metadata.csv, annotations/covid-severity-scores.csv",
    access="Clone https://github.com/ieee8023/covid-chestxray-dataset into the data folder, or run "
    "`covid-keras data download cohen --unverified`: GitHub creates the archive on "
    "request, so its bytes vary and no SHA-256 can be pinned (it holds the repository's last state, with more "
    "images than the snapshot of June 2020 that the expected counts belong to)",
    citation="Cohen et al.: COVID-19 Image Data Collection: Prospective Predictions Are the Future. "
    "Journal of Machine Learning for Biomedical Imaging, 2020",
    doi="10.48550/arXiv.2006.11988",
    downloads=(
        Download(
            "https://github.com/ieee8023/covid-chestxray-dataset/archive/refs/heads/master.zip",
            None,
            "covid-chestxray-dataset-master.zip",
            unpack=True,
            strip_top=True,
        ),
    ),
    lungs="whole",
    checks={
        "X-rays": 491,
        "frontal X-rays": 453,
        "frontal COVID-19": 367,
        "patients (frontal)": 265,
        "severity scores": 93,
        "CT left out": 57,
        "images without a row left out": 13,
        "listed X-rays missing": 11,
    },
    folders=("covid-chestxray-dataset", "covid-chestxray-dataset-master", "cohen"),
    marks=("metadata.csv",),
)
