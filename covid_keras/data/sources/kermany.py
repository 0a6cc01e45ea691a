"""Paediatric chest radiographs of Kermany and others, 2018: normal, viral and bacterial pneumonia.

What
    5,856 anterior-posterior radiographs of children of one to five years, Guangzhou Women and Children's Medical
    Center; diagnoses of two physicians, those of the test part checked by a third.
Layout
    `chest_xray/` with `train/`, `test/` and (Kaggle only) `val/`, each with `NORMAL/` and `PNEUMONIA/`. Two ways of
    naming: Kaggle's `IM-0115-0001.jpeg`, `NORMAL2-IM-0588-0001.jpeg`, `person1_virus_6.jpeg`,
    `person1_bacteria_2.jpeg`, one `person447_virus_921_1.jpeg`; Mendeley's
    `NORMAL-<patient>-<number>.jpeg`, `VIRUS-...`, `BACTERIA-...`.
Cohort
    Every image; labels "normal", "viral pneumonia", "bacterial pneumonia"; the patient from the file's name. Further
    column `part`: "train", "val" or "test". Arias-Garzon and others, 2021, count 1,349 normal and 3,883 pneumonias:
    the training part with `val`.
Known problems
    Some pages count 5,863 images; the parts add up to 5,856. Children: against adults with COVID-19, age and disease
    are confounded, as are source and disease. Kaggle's numbers after "person" recur in several parts and in both kinds
    of pneumonia. Whether equal numbers are one child is not published; they count as one, so no child can cross a
    split. The two series of normal names ("IM", "NORMAL2-IM") count as different children. 30 groups of images are
    identical, none across "train" and "test"; one of them has two patients (NORMAL2-IM-0095 and NORMAL2-IM-0096, both
    in "test"). The two releases hold the same images under different names, so only the first folder's release is
    read. Many images show letters and tubes.
"""

from __future__ import annotations

import re
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Source, image_files, warn_lost

CLASSES = ("normal", "viral pneumonia", "bacterial pneumonia")
PARTS = ("train", "val", "test")
FOLDERS = ("NORMAL", "PNEUMONIA")
_LABELS = {"virus": CLASSES[1], "bacteria": CLASSES[2]}
_NORMAL = re.compile(r"((?:NORMAL2-)?IM-\d+|NORMAL-\d+)-\d+(?:-\d+)?$")
_PNEUMONIA = re.compile(r"(person\d+)_(virus|bacteria)_\d+(?:_\d+)?$")
_MENDELEY = re.compile(r"(VIRUS|BACTERIA)-(\d+)-\d+$")


def _parse_name(path: Path) -> tuple[str, str]:
    """Return label and patient from a file's name and folder."""
    stem, is_normal = path.stem, path.parent.name == FOLDERS[0]
    if is_normal and (match := _NORMAL.match(stem)):
        # Mendeley numbers its patients over all classes
        return CLASSES[0], f"kermany/{match[1].removeprefix('NORMAL-')}"
    if not is_normal and (match := _PNEUMONIA.match(stem)):
        return _LABELS[match[2]], f"kermany/{match[1]}"
    if not is_normal and (match := _MENDELEY.match(stem)):
        return _LABELS[match[1].lower()], f"kermany/{match[2]}"
    problem = f"is not named like a file of {path.parent.name}/, so its patient is unknown"
    raise UserError(path, problem, "Restore the collection's own file name and folder")


def _is_first_release(folder: Path) -> bool:
    return any((folder / "train" / FOLDERS[1]).glob("BACTERIA-*"))


class Kermany(Source):
    """Paediatric chest X-rays of Kermany and others."""

    def locate_all(self, data: Path) -> list[Path]:
        """Return the collection's folders, those of one release: two would hold each image under two names."""
        folders = super().locate_all(data)
        first = [folder for folder in folders if _is_first_release(folder) == _is_first_release(folders[0])]
        others = [str(folder) for folder in folders if folder not in first]
        warn_lost(folders[0] if folders else data, "folders with the same images under other names", others)
        return first

    def load(self, folder: Path) -> Cohort:
        """Return the collection as a cohort, classes "normal", "viral pneumonia", "bacterial pneumonia".

        Further column: `part`, "train", "val" or "test". Raises `UserError` if a folder of `train/` or `test/` is
        missing or empty, or a name does not tell label and patient.
        """
        parts = [part for part in PARTS if part != "val" or (folder / part).is_dir()]
        files = [(part, path) for part in parts for name in FOLDERS for path in image_files(folder / part / name)]
        labels, patients = zip(*(_parse_name(path) for _, path in files), strict=True)
        return self.cohort(
            {
                "image_id": [f"kermany/{part}/{path.stem}" for part, path in files],
                "path": [path for _, path in files],
                "patient_id": patients,
                "label": labels,
                "view": "AP",
                "part": [part for part, _ in files],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        cohort = self.load(folder)
        training = cohort.table["label"][cohort.table["part"] != "test"]
        normal = int((training == CLASSES[0]).sum())
        return {
            **cohort.counts(),
            "normal, train and val": normal,
            "pneumonia, train and val": len(training) - normal,
        }


SOURCE = Kermany(
    name="kermany",
    classes=CLASSES,
    title="Paediatric chest X-rays of Kermany and others",
    url="https://data.mendeley.com/datasets/rscbjbr9sj",
    licence="CC BY 4.0",
    size="5,856 images, 1.2 GB",
    images=5_856,
    layout="chest_xray/ with train/, test/ (and val/), each with NORMAL/, PNEUMONIA/",
    access="Get ChestXRay2017 from https://data.mendeley.com/datasets/rscbjbr9sj, or, signed in,"
    " https://www.kaggle.com/datasets/paultimothymooney/chest-xray-pneumonia, and unpack it into the data folder",
    citation="Kermany et al.: Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep Learning."
    " Cell 172(5), 2018",
    doi="10.1016/j.cell.2018.02.010",
    checks={
        "normal": 1_583,
        "viral pneumonia": 1_493,
        "bacterial pneumonia": 2_780,
        "normal, train and val": 1_349,
        "pneumonia, train and val": 3_883,
    },
    folders=("chest_xray", "chest_xray/chest_xray", "ChestXRay2017/chest_xray", "CellData/chest_xray", "kermany"),
    marks=("train/PNEUMONIA/",),
)
