"""Darwin V7 COVID-19 X-ray dataset, whole: lungs outlined by hand on 6,504 images, in its own export.

What
    About 6,500 chest radiographs, the lungs outlined as polygons by human annotators (CloudFactory), reviewed by V7:
    5,863 paediatric images of Kermany's collection, the others of Cohen's COVID-19 Image Data Collection, among them
    517 of COVID-19. Trains the ResUNet of Hertel and Benlamri, 2022.
Layout
    `covid-19-chest-x-ray-dataset/` with `images/*` and `annotations/*.json`, or the places where `darwin dataset pull
    v7-labs/covid-19-chest-x-ray-dataset:all-images` and the repository put the JSON files: `releases/<release>/
    annotations/`, `annotations/all-images/`. Darwin JSON 1.0 (`image` with filename, width, height; annotations with
    `name` and `polygon.path`, `complex_polygon.path` or `tag`) and 2.0 (`item` with name and slots; `polygon.paths`).
Cohort
    Every X-ray; CT slices, which have no outline, are left out and counted. Labels from the tags: "normal",
    "COVID-19", "viral pneumonia", "bacterial pneumonia", "fungal pneumonia", "other". Further columns:
    `width`, `height`, `tags` (joined by "|"), `outlined` (bool: has a lung), `annotation` (the JSON file).
    Patient ids are those of `kermany` if the file is named like one of its files, and those of `cohen` if the file is
    listed there (`cohen` is searched for beside this collection), so that a split by patient holds across the
    collections. Every other image counts as a separate patient.
    `frontal_and_large(cohort)` drops lateral views, images without an outline and those with a side under 256 pixels:
    6,377 remain in Hertel and Benlamri, 2022. `draw_masks(cohort, folder)` draws the outlines: 255 = lung, 127 =
    "ignore" (devices and markings), 0 = rest, as in `darwin_v7`.
Known problems
    Not tested on the real export: the format follows V7's documentation of Darwin JSON, its list of classes (Lung 255,
    Ignore 127) and programs that read the set. Without `cohen` beside it, each image of one of Cohen's patients counts
    as a separate patient, so patients may cross a split. The lung includes the part behind the heart and, where
    visible, below the dome of the diaphragm. Most images are of children, from one hospital. Exclude "ignore"
    pixels from the loss. Joining with `cohen`, `darwin_v7` or `kermany` joins images with themselves.
"""

from __future__ import annotations

import hashlib
import logging
import re
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_json
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import image_size, write_image
from covid_keras.data.sources import cohen
from covid_keras.data.sources.base import Source, image_ids, refuse
from covid_keras.data.sources.darwin_v7 import IGNORE, LUNG
from covid_keras.data.sources.listed import present

LOGGER = logging.getLogger(__name__)

ANNOTATIONS = (
    "annotations",
    "releases/all-images/annotations",
    "releases/latest/annotations",
    "annotations/all-images",
)
MIN_SIDE = 256
_TEAM, _NAME = "v7-labs", "covid-19-chest-x-ray-dataset"
_LUNGS = frozenset({"lung", "lungs", "left lung", "right lung"})
_IGNORED = "ignore"
# What tags say, their groups ("View/...") and cases aside; of the labels, the first that an image has.
_LABELS = {
    "covid-19": "COVID-19",
    "viral pneumonia": "viral pneumonia",
    "bacterial pneumonia": "bacterial pneumonia",
    "fungal pneumonia": "fungal pneumonia",
    "no pneumonia (healthy)": "normal",
    "no pneumonia": "normal",
}
_VIEWS = {"lateral": "L", "l": "L", "pa": "PA", "ap supine": "AP Supine", "ap": "AP"}
_CT = frozenset({"ct", "axial", "coronal"})
# The names of `kermany`, which its folders need not tell here.
_KERMANY = re.compile(
    r"(?:(?P<kaggle>person\d+)_(?:virus|bacteria)_\d+"
    r"|(?P<normal>(?:NORMAL2-)?IM-\d+)-\d+(?:-\d+)?"
    r"|(?:NORMAL|VIRUS|BACTERIA)-(?P<mendeley>\d+)-\d+)$"
)
# Part of each mask's key: to be changed where outlines are drawn otherwise.
_DRAWING = "1"

