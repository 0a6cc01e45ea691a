"""What a paper hands to the core: its cohort, its systems, its published table; found through entry points.

A fifth paper is a package that registers a `Paper` in the entry-point group `covid_keras.papers`; nothing in the core
names any paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_keras.errors import UserError
from covid_keras.training.protocol import Protocol, load_protocol, profile_names

if TYPE_CHECKING:
    import keras

    from covid_keras.data.cohort import Cohort
    from covid_keras.data.preparation import Preparation

GROUP = "covid_keras.papers"


@dataclass(frozen=True)
class System:
    """One row of a paper's tables that can be trained.

    Attributes
    ----------
    name, title : str
        Name in predictions and protocol; how the tables call it.
    preparation : callable
        Protocol to `Preparation`: what is done once to every image.
    build : callable
        Protocol and class names to an uncompiled `keras.Model`.
    scaling : str or callable
        How the pipeline scales prepared images (see `covid_keras.data.pipeline.make_dataset`).
    channels : int
        Channels that the network takes; grey images are repeated.
    """

    name: str
    title: str
    preparation: Callable[[Protocol], Preparation]
    build: Callable[[Protocol, tuple[str, ...]], keras.Model]
    scaling: str | Callable[[Any], Any] = "0-1"
    channels: int = 3


@dataclass(frozen=True)
class Paper:
    """A paper that the suite reproduces.

    Attributes
    ----------
    name : str
        Name of its subpackage.
    aliases : tuple of str
        Further names on the command line (first author).
    title, citation, doi : str
    folder : Path
        Where `protocol.yaml`, `published.yaml` and `results/` are.
    systems : tuple of System
    cohort : callable
        (protocol, data root or None, folder to write made data into) to `Cohort`; raises `UserError` where the
        data are not there.
    available : callable
        (protocol, data root or None) to None where the profile's data are at hand, else the reason.
    positive : str
        The class whose sensitivity the tables give; "" where there are more than two.
    notes : tuple of (title, text)
        What the reader must know before believing a number; every report and its page show them.
    titles : mapping
        Systems of `published.yaml` that are not trained here, to what a figure calls them.
    severity_systems : tuple of str
        Published systems that the figure of accuracy per severity shows although they are not trained here.
    sources : callable
        Protocol to the names of the collections it reads, whose counts are checked before a run.
    """

    name: str
    aliases: tuple[str, ...]
    title: str
    citation: str
    doi: str
    folder: Path
    systems: tuple[System, ...]
    cohort: Callable[[Protocol, Path | None, Path], Cohort]
    available: Callable[[Protocol, Path | None], str | None]
    positive: str = ""
    notes: tuple[tuple[str, str], ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    severity_systems: tuple[str, ...] = ()
    sources: Callable[[Protocol], tuple[str, ...]] = lambda protocol: ()

    @cached_property
    def protocol_path(self) -> Path:
        """The paper's `protocol.yaml`."""
        return self.folder / "protocol.yaml"

    @cached_property
    def profiles(self) -> list[str]:
        """The profiles offered, the most demanding first."""
        return profile_names(self.protocol_path)

    def protocol(self, profile: str, changes: dict[str, Any] | None = None) -> Protocol:
        """Return one profile, resolved and checked; every system named must exist."""
        protocol = load_protocol(self.protocol_path, profile, changes)
        for name in protocol.systems:
            self.system(name)
        return protocol

    def system(self, name: str) -> System:
        """Return the system of that name; raise `UserError` where the paper has none."""
        for system in self.systems:
            if system.name == name:
                return system
        known = ", ".join(system.name for system in self.systems)
        raise UserError(name, f"is no system of {self.name}", f"Choose among {known}")


def load_papers() -> dict[str, Paper]:
    """Return every registered paper by name."""
    return {entry.name: entry.load() for entry in entry_points(group=GROUP)}


def load_paper(name: str) -> Paper:
    """Return the paper of that name or alias; raise `UserError` naming the known ones."""
    papers = load_papers()
    for paper in papers.values():
        if name == paper.name or name in paper.aliases:
            return paper
    known = ", ".join(f"{paper.name} ({', '.join(paper.aliases)})" for paper in papers.values())
    raise UserError(name, "is no paper that this suite knows", f"Known: {known}")
