"""What the ensembles gain over their networks, their weights, and how often the networks agree."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, bootstrap_difference
from covid_keras.reporting.differences import (
    MeasuredOf,
    PrintedOf,
    difference_of_printed,
    difference_words,
    forest_row,
    measured_of,
    rows_tested,
    shared_test_rows,
)
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING, number
from papers.hertel_ensemble.comparisons.names import (
    ENSEMBLES,
    NETWORKS,
    TASKS,
    VALIDATION,
    mean_words,
    short_title,
    systems_of,
)

PATTERNS = {1: "3-0", 2: "2-1", 3: "1-1-1"}  # of votes, by the number of distinct classes
FEW_EXECUTIONS = 5
_KEYS = ["repeat", "fold", "image_id"]


class Gain(NamedTuple):
    """An ensemble minus one of its members, on the same test images."""

    task: str
    ensemble: str
    member: str
    less: Difference
    best_on: tuple[str, ...]  # parts ("validation", "test") on which the member is the best network

    @property
    def titles(self) -> tuple[str, str, str]:
        """The names of task, ensemble and member."""
        return TASKS[self.task], short_title(self.ensemble), short_title(self.member)


def weight_table(results: Results) -> pd.DataFrame:
    """Return the members' weights and validation accuracies, one row per ensemble and execution.

    More than `FEW_EXECUTIONS` executions of an ensemble share one row.
    """
    rows = []
    for task, title in TASKS.items():
        for name, words in ENSEMBLES.items():
            system = f"{name}_{task}"
            facts = [fact for _, record in results.executions_of(system) for fact in record.get("combined", ())]
            if facts:
                members = [short_title(one) for one in results.paper.system(system).below]
                rows += weight_rows(f"{words}, {title}", members, facts)
    return pd.DataFrame(rows)


def weight_rows(title: str, members: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows of one ensemble; `facts` are the combination records of its executions."""
    groups = [[fact] for fact in facts] if len(facts) <= FEW_EXECUTIONS else [facts]
    rows = []
    for group in groups:
        alone = f"repeat {group[0]['repeat'] + 1}, fold {group[0]['fold'] + 1}"
        row = {"ensemble": title, "execution": alone if len(group) == 1 else f"{len(group)} executions"}
        for place, member in enumerate(members):
            weights = [fact["weights"][place] for fact in group if fact["weights"] is not None]
            accuracy = _mean([fact["accuracy"][place] for fact in group if fact["accuracy"] is not None])
            spread = f" ({number(min(weights))} to {number(max(weights))})" if len(weights) > 1 else ""
            row[member] = f"{number(_mean(weights))}{spread} / {number(accuracy)}"
        ensemble = [fact["accuracy_ensemble"] for fact in group if fact["accuracy_ensemble"] is not None]
        rows.append(row | {"ensemble on validation (%)": number(_mean(ensemble))})
    return rows


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def gains(results: Results) -> list[Gain]:
    """Return each ensemble minus each of its members."""
    ours, found = measured_of(results.measured), []
    for task in TASKS:
        systems = systems_of(results, task)
        members = [name for name in systems if name.rpartition("_")[0] in NETWORKS]
        best = {
            part: max(members, key=lambda name: _value(ours, name, metric), default="")
            for part, metric in (("validation", VALIDATION), ("test", "accuracy"))
            if any((name, metric) in ours for name in members)
        }
        for ensemble in (name for name in systems if name not in members):
            for member in members:
                both = shared_test_rows(*(results.predictions_of(name) for name in (ensemble, member)))
                if len(both[0]):
                    where = tuple(part for part, name in best.items() if name == member)
                    found.append(Gain(task, ensemble, member, bootstrap_difference(*both, "accuracy"), where))
    return found


def _value(ours: MeasuredOf, system: str, metric: str) -> float:
    one = ours.get((system, metric))
    return -math.inf if one is None or math.isnan(one.mean) else one.mean


def gain_table(found: Iterable[Gain], paper: PrintedOf) -> pd.DataFrame:
    """Return the gains, one row each."""
    rows = []
    for one in found:
        row = dict(zip(("task", "ensemble", "network"), one.titles, strict=True))
        row |= {
            "best single network on": " and ".join(one.best_on) or NOTHING,
            "ensemble (%)": number(one.less.a),
            "network (%)": number(one.less.b),
            "gain (points)": difference_words(one.less),
            "paper, gain": difference_of_printed(
                *(paper.get((name, "accuracy")) for name in (one.ensemble, one.member))
            ),
        }
        rows.append(row | {"patients": one.less.n_patients})
    return pd.DataFrame(rows)


def gain_frame(found: Iterable[Gain]) -> pd.DataFrame:
    """Return the gains as `covid_keras.reporting.forest.forest_figure` takes them."""
    rows = [
        forest_row(f"{ensemble}, {task}", f"less {member}", one.less)
        for one in found
        for task, ensemble, member in [one.titles]
    ]
    return pd.DataFrame(rows)


def agreement(results: Results, task: str) -> pd.DataFrame:
    """Return the votes of the three networks, one row per test image and execution that all systems share.

    Columns `patient_id`, `pattern` ("3-0", "2-1", "1-1-1"), `some` (bool, whether any network is right) and one column
    per ensemble that was run, with its name (bool, whether it is right). Empty if a network was not run.
    """
    members = [f"{name}_{task}" for name in NETWORKS]
    if not set(members) <= set(results.systems):
        return pd.DataFrame()
    frames = {name: rows_tested(results.predictions_of(name)).set_index(_KEYS) for name in systems_of(results, task)}
    said = pd.concat({name: frame["predicted"] for name, frame in frames.items()}, axis=1, join="inner")
    truth = frames[members[0]].loc[said.index]
    found = pd.DataFrame({"patient_id": truth["patient_id"]}, index=said.index)
    found["pattern"] = said[members].nunique(axis=1).map(PATTERNS)
    right = said.eq(truth["label"], axis=0)
    found["some"] = right[members].any(axis=1)
    return found.join(right.drop(columns=members)).reset_index(drop=True)


def agreement_rows(frame: pd.DataFrame, task: str) -> list[dict[str, Any]]:
    """Return one row per pattern of votes in a frame from `agreement`."""
    rows = []
    for pattern in PATTERNS.values() if len(frame) else ():
        shown = frame["pattern"].eq(pattern)
        mine = frame[shown]
        if mine.empty:
            continue
        row = {"task": TASKS[task], "votes": pattern, "images": f"{len(mine):,}"}
        row["share (%)"] = mean_words(shown, frame["patient_id"])
        for name, words in ENSEMBLES.items():
            right = mine.get(f"{name}_{task}", pd.Series(dtype=float))
            row[f"{words} right (%)"] = mean_words(right, mine["patient_id"])
        rows.append(row | {"some network right (%)": mean_words(mine["some"], mine["patient_id"])})
    return rows
