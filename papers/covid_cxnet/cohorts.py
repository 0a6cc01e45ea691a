"""The cohorts of COVID-CXNet: the authors' COVID-19 images with radiographs of other collections, and the phantom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from covid_keras.common.settings import CountOrZero, Seed, Side
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import chestxray14, load_source
from covid_keras.paper.cohorts import (
    Asked,
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
# Kermany's normal images (base model v1), and COVID-19 images that no system is trained on.
NORMAL_CHILD, COVID_ASIDE = f"{NORMAL}, child", f"{COVID}, early or child"
# Images of collections that no system is trained on: the test of Table 1, and further ones for the authors' networks.
NORMAL_OUTSIDE, COVID_OUTSIDE, COVID_FURTHER = (f"{NORMAL}, outside", f"{COVID}, outside", f"{COVID}, outside, further")
OUTSIDE = {NORMAL_OUTSIDE: NORMAL, COVID_OUTSIDE: COVID}
LABELS = (*CLASSES, NORMAL_CHILD, COVID_ASIDE, *OUTSIDE, COVID_FURTHER)
PNEUMONIA = "pneumonia"  # level 1 of the hierarchy: CAP or COVID-19
ADULT = 18  # years


@dataclass(frozen=True)
class RadiographCohort(Kind):
    """COVID-CXNet's COVID-19 images, and NIH ChestX-ray14 ones without finding and with pneumonia.

    Attributes
    ----------
    covid, normal, cap : int
        Number of images; 0 takes all.
    outside : int
        Maximum number of images per class of Cohen's collection for the external test, one per patient and none of a
        patient with an image among the others; 0 for none.
    early, children : bool
        Whether COVID-19 images without visible abnormality, and images of children, are kept (the authors' last code
        keeps both, that of May 2020 neither). Otherwise these COVID-19 images have the label `COVID_ASIDE`, and NIH
        images of children are left out. Children are known by the authors' file names and the collections' ages.
    pediatric : int
        Number of normal images of Kermany's children to add, label `NORMAL_CHILD`; 0 for none.
    further : bool
        Add normal images of JSRT, which is not among the paper's sources, if Cohen's are fewer than `outside`, and all
        other COVID-19 images of Cohen's patients without an image among the others, label `COVID_FURTHER`.
    seed : int
        Seed of the order of the images of NIH, Kermany and Cohen.
    whole : bool
        Whether systems need the whole NIH collection, apart from those for which the two-folder subset is enough.
    """

    kind: Literal["radiographs"]
    covid: CountOrZero = 0
    normal: CountOrZero = 0
    cap: CountOrZero = 0
    outside: CountOrZero = 30
    early: bool = True
    children: bool = True
    pediatric: CountOrZero = 0
    further: bool = False
    seed: Seed = 2020
    whole: bool = False
    needs: ClassVar = ("covid_cxnet", "chestxray14", "cohen")  # the last for the external test alone
    selects: ClassVar = ("early", "children")

    def missing(self, data: Path | None, asked: Asked) -> str | None:
        """Return what a system lacks: only some need Kermany's collection, or Cohen's for the external test."""
        of_some = {
            "kermany": self.pediatric and NORMAL_CHILD in asked.images,
            "cohen": self.outside and any("cohen" in names for names in asked.collections),
        }
        names = (*self.needs[:2], *(name for name, wanted in of_some.items() if wanted))
        return next(filter(None, map(asked.unavailable, names)), None) or self.lacking(data, asked.images)

    def lacking(self, data: Path | None, images: Mapping[str, int]) -> str | None:
        """Return why these numbers of NIH images per label (0: all) are not available; None if they are."""
        nih = chestxray14.SOURCE
        if not self.whole or (data and nih.locate(data) and chestxray14.is_whole(nih.locate(data))):
            return None
        if CAP in images or images.get(NORMAL, 1) not in range(1, chestxray14.SUBSET_CHECKS["No_findings"] // 2):
            return f"only the two-folder subset of {nih.title} below {data}, without {chestxray14.TABLE}"
        return None

    def make(self, data: Path, made: Path) -> Cohort:
        """COVID-19, CAP, normal images in the authors' order, then those of the external test."""
        rng = np.random.default_rng(self.seed)
        covid = load_source("covid_cxnet", data).table
        covid = covid[~covid["view"].str.startswith("L")]
        aside = (covid["early"] & (not self.early)) | (_is_child(covid) & (not self.children))
        parts = [_first(covid[~aside], self.covid, "COVID-19 images").assign(label=COVID)]
        nih = load_source("chestxray14", data).table
        nih = nih[~_is_child(nih) | self.children]
        # The systems that need more than the subset are left out (see `lacking`).
        all_of_subset = self.whole and not chestxray14.is_whole(chestxray14.SOURCE.locate(data))
        for label, count, name in (("Pneumonia", self.cap, CAP), ("No_findings", self.normal, NORMAL)):
            found = _shuffled(with_label(nih, label), rng)
            parts.append(_first(found, 0 if all_of_subset else count, f"NIH images {label}").assign(label=name))
        if self.pediatric and not missing_collection(["kermany"], data):
            kermany = with_label(load_source("kermany", data).table, "normal")
            found = _first(_shuffled(kermany, rng), self.pediatric, "Kermany's normal images")
            parts.append(found.assign(label=NORMAL_CHILD))
        parts.append(covid[aside].assign(label=COVID_ASIDE))
        if self.outside and not missing_collection(["cohen"], data):
            parts += self._external(pd.concat(parts, ignore_index=True), data, rng, made.parent)
        return joined(parts, LABELS, "COVID-CXNet against NIH ChestX-ray14")

    def _external(self, inside: pd.DataFrame, data: Path, rng: np.random.Generator, cache: Path) -> list[pd.DataFrame]:
        """Draw frontal images of Cohen's collection, of patients not in the other images; fewer if it has fewer."""
        cohen = load_source("cohen", data).frontal().table
        cohen = cohen[(cohen["label"] == "COVID-19") | (cohen["finding"] == "No Finding")]
        cohen = cohen.assign(label=np.where(cohen["label"] == "COVID-19", COVID_OUTSIDE, NORMAL_OUTSIDE))
        known = cohen["image_id"].isin(copied(inside, cohen, cache))
        # Patients with any training image are known to the networks.
        cohen = _shuffled(cohen[~cohen["patient_id"].isin(cohen.loc[known, "patient_id"])], rng)
        cohen = cohen[~_is_child(cohen) | self.children]
        # The rarer class first: a patient can have images of both, and counts once.
        normal, covid = (with_label(cohen, name).drop_duplicates("patient_id") for name in OUTSIDE)
        normal = normal.head(self.outside)
        covid = covid[~covid["patient_id"].isin(normal["patient_id"])].head(self.outside)
        if not self.further:
            return [normal, covid]
        rest = with_label(cohen, COVID_OUTSIDE)
        rest = rest[~rest["image_id"].isin(covid["image_id"])].assign(label=COVID_FURTHER)
        if missing_collection(["jsrt"], data):
            return [normal, covid, rest]
        others = with_label(load_source("jsrt", data).table, "normal")
        others = _shuffled(others, rng).head(self.outside - len(normal)).assign(label=NORMAL_OUTSIDE)
        return [normal, others, covid, rest]


