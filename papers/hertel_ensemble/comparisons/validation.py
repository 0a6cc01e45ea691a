"""Validation accuracies: after the head's last epoch, and compared with test accuracies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, PublishedCell, difference_of_sets
from covid_keras.paper.unfreezing import HEAD
from covid_keras.reporting.differences import (
    PrintedOf,
    difference_of_printed,
    difference_words,
    printed_words,
    rows_tested,
)
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import number
from covid_keras.training.executions import Execution
from papers.hertel_ensemble.comparisons.names import NETWORKS, TASKS, VALIDATION, short_title, systems_of

# Rows of published.yaml: the accuracy after the epochs with the backbone frozen, and the claimed fall.
_AFTER_HEAD = "validation accuracy after these, {}"
_FELL = "accuracies fell by at {}"


def drops(results: Results) -> dict[str, Difference]:
    """Return test minus validation accuracy of every system with both parts."""
    found = {}
    for name in (name for task in TASKS for name in systems_of(results, task)):
        frame = results.predictions_of(name)
        validation, test = frame[frame["split"] == "validation"], rows_tested(frame)
        if len(validation) and len(test):
            found[name] = difference_of_sets(test, validation.assign(split="test"), "accuracy")
    return found


def drop_table(found: Mapping[str, Difference], paper: PrintedOf) -> pd.DataFrame:
    """Return validation and test accuracy and their difference, one row per system."""
    rows = []
    for name, one in found.items():
        before, after = (paper.get((name, metric)) for metric in (VALIDATION, "accuracy"))
        row = {"task": TASKS[name.rpartition("_")[2]], "system": short_title(name)}
        row |= {"validation": number(one.b), "test": number(one.a), "difference (points)": difference_words(one)}
        row |= {"paper, validation": printed_words(before), "paper, test": printed_words(after)}
        rows.append(row | {"paper, difference": difference_of_printed(after, before)})
    return pd.DataFrame(rows)


def claimed_drop(published: Iterable[PublishedCell], paper: PrintedOf) -> dict[str, Any]:
    """Return the fall from validation to test that the paper claims, and its systems outside that range.

    Returns
    -------
    dict
        Accuracies fall by `least` to `most` percent; `systems` is the number of systems whose fall the paper prints,
        `outside` lists those outside the range as (title, fall in points). Empty if the paper claims no fall.
    """
    bounds = {word: cell.mean for cell in published for word in ("least", "most") if _FELL.format(word) in cell.row}
    if len(bounds) < 2:
        return {}
    before = {name: one for (name, metric), one in paper.items() if metric == VALIDATION}
    pairs = {name: (one, paper.get((name, "accuracy"))) for name, one in before.items()}
    fell = [(short_title(name), one.value - other.value) for name, (one, other) in pairs.items() if other is not None]
    outside = [one for one in fell if not bounds["least"] <= round(one[1], 6) <= bounds["most"]]
    return bounds | {"systems": len(fell), "outside": outside}


def head_table(results: Results) -> pd.DataFrame:
    """Return the validation accuracy of each network after the head's last epoch, mean over executions."""
    bounds = [
        cell.mean for word in ("from", "to") for cell in results.published if cell.row == _AFTER_HEAD.format(word)
    ]
    printed = " to ".join(f"{bound:g}" for bound in bounds)
    rows = []
    for name in (name for task in TASKS for name in systems_of(results, task)):
        if name.rpartition("_")[0] not in NETWORKS:
            continue
        reached = [epoch for execution, _ in results.executions_of(name) if (epoch := _after_head(execution))]
        if reached:
            accuracies = [100 * accuracy for _, accuracy in reached]
            row = {"task": TASKS[name.rpartition("_")[2]], "system": short_title(name)}
            row |= {"epochs of the head": str(reached[0][0]), "validation accuracy (%)": number(np.mean(accuracies))}
            rows.append(row | {"executions": len(reached), "paper": printed})
    return pd.DataFrame(rows)


def _after_head(execution: Execution) -> tuple[int, float] | None:
    """Return the number of epochs of the head and the validation accuracy after the last; None without this stage."""
    if (history := execution.history) is None:
        return None
    names = [stage.name for stage in execution.system.stages(execution.protocol)]
    if HEAD not in names:
        return None
    rows = history[history["stage"] == names.index(HEAD)]
    return (len(rows), float(rows["val_accuracy"].iloc[-1])) if len(rows) else None
