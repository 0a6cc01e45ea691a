"""The members of `covid-keras ensemble`: finding them in runs and files, and pairing their executions.

An image is tested by the ensemble only where every member tests it, each by a network that was not trained on it. So
the members' executions are paired first, in the first of these ways that fits (`LEVELS`):

execution
    the images that all members test are tested in the same (repeat, fold) by all: each execution is combined by itself
    and measured by itself, as a paper's own systems are;
repeat
    each is tested once a repeat by all, in whatever fold: the folds of a repeat are put together;
image
    each is tested once by all: all executions of a member are put together.

Weights can be chosen on validation images in the first way alone. In the other two the validation images of one fold
are test images of another, and weights chosen on them would have seen the test.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.common.files import sha256_of
from covid_keras.evaluation import PREDICTION_COLUMNS, classes_of, read_predictions, score_columns
from covid_keras.evaluation.decisions import decide_scores
from covid_keras.evaluation.ensembles import require_same_classes
from covid_keras.evaluation.predictions import SCORE_PREFIX
from covid_keras.training.runfolder import Execution, RunFolder

LEVELS = {"execution": ("repeat", "fold"), "repeat": ("repeat",), "image": ()}

_IMAGE_COLUMNS = ["image_id", "patient_id", "repeat", "fold"]
_SHOWN_IDS = 3


@dataclass(frozen=True)
class Member:
    """One system as it was read.

    Parameters
    ----------
    name : str
        The system, with its source where several members are called alike.
    frame : pandas.DataFrame
        Its predictions.
    trained : pandas.DataFrame or None
        The training part of each execution: columns `image_id, patient_id, repeat, fold`. None if it is
        not known.
    facts : dict
        Source, system, the SHA-256 of each file, and of a run its paper and profile.
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
        if lacking := [execution.name for execution in executions if not execution.done]:
            problem = f"{len(lacking)} of {len(executions)} executions of {system} are not done ({lacking[0]})"
            raise UserError(self.path, problem, "Run `covid-keras reproduce` until they are")
        trained = pd.concat([self._trained(one) for one in executions], ignore_index=True)
        files = {str(one.predictions.relative_to(self.run.path)): sha256_of(one.predictions) for one in executions}
        facts = {"paper": self.run.protocol.paper, "profile": self.run.protocol.profile, "files": files}
        return read_predictions([one.predictions for one in executions]), trained, facts

    def _trained(self, execution: Execution) -> pd.DataFrame:
        """Return the training parts of an execution and of all that it is made of.

        Images that a system before it does not admit are among them: to ask which means to run that network.
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
    raise UserError(path, "is neither a run folder nor a file of predictions", "Check the path, RUN or RUN:SYSTEM")


def find_members(sources: Sequence[str], systems: Sequence[str] = ()) -> list[Member]:
    """Read the members.

    Parameters
    ----------
    sources : sequence of str
        Run folders or files of predictions, each as PATH or PATH:SYSTEM.
    systems : sequence of str
        Systems to look for in the sources that are given without one. Where there are none, such a source must hold
        one system only.

    Returns
    -------
    list of Member
        Those of PATH:SYSTEM first, in the order given.

    Raises
    ------
    UserError
        For a source that cannot be read, a system that is in none or in several of them, one named twice, one whose
        executions are not all done, and a source of which nothing is taken.
    """
    opened: dict[Path, _Run | _Table] = {}
    chosen, bare = [], []
    for text in sources:
        path, system = parted(text)
        key = path.resolve()
        source = opened[key] if key in opened else opened.setdefault(key, _open(path))
        if not system:
            bare.append(source)
            continue
        if system not in source.systems:
            raise UserError(text, f"there is no system {system}", f"Choose among {', '.join(source.systems)}")
        chosen.append((source, system))
    chosen += [(_holding(bare, system), system) for system in systems] if systems else list(_only(bare))
    for source in bare:
        if all(source is not one for one, _ in chosen):
            raise UserError(source.path, "nothing of it is combined", f"Name one of {', '.join(source.systems)}")
    if twice := next((pair for place, pair in enumerate(chosen) if pair in chosen[:place]), None):
        raise UserError(twice[1], f"of {twice[0].path} is named twice", "Name each member once")
    names = [system for _, system in chosen]
    return [
        _member(source, system, system if names.count(system) == 1 else f"{source.path}:{system}")
        for source, system in chosen
    ]


def parted(text: str) -> tuple[Path, str]:
    """Part RUN:SYSTEM; a path that is there is a path, whatever its name."""
    path = Path(text).expanduser()
    if path.exists() or ":" not in text:
        return path, ""
    before, system = text.rsplit(":", 1)
    return Path(before).expanduser(), system


def _holding(sources: list[_Run | _Table], system: str) -> _Run | _Table:
    """Return the only source that has a system of that name."""
    having = [source for source in sources if system in source.systems]
    if len(having) == 1:
        return having[0]
    if having:
        problem = f"is in {' and in '.join(str(source.path) for source in having)}"
        raise UserError(system, problem, f"Say which: {having[0].path}:{system}")
    known = dict.fromkeys(name for source in sources for name in source.systems)
    raise UserError(system, "is no system of what was given", f"Choose among {', '.join(known)}")


def _only(sources: list[_Run | _Table]) -> Iterator[tuple[_Run | _Table, str]]:
    for source in sources:
        if len(source.systems) > 1:
            problem = f"holds the systems {', '.join(source.systems)}"
            raise UserError(source.path, problem, "Choose some of them: --systems A B C")
        yield source, source.systems[0]


def _member(source: _Run | _Table, system: str, name: str) -> Member:
    frame, trained, facts = source.read(system)
    if of_split(frame, "test").empty:
        raise UserError(name, "has no test rows", "Choose a system that was tested")
    return Member(name, frame, trained, {"source": str(source.path), "system": system} | facts)


@dataclass(frozen=True)
class Matched:
    """Members whose executions are paired and whose images are the same.

    Parameters
    ----------
    members : list of Member
    frames : list of pandas.DataFrame
        One a member: rows in the columns of a predictions file, `system` the member's name, `repeat` and `fold` those
        of the ensemble.
    level : str
        One of `LEVELS`.
    notes : list of str
        What a reader of the numbers must know.
    """

    members: list[Member]
    frames: list[pd.DataFrame]
    level: str
    notes: list[str]


def match_members(members: Sequence[Member], leave_out: bool = False) -> Matched:
    """Pair the members' executions and keep the images that all of them test, or all of them validate on.

    Parameters
    ----------
    members : sequence of Member
        Two or more.
    leave_out : bool
        Leave out images that one member was trained on and another tests, instead of refusing.

    Raises
    ------
    UserError
        For fewer than two members, different classes, no image that all test, executions that cannot be paired (see
        `LEVELS`), and such a leak.
    """
    members = list(members)
    if len(members) < 2:
        named = ", ".join(member.name for member in members) or "nothing"
        raise UserError("ensemble", f"{named} makes no ensemble", "Name two members or more")
    classes = require_same_classes([member.frame for member in members], [member.name for member in members])
    common = set.intersection(*(set(of_split(member.frame, "test")["image_id"]) for member in members))
    if not common:
        problem = f"{_and(members)} test no image in common"
        raise UserError("ensemble", problem, "Combine systems that were tested on the same images")
    level = _level(members, common)
    grouped = [_grouped(member.frame, level) for member in members]
    leaks = list(_leaks(members, grouped, level))
    if leaks and not leave_out:
        one, other, images = leaks[0]
        problem = f"{len(images)} images that {other} tests are in the training part of {one} ({_first(images)})"
        remedy = f"Combine systems of one division, or add --leave-out to test the {len(common)} images that all test"
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
    """Return the first of `LEVELS` at which all members test every common image in the same places, once in each."""
    tested = [rows[rows["image_id"].isin(common)] for rows in (of_split(member.frame, "test") for member in members)]
    for level, keys in LEVELS.items():
        places = [list(rows[["image_id", *keys]].itertuples(index=False, name=None)) for rows in tested]
        once = all(len(set(of_member)) == len(of_member) for of_member in places)
        if once and all(set(of_member) == set(places[0]) for of_member in places):
            return level
    counts = [rows["image_id"].value_counts() for rows in tested]
    image = next((one for one in sorted(common) if len({count[one] for count in counts}) > 1), min(common))
    times = ", ".join(f"{member.name} {count[image]}" for member, count in zip(members, counts, strict=True))
    problem = f"the executions cannot be paired: image {image} is tested so many times: {times}"
    remedy = "Combine systems with the same repeats and folds, or that test each image once"
    raise UserError("ensemble", problem, remedy)


def _grouped(rows: pd.DataFrame, level: str) -> pd.DataFrame:
    """Return rows with the (repeat, fold) of the ensemble: 0 if executions are put together."""
    return rows.assign(**{key: 0 for key in ("repeat", "fold") if key not in LEVELS[level]})


def _places(rows: pd.DataFrame) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[["image_id", "repeat", "fold"]])


def of_split(frame: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return the rows of one split."""
    return frame[frame["split"] == split]


