"""COVID-CXNet images (Haghanifar and others, 2020): COVID-19 radiographs gathered from public sources.

What
    About 900 frontal radiographs of patients with COVID-19, the positive class of the COVID-CXNet paper.
    There are no other classes.
Layout
    `chest_xray_images/covid19/*`, `metadata.csv` (filename, patient_id, view, label, ...) for half of them.
Cohort
    Label "COVID-19". Rows are joined by the file's stem, since suffixes differ between copies.
    Further columns: `early` (True where the stem has a "-": no visible abnormality), `child` (True where
    the stem has a "p"), `age` (years, NaN if unknown), `patient_known`.
Known problems
    447 images have no row: each gets a separate patient id, "covid_cxnet/unknown-<stem>", so patients may
    cross a split unseen. Many images are also in Cohen's collection (and Hannover's): never put one
    collection in training and the other in test without `find_duplicates`. Some images occur twice, even
    under two patient ids.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import (
    Download,
    Source,
    image_files,
    image_ids,
    parse_age,
    read_metadata,
    refuse,
    warn_lost,
)
from covid_keras.data.sources.listed import match_names, stem_key

IMAGES = Path("chest_xray_images") / "covid19"


def _rows(folder: Path, files: list[str]) -> pd.DataFrame:
    """Return patient_id, view and (if listed) age by file name, for the images that have a row."""
    path = folder / "metadata.csv"
    columns = ("filename", "patient_id", "view")
    table = read_metadata(path, columns, key="filename", optional=("age",), patient="patient_id")
    twice = table["filename"].map(stem_key).duplicated()
    remedy = "Keep one row, or download the file again"
    refuse(path, twice, table["filename"], "is listed twice in column 'filename'", remedy)
    found = match_names(table["filename"], files, path)
    if not found:
        problem = f"is listed in {path.name} but missing, as is every other image listed"
        raise UserError(folder / IMAGES / table["filename"].iloc[0], problem, "Download the images again")
    there = table["filename"].isin(found)
    warn_lost(path, f"listed images that are not in {IMAGES}", table["filename"][~there].tolist())
    return table[there].set_index(table["filename"][there].map(found))


class CovidCXNet(Source):
    """COVID-CXNet images."""

    def load(self, folder: Path) -> Cohort:
        """Return the collection as a cohort of one class, "COVID-19".

        Raises `UserError` if the image folder is missing or empty, or `metadata.csv` is missing, lacks a column,
        lists an image twice or lists none of the images.
        """
        files = image_files(folder / IMAGES)
        stems = [path.stem for path in files]
        rows = _rows(folder, [path.name for path in files])
        patient, view = rows["patient_id"].to_dict(), rows["view"].to_dict()
        age = rows["age"].map(parse_age).to_dict() if "age" in rows else {}
        return self.cohort(
            {
                "image_id": image_ids("covid_cxnet", (path.name for path in files)),
                "path": files,
                "patient_id": [f"covid_cxnet/{patient.get(path.name) or f'unknown-{path.stem}'}" for path in files],
                "label": self.classes[0],
                "view": [view.get(path.name, "") for path in files],
                "age": [age.get(path.name, np.nan) for path in files],
                "early": ["-" in stem for stem in stems],
                "child": ["p" in stem for stem in stems],
                "patient_known": [bool(patient.get(path.name)) for path in files],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        table = self.load(folder).table
        return {
            "images": len(table),
            "images with a row": int(table["patient_known"].sum()),
            "early (no visible abnormality)": int(table["early"].sum()),
            "children": int(table["child"].sum()),
        }


SOURCE = CovidCXNet(
    name="covid_cxnet",
    classes=("COVID-19",),
    title="COVID-CXNet images",
    url="https://github.com/armiro/COVID-CXNet",
    licence="CC BY 4.0, as its authors state; the images come from publications and web pages",
    size="898 images, some hundred MB",
    images=898,
    layout="COVID-CXNet/ with chest_xray_images/covid19/, metadata.csv",
    access="Clone https://github.com/armiro/COVID-CXNet into the data folder, or run "
    "`covid-keras data download covid_cxnet --unverified`: GitHub creates the archive on "
    "request, so its bytes vary and no SHA-256 can be pinned (it holds the repository's last state, 900 images)",
    citation="Haghanifar et al.: COVID-CXNet: Detecting COVID-19 in Frontal Chest X-ray Images using Deep "
    "Learning. Multimedia Tools and Applications, 2022",
    doi="10.1007/s11042-022-12156-z",
    downloads=(
        Download(
            "https://github.com/armiro/COVID-CXNet/archive/refs/heads/master.zip",
            None,
            "COVID-CXNet-master.zip",
            unpack=True,
            strip_top=True,
        ),
    ),
    checks={"images": 898, "images with a row": 451, "early (no visible abnormality)": 44, "children": 15},
    folders=("COVID-CXNet", "COVID-CXNet-master", "covid_cxnet"),
    marks=(f"{IMAGES.as_posix()}/",),
)
