"""`covid-keras ensemble`: average or vote of finished systems, from one or several runs of any paper.

`covid_keras.reporting.ensemble_members` describes which images are tested and how executions are paired.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras import DISCLAIMER
from covid_keras.common.errors import UserError
from covid_keras.common.files import staged, write_json
from covid_keras.common.provenance import provenance
from covid_keras.common.tables import parse_number
from covid_keras.evaluation import (
    Difference,
    Measured,
    bootstrap_difference,
    classes_of,
    metrics_json,
    per_execution,
    summarise,
    write_predictions,
)
from covid_keras.evaluation.ensembles import (
    STEP,
    WEIGHTS,
    Combined,
    average_predictions,
    vote_predictions,
)
from covid_keras.evaluation.seeds import seed_metrics
from covid_keras.evaluation.summary import plain
from covid_keras.evaluation.uncertainty import EXACT
from covid_keras.reporting.ensemble_members import Matched, find_members, match_members, of_split, parted
from covid_keras.reporting.wording import EXACT_WORDS
from covid_keras.training.runfolder import RECORD

_TITLES = {
    "execution": "combined per execution",
    "repeat": "combined per repeat, over its folds",
    "image": "combined over all executions",
}
PREDICTIONS, REPORT = "predictions.csv", "ensemble.json"

_SHOWN_WEIGHTS = 5


@dataclass(frozen=True)
class Rule:
    """How the members are combined; see `covid_keras.evaluation.ensembles`.

    Parameters
    ----------
    method : {"average", "vote"}
    weights : str or sequence of float
        For an average.
    ties : str
        For a vote.
    step : float
        Grid step of the weights "validation".
    """

    method: str = "average"
    weights: str | Sequence[float] = "validation"
    ties: str = "probability"
    step: float = STEP

    @classmethod
    def of(cls, method: str, weights: str | None, ties: str | None, step: float | None) -> Rule:
        """Read the options of the command line (None: not given); raise `UserError` for options without effect."""
        if method == "vote" and (weights is not None or step is not None):
            raise UserError("--method vote", "has no weights", "Omit --weights and --step, or use --method average")
        if method == "average" and ties is not None:
            raise UserError("--ties", "applies to a vote only", "Add --method vote, or omit it")
        chosen = parse_weights(cls.weights if weights is None else weights)
        if step is not None and chosen != "validation":
            raise UserError("--step", "applies to --weights validation only", "Omit it")
        return cls(method, chosen, ties or cls.ties, cls.step if step is None else step)

    def apply(self, frames: list[pd.DataFrame], system: str) -> Combined:
        """Combine aligned members."""
        if self.method == "vote":
            return vote_predictions(frames, self.ties, system)
        return average_predictions(frames, self.weights, self.step, system)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings in effect, for JSON."""
        if self.method == "vote":
            return {"method": self.method, "ties": self.ties}
        weights = self.weights if isinstance(self.weights, str) else list(self.weights)
        step = {"step": self.step} if weights == "validation" else {}
        return {"method": self.method, "weights": weights} | step


def parse_weights(text: str) -> str | list[float]:
    """Read "validation", "proportional", "equal" or numbers such as "0.3,0.3,0.4"."""
    if text in WEIGHTS:
        return text
    try:
        return [parse_number(part) for part in text.split(",")]
    except ValueError as error:
        problem = f"must be {', '.join(WEIGHTS)} or numbers"
        raise UserError(f"--weights {text}", problem, "Give, for example, 0.3,0.3,0.4") from error


@dataclass(frozen=True)
class Ensemble:
    """A finished ensemble and its metrics.

    Parameters
    ----------
    name : str
    rule : Rule
    matched : Matched
    combined : Combined
    measured : list of Measured
        Metrics of the members and the ensemble on the same images. A vote has no AUC: shares of votes are too coarse.
    differences : list of (member's name, Difference)
        Ensemble minus member, on the same patients.
    """

    name: str
    rule: Rule
    matched: Matched
    combined: Combined
    measured: list[Measured]
    differences: list[tuple[str, Difference]]

    @property
    def shown(self) -> list[str]:
        """The metrics compared: accuracy, F1, AUC and, for two classes, sensitivity and specificity."""
        return list(dict.fromkeys(difference.metric for _, difference in self.differences))

    def lines(self) -> list[str]:
        """Return the result as lines of text: the table, the weights, the notes."""
        test = of_split(self.combined.frame, "test")
        images, patients, executions = test["image_id"].nunique(), test["patient_id"].nunique(), self.combined.facts
        classes = classes_of(test)
        named = f"{classes[0]}, {classes[1]} (positive)" if len(classes) == 2 else ", ".join(classes)
        head = [
            f"{len(self.matched.members)} members, {_TITLES[self.matched.level]} ({len(executions)}):"
            f" {images} images of {patients} patients tested",
            f"Classes: {named}",
        ]
        return [*head, *self._table(), *self._weights(), *(f"Note: {note}." for note in self.matched.notes), DISCLAIMER]

    def _table(self) -> list[str]:
        """Return means and differences, with their intervals, in columns."""
        cells = {(one.system, one.metric): _cell(".1f", one.mean, one) for one in self.measured}
        for name, one in self.differences:
            cells[f"minus {name}", one.metric] = _cell("+.1f", one.difference, one)
        names = [member.name for member in self.matched.members]
        rows = [*names, self.name, *(f"minus {name}" for name in names)]
        table = pd.DataFrame(
            [[cells.get((row, metric), "-") for metric in self.shown] for row in rows], index=rows, columns=self.shown
        )
        legend = [EXACT_WORDS] if any(one.interval == EXACT for one in self.measured) else []
        return ["Percent, with 95 % intervals by patient", *legend, *table.to_string(justify="right").splitlines()]

    def _weights(self) -> list[str]:
        facts = [one for one in self.combined.facts if one["weights"] is not None]
        if facts and self.rule.weights not in ("validation", "proportional"):
            return [f"Weights: {_numbers(facts[0]['weights'])}"]
        lines = [
            f"Weights in repeat {one['repeat']}, fold {one['fold']}, by {one['images']['validation']} validation"
            f" images: {_numbers(one['weights'])}"
            for one in facts
        ]
        further = len(lines) - _SHOWN_WEIGHTS
        return lines[:_SHOWN_WEIGHTS] + ([f"Weights of {further} more: see {REPORT}"] if further > 0 else [])

    def report(self) -> dict[str, Any]:
        """Return the contents of `ensemble.json`."""
        frame = pd.concat([*self.matched.frames, self.combined.frame], ignore_index=True)
        numbers = metrics_json(self.measured, _without_auc_of_vote(per_execution(frame), self.name, self.rule))
        differences = [
            {"member": name, "ensemble": one.a, "of_member": one.b}
            | {key: getattr(one, key) for key in ("metric", "difference", "low", "high", "n_patients", "interval")}
            for name, one in self.differences
        ]
        return {
            "ensemble": self.name,
            **self.rule.settings,
            "classes": list(classes_of(self.combined.frame)),
            "paired_by": self.matched.level,
            "members": [{"name": member.name} | member.facts for member in self.matched.members],
            "notes": self.matched.notes,
            "executions": [
                {key.replace("accuracy", "validation_accuracy"): value for key, value in one.items()}
                for one in self.combined.facts
            ],
            "interval": numbers["interval"],
            "std": numbers["std"],
            "systems": numbers["systems"],
            "differences": [{key: plain(value) for key, value in one.items()} for one in differences],
            "provenance": provenance(),
        }


