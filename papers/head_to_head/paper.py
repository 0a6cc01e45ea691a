"""Head to head: the methods of four papers on the same patients, under one protocol."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from covid_keras.common.errors import UserError
from covid_keras.common.settings import as_plain, merge, unknown_key
from covid_keras.paper import Paper, System, Trained
from covid_keras.paper.protocol import Protocol, TrainingSettings
from papers.head_to_head.cohorts import COHORTS
from papers.head_to_head.methods import TESTS
from papers.head_to_head.systems import ORIGINS, PAPERS, SYSTEMS, settings_of

# Options of lung segmenters, filters and figures, which stay with their papers.
NOT_INHERITED = ("masks", "segmenter", "segmenters", "threshold", "view", "kernel_bug", "lime_samples")
_MARKS = tuple(mark for mark in TESTS.values() if mark)
# Options that are the sizes of single networks, as paths.
SIZES = (("covid_sdnet", "cit", "size"), ("covid_sdnet", "covid_caps", "size"), ("covid_cxnet", "base_v2"))


def origin_of(name: str) -> tuple[Paper, str] | None:
    """Return the paper of a system and its name there; None for a floor."""
    for mark in _MARKS:
        name = name.removesuffix(mark)
    return ORIGINS.get(name)


def _first_stage(system: System, protocol: Protocol) -> TrainingSettings:
    """Return how a paper trains a network's layers together, with the rate of that stage."""
    training = system.training(protocol)
    return system.stages(protocol)[0].applied(training) if isinstance(system, Trained) else training


def _one_size(protocol: Protocol) -> tuple[str, str]:
    return "all networks have one size here", "Set size"


@dataclass(frozen=True)
class HeadToHead(Paper):
    """The systems of the four papers; what `protocol.yaml` does not make equal is as in their own profiles."""

    cohorts = COHORTS
    conditions: ClassVar[Mapping[str, Callable[[Protocol], tuple[str, str] | None]]] = dict.fromkeys(
        (f"options.{'.'.join(path)}" for path in SIZES), _one_size
    )

    @cached_property
    def option_readers(self) -> Mapping[str, tuple[str, ...]]:  # type: ignore[override]
        """The papers' options, below the papers' names, and the systems that read them."""
        keys = [f"{paper.name}.{key}" for paper in PAPERS for key in paper.option_readers]
        keys += [paper.name for paper in PAPERS]
        return {key: tuple(name for name in ORIGINS if self.reads(name, f"options.{key}")) for key in keys}

    def reads(self, name: str, key: str) -> bool:
        """Return whether a system reads a setting; an option of a paper, only if its paper's system does."""
        origin = origin_of(name)
        if key.startswith("options."):
            paper, _, rest = key.removeprefix("options.").partition(".")
            return (
                origin is not None
                and origin[0].name == paper
                and (not rest or origin[0].reads(origin[1], f"options.{rest}"))
            )
        if key == "weights" or key.startswith("files."):
            return origin is not None and origin[0].reads(origin[1], key)
        return True

    def inherited(self, profile: str) -> dict[str, Any]:
        """Return trainings and options of the papers' profiles of the same name."""
        theirs = {paper.name: paper.protocol(profile) for paper in PAPERS}
        trainings = {
            settings_of(name): as_plain(_first_stage(paper.system(system), theirs[paper.name]))
            for name, (paper, system) in ORIGINS.items()
        }
        options = {
            name: {key: value for key, value in one.options.items() if key not in NOT_INHERITED}
            for name, one in theirs.items()
        }
        return {"trainings": trainings, "options": options}

    def protocol(self, profile: str, changes: dict[str, Any] | None = None) -> Protocol:
        """Return one profile: all networks of one size, and with an external collection tested on it too."""
        protocol = super().protocol(profile, changes)
        options: dict[str, Any] = protocol.options
        if wrong := [name for name, one in options.items() if not isinstance(one, Mapping)]:
            problem = f"options.{wrong[0]} must be a mapping, not {options[wrong[0]]!r}"
            raise UserError("protocol.yaml", problem, "Write 'key: value' lines")
        for paper, *path in SIZES:
            nested: Any = list(protocol.size)
            for key in reversed(path):
                nested = {key: nested}
            options = merge(options, {paper: nested})
        further = [f"{name}{TESTS['external']}" for name in protocol.systems if protocol.cohort.get("external")]
        known = {system.name for system in self.systems}
        systems = (*protocol.systems, *(name for name in further if name in known))
        return dataclasses.replace(protocol, systems=systems, options=options)

    def read_options(self, protocol: Protocol) -> dict[str, Any]:
        papers = {paper.name: paper for paper in PAPERS}
        if unknown := [name for name in protocol.options if name not in papers]:
            raise unknown_key("protocol.yaml", unknown[0], papers, "options")
        return {name: paper.read_options(protocol) for name, paper in papers.items()}

    def check(self, protocol: Protocol) -> None:
        self.read_options(protocol)
        if protocol.weights != "none":
            raise UserError(
                f"--weights {protocol.weights}",
                "would give some networks more than others",
                "Start all from random ones",
            )
        for paper in PAPERS:
            paper.check(protocol)


PAPER = HeadToHead(
    name="head_to_head",
    aliases=("head-to-head",),
    title="Four papers, one protocol: their methods on the same patients",
    citation="covid-keras",
    doi="",
    folder=Path(__file__).resolve().parent,
    systems=SYSTEMS,
    report="papers.head_to_head.report",
)
