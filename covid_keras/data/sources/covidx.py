"""COVIDx5 (COVID-Net; Wang, Lin and Wong, 2020): normal, pneumonia and COVID-19 from five collections.

What
    14,258 frontal radiographs that COVID-Net's notebook gathers from the COVID-19 Image Data Collection (cohen), the
    COVID-19 collections Figure 1 (fig1) and Actualmed (actmed), the COVID-19 Radiography Database (sirm) and the RSNA
    Pneumonia Detection Challenge (rsna), with a list of the training and one of the test images.
Layout
    `COVIDx5/` with `train_COVIDx5.txt`, `test_COVIDx5.txt` (or `labels/` with the two: a clone of COVID-Net), one line
    per image, `<patient> <file> <class> <collection>`, and the images in `data/train/`, `data/test/` (or `train/`,
    `test/`). Early lists of COVID-Net lack the last word; the collection then follows from the
    form of the patient's id. Optional beside the lists: the RSNA's file of mappings (see `rsna`).
Cohort
    Every listed image; labels "normal", "pneumonia", "COVID-19". Further columns: `part` ("train" or "test"),
    `collection` (cohen, fig1, actmed, sirm, rsna). Patients are those of the collection, whatever the list, so a
    patient in both lists is one. Cohen's carry their ids of `cohen` and the RSNA's those of `rsna` (with the file of
    mappings those of `chestxray14`), on purpose: a split by patient then holds across the collections.
Known problems
    Not tested on the real collection; format and counts are those of COVID-Net's lists. Cohen's ids are those of the
    snapshot from which the list was made: in the snapshot of June 2020 one patient has two ids, 287 and 340; `cohen`
    unites them under the first, COVIDx5 lists the second. An id of Figure 1 ends in a
    letter if a patient has several images; the letter is dropped. Each image of sirm counts as a separate patient,
    because ids are not published. The RSNA's "patients" are images (see `rsna`). Hertel and Benlamri, 2022, count
    5,445 pneumonias, the lists 5,575. Normal and pneumonia come from one collection, COVID-19 from others: source and
    disease are confounded. COVIDx5 joined with `cohen`, `covid_cxnet`, `rsna` or `chestxray14` holds images twice.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import choose, read_text
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources.base import Source, image_files, image_ids
from covid_keras.data.sources.listed import present
from covid_keras.data.sources.rsna import nih_patients

CLASSES = ("normal", "pneumonia", "COVID-19")
PARTS = ("train", "test")
# Collection -> form of its patients' ids; of Figure 1's, what comes before the letter.
COLLECTIONS = {
    "cohen": re.compile(r"(\d+[a-z]?)$"),
    "fig1": re.compile(r"(COVID-\d+)[a-z]?$"),
    "actmed": re.compile(r"(ANON\d+)$"),
    "sirm": re.compile(r"(COVID-19\s?\(\d+\))$"),
    "rsna": re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$"),
}


def list_name(part: str) -> str:
    """Return the file name of the list of a part."""
    return f"{part}_COVIDx5.txt"


def _lists(folder: Path) -> Path:
    """Return the folder of the two lists: the collection's own, or `labels/` of COVID-Net."""
    return folder if (folder / list_name("train")).is_file() else folder / "labels"


def _fields(line: str) -> tuple[str, str, str, str] | None:
    """Return patient, file, class and collection of a line ("" where unknown); None if it has another format."""
    words = line.split()
    collection = "" if not words or choose(words[-1], CLASSES) in CLASSES else choose(words.pop(), COLLECTIONS)
    if len(words) < 3 or choose(words[-1], CLASSES) not in CLASSES:
        return None
    patient, *file, label = *words[:-1], choose(words[-1], CLASSES)  # a file's name may hold a blank
    if not collection:
        collection = next((name for name, form in COLLECTIONS.items() if form.match(patient)), "")
    return patient, " ".join(file), label, collection


