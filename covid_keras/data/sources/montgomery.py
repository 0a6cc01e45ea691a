"""Montgomery County chest X-ray set (Jaeger and others, 2014), with a human mask of each lung.

What
    138 posterior-anterior radiographs of the tuberculosis control programme of Montgomery County, Maryland, USA: 80
    normal, 58 with manifestations of tuberculosis. Both lungs outlined by hand. Trains the lung U-Nets.
Layout
    `MontgomerySet/` with `CXR_png/MCUCXR_<number>_<0 normal, 1 tuberculosis>.png`, `ManualMask/leftMask/*.png` and
    `ManualMask/rightMask/*.png` of the same names, optionally `ClinicalReadings/<stem>.txt`.
Cohort
    Every image; labels "normal" and "tuberculosis". The masks are one file per lung: columns `mask_left` and
    `mask_right`; `binary_masks(cohort, folder)` writes their unions and fills in `mask_path`. Further columns: `age`
    (years, NaN if unknown), `sex` ("F", "M", "" if unknown), from the clinical readings.
Known problems
    The masks leave out the lung behind the heart. Patient ids are not published: each image counts as a separate
    patient.
"""

from __future__ import annotations

from pathlib import Path

from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import nlm
from covid_keras.data.sources.base import Download, Source
from covid_keras.data.sources.united_masks import LEFT, RIGHT, require_both

MASKS = {LEFT: Path("ManualMask") / "leftMask", RIGHT: Path("ManualMask") / "rightMask"}


class Montgomery(Source):
    """Montgomery County chest X-ray set."""

    def load(self, folder: Path) -> Cohort:
        """Return the collection as a cohort, classes "normal" and "tuberculosis".

        Further columns: `mask_left`, `mask_right` (see `united_masks`). Raises `UserError` if the folder of images
        is missing or empty, a file's name does not tell the diagnosis, or an image has the mask of one lung only.
        """
        table = nlm.read_images(folder, "montgomery", "MCUCXR")
        stems = [Path(path).stem for path in table["path"]]
        for column, place in MASKS.items():
            table[column] = nlm.masks_by_stem((folder / place,), stems)
        require_both(table, table["path"])
        return self.cohort(table)

    def count(self, folder: Path) -> dict[str, int]:
        cohort = self.load(folder)
        return {**cohort.counts(), "images with both masks": int((cohort.table[LEFT] != "").sum())}


SOURCE = Montgomery(
    name="montgomery",
    classes=nlm.CLASSES,
    title="Montgomery County chest X-ray set",
    url="https://lhncbc.nlm.nih.gov/LHC-publications/pubs/TuberculosisChestXrayImageDataSets.html",
    licence="free for research; terms in the ReadMe of the download",
    size="138 images of 4020 x 4892 or 4892 x 4020 pixels, 12 bits",
    images=138,
    layout="MontgomerySet/ with CXR_png/, ManualMask/leftMask/, ManualMask/rightMask/",
    access="Get the set from https://lhncbc.nlm.nih.gov/LHC-publications/pubs/TuberculosisChestXrayImageDataSets.html"
    " and unpack it into the data folder, or run `covid-keras data download montgomery --unverified` (the address was"
    " not tried here, and no SHA-256 is pinned)",
    citation=nlm.CITATION,
    doi=nlm.DOI,
    downloads=(
        Download(
            "https://openi.nlm.nih.gov/imgs/collections/NLM-MontgomeryCXRSet.zip",
            None,
            "NLM-MontgomeryCXRSet.zip",
            unpack=True,
        ),
    ),
    lungs="fields",
    checks={"normal": 80, "tuberculosis": 58, "images with both masks": 138},
    folders=("MontgomerySet", "NLM-MontgomeryCXRSet/MontgomerySet", "NLM-MontgomeryCXRSet", "montgomery"),
    marks=(f"{MASKS[LEFT].as_posix()}/",),
)
