"""What the cohorts of all papers share: how a protocol names one, whether its images are at hand, how it is made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import fingerprint
from covid_keras.common.settings import as_plain, build
from covid_keras.data.cohort import Cohort
from covid_keras.data.duplicates import find_duplicates
from covid_keras.data.phantom import GENERATOR_VERSION, make_phantom
from covid_keras.data.sources import get_source
from covid_keras.paper.protocol import Protocol


class Kind:
    """One kind of a paper's cohorts: a frozen dataclass that `cohort` in the protocol is read into.

    Its field `kind` is the name by which the protocol chooses it.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # the collections that it reads

    def available(self, data: Path | None) -> str | None:
        """Return None if the images are at hand, else what is missing."""
        return missing_collection(self.needs, data)

    def make(self, data: Path | None, made: Path) -> Cohort:
        """Return the cohort; arguments as `Cohorts.make` takes them, `data` given where collections are needed."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cohorts:
    """The cohorts of a paper: its profiles name one of `kinds` each, as `cohort.kind`.

    All methods raise `UserError` if a protocol's kind is none of these, or a setting is unknown or of the wrong
    type.
    """

    kinds: Mapping[str, type[Kind]]

    def settings(self, protocol: Protocol) -> Any:
        """Return the protocol's cohort as an instance of its kind, checked."""
        name = str(protocol.cohort.get("kind"))
        if name not in self.kinds:
            raise UserError("protocol.yaml", f"cohort.kind is {name!r}", f"It must be one of {', '.join(self.kinds)}")
        return build(self.kinds[name], protocol.cohort, "protocol.yaml", "cohort")

    def sources(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the names of the collections that a profile reads."""
        return self.settings(protocol).needs

    def available(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None if the profile's images are at hand, else what is missing."""
        return self.settings(protocol).available(data)

    def make(self, protocol: Protocol, data: Path | None, made: Path) -> Cohort:
        """Return the cohort of a profile.

        Parameters
        ----------
        protocol : Protocol
        data : Path or None
            Root of the collections.
        made : Path
            If the phantom is written, and radiographs that had to be changed; what is kept of a search for copies
            is beside it.

        Raises
        ------
        UserError
            If it needs collections that are not there, or asks for more images than they have.
        """
        settings = self.settings(protocol)
        if settings.needs and data is None:
            raise UserError(
                f"profile {protocol.profile!r}",
                "needs real radiographs and no data folder was found",
                "Give --data DIR or set COVID_KERAS_DATA; `covid-keras data list` says how to get them",
            )
        return settings.make(data, made)


def missing_collection(names: Iterable[str], data: Path | None) -> str | None:
    """Return None if all collections named lie below the data root, else which one does not."""
    for name in names:
        if data is None:
            return "no data folder"
        if get_source(name).locate(data) is None:
            return f"no {get_source(name).title} below {data}"
    return None


def with_label(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the rows of a label."""
    return table[table["label"] == label]


def drawn(table: pd.DataFrame, count: int, rng: np.random.Generator, what: str) -> pd.DataFrame:
    """Draw so many rows in the table's order, all for 0; raise `UserError` if there are fewer."""
    require(count, table, what)
    return table.iloc[np.sort(rng.permutation(len(table))[: count or len(table)])]


def require(count: int, table: pd.DataFrame, what: str) -> None:
    """Raise `UserError` if a protocol asks for more rows than a table has, or for fewer than none."""
    if not 0 <= count <= len(table):
        raise UserError(
            "cohort", f"asks for {count} {what}, there are {len(table)}", "Change the counts in protocol.yaml"
        )


def joined(parts: Sequence[pd.DataFrame], classes: tuple[str, ...], name: str) -> Cohort:
    """Join tables to a cohort without severities: its divisions are not stratified by what some images have."""
    return Cohort(pd.concat(parts, ignore_index=True).assign(severity=""), classes, name)


def copied(table: pd.DataFrame, others: pd.DataFrame, cache: Path) -> set[str]:
    """Return the ids of all images, of either table, that have a near-duplicate in the other one."""
    both = joined([part.assign(label="radiograph") for part in (table, others)], ("radiograph",), "copies")
    pairs = find_duplicates(both, cache=cache)
    first, second = (pairs[column].isin(others["image_id"]) for column in ("image_id_a", "image_id_b"))
    crossing = pairs[first != second]
    return {*crossing["image_id_a"], *crossing["image_id_b"]}


def phantom_folder(made: Path, name: str, settings: Any) -> Path:
    """Return the folder of a phantom, told by its settings: papers, and edited protocols, share a cache."""
    return made / f"{name}-{fingerprint({'settings': as_plain(settings), 'generator': GENERATOR_VERSION})}"


def one_hospital(
    folder: Path,
    settings: Any,
    hospital: str,
    patients: Mapping[str, tuple[str, int]],
    views: Mapping[str, float] | None = None,
    prefix: str = "",
) -> pd.DataFrame:
    """Return the table of a phantom that is all of one hospital, made where it is not there.

    Parameters
    ----------
    folder : Path
        If it is (see `phantom_folder`).
    settings : dataclass
        With `seed`, to which hospital B adds 1, and `size`.
    hospital : {"A", "B"}
    patients : mapping
        The phantom's label to what it is called here, and for how many patients.
    views : mapping, optional
        As `covid_keras.data.make_phantom` takes them.
    prefix : str
        Put before the ids of its images and patients: every phantom gives the same ones.
    """
    make_phantom(
        folder,
        composition={label: count for label, (_, count) in patients.items()},
        seed=settings.seed + (hospital == "B"),
        size=settings.size,
        views=views,
        hospitals={hospital: 1.0},
    )
    table = get_source("phantom").load(folder).table
    table["label"] = table["label"].map({label: name for label, (name, _) in patients.items()})
    return table.assign(**{column: prefix + table[column] for column in ("image_id", "patient_id")})