Paths = list[list[tuple[float, float]]]


class Annotated(NamedTuple):
    """What a file in Darwin JSON says of its image; each outline is a list of closed paths, holes among them."""

    file: str  # below images/
    original: str  # its name in the collection it comes from
    width: int
    height: int
    tags: tuple[str, ...]
    lungs: list[Paths]
    ignored: list[Paths]


def _annotations(folder: Path) -> Path | None:
    places = (folder / place for place in ANNOTATIONS)
    return next((place for place in places if any(place.glob("*.json"))), None)


# --- Darwin JSON


def read_annotated(path: Path) -> Annotated:
    """Read one file in Darwin JSON 1.0 or 2.0.

    Raises `UserError` if the file is missing, is not JSON, or has another format.
    """
    data = read_json(path)
    try:
        head = _head_2(data["item"]) if "item" in data else _head_1(data["image"])
        shapes = [(entry["name"].strip().casefold(), _paths(entry)) for entry in data["annotations"]]
        tags = tuple(entry["name"].strip() for entry in data["annotations"] if "tag" in entry)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        problem = "is not an image's annotations in Darwin JSON"
        raise UserError(path, problem, "Export it again, or remove it") from error
    return Annotated(
        *head,
        tags,
        [paths for name, paths in shapes if name in _LUNGS and paths],
        [paths for name, paths in shapes if name == _IGNORED and paths],
    )


def _head_1(image: dict[str, Any]) -> tuple[str, str, int, int]:
    name = image["filename"]
    return _below(image, name), image.get("original_filename") or name, int(image["width"]), int(image["height"])


def _head_2(item: dict[str, Any]) -> tuple[str, str, int, int]:
    slot, name = item["slots"][0], item["name"]
    sources = slot.get("source_files") or [{}]
    return _below(item, name), sources[0].get("file_name") or name, int(slot["width"]), int(slot["height"])


def _below(entry: dict[str, Any], name: str) -> str:
    """Return the file's path below images/; V7 keeps an image's folder apart from its name."""
    path = PurePosixPath((entry.get("path") or "/").strip("/")) / name
    if ".." in path.parts or path.is_absolute():
        raise ValueError(f"{path} lies outside images/")
    return str(path)


def _paths(entry: dict[str, Any]) -> Paths:
    """Return the closed paths of a polygon of any form; nothing for tags and other annotations."""
    shape = entry.get("polygon") or entry.get("complex_polygon")
    if shape is None:
        return []
    paths = shape["paths"] if "paths" in shape else shape["path"]
    if paths and isinstance(paths[0], dict):
        paths = [paths]
    paths = [*paths, *shape.get("additional_paths", ())]
    # Skip outlines without area, which are stray clicks of annotators.
    return [[(float(point["x"]), float(point["y"])) for point in path] for path in paths if len(path) > 2]


# --- the cohort


def _said(tags: tuple[str, ...]) -> list[str]:
    return [tag.split("/")[-1].replace("_", " ").strip().casefold() for tag in tags]


def _first(words: list[str], names: dict[str, str], otherwise: str) -> str:
    return next((name for word, name in names.items() if word in words), otherwise)


def _summary(path: Path) -> dict[str, Any]:
    """Return a row of the table: all but the outlines, which would fill hundreds of megabytes."""
    annotated = read_annotated(path)
    return {
        "annotation": str(path.resolve()),
        "outlined": bool(annotated.lungs),
        **{name: getattr(annotated, name) for name in ("file", "original", "width", "height", "tags")},
    }


