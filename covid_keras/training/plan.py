"""The plan of a run: options checked and resolved before any work."""

from __future__ import annotations

import dataclasses
import itertools
import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_keras.common.errors import UserError
from covid_keras.common.files import expanded, staged
from covid_keras.common.settings import merge, parse_yaml
from covid_keras.data.locations import VARIABLE, find_data
from covid_keras.data.sources import check_source
from covid_keras.models.imagenet import is_imagenet
from covid_keras.models.registry import load_registry
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.paper.changes import require_effect, require_read
from covid_keras.paper.cohorts import missing_collection
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.registered import load_paper
from covid_keras.training.executions import EXECUTION_RECORD, EXECUTIONS

ENOUGH_SYSTEMS = 0.5  # share of a profile's systems that must be able to run for it to be chosen unasked


@dataclass(frozen=True)
class Plan:
    """A resolved run: paper, protocol, folders, and the settings for workers."""

    paper: Paper
    protocol: Protocol
    data: Path | None
    out: Path
    cache: Path
    settings: dict[str, Any]

    @property
    def to_train(self) -> list[str]:
        """The systems that run here and have executions left."""
        names = [name for name in self.protocol.systems if name not in self.settings["left_out"]]
        return [name for name in names if self.finished(name) < trainings(self.paper, self.protocol, name)]

    def finished(self, name: str) -> int:
        """Return the number of finished executions of a system in the run folder."""
        return len(finished_executions(self.out, name))


def make_plan(options: Namespace) -> Plan:
    """Check everything that can be checked before any work is done."""
    paper = load_paper(options.paper)
    data = find_data(options.data)
    changes: dict[str, Any] = {} if options.weights is None else {"weights": _weights(options.weights)}
    changes |= {"files": _checkpoints(options.checkpoint, paper)} if options.checkpoint else {}
    changes |= {} if options.micro_batch is None else {"micro_batch": options.micro_batch}
    given = settings_of(options.set)
    for key in ("weights", "micro_batch"):
        if key in given and key in changes:
            option = f"--{key.replace('_', '-')}"
            raise UserError(f"--set {key}", f"contradicts {option}", "Give one of them")
    changes = merge(merge(given, changes), _external(options.external, given))
    profile = options.profile or choose_profile(paper, data, asked=bool(options.data or os.environ.get(VARIABLE)))
    protocol = paper.protocol(profile, changes)
    require_effect(paper, protocol, given)
    if options.external and not hasattr(paper.cohorts and paper.cohorts.kind_of(protocol), "external"):
        remedy = "Omit it; head_to_head takes one, on real radiographs"
        raise UserError(f"--external {options.external}", f"is not read by {paper.name}, profile {profile}", remedy)
    require_read(paper, protocol, changes)
    out = Path(options.out or Path("runs") / f"{paper.name}-{profile}")
    dry = getattr(options, "dry_run", False)
    left_out = missing_systems(paper, protocol, data, out, allow_none=dry)
    running = tuple(name for name in protocol.systems if name not in left_out)
    if running and not any(paper.system(name).folds(protocol) for name in running):
        protocol = dataclasses.replace(protocol, systems=running)  # which have images of their own
    print_counts(paper, protocol, data)
    paper.check(protocol)
    cache = Path(options.cache or out.parent / "cache").absolute()
    for folder in () if dry else (out, cache):
        with staged(folder):
            pass  # it can be written; made only when there is something to write
    settings = {
        "cache": str(cache / "prepared"),
        "strategy": options.strategy,
        "precision": options.precision,
        "keep_weights": options.keep_weights,
        "left_out": left_out,
        "files": other_files(paper, protocol),
    }
    return Plan(paper, protocol, data, out, cache, settings)


def _weights(given: str) -> str:
    """Return "imagenet" or "none" unchanged; make a path absolute for workers."""
    if given in ("imagenet", "none"):
        return given
    if not Path(given).is_file():
        raise UserError(f"--weights {given}", "is not a file", "Give a path, imagenet or none")
    require_weight_file(given)
    return str(Path(given).resolve())


