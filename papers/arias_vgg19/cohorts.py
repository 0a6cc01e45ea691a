"""The cohorts of Arias-Garzon et al.: the paper's collections, their stand-ins, and the phantom.

One cohort contains the images of all experiments. A label gives the collection and the finding of an image, and each
system maps the labels to its classes (`papers.arias_vgg19.experiments`). One split by patient thus serves the view
filter, all parts and all controls.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from covid_keras.common.settings import CountOrZero, Seed, Side
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import load_source, unavailable
from covid_keras.data.sources.bimcv import upright_grey
from covid_keras.paper.cohorts import (
    Cohorts,
    Kind,
    drawn,
    joined,
    one_hospital,
    phantom_folder,
    present,
    with_label,
)

# Labels of the stand-in cohort and of the phantom.
COVID_PA, COVID_AP, COVID_LATERAL = "COVID-19, PA", "COVID-19, AP", "COVID-19, lateral"
OTHER, OTHER_LATERAL = "other, frontal", "other, lateral"  # from the same collection as the COVID-19 images
NORMAL, PNEUMONIA = "normal, elsewhere", "pneumonia, elsewhere"
STAND_IN = (COVID_PA, COVID_AP, COVID_LATERAL, OTHER, OTHER_LATERAL, NORMAL, PNEUMONIA)
# Labels of the paper's own collections.
FRONTAL, LATERAL = "frontal, PadChest", "lateral, PadChest"
POSITIVE_PA, POSITIVE_AP = "COVID-19, BIMCV, PA", "COVID-19, BIMCV, AP"
POSITIVE_OTHER = "COVID-19, BIMCV, lateral or unknown"
NEGATIVE_SHARED, NEGATIVE_CURATED = "negative, patient also positive", "negative, curated"
PRE_COVID = "pre-COVID"
COMPARED_COVID, COMPARED_NORMAL = "COVID-19, Cohen", "normal, Kermany"
COMPARED_PNEUMONIA = "pneumonia, Kermany"
PUBLISHED = (
    FRONTAL,
    LATERAL,
    POSITIVE_PA,
    POSITIVE_AP,
    POSITIVE_OTHER,
    NEGATIVE_SHARED,
    NEGATIVE_CURATED,
    PRE_COVID,
    COMPARED_COVID,
    COMPARED_NORMAL,
    COMPARED_PNEUMONIA,
)
NO_FINDING = "No Finding"  # spelling of Cohen's table


@dataclass(frozen=True)
class StandInCohort(Kind):
    """Cohen's collection (COVID-19 and other pneumonias, lateral views too) and the NIH subset.

    Counts of 0 take all.
    """

    kind: Literal["stand_in"]
    covid: CountOrZero = 0
    normal: CountOrZero = 0
    pneumonia: CountOrZero = 0
    seed: Seed = 2021
    needs: ClassVar = ("cohen", "chestxray14")

    def make(self, data: Path, made: Path) -> Cohort:
        rng = np.random.default_rng(self.seed)
        cohen = load_source("cohen", data).table
        cohen["label"] = _view_labels(cohen)
        covid = cohen["label"].isin((COVID_PA, COVID_AP, COVID_LATERAL))
        nih = load_source("chestxray14", data).table
        parts = [
            drawn(cohen[covid], self.covid, rng, "COVID-19 images"),
            cohen[~covid],
            drawn(with_label(nih, "No_findings"), self.normal, rng, "NIH images").assign(label=NORMAL),
            drawn(with_label(nih, "Pneumonia"), self.pneumonia, rng, "NIH images").assign(label=PNEUMONIA),
        ]
        return joined(parts, STAND_IN, "Cohen against NIH ChestX-ray14")


@dataclass(frozen=True)
class PublishedCohort(Kind):
    """The available ones of the paper's collections.

    `padchest` is how many (frontal, lateral) images of PadChest the filter learns from, `jsrt` how many of JSRT's 247
    the U-Nets (0: all). Which ones the paper took is not published: they are drawn by `seed`. Patients who are in
    BIMCV's positive collection too are curated away in Experiment 2. BIMCV's PNG files with dark bone (MONOCHROME1) are
    inverted, or polarity could tell its two collections apart.
    """

    kind: Literal["published"]
    padchest: tuple[CountOrZero, CountOrZero] = (2481, 815)
    jsrt: CountOrZero = 240
    seed: Seed = 2021
    needs: ClassVar = ("bimcv_positive", "bimcv_negative", "padchest", "precovid", "cohen", "kermany")
    partial = True

    def make(self, data: Path, made: Path) -> Cohort:
        rng = np.random.default_rng(self.seed)
        read = {
            "padchest": lambda: self._padchest(data, rng),
            "bimcv_positive": lambda: [_positive(data, made)],
            "bimcv_negative": lambda: [_negative(data, made)],
            "precovid": lambda: [load_source("precovid", data).table.assign(label=PRE_COVID)],
            "cohen": lambda: [_cohen(data)],
            "kermany": lambda: [_kermany(data)],
        }
        here = self.here(data)
        parts = [part for name, tables in read.items() if name in here for part in tables()]
        return joined(parts, present(parts, PUBLISHED), "the paper's collections")

    def _padchest(self, data: Path, rng: np.random.Generator) -> list[pd.DataFrame]:
        padchest = load_source("padchest", data).table
        return [
            drawn(with_label(padchest, view), count, rng, "of PadChest").assign(label=label)
            for view, count, label in zip(("frontal", "lateral"), self.padchest, (FRONTAL, LATERAL), strict=True)
        ]


def _positive(data: Path, made: Path) -> pd.DataFrame:
    table = with_label(upright_grey(load_source("bimcv_positive", data), made / "upright").table, "COVID-19")
    return table.assign(label=[_posture_label(view) for view in table["view"]])


def _negative(data: Path, made: Path) -> pd.DataFrame:
    """Label the patients who are in the positive collection too, if that collection can be read."""
    table = upright_grey(load_source("bimcv_negative", data), made / "upright").table
    shared = np.zeros(len(table), bool)
    if not unavailable("bimcv_positive", data):
        positive = with_label(load_source("bimcv_positive", data).table, "COVID-19")
        shared = table["patient_id"].isin(positive["patient_id"]).to_numpy()
    return table.assign(label=np.where(shared, NEGATIVE_SHARED, NEGATIVE_CURATED))


def _cohen(data: Path) -> pd.DataFrame:
    return with_label(load_source("cohen", data).frontal().table, "COVID-19").assign(label=COMPARED_COVID)


def _kermany(data: Path) -> pd.DataFrame:
    table = load_source("kermany", data).table
    table = table[table["part"] != "test"]  # what is left has the paper's counts: 1,349 and 3,883
    return table.assign(label=np.where(table["label"] == "normal", COMPARED_NORMAL, COMPARED_PNEUMONIA))


@dataclass(frozen=True)
class PhantomCohort(Kind):
    """Synthetic radiographs: number of patients per kind, image size in pixels.

    Hospital A has COVID-19 (lateral views too), normal ones and pneumonias, with the same shares of PA and AP: no
    experiment can be won by telling hospitals or frontal views apart. Hospital B has the other pneumonias, which the
    source control tells from those of hospital A; lateral views too.
    """

    kind: Literal["phantom"]
    covid: CountOrZero
    other: CountOrZero
    normal: CountOrZero
    pneumonia: CountOrZero
    seed: Seed
    size: Side

    def make(self, data: Path | None, made: Path) -> Cohort:
        all_views, frontal = {"PA": 0.4, "AP": 0.35, "L": 0.25}, {"PA": 0.53, "AP": 0.47}
        collections = {
            "covid": ("A", {"covid": ("COVID-19", self.covid)}, all_views),
            "negative": ("A", {"normal": (NORMAL, self.normal), "cap": (PNEUMONIA, self.pneumonia)}, frontal),
            "other": ("B", {"cap": ("other", self.other)}, all_views),
        }
        tables = []
        for number, (name, (hospital, patients, views)) in enumerate(collections.items()):
            # Equal seeds would draw the same chests twice.
            settings = dataclasses.replace(self, seed=self.seed + 2 * number)
            folder = phantom_folder(made, f"phantom-arias-{name}", settings)
            table = one_hospital(folder, settings, hospital, patients, views, prefix=f"{name}/")
            tables.append(table if views is frontal else table.assign(label=_view_labels(table)))
        return joined(tables, STAND_IN, "phantom")


def _view_labels(table: pd.DataFrame) -> list[str]:
    """Return the labels of the stand-in cohort: finding and view of each image of the collection with COVID-19."""
    return [_view_label(*row) for row in zip(table["label"], table["view"], strict=True)]


def _view_label(label: str, view: str) -> str:
    if view.startswith("L"):
        return COVID_LATERAL if label == "COVID-19" else OTHER_LATERAL
    if label != "COVID-19":
        return OTHER
    return COVID_PA if view == "PA" else COVID_AP


def _posture_label(view: str) -> str:
    return POSITIVE_PA if view == "PA" else POSITIVE_AP if view.startswith("AP") else POSITIVE_OTHER


COHORTS = Cohorts({"stand_in": StandInCohort, "published": PublishedCohort, "phantom": PhantomCohort})