def _survey(folder: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return what is annotated and there, X-rays only (with `path`, `annotation`), and how much of what there is.

    Raises `UserError` if the annotations are missing, one is not in Darwin JSON, two are of one image, or more than
    a tenth of the images are missing.
    """
    place = _annotations(folder)
    if place is None:
        raise UserError(folder, f"holds no JSON files in {', '.join(ANNOTATIONS)}", "Export the annotations again")
    listings = sorted(place.glob("*.json"))
    table = pd.DataFrame([_summary(path) for path in listings])
    twice = table["file"].duplicated()
    second = "has a second annotation, " + table["annotation"].map(lambda path: Path(path).name)
    refuse(place, twice, table["file"], second, "Keep the right one of the two")
    images = folder / "images"
    table["path"] = [str((images / name).resolve()) for name in table["file"]]
    files = {name for name, path in zip(table["file"], table["path"], strict=True) if Path(path).is_file()}
    there = table["file"].isin(present(list(table["file"]), files, images, place))
    table = table[there]
    is_ct = table["tags"].map(lambda tags: not _CT.isdisjoint(_said(tags)))
    return table[~is_ct].reset_index(drop=True), {
        "annotated images": len(table),
        "CT left out": int(is_ct.sum()),
        "annotated images missing": int((~there).sum()),
    }


def _cohen_patients(folder: Path) -> dict[str, str]:
    """Return Cohen's patient by file name, where that collection lies beside this one."""
    # darwin-py puts the folder into one of V7's name.
    place = cohen.SOURCE.locate(folder.parents[1] if folder.parent.name == _TEAM else folder.parent)
    if place is None:
        LOGGER.warning("no cohen beside %s: each of its images counts as a separate patient", folder)
        return {}
    table = cohen.SOURCE.load(place).table
    return {Path(path).name: patient for path, patient in zip(table["path"], table["patient_id"], strict=True)}


def _kermany_patient(name: str) -> str:
    match = _KERMANY.match(Path(name).stem)
    return f"kermany/{match[match.lastgroup or 0]}" if match else ""


def frontal_and_large(cohort: Cohort) -> Cohort:
    """Return the images that Hertel and Benlamri, 2022, train their segmenter on (6,377 of 6,504).

    Dropped: lateral views, images on which no lung is outlined, and images with a side under 256 pixels. Raises
    `UserError` where nothing is left.
    """
    return cohort.filter(_is_usable)


def _is_large(table: pd.DataFrame) -> pd.Series:
    return table[["width", "height"]].min(axis=1) >= MIN_SIDE


def _is_usable(table: pd.DataFrame) -> pd.Series:
    return (table["view"] != "L") & table["outlined"] & _is_large(table)


# --- masks


def draw_masks(cohort: Cohort, folder: str | Path) -> Cohort:
    """Draw the mask of each outlined image, once, and return the cohort with `mask_path` set to it.

    Parameters
    ----------
    cohort : Cohort
        A cohort of `load`, with the columns `annotation` and `outlined`. Images without an outline are not changed.
    folder : str or Path
        Output folder for the masks `<image id>-<key>.png`: uint8, at the image's size, 255 = lung, 127 = "ignore",
        0 = rest. The key is a hash of the annotation, so existing masks are reused until their annotation changes.

    Returns
    -------
    Cohort
        With `mask_path` filled in.

    Raises
    ------
    UserError
        If an annotation is missing or not in Darwin JSON, its size is not its image's, its outlines mark nothing or
        every pixel, or nothing can be written to the folder.

    Notes
    -----
    Corners are rounded to whole pixels and lie on the lung. Of the paths of one outline, those inside others are holes
    (even-odd rule).
    """
    masks = []
    for row in cohort.table.itertuples():
        if not row.outlined:
            masks.append(row.mask_path)
            continue
        target = (Path(folder) / f"{row.image_id}-{_key(Path(row.annotation))}.png").absolute()
        if not target.is_file():
            write_image(target, _mask(Path(row.annotation), image_size(row.path)))
        masks.append(str(target))
    return Cohort(cohort.table.assign(mask_path=masks), cohort.classes, cohort.name)


def _key(path: Path) -> str:
    """Return 16 hexadecimal digits of the annotation's content and of how it is drawn."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(path, f"cannot be read ({error.strerror})", "Export the annotations again") from error
    return hashlib.sha256(_DRAWING.encode() + content).hexdigest()[:16]


def _mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the mask of one annotation, uint8 (H, W) of 0, 127 and 255."""
    annotated = read_annotated(path)
    if (annotated.height, annotated.width) != shape:
        problem = f"was drawn on {annotated.width}x{annotated.height} pixels but its image is {shape[1]}x{shape[0]}"
        raise UserError(path, problem, "Give the image that was annotated")
    mask = np.zeros(shape, np.uint8)
    for value, outlines in ((LUNG, annotated.lungs), (IGNORE, annotated.ignored)):
        for paths in outlines:
            corners = [np.clip(np.rint(points), 0, (shape[1] - 1, shape[0] - 1)).astype(np.int32) for points in paths]
            cv2.fillPoly(mask, corners, value)
    lung = mask == LUNG
    if lung.all() or not lung.any():
        marked = "every pixel" if lung.any() else "no lung"
        raise UserError(path, f"its outlines mark {marked}", "Export it again, or leave its image out")
    return mask


class DarwinV7Whole(Source):
    """Darwin V7 COVID-19 X-ray dataset, whole."""

    def is_own(self, folder: Path) -> bool:
        """Check for images as well, because other collections have a folder of annotations too."""
        return _annotations(folder) is not None and (folder / "images").is_dir()

    def load(self, folder: Path) -> Cohort:
        """Return the annotated X-rays as a cohort; masks are drawn by `draw_masks`.

        Further columns: `width`, `height` (int), `tags`, `outlined` (bool), `annotation`. Raises `UserError` as for
        `_survey`: annotations missing, of another form or two of one image, more than a tenth of the images missing; as
        for `cohen.load`, if that collection is beside this one but cannot be read.
        """
        table, _ = _survey(folder)
        said = table["tags"].map(_said)
        ids = image_ids("darwin_v7_whole", table["file"])
        of_cohen = _cohen_patients(folder)
        of_kermany = table["original"].map(_kermany_patient)
        names = [Path(name).name for name in table["original"]]
        patients = [child or of_cohen.get(name, own) for child, name, own in zip(of_kermany, names, ids, strict=True)]
        # Kermany's radiographs are anterior-posterior, and are not tagged so.
        views = [_first(words, _VIEWS, "AP" if child else "") for words, child in zip(said, of_kermany, strict=True)]
        return self.cohort(
            {
                "image_id": ids,
                "path": table["path"],
                "patient_id": patients,
                "label": [_first(words, _LABELS, "other") for words in said],
                "view": views,
                **table[["width", "height"]],
                "tags": table["tags"].map("|".join),
                **table[["outlined", "annotation"]],
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return the annotated images, those that remain of them, the X-rays of each class, and what was left out."""
        _, counts = _survey(folder)
        cohort = self.load(folder)
        table = cohort.table
        return {
            **counts,
            "frontal and large": int(_is_usable(table).sum()),
            "lateral X-rays": int((table["view"] == "L").sum()),
            "X-rays without an outline": int((~table["outlined"]).sum()),
            "X-rays with a side under 256 pixels": int((~_is_large(table)).sum()),
            **cohort.counts(),
        }


SOURCE = DarwinV7Whole(
    name="darwin_v7_whole",
    classes=("normal", "COVID-19", "viral pneumonia", "bacterial pneumonia", "fungal pneumonia", "other"),
    title="Darwin V7 COVID-19 X-ray dataset, whole",
    url="https://darwin.v7labs.com/v7-labs/covid-19-chest-x-ray-dataset",
    licence="CC BY 4.0 (annotations); the images as in Kermany's and Cohen's collections",
    size="6,504 images of 156 x 156 to 5600 x 4700 pixels",
    images=6_504,
    layout="covid-19-chest-x-ray-dataset/ with images/*, annotations/*.json (or releases/all-images/annotations/)",
    access="Sign in and export the images and the annotations (Darwin JSON) from"
    " https://darwin.v7labs.com/v7-labs/covid-19-chest-x-ray-dataset, or pull them with V7's darwin-py"
    " (v7-labs/covid-19-chest-x-ray-dataset:all-images), into the data folder",
    citation="V7 Labs: COVID-19 X-ray dataset, 2020",
    lungs="whole",
    checks={"annotated images": 6_504, "frontal and large": 6_377},
    folders=(_NAME, f"{_TEAM}/{_NAME}", "covid-19-xray-dataset", "covid-19-xray-dataset-master", "darwin_v7_whole"),
    marks=tuple(f"{place}/" for place in ANNOTATIONS),
)
