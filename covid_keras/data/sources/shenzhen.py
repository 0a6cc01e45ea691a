"""Shenzhen Hospital chest X-ray set (Jaeger and others, 2014), with the lung masks of Stirenko and others, 2018.

What
    662 frontal radiographs of Shenzhen No. 3 People's Hospital, China: 326 normal, 336 with manifestations of
    tuberculosis. Lungs outlined by hand at Kyiv Polytechnic Institute for 566 of them.
Layout
    `ChinaSet_AllFiles/` with `CXR_png/CHNCXR_<number>_<0 normal, 1 tuberculosis>.png`, optionally
    `ClinicalReadings/<stem>.txt`; the masks as `mask/<stem>_mask.png` in the same folder (also `mask/mask/` or
    `masks/`, as they unpack).
Cohort
    Every image; labels "normal" and "tuberculosis". `mask_path` is empty for the images without a mask. Views are PA,
    as the paper says, except for images with "ap" burned in. Further columns: `age` (years, NaN if unknown), `sex`
    ("F", "M", "" if unknown), from the clinical readings.
Known problems
    The masks leave out the lung behind the heart. Patient ids are not published: each image counts as a separate
    patient. Some images are of children, among them those with "ap" burned in.
"""

from __future__ import annotations

from pathlib import Path

from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import nlm
from covid_keras.data.sources.base import Source

MASKS = ("mask", "mask/mask", "masks")
# Images of children with "ap" burned in.
MARKED_AP = frozenset({"0075", "0076", "0155", "0178", "0228", "0299", "0303"})


class Shenzhen(Source):
    """Shenzhen Hospital chest X-ray set."""

    def is_own(self, folder: Path) -> bool:
        """Check the file names, because the Montgomery set has a folder of the same name."""
        return any((folder / nlm.IMAGES).glob("CHNCXR_*"))

    def load(self, folder: Path) -> Cohort:
        """Return the collection as a cohort, classes "normal" and "tuberculosis", with masks where available.

        Raises `UserError` if the folder of images is missing or empty, or a file's name does not tell the diagnosis.
        """
        table = nlm.read_images(folder, "shenzhen", "CHNCXR")
        stems = [Path(path).stem for path in table["path"]]
        table["view"] = ["AP" if stem.split("_")[1] in MARKED_AP else "PA" for stem in stems]
        table["mask_path"] = nlm.masks_by_stem((folder / name for name in MASKS), stems, "_mask")
        return self.cohort(table)

    def count(self, folder: Path) -> dict[str, int]:
        cohort = self.load(folder)
        return {**cohort.counts(), "images with a mask": int((cohort.table["mask_path"] != "").sum())}


SOURCE = Shenzhen(
    name="shenzhen",
    classes=nlm.CLASSES,
    title="Shenzhen Hospital chest X-ray set",
    url="https://lhncbc.nlm.nih.gov/LHC-publications/pubs/TuberculosisChestXrayImageDataSets.html",
    licence="images free for research, terms in the ReadMe of the download; masks CC BY-NC-SA 4.0",
    size="662 images of about 3000 x 3000 pixels",
    images=662,
    layout="ChinaSet_AllFiles/ with CXR_png/ and the masks in mask/<stem>_mask.png",
    access="Get the images from https://lhncbc.nlm.nih.gov/LHC-publications/pubs/TuberculosisChestXrayImageDataSets.html"
    " and, signed in, the masks from https://www.kaggle.com/datasets/yoctoman/shcxr-lung-mask; unpack the masks as"
    " mask/ inside ChinaSet_AllFiles/ in the data folder",
    citation=f"{nlm.CITATION}; masks: Stirenko et al., arXiv:1803.01199, 2018",
    doi=nlm.DOI,
    lungs="fields",
    checks={"normal": 326, "tuberculosis": 336, "images with a mask": 566},
    folders=("ChinaSet_AllFiles", "NLM-ChinaCXRSet/ChinaSet_AllFiles", "NLM-ChinaCXRSet", "shenzhen"),
    marks=(f"{nlm.IMAGES}/",),
)
