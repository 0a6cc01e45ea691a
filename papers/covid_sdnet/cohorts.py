"""The cohorts of the COVID-SDNet experiments: COVIDGR-1.0, a stand-in from public radiographs, the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.settings import CountOrZero, Seed, Side
from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import make_phantom
from covid_keras.data.sources import get_source, load_source, unavailable
from covid_keras.paper.cohorts import Cohorts, Kind, phantom_folder, require, with_label
from covid_keras.paper.protocol import Protocol

CLASSES = ("N", "P")  # the labels of every cohort; some have `PNEUMONIA` too
# COVIDNet's third class (section V-B): the paper keeps the three outputs, because the head cannot be removed.
PNEUMONIA = "pneumonia"
# The outputs of a COVIDNet checkpoint, in order: normal, pneumonia, COVID-19.
COVIDNET_CLASSES = ("N", PNEUMONIA, "P")
_NIH_LABELS = {"No_findings": "N", "Pneumonia": PNEUMONIA}


@dataclass(frozen=True)
class CovidgrCohort(Kind):
    """COVIDGR-1.0: 426 negative and 426 positive PA radiographs (Table III of the paper).

    If NIH ChestX-ray14 has enough pneumonia radiographs, `pneumonia` of them, drawn with `seed`, are added for COVIDNet
    only (see `no_pneumonia`).
    """

    kind: Literal["covidgr"]
    pneumonia: CountOrZero = 426
    seed: Seed = 2020
    needs: ClassVar = ("covidgr",)

    def make(self, data: Path, made: Path) -> Cohort:
        cohort = load_source("covidgr", data)
        if not self.pneumonia or unavailable("chestxray14", data):
            return cohort
        nih, rng = load_source("chestxray14", data).table, np.random.default_rng(self.seed)
        if len(with_label(nih, "Pneumonia")) < self.pneumonia:
            return cohort
        return _joined([cohort.table, _nih(nih, "Pneumonia", self.pneumonia, rng, more=True)], cohort.name)


@dataclass(frozen=True)
class StandInCohort(Kind):
    """Positives of Cohen's collection, and NIH radiographs without finding as negatives, drawn with `seed`.

    All positives with a severity score are included. There is one image per NIH patient; `pneumonia` NIH radiographs
    with that label are added for COVIDNet only.
    """

    kind: Literal["stand_in"]
    positives: CountOrZero
    negatives: CountOrZero
    seed: Seed
    pneumonia: CountOrZero = 0
    needs: ClassVar = ("cohen", "chestxray14")

    def make(self, data: Path, made: Path) -> Cohort:
        rng = np.random.default_rng(self.seed)
        positive = with_label(load_source("cohen", data).frontal().table, "COVID-19")
        nih = load_source("chestxray14", data).table
        unscored = positive["extent"].isna()
        scored, others = positive[~unscored], positive[unscored]
        if self.positives < len(scored):
            raise UserError(
                "cohort",
                f"asks for {self.positives} positives, fewer than the {len(scored)} that have a score",
                "Change the counts in protocol.yaml",
            )
        others = _draw(others, self.positives - len(scored), rng, "unscored COVID-19")
        parts = [_nih(nih, "No_findings", self.negatives, rng), scored.assign(label="P"), others.assign(label="P")]
        if self.pneumonia:
            parts.append(_nih(nih, "Pneumonia", self.pneumonia, rng))
        return _joined(parts, "Cohen COVID-19 against NIH no finding")


@dataclass(frozen=True)
class PhantomCohort(Kind):
    """Synthetic radiographs with `size` pixels per side: `patients` patients, half of them positive.

    `pneumonia` patients of the third class are added for COVIDNet only.
    """

    kind: Literal["phantom"]
    patients: CountOrZero
    seed: Seed
    size: Side
    pneumonia: CountOrZero = 0

    def make(self, data: Path | None, made: Path) -> Cohort:
        half = self.patients // 2
        folder = make_phantom(
            phantom_folder(made, "phantom", self),
            composition={"normal": half, "covid": self.patients - half, "cap": self.pneumonia},
            seed=self.seed,
            size=self.size,
        )
        classes = (*CLASSES, PNEUMONIA) if self.pneumonia else CLASSES
        return get_source("phantom").load(folder).relabel({"normal": "N", "covid": "P", "cap": PNEUMONIA}, classes)


def _joined(parts: list[pd.DataFrame], name: str) -> Cohort:
    table = pd.concat(parts, ignore_index=True)
    return Cohort(table, (*CLASSES, PNEUMONIA) if PNEUMONIA in set(table["label"]) else CLASSES, name)


def _nih(nih: pd.DataFrame, label: str, count: int, rng: np.random.Generator, more: bool = False) -> pd.DataFrame:
    """Draw NIH radiographs of a label, one per patient; `more` allows several if there are too few patients."""
    table = with_label(nih, label)
    table = table.iloc[rng.permutation(len(table))].assign(label=_NIH_LABELS[label], severity="")
    first = table.drop_duplicates("patient_id")
    if more and len(first) < count:
        return pd.concat([first, table[~table["image_id"].isin(first["image_id"])].head(count - len(first))])
    return _draw(first, count, rng, f"NIH patients labelled {label}")


def _draw(table: pd.DataFrame, count: int, rng: np.random.Generator, what: str) -> pd.DataFrame:
    """Draw `count` rows without replacement, in the table's order."""
    require(count, table, what)
    return table.iloc[np.sort(rng.choice(len(table), count, replace=False))]


