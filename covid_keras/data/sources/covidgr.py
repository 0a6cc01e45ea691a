"""COVIDGR-1.0 (Tabik and others, 2020): positives and negatives from one hospital, with severity levels.

What
    852 posterior-anterior chest radiographs from one type of equipment, Hospital Universitario San Cecilio,
    Granada: 426 positive (RT-PCR within 24 hours of the radiograph) and 426 negative. The positives have a
    severity level from the modified RALE score: Normal-PCR+ 0, Mild 1-2, Moderate 3-5, Severe 6-8.
Where
    https://github.com/ari-dasci/OD-covidgr (links to the download), https://dasci.es
Licence
    For research; read and accept the authors' terms at the download.
Size
    852 JPEG files up to 3000 x 3000 pixels.
Layout
    `N/*.jpg`, `P/*.jpg` (hash-named), `severity.csv` with `Name` (file name without suffix) and `Severity`
    (NORMAL-PCR+, MILD, MODERATE, SEVERE); positives only.
Cohort
    Labels "N" and "P"; `severity` in the suite's spelling.
Known problems
    No patient ids are published, and one image per patient is stated nowhere: each image counts as a patient
    of its own, so patients may cross a split unseen (near-duplicates are found by `find_duplicates`). One
    positive has no row in `severity.csv`: its severity stays unknown. An earlier state had 377 + 377 images.
Citation
    S. Tabik and others: COVIDGR Dataset and COVID-SDNet Methodology for Predicting COVID-19 Based on Chest
    X-Ray Images. IEEE Journal of Biomedical and Health Informatics 24(12), 3595-3605, 2020.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import SEVERITIES, Cohort
from covid_keras.data.sources.base import SourceCard, find_folder, image_files, image_ids, read_metadata

CLASSES = ("N", "P")
LEVELS = {level.upper(): level for level in SEVERITIES}

CARD = SourceCard(
    name="covidgr",
    title="COVIDGR-1.0",
    url="https://github.com/ari-dasci/OD-covidgr",
    licence="research use; the authors' terms apply",
    size="852 images up to 3000 x 3000 pixels",
    images=852,
    layout="COVIDGR-1.0/ with N/*.jpg, P/*.jpg, severity.csv (Name, Severity)",
    access="Get COVIDGR-1.0 from https://github.com/ari-dasci/OD-covidgr (accept the terms) and unpack it"
    " into the data folder",
    citation="Tabik et al.: COVIDGR Dataset and COVID-SDNet Methodology for Predicting COVID-19 Based on "
    "Chest X-Ray Images. IEEE JBHI 24(12), 2020",
    doi="10.1109/JBHI.2020.3037127",
    checks={"N": 426, "P": 426, "Normal-PCR+": 76, "Mild": 100, "Moderate": 171, "Severe": 79},
)


def locate(data: Path) -> Path | None:
    """Return the collection's folder at or below the data root, None where there is none."""
    return find_folder(data, ("COVIDGR-1.0", "COVIDGR_1.0", "COVIDGR", "covidgr"), ("severity.csv", "P/"))


def _severities(folder: Path, positives: list[str], negatives: list[str]) -> dict[str, str]:
    """Return the severity level by image stem, each row checked against the files."""
    path = folder / "severity.csv"
    table = read_metadata(path, ("Name", "Severity"), key="Name")
    found: dict[str, str] = {}
    for name, level in zip(table["Name"], table["Severity"], strict=True):
        if name not in positives:
            problem = "is in N/, not in P/" if name in negatives else "is not in P/"
            raise UserError(
                path,
                f"image '{name}' of column 'Name' {problem}",
                "Unpack the whole collection again, or remove the row",
            )
        if level.strip().upper() not in LEVELS:
            raise UserError(
                path,
                f"severity '{level}' of image '{name}' is unknown (column 'Severity')",
                f"Use one of {', '.join(LEVELS)}",
            )
        found[name] = LEVELS[level.strip().upper()]
    return found


def load(folder: Path) -> Cohort:
    """Return the collection as a cohort, classes "N" and "P".

    Raises
    ------
    UserError
        Where a folder is missing or empty, `severity.csv` lacks a column, lists a name twice, names no
        positive image or holds an unknown level.
    """
    files = {label: image_files(folder / label) for label in CLASSES}
    stems = {label: [path.stem for path in paths] for label, paths in files.items()}
    severity = _severities(folder, stems["P"], stems["N"])
    paths = [path for label in CLASSES for path in files[label]]
    ids = image_ids("covidgr", (path.name for path in paths))
    return Cohort(
        pd.DataFrame(
            {
                "image_id": ids,
                "path": [str(path.resolve()) for path in paths],
                "patient_id": ids,  # none is published
                "source": "covidgr",
                "label": [path.parent.name for path in paths],
                "view": "PA",
                "severity": [severity.get(path.stem, "") if path.parent.name == "P" else "" for path in paths],
            }
        ),
        CLASSES,
        "covidgr",
    )


def count(folder: Path) -> dict[str, int]:
    """Return what was found for each key of `CARD.checks`."""
    cohort = load(folder)
    levels = cohort.table["severity"].value_counts()
    return {**cohort.counts(), **{level: int(levels.get(level, 0)) for level in SEVERITIES}}
