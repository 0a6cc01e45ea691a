"""Radiographs from before COVID-19: a folder of your own.

What
    Radiographs taken before December 2019, so certainly without COVID-19: the negatives of Experiment 3 of Arias-Garzon
    and others, 2021 (5,469 images from Spain, 2015 to 2017). That set was never published: bring your own.
Layout
    Ours: `pre-covid/` with `images/*` (PNG, JPEG, TIFF, BMP or DICOM) and `metadata.csv` with the columns `filename`
    (in `images/`), `patient_id`, `view` ("PA", "AP", "AP Supine", "L", empty where unknown). Further columns are kept.
Cohort
    Every image with a row; label "normal", which here says "no COVID-19" and nothing about other disease.
Known problems
    Negatives from another time than the positives (and often from another hospital and device): a classifier can win
    by telling these apart. The expected count is the paper's; another count is not an error.
"""

from __future__ import annotations

from pathlib import Path

from covid_keras.data.cohort import Cohort, view_name
from covid_keras.data.sources.base import Source, image_files, image_ids, read_metadata, refuse, warn_lost
from covid_keras.data.sources.listed import match_names

COLUMNS = ("filename", "patient_id", "view")
VIEWS = ("PA", "AP", "AP Supine", "L", "")


class PreCovid(Source):
    """Radiographs from before COVID-19 (your own)."""

    def is_own(self, folder: Path) -> bool:
        """Check the folder name, because other collections have a metadata.csv too."""
        return self.is_named(folder)

    def load(self, folder: Path) -> Cohort:
        """Return the radiographs as a cohort of the one class "normal".

        Raises `UserError` if the table or a column is missing, a file name is empty or listed twice, a patient is
        empty, a view is unknown, or a listed image is missing.
        """
        listing = folder / "metadata.csv"
        table = read_metadata(listing, COLUMNS, key="filename", patient="patient_id")
        names = table["filename"]
        files = {path.name: path for path in image_files(folder / "images")}
        found = match_names(names, files, listing)
        table["view"] = table["view"].map(view_name)
        views = f"Use one of {', '.join(VIEWS[:-1])}, or leave it empty"
        refuse(listing, ~names.isin(found), names, "is not in images/", "Put the image there, or remove the row")
        without = table["patient_id"] == ""
        refuse(listing, without, names, "has no patient_id", "Fill it in: splits are made by patient")
        refuse(listing, ~table["view"].isin(VIEWS), names, "has the unknown view '" + table["view"] + "'", views)
        warn_lost(listing, "images in images/ without a row", sorted(set(files) - set(found.values())))
        return self.cohort(
            {
                **{column: table[column] for column in table.columns if column not in COLUMNS},
                "image_id": image_ids("precovid", names.map(found)),
                "path": [files[found[name]] for name in names],
                "patient_id": "precovid/" + table["patient_id"],
                "label": self.classes[0],
                "view": table["view"],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return how many images have a row."""
        return {"images": len(self.load(folder))}


SOURCE = PreCovid(
    name="precovid",
    classes=("normal",),
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
    folders=("pre-covid", "precovid"),
    marks=("metadata.csv",),
)
