"""A paper: its systems, cohort and protocol.

A paper is a package that registers a `Paper` in the entry-point group `covid_keras.papers` (see
`covid_keras.paper.registered`); nothing in the core names any paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from covid_keras.common.errors import UserError
from covid_keras.common.settings import as_plain, flattened, unknown_key
from covid_keras.data.cohort import Cohort
from covid_keras.data.sources import unavailable
from covid_keras.paper.cohorts import Asked, Cohorts
from covid_keras.paper.evidence import Evidence
from covid_keras.paper.protocol import Protocol, load_evidence, load_protocol, profile_names
from covid_keras.paper.system import System
from covid_keras.paper.systems import Trained

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
        Folder of `protocol.yaml`, `results/` and, if the paper prints numbers, `published.yaml`.
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
        Name -> expected registered file; numbers from another file are stand-ins.
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
    # Options read by some systems only: key below `options` -> prefixes of those systems' names (`*`: any text).
    option_readers: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # The same for "weights" (initial weights of the protocol) and "files.NAME" (a given weight file).
    readers: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # Settings read under a condition only: dotted path -> function of the protocol, which returns reason and remedy if
    # the setting is not read.
    conditions: ClassVar[Mapping[str, Callable[[Protocol], tuple[str, str] | None]]] = {}
    # Options for figures only, without influence on any number.
    figure_options: ClassVar[tuple[str, ...]] = ()

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

    def missing(self, protocol: Protocol, data: Path | None) -> dict[str, str]:
        """Return the systems of a profile that cannot run here, and those that build on them, each with the reason."""
        found: dict[str, str] = {}
        images = self.missing_images(protocol, data)
        for name in protocol.systems:
            system = self.system(name)
            if reason := system.excluded(protocol) or images.get(name) or system.missing(protocol, data):
                found[name] = reason
        return self._with_all_above(found, protocol)

    def excluded(self, protocol: Protocol) -> dict[str, str]:
        """Return the systems that no data makes run in a profile, and those that build on them, with the reasons."""
        reasons = {name: self.system(name).excluded(protocol) for name in protocol.systems}
        return self._with_all_above({name: reason for name, reason in reasons.items() if reason}, protocol)

    def _with_all_above(self, missing: Mapping[str, str], protocol: Protocol) -> dict[str, str]:
        """Return the systems that are missing or build on one that is, each with the reason."""
        found = {}
        for name in protocol.systems:
            if reason := next((missing[one] for one in self.chain(name) if one in missing), None):
                found[name] = reason
        return found

    def missing_images(self, protocol: Protocol, data: Path | None) -> dict[str, str]:
        """Return the systems of a profile whose images, or those of a system below, are missing; and why."""
        found: dict[str, str] = {}
        if self.cohorts is None:
            return found
        kind, reason_of = self.cohorts.settings(protocol), cache(partial(unavailable, data_root=data))
        for system in map(self.system, protocol.systems):
            if system.folds(protocol):  # others have no executions, and images of their own
                evidence = self.evidence_of(system.name)
                images = protocol.split_of(system.split).images if system.reads_split else {}
                asked = Asked(evidence.collections if evidence else (), images, reason_of)
                if reason := kind.missing(data, asked):
                    found[system.name] = reason
        return self._with_all_above(found, protocol)

    def sources(self, protocol: Protocol) -> tuple[str, ...]:
        """Return the collections that a profile reads."""
        return () if self.cohorts is None else self.cohorts.sources(protocol)

    def read_options(self, protocol: Protocol) -> Any:
        """Return the protocol's options, those that it does not set with their defaults."""
        return protocol.options

    def check(self, protocol: Protocol) -> None:
        """Raise `UserError` for problems that would otherwise end a run hours later."""

    def segmenter(self, protocol: Protocol, data: Path | None, cache: Path) -> LungSegmenter | None:
        """Return the paper's own lung segmenter, trained if necessary; None for the shipped U-Net."""
        return None

    def kept_segmenter(self, protocol: Protocol, cache: Path) -> LungSegmenter | None:
        """Return what marked the lungs of a run, nothing trained on the way; None for the shipped U-Net."""
        return self.segmenter(protocol, None, cache)

    def used_beside(self, protocol: Protocol, cache: Path) -> dict[str, dict[str, int]]:
        """Return {name: {collection: images}} of what is trained beside the executions, as far as done."""
        return {}

    def finish(self, protocol: Protocol, data: Path | None, cache: Path) -> None:
        """Train what the paper has beside its systems, after these are done."""

    def inherited(self, profile: str) -> dict[str, Any]:
        """Return the settings that a profile has from other papers, below those of `protocol.yaml`."""
        return {}

    # ------------------------------------------------------------------------------------------------ its protocol

    @cached_property
    def protocol_path(self) -> Path:
        """The paper's `protocol.yaml`."""
        return self.folder / "protocol.yaml"

    @cached_property
    def published_path(self) -> Path | None:
        """The paper's `published.yaml`; None if nothing is published beside which its numbers could stand."""
        path = self.folder / "published.yaml"
        return path if path.is_file() else None

    @cached_property
    def profiles(self) -> list[str]:
        """The profiles, the most demanding first."""
        return profile_names(self.protocol_path)

    def protocol(self, profile: str, changes: dict[str, Any] | None = None) -> Protocol:
        """Return one profile, resolved and validated; systems follow those that they build on."""
        protocol = load_protocol(self.protocol_path, profile, changes, self.inherited(profile))
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
        """Return the names of the splits that the executions of the protocol's systems use, but for those left out."""
        systems = (self.system(name) for name in protocol.systems if name not in left_out)
        reading = (system for system in systems if system.folds(protocol) and system.reads_split)
        return tuple(dict.fromkeys(system.split for system in reading))

    @cached_property
    def evidence(self) -> tuple[Evidence, ...]:
        """What the paper's numbers were measured on."""
        return load_evidence(self.protocol_path)

    def evidence_of(self, name: str, table: str = "") -> Evidence | None:
        """Return the entry about a system or segmenter in a table ("": in any); None if there is none."""
        return next((one for one in self.evidence if one.is_about(name, table)), None)

    # ------------------------------------------------------------------------------------------------ what is read

    def reads(self, name: str, key: str) -> bool:
        """Return whether a setting, named by its dotted path, can influence a system's numbers."""
        if key.startswith("options."):
            option = key.removeprefix("options.")
            if any(_is_below(option, one) for one in self.figure_options):
                return False
            readers = [self.option_readers[one] for one in self.option_readers if _is_below(option, one)]
        else:
            readers = [self.readers[key]] if key in self.readers else []
        return all(is_reader(name, one) for one in readers)

    def initial_weights(self, system: System, protocol: Protocol) -> str:
        """Return what a system's network starts from, "imagenet" or "none"; "" if it reads no initial weights.

        A given file counts as ImageNet's; whether it is, is decided when it is given.
        """
        files = [key.removeprefix("files.") for key in self.readers if key.startswith("files.")]
        own = [name for name in files if self.reads(system.name, f"files.{name}")]
        if own and set(own) <= set(protocol.files):
            return "imagenet"
        if not self.reads(system.name, "weights"):
            return ""
        return protocol.weights if protocol.weights == "none" else "imagenet"

    def settings_read(self, name: str, protocol: Protocol) -> dict[str, Any]:
        """Return the settings that influence a system's numbers: dotted path -> plain value.

        Without seeds, the number of repeats and the systems that it builds on.
        """
        system = self.system(name)
        split = as_plain(protocol.split_of(system.split))
        nested: dict[str, Any] = {"size": list(protocol.size)} if system.reads_size(protocol) else {}
        nested["weights"] = self.initial_weights(system, protocol) if isinstance(system, Trained) else ""
        nested["training"] = system.learns_by(protocol)
        nested["options"] = as_plain(self.read_options(protocol))
        if system.reads_split:
            nested["split"] = {key: split[key] for key in split if key not in ("repeats", "images")}
        kind = self.cohorts.settings(protocol) if self.cohorts else None
        nested["cohort"] = {key: getattr(kind, key) for key in getattr(kind, "selects", ())}
        return {key: value for key, value in flattened(nested).items() if self.reads(name, key)}

    def builds_on(self, name: str, protocol: Protocol) -> list[str]:
        """Return all systems, and the lung segmenter, whose numbers decide on a system's."""
        return self.chain(name)[:-1]

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


def is_reader(name: str, readers: Iterable[str]) -> bool:
    """Return whether a system's name begins with one of the given texts, in which `*` stands for any text."""
    return any(fnmatchcase(name, f"{reader}*") for reader in readers)


def _is_below(key: str, place: str) -> bool:
    return key == place or key.startswith(f"{place}.")
