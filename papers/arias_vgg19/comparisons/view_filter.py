"""The view filter: its metrics, and which images it lets through."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from covid_keras.common.tables import read_table
from covid_keras.evaluation import Measured, summarise
from covid_keras.evaluation.counts import balanced_accuracy, summarise_counts
from covid_keras.evaluation.decisions import is_positive
from covid_keras.evaluation.metrics import percent
from covid_keras.reporting.differences import measured_cells, measured_of, printed_of, printed_words
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import number
from papers.arias_vgg19.comparisons.names import title_of
from papers.arias_vgg19.experiments import EXPERIMENTS, VIEW_OF
from papers.arias_vgg19.measures import DECISION_METRICS
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS, VERDICTS

VIEW_FILTERS = ("view16", "view19", "view_balanced", "view_all", "view")
# Columns of the metrics, with lateral as the positive class.
LATERAL_POSITIVE = {
    "accuracy": "accuracy (%)",
    "balanced_accuracy": "balanced accuracy (%)",
    "specificity": "recall of frontal (%)",
    "sensitivity": "recall of lateral (%)",
    "auc": "AUC (%)",
}
UNKNOWN_VIEW = "unknown view"
FRONTAL_ONLY = ("chestxray14", "kermany")  # collections that have only frontal radiographs, stated or not
# What happened to an image -> its true view, and whether the filter let it through.
FATES = {
    "frontal, let through": (FRONTAL_CLASS, True),
    "frontal, refused": (FRONTAL_CLASS, False),
    "lateral, refused": (LATERAL_CLASS, False),
    "lateral, slipped through": (LATERAL_CLASS, True),
    f"{UNKNOWN_VIEW}, let through": (UNKNOWN_VIEW, True),
    f"{UNKNOWN_VIEW}, refused": (UNKNOWN_VIEW, False),
}


def view_frames(results: Results) -> dict[str, pd.DataFrame]:
    """Return each filter's predictions on the collection with both views."""
    table = results.run.cohort.table
    both = table.loc[table["label"].isin(list(VIEW_OF)), "image_id"]
    frames = {name: results.predictions_of(name) for name in VIEW_FILTERS if name in results.systems}
    return {name: frame[frame["image_id"].isin(both)] for name, frame in frames.items()}


def view_table(results: Results, frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the metrics, one row for the baseline (every image called frontal) and one per filter."""
    ours, paper = measured_of(results.measured), printed_of(results.published)
    found = {"always": measured_of(always_frontal(next(iter(frames.values()))))}
    for name, frame in frames.items():
        balanced = summarise_counts(frame, {"balanced_accuracy": balanced_accuracy})
        whole = len(frame) == len(results.predictions_of(name))
        found[name] = ours if whole else measured_of([*summarise(frame), *balanced])
    rows = [
        {"filter": results.systems.get(name, "always frontal")}
        | measured_cells(own, name, LATERAL_POSITIVE)
        | {"paper, accuracy (%)": printed_words(paper.get((name, "accuracy")))}
        for name, own in found.items()
    ]
    return pd.DataFrame(rows)


def always_frontal(predictions: pd.DataFrame) -> list[Measured]:
    """Return the metrics of the baseline (every image called frontal), as system "always"."""
    said = predictions.assign(predicted=FRONTAL_CLASS, system="always")
    return summarise_counts(said, {**DECISION_METRICS, "balanced_accuracy": balanced_accuracy})


def true_views(table: pd.DataFrame) -> np.ndarray:
    """Return the true view of each row of a cohort's table, (n,): "frontal", "lateral" or `UNKNOWN_VIEW`.

    It is taken from the column `view`, else from the label, else from the collection (`source`) if that is all frontal.
    """
    view, source = (table[name].fillna("").astype(str) for name in ("view", "source"))
    label = table["label"].map(VIEW_OF).fillna("")
    conditions = (view.str.startswith("L"), view.str.startswith(("PA", "AP")), label.ne(""), source.isin(FRONTAL_ONLY))
    return np.select(conditions, (LATERAL_CLASS, FRONTAL_CLASS, label, FRONTAL_CLASS), UNKNOWN_VIEW)


def filter_answers(results: Results) -> pd.DataFrame:
    """Return the filter's answers to the test images of the experiments, from all executions that saved them.

    One row per image and execution, with the columns `experiment`, `class`, `view` (the true one) and `passed` (bool).
    """
    table, found = results.run.cohort.table, []
    for name in EXPERIMENTS:
        system = next((one for one in results.systems if one.rpartition("_")[0] == name), None)
        for execution, _ in results.executions_of("view") if system else ():
            path = execution.folder / VERDICTS
            if not path.is_file():
                continue
            said = read_table(path, ("image_id", "frontal")).set_index("image_id")["frontal"]
            tested = results.run.part(execution.repeat, execution.fold).eq("test").to_numpy()
            rows = table[tested & table["image_id"].isin(said.index).to_numpy()]
            passed = is_positive(said.loc[rows["image_id"]].to_numpy(np.float64))
            called = rows["label"].map(results.paper.system(system).relabel)
            own = pd.DataFrame({"experiment": name, "class": called, "view": true_views(rows), "passed": passed})
            classes = results.paper.system(system).classes
            found += [own[own["class"] == label] for label in classes]
    return pd.concat(found) if found else pd.DataFrame()


def fate_table(answers: pd.DataFrame, present: Collection[str]) -> pd.DataFrame:
    """Return how many images the filter let through, one row per experiment and class.

    Unknown views have columns only if there are any; `present` are the labels of the cohort.
    """
    unknown = answers["view"].eq(UNKNOWN_VIEW).any()
    shown = {fate: key for fate, key in FATES.items() if unknown or key[0] != UNKNOWN_VIEW}
    rows = []
    for (experiment, name), mine in answers.groupby(["experiment", "class"], sort=False):
        counts = {fate: int((mine["view"].eq(v) & mine["passed"].eq(p)).sum()) for fate, (v, p) in shown.items()}
        passed, refused, stopped, slipped = list(counts.values())[:4]
        rows.append(
            {"experiment": title_of(experiment, present), "class": name, "offered": f"{len(mine):,}"}
            | {fate: f"{count:,}" for fate, count in counts.items()}
            | {"frontal let through (%)": number(float(percent(passed, passed + refused)))}
            | {"lateral refused (%)": number(float(percent(stopped, stopped + slipped)))}
        )
    return pd.DataFrame(rows)
