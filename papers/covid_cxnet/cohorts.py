"""The cohorts of the COVID-CXNet experiments: the authors' COVID-19 images with NIH radiographs, and the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.data.sources import get_source, load_source
from covid_keras.paper.cohorts import Cohorts, Kind, missing_collection, one_hospital, phantom_key
from covid_keras.paper.protocol import Protocol

NORMAL, CAP, COVID = CLASSES = ("normal", "CAP", "COVID-19")
# Images of collections that no system is trained on: the test of Table 1.
OUTSIDE = {f"{name}, outside": name for name in (NORMAL, COVID)}
PNEUMONIA = "pneumonia"  # level 1 of the hierarchy: CAP or COVID-19
NEEDS = ("covid_cxnet", "chestxray14", "cohen")  # the last for the external test alone


@dataclass(frozen=True)
class RadiographCohort:
    """COVID-CXNet's COVID-19 images, and NIH ChestX-ray14 ones without finding and with pneumonia.

    Counts of 0 take all. `early` and `children`: whether COVID-19 images without visible abnormality, and of children,
    are kept (the authors' last code keeps both, that of May 2020 neither). `outside`: at most so many images a class of
    Cohen's collection for the external test, one a patient, none of a patient who has an image among the others.
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


@dataclass(frozen=True)
class PhantomCohort:
    """Synthetic radiographs: patients a class, side in pixels; the external test is of another hospital."""

    kind: Literal["phantom"]
    covid: int
    normal: int
    cap: int
    outside: int
    seed: int
    size: int


def _radiographs(settings: RadiographCohort, data: Path, made: Path) -> Cohort:
    """COVID-19, CAP, normal images in the authors' order, then those of the external test."""
    rng = np.random.default_rng(settings.seed)
    covid = load_source("covid_cxnet", data).table
    keep = (
        ~covid["view"].str.startswith("L") & (settings.early | ~covid["early"]) & (settings.children | ~covid["child"])
    )
    covid = _first(covid[keep], settings.covid, "COVID-19 images").assign(label=COVID)
    nih = load_source("chestxray14", data).table
    parts = [covid]
    for label, count, name in (("Pneumonia", settings.cap, CAP), ("No_findings", settings.normal, NORMAL)):
        found = nih[nih["label"] == label]
        parts.append(_first(found.iloc[rng.permutation(len(found))], count, f"NIH images {label}").assign(label=name))
    inside = pd.concat(parts, ignore_index=True)
    if settings.outside:
        inside = pd.concat([inside, _outside(inside, settings, data, rng, made.parent)], ignore_index=True)
    inside["severity"] = ""
    return Cohort(inside, (*CLASSES, *OUTSIDE), "COVID-CXNet against NIH ChestX-ray14")


def _outside(
    inside: pd.DataFrame, settings: RadiographCohort, data: Path, rng: np.random.Generator, cache: Path
) -> pd.DataFrame:
    """Draw frontal images of Cohen's collection of patients that no other image shows; fewer where it has fewer."""
    cohen = load_source("cohen", data).frontal().table
    cohen = cohen[(cohen["label"] == "COVID-19") | (cohen["finding"] == "No Finding")]
    called = {inside: outside for outside, inside in OUTSIDE.items()}
    cohen = cohen.assign(label=np.where(cohen["label"] == "COVID-19", called[COVID], called[NORMAL]))
    both = Cohort(pd.concat([inside, cohen], ignore_index=True), (*CLASSES, *OUTSIDE), "external test")
    pairs = find_duplicates(both, cache=cache)
    first, second = (pairs[column].isin(inside["image_id"]) for column in ("image_id_a", "image_id_b"))
    crossing = pairs[first != second]
    copied = cohen["image_id"].isin({*crossing["image_id_a"], *crossing["image_id_b"]})
    # Whoever has one image among those trained on is known to the networks, whatever the image.
    cohen = cohen[~cohen["patient_id"].isin(cohen.loc[copied, "patient_id"])]
    cohen = cohen.iloc[rng.permutation(len(cohen))]
    parts: list[pd.DataFrame] = []
    for name in OUTSIDE:  # the rarer class first: a patient can have images of both, and counts once
        taken = {patient for part in parts for patient in part["patient_id"]}
        free = cohen[(cohen["label"] == name) & ~cohen["patient_id"].isin(taken)]
        parts.append(free.drop_duplicates("patient_id").head(settings.outside))
    return pd.concat(parts)


def _first(table: pd.DataFrame, count: int, what: str) -> pd.DataFrame:
    if count > len(table):
        raise UserError(
            "cohort", f"asks for {count} {what}, there are {len(table)}", "Change the counts in protocol.yaml"
        )
    return table.head(count or len(table))


def _phantom(settings: PhantomCohort, data: Path | None, made: Path) -> Cohort:
    """Hospital A for training, hospital B for the external test."""
    key = phantom_key(settings)
    inside = one_hospital(
        made / f"phantom-{key}",
        settings,
        "A",
        {"covid": settings.covid, "cap": settings.cap, "normal": settings.normal},
    )
    outside = one_hospital(
        made / f"phantom-outside-{key}",
        settings,
        "B",
        {"covid": settings.outside, "normal": settings.outside},
        prefix="outside/",
    )
    called = {inside: outside for outside, inside in OUTSIDE.items()}
    parts = [
        _by_class(inside, {"covid": COVID, "cap": CAP, "normal": NORMAL}),
        _by_class(outside, {"covid": called[COVID], "normal": called[NORMAL]}),
    ]
    return Cohort(pd.concat(parts, ignore_index=True), (*CLASSES, *OUTSIDE), "phantom")


def _by_class(table: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Name the labels, and put the images class by class in the order of `names`, as the authors' arrays are."""
    table = pd.concat([table[table["label"] == name] for name in names])
    return table.assign(label=table["label"].map(names), severity="")


COHORTS = Cohorts(
    {"radiographs": Kind(RadiographCohort, _radiographs, NEEDS), "phantom": Kind(PhantomCohort, _phantom)}
)
settings_of, sources, make_cohort = COHORTS.settings, COHORTS.sources, COHORTS.make


def available(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the profile's images are at hand, else what is missing."""
    settings = settings_of(protocol)
    if isinstance(settings, PhantomCohort):
        return None
    if reason := missing_collection(NEEDS if settings.outside else NEEDS[:-1], data):
        return reason
    nih = get_source("chestxray14")
    if settings.whole and not (nih.locate(data) / nih.TABLE).is_file():
        return f"only the two-folder subset of {nih.CARD.title} below {data}, without {nih.TABLE}"
    return None
