"""What a paper hands to the core: its systems, its cohort, its protocol.

A paper is a package that registers a `Paper` in the entry-point group `covid_keras.papers` (see
`covid_keras.paper.registered`); nothing in the core names any paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
    """A paper that the suite reproduces; a subclass in its package says where its images come from.

    Attributes
    ----------
    name : str
        Name of its subpackage.
    aliases : tuple of str
        Further names on the command line (first author).
    title, citation, doi : str
    folder : Path
        Folder of `protocol.yaml`, `published.yaml` and `results/`.
    systems : tuple of System
    positive : str
        The class whose sensitivity the tables give; "" if there are more than two.
    scored : tuple of str
        The classes that are evaluated; each system's own, else all of the cohort's, where empty.
    report : str
        The module whose `REPORT` is the `covid_keras.reporting.results.PaperReport`; "" for the plain one.
    files : mapping
        Weight files that a user may give by `--checkpoint NAME=FILE`: name to what it is.
    registered : mapping
        Of these, the registered file that each should be; another makes the run not comparable.
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

    # What its profiles choose their images among; a subclass sets it, or overrides `cohort`.
    cohorts: ClassVar[Cohorts | None] = None
    # The options (keys below `options`) that some systems alone read, each with the beginnings of those systems' names.
    option_readers: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    # ------------------------------------------------------------------------------------------------ to override

    def cohort(self, protocol: Protocol, data: Path | None, made: Path) -> Cohort:
        """Return the images of a profile.

        Parameters
        ----------
        protocol : Protocol
        data : Path or None
            Root of the collections.
        made : Path
            Folder to write made data into.

        Raises
        ------
        UserError
            If the data are not there.
        """
        if self.cohorts is None:
            raise NotImplementedError
        return self.cohorts.make(protocol, data, made)

    def available(self, protocol: Protocol, data: Path | None) -> str | None:
        """Return None if the profile's data are at hand, else the reason."""
        return None if self.cohorts is None else self.cohorts.available(protocol, data)

    def sources(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the names of the collections that a profile reads, whose counts are checked before a run."""
        return () if self.cohorts is None else self.cohorts.sources(protocol)

    def check(self, protocol: Protocol) -> None:
        """Raise `UserError` for what would end a run hours later."""

    def segmenter(self, protocol: Protocol, data: Path | None, cache: Path) -> LungSegmenter | None:
        """Return what marks the lungs, trained on the way where it is the paper's own; None for the shipped U-Net."""
        return None

    def kept_segmenter(self, protocol: Protocol, cache: Path) -> LungSegmenter | None:
        """Return what marked the lungs of a run, nothing trained on the way; None for the shipped U-Net."""
        return self.segmenter(protocol, None, cache)

    def finish(self, protocol: Protocol, data: Path | None, cache: Path) -> None:
        """Train what the paper has beside its systems, once these are done."""

    # ------------------------------------------------------------------------------------------------ its protocol

    @cached_property
    def protocol_path(self) -> Path:
        """The paper's `protocol.yaml`."""
        return self.folder / "protocol.yaml"

    @cached_property
    def profiles(self) -> list[str]:
        """The profiles offered, the most demanding first."""
        return profile_names(self.protocol_path)

    def protocol(self, profile: str, changes: dict[str, Any] | None = None) -> Protocol:
        """Return one profile, resolved and checked: every system exists, and what it builds on comes before it."""
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

    def splits_of(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the names of the divisions that the protocol's systems are trained or tested on."""
        return tuple(dict.fromkeys(self.system(name).split for name in protocol.systems))

    # ------------------------------------------------------------------------------------------------ its systems

    def system(self, name: str) -> System:
        """Return the system of that name; raise `UserError` if the paper has none."""
        for system in self.systems:
            if system.name == name:
                return system
        known = ", ".join(system.name for system in self.systems)
        raise UserError(name, f"is no system of {self.name}", f"Choose among {known}")

    def chain(self, name: str) -> list[str]:
        """Return the systems that a system builds on, the first to be trained first, and itself."""
        below = [one for source in self.system(name).below for one in self.chain(source)]
        return [*dict.fromkeys(below), name]

    def runs_in(self, system: System, protocol: Protocol, repeat: int, fold: int) -> bool:
        """Return whether a system runs in a fold: where what it builds on does, too."""
        if not (repeat < system.repeats(protocol) and fold < system.folds(protocol)):
            return False
        below = self.chain(system.name)[:-1]
        return all(self.system(name).runs_where(protocol, repeat, fold) for name in below)

    def classes_of(self, system: System, cohort: Cohort) -> tuple[str, ...]:
        """Return the labels that a system learns, in the order of its outputs."""
        return system.classes or self.scored or cohort.classes

    def scored_of(self, system: System, cohort: Cohort) -> tuple[str, ...]:
        """Return the classes that a system's predictions are evaluated in."""
        return self.scored or system.classes or cohort.classes
