"""PadChest (Bustos and others, 2020): frontal and lateral radiographs, here for the filter of views.

What
    160,868 radiographs of 67,625 patients of the Hospital San Juan de Alicante, Spain, 2009 to 2017, six projections,
    reports labelled with 174 findings (27 % by physicians).
Layout
    `PadChest/` with `PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv` (or `.csv.gz`; ImageID, ImageDir, PatientID,
    Projection, Labels, ...) and the images, 16-bit PNG, in `<ImageDir>/<ImageID>` or `images/<ImageDir>/<ImageID>`.
Cohort
    Labels "frontal" (Projection PA, AP, AP_horizontal) and "lateral" (L). The raw projection stays in `projection`, the
    raw findings in `finding`. Rows of other projections (COSTAL: ribs; EXCLUDE; UNK or empty) and without a patient are
    left out and counted, as are those whose archive is not there.
Known problems
    Not tested on the real collection. The paper and the site say 160,868 images; the table of 01.02.19 is reported
    to have 160,861 rows, the expected count here. Some forty PNG files are reported truncated: reading such a
    file stops with its name; remove it or its row. Projections come from the DICOM header and partly from a network:
    some are wrong. Arias-Garzon and others, 2021, labelled 3,296 images by hand and do not say which.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import choose, whole_number
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Source, image_files, read_metadata, refuse, warn_lost
from covid_keras.data.sources.listed import present

TABLE = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
TABLES = (TABLE, f"{TABLE}.gz")
COLUMNS = ("ImageID", "ImageDir", "PatientID", "Projection", "Labels")
# Projection -> (label, view)
PROJECTIONS = {
    "PA": ("frontal", "PA"),
    "AP": ("frontal", "AP"),
    "AP_horizontal": ("frontal", "AP Supine"),
    "L": ("lateral", "L"),
}
OTHERS = frozenset({"COSTAL", "EXCLUDE", "UNK", ""})


def _read_table(folder: Path) -> pd.DataFrame:
    listing = next((folder / name for name in TABLES if (folder / name).is_file()), folder / TABLE)
    table = read_metadata(listing, COLUMNS, key="ImageID", patient="PatientID")
    known = OTHERS.union(PROJECTIONS)
    table["Projection"] = table["Projection"].map(lambda name: choose(name, known))
    table["ImageDir"] = table["ImageDir"].map(whole_number)
    remedy = f"Use one of {', '.join((*PROJECTIONS, *sorted(OTHERS - {''})))}, or download the original table again"
    unknown = "has the unknown projection '" + table["Projection"] + "'"
    refuse(listing, ~table["Projection"].isin(known), table["ImageID"], unknown, remedy)
    return table


def _files(folder: Path, numbers: pd.Series) -> dict[str, Path]:
    """Return the files of the image folders that exist, by <ImageDir>/<ImageID>."""
    files = {}
    for number in numbers.unique():
        for place in (folder / number, folder / "images" / number):
            if number and place.is_dir():
                files.update({f"{number}/{path.name}": path for path in image_files(place)})
                break
    return files


def _survey(folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return the usable rows (with `path`) and how many of what was left out."""
    table = _read_table(folder)
    usable = table["Projection"].isin(PROJECTIONS)
    without_patient = usable & (table["PatientID"] == "")
    rows = table[usable & ~without_patient]
    warn_lost(folder / TABLE, "images without a patient", table["ImageID"][without_patient].tolist())
    files = _files(folder, rows["ImageDir"])
    if not files:
        raise UserError(folder, "holds none of the folders 0/ to 54/ of images", "Unpack at least one archive here")
    unpacked = {name.split("/")[0] for name in files}
    here = rows[rows["ImageDir"].isin(unpacked)]
    keys = [f"{number}/{name}" for number, name in zip(here["ImageDir"], here["ImageID"], strict=True)]
    found = present(keys, files, folder, folder / TABLE)
    there = np.array([key in found for key in keys], bool)
    paths = [str(files[found[key]].resolve()) for key in keys if key in found]
    return here[there].assign(path=paths), {
        "rows of the table": len(table),
        "patients of the table": table["PatientID"].replace("", pd.NA).nunique(),
        "other projections left out": int((~usable).sum()),
        "rows without a patient left out": int(without_patient.sum()),
        "of archives that are not here": len(rows) - len(here),
        "listed images missing": int((~there).sum()),
    }


class PadChest(Source):
    """PadChest."""

    def load(self, folder: Path) -> Cohort:
        """Return the frontal and lateral radiographs of the unpacked archives, classes "frontal" and "lateral".

        Further columns: `projection`, `finding` (both raw). Raises `UserError` if the table or a column is missing,
        an image is listed twice, a projection is unknown, no archive is unpacked, or more than a tenth of the images of
        the unpacked archives are missing.
        """
        table, _ = _survey(folder)
        return self.cohort(
            {
                "image_id": "padchest/" + table["ImageID"].str.removesuffix(".png"),
                "path": table["path"],
                "patient_id": "padchest/" + table["PatientID"],
                "label": [PROJECTIONS[name][0] for name in table["Projection"]],
                "view": [PROJECTIONS[name][1] for name in table["Projection"]],
                "projection": table["Projection"],
                "finding": table["Labels"],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return what was found for each key of `checks`, of each class, and what was left out."""
        _, counts = _survey(folder)
        return {**counts, **self.load(folder).counts()}


SOURCE = PadChest(
    name="padchest",
    classes=("frontal", "lateral"),
    title="PadChest",
    url="https://bimcv.cipf.es/bimcv-projects/padchest/",
    licence="research use; BIMCV's terms apply",
    size="about 1 TB (55 archives; a few of them will do)",
    images=160_861,
    layout=f"PadChest/ with {TABLE} and 0/ to 54/ (or images/0/ ...)",
    access="Accept the terms at https://bimcv.cipf.es/bimcv-projects/padchest/, download the table and one or more"
    " of the archives, and unpack each to a folder of its number in PadChest/ in the data folder",
    citation="Bustos et al.: PadChest: A large chest x-ray image dataset with multi-label annotated reports."
    " Medical Image Analysis 66, 2020",
    doi="10.1016/j.media.2020.101797",
    checks={"rows of the table": 160_861, "patients of the table": 67_625},
    folders=("PadChest", "padchest", "PADCHEST", "BIMCV-PadChest"),
    marks=TABLES,
)
