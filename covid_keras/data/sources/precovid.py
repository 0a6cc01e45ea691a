"""Radiographs from before COVID-19: a folder of your own.

What
    Radiographs taken before December 2019, so certainly without COVID-19: the negatives of Experiment 3 of Arias-Garzon
    and others, 2021 (5,469 images from Spain, 2015 to 2017). That set was never published: bring your own.
Where
    Your hospital, or a collection that was closed before December 2019 (PadChest, ChestX-ray14).
Licence
    Whatever your images carry.
Size
    The paper's set: 5,469 images.
Layout
    Ours: `pre-covid/` with `images/*` (PNG, JPEG, TIFF, BMP or DICOM) and `metadata.csv` with the columns `filename`
    (in `images/`), `patient_id`, `view` ("PA", "AP", "AP Supine", "L", empty where unknown). Further columns are kept.
Cohort
    Every image with a row; label "normal", which here says "no COVID-19" and nothing about other disease.
Known problems
    Negatives from another time than the positives (and often from another hospital and device): a classifier can win
    by telling these apart. The expected count is the paper's; another one is no error. Not run here on real images.
Citation
    D. Arias-Garzón and others: COVID-19 detection in X-ray images using convolutional neural networks. Machine Learning
    with Applications 6, 100138, 2021.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import SourceCard, find_folder, image_files, image_ids, read_metadata

LOGGER = logging.getLogger(__name__)

CLASSES = ("normal",)
COLUMNS = ("filename", "patient_id", "view")
FOLDERS = ("pre-covid", "precovid")
VIEWS = ("PA", "AP", "AP Supine", "L", "")

CARD = SourceCard(
    name="precovid",
    title="Radiographs from before COVID-19 (your own)",
    url="",
    licence="that of your images",
    size="the paper's set, never published: 5,469 images",
    images=5_469,
    layout="pre-covid/ with images/*, metadata.csv (filename, patient_id, view)",
    access="Put radiographs of your own, taken before December 2019, into pre-covid/images/ in the data folder and"
    " write pre-covid/metadata.csv",
    citation="name where your images come from; the experiment: Arias-Garzon et al., Machine Learning with"
    " Applications 6, 2021",
    checks={"images": 5_469},
)


def locate(data: Path) -> Path | None:
    """Return the folder at or below the data root, None where there is none."""
    folder = find_folder(data, FOLDERS, ("metadata.csv",))
    # Other collections have a metadata.csv too, so the data root itself must bear the name.
    return folder if folder is not None and folder.name in FOLDERS else None


def load(folder: Path) -> Cohort:
    """Return the radiographs as a cohort of the one class "normal".

    Raises
    ------
    UserError
        Where the table or a column is missing, a file name is empty or listed twice, a patient is empty, a view is
        unknown, or a listed image is missing.
    """
    listing = folder / "metadata.csv"
    table = read_metadata(listing, COLUMNS, key="filename")
    names = table["filename"]
    files = {path.name: path for path in image_files(folder / "images")}
    for wrong, problem, remedy in (
        (~names.isin(files), "is not in images/", "Put the image there, or remove the row"),
        (table["patient_id"] == "", "has no patient_id", "Fill it in: splits are made by patient"),
        (~table["view"].isin(VIEWS), "has an unknown view", f"Use one of {', '.join(VIEWS[:-1])}, or leave it empty"),
    ):
        if wrong.any():
            raise UserError(listing, f"image '{names[wrong].iloc[0]}' {problem}", remedy)
    if len(files) > len(table):
        LOGGER.warning("%s lists %d of the %d images in images/", listing, len(table), len(files))
    return Cohort(
        pd.DataFrame(
            {
                **{column: table[column] for column in table.columns if column not in COLUMNS},
                "image_id": image_ids("precovid", names),
                "path": [str(files[name].resolve()) for name in names],
                "patient_id": "precovid/" + table["patient_id"],
                "source": "precovid",
                "label": CLASSES[0],
                "view": table["view"],
            }
        ),
        CLASSES,
        "precovid",
    )


def count(folder: Path) -> dict[str, int]:
    """Return how many images have a row."""
    return {"images": len(load(folder))}
