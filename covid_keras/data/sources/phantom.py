"""The phantom: synthetic chest radiographs with known truth, made on the spot.

What
    Drawings that look like chest radiographs, made by `covid_keras.data.phantom.make_phantom`: normal,
    community-acquired pneumonia ("cap") and COVID-like ("covid"), with lung masks, opacity masks and extent.
    Used if no real radiographs are found; results on it say nothing about patients.
Layout
    `phantom/metadata.csv` (file, image_id, patient, visit, label, view, hospital, marker, extent, severity),
    `phantom/images/`, `phantom/masks/` (lungs, 0/255), `phantom/opacities/` (0/255), `phantom/phantom.yaml`.
Cohort
    Every image. Further columns: `hospital`, `marker`, `opacity_path`, `visit`. Only "covid" has a `severity`.
Known problems
    Far less varied than patients are. Positives of extent 0 ("Normal-PCR+") look like normals by design.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.settings import read_yaml
from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom.collection import FOLDERS, METADATA, SETTINGS
from covid_keras.data.phantom.sample import LABELS
from covid_keras.data.sources.base import Source, parse_extent, read_metadata, refuse

_COLUMNS = (
    "file", "image_id", "patient", "visit", "label", "view", "hospital", "marker", "extent", "severity",
)  # fmt: skip

_AGAIN = "Delete the phantom's folder and make it again"


def _visits(table: pd.DataFrame, path: Path) -> pd.Series:
    odd = ~table["visit"].str.fullmatch(r"\d+")
    refuse(path, odd, table["file"], "has no whole number in column 'visit'", _AGAIN)
    return table["visit"].astype(int)


def _paths(folder: Path, names: pd.Series) -> list[str]:
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [name for name in names if name not in there]
    if missing:
        raise UserError(folder / missing[0], "is listed in the phantom's table but missing", _AGAIN)
    return [str(folder / name) for name in names]


def _by_label(counts: dict[str, int]) -> dict[str, int]:
    return {f"patients {label}": int(counts.get(label, 0)) for label in LABELS}


def read_settings(folder: Path) -> dict[str, Any]:
    """Return the settings that the collection was made with."""
    try:
        settings = read_yaml(folder / SETTINGS)["settings"]
        sound = all(isinstance(patients, int) for patients in settings["composition"].values())
    except (UserError, KeyError, TypeError, AttributeError) as error:
        raise UserError(folder / SETTINGS, "is missing or damaged", _AGAIN) from error
    if not sound:
        raise UserError(folder / SETTINGS, "is damaged", _AGAIN)
    return settings


class PhantomSource(Source):
    """Phantom (synthetic radiographs with known truth)."""

    def load(self, folder: Path) -> Cohort:
        """Return the collection as a cohort of classes normal, cap, covid.

        Raises `UserError` if the table is missing, lacks a column, holds an extent or visit that is not a number, or
        names a missing file.
        """
        folder = Path(folder).resolve()
        listing = folder / METADATA
        table = read_metadata(listing, _COLUMNS, key="file")
        images, masks, opacities = (_paths(folder / name, table["file"]) for name in FOLDERS)
        rows = zip(table["extent"], table["file"], strict=True)
        return self.cohort(
            {
                "image_id": "phantom/" + table["image_id"],
                "path": images,
                "patient_id": "phantom/" + table["patient"],
                **table[["label", "view", "severity"]],
                "extent": [parse_extent(text, listing, "extent", name) for text, name in rows],
                "mask_path": masks,
                **table[["hospital", "marker"]],
                "opacity_path": opacities,
                "visit": _visits(table, listing),
            }
        )

    def count(self, folder: Path) -> dict[str, int]:
        """Return what was found: patients, and patients of each label."""
        table = self.load(folder).table.drop_duplicates("patient_id")
        return {"patients": len(table), **_by_label(table["label"].value_counts().to_dict())}

    def expected(self, folder: Path) -> dict[str, int]:
        """Return the counts that `phantom.yaml` asks for."""
        composition = read_settings(folder)["composition"]
        return {"patients": sum(composition.values()), **_by_label(composition)}


SOURCE = PhantomSource(
    name="phantom",
    classes=LABELS,
    title="Phantom (synthetic radiographs with known truth)",
    url="",
    licence="Apache-2.0",
    size="about 0.1 MB per image of 256 px",
    images=0,
    layout="phantom/metadata.csv, images/, masks/, opacities/, phantom.yaml",
    access="Made on the spot by covid_keras.data.make_phantom(folder)",
    citation="covid-keras, covid_keras.data.phantom",
    lungs="whole",
    folders=("phantom",),
    marks=(SETTINGS,),
)
