"""Check that every change of a protocol takes effect: a change that would be ignored is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from covid_keras.common.errors import UserError
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import AugmentationSettings, Protocol, TrainingSettings
from covid_keras.paper.system import System
from covid_keras.paper.systems import Trained
from covid_keras.paper.unfreezing import SCRATCH, WHOLE, stages_of

# Reason and remedy for a change without effect; None if it has an effect.
Why = tuple[str, str] | None
_ELSEWHERE = {
    "paper": "Name the paper in the command",
    "profile": "Choose it by --profile",
    "files": "Give --checkpoint NAME=FILE",
}
# Set before any run, so that nobody chooses it by the result.
_FIXED = ("tolerance",)


def require_effect(paper: Paper, protocol: Protocol, changes: Mapping[str, Any]) -> None:
    """Raise `UserError` for a change without effect on the run.

    Parameters
    ----------
    paper : Paper
    protocol : Protocol
        Resolved, with the changes.
    changes : mapping
        From `covid_keras.training.plan.settings_of`.

    Raises
    ------
    UserError
        Naming the first such change, the reason and the remedy.
    """
    checks = _Checks(paper, protocol)
    for path in _paths(changes):
        if found := checks.without_effect(*path):
            reason, remedy = found
            raise UserError(f"--set {'.'.join(path)}", f"has no effect: {reason}", remedy)


def require_read(paper: Paper, protocol: Protocol, given: Mapping[str, Any]) -> None:
    """Raise `UserError` for initial weights or a weight file that no system of the run reads.

    Parameters
    ----------
    paper : Paper
    protocol : Protocol
        Resolved.
    given : mapping
        What the user gave: "weights" and "files", as in the protocol. Weights "none" are true of every such system.
    """
    checks = _Checks(paper, protocol)
    wanted = {f"files.{name}": f"--checkpoint {name}" for name in given.get("files", {})}
    if given.get("weights", "none") != "none":
        wanted["weights"] = "--weights"
    for key, flag in wanted.items():
        # Without a declared reader, initial weights are read by whatever is trained.
        systems = checks.trained if key == "weights" else checks.systems
        if not any(paper.reads(system.name, key) for system in systems):
            readers = paper.readers.get(key, ())
            remedy = f"Name one in systems: {', '.join(readers)}" if readers else "Omit it"
            raise UserError(flag, "has no effect: no system of this run reads it", remedy)


def _paths(changes: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(value, (*above, str(key)))
        else:
            yield (*above, str(key))


def _within(key: str, setting: str) -> bool:
    """Return whether a dotted path is a setting or lies below it."""
    return key == setting or key.startswith(f"{setting}.")


# ---------------------------------------------------------------------------------------------- settings of a training


@dataclass(frozen=True)
class _Condition:
    """A training setting that is read only if `holds`, with the reason and the remedy if it does not."""

    setting: str
    holds: Callable[[Trained, TrainingSettings], bool]
    reason: str
    remedy: str


def _resized(augmentation: AugmentationSettings) -> bool:
    return augmentation.zoom != (1.0, 1.0) or augmentation.zoom_range not in (None, (1.0, 1.0))


def _moved(augmentation: AugmentationSettings) -> bool:
    return bool(_resized(augmentation) or augmentation.rotation or augmentation.shear or any(augmentation.shift))


def _staged(system: Trained, training: TrainingSettings) -> bool:
    return bool(system.groups) and training.unfreeze.epochs > 0


def _stops(system: Trained, training: TrainingSettings) -> bool:
    """Return whether `patience` can end a stage; the head's trains all its epochs, later ones have their own."""
    stages = stages_of(training, system.groups)
    return any(stage.patience < stage.epochs for stage in stages if stage.name in (WHOLE, SCRATCH))


