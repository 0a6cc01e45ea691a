"""A paper: its systems, cohort and protocol.

A paper is a package that registers a `Paper` in the entry-point group `covid_keras.papers` (see
`covid_keras.paper.registered`); nothing in the core names any paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from covid_keras.common.errors import UserError
from covid_keras.common.settings import unknown_key
from covid_keras.data.cohort import Cohort
from covid_keras.paper.cohorts import Cohorts
from covid_keras.paper.protocol import Protocol, load_protocol, profile_names
from covid_keras.paper.systems import System

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter


@dataclass(frozen=True)
class Paper:
    """A paper that the suite reproduces; a subclass in its package provides the images.

    Attributes
    ----------
    name : str
        Name of its subpackage.
    aliases : tuple of str
        Other names on the command line (first author).
    title, citation, doi : str
    folder : Path
        Folder of `protocol.yaml`, `published.yaml` and `results/`.
    systems : tuple of System
    positive : str
        The class whose sensitivity the tables give; "" if there are more than two.
    scored : tuple of str
        The classes evaluated. Default: each system's own, else all of the cohort's.
    report : str
        Module whose `REPORT` is a `covid_keras.reporting.results.PaperReport`; "" for the default report.
    files : mapping
        Weight files that a user may give by `--checkpoint NAME=FILE`: name -> description.
    registered : mapping
        Name -> expected registered file; a different file makes the run not comparable.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    citation: str
    doi: str
    folder: Path
    systems: tuple[System, ...]
    positive: str = ""
    scored: tuple[str, ...] = ()
    report: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    registered: Mapping[str, str] = field(default_factory=dict)

    # The cohorts of its profiles; a subclass sets it or overrides `cohort`.
    cohorts: ClassVar[Cohorts | None] = None
    # Options read by some systems only: key below `options` -> prefixes of those systems' names.
    option_readers: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # Settings read under a condition only: dotted path -> function of the protocol, which returns reason and remedy if
    # the setting is not read.
    conditions: ClassVar[Mapping[str, Callable[[Protocol], tuple[str, str] | None]]] = {}

    # ------------------------------------------------------------------------------------------------ to override

    def cohort(self, protocol: Protocol, data: Path | None, made: Path) -> Cohort:
        """Return the images of a profile.

        Parameters
        ----------
        protocol : Protocol
        data : Path or None
            Root of the collections.
        made : Path
            Folder for generated data.

        Raises
        ------
        UserError
            If the data are missing.
        """
        if self.cohorts is None:
            raise NotImplementedError
        return self.cohorts.make(protocol, data, made)

    def available(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None if the profile's data are available, else the reason."""
        return None if self.cohorts is None else self.cohorts.available(protocol, data)

    def sources(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the collections that a profile reads; their counts are checked before a run."""
        return () if self.cohorts is None else self.cohorts.sources(protocol)

    def check(self, protocol: Protocol) -> None:
        """Raise `UserError` for problems that would otherwise end a run hours later."""

    def segmenter(self, protocol: Protocol, data: Path | None, cache: Path) -> LungSegmenter | None:
        """Return the paper's own lung segmenter, trained if necessary; None for the shipped U-Net."""
        return None

    def kept_segmenter(self, protocol: Protocol, cache: Path) -> LungSegmenter | None:
        """Return what marked the lungs of a run, nothing trained on the way; None for the shipped U-Net."""
        return self.segmenter(protocol, None, cache)

    def finish(self, protocol: Protocol, data: Path | None, cache: Path) -> None:
        """Train what the paper has beside its systems, after these are done."""

    # ------------------------------------------------------------------------------------------------ its protocol

    @cached_property
    def protocol_path(self) -> Path:
        """The paper's `protocol.yaml`."""
        return self.folder / "protocol.yaml"

    @cached_property
    def profiles(self) -> list[str]:
        """The profiles, the most demanding first."""
        return profile_names(self.protocol_path)

    def protocol(self, profile: str, changes: dict[str, Any] | None = None) -> Protocol:
        """Return one profile, resolved and validated; systems follow those that they build on."""
        protocol = load_protocol(self.protocol_path, profile, changes)
        chains = [self.chain(name) for name in protocol.systems]
        trained = {system.settings or system.name for system in self.systems}
        for name in protocol.trainings:
            if name not in trained:
                raise unknown_key(self.protocol_path, name, trained, "trainings")
        for name in protocol.files:
            if name not in self.files:
                raise unknown_key("--checkpoint", name, self.files)
        systems = tuple(dict.fromkeys(name for chain in chains for name in chain))
        for name in systems:
            protocol.split_of(self.system(name).split)
        return dataclasses.replace(protocol, systems=systems)

    def splits_of(self, protocol: Protocol, left_out: Container[str] = ()) -> tuple[str, ...]:
        """Return the names of the splits that the executions of the protocol's systems use, without those left out."""
        systems = (self.system(name) for name in protocol.systems if name not in left_out)
        return tuple(dict.fromkeys(system.split for system in systems if system.folds(protocol)))

    # ------------------------------------------------------------------------------------------------ its systems

    def system(self, name: str) -> System:
        """Return the system of that name; raise `UserError` if the paper has none."""
        for system in self.systems:
            if system.name == name:
                return system
        known = ", ".join(system.name for system in self.systems)
        raise UserError(name, f"is not a system of {self.name}", f"Choose from {known}")

    def chain(self, name: str) -> list[str]:
        """Return the systems that a system builds on, in training order, and itself."""
        below = [one for source in self.system(name).below for one in self.chain(source)]
        return [*dict.fromkeys(below), name]

    def runs_in(self, system: System, protocol: Protocol, repeat: int, fold: int) -> bool:
        """Return whether a system, and all that it builds on, runs in a fold."""
        if not (repeat < system.repeats(protocol) and fold < system.folds(protocol)):
            return False
        below = self.chain(system.name)[:-1]
        return all(self.system(name).runs_where(protocol, repeat, fold) for name in below)

    def classes_of(self, system: System, cohort: Cohort) -> tuple[str, ...]:
        """Return the labels that a system learns, in the order of its outputs."""
        return system.classes or self.scored or cohort.classes

    def scored_of(self, system: System, cohort: Cohort) -> tuple[str, ...]:
        """Return the classes in which a system's predictions are evaluated."""
        return self.scored or system.classes or cohort.classes
