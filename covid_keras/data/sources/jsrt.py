"""JSRT database (Shiraishi and others, 2000), with the lung masks of the SCR database (van Ginneken and others, 2006).

What
    247 posterior-anterior radiographs from film, of 13 institutions in Japan and one in the USA: 154 with one lung
    nodule, 93 without. SCR: both lungs (also heart and clavicles) outlined by hand in each. Trains the lung U-Nets.
Layout
    `JSRT/` with `All247images/*.IMG` (JPCLN001 to JPCLN154 with, JPCNN001 to JPCNN093 without a nodule) or the same
    images as PNG in `All247images/` or `images/`, and what SCR unpacks to: `scratch/fold1/masks/left lung/*.gif`,
    `scratch/fold1/masks/right lung/*.gif`, and the same in `fold2` (`scratch/`, the folds or both may be absent).
Cohort
    Every image; labels "normal" and "nodule". The masks are one file per lung: columns `mask_left` and `mask_right`;
    `binary_masks(cohort, folder)` writes their unions at the image's size and fills in `mask_path`.
Known problems
    The masks leave out the lung behind the heart. In raw files dark is high; they are inverted when read. PNG
    conversions differ: check that bone is bright. Patient ids are not published: each image counts as a separate
    patient. Arias-Garzon and others, 2021, count 240 of the 247 images and do not say which.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sniff import IMAGE_SUFFIXES
from covid_keras.data.sources.base import Source
from covid_keras.data.sources.nlm import masks_by_stem
from covid_keras.data.sources.united_masks import LEFT, RIGHT, require_both

IMAGES = ("All247images", "images", "Images")
MASKS = tuple(f"{top}{fold}masks" for top in ("scratch/", "") for fold in ("fold1/", "fold2/", ""))
LUNGS = {LEFT: "left lung", RIGHT: "right lung"}
SUFFIXES = IMAGE_SUFFIXES | {".img"}
_NAME = re.compile(r"JPC(LN|NN)\d{3}$")


def _image_files(folder: Path) -> list[Path]:
    for place in (folder / name for name in IMAGES):
        if place.is_dir():
            files = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
            files = [path for path in files if _NAME.match(path.stem)]
            if files:
                return _one_file_each(files)
    problem = f"holds no JPCLN*.IMG or JPCNN*.IMG in {' or '.join(IMAGES)}"
    raise UserError(folder, problem, "Unpack All247images here, or its PNGs")


def _one_file_each(files: list[Path]) -> list[Path]:
    """Keep one file per image, the raw one if there are several formats."""
    chosen: dict[str, Path] = {}
    for path in files:
        if path.stem not in chosen or path.suffix.lower() == ".img":
            chosen[path.stem] = path
    return list(chosen.values())


class Jsrt(Source):
    """JSRT database with the lung masks of SCR."""

    def load(self, folder: Path) -> Cohort:
        """Return the database as a cohort, classes "normal" and "nodule".

        Further columns: `mask_left`, `mask_right` (see `united_masks`), empty without SCR. Raises
        `UserError` if no image is found, or an image has the mask of one lung only.
        """
        files = _image_files(folder)
        ids = [f"jsrt/{path.stem}" for path in files]
        masks = {
            column: masks_by_stem((folder / place / lung for place in MASKS), [path.stem for path in files])
            for column, lung in LUNGS.items()
        }
        require_both(pd.DataFrame(masks), files)
        return self.cohort(
            {
                "image_id": ids,
                "path": files,
                "patient_id": ids,
                "label": ["nodule" if path.stem.startswith("JPCLN") else "normal" for path in files],
                "view": "PA",
                **masks,
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        cohort = self.load(folder)
        return {**cohort.counts(), "images with both masks": int((cohort.table[LEFT] != "").sum())}


SOURCE = Jsrt(
    name="jsrt",
    classes=("normal", "nodule"),
    title="JSRT database with the lung masks of SCR",
    url="http://db.jsrt.or.jp/eng.php",
    licence="images: terms of the JSRT; masks: research and education only, no redistribution; cite both papers",
    size="247 images of 2048 x 2048 pixels, 2 GB unpacked (8 MB each: 12 bits in 16); masks of 1024 x 1024 pixels",
    images=247,
    layout="JSRT/ with All247images/*.IMG (or *.png) and SCR's scratch/fold1/masks/left lung/*.gif, .../right lung/,"
    " the same in fold2",
    access="Register at http://db.jsrt.or.jp/eng.php and unpack All247images into JSRT/ in the data folder; get the"
    " masks from https://www.isi.uu.nl/Research/Databases/SCR/ and unpack them there too",
    citation="Shiraishi et al.: Development of a digital image database for chest radiographs with and without a lung"
    " nodule. AJR 174, 2000; masks: van Ginneken et al., Medical Image Analysis 10(1), 2006",
    doi="10.2214/ajr.174.1.1740071",
    lungs="fields",
    checks={"nodule": 154, "normal": 93, "images with both masks": 247},
    folders=("JSRT", "jsrt", "JSRT-SCR"),
    marks=tuple(f"{place}/JPCLN001{suffix}" for place in IMAGES for suffix in (".IMG", ".img", ".png")),
)
