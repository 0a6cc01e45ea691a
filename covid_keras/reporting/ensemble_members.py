"""The members of `covid-keras ensemble`: find them in runs and files, and pair their executions.

The ensemble tests an image only if every member tests it, each with a network not trained on it. The members'
executions are paired at the first of these levels (`LEVELS`) that fits:

execution
    All members test the common images in the same (repeat, fold). Each execution is combined and evaluated separately,
    like a paper's own systems.
repeat
    All members test each common image once per repeat, in any fold. The folds of a repeat are combined.
image
    All members test each common image once. All executions of a member are combined.

Weights can be chosen on validation images at the level "execution" only: at the other levels, validation images of one
fold are test images of another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import expanded, sha256_of
from covid_keras.evaluation import PREDICTION_COLUMNS, classes_of, read_predictions, score_columns
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.evaluation.ensembles import require_same_classes
from covid_keras.evaluation.predictions import SCORE_PREFIX
from covid_keras.training.executions import Execution
from covid_keras.training.runfolder import RunFolder

LEVELS = {"execution": ("repeat", "fold"), "repeat": ("repeat",), "image": ()}

_IMAGE_COLUMNS = ["image_id", "patient_id", "repeat", "fold"]
_SHOWN_IDS = 3


@dataclass(frozen=True)
class Member:
    """One system to combine.

    Parameters
    ----------
    name : str
        The system, with its source if several members have the same name.
    frame : pandas.DataFrame
        Its predictions.
    trained : pandas.DataFrame or None
        Training part of each execution: columns `image_id, patient_id, repeat, fold`. None if unknown.
    facts : dict
        Source, system, SHA-256 of each file and, for a run, paper and profile.
    """

    name: str
    frame: pd.DataFrame
    trained: pd.DataFrame | None
    facts: dict[str, Any]


class _Run:
    """A run folder as a source of members."""

    def __init__(self, path: Path) -> None:
        self.path, self.run = path, RunFolder.open(path)

    @cached_property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(execution.system.name for execution in self.run.executions()))

    def read(self, system: str) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
        executions = [execution for execution in self.run.executions() if execution.system.name == system]
        if lacking := [execution.name for execution in executions if not execution.ended]:
            problem = f"{len(lacking)} of {len(executions)} executions of {system} are not finished ({lacking[0]})"
            raise UserError(self.path, problem, "Finish them with `covid-keras reproduce`")
        trained = pd.concat([self._trained(one) for one in executions], ignore_index=True)
        files = {str(one.predictions.relative_to(self.run.path)): sha256_of(one.predictions) for one in executions}
        facts = {"paper": self.run.protocol.paper, "profile": self.run.protocol.profile, "files": files}
        return pd.concat([one.predicted for one in executions], ignore_index=True), trained, facts

    def _trained(self, execution: Execution) -> pd.DataFrame:
        """Return the training images of an execution and of those that it builds on.

        Images filtered out by an earlier system are included, since finding them would require running its network.
        """
        table = self.run.cohort.table
        chosen = np.zeros(len(table), bool)
        for one in (*execution.chain, execution):
            chosen |= one.system.learned_from(one)
        own = table.loc[chosen, ["image_id", "patient_id"]]
        return own.assign(repeat=execution.repeat, fold=execution.fold)


class _Table:
    """A file of predictions as a source of members."""

    def __init__(self, path: Path) -> None:
        self.path, self.frame = path, read_predictions(path)

    @cached_property
    def systems(self) -> list[str]:
        return list(dict.fromkeys(self.frame["system"]))

    def read(self, system: str) -> tuple[pd.DataFrame, pd.DataFrame | None, dict[str, Any]]:
        frame = self.frame[self.frame["system"] == system].reset_index(drop=True)
        train = frame.loc[frame["split"] == "train", _IMAGE_COLUMNS]
        return frame, None if train.empty else train, {"files": {self.path.name: sha256_of(self.path)}}


def _open(path: Path) -> _Run | _Table:
    if path.is_dir():
        return _Run(path)
    if path.is_file():
        return _Table(path)
    raise UserError(path, "is neither a run folder nor a predictions file", "Give RUN or RUN:SYSTEM")


def find_members(sources: Sequence[str], systems: Sequence[str] = ()) -> list[Member]:
    """Read the members.

    Parameters
    ----------
    sources : sequence of str
        Run folders or predictions files, each as PATH or PATH:SYSTEM.
    systems : sequence of str
        Systems to find in the sources given without one. If empty, each such source must have a single system.

    Returns
    -------
    list of Member
        Those of PATH:SYSTEM first, in the order given.

    Raises
    ------
    UserError
        If a source cannot be read or is not used, or a system is missing, ambiguous, repeated or unfinished.
    """
    opened: dict[Path, _Run | _Table] = {}
    chosen, bare = [], []
    for text in sources:
        path, system = parted(text)
        key = Path(os.path.realpath(path))
        source = opened[key] if key in opened else opened.setdefault(key, _open(path))
        if not system:
            bare.append(source)
            continue
        if system not in source.systems:
            raise UserError(text, f"has no system {system}", f"Choose from {', '.join(source.systems)}")
        chosen.append((source, system))
    chosen += [(_holding(bare, system), system) for system in systems] if systems else list(_only(bare))
    for source in bare:
        if all(source is not one for one, _ in chosen):
            raise UserError(source.path, "is not used by the ensemble", f"Name one of {', '.join(source.systems)}")
    if twice := next((pair for place, pair in enumerate(chosen) if pair in chosen[:place]), None):
        raise UserError(twice[1], f"is named twice for {twice[0].path}", "Name each member once")
    names = [system for _, system in chosen]
    return [
        _member(source, system, system if names.count(system) == 1 else f"{source.path}:{system}")
        for source, system in chosen
    ]


def parted(text: str) -> tuple[Path, str]:
    """Split RUN:SYSTEM; an existing path is never split."""
    path = expanded(text)
    if path.exists() or ":" not in text:
        return path, ""
    before, system = text.rsplit(":", 1)
    return expanded(before), system


def _holding(sources: list[_Run | _Table], system: str) -> _Run | _Table:
    """Return the only source that has the system."""
    having = [source for source in sources if system in source.systems]
    if len(having) == 1:
        return having[0]
    if having:
        problem = f"is in {' and in '.join(str(source.path) for source in having)}"
        raise UserError(system, problem, f"Name one: {having[0].path}:{system}")
    known = dict.fromkeys(name for source in sources for name in source.systems)
    raise UserError(system, "is not a system of the given runs", f"Choose from {', '.join(known)}")


def _only(sources: list[_Run | _Table]) -> Iterator[tuple[_Run | _Table, str]]:
    for source in sources:
        if len(source.systems) > 1:
            problem = f"has the systems {', '.join(source.systems)}"
            raise UserError(source.path, problem, "Choose with --systems A B C")
        yield source, source.systems[0]


def _member(source: _Run | _Table, system: str, name: str) -> Member:
    frame, trained, facts = source.read(system)
    if of_split(frame, "test").empty:
        raise UserError(name, "has no test rows", "Choose a system that was tested")
    return Member(name, frame, trained, {"source": str(source.path), "system": system} | facts)


@dataclass(frozen=True)
class Matched:
    """Members with paired executions and the same images.

    Parameters
    ----------
    members : list of Member
    frames : list of pandas.DataFrame
        Predictions per member; `system` is the member's name, `repeat` and `fold` are those of the ensemble.
    level : str
        One of `LEVELS`.
    notes : list of str
        Caveats that the reader must know.
    """

    members: list[Member]
    frames: list[pd.DataFrame]
    level: str
    notes: list[str]


def match_members(members: Sequence[Member], leave_out: bool = False) -> Matched:
    """Pair the members' executions; keep the images that all of them test, or all validate on.

    Parameters
    ----------
    members : sequence of Member
        Two or more.
    leave_out : bool
        Leave out test images on which another member was trained, instead of raising.

    Raises
    ------
    UserError
        If there are fewer than two members, classes differ, no image is tested by all, executions cannot be paired (see
        `LEVELS`), or a test image is in another member's training part.
    """
    members = list(members)
    if len(members) < 2:
        named = ", ".join(member.name for member in members) or "none"
        raise UserError("ensemble", f"needs at least two systems (got {named})", "Name more systems")
    classes = require_same_classes([member.frame for member in members], [member.name for member in members])
    common = set.intersection(*(set(of_split(member.frame, "test")["image_id"]) for member in members))
    if not common:
        problem = f"{_and(members)} have no test image in common"
        raise UserError("ensemble", problem, "Combine systems tested on the same images")
    level = _level(members, common)
    grouped = [_grouped(member.frame, level) for member in members]
    leaks = list(_leaks(members, grouped, level))
    if leaks and not leave_out:
        one, other, images = leaks[0]
        problem = f"{len(images)} test images of {other} are in the training part of {one} ({_first(images)})"
        remedy = f"Combine systems of one split, or add --leave-out to test only the {len(common)} common images"
        raise UserError("ensemble", problem, remedy)
    kept = _kept(grouped, level)
    columns = [*PREDICTION_COLUMNS, *(SCORE_PREFIX + name for name in classes)]
    patients = dict(zip(members[0].frame["image_id"], members[0].frame["patient_id"], strict=True))
    frames = [
        frame[columns].assign(system=member.name, patient_id=frame["image_id"].map(patients)).reset_index(drop=True)
        for member, frame in zip(members, kept, strict=True)
    ]
    return Matched(members, frames, level, _notes(members, frames, leaks, common))


def _and(members: Sequence[Member]) -> str:
    return " and ".join(member.name for member in members)


def _first(images: Sequence[str]) -> str:
    shown = ", ".join(sorted(images)[:_SHOWN_IDS])
    return shown + (", ..." if len(images) > _SHOWN_IDS else "")


def _level(members: list[Member], common: set[str]) -> str:
    """Return the first of `LEVELS` at which all members test the common images in the same places, once each."""
    tested = [rows[rows["image_id"].isin(common)] for rows in (of_split(member.frame, "test") for member in members)]
    for level, keys in LEVELS.items():
        places = [list(rows[["image_id", *keys]].itertuples(index=False, name=None)) for rows in tested]
        once = all(len(set(of_member)) == len(of_member) for of_member in places)
        if once and all(set(of_member) == set(places[0]) for of_member in places):
            return level
    counts = [rows["image_id"].value_counts() for rows in tested]
    image = next((one for one in sorted(common) if len({count[one] for count in counts}) > 1), min(common))
    times = ", ".join(f"{member.name} {count[image]}" for member, count in zip(members, counts, strict=True))
    problem = f"executions cannot be paired: number of tests of image {image}: {times}"
    remedy = "Combine systems with the same repeats and folds, or that test each image once"
    raise UserError("ensemble", problem, remedy)


def _grouped(rows: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return rows with the (repeat, fold) of the ensemble: 0 if combined over them."""
    return rows.assign(**{key: 0 for key in ("repeat", "fold") if key not in LEVELS[level]})


