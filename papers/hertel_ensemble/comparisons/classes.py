"""Each class against the rest, and children as negatives."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from covid_keras.evaluation import summarise
from covid_keras.reporting.differences import PrintedOf, measured_cells, measured_of, printed_words
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING
from papers.hertel_ensemble.systems import COVID

ONE_AGAINST_REST = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1_positive": "F1",
    "precision_positive": "PPV",
    "precision_negative": "NPV",
    "auc": "AUC",
}
_CHILDREN = "networks trained on children's images: "  # rows of published.yaml


def class_table(results: Results, systems: Iterable[str], name: str, paper: PrintedOf) -> pd.DataFrame:
    """Return the metrics of one class against the rest, one row per system."""
    rows = []
    for system in systems:
        found = measured_of(summarise(results.predictions_of(system), positive=name))
        row = {"system": results.systems[system]} | measured_cells(found, system, ONE_AGAINST_REST)
        if system.startswith("vote_"):
            row["AUC"] = NOTHING  # the paper draws no ROC curve of votes
        rows.append(row | {"paper, sensitivity": printed_words(paper.get((system, f"recall_{name}")))})
    frame = pd.DataFrame(rows)
    return frame if frame["paper, sensitivity"].ne(NOTHING).any() else frame.drop(columns="paper, sensitivity")


def children_table(results: Results) -> pd.DataFrame:
    """Return accuracy, sensitivity and AUC for COVID-19 of DenseNet-201 with adults and with children as negatives."""
    printed = " to ".join(f"{cell.mean:g}" for cell in results.published if cell.row.startswith(_CHILDREN))
    rows = []
    for name, negatives in (("densenet201_whole", "adults"), ("densenet201_children", "children")):
        if name in results.systems:
            found = measured_of(summarise(results.predictions_of(name), positive=COVID))
            metrics = {"accuracy": "accuracy (%)", "sensitivity": "sensitivity (%)", "auc": "AUC (%)"}
            row = {"normal and pneumonia images of": negatives} | measured_cells(found, name, metrics)
            rows.append(row | {"paper, of other works": printed if negatives == "children" else NOTHING})
    return pd.DataFrame(rows)
