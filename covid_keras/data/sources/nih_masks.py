"""Lung masks of 100 NIH radiographs (XLSor; Tang and others, 2019).

What
    100 radiographs of NIH ChestX-ray14 with both lungs outlined by hand in one mask each: the test set of XLSor.
    Trains the lung U-Nets.
Layout
    `XLSor_data/data/NIH/` with `images/<patient>_<follow-up>.png` and `masks/<same stem>_mask.png` (the archive's
    synthetic images are not read).
Cohort
    Every image, label "unlabelled" (`chestxray14` has the findings). Patients have the ids of `chestxray14`, so that a
    split by patient holds across the two collections. `binary_masks(cohort, folder)` (see
    `united_masks`) writes the masks with values 0 and 255, and sets `mask_path` to them.
Known problems
    Not tested on the real collection: the layout follows programs that read it, and the form of the file names is
    assumed; an image with another name counts as a separate patient. Views are unknown. The masks are taken to leave
    out the lung behind the heart.
"""

from __future__ import annotations

import re
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Source, image_files
from covid_keras.data.sources.nlm import masks_by_stem

IMAGES, MASKS = "images", "masks"
_NAME = re.compile(r"(\d{8})_\d{3}$")


class NihMasks(Source):
    """Lung masks of 100 NIH radiographs (XLSor)."""

    def is_own(self, folder: Path) -> bool:
        """Check the contents, because other collections have a folder of masks too."""
        return any((folder / MASKS).glob("*_mask.png"))

    def load(self, folder: Path) -> Cohort:
        """Return the radiographs with their masks as a cohort.

        Raises `UserError` if a folder is missing or empty, or an image has no mask.
        """
        files = image_files(folder / IMAGES)
        image_files(folder / MASKS)  # for its checks
        stems = [path.stem for path in files]
        masks = masks_by_stem((folder / MASKS,), stems, "_mask")
        if "" in masks:
            path, remedy = files[masks.index("")], "Unpack the masks again, or remove the image"
            raise UserError(path, f"has no mask {MASKS}/{path.stem}_mask.png", remedy)
        return self.cohort(
            {
                "image_id": [f"nih_masks/{stem}" for stem in stems],
                "path": files,
                "patient_id": [f"chestxray14/{m[1]}" if (m := _NAME.match(s)) else f"nih_masks/{s}" for s in stems],
                "label": self.classes[0],
                "mask_path": masks,
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        table = self.load(folder).table
        return {"images": len(table), "images with a mask": int((table["mask_path"] != "").sum())}


SOURCE = NihMasks(
    name="nih_masks",
    classes=("unlabelled",),
    title="Lung masks of 100 NIH radiographs (XLSor)",
    url="https://github.com/rsummers11/CADLab",
    licence="images: attribution to the NIH Clinical Center; masks: cite XLSor, terms beside its code",
    size="100 images and masks",
    images=100,
    layout="XLSor_data/data/NIH/ with images/*.png, masks/<stem>_mask.png",
    access="Get the data of XLSor by the link in the folder Lung_Segmentation_XLSor of"
    " https://github.com/rsummers11/CADLab and unpack it into the data folder",
    citation="Tang et al.: XLSor: A Robust and Accurate Lung Segmentor on Chest X-Rays Using Criss-Cross Attention"
    " and Customized Radiorealistic Abnormalities Generation. MIDL 2019",
    lungs="fields",
    checks={"images": 100, "images with a mask": 100},
    folders=("XLSor_data/data/NIH", "XLSor_data/NIH", "XLSor/NIH", "data/NIH", "nih_masks"),
    marks=(f"{MASKS}/",),
)
