"""The cohort: adults of COVID-CXNet, NIH ChestX-ray14 and Cohen's collection, and of a further one if it is given.

A label says the finding of an image and, for images that no network is trained on, where it comes from. Each system
maps the labels to its two classes (`papers.head_to_head.systems`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.settings import CountOrZero, Seed, Side
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import get_source, load_source
from covid_keras.paper.cohorts import (
    Asked,
    Cohorts,
    Kind,
    copied,
    drawn,
    joined,
    one_hospital,
    phantom_folder,
    with_label,
)

COVID, NORMAL, PNEUMONIA = TRAINED = ("COVID-19", "normal", "pneumonia")
# Images of Cohen's collection.
COVID_ACROSS, NORMAL_ACROSS, PNEUMONIA_ACROSS = ACROSS = tuple(f"{name}, Cohen" for name in TRAINED)
# Images of the collection given by `--external`.
COVID_EXTERNAL, NEGATIVE_EXTERNAL = EXTERNAL = ("COVID-19, external", "no COVID-19, external")
LABELS = (*TRAINED, *ACROSS)
ADULT = 18  # years
AGE_BAND = 10  # years
# Labels of the collections.
_POSITIVE, _NEGATIVE = ("COVID-19", "P"), ("N", "normal", "no COVID-19", "pneumonia", "other")
_NO_FINDING = "No Finding"  # spelling of Cohen's table


@dataclass(frozen=True)
class AdultCohort(Kind):
    """Frontal radiographs of adults; where view or age are unknown, an image counts as such. Counts of 0 take all.

    Trained on: COVID-19 of COVID-CXNet, NIH images without finding and with pneumonia. Patients of COVID-CXNet with an
    image that is also in Cohen's collection are left out, so that of Cohen's patients none is trained on.

    Attributes
    ----------
    covid, normal, pneumonia : int
        Number of images that are trained and tested "within", drawn by `seed`.
    external : str
        A further collection with both classes. Its patients with an image that is trained on are left out.
    seed : int
    """

    kind: Literal["adults"]
    covid: CountOrZero = 0
    normal: CountOrZero = 0
    pneumonia: CountOrZero = 0
    external: str = ""
    seed: Seed = 2022
    needs: ClassVar = ("covid_cxnet", "chestxray14", "cohen")

    def __post_init__(self) -> None:
        if self.external:
            _require_both(self.external, self.needs)

    @property
    def required(self) -> tuple[str, ...]:
        return (*self.needs, *((self.external,) if self.external else ()))

    def missing(self, data: Path | None, asked: Asked) -> str | None:
        return next(filter(None, map(asked.unavailable, self.required)), None)

    def make(self, data: Path, made: Path) -> Cohort:
        rng = np.random.default_rng(self.seed)
        cohen = _adults(load_source("cohen", data))
        covid = apart(_adults(load_source("covid_cxnet", data)), cohen, made.parent)
        nih = _adults(load_source("chestxray14", data))
        kinds = {
            COVID: drawn(covid, self.covid, rng, "images of COVID-CXNet"),
            NORMAL: drawn(with_label(nih, "No_findings"), self.normal, rng, "NIH images without finding"),
            PNEUMONIA: drawn(with_label(nih, "Pneumonia"), self.pneumonia, rng, "NIH images with pneumonia"),
        }
        parts = [table.assign(label=name) for name, table in kinds.items()]
        parts.append(cohen.assign(label=_labels_of_cohen(cohen)))
        if not self.external:
            return joined(parts, LABELS, "COVID-CXNet and NIH ChestX-ray14, Cohen")
        parts.append(apart(_external(self.external, data), pd.concat(parts[:3], ignore_index=True), made.parent))
        return joined(parts, (*LABELS, *EXTERNAL), f"COVID-CXNet and NIH ChestX-ray14, Cohen, {self.external}")


@dataclass(frozen=True)
class PhantomCohort(Kind):
    """Synthetic radiographs: patients per label, side in pixels. Hospital B takes the place of Cohen's collection."""

    kind: Literal["phantom"]
    covid: CountOrZero
    normal: CountOrZero
    pneumonia: CountOrZero
    across: CountOrZero
    seed: Seed
    size: Side

    def make(self, data: Path | None, made: Path) -> Cohort:
        kinds = ("covid", "normal", "cap")
        inside = dict(zip(kinds, zip(TRAINED, (self.covid, self.normal, self.pneumonia), strict=True), strict=True))
        outside = {kind: (label, self.across) for kind, label in zip(kinds, ACROSS, strict=True)}
        parts = [
            one_hospital(phantom_folder(made, "phantom-head-a", self), self, "A", inside),
            one_hospital(phantom_folder(made, "phantom-head-b", self), self, "B", outside, prefix="elsewhere/"),
        ]
        return joined(parts, LABELS, "phantom")


