"""MIDRC-RICORD-1C (Tsai and others, 2021): radiographs of patients with COVID-19 from four hospitals.

What
    Chest radiographs of 361 adults with COVID-19 (PCR or clinical diagnosis) from four sites in three countries: 998
    studies, one or more images each. Read by thoracic radiologists (appearance, extent).
Layout
    `MIDRC-RICORD-1C/` (as the archive's own downloader unpacks it, in `manifest-<number>/`) with
    `MIDRC-RICORD-1C-<site>-<number>/<study>/<series>/*.dcm`. The annotations (JSON) and the clinical table are not
    read. Needs pydicom: pip install 'covid-keras[dicom]'.
Cohort
    Frontal CR and DX images, those whose header says PA or AP (ViewPosition); label "COVID-19"; the patient from the
    header, which must be that of the folder. Further column `study` (StudyInstanceUID). Lateral and oblique
    images, those without a view and those of another modality are left out and counted.
Known problems
    Not tested on the real collection; layout and counts are the published ones. The published 998 (or 1,000)
    radiographs are studies; several have two or more images. Hertel and Benlamri, 2022, used 922 images and do not say
    which. Views in headers may be wrong. Many images have black or white borders and burned-in letters; borders are
    not cut here. COVIDx7 and later contain this set, COVIDx5 does not. There are positives only, so against other
    collections source and disease are confounded.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import image_size
from covid_keras.data.sources.base import Source

NAME = "MIDRC-RICORD-1C"
MODALITIES = ("CR", "DX")
_TAGS = ("PatientID", "StudyInstanceUID", "SOPInstanceUID", "Modality", "ViewPosition")


def _header(path: Path, folder: Path) -> dict[str, str]:
    """Return the tags used of an image's header as text ("" where empty), its patient checked against its folder."""
    image_size(path)  # for its checks: pydicom is installed, the file is DICOM with an image of a usable size
    import pydicom

    header = pydicom.dcmread(path, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
    tags = {name: str(header.get(name) or "").strip() for name in _TAGS}
    subject = path.relative_to(folder).parts[0]
    if tags["PatientID"] != subject:
        problem = f"its header names the patient '{tags['PatientID']}', its folder '{subject}'"
        raise UserError(path, problem, "Unpack the collection again")
    for name in ("StudyInstanceUID", "SOPInstanceUID"):
        if not tags[name]:
            raise UserError(path, f"its header has no {name}", "Download the file again")
    return tags


def _survey(folder: Path) -> pd.DataFrame:
    """Return path and header of every image of the collection, one row per image.

    Raises `UserError` if there is none, a file is not a DICOM image, pydicom is missing, or a header does not fit its
    folder.
    """
    files = sorted(folder.glob(f"{NAME}-*/*/*/*.dcm"))
    if not files:
        problem = f"holds no {NAME}-*/<study>/<series>/*.dcm"
        raise UserError(folder, problem, "Unpack the collection in its official layout")
    return pd.DataFrame([{"path": str(path.resolve()), **_header(path, folder)} for path in files])


def _frontal(table: pd.DataFrame) -> pd.Series:
    return table["Modality"].isin(MODALITIES) & table["ViewPosition"].str.match(r"(PA|AP)\b")


class Ricord(Source):
    """MIDRC-RICORD-1C."""

    def load(self, folder: Path) -> Cohort:
        """Return the frontal radiographs as a cohort of the one class "COVID-19".

        Further column: `study`. Raises `UserError` as `_survey`: no file, a damaged one, one in the folder of
        another patient, pydicom missing; if an image occurs twice or no image is frontal.
        """
        table = _survey(folder)
        table = table[_frontal(table)]
        return self.cohort(
            {
                "image_id": "ricord/" + table["SOPInstanceUID"],
                "path": table["path"],
                "patient_id": "ricord/" + table["PatientID"].str.removeprefix(f"{NAME}-"),
                "label": self.classes[0],
                "view": table["ViewPosition"],
                "study": table["StudyInstanceUID"],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return studies and patients of the whole collection, the images kept, and what was left out and why."""
        table = _survey(folder)
        radiograph = table["Modality"].isin(MODALITIES)
        untold = table["ViewPosition"] == ""
        frontal = _frontal(table)
        return {
            "studies": table["StudyInstanceUID"].nunique(),
            "patients": table["PatientID"].nunique(),
            "images": len(table),
            "frontal radiographs": int(frontal.sum()),
            "patients with a frontal radiograph": table["PatientID"][frontal].nunique(),
            "other views left out": int((radiograph & ~frontal & ~untold).sum()),
            "unknown views left out": int((radiograph & untold).sum()),
            "other modalities left out": int((~radiograph).sum()),
        }


SOURCE = Ricord(
    name="ricord",
    classes=("COVID-19",),
    title="MIDRC-RICORD-1C",
    url="https://www.cancerimagingarchive.net/collection/midrc-ricord-1c/",
    licence="CC BY-NC 4.0",
    size="998 studies as DICOM, some GB",
    images=998,
    layout=f"{NAME}/ (or manifest-<number>/{NAME}/) with {NAME}-<site>-<number>/<study>/<series>/*.dcm",
    access="Get MIDRC-RICORD-1C with the downloader of"
    " https://www.cancerimagingarchive.net/collection/midrc-ricord-1c/ into the data folder",
    citation="Tsai et al.: The RSNA International COVID-19 Open Radiology Database (RICORD). Radiology 299(1), 2021",
    doi="10.1148/radiol.2021203957",
    checks={"studies": 998, "patients": 361},
    folders=(NAME, f"manifest-*/{NAME}", "ricord"),
    marks=(f"{NAME}-*/",),
)