@dataclass(frozen=True)
class PhantomCohort(Kind):
    """Synthetic radiographs: patients per class, side in pixels; the external test is of another hospital."""

    kind: Literal["phantom"]
    covid: CountOrZero
    normal: CountOrZero
    cap: CountOrZero
    outside: CountOrZero
    seed: Seed
    size: Side

    def make(self, data: Path | None, made: Path) -> Cohort:
        inside = {"covid": (COVID, self.covid), "cap": (CAP, self.cap), "normal": (NORMAL, self.normal)}
        outside = {"covid": (COVID_OUTSIDE, self.outside), "normal": (NORMAL_OUTSIDE, self.outside)}
        first = one_hospital(phantom_folder(made, "phantom", self), self, "A", inside)
        second = one_hospital(phantom_folder(made, "phantom-outside", self), self, "B", outside, prefix="outside/")
        # Class by class, as the authors' arrays are.
        parts = [with_label(first, name) for name, _ in inside.values()]
        parts += [with_label(second, name) for name, _ in outside.values()]
        return joined(parts, (*CLASSES, *OUTSIDE), "phantom")


def _is_child(table: pd.DataFrame) -> pd.Series:
    """Whether an image is known to be of a child, by the authors' file names or the age; bool."""
    named = table.get("child", pd.Series(False, table.index))
    return named | (table.get("age", pd.Series(np.nan, table.index)) < ADULT)


def _shuffled(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    return table.iloc[rng.permutation(len(table))]


def _first(table: pd.DataFrame, count: int, what: str) -> pd.DataFrame:
    require(count, table, what)
    return table.head(count or len(table))


COHORTS = Cohorts({"radiographs": RadiographCohort, "phantom": PhantomCohort})