COHORTS = Cohorts({"adults": AdultCohort, "phantom": PhantomCohort})


def apart(table: pd.DataFrame, others: pd.DataFrame, cache: Path) -> pd.DataFrame:
    """Return the rows of `table` without the patients who have a near-duplicate in `others`, or an id of theirs."""
    known = set(table.loc[table["image_id"].isin(copied(table, others, cache)), "patient_id"])
    return table[~table["patient_id"].isin(known | set(others["patient_id"]))]


def matched(table: pd.DataFrame, classes: tuple[str, str], seed: int) -> np.ndarray:
    """Return the images of two classes that are matched by view and age: as many of either class in each group.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns `label` and `view`, and `age` in years (NaN or no column: unknown, a group of its own).
    classes : tuple of str
        Two labels; other rows are not matched.
    seed : int
        Of the draw from the larger class of a group.

    Returns
    -------
    ndarray (n,) of bool
    """
    age = table["age"] if "age" in table.columns else pd.Series(np.nan, table.index)
    groups = table["view"] + " " + (age // AGE_BAND).fillna(-1).astype(int).astype(str)
    chosen, rng = np.zeros(len(table), bool), np.random.default_rng(seed)
    for group in sorted(groups.unique()):
        rows = [np.flatnonzero((groups == group) & (table["label"] == name)) for name in classes]
        for one in rows:
            chosen[rng.permutation(one)[: min(map(len, rows))]] = True
    return chosen


def _adults(cohort: Cohort) -> pd.DataFrame:
    """Return the images that are neither known to be lateral nor known to be a child's."""
    table = cohort.table
    age = table["age"] if "age" in table.columns else pd.Series(np.nan, table.index)
    child = table["child"] if "child" in table.columns else pd.Series(False, table.index)
    return table[~table["view"].str.startswith("L") & ~(age < ADULT) & ~child]


def _labels_of_cohen(table: pd.DataFrame) -> np.ndarray:
    """Return the labels; what is neither COVID-19 nor "No Finding" is another pneumonia, SARS and ARDS included."""
    other = np.where(table["finding"] == _NO_FINDING, NORMAL_ACROSS, PNEUMONIA_ACROSS)
    return np.where(table["label"] == "COVID-19", COVID_ACROSS, other)


def _external(name: str, data: Path) -> pd.DataFrame:
    table = _adults(load_source(name, data))
    labels = dict.fromkeys(_POSITIVE, COVID_EXTERNAL) | dict.fromkeys(_NEGATIVE, NEGATIVE_EXTERNAL)
    table = table[table["label"].isin(labels)]
    return table.assign(label=table["label"].map(labels))


def _require_both(name: str, trained: tuple[str, ...]) -> None:
    """Raise `UserError` unless a collection has both classes and is none of the cohort's own."""
    classes: Mapping[str, object] = dict.fromkeys(get_source(name).classes)
    if name in trained:
        raise UserError(f"--external {name}", "is part of the cohort", "Name another collection")
    if not all(any(label in classes for label in labels) for labels in (_POSITIVE, _NEGATIVE)):
        problem = f"does not have both classes (it has {', '.join(classes)})"
        raise UserError(f"--external {name}", problem, "Name one with COVID-19 and without, such as covidgr or covidx")
