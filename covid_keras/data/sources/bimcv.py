"""What BIMCV-COVID19+ and BIMCV-COVID19- share: layout, tables, views, inverted images.

The layout read is that of iterations 1 + 2 (shares `BIMCV-COVID19-cIter_1_2` and `BIMCV-COVID19-cIter_1_2-Negative`):
one folder, `covid19_posi/` or `covid19_neg/`, into which all archives unpack, with `participants.tsv`,
`sub-S*/ses-E*/mod-rx/*.png` beside a `.json` of each image's DICOM header, and `derivatives/`. Iteration 1 alone (a
folder for each archive) and iterations 1 + 2 + 3 (tables of other names) are not read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.common.tables import read_table
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image, write_image
from covid_keras.data.sources.base import Source
from covid_keras.data.sources.listed import present

PARTITIONS = Path("derivatives") / "partitions.tsv"
RADIOGRAPHS = "mod-rx"
_NAME = re.compile(r"(sub-S\d+)_(ses-E\d+)(?=_|$)")
_VIEW = re.compile(r"_(?:vp-)?(ap|pa|ll|rl|lat|lateral)(?=_|$)")
_VIEWS = {"ap": "AP", "pa": "PA", "ll": "L", "rl": "L", "lat": "L", "lateral": "L"}
# DICOM tags as the JSON files write them
_VIEW_POSITION, _PHOTOMETRIC = "00185101", "00280004"


def radiographs(folder: Path) -> list[Path]:
    """Return the radiographs of every unpacked subject, sorted; their names checked against their folders.

    Raises `UserError` if there is none, or a file lies in the folder of another subject or session.
    """
    files = sorted(folder.glob(f"sub-S*/ses-E*/{RADIOGRAPHS}/*.png"))
    if not files:
        problem = f"holds no sub-S*/ses-E*/{RADIOGRAPHS}/*.png"
        raise UserError(folder, problem, "Unpack at least one archive of subjects here")
    for path in files:
        match = _NAME.match(path.stem)
        if match is None or (match[1], match[2]) != (path.parts[-4], path.parts[-3]):
            problem = "its name is not of the subject and session of its folder"
            raise UserError(path, problem, "Unpack the archive again")
    return files


def listed(folder: Path) -> set[str]:
    """Return the file names of the radiographs that `derivatives/partitions.tsv` lists; none without that table.

    Raises `UserError` if the table does not have the three columns subject, session, file (their names differ and
    are not used).
    """
    path = folder / PARTITIONS
    if not path.is_file():
        return set()
    table = read_table(path)
    if table.shape[1] < 3:
        raise UserError(path, f"has {table.shape[1]} columns, not subject, session, file", "Unpack the tables again")
    files = table.iloc[:, 2]
    return {Path(name).name for name in files if f"/{RADIOGRAPHS}/" in name and name.endswith(".png")}


def missing(folder: Path, files: list[Path]) -> int:
    """Return how many of the listed radiographs unpacked subjects lack; raise `UserError` for more than a tenth."""
    subjects = {path.parts[-4] for path in files}
    due = sorted(name for name in listed(folder) if name.split("_")[0] in subjects)
    return len(due) - len(present(due, {path.name for path in files}, folder, folder / PARTITIONS))


def header(path: str | Path) -> dict[str, str]:
    """Return the first value of each text tag of an image's DICOM header; nothing if its `.json` is missing.

    Raises `UserError` if the file exists but is not the JSON of a DICOM header.
    """
    path = Path(path).with_suffix(".json")
    if not path.is_file():
        return {}
    try:
        tags = read_json(path)
        values = {tag: entry.get("Value") for tag, entry in tags.items() if isinstance(entry, dict)}
    except (UserError, AttributeError) as error:
        raise UserError(path, "is not the JSON of a DICOM header", "Unpack the archive again, or delete it") from error
    return {
        tag: value[0]
        for tag, value in values.items()
        if isinstance(value, list) and value and isinstance(value[0], str)
    }


def view(path: Path) -> str:
    """Return "PA", "AP" or "L" from the file's name, else from its DICOM header; "" if neither tells."""
    match = _VIEW.search(path.stem)
    token = match[1] if match else header(path).get(_VIEW_POSITION, "").strip().lower()
    return _VIEWS.get(token, "")


@dataclass(frozen=True, kw_only=True)
class Bimcv(Source):
    """One of the two collections; a patient has the same id in both.

    Parameters
    ----------
    labels : str
        The table of findings (PatientID, ReportID, Labels) below the collection's folder.
    """

    labels: str

    def load(self, folder: Path) -> Cohort:
        """Return every radiograph as a cohort with one label. Further columns: `session`, `finding`.

        Raises `UserError` as `radiographs` and `missing`; if the table of findings or a column of it is missing.
        """
        files = radiographs(folder)
        missing(folder, files)
        table = read_table(folder / self.labels, ("PatientID", "ReportID", "Labels"))
        findings = dict(zip(table["ReportID"], table["Labels"], strict=True))
        return self.cohort(
            {
                "image_id": [f"{self.name}/{path.stem}" for path in files],
                "path": files,
                "patient_id": [f"bimcv/{path.parts[-4]}" for path in files],
                "label": self.classes[0],
                "view": [view(path) for path in files],
                "session": [path.parts[-3] for path in files],
                "finding": [findings.get(path.parts[-3], "") for path in files],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return the numbers of radiographs, by view, of patients, and of listed radiographs that are missing."""
        cohort = self.load(folder)
        views = cohort.table["view"]
        return {
            "radiographs": len(cohort),
            "frontal radiographs": int(views.isin(["PA", "AP"]).sum()),
            "lateral radiographs": int((views == "L").sum()),
            "radiographs of unknown view": int((views == "").sum()),
            "patients": len(cohort.patients()),
            "listed radiographs missing": missing(folder, [Path(path) for path in cohort.table["path"]]),
        }

    def expected(self, folder: Path) -> dict[str, int]:
        """Return the card's counts and, if the collection lists its files, the number of radiographs listed."""
        names = listed(folder)
        return {**self.checks, **({"radiographs": len(names)} if names else {})}


def without_patients_of(negative: Cohort, positive: Cohort) -> Cohort:
    """Return the cohort without the images of patients who are also in another: the curated negatives of Experiment 2.

    A patient has the same id in both collections. Arias-Garzon and others, 2021, removed 1,370 of 4,610 images this
    way. Raises `UserError` if no image is left.
    """
    return negative.filter(~negative.table["patient_id"].isin(positive.patients()))


def upright_grey(cohort: Cohort, folder: str | Path) -> Cohort:
    """Write images with dark bone inverted, once, and return the cohort with their paths.

    The collections' PNG files hold the stored pixels: bone is dark if the header says MONOCHROME1.
    `covid_keras.data.read_image` inverts such DICOM files, but a PNG file does not carry the tag.

    Parameters
    ----------
    cohort : Cohort
        Images with the `.json` of their DICOM header beside them; others are not changed.
    folder : str or Path
        Output folder for the inverted images `<image id>.png`: uint8, 0..255, at full size. Existing files are reused.

    Raises
    ------
    UserError
        If a header or an image cannot be read, or nothing can be written to the folder.
    """
    paths = []
    for row in cohort.table.itertuples():
        path = row.path
        if header(path).get(_PHOTOMETRIC) == "MONOCHROME1":
            target = (Path(folder) / f"{row.image_id}.png").absolute()
            if not target.is_file():
                write_image(target, np.uint8(255) - read_image(path))
            path = str(target)
        paths.append(path)
    return Cohort(cohort.table.assign(path=paths), cohort.classes, cohort.name)