def _external(name: str | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the change that a further collection to test on is."""
    if name and "external" in given.get("cohort", {}):
        raise UserError("--set cohort.external", "contradicts --external", "Give one of them")
    return {"cohort": {"external": name}} if name else {}


def _checkpoints(given: list[str], paper: Paper) -> dict[str, str]:
    """Return name -> absolute path of the weight files given as NAME=FILE."""
    files = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals:
            raise UserError(f"--checkpoint {text}", "must be NAME=FILE", f"Names: {', '.join(paper.files) or 'none'}")
        if name not in paper.files:
            known = ", ".join(f"{key} ({what})" for key, what in paper.files.items()) or "none"
            raise UserError(f"--checkpoint {name}", f"is not a weight file of {paper.name}", f"Known: {known}")
        if not expanded(path).is_file():
            raise UserError(f"--checkpoint {name}={path}", "is not a file", "Check the path")
        files[name] = str(expanded(path).resolve())
    return files


def missing_systems(
    paper: Paper, protocol: Protocol, data: Path | None, out: Path | None = None, allow_none: bool = False
) -> dict[str, str]:
    """Return the systems that cannot be run here, including those that build on them, and the reasons.

    A system with finished executions in the run folder `out` is not left out.

    Raises
    ------
    UserError
        If nothing is left to run, unless `allow_none`.
    """
    missing = paper.missing(protocol, data)
    finished = {name for name in missing if out and finished_executions(out, name)}
    left_out = {name: reason for name, reason in missing.items() if name not in finished}
    if len(left_out) == len(protocol.systems) and not allow_none:
        raise UserError(
            f"profile {protocol.profile!r}",
            f"has no system to run: {next(iter(left_out.values()))}",
            "Give what is missing (see `covid-keras data list`); --profile smoke needs no data",
        )
    return left_out


def finished_executions(out: Path, name: str) -> list[Path]:
    """Return the records of a system's finished executions in a run folder, which may not exist."""
    return sorted((out / EXECUTIONS / name).glob(f"*/{EXECUTION_RECORD}"))


def trainings(paper: Paper, protocol: Protocol, name: str) -> int:
    """Return the number of a system's executions."""
    system = paper.system(name)
    places = itertools.product(range(system.repeats(protocol)), range(system.folds(protocol)))
    return sum(paper.runs_in(system, protocol, repeat, fold) for repeat, fold in places)


def settings_of(given: Sequence[str]) -> dict[str, Any]:
    """Return the changes of a protocol given as KEY=VALUE, nested.

    >>> settings_of(["options.cit.lambda_=0.05", "split.repeats=1", "systems=[fucitnet]"])
    {'options': {'cit': {'lambda_': 0.05}}, 'split': {'repeats': 1}, 'systems': ['fucitnet']}
    """
    changes: dict[str, Any] = {}
    keys: list[str] = []
    for text in given:
        key, equals, value = text.partition("=")
        if not (equals and all(key.split("."))):
            raise UserError(f"--set {text}", "must be KEY=VALUE", "For example: --set options.cit.lambda_=0.05")
        for other in keys:
            if f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}."):
                raise UserError(f"--set {text}", f"overlaps --set {other}", "Set it once")
        keys.append(key)
        nested = parse_yaml(value, f"--set {text}")
        for name in reversed(key.split(".")):
            nested = {name: nested}
        changes = merge(changes, nested)
    return changes


def other_files(paper: Paper, protocol: Protocol) -> dict[str, str]:
    """Return the given weight files that are not the published ones: "weights" or the file's name -> the reason."""
    found = {}
    if Path(protocol.weights).is_file() and not is_imagenet(protocol.weights):
        found["weights"] = f"initial weights {Path(protocol.weights).name} instead of ImageNet's"
    for name, path in protocol.files.items():
        if (entry := paper.registered.get(name)) and not load_registry()[entry].is_of(path):
            found[name] = f"{name} from another file than {entry}"
    return found


def print_counts(paper: Paper, protocol: Protocol, data: Path | None) -> None:
    """Print expected and found counts of each collection that the profile reads and that is there."""
    for name in paper.sources(protocol):
        for what, expected, found in [] if missing_collection((name,), data) else check_source(name, data):
            print(f"{name}: {what}: expected {expected:,}, found {found:,}")


def choose_profile(paper: Paper, data: Path | None, asked: bool = False) -> str:
    """Return the most demanding profile of which at least half of the systems have their images here.

    If there is none, it is the one with the most such systems, and if no system has any, the synthetic one. So a few
    rows that could run as published do not start weeks of training unasked; `--profile paper` starts them.

    Raises
    ------
    UserError
        If a data folder was given but lacks the images of every profile: do not fall back to the phantom then.
    """
    shares, reasons = {}, []
    for name in paper.profiles:
        protocol = paper.protocol(name)
        if paper.sources(protocol):
            executed = [one for one in protocol.systems if paper.system(one).folds(protocol)]
            missing = paper.missing_images(protocol, data)
            shares[name] = 1 - len(missing) / max(len(executed), 1)
            if shares[name] >= ENOUGH_SYSTEMS:
                return name
            reasons.append(f"{name}: {next(iter(missing.values()))}")
    if any(shares.values()):
        return max(shares, key=shares.__getitem__)
    synthetic = [name for name in paper.profiles if name not in shares]
    if synthetic and not (asked and shares):
        return synthetic[0]
    raise UserError(
        data or paper.name,
        f"lacks the images of every profile of {paper.name} ({'; '.join(reasons)})",
        "See `covid-keras data list`; --profile smoke needs no data",
    )
