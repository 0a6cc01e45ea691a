"""COVIDGR-1.0 (Tabik and others, 2020): positives and negatives from one hospital, with severity levels.

What
    852 posterior-anterior chest radiographs from one type of equipment, Hospital Universitario San Cecilio,
    Granada: 426 positive (RT-PCR within 24 hours of the radiograph) and 426 negative. The positives have a
    severity level from the modified RALE score: Normal-PCR+ 0, Mild 1-2, Moderate 3-5, Severe 6-8.
Layout
    `N/*.jpg`, `P/*.jpg` (hash-named), `severity.csv` with `Name` (file name with or without suffix) and `Severity`
    (NORMAL-PCR+, MILD, MODERATE, SEVERE); positives only.
Cohort
    Labels "N" and "P"; `severity` in the suite's spelling.
Known problems
    No patient ids are published, and one image per patient is stated nowhere: each image counts as a
    separate patient, so patients may cross a split unseen (near-duplicates are found by `find_duplicates`). One
    positive has no row in `severity.csv`: its severity stays unknown. An earlier state had 377 + 377 images.
"""

from __future__ import annotations

from pathlib import Path

from covid_keras.common.tables import choose
from covid_keras.data.cohort import SEVERITIES, Cohort
from covid_keras.data.sources.base import Source, image_files, image_ids, read_metadata, refuse
from covid_keras.data.sources.listed import match_names


def _severities(folder: Path, positives: list[str], negatives: list[str]) -> dict[str, str]:
    """Return the severity level by the positives' file names, each row checked against the files."""
    path = folder / "severity.csv"
    table = read_metadata(path, ("Name", "Severity"), key="Name")
    names, levels = table["Name"], table["Severity"].map(lambda level: choose(level, SEVERITIES))
    found = match_names(names, positives, path)
    in_p, in_n = names.isin(found), names.isin(match_names(names, negatives, path))
    whole = "Unpack the whole collection again, or remove the row"
    refuse(path, in_n & ~in_p, names, "of column 'Name' is in N/, not in P/", whole)
    refuse(path, ~in_p, names, "of column 'Name' is not in P/", whole)
    unknown = "has the unknown severity '" + table["Severity"] + "'"
    refuse(path, ~levels.isin(SEVERITIES), names, unknown, f"Use one of {', '.join(SEVERITIES)}")
    return dict(zip(names.map(found), levels, strict=True))


class CovidGr(Source):
    """COVIDGR-1.0."""

    def load(self, folder: Path) -> Cohort:
        """Return the collection as a cohort, classes "N" and "P".

        Raises `UserError` if a folder is missing or empty, `severity.csv` lacks a column, lists a name twice, names
        no positive image or holds an unknown level.
        """
        files = {label: image_files(folder / label) for label in self.classes}
        names = {label: [path.name for path in paths] for label, paths in files.items()}
        severity = _severities(folder, names["P"], names["N"])
        paths = [path for label in self.classes for path in files[label]]
        ids = image_ids("covidgr", (path.name for path in paths))
        return self.cohort(
            {
                "image_id": ids,
                "path": paths,
                "patient_id": ids,  # none is published
                "label": [path.parent.name for path in paths],
                "view": "PA",
                "severity": [severity.get(path.name, "") if path.parent.name == "P" else "" for path in paths],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        cohort = self.load(folder)
        levels = cohort.table["severity"].value_counts()
        return {**cohort.counts(), **{level: int(levels.get(level, 0)) for level in SEVERITIES}}


SOURCE = CovidGr(
    name="covidgr",
    classes=("N", "P"),
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
    folders=("COVIDGR-1.0", "COVIDGR_1.0", "COVIDGR", "covidgr"),
    marks=("severity.csv", "P/"),
)