def _read_list(path: Path) -> pd.DataFrame:
    """Return patient, file, label and collection of each line of a list.

    Raises `UserError` if the list is missing, empty, not text, or a line is not of its form.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = _fields(line)
        if line.strip() and (fields is None or fields[3] not in COLLECTIONS):
            problem = (
                f"line {number} is not '<patient> <file> <class> <collection>' with a class of {', '.join(CLASSES)}"
            )
            problem += f" and a collection of {', '.join(COLLECTIONS)}"
            raise UserError(path, problem, "Download the list of COVIDx5 again")
        if fields is not None:
            rows.append(fields)
    if not rows:
        raise UserError(path, "the list is empty", "Download the list again")
    return pd.DataFrame(rows, columns=["patient", "file", "label", "collection"])


def _survey(folder: Path) -> tuple[pd.DataFrame, int]:
    """Return the listed images that exist (with `path` and `part`), and how many are missing."""
    lists = _lists(folder)
    images = folder / "data" if (folder / "data").is_dir() else folder
    found, absent = [], 0
    for part in PARTS:
        listing = lists / list_name(part)
        table = _read_list(listing)
        files = {path.name: path for path in image_files(images / part)}
        named = present(list(table["file"]), files, images / part, listing)
        there = table["file"].isin(named)
        absent += int((~there).sum())
        table = table[there].assign(file=table["file"][there].map(named))
        found.append(table.assign(path=[str(files[name].resolve()) for name in table["file"]], part=part))
    table = pd.concat(found, ignore_index=True)
    repeated = table[table["file"].duplicated()]
    if len(repeated):
        part, name = repeated.iloc[0][["part", "file"]]
        raise UserError(
            lists / list_name(part), f"'{name}' is listed twice", "Keep one line, or download the lists again"
        )
    return table, absent


def _patient(collection: str, name: str, nih: dict[str, str]) -> str:
    """Return the patient's id, the same in both lists and, where the ids allow it, in the collection's own source."""
    match = COLLECTIONS[collection].match(name)
    return nih.get(name, f"{collection}/{match[1] if match else name}")


class Covidx(Source):
    """COVIDx5 of COVID-Net."""

    def load(self, folder: Path) -> Cohort:
        """Return the listed images as a cohort, classes "normal", "pneumonia", "COVID-19".

        Further columns: `part` ("train" or "test"), `collection`. Raises `UserError` if a list or a folder of images
        is missing or empty, a line is not of the lists' form, an image is listed twice, or more than a tenth of a
        list's images are missing.
        """
        table, _ = _survey(folder)
        nih = nih_patients(_lists(folder))
        return self.cohort(
            {
                "image_id": image_ids("covidx", table["file"]),
                "path": table["path"],
                "patient_id": [
                    _patient(collection, name, nih)
                    for collection, name in zip(table["collection"], table["patient"], strict=True)
                ],
                "label": table["label"],
                "part": table["part"],
                "collection": table["collection"],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return the images of each class, together and by part, and what is missing or crosses the parts."""
        _, absent = _survey(folder)
        cohort = self.load(folder)
        table = cohort.table
        by_part = {
            f"{label}, {part}": int(((table["label"] == label) & (table["part"] == part)).sum())
            for part in PARTS
            for label in CLASSES
        }
        train, test = (set(table["patient_id"][table["part"] == part]) for part in PARTS)
        return {
            **cohort.counts(),
            **by_part,
            "patients in both parts": len(train & test),
            "listed images missing": absent,
        }


SOURCE = Covidx(
    name="covidx",
    classes=CLASSES,
    title="COVIDx5 of COVID-Net",
    url="https://github.com/lindawangg/COVID-Net",
    licence="one for each of the five collections; the lists: AGPL 3",
    size="14,258 images, some GB",
    images=14_258,
    layout="COVIDx5/ with train_COVIDx5.txt, test_COVIDx5.txt (or labels/ with them), data/train/, data/test/",
    access="Take the lists of COVIDx5 from https://github.com/lindawangg/COVID-Net (labels/), make the folders of"
    " images by its docs/COVIDx.md, and put both into COVIDx5/ in the data folder",
    citation="Wang et al.: COVID-Net: a tailored deep convolutional neural network design for detection of COVID-19"
    " cases from chest X-ray images. Scientific Reports 10, 2020",
    doi="10.1038/s41598-020-76550-z",
    checks={
        "normal": 8_066,
        "pneumonia": 5_575,
        "COVID-19": 617,
        "normal, train": 7_966,
        "pneumonia, train": 5_475,
        "COVID-19, train": 517,
        "normal, test": 100,
        "pneumonia, test": 100,
        "COVID-19, test": 100,
    },
    folders=("COVIDx5", "COVIDx", "COVID-Net", "COVID-Net-master", "covidx"),
    marks=(list_name("train"), f"labels/{list_name('train')}"),
)
