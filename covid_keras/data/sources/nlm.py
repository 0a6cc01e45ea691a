"""Shared by the two tuberculosis sets of the National Library of Medicine: file names that end in the diagnosis."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.tables import name_key, read_text
from covid_keras.data.sources.base import image_files, parse_age, parse_sex

CLASSES = ("normal", "tuberculosis")
IMAGES = "CXR_png"
READINGS = "ClinicalReadings"
_AGE = re.compile(r"\d+ ?[ymwd]")
_SEX = re.compile(r"\b(?:fe)?male\b|(?<=sex: )[fm]\b")
CITATION = (
    "Jaeger et al.: Two public chest X-ray datasets for computer-aided screening of pulmonary diseases. "
    "Quantitative Imaging in Medicine and Surgery 4(6), 2014"
)
DOI = "10.3978/j.issn.2223-4292.2014.11.20"


def read_images(folder: Path, source: str, prefix: str) -> pd.DataFrame:
    """Return the cohort table of `CXR_png/`: `<prefix>_<number>_<0 normal, 1 tuberculosis>.png`, one patient each.

    Age and sex are those of `ClinicalReadings/<stem>.txt`, unknown if the file is missing. Raises `UserError` if the
    folder of images is missing or empty, or a file is named otherwise.
    """
    files = image_files(folder / IMAGES)
    for path in files:
        if not (path.stem.startswith(f"{prefix}_") and path.stem[-2:] in ("_0", "_1")):
            problem = f"is not named {prefix}_<number>_<0 or 1>, so its diagnosis is unknown"
            raise UserError(path, problem, "Restore the collection's own file name")
    ids = [f"{source}/{path.stem}" for path in files]
    ages, sexes = zip(*(_age_and_sex(folder / READINGS / f"{path.stem}.txt") for path in files), strict=True)
    return pd.DataFrame(
        {
            "image_id": ids,
            "path": files,
            "patient_id": ids,
            "label": [CLASSES[int(path.stem[-1])] for path in files],
            "view": "PA",
            "age": ages,
            "sex": sexes,
        }
    )


def _age_and_sex(path: Path) -> tuple[float, str]:
    """Read age and sex from "Patient's Sex: F" and "Patient's Age: 027Y", or from "Female, 33yrs"."""
    if not path.is_file():
        return float("nan"), ""
    text = read_text(path).lower()
    sex, age = _SEX.search(text), _AGE.search(text)
    return parse_age(age[0] if age else ""), parse_sex(sex[0] if sex else "")


def masks_by_stem(folders: Iterable[Path], stems: Iterable[str], suffix: str = "") -> list[str]:
    """Return for each stem the mask `<stem><suffix>.*` in the first folder that has it, "" if none has."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            for path in sorted(folder.iterdir()):
                if path.is_file() and not path.name.startswith("."):
                    found.setdefault(name_key(path.stem), path)
    names = [name_key(f"{stem}{suffix}") for stem in stems]
    return [str(found[name].resolve()) if name in found else "" for name in names]
