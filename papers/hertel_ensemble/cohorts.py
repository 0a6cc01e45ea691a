"""The cohorts of Hertel & Benlamri: the paper's collections, what stands in for them, and the phantom.

One cohort holds the images of every experiment; a label says what an image shows and, where that decides on its part of
the division, of which collection it is. Each system calls the labels by the classes that it tells apart
(`papers.hertel_ensemble.experiment`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.data.sources import get_source, load_source
from covid_keras.data.sources.bimcv import upright_grey
from covid_keras.paper.cohorts import Cohorts, Kind, drawn, missing_collection, one_hospital, phantom_key
from covid_keras.paper.protocol import Protocol

NORMAL, PNEUMONIA = "normal", "pneumonia"
# COVID-19 by collection: in the paper that of COVIDx is for validation and test, that of BIMCV for training.
COVID_COVIDX, COVID_RICORD, COVID_BIMCV = "COVID-19, COVIDx", "COVID-19, RICORD", "COVID-19, BIMCV"
COVID_COHEN, COVID_CXNET = "COVID-19, Cohen", "COVID-19, COVID-CXNet"
POSITIVE_GR, NEGATIVE_GR = "positive, COVIDGR", "negative, COVIDGR"
STAND_IN = (COVID_COHEN, COVID_CXNET, NORMAL, PNEUMONIA)
PUBLISHED = (COVID_COVIDX, COVID_RICORD, COVID_BIMCV, NORMAL, PNEUMONIA)
COVIDGR = (POSITIVE_GR, NEGATIVE_GR)
_NO_FINDING = "No Finding"  # as Cohen's table says it
_COVIDX_LABELS = {"COVID-19": COVID_COVIDX, "normal": NORMAL, "pneumonia": PNEUMONIA}


@dataclass(frozen=True)
class PublishedCohort:
    """COVIDx5, MIDRC-RICORD-1C and BIMCV-COVID19+, and COVIDGR-1.0 where it is at hand.

    The numbers are how many images of RICORD and of BIMCV the paper counts; which ones is not published, they are drawn
    by `seed`, all for 0.
    """

    kind: Literal["published"]
    ricord: int = 922
    bimcv: int = 2474
    seed: int = 2022


@dataclass(frozen=True)
class StandInCohort:
    """COVID-CXNet, Cohen's collection and the NIH subset. Counts of 0 take all.

    Adults' radiographs of COVID-CXNet that are no copy of one of Cohen's; `cohen` COVID-19 images of Cohen's; NIH
    images without finding are normal, those with pneumonia and Cohen's other pneumonias are pneumonia.
    """

    kind: Literal["stand_in"]
    cohen: int = 0
    cxnet: int = 0
    normal: int = 0
    pneumonia: int = 0
    seed: int = 2022


@dataclass(frozen=True)
class PhantomCohort:
    """Synthetic radiographs: patients of each label, side in pixels. All but "COVID-19, Cohen" are of hospital A."""

    kind: Literal["phantom"]
    cohen: int
    cxnet: int
    normal: int
    pneumonia: int
    seed: int
    size: int


def _published(settings: PublishedCohort, data: Path, made: Path) -> Cohort:
    """Section 3.2: COVIDx5's three classes, COVID-19 of RICORD and of BIMCV; COVIDGR-1.0 beside them.

    BIMCV's PNG files with dark bone (MONOCHROME1) are turned: polarity would tell the collection.
    """
    rng = np.random.default_rng(settings.seed)
    covidx = load_source("covidx", data).table
    bimcv = upright_grey(load_source("bimcv_positive", data), made / "upright").table
    bimcv = bimcv[~bimcv["view"].str.startswith("L")]
    ricord = load_source("ricord", data).table
    parts = [
        covidx.assign(label=covidx["label"].map(_COVIDX_LABELS)),
        drawn(ricord, settings.ricord, rng, "images of RICORD").assign(label=COVID_RICORD),
        drawn(bimcv, settings.bimcv, rng, "frontal images of BIMCV").assign(label=COVID_BIMCV),
    ]
    classes = PUBLISHED
    if get_source("covidgr").locate(data) is not None:
        covidgr = load_source("covidgr", data).table
        parts.append(covidgr.assign(label=covidgr["label"].map({"P": POSITIVE_GR, "N": NEGATIVE_GR})))
        classes = (*PUBLISHED, *COVIDGR)
    return _joined(parts, classes, "the paper's collections")


def _stand_in(settings: StandInCohort, data: Path, made: Path) -> Cohort:
    rng = np.random.default_rng(settings.seed)
    cohen = load_source("cohen", data).frontal().table
    covid = cohen[cohen["label"] == "COVID-19"]
    other = cohen[(cohen["label"] != "COVID-19") & (cohen["finding"] != _NO_FINDING)]
    cxnet = load_source("covid_cxnet", data).table
    cxnet = _without_copies(cxnet[~cxnet["view"].str.startswith("L") & ~cxnet["child"]], cohen, made.parent)
    nih = load_source("chestxray14", data).table
    ill = pd.concat([nih[nih["label"] == "Pneumonia"], other], ignore_index=True)
    parts = [
        drawn(covid, settings.cohen, rng, "COVID-19 images of Cohen's").assign(label=COVID_COHEN),
        drawn(cxnet, settings.cxnet, rng, "images of COVID-CXNet").assign(label=COVID_CXNET),
        drawn(nih[nih["label"] == "No_findings"], settings.normal, rng, "NIH images").assign(label=NORMAL),
        drawn(ill, settings.pneumonia, rng, "pneumonias").assign(label=PNEUMONIA),
    ]
    return _joined(parts, STAND_IN, "COVID-CXNet, Cohen and NIH ChestX-ray14")


def _without_copies(table: pd.DataFrame, others: pd.DataFrame, cache: Path) -> pd.DataFrame:
    """Leave out the images of which there is a near-duplicate in another table."""
    both = pd.concat([table, others], ignore_index=True).assign(label="radiograph", severity="")
    pairs = find_duplicates(Cohort(both, ("radiograph",), "copies"), cache=cache)
    first, second = (pairs[column].isin(others["image_id"]) for column in ("image_id_a", "image_id_b"))
    crossing = pairs[first != second]
    return table[~table["image_id"].isin({*crossing["image_id_a"], *crossing["image_id_b"]})]


def _joined(parts: list[pd.DataFrame], classes: tuple[str, ...], name: str) -> Cohort:
    """Join tables; severities are left out, since no table of the paper speaks of them."""
    return Cohort(pd.concat(parts, ignore_index=True).assign(severity=""), classes, name)


def _phantom(settings: PhantomCohort, data: Path | None, made: Path) -> Cohort:
    """Hospital B has the COVID-19 images that no network is trained on, hospital A all others."""
    key = phantom_key(settings)
    inside = {"covid": settings.cxnet, "normal": settings.normal, "cap": settings.pneumonia}
    first = one_hospital(made / f"phantom-hertel-a-{key}", settings, "A", inside)
    first["label"] = first["label"].map({"covid": COVID_CXNET, "normal": NORMAL, "cap": PNEUMONIA})
    outside = {"covid": settings.cohen}
    second = one_hospital(made / f"phantom-hertel-b-{key}", settings, "B", outside, prefix="elsewhere/")
    return _joined([second.assign(label=COVID_COHEN), first], STAND_IN, "phantom")


COHORTS = Cohorts(
    {
        "published": Kind(PublishedCohort, _published, ("covidx", "ricord", "bimcv_positive")),
        "stand_in": Kind(StandInCohort, _stand_in, ("covid_cxnet", "cohen", "chestxray14")),
        "phantom": Kind(PhantomCohort, _phantom),
    }
)
settings_of, sources, available, make_cohort = COHORTS.settings, COHORTS.sources, COHORTS.available, COHORTS.make


def no_covidgr(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the images of Table 12 are at hand, or what stands in for them, else what is missing."""
    if not isinstance(settings_of(protocol), PublishedCohort):
        return None
    reason = missing_collection(("covidgr",), data)
    return reason and f"not run: {reason}"
