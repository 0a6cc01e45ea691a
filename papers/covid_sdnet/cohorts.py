"""The cohorts of the COVID-SDNet experiments: COVIDGR-1.0, the stand-in of public radiographs, the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import GENERATOR_VERSION, make_phantom
from covid_keras.data.sources import get_source, load_source
from covid_keras.errors import UserError
from covid_keras.files import fingerprint
from covid_keras.settings import as_plain, build
from covid_keras.training.protocol import Protocol

CLASSES = ("N", "P")


@dataclass(frozen=True)
class CovidgrCohort:
    """COVIDGR-1.0, whole: 426 negative and 426 positive PA radiographs (paper, Table III)."""

    kind: Literal["covidgr"]


@dataclass(frozen=True)
class StandInCohort:
    """Positives of Cohen's collection against NIH radiographs without finding; counts, and the seed of the choice."""

    kind: Literal["stand_in"]
    positives: int
    negatives: int
    seed: int


@dataclass(frozen=True)
class PhantomCohort:
    """Synthetic radiographs: so many patients, half of them positive; side in pixels."""

    kind: Literal["phantom"]
    patients: int
    seed: int
    size: int


KINDS = {"covidgr": CovidgrCohort, "stand_in": StandInCohort, "phantom": PhantomCohort}
NEEDS = {"covidgr": ("covidgr",), "stand_in": ("cohen", "chestxray14"), "phantom": ()}


def sources(protocol: Protocol) -> tuple[str, ...]:
    """Return the names of the collections that a profile reads."""
    return NEEDS.get(str(protocol.cohort.get("kind")), ())


def available(protocol: Protocol, data: Path | None) -> str | None:
    """Return None where the profile's images are at hand, else what is missing."""
    for name in sources(protocol):
        if data is None:
            return "no data folder"
        if get_source(name).locate(data) is None:
            return f"no {get_source(name).CARD.title} below {data}"
    return None


def make_cohort(protocol: Protocol, data: Path | None, made: Path) -> Cohort:
    """Return the cohort that the protocol declares, labels "N" and "P".

    Parameters
    ----------
    protocol : Protocol
    data : Path or None
        Root of the collections.
    made : Path
        Where the phantom is written.
    """
    kind = str(protocol.cohort.get("kind"))
    if kind not in KINDS:
        raise UserError("protocol.yaml", f"cohort.kind is {kind!r}", f"It must be one of {', '.join(KINDS)}")
    settings = build(KINDS[kind], protocol.cohort, "protocol.yaml", "cohort")
    if isinstance(settings, PhantomCohort):
        return _phantom(settings, made)
    if data is None:
        raise UserError(
            f"profile {protocol.profile!r}",
            "needs real radiographs and no data folder was found",
            "Give --data DIR or set COVID_KERAS_DATA; `covid-keras data list` says how to get them",
        )
    return _covidgr(data) if isinstance(settings, CovidgrCohort) else _stand_in(settings, data)


def _covidgr(data: Path) -> Cohort:
    return load_source("covidgr", data)


def _stand_in(settings: StandInCohort, data: Path) -> Cohort:
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
    nih = load_source("chestxray14", data).table
    negative = nih[nih["label"] == "No_findings"]
    negative = negative.iloc[rng.permutation(len(negative))].drop_duplicates("patient_id")
    negative = _draw(negative, settings.negatives, rng, "NIH patients without finding")
    table = pd.concat([negative.assign(label="N", severity=""), positive.assign(label="P")], ignore_index=True)
    return Cohort(table, CLASSES, "Cohen COVID-19 against NIH no finding")


def _draw(table: pd.DataFrame, count: int, rng: np.random.Generator, what: str) -> pd.DataFrame:
    """Draw `count` rows without replacement, in the table's order."""
    if count < 0 or count > len(table):
        raise UserError(
            "cohort", f"asks for {count} {what}, there are {len(table)}", "Change the counts in protocol.yaml"
        )
    return table.iloc[np.sort(rng.choice(len(table), count, replace=False))]


def _phantom(settings: PhantomCohort, made: Path) -> Cohort:
    half = settings.patients // 2
    # A folder a setting: papers, and a protocol edited between two runs, share the cache.
    key = fingerprint({"settings": as_plain(settings), "generator": GENERATOR_VERSION})
    folder = make_phantom(
        made / f"phantom-{key}",
        composition={"normal": half, "covid": settings.patients - half, "cap": 0},
        seed=settings.seed,
        size=settings.size,
    )
    cohort = get_source("phantom").load(folder)
    return cohort.relabel({"normal": "N", "covid": "P"}, CLASSES)