def _leaks(members: list[Member], grouped: list[pd.DataFrame], level: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield (member, another, images that the first was trained on and the other tests in the same place).

    An image that both test in that place is none: the network that tests it was not trained on it.
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
    """Return the rows that all members have: tested by all, or where executions stay apart validated on by all."""
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
    notes = [f"no image of class {name} is tested by all" for name in classes_of(frames[0]) if name not in found]
    for member, frame in zip(members, frames, strict=True):
        tested = of_split(member.frame, "test")["image_id"].nunique()
        if tested > len(common):
            notes.append(f"{tested - len(common)} of the {tested} images that {member.name} tests are left out")
        if crossing := _crossing(member, common):
            notes.append(f"{crossing} images tested are of patients in the training part of {member.name}")
        decided = np.array(classes_of(frame))[decide_scores(frame[score_columns(frame)].to_numpy())]
        if otherwise := int((decided != frame["predicted"]).sum()):
            said = f"{member.name} decides {otherwise} of {len(frame)} images otherwise than its scores"
            notes.append(f"{said}, which count here")
    notes += [
        f"{len(images)} images that {other} tests are left out, since they are in the training part of {one}"
        for one, other, images in leaks
    ]
    if unknown := [member.name for member in members if member.trained is None]:
        notes.append(f"what {', '.join(unknown)} learned from is not in the file: no leak is looked for")
    return notes


def _crossing(member: Member, common: set[str]) -> int:
    """Return how many of the common images are of patients that the member's own execution was trained on."""
    if member.trained is None:
        return 0
    tested = of_split(member.frame, "test")
    tested = tested[tested["image_id"].isin(common)]
    keys = ["patient_id", "repeat", "fold"]
    seen = pd.MultiIndex.from_frame(member.trained[keys]).unique()
    return tested.loc[pd.MultiIndex.from_frame(tested[keys]).isin(seen), "image_id"].nunique()
