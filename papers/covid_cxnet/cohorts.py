"""The cohorts of the COVID-CXNet experiments: the authors' COVID-19 images with NIH radiographs, and the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import chestxray14, load_source
from covid_keras.paper.cohorts import (
    Cohorts,
    Kind,
    copied,
    joined,
    missing_collection,
    one_hospital,
    phantom_folder,
    require,
    with_label,
)

NORMAL, CAP, COVID = CLASSES = ("normal", "CAP", "COVID-19")
# Images of collections that no system is trained on: the test of Table 1.
NORMAL_OUTSIDE, COVID_OUTSIDE = f"{NORMAL}, outside", f"{COVID}, outside"
OUTSIDE = {NORMAL_OUTSIDE: NORMAL, COVID_OUTSIDE: COVID}
PNEUMONIA = "pneumonia"  # level 1 of the hierarchy: CAP or COVID-19


@dataclass(frozen=True)
class RadiographCohort(Kind):
    """COVID-CXNet's COVID-19 images, and NIH ChestX-ray14 ones without finding and with pneumonia.

    Counts of 0 take all. `early` and `children`: whether COVID-19 images without visible abnormality, and of children,
    are kept (the authors' last code keeps both, that of May 2020 neither). `outside`: at most so many images per class
    of Cohen's collection for the external test, one per patient, none of a patient with an image among the others.
    `whole` asks for the whole NIH collection.
    """

    kind: Literal["radiographs"]
    covid: int = 0
    normal: int = 0
    cap: int = 0
    outside: int = 30
    early: bool = True
    children: bool = True
    seed: int = 2020
    whole: bool = False
    needs: ClassVar = ("covid_cxnet", "chestxray14", "cohen")  # the last for the external test alone

    def available(self, data: Path | None) -> str | None:
        if reason := missing_collection(self.needs if self.outside else self.needs[:-1], data):
            return reason
        nih = chestxray14.SOURCE
        if self.whole and not chestxray14.is_whole(nih.locate(data)):
            return f"only the two-folder subset of {nih.title} below {data}, without {chestxray14.TABLE}"
        return None

    def make(self, data: Path, made: Path) -> Cohort:
        """COVID-19, CAP, normal images in the authors' order, then those of the external test."""
        rng = np.random.default_rng(self.seed)
        covid = load_source("covid_cxnet", data).table
        frontal = ~covid["view"].str.startswith("L")
        covid = covid[frontal & (self.early | ~covid["early"]) & (self.children | ~covid["child"])]
        nih = load_source("chestxray14", data).table
        parts = [_first(covid, self.covid, "COVID-19 images").assign(label=COVID)]
        for label, count, name in (("Pneumonia", self.cap, CAP), ("No_findings", self.normal, NORMAL)):
            found = _shuffled(with_label(nih, label), rng)
            parts.append(_first(found, count, f"NIH images {label}").assign(label=name))
        if self.outside:
            parts.append(self._external(pd.concat(parts, ignore_index=True), data, rng, made.parent))
        return joined(parts, (*CLASSES, *OUTSIDE), "COVID-CXNet against NIH ChestX-ray14")

    def _external(self, inside: pd.DataFrame, data: Path, rng: np.random.Generator, cache: Path) -> pd.DataFrame:
        """Draw frontal images of Cohen's collection, of patients not in the other images; fewer if it has fewer."""
        cohen = load_source("cohen", data).frontal().table
        cohen = cohen[(cohen["label"] == "COVID-19") | (cohen["finding"] == "No Finding")]
        cohen = cohen.assign(label=np.where(cohen["label"] == "COVID-19", COVID_OUTSIDE, NORMAL_OUTSIDE))
        known = cohen["image_id"].isin(copied(inside, cohen, cache))
        # Patients with any training image are known to the networks.
        cohen = _shuffled(cohen[~cohen["patient_id"].isin(cohen.loc[known, "patient_id"])], rng)
        # The rarer class first: a patient can have images of both, and counts once.
        normal, covid = (with_label(cohen, name).drop_duplicates("patient_id") for name in OUTSIDE)
        normal = normal.head(self.outside)
        return pd.concat([normal, covid[~covid["patient_id"].isin(normal["patient_id"])].head(self.outside)])


@dataclass(frozen=True)
class PhantomCohort(Kind):
    """Synthetic radiographs: patients per class, side in pixels; the external test is of another hospital."""

    kind: Literal["phantom"]
    covid: int
    normal: int
    cap: int
    outside: int
    seed: int
    size: int

    def make(self, data: Path | None, made: Path) -> Cohort:
        inside = {"covid": (COVID, self.covid), "cap": (CAP, self.cap), "normal": (NORMAL, self.normal)}
        outside = {"covid": (COVID_OUTSIDE, self.outside), "normal": (NORMAL_OUTSIDE, self.outside)}
        first = one_hospital(phantom_folder(made, "phantom", self), self, "A", inside)
        second = one_hospital(phantom_folder(made, "phantom-outside", self), self, "B", outside, prefix="outside/")
        # Class by class, as the authors' arrays are.
        parts = [with_label(first, name) for name, _ in inside.values()]
        parts += [with_label(second, name) for name, _ in outside.values()]
        return joined(parts, (*CLASSES, *OUTSIDE), "phantom")


def _shuffled(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return table.iloc[rng.permutation(len(table))]


def _first(table: pd.DataFrame, count: int, what: str) -> pd.DataFrame:
    require(count, table, what)
    return table.head(count or len(table))


COHORTS = Cohorts({"radiographs": RadiographCohort, "phantom": PhantomCohort})
