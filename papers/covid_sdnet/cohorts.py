"""The cohorts of the COVID-SDNet experiments: COVIDGR-1.0, the stand-in of public radiographs, the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import make_phantom
from covid_keras.data.sources import get_source, load_source
from covid_keras.paper.cohorts import Cohorts, Kind, phantom_key
from covid_keras.paper.protocol import Protocol

CLASSES = ("N", "P")  # the labels of every cohort, and `PNEUMONIA` where it holds such images
# COVIDNet's third class (section V-A): its head has three outputs and, as the paper says, cannot be removed.
PNEUMONIA = "pneumonia"


@dataclass(frozen=True)
class CovidgrCohort:
    """COVIDGR-1.0, whole: 426 negative and 426 positive PA radiographs (paper, Table III).

    `pneumonia` radiographs are added for COVIDNet alone, where NIH ChestX-ray14 is at hand; `seed` chooses them.
    """

    kind: Literal["covidgr"]
    pneumonia: int = 426
    seed: int = 2020


@dataclass(frozen=True)
class StandInCohort:
    """Positives of Cohen's collection against NIH radiographs without finding; counts, and the seed of the choice.

    `pneumonia` NIH radiographs of that label are added for COVIDNet alone.
    """

    kind: Literal["stand_in"]
    positives: int
    negatives: int
    seed: int
    pneumonia: int = 0


@dataclass(frozen=True)
class PhantomCohort:
    """Synthetic radiographs: so many patients, half of them positive; side in pixels.

    `pneumonia` patients of the third class are added for COVIDNet alone.
    """

    kind: Literal["phantom"]
    patients: int
    seed: int
    size: int
    pneumonia: int = 0


def _covidgr(settings: CovidgrCohort, data: Path, made: Path) -> Cohort:
    cohort = load_source("covidgr", data)
    if not settings.pneumonia or get_source("chestxray14").locate(data) is None:
        return cohort
    if len(_labelled(data, "Pneumonia")) < settings.pneumonia:
        return cohort  # `no_pneumonia` says so of the row that wants them
    pneumonia = _nih(data, "Pneumonia", settings.pneumonia, np.random.default_rng(settings.seed), more=True)
    table = pd.concat([cohort.table, pneumonia.assign(label=PNEUMONIA, severity="")], ignore_index=True)
    return Cohort(table, (*CLASSES, PNEUMONIA), cohort.name)


def _stand_in(settings: StandInCohort, data: Path, made: Path) -> Cohort:
    """Every scored frontal COVID-19 radiograph first, then unscored ones; NIH "No finding", one a patient."""
    rng = np.random.default_rng(settings.seed)
    cohen = load_source("cohen", data).frontal().table
    positive = cohen[cohen["label"] == "COVID-19"]
    scored = positive[positive["extent"].notna()]
    others = positive[positive["extent"].isna()]
    if settings.positives < len(scored):
        raise UserError(
            "cohort",
            f"asks for {settings.positives} positives, fewer than the {len(scored)} that have a score",
            "Change the counts in protocol.yaml",
        )
    positive = pd.concat([scored, _draw(others, settings.positives - len(scored), rng, "unscored COVID-19")])
    parts = [
        _nih(data, "No_findings", settings.negatives, rng).assign(label="N", severity=""),
        positive.assign(label="P"),
    ]
    classes = CLASSES
    if settings.pneumonia:
        parts.append(_nih(data, "Pneumonia", settings.pneumonia, rng).assign(label=PNEUMONIA, severity=""))
        classes = (*CLASSES, PNEUMONIA)
    return Cohort(pd.concat(parts, ignore_index=True), classes, "Cohen COVID-19 against NIH no finding")


def _labelled(data: Path, label: str) -> pd.DataFrame:
    table = load_source("chestxray14", data).table
    return table[table["label"] == label]


def _nih(data: Path, label: str, count: int, rng: np.random.Generator, more: bool = False) -> pd.DataFrame:
    """Draw so many NIH radiographs of a label, one a patient; `more`: further ones where patients are too few."""
    table = _labelled(data, label)
    table = table.iloc[rng.permutation(len(table))]
    first = table.drop_duplicates("patient_id")
    if more and len(first) < count:
        return pd.concat([first, table[~table["image_id"].isin(first["image_id"])].head(count - len(first))])
    return _draw(first, count, rng, f"NIH patients labelled {label}")


def _draw(table: pd.DataFrame, count: int, rng: np.random.Generator, what: str) -> pd.DataFrame:
    """Draw `count` rows without replacement, in the table's order."""
    if count < 0 or count > len(table):
        raise UserError(
            "cohort", f"asks for {count} {what}, there are {len(table)}", "Change the counts in protocol.yaml"
        )
    return table.iloc[np.sort(rng.choice(len(table), count, replace=False))]


def _phantom(settings: PhantomCohort, data: Path | None, made: Path) -> Cohort:
    half = settings.patients // 2
    folder = make_phantom(
        made / f"phantom-{phantom_key(settings)}",
        composition={"normal": half, "covid": settings.patients - half, "cap": settings.pneumonia},
        seed=settings.seed,
        size=settings.size,
    )
    cohort = get_source("phantom").load(folder)
    classes = (*CLASSES, PNEUMONIA) if settings.pneumonia else CLASSES
    return cohort.relabel({"normal": "N", "covid": "P", "cap": PNEUMONIA}, classes)


COHORTS = Cohorts(
    {
        "covidgr": Kind(CovidgrCohort, _covidgr, ("covidgr",)),
        "stand_in": Kind(StandInCohort, _stand_in, ("cohen", "chestxray14")),
        "phantom": Kind(PhantomCohort, _phantom),
    }
)
settings_of, sources, available, make_cohort = COHORTS.settings, COHORTS.sources, COHORTS.available, COHORTS.make


def no_pneumonia(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the third class that COVIDNet is trained with is at hand, else why it is not."""
    settings = settings_of(protocol)
    if not settings.pneumonia:
        return "not run: the protocol has no pneumonia images, COVIDNet's third class"
    if not isinstance(settings, CovidgrCohort):
        return None
    if data is None or get_source("chestxray14").locate(data) is None:
        return "not run: no pneumonia images (NIH ChestX-ray14) for COVIDNet's third class"
    if (found := len(_labelled(data, "Pneumonia"))) < (wanted := settings.pneumonia):
        return f"not run: NIH ChestX-ray14 here has {found} pneumonia images for COVIDNet's third class, not {wanted}"
    return None


def without_normal_pcr(cohort: Cohort, splits: pd.DataFrame, classes: tuple[str, ...], seed: int) -> np.ndarray:
    """Return which images take part in the experiment of Tables VII and VIII, bool (n,).

    Normal-PCR+ positives are removed from training and test, and of the negatives as many are drawn in each test fold
    as positives are left in it, anew in each repeat: 350 against 350 on COVIDGR-1.0. The paper does not say that
    negatives were removed; the accuracies of Table VII, each the mean of specificity and sensitivity, do.

    Parameters
    ----------
    cohort : Cohort
    splits : pandas.DataFrame
        The split table of one repeat.
    classes : tuple of str
        Labels that the system learns; images of others take no part.
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