_CONDITIONS = (
    _Condition(
        "optimizer.momentum",
        lambda system, training: training.optimizer.name == "sgd",
        "adam has no momentum",
        "Also set optimizer.name to sgd",
    ),
    _Condition(
        "optimizer.nesterov",
        lambda system, training: training.optimizer.name == "sgd" and training.optimizer.momentum > 0,
        "only sgd with momentum has it",
        "Also set optimizer.name to sgd and optimizer.momentum",
    ),
    _Condition(
        "optimizer.epsilon",
        lambda system, training: training.optimizer.name == "adam",
        "sgd has no epsilon",
        "Also set optimizer.name to adam",
    ),
    _Condition(
        "unfreeze",
        lambda system, training: bool(system.groups),
        "no system of this run is unfrozen in stages",
        "Omit it",
    ),
    *(
        _Condition(
            f"unfreeze.{name}", _staged, "unfreeze.epochs is 0, so all layers train at once", "Also set unfreeze.epochs"
        )
        for name in ("groups", "patience", "learning_rate", "scratch", "scratch_rate")
    ),
    _Condition(
        "unfreeze.scratch_rate",
        lambda system, training: training.unfreeze.scratch > 0,
        "unfreeze.scratch is 0",
        "Also set unfreeze.scratch",
    ),
    _Condition(
        "patience",
        _stops,
        "no training of this run can stop by it",
        "Lower it, or set training.unfreeze.patience for stages",
    ),
    _Condition(
        "augmentation.fill",
        lambda system, training: _moved(training.augmentation),
        "nothing is rotated, shifted, sheared or zoomed",
        "Also set one of these",
    ),
    _Condition(
        "augmentation.keep_aspect",
        lambda system, training: _resized(training.augmentation),
        "nothing is zoomed",
        "Also set augmentation.zoom",
    ),
)


def unread(system: Trained, protocol: Protocol, key: str) -> Why:
    """Return reason and remedy if a system's training does not read a setting, else None."""
    training = system.training(protocol)
    for setting, why in system.unread.items():
        if _within(key, setting):
            return why
    for one in _CONDITIONS:
        if _within(key, one.setting) and not one.holds(system, training):
            return one.reason, one.remedy
    return None


@dataclass(frozen=True)
class _Checks:
    """Checks of what a run reads of its protocol."""

    paper: Paper
    protocol: Protocol

    @property
    def systems(self) -> list[System]:
        return [self.paper.system(name) for name in self.protocol.systems]

    @property
    def trained(self) -> list[Trained]:
        return [system for system in self.systems if isinstance(system, Trained)]

    def without_effect(self, first: str, *rest: str) -> Why:
        """Return reason and remedy if a change has no effect, else None."""
        if first in _ELSEWHERE:
            return "it is not a setting of the protocol", _ELSEWHERE[first]
        if first in _FIXED:
            return "it is fixed before a run, and a run with other settings is not judged", "Omit it"
        if first in ("training", "trainings") and not self.trained:
            return "no system of this run is trained", "Name a trained system with --set systems=[...]"
        checks: dict[str, Callable[..., Why]] = {
            "training": partial(self._of_training, self.trained),
            "trainings": self._of_trainings,
            "split": self._of_split,
            "splits": self._of_splits,
            "options": self._of_options,
        }
        if first == "size" and not any(one.reads_size(self.protocol) for one in self.systems):
            return "each network of this run has its own size", "Set that in options"
        found = checks[first](*rest) if first in checks and rest else None
        return found or self._of_paper(".".join((first, *rest)))

    def _of_training(self, systems: list[Trained], *path: str) -> Why:
        """Return why none of the systems reads a setting of its training; None if one does."""
        found = [unread(one, self.protocol, ".".join(path)) for one in systems]
        return found[0] if all(found) else None

    def _of_trainings(self, name: str, *rest: str) -> Why:
        systems = [one for one in self.trained if (one.settings or one.name) == name]
        if systems:
            return self._of_training(systems, *rest)
        known = dict.fromkeys(one.settings or one.name for one in self.trained)
        return f"this run does not train {name}", f"It trains {', '.join(known)}"

    def _of_split(self, name: str, *rest: str) -> Why:
        schemes = {self.protocol.split_of(one).scheme for one in self.paper.splits_of(self.protocol)}
        if name == "test" and schemes == {"folds"}:
            return "the test part is a fold", "Set split.folds"
        return None

    def _of_splits(self, name: str, *rest: str) -> Why:
        splits = self.paper.splits_of(self.protocol)
        if name in splits:
            return None
        known = ", ".join(filter(None, splits)) or "only the main one, split"
        return f"no system of this run uses the split {name}", f"Splits in use: {known}"

    def _of_options(self, *path: str) -> Why:
        """Check an option against the paper's `option_readers`."""
        key = ".".join(path)
        for option, readers in self.paper.option_readers.items():
            read = (self.paper.reads(system.name, f"options.{option}") for system in self.systems)
            if _within(key, option) and not any(read):
                return f"no system of this run reads options.{option}", f"Name one in systems: {', '.join(readers)}"
        return None

    def _of_paper(self, key: str) -> Why:
        """Check a setting against the paper's `conditions`."""
        found = (why(self.protocol) for setting, why in self.paper.conditions.items() if _within(key, setting))
        return next(filter(None, found), None)
