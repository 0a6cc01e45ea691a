"""Darwin V7 COVID-19 X-ray dataset: human lung masks, here those of Cohen's radiographs.

What
    Lungs outlined by human annotators (CloudFactory), reviewed by V7, on about 6,500 chest radiographs: 517
    cases of Cohen's COVID-19 Image Data Collection and 5,863 paediatric images of Kermany's collection. Read
    here: the masks of Cohen's images. Trains the lung U-Net.
Layout
    Inside the collection `covid-chestxray-dataset/`: `annotations/lung-masks-darwin-v7/<image stem>.png`,
    8-bit grey, same size as the image: 255 = lung, 127 = "ignore" (devices and markings over the lung),
    0 = rest. The collection's own export names masks by item number: rename each to its image's stem.
Cohort
    Frontal X-rays of `cohen` that have a mask (`mask_path`), with its labels, patients and image ids. The two cohorts
    hold the same images, so joining them fails because of duplicate ids.
Known problems
    The lung includes the part behind the heart and, where visible, below the dome of the diaphragm. Lateral
    views and CT slices were not outlined. Three masks belong to images that are not frontal X-rays with a row
    in the table (one CT slice, two without a row) and are left out. Exclude "ignore" pixels from the loss.
"""

from __future__ import annotations

import os
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import cohen
from covid_keras.data.sources.base import Source, image_files

LUNG, IGNORE = 255, 127


class DarwinV7(Source):
    """Darwin V7 lung masks of the COVID-19 Image Data Collection."""

    def locate_all(self, data: Path) -> list[Path]:
        """Return the folders of Cohen's collection that hold the masks."""
        return [folder for folder in cohen.SOURCE.locate_all(data) if os.path.isdir(folder / cohen.MASKS)]

    def load(self, folder: Path) -> Cohort:
        """Return the frontal X-rays that have a human lung mask, as a cohort with `mask_path` set.

        Raises `UserError` as `cohen.load`; if the folder of masks is missing or empty, or no mask belongs to an
        image.
        """
        masks = image_files(folder / cohen.MASKS)
        cohort = cohen.SOURCE.load(folder).frontal()
        has_mask = cohort.table["mask_path"] != ""
        if not has_mask.any():
            problem = "does not have the name of a frontal X-ray of the collection"
            raise UserError(masks[0], problem, "Name each mask <image stem>.png")
        return Cohort(cohort.table[has_mask], cohort.classes, self.name)

    def count(self, folder: Path) -> dict[str, int]:
        return {"masks": len(image_files(folder / cohen.MASKS)), "frontal X-rays with a mask": len(self.load(folder))}


SOURCE = DarwinV7(
    name="darwin_v7",
    classes=cohen.SOURCE.classes,
    title="Darwin V7 lung masks of the COVID-19 Image Data Collection",
    url="https://darwin.v7labs.com/v7-labs/covid-19-chest-x-ray-dataset",
    licence="CC BY 4.0 (masks); the images carry one licence each",
    size="a few MB (456 masks), beside the images of cohen",
    images=453,
    layout="covid-chestxray-dataset/annotations/lung-masks-darwin-v7/<image stem>.png (255 lung, 127 ignore)",
    access="Export the masks from https://darwin.v7labs.com/v7-labs/covid-19-chest-x-ray-dataset and name"
    " each by its image's stem, in annotations/lung-masks-darwin-v7/ inside the folder of cohen",
    citation="V7 Labs: COVID-19 X-ray dataset, 2020",
    lungs="whole",
    checks={"masks": 456, "frontal X-rays with a mask": 453},
)
