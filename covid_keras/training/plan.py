"""The plan of a run: options checked and resolved before any work."""

from __future__ import annotations

import dataclasses
import os
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from covid_keras.common.errors import UserError
from covid_keras.common.files import require_writable_folder
from covid_keras.common.settings import merge
from covid_keras.data.locations import VARIABLE, find_data
from covid_keras.data.sources import check_source
from covid_keras.models.imagenet import is_imagenet
from covid_keras.models.registry import load_registry
from covid_keras.models.weight_kinds import require_weight_file
from covid_keras.paper.changes import require_effect
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.registered import load_paper
from covid_keras.training.runfolder import EXECUTION_RECORD, EXECUTIONS


@dataclass(frozen=True)
class Plan:
    """A resolved run: paper, protocol, folders, and the settings for workers."""

    paper: Paper
    protocol: Protocol
    data: Path | None
    out: Path
    cache: Path
    settings: dict[str, Any]


def make_plan(options: Namespace) -> Plan:
    """Check everything that can be checked before any work is done."""
    paper = load_paper(options.paper)
    data = find_data(options.data)
    changes: dict[str, Any] = {} if options.weights is None else {"weights": _weights(options.weights)}
    changes |= {"files": _checkpoints(options.checkpoint, paper)} if options.checkpoint else {}
    given = settings_of(options.set)
    if "weights" in given and options.weights is not None:
        raise UserError("--set weights", "contradicts --weights", "Give one of them")
    changes = merge(given, changes)
    profile = options.profile or choose_profile(paper, data, asked=bool(options.data or os.environ.get(VARIABLE)))
    protocol = judged(
        paper.protocol(profile, changes), paper.protocol(profile), options.precision, options.set, paper.registered
    )
    require_effect(paper, protocol, given)
    if reason := paper.available(protocol, data):
        raise UserError(
            f"profile {profile!r}",
            f"its data are missing: {reason}",
            "See `covid-keras data list`; --profile smoke needs no data",
        )
    protocol = counted(paper, protocol, data)
    paper.check(protocol)
    out = Path(options.out or Path("runs") / f"{paper.name}-{profile}")
    left_out = missing_systems(paper, protocol, data, out)
    cache = Path(options.cache or out.parent / "cache").absolute()
    require_writable_folder(out)
    require_writable_folder(cache)
    settings = {
        "cache": str(cache / "prepared"),
        "strategy": options.strategy,
        "precision": options.precision,
        "left_out": left_out,
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
        if not Path(path).expanduser().is_file():
            raise UserError(f"--checkpoint {name}={path}", "is not a file", "Check the path")
        files[name] = str(Path(path).expanduser().resolve())
    return files


def missing_systems(paper: Paper, protocol: Protocol, data: Path | None, out: Path | None = None) -> dict[str, str]:
    """Return the systems that cannot be run here, including those that build on them, and the reasons.

    A system with finished executions in the run folder `out` is not left out.

    Raises
    ------
    UserError
        If nothing is left to run.
    """
    left_out: dict[str, str] = {}
    for name in protocol.systems:
        system = paper.system(name)
        below = [left_out[one] for one in system.below if one in left_out]
        reason = next(iter(below), None) or system.missing(protocol, data)
        finished = out is not None and any((out / EXECUTIONS / name).glob(f"*/{EXECUTION_RECORD}"))
        if reason and not finished:
            left_out[name] = reason
    if len(left_out) == len(protocol.systems):
        raise UserError(f"profile {protocol.profile!r}", f"has no system to run: {reason}", "Give what is missing")
    return left_out


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
        try:
            nested = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"--set {text}", "has a value that is not valid YAML", "Quote it") from error
        for name in reversed(key.split(".")):
            nested = {name: nested}
        changes = merge(changes, nested)
    return changes


def judged(
    protocol: Protocol,
    written: Protocol,
    precision: str,
    changed: Sequence[str] = (),
    registered: Mapping[str, str] = MappingProxyType({}),
) -> Protocol:
    """Return the protocol, marked as not comparable if the command changes what was fixed before the run.

    `registered` maps weight files to the registry entries that they should be.
    """
    reasons = [f"{text} set on the command line" for text in changed if not text.startswith("systems=")]
    given, wanted = protocol.weights, written.weights
    as_written = given == wanted or (wanted == "imagenet" and Path(given).is_file() and is_imagenet(given))
    if not as_written:
        reasons.append(f"initial weights {Path(protocol.weights).name} in place of {written.weights}")
    for name, path in protocol.files.items():
        if written.weights == "none" and name not in registered:
            reasons.append(f"{name} from {Path(path).name}")
        if (entry := registered.get(name)) and not load_registry()[entry].is_of(path):
            reasons.append(f"{name} from another file than {entry}")
    if precision != "float32":
        reasons.append(f"computed in {precision}")
    if not reasons:
        return protocol
    before = [] if written.comparable is True else [str(written.comparable)]
    return dataclasses.replace(protocol, comparable="; ".join([*before, *reasons]))


def counted(paper: Paper, protocol: Protocol, data: Path | None) -> Protocol:
    """Print expected and found counts of each collection; mark an incomplete one as not comparable."""
    short = []
    for name in paper.sources(protocol):
        for what, expected, found in check_source(name, data):
            print(f"{name}: {what}: expected {expected:,}, found {found:,}")
            if expected != found:
                short.append(f"{found:,} of {expected:,} {what} of {name}")
    if not short or protocol.comparable is not True:
        return protocol
    return dataclasses.replace(protocol, comparable=f"not the whole collection: {', '.join(short)}")


def choose_profile(paper: Paper, data: Path | None, asked: bool = False) -> str:
    """Return the most demanding profile whose images are available; the last one needs none.

    Raises
    ------
    UserError
        If a data folder was given but lacks the images of every profile: do not fall back to the phantom then.
    """
    passed_over = []
    for name in paper.profiles:
        protocol = paper.protocol(name)
        reason = paper.available(protocol, data)
        if reason is None and not (asked and passed_over and name == paper.profiles[-1]):
            return name
        passed_over.append(f"{name}: {reason or 'needs no data'}")
    raise UserError(
        data or paper.name,
        f"lacks the images of every profile of {paper.name} ({'; '.join(passed_over)})",
        "See `covid-keras data list`; --profile smoke needs no data",
    )