def _places(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[["image_id", "repeat", "fold"]])


def of_split(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the rows of one split."""
    return frame[frame["split"] == split]


def _leaks(members: list[Member], grouped: list[pd.DataFrame], level: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (member, other, images on which the member was trained and that the other tests in the same place).

    Images that the member also tests in that place are not leaks: its network there was not trained on them.
    """
    tests = [_places(of_split(frame, "test")) for frame in grouped]
    for (one, own), (other, others) in permutations(zip(members, tests, strict=True), 2):
        if one.trained is None:
            continue
        trained = _places(_grouped(one.trained, level)).unique().difference(own)
        both = trained.intersection(others)
        if len(both):
            yield one.name, other.name, sorted(both.get_level_values("image_id").unique())


def _kept(grouped: list[pd.DataFrame], level: str) -> list[pd.DataFrame]:
    """Return the rows common to all members: test rows and, at the level "execution", validation rows."""
    splits = ("validation", "test") if level == "execution" else ("test",)
    common = {
        split: reduce(pd.MultiIndex.intersection, (_places(of_split(frame, split)) for frame in grouped))
        for split in splits
    }
    tested = common["test"].droplevel("image_id").unique()
    kept = []
    for frame in grouped:
        parts = [of_split(frame, split) for split in splits]
        parts = [part[_places(part).isin(common[split])] for split, part in zip(splits, parts, strict=True)]
        both = pd.concat(parts)
        kept.append(both[_places(both).droplevel("image_id").isin(tested)])
    return kept


def _notes(
    members: list[Member], frames: list[pd.DataFrame], leaks: list[tuple[str, str, list[str]]], common: set[str]
) -> list[str]:
    found = set(of_split(frames[0], "test")["label"])
    notes = [f"no common test image is {name}" for name in classes_of(frames[0]) if name not in found]
    for member, frame in zip(members, frames, strict=True):
        tested = of_split(member.frame, "test")["image_id"].nunique()
        if tested > len(common):
            notes.append(f"{tested - len(common)} of the {tested} test images of {member.name} are left out")
        if crossing := _crossing(member, common):
            notes.append(f"{crossing} test images are of patients in the training part of {member.name}")
        decided = np.array(classes_of(frame))[decide_scores(frame[score_columns(frame)].to_numpy())]
        if otherwise := int((decided != frame["predicted"]).sum()):
            said = f"the decisions of {member.name} contradict its scores on {otherwise} of {len(frame)} images"
            notes.append(f"{said}; the scores count here")
    notes += [
        f"{len(images)} test images of {other} are left out: they are in the training part of {one}"
        for one, other, images in leaks
    ]
    if unknown := [member.name for member in members if member.trained is None]:
        notes.append(f"leaks were not checked for {', '.join(unknown)}: the file has no training part")
    return notes


def _crossing(member: Member, common: set[str]) -> int:
    """Return the number of common images of patients on which the member's own execution was trained."""
    if member.trained is None:
        return 0
    tested = of_split(member.frame, "test")
    tested = tested[tested["image_id"].isin(common)]
    keys = ["patient_id", "repeat", "fold"]
    seen = pd.MultiIndex.from_frame(member.trained[keys]).unique()
    return tested.loc[pd.MultiIndex.from_frame(tested[keys]).isin(seen), "image_id"].nunique()