COHORTS = Cohorts({"covidgr": CovidgrCohort, "stand_in": StandInCohort, "phantom": PhantomCohort})


def no_pneumonia(protocol: Protocol, data: Path | None) -> str | None:
    """Return None if COVIDNet's third class is available, else the reason."""
    settings = COHORTS.settings(protocol)
    if not settings.pneumonia:
        return "the protocol has no pneumonia images, COVIDNet's third class"
    if not isinstance(settings, CovidgrCohort):
        return None
    if reason := unavailable("chestxray14", data):
        return f"no pneumonia images (NIH ChestX-ray14) for COVIDNet's third class: {reason}"
    if (found := len(with_label(load_source("chestxray14", data).table, "Pneumonia"))) < (wanted := settings.pneumonia):
        return f"NIH ChestX-ray14 here has {found} pneumonia images for COVIDNet's third class, not {wanted}"
    return None


def without_normal_pcr(cohort: Cohort, splits: pd.DataFrame, classes: tuple[str, ...], seed: int) -> np.ndarray:
    """Return which images take part in the experiment of Tables VII and VIII, bool (n,).

    Normal-PCR+ positives are removed from training and test, and of the negatives as many are drawn in each test fold
    as positives are left in it, anew in each repeat: 350 of each class on COVIDGR-1.0. The paper does not say that
    negatives were removed, but every accuracy of Table VII is the mean of specificity and sensitivity.

    Parameters
    ----------
    cohort : Cohort
    splits : pandas.DataFrame
        The split table of one repeat.
    classes : tuple of str
        Labels that the system learns; images with other labels take no part.
    seed : int
        Of the draw.
    """
    table = cohort.table
    keep = (table["label"].isin(classes) & (table["severity"] != "Normal-PCR+")).to_numpy(copy=True)
    rng = np.random.default_rng(seed)
    test = splits[splits["split"] == "test"].set_index("image_id")["fold"]
    fold = table["image_id"].map(test).to_numpy()
    positive, negative = (table["label"] == "P").to_numpy() & keep, (table["label"] == "N").to_numpy() & keep
    for number in np.unique(fold):
        there = np.flatnonzero(negative & (fold == number))
        surplus = len(there) - int((positive & (fold == number)).sum())
        if surplus > 0:
            keep[rng.choice(there, surplus, replace=False)] = False
    return keep
