"""The cohorts of Hertel & Benlamri: the paper's collections, their stand-ins, and the phantom.

One cohort contains the images of all experiments. A label gives the finding of an image and, where the split depends on
it, the collection. Each system maps the labels to its classes (`papers.hertel_ensemble.systems`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from covid_keras.common.settings import CountOrZero, Seed, Side
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import load_source
from covid_keras.data.sources.bimcv import upright_grey
from covid_keras.paper.cohorts import (
    Cohorts,
    Kind,
    copied,
    drawn,
    joined,
    one_hospital,
    phantom_folder,
    present,
    with_label,
)

NORMAL, PNEUMONIA = "normal", "pneumonia"
# COVID-19 by collection: in the paper, COVIDx's is used for validation and test only, BIMCV's for training only.
COVID_COVIDX, COVID_RICORD, COVID_BIMCV = "COVID-19, COVIDx", "COVID-19, RICORD", "COVID-19, BIMCV"
COVID_COHEN, COVID_CXNET = "COVID-19, Cohen", "COVID-19, COVID-CXNet"
# Of Kermany's children, whom the paper excludes.
NORMAL_CHILD, PNEUMONIA_CHILD = CHILDREN = "normal, children", "pneumonia, children"
POSITIVE_GR, NEGATIVE_GR = "positive, COVIDGR", "negative, COVIDGR"
STAND_IN = (COVID_COHEN, COVID_CXNET, NORMAL, PNEUMONIA)
PUBLISHED = (COVID_COVIDX, COVID_RICORD, COVID_BIMCV, NORMAL, PNEUMONIA)
COVIDGR = (POSITIVE_GR, NEGATIVE_GR)
_COVIDX_LABELS = {"COVID-19": COVID_COVIDX, "normal": NORMAL, "pneumonia": PNEUMONIA}


@dataclass(frozen=True)
class PublishedCohort(Kind):
    """COVIDx5's three classes, COVID-19 of MIDRC-RICORD-1C and BIMCV-COVID19+, COVIDGR-1.0 if available.

    `ricord` and `bimcv` are the paper's numbers of images (0: all). Which ones it took is not published; they are drawn
    by `seed`. BIMCV's PNG files with dark bone (MONOCHROME1) are inverted, or polarity would reveal the collection.
    """

    kind: Literal["published"]
    ricord: CountOrZero = 922
    bimcv: CountOrZero = 2474
    seed: Seed = 2022
    needs: ClassVar = ("covidx", "ricord", "bimcv_positive", "covidgr")
    partial = True

    def make(self, data: Path, made: Path) -> Cohort:
        rng = np.random.default_rng(self.seed)
        read = {
            "covidx": lambda: _labelled("covidx", data, _COVIDX_LABELS),
            "ricord": lambda: self._ricord(data, rng),
            "bimcv_positive": lambda: self._bimcv(data, made, rng),
            "covidgr": lambda: _labelled("covidgr", data, {"P": POSITIVE_GR, "N": NEGATIVE_GR}),
        }
        here = self.here(data)
        parts = [table() for name, table in read.items() if name in here]
        return joined(parts, present(parts, (*PUBLISHED, *COVIDGR)), "the paper's collections")

    def _ricord(self, data: Path, rng: np.random.Generator) -> pd.DataFrame:
        table = load_source("ricord", data).table
        return drawn(table, self.ricord, rng, "images of RICORD").assign(label=COVID_RICORD)

    def _bimcv(self, data: Path, made: Path, rng: np.random.Generator) -> pd.DataFrame:
        table = upright_grey(load_source("bimcv_positive", data), made / "upright").table
        table = table[~table["view"].str.startswith("L")]
        return drawn(table, self.bimcv, rng, "frontal images of BIMCV").assign(label=COVID_BIMCV)


def _labelled(name: str, data: Path, labels: dict[str, str]) -> pd.DataFrame:
    table = load_source(name, data).table
    return table.assign(label=table["label"].map(labels))


@dataclass(frozen=True)
class StandInCohort(Kind):
    """COVID-CXNet, Cohen's collection and the NIH subset. Counts of 0 take all, but `children` 0 none.

    COVID-19: adults of COVID-CXNet without near-duplicates in Cohen's collection, and `cohen` images of the latter.
    Normal: NIH images without finding. Pneumonia: NIH's, and Cohen's other pneumonias. `children` is the number of
    Kermany's images per class, under labels of their own.
    """

    kind: Literal["stand_in"]
    cohen: CountOrZero = 0
    cxnet: CountOrZero = 0
    normal: CountOrZero = 0
    pneumonia: CountOrZero = 0
    children: CountOrZero = 0
    seed: Seed = 2022
    needs: ClassVar = ("covid_cxnet", "cohen", "chestxray14")

    @property
    def required(self) -> tuple[str, ...]:
        return (*self.needs, *(("kermany",) if self.children else ()))

    def make(self, data: Path, made: Path) -> Cohort:
        rng = np.random.default_rng(self.seed)
        cohen = load_source("cohen", data).frontal().table
        other = cohen[(cohen["label"] != "COVID-19") & (cohen["finding"] != "No Finding")]
        cxnet = load_source("covid_cxnet", data).table
        cxnet = cxnet[~cxnet["view"].str.startswith("L") & ~cxnet["child"]]
        cxnet = cxnet[~cxnet["image_id"].isin(copied(cxnet, cohen, made.parent))]
        nih = load_source("chestxray14", data).table
        ill = pd.concat([with_label(nih, "Pneumonia"), other], ignore_index=True)
        parts = [
            drawn(with_label(cohen, "COVID-19"), self.cohen, rng, "COVID-19 images of Cohen's").assign(
                label=COVID_COHEN
            ),
            drawn(cxnet, self.cxnet, rng, "images of COVID-CXNet").assign(label=COVID_CXNET),
            drawn(with_label(nih, "No_findings"), self.normal, rng, "NIH images").assign(label=NORMAL),
            drawn(ill, self.pneumonia, rng, "pneumonias").assign(label=PNEUMONIA),
        ]
        if not self.children:
            return joined(parts, STAND_IN, "COVID-CXNet, Cohen and NIH ChestX-ray14")
        kermany = load_source("kermany", data).table
        normal = kermany["label"] == "normal"
        for rows, label in ((normal, NORMAL_CHILD), (~normal, PNEUMONIA_CHILD)):
            parts.append(drawn(kermany[rows], self.children, rng, "images of children").assign(label=label))
        return joined(parts, (*STAND_IN, *CHILDREN), "COVID-CXNet, Cohen, NIH ChestX-ray14 and Kermany")


@dataclass(frozen=True)
class PhantomCohort(Kind):
    """Synthetic radiographs: number of patients per label, image size in pixels.

    Hospital B has the COVID-19 images that are not used for training ("COVID-19, Cohen"), hospital A all others.
    """

    kind: Literal["phantom"]
    cohen: CountOrZero
    cxnet: CountOrZero
    normal: CountOrZero
    pneumonia: CountOrZero
    seed: Seed
    size: Side

    def make(self, data: Path | None, made: Path) -> Cohort:
        outside = {"covid": (COVID_COHEN, self.cohen)}
        inside = {
            "covid": (COVID_CXNET, self.cxnet),
            "normal": (NORMAL, self.normal),
            "cap": (PNEUMONIA, self.pneumonia),
        }
        parts = [
            one_hospital(phantom_folder(made, "phantom-hertel-b", self), self, "B", outside, prefix="elsewhere/"),
            one_hospital(phantom_folder(made, "phantom-hertel-a", self), self, "A", inside),
        ]
        return joined(parts, STAND_IN, "phantom")


COHORTS = Cohorts({"published": PublishedCohort, "stand_in": StandInCohort, "phantom": PhantomCohort})
