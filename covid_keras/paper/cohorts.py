"""What the cohorts of all papers share: how a protocol names one, whether its images are at hand, how it is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint
from covid_keras.common.settings import as_plain, build
from covid_keras.data.cohort import Cohort
from covid_keras.data.phantom import GENERATOR_VERSION, make_phantom
from covid_keras.data.sources import get_source
from covid_keras.paper.protocol import Protocol


class Kind(NamedTuple):
    """One kind of a paper's cohorts.

    Attributes
    ----------
    settings : type
        The dataclass that `cohort` in the protocol is read into; its `kind` is this one's name.
    make : callable
        (settings, data root, folder to write made data into) to `Cohort`.
    needs : tuple of str
        The collections that it reads; where there are none the data root may be None.
    """

    settings: type
    make: Callable[[Any, Any, Path], Cohort]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cohorts:
    """The cohorts of a paper: its profiles name one of `kinds` each, as `cohort.kind`.

    All methods raise `UserError` where a protocol's kind is none of these, or a setting is unknown or of the wrong
    type.
    """

    kinds: Mapping[str, Kind]

    def settings(self, protocol: Protocol) -> Any:
        """Return the protocol's cohort as an instance of its kind's settings, checked."""
        name = str(protocol.cohort.get("kind"))
        if name not in self.kinds:
            raise UserError("protocol.yaml", f"cohort.kind is {name!r}", f"It must be one of {', '.join(self.kinds)}")
        return build(self.kinds[name].settings, protocol.cohort, "protocol.yaml", "cohort")

    def sources(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the names of the collections that a profile reads."""
        return self.kinds[self.settings(protocol).kind].needs

    def available(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None where the profile's images are at hand, else what is missing."""
        return missing_collection(self.sources(protocol), data)

    def make(self, protocol: Protocol, data: Path | None, made: Path) -> Cohort:
        """Return the cohort of a profile.

        Parameters
        ----------
        protocol : Protocol
        data : Path or None
            Root of the collections.
        made : Path
            Where the phantom is written, and radiographs that had to be changed; what is kept of a search for copies
            is beside it.

        Raises
        ------
        UserError
            Where it needs collections that are not there, or asks for more images than they have.
        """
        settings = self.settings(protocol)
        kind = self.kinds[settings.kind]
        if kind.needs and data is None:
            raise UserError(
                f"profile {protocol.profile!r}",
                "needs real radiographs and no data folder was found",
                "Give --data DIR or set COVID_KERAS_DATA; `covid-keras data list` says how to get them",
            )
        return kind.make(settings, data, made)


def missing_collection(names: Iterable[str], data: Path | None) -> str | None:
    """Return None where all collections named lie below the data root, else which one does not."""
    for name in names:
        if data is None:
            return "no data folder"
        if get_source(name).locate(data) is None:
            return f"no {get_source(name).CARD.title} below {data}"
    return None


def phantom_key(settings: Any) -> str:
    """Return what the folder of a phantom of these settings is told by: papers, and edited protocols, share a cache."""
    return fingerprint({"settings": as_plain(settings), "generator": GENERATOR_VERSION})


def one_hospital(
    folder: Path,
    settings: Any,
    hospital: str,
    composition: Mapping[str, int],
    views: Mapping[str, float] | None = None,
    prefix: str = "",
) -> pd.DataFrame:
    """Return the table of a phantom that is all of one hospital, made where it is not there.

    Parameters
    ----------
    folder : Path
        Where it is.
    settings : dataclass
        With `seed`, to which hospital B adds 1, and `size`.
    hospital : {"A", "B"}
    composition, views : mapping
        As `covid_keras.data.make_phantom` takes them.
    prefix : str
        Put before the ids of its images and patients: every phantom gives the same ones.
    """
    make_phantom(
        folder,
        composition=composition,
        seed=settings.seed + (hospital == "B"),
        size=settings.size,
        views=views,
        hospitals={hospital: 1.0},
    )
    table = get_source("phantom").load(folder).table
    return table.assign(**{name: prefix + table[name] for name in ("image_id", "patient_id")})


def drawn(table: pd.DataFrame, count: int, rng: np.random.Generator, what: str) -> pd.DataFrame:
    """Draw so many rows in the table's order, all for 0; raise `UserError` where there are fewer."""
    if count > len(table):
        raise UserError(
            "cohort", f"asks for {count} {what}, there are {len(table)}", "Change the counts in protocol.yaml"
        )
    return table.iloc[np.sort(rng.permutation(len(table))[: count or len(table)])]
