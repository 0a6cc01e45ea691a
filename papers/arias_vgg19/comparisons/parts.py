"""Differences between whole image (part c), lungs only (d) and lungs removed (e)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, bootstrap_difference
from covid_keras.evaluation.metrics import executions_of
from covid_keras.reporting.differences import (
    PrintedOf,
    difference_of_printed,
    difference_words,
    rows_tested,
    shared_test_rows,
)
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING
from papers.arias_vgg19.systems import DEPTHS

COMPARED = (("e", "d"), ("d", "c"), ("e", "c"))
DIFFERENCES = {"accuracy": "accuracy", "auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}


def part_differences(results: Results, name: str) -> dict[tuple[str, str, str], Difference]:
    """Return the paired differences between the parts of an experiment by (first part, second part, metric)."""
    found = {}
    for a, b in COMPARED:
        first, second = shared_test_rows(*(results.predictions_of(f"{name}_{part}") for part in (a, b)))
        if len(first):
            found |= {(a, b, metric): bootstrap_difference(first, second, metric) for metric in DIFFERENCES}
    return found


def difference_table(name: str, found: Mapping[tuple[str, str, str], Difference], paper: PrintedOf) -> pd.DataFrame:
    """Return the differences, one row per pair of parts, with the paper's columns only if it prints such numbers."""
    rows = []
    for a, b in COMPARED:
        row: dict[str, Any] = {"parts": f"{a} minus {b}"}
        row |= {words: difference_words(found.get((a, b, metric))) for metric, words in DIFFERENCES.items()}
        for metric in ("accuracy", "sensitivity", "specificity"):
            row[f"paper, {metric}"] = printed_difference(paper, name, a, b, metric)
        row["patients"] = max((found[key].n_patients for key in found if key[:2] == (a, b)), default=0)
        rows.append(row)
    frame = pd.DataFrame(rows)
    empty = [column for column in frame if column.startswith("paper") and frame[column].eq(NOTHING).all()]
    return frame.drop(columns=empty)


def printed_difference(paper: PrintedOf, name: str, a: str, b: str, metric: str) -> str:
    """Return the printed number of part `a` minus that of part `b`, marked if either is doubtful."""
    pair = [paper.get((_printed_system(paper, f"{name}_{part}", metric), metric)) for part in (a, b)]
    return difference_of_printed(*pair)


def _printed_system(paper: PrintedOf, system: str, metric: str) -> str:
    """Return the system whose printed number is compared; accuracies are printed per VGG: the better on validation."""
    if metric != "accuracy":
        return system
    known = [f"{system}{depth}" for depth in DEPTHS if (f"{system}{depth}", "accuracy_validation") in paper]
    return max(known, key=lambda one: paper[one, "accuracy_validation"].value, default=system)


def curves_of(frame: pd.DataFrame, positive: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (labels, scores) of the positive class on the test images of each execution that has both classes."""
    found = []
    for _, rows in executions_of(rows_tested(frame)):
        labels = rows["label"].eq(positive).to_numpy(np.int64)
        if len(np.unique(labels)) == 2:
            found.append((labels, rows[f"score_{positive}"].to_numpy(np.float64)))
    return found