def _cell(form: str, value: float, one: Measured | Difference) -> str:
    if not np.isfinite([value, one.low]).all():
        return f"{value:{form}}" if np.isfinite(value) else "-"
    return f"{value:{form}} ({one.low:{form}} to {one.high:{form}}{', exact' if one.interval == EXACT else ''})"


def _numbers(weights: Sequence[float]) -> str:
    return ", ".join(f"{weight:.3g}" for weight in weights)


def _without_auc_of_vote(table: pd.DataFrame, name: str, rule: Rule) -> pd.DataFrame:
    return table.assign(auc=table["auc"].mask((table["system"] == name) & (rule.method == "vote")))


def combine_systems(
    sources: Sequence[str],
    systems: Sequence[str] = (),
    out: str | Path = "runs/ensemble",
    rule: Rule | None = None,
    leave_out: bool = False,
) -> Ensemble:
    """Combine systems of finished runs; write `predictions.csv` and `ensemble.json` into a folder.

    Parameters
    ----------
    sources, systems
        As in `find_members`.
    out : str or Path
        Output folder; an earlier ensemble is replaced.
    rule : Rule, optional
        Default: average with weights chosen on validation images.
    leave_out : bool
        As in `match_members`.

    Raises
    ------
    UserError
        As in `find_members`, `match_members` and `covid_keras.evaluation.ensembles`, or if `out` contains a run or an
        input or cannot be written. Nothing is written then.
    """
    out, rule = Path(out), rule or Rule()
    _check_out(out, sources)
    matched = match_members(find_members(sources, systems), leave_out)
    if matched.level != "execution" and rule.method == "average" and rule.weights in ("validation", "proportional"):
        problem = f"members are paired by {matched.level}, so validation images of one fold are test images of another"
        raise UserError(f"--weights {rule.weights}", problem, "Use --weights equal, or numbers")
    name = f"ensemble_{rule.method}"
    while name in {member.name for member in matched.members}:
        name += "_again"
    combined = rule.apply(matched.frames, name)
    ensemble = Ensemble(name, rule, matched, combined, *_measure(matched.frames, combined.frame, name, rule))
    report = ensemble.report()
    with staged(out) as folder:
        write_predictions(folder / PREDICTIONS, combined.frame)
        write_json(folder / REPORT, report)
    return ensemble


def _check_out(out: Path, sources: Sequence[str]) -> None:
    """Raise `UserError` if a run or an input would be overwritten."""
    if (out / RECORD).exists():
        raise UserError(out, "is a run folder", "Choose another --out")
    if any(os.path.realpath(parted(text)[0]) == os.path.realpath(out / PREDICTIONS) for text in sources):
        raise UserError(out / PREDICTIONS, "is an input and would be overwritten", "Choose another --out")


def _measure(
    frames: list[pd.DataFrame], combined: pd.DataFrame, name: str, rule: Rule
) -> tuple[list[Measured], list[tuple[str, Difference]]]:
    everything = pd.concat([*frames, combined], ignore_index=True)
    no_auc = name if rule.method == "vote" else None
    measured = [one for one in summarise(everything) if not (one.system == no_auc and one.metric == "auc")]
    executions = per_execution(combined)
    compared = [metric for metric in ("sensitivity", "specificity") if metric in executions.columns]
    compared = [*seed_metrics(executions)[:1], *compared, *seed_metrics(executions)[1:]]
    differences = [
        (frame["system"].iloc[0], bootstrap_difference(combined, frame, metric))
        for frame in frames
        for metric in compared
        if not (no_auc and metric == "auc")
    ]
    return measured, differences
