"""RSNA Pneumonia Detection Challenge (2018): normal, lung opacity, and neither, read by radiologists.

What
    26,684 frontal radiographs of NIH ChestX-ray14, read again by radiologists of the Radiological Society of North
    America and the Society of Thoracic Radiology, with boxes around opacities that may be pneumonia.
Layout
    `rsna-pneumonia-detection-challenge/` with `stage_2_train_images/<patientId>.dcm` (or conversions to .png or .jpg
    of the same stem), `stage_2_detailed_class_info.csv` (patientId, class) and `stage_2_train_labels.csv` (patientId,
    x, y, width, height, Target). Optional beside them: `pneumonia-challenge-dataset-mappings_2018.json` of the RSNA's
    page of the challenge (subset_img_id, img_id), which tells the image of ChestX-ray14.
Cohort
    Every image once (both tables repeat a patient for each box); labels "normal" (Normal), "pneumonia" (Lung Opacity)
    and "other" (No Lung Opacity / Not Normal). Further column `boxes`: the number of boxes. With the file of mappings,
    patients have the ids of `chestxray14`, so that a split by patient holds across the two collections.
Known problems
    Not tested on the real collection; layout and counts are the published ones. "patientId" names an image, not a
    person: without the file of mappings one patient's images count as several patients and may cross a split. A lung
    opacity may be pneumonia; it is not a clinical diagnosis. Some patients are children. The views, stored in
    the DICOM headers, are not read. `chestxray14` and `covidx` contain the same images: do not join them with this set.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.common.tables import choose, name_key, whole_number
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Source, image_files, read_metadata, refuse
from covid_keras.data.sources.listed import present

CLASSES = ("normal", "pneumonia", "other")
LABELS = dict(zip(("Normal", "Lung Opacity", "No Lung Opacity / Not Normal"), CLASSES, strict=True))
FINDINGS = "stage_2_detailed_class_info.csv"
BOXES = "stage_2_train_labels.csv"
IMAGES = "stage_2_train_images"
MAPPINGS = "pneumonia-challenge-dataset-mappings_2018.json"
_NIH_NAME = re.compile(r"^(\d{8})_\d{3}(?:\.png)?$")


def nih_patients(folder: Path) -> dict[str, str]:
    """Return the patient of `chestxray14` by patientId of the challenge; nothing where the file of mappings is absent.

    Raises `UserError` if the file exists but is not a list of subset_img_id and img_id (`<patient>_<follow-up>.png`).
    """
    path = folder / MAPPINGS
    if not path.is_file():
        return {}
    try:
        matches = {name_key(entry["subset_img_id"]): _NIH_NAME.findall(entry["img_id"]) for entry in read_json(path)}
        return {name: f"chestxray14/{found[0]}" for name, found in matches.items()}
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        problem = "is not the RSNA's list of subset_img_id and img_id (<patient>_<follow-up>.png)"
        raise UserError(path, problem, "Download it again, or remove it") from error


def _column(path: Path, name: str) -> pd.Series:
    table = read_metadata(path, ("patientId", name))
    return table.set_index(table["patientId"].map(name_key))[name]


def _read_tables(folder: Path) -> pd.DataFrame:
    """Return class and number of boxes of each patientId (the index), the two tables checked against each other."""

    def check(name: str, wrong: pd.Series, problem: str) -> None:
        refuse(folder / name, wrong, wrong.index, problem, "Download the original table again", "patientId")

    by_patient = _column(folder / FINDINGS, "class").map(lambda name: choose(name, LABELS))
    check(FINDINGS, ~by_patient.isin(LABELS), f"has a class that is not one of {', '.join(LABELS)}")
    check(FINDINGS, by_patient.groupby(level=0).nunique() > 1, "has two classes")
    findings = by_patient[~by_patient.index.duplicated()]
    targets = _column(folder / BOXES, "Target").map(whole_number)
    check(BOXES, ~targets.isin(["0", "1"]), "has a Target that is neither 0 nor 1")
    boxes = (targets == "1").groupby(level=0).sum().reindex(findings.index)
    check(BOXES, boxes.isna(), f"is not listed, but is in {FINDINGS}")
    opaque = findings == "Lung Opacity"
    check(BOXES, (boxes > 0) != opaque, f"has a Target that does not fit its class in {FINDINGS}")
    return pd.DataFrame({"class": findings, "boxes": boxes.astype(int)})


def _survey(folder: Path) -> tuple[pd.DataFrame, int]:
    """Return the rows with an image (and its `path`), and how many have none."""
    table = _read_tables(folder)
    files = {path.stem: path for path in image_files(folder / IMAGES)}
    found = present(list(table.index), files, folder / IMAGES, folder / FINDINGS)
    there = table[table.index.isin(found)]
    return there.assign(path=[str(files[found[name]].resolve()) for name in there.index]), len(table) - len(there)


class Rsna(Source):
    """RSNA Pneumonia Detection Challenge 2018."""

    def load(self, folder: Path) -> Cohort:
        """Return the collection as a cohort, classes "normal", "pneumonia", "other".

        Further column: `boxes` (int). Raises `UserError` if a table or a column is missing, a class or a Target is
        unknown, the tables disagree, the folder of images is missing or empty, more than a tenth of the images are
        missing, or the file of mappings is invalid.
        """
        table, _ = _survey(folder)
        patients = nih_patients(folder)
        return self.cohort(
            {
                "image_id": "rsna/" + table.index,
                "path": table["path"],
                "patient_id": [patients.get(name, f"rsna/{name}") for name in table.index],
                "label": table["class"].map(LABELS),
                "boxes": table["boxes"],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return the images of each class, the patients, and the listed images that are missing."""
        _, absent = _survey(folder)
        cohort = self.load(folder)
        return {**cohort.counts(), "patients": len(cohort.patients()), "listed images missing": absent}


SOURCE = Rsna(
    name="rsna",
    classes=CLASSES,
    title="RSNA Pneumonia Detection Challenge 2018",
    url="https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge",
    licence="the competition's rules: research and education, with attribution to RSNA and NIH",
    size="26,684 images of 1024 x 1024 pixels, about 4 GB",
    images=26_684,
    layout=f"rsna-pneumonia-detection-challenge/ with {IMAGES}/, {FINDINGS}, {BOXES}",
    access="Signed in and with its rules accepted, get the data of"
    " https://www.kaggle.com/competitions/rsna-pneumonia-detection-challenge and unpack them into the data folder",
    citation="Shih et al.: Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert"
    " Annotations of Possible Pneumonia. Radiology: Artificial Intelligence 1(1), 2019",
    doi="10.1148/ryai.2019180041",
    checks={"normal": 8_851, "pneumonia": 6_012, "other": 11_821},
    folders=("rsna-pneumonia-detection-challenge", "RSNA", "rsna"),
    marks=(FINDINGS,),
)
