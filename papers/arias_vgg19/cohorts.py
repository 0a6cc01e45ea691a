"""The cohorts of Arias-Garzon et al.: the paper's collections, what stands in for them, and the phantom.

One cohort holds the images of every experiment; a label says from which collection an image comes and what it shows,
and each system takes the labels that it tells apart (`papers.arias_vgg19.experiment`). So one division by patient
serves the view filter, all parts and all controls.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import load_source
from covid_keras.data.sources.bimcv import upright_grey
from covid_keras.paper.cohorts import Cohorts, Kind, drawn, one_hospital, phantom_key

# Labels of the stand-in cohort and of the phantom.
COVID_PA, COVID_AP, COVID_LATERAL = "COVID-19, PA", "COVID-19, AP", "COVID-19, lateral"
OTHER, OTHER_LATERAL = "other, frontal", "other, lateral"  # of the collection that the COVID-19 images are of
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
NO_FINDING = "No Finding"  # as Cohen's table says it


@dataclass(frozen=True)
class StandInCohort:
    """Cohen's collection (COVID-19 and other pneumonias, lateral views too) and the NIH subset.

    Counts of 0 take all.
    """

    kind: Literal["stand_in"]
    covid: int = 0
    normal: int = 0
    pneumonia: int = 0
    seed: int = 2021


@dataclass(frozen=True)
class PublishedCohort:
    """The paper's collections; `padchest` is how many (frontal, lateral) images of PadChest the filter learns from.

    Which ones the paper took is not published: they are drawn by `seed`.
    """

    kind: Literal["published"]
    padchest: tuple[int, int] = (2481, 815)
    seed: int = 2021


@dataclass(frozen=True)
class PhantomCohort:
    """Synthetic radiographs: patients of each kind, side in pixels. COVID-19 is of hospital A, the normal ones of B."""

    kind: Literal["phantom"]
    covid: int
    other: int
    normal: int
    pneumonia: int
    seed: int
    size: int


def _stand_in(settings: StandInCohort, data: Path, made: Path) -> Cohort:
    rng = np.random.default_rng(settings.seed)
    cohen = load_source("cohen", data).table
    cohen = cohen.assign(label=[_view_label(*row) for row in zip(cohen["label"], cohen["view"], strict=True)])
    covid = cohen[cohen["label"].isin((COVID_PA, COVID_AP, COVID_LATERAL))]
    nih = load_source("chestxray14", data).table
    parts = [
        drawn(covid, settings.covid, rng, "COVID-19 images"),
        cohen[cohen["label"].isin((OTHER, OTHER_LATERAL))],
        drawn(nih[nih["label"] == "No_findings"], settings.normal, rng, "NIH images").assign(label=NORMAL),
        drawn(nih[nih["label"] == "Pneumonia"], settings.pneumonia, rng, "NIH images").assign(label=PNEUMONIA),
    ]
    return _joined(parts, STAND_IN, "Cohen against NIH ChestX-ray14")


def _view_label(label: str, view: str) -> str:
    if view.startswith("L"):
        return COVID_LATERAL if label == "COVID-19" else OTHER_LATERAL
    if label != "COVID-19":
        return OTHER
    return COVID_PA if view == "PA" else COVID_AP


def _posture_label(view: str) -> str:
    return POSITIVE_PA if view == "PA" else POSITIVE_AP if view.startswith("AP") else POSITIVE_OTHER


def _published(settings: PublishedCohort, data: Path, made: Path) -> Cohort:
    """All experiments of the paper; who is in the positive collection too is curated away in Experiment 2.

    BIMCV's PNG files with dark bone (MONOCHROME1) are turned, or polarity could tell the two collections apart.
    """
    rng = np.random.default_rng(settings.seed)
    padchest = load_source("padchest", data).table
    positive, negative = (
        upright_grey(load_source(f"bimcv_{name}", data), made / "upright").table for name in ("positive", "negative")
    )
    positive = positive[positive["label"] == "COVID-19"]
    positive = positive.assign(label=[_posture_label(view) for view in positive["view"]])
    negative = negative.assign(
        label=np.where(negative["patient_id"].isin(positive["patient_id"]), NEGATIVE_SHARED, NEGATIVE_CURATED)
    )
    cohen = load_source("cohen", data).frontal().table
    kermany = load_source("kermany", data).table
    kermany = kermany[kermany["part"] != "test"]  # what is left has the paper's counts: 1,349 and 3,883
    normal = kermany["label"] == "normal"
    parts = [
        drawn(padchest[padchest["label"] == "frontal"], settings.padchest[0], rng, "of PadChest").assign(label=FRONTAL),
        drawn(padchest[padchest["label"] == "lateral"], settings.padchest[1], rng, "of PadChest").assign(label=LATERAL),
        positive,
        negative,
        load_source("precovid", data).table.assign(label=PRE_COVID),
        cohen[cohen["label"] == "COVID-19"].assign(label=COMPARED_COVID),
        kermany.assign(label=np.where(normal, COMPARED_NORMAL, COMPARED_PNEUMONIA)),
    ]
    return _joined(parts, PUBLISHED, "the paper's collections")


def _joined(parts: list[pd.DataFrame], classes: tuple[str, ...], name: str) -> Cohort:
    """Join tables; severities are left out, since no table of the paper speaks of them."""
    return Cohort(pd.concat(parts, ignore_index=True).assign(severity=""), classes, name)


def _phantom(settings: PhantomCohort, data: Path | None, made: Path) -> Cohort:
    """Hospital A has COVID-19 and other pneumonias, lateral views too; hospital B the normal ones and pneumonias."""
    key = phantom_key(settings)
    first = one_hospital(
        made / f"phantom-arias-a-{key}",
        settings,
        "A",
        {"covid": settings.covid, "cap": settings.other},
        {"PA": 0.4, "AP": 0.35, "L": 0.25},
    )
    first["label"] = [
        _view_label("COVID-19" if label == "covid" else label, view)
        for label, view in zip(first["label"], first["view"], strict=True)
    ]
    second = one_hospital(
        made / f"phantom-arias-b-{key}",
        settings,
        "B",
        {"normal": settings.normal, "cap": settings.pneumonia},
        {"PA": 1.0},
        "elsewhere/",
    )
    second["label"] = second["label"].map({"normal": NORMAL, "cap": PNEUMONIA})
    return _joined([first, second], STAND_IN, "phantom")


COHORTS = Cohorts(
    {
        "stand_in": Kind(StandInCohort, _stand_in, ("cohen", "chestxray14")),
        "published": Kind(
            PublishedCohort,
            _published,
            ("bimcv_positive", "bimcv_negative", "padchest", "precovid", "cohen", "kermany"),
        ),
        "phantom": Kind(PhantomCohort, _phantom),
    }
)
settings_of, sources, available, make_cohort = COHORTS.settings, COHORTS.sources, COHORTS.available, COHORTS.make
