"""Check that every change of a protocol takes effect: a change that would be ignored is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from covid_keras.common.errors import UserError
from covid_keras.paper.paper import Paper
from covid_keras.paper.protocol import Protocol
from covid_keras.paper.systems import System, Trained
from covid_keras.paper.unfreezing import SCRATCH, WHOLE

# Reason and remedy for a change without effect; None if it has an effect.
Why = tuple[str, str] | None
_ELSEWHERE = {
    "paper": "Name the paper in the command",
    "profile": "Choose it by --profile",
    "files": "Give --checkpoint NAME=FILE",
}
# Set before any run, so that nobody chooses it by the result.
_FIXED = ("tolerance",)
# Settings read by one optimiser only.
_READ_BY = {"momentum": "sgd", "nesterov": "sgd", "epsilon": "adam"}


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


def _paths(changes: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in changes.items():
        if isinstance(value, Mapping) and value:
            yield from _paths(value, (*above, str(key)))
        else:
            yield (*above, str(key))


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
        return checks[first](*rest) if first in checks and rest else None

    def _of_training(self, systems: list[Trained], part: str = "", name: str = "", *rest: str) -> Why:
        if part == "optimizer" and (optimizer := _READ_BY.get(name)):
            chosen = {one.training(self.protocol).optimizer.name for one in systems}
            if optimizer not in chosen:
                return f"{' and '.join(sorted(chosen))} has no {name}", f"Also set optimizer.name to {optimizer}"
        if part == "patience" and not any(self._stops(one) for one in systems):
            return "no training of this run can stop by it", "Lower it, or set training.unfreeze.patience for stages"
        if part == "unfreeze":
            staged = [one for one in systems if one.groups]
            if not staged:
                return "no system of this run is unfrozen in stages", "Omit it"
            if name != "epochs" and not any(one.training(self.protocol).unfreeze.epochs for one in staged):
                return "unfreeze.epochs is 0, so all layers train at once", "Also set unfreeze.epochs"
        return None

    def _stops(self, system: Trained) -> bool:
        """Return whether `patience` can end a stage; the head's trains all its epochs, later ones have their own."""
        own = [stage for stage in system.stages(self.protocol) if stage.name in (WHOLE, SCRATCH)]
        return any(stage.patience < stage.epochs for stage in own)

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
            is_of = key == option or key.startswith(f"{option}.")
            if is_of and not any(system.name.startswith(readers) for system in self.systems):
                return f"no system of this run reads options.{option}", f"Name one in systems: {', '.join(readers)}"
        return None
