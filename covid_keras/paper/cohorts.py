"""Cohorts of papers: chosen by the protocol, checked for their data, and built."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from covid_keras.data.sources import get_source, unavailable
from covid_keras.paper.protocol import Protocol


@dataclass(frozen=True)
class Asked:
    """The images that a system needs.

    Attributes
    ----------
    collections : tuple of tuple of str
        The paper's collections for the system, alternatives together (`Evidence.collections`).
    images : mapping
        Label -> images that the system's split asks for (`SplitSettings.images`).
    unavailable : callable
        Collection -> why it cannot be read here; None if it can.
    """

    collections: tuple[tuple[str, ...], ...]
    images: Mapping[str, int]
    unavailable: Callable[[str], str | None]


class Kind:
    """One kind of a paper's cohorts: a frozen dataclass with the settings `cohort` of the protocol.

    Its field `kind` is its name in the protocol.
    """

    needs: ClassVar[tuple[str, ...]] = ()  # collections read
    selects: ClassVar[tuple[str, ...]] = ()  # settings, other than numbers, that choose among their images
    # Whether the cohort is made of the available ones of its collections, so that each system requires its own alone.
    partial: ClassVar[bool] = False

    @property
    def required(self) -> tuple[str, ...]:
        """The collections without which the cohort cannot be made, by its settings."""
        return self.needs

    def missing(self, data: Path | None, asked: Asked) -> str | None:
        """Return None if the images of a system are available, else what is missing.

        Parameters
        ----------
        data : Path or None
            Root of the collections.
        asked : Asked
            What the system needs.
        """
        if not (self.partial and asked.collections):
            return next(filter(None, map(asked.unavailable, self.required)), None)
        for names in asked.collections:
            reasons = [asked.unavailable(name) for name in names]
            if all(reasons):
                return " or ".join(filter(None, reasons))
        return None

    def here(self, data: Path | None) -> list[str]:
        """Return those of its collections that can be read; raise `UserError` if none can."""
        found = [name for name in self.needs if not unavailable(name, data)]
        if self.needs and not found:
            raise UserError("data", missing_collection(self.needs, data) or "", "See `covid-keras data list`")
        return found

    def make(self, data: Path | None, made: Path) -> Cohort:
        """Return the cohort; arguments as in `Cohorts.make`."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cohorts:
    """The cohorts of a paper; each profile names one of `kinds` as `cohort.kind`.

    All methods raise `UserError` if the kind or a setting is unknown, or a setting has the wrong type.
    """

    kinds: Mapping[str, type[Kind]]

    def settings(self, protocol: Protocol) -> Any:
        """Return the protocol's cohort as a validated instance of its kind."""
        return build(self.kind_of(protocol), protocol.cohort, "protocol.yaml", "cohort")

    def kind_of(self, protocol: Protocol) -> type[Kind]:
        """Return the kind of the protocol's cohort, its other settings not validated."""
        name = str(protocol.cohort.get("kind"))
        if name not in self.kinds:
            raise UserError("protocol.yaml", f"cohort.kind is {name!r}", f"It must be one of {', '.join(self.kinds)}")
        return self.kinds[name]

    def sources(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the names of the collections that a profile reads."""
        return self.settings(protocol).needs

    def make(self, protocol: Protocol, data: Path | None, made: Path) -> Cohort:
        """Return the cohort of a profile.

        Parameters
        ----------
        protocol : Protocol
        data : Path or None
            Root of the collections.
        made : Path
            Folder for the phantom and for radiographs that had to be changed. Results of near-duplicate searches are
            cached beside it.

        Raises
        ------
        UserError
            If collections are missing, or have fewer images than required.
        """
        settings = self.settings(protocol)
        if settings.needs and data is None:
            raise UserError(
                f"profile {protocol.profile!r}",
                "needs real radiographs, but no data folder was found",
                "Give --data DIR or set COVID_KERAS_DATA; see `covid-keras data list`",
            )
        return settings.make(data, made)


def missing_collection(names: Iterable[str], data: Path | None) -> str | None:
    """Return None if all collections are in the data folder and can be read, else the first reason."""
    for name in names:
        if reason := unavailable(name, data):
            return reason
    return None


def with_label(table: pd.DataFrame, label: str) -> pd.DataFrame:
    """Return the rows of a label."""
    return table[table["label"] == label]


def drawn(table: pd.DataFrame, count: int, rng: np.random.Generator, what: str) -> pd.DataFrame:
    """Draw `count` rows, keeping the table's order (0: all); raise `UserError` if there are fewer."""
    require(count, table, what)
    return table.iloc[np.sort(rng.permutation(len(table))[: count or len(table)])]


def require(count: int, table: pd.DataFrame, what: str) -> None:
    """Raise `UserError` if `count` is negative or above the number of rows."""
    if not 0 <= count <= len(table):
        problem = f"asks for {count} {what}, but there are {len(table)}"
        raise UserError("cohort", problem, "Change the counts in protocol.yaml")


def joined(parts: Sequence[pd.DataFrame], classes: tuple[str, ...], name: str) -> Cohort:
    """Join tables into a cohort without severities, which only some images have."""
    return Cohort(pd.concat(parts, ignore_index=True).assign(severity=""), classes, name)


def present(parts: Sequence[pd.DataFrame], classes: tuple[str, ...]) -> tuple[str, ...]:
    """Return those of the classes that any of the tables has an image of."""
    found = {label for part in parts for label in part["label"].unique()}
    return tuple(label for label in classes if label in found)


def copied(table: pd.DataFrame, others: pd.DataFrame, cache: Path) -> set[str]:
    """Return the ids of all images, in either table, with a near-duplicate in the other."""
    both = joined([part.assign(label="radiograph") for part in (table, others)], ("radiograph",), "copies")
    pairs = find_duplicates(both, cache=cache)
    first, second = (pairs[column].isin(others["image_id"]) for column in ("image_id_a", "image_id_b"))
    crossing = pairs[first != second]
    return {*crossing["image_id_a"], *crossing["image_id_b"]}


def phantom_folder(made: Path, name: str, settings: Any) -> Path:
    """Return a phantom's folder, named by its settings, since papers and edited protocols share a cache."""
    return made / f"{name}-{fingerprint({'settings': as_plain(settings), 'generator': GENERATOR_VERSION})}"


def one_hospital(
    folder: Path,
    settings: Any,
    hospital: str,
    patients: Mapping[str, tuple[str, int]],
    views: Mapping[str, float] | None = None,
    prefix: str = "",
) -> pd.DataFrame:
    """Return the table of a phantom from one hospital, made if missing.

    Parameters
    ----------
    folder : Path
        Its folder (see `phantom_folder`).
    settings : dataclass
        With `seed` (hospital B adds 1) and `size`.
    hospital : {"A", "B"}
    patients : mapping
        Phantom label -> (label here, number of patients).
    views : mapping, optional
        As in `covid_keras.data.make_phantom`.
    prefix : str
        Prefix of image and patient ids, which are the same in every phantom.
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
