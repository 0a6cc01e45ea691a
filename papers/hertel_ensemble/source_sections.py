"""Where the COVID-19 images of training and test come from, and what that does to the sensitivity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covid_keras.evaluation import Difference, bootstrap_mean, difference_of_sets
from covid_keras.reporting.beside import difference_words, interval_words, rows_tested
from covid_keras.reporting.forest import forest_figure
from covid_keras.reporting.html import FigureEntry, Section, TableEntry
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import number
from covid_keras.training.inputs import part_of
from papers.hertel_ensemble.networks import COVID
from papers.hertel_ensemble.tasks import TASKS, joined, sentence, short_title, systems_of


def sources_section(results: Results) -> Section | None:
    """How often images of each collection are called COVID-19, and of collections that no network was trained on."""
    tables, figures, said = [], [], []
    for task in ("multi", "binary"):
        systems = systems_of(results, task)
        if not systems:
            continue
        groups = source_groups(results, systems[0])
        frame = source_frame(results, systems, groups)
        title = f"Called {COVID} by collection: {TASKS[task]}"
        tables.append(TableEntry(title, SOURCE_CAPTION, source_table(frame, groups)))
        figures.append(FigureEntry(title, SOURCE_FIGURE_CAPTION, source_figure(frame, title)))
        less = {name: seen_less_unseen(results, name, groups) for name in systems}
        if any(less.values()):
            tables.append(
                TableEntry(f"Sensitivity, trained on less not: {TASKS[task]}", SEEN_CAPTION, seen_table(less))
            )
            said.append(shift_words(task, groups, less))
    if not tables:
        return None
    return Section("Where the COVID-19 images come from", "\n\n".join((SOURCE_TEXT, *said)), tables, figures)


SOURCE_TEXT = (
    "In whole or in part, the networks are tested on COVID-19 of other collections than those of their training, and a "
    "collection has a look of its own, by its crop, contrast, posture and letters. Where the COVID-19 of training is "
    "of one collection and the other classes are of another, a network can learn the collection for the disease: it "
    "then finds COVID-19 of that collection and overlooks it elsewhere. Masks remove a part of that look only. "
    "Collections also differ in how ill their patients are, so a difference between them is no proof of this; but this "
    "is what a source shift within the class looks like, and one accuracy over all of them hides it."
)
SOURCE_CAPTION = (
    f"Percent of the test images of a collection that are called {COVID}, with 95 % interval by patient: sensitivity "
    f"where they show {COVID}, false alarms where they do not. Training: images of the collection in the training part "
    "of the first execution. An interval of no width is a limit of the bootstrap on few images, not certainty."
)
SOURCE_FIGURE_CAPTION = f"Above the line images of {COVID}, below it false alarms."
SEEN_CAPTION = (
    "Sensitivity on COVID-19 of collections with images in the training part less that on the others, percent and "
    "points with 95 % interval by patient."
)


class SourceGroup(NamedTuple):
    """The images of one class and collection, and how many of them are in the training part."""

    title: str
    covid: bool
    trained: int
    image_ids: frozenset[str]


def source_groups(results: Results, system: str) -> list[SourceGroup]:
    """Return the groups of images that a system is tested on, COVID-19 first; the labels are the cohort's."""
    cohort, one = results.run.cohort, results.paper.system(system)
    table = cohort.table.assign(called=one.labelled(cohort).table["label"].to_numpy())
    part = part_of(results.paper, results.run, results.run.execution(system, 0, 0))
    tested = set(rows_tested(results.predictions_of(system))["image_id"])
    groups = []
    for (label, source), rows in table.groupby(["label", "source"], sort=False):
        ids = frozenset(rows["image_id"]) & tested
        if ids:
            trained = int((part[rows.index] == "train").sum())
            groups.append(SourceGroup(f"{label} ({source})", rows["called"].iloc[0] == COVID, trained, ids))
    return sorted(groups, key=lambda group: not group.covid)


def source_frame(results: Results, systems: Iterable[str], groups: Iterable[SourceGroup]) -> pd.DataFrame:
    """Return how often images of each group are called COVID-19, as `forest_figure` takes it."""
    groups, rows = list(groups), []
    for system in systems:
        test = rows_tested(results.predictions_of(system))
        for group in groups:
            mine = test[test["image_id"].isin(group.image_ids)]
            if len(mine):
                values = 100 * mine["predicted"].eq(COVID).to_numpy(np.float64)
                mean, low, high = bootstrap_mean(values, mine["patient_id"].to_numpy())
                row = {"task": group.title, "control": not group.covid, "part": short_title(system)}
                row |= {"mean": mean, "low": low, "high": high}
                rows.append(row | {"images": mine["image_id"].nunique(), "patients": mine["patient_id"].nunique()})
    return pd.DataFrame(rows)


def source_table(frame: pd.DataFrame, groups: Iterable[SourceGroup]) -> pd.DataFrame:
    """Return a row a group and a column a system."""
    rows = []
    for group in groups:
        mine = frame[frame["task"] == group.title]
        row = {"label (collection)": group.title, "training": f"{group.trained:,}"}
        row |= {"test (patients)": f"{mine['images'].iloc[0]:,} ({mine['patients'].iloc[0]:,})"}
        rows.append(row | {one.part: interval_words(one.mean, one.low, one.high) for one in mine.itertuples()})
    return pd.DataFrame(rows)


def source_figure(frame: pd.DataFrame, title: str) -> Figure:
    """Draw the shares of `source_frame`."""
    return forest_figure(frame, title, f"called {COVID} (%), 95 % interval by patient")


def seen_less_unseen(results: Results, system: str, groups: Iterable[SourceGroup]) -> Difference | None:
    """Return the sensitivity on collections that were trained on less that on the others; None without both."""
    test = rows_tested(results.predictions_of(system))
    ids: dict[bool, set[str]] = {True: set(), False: set()}
    for group in groups:
        if group.covid:
            ids[group.trained > 0] |= group.image_ids
    seen, unseen = (test[test["image_id"].isin(ids[trained])] for trained in (True, False))
    if seen.empty or unseen.empty:
        return None
    return difference_of_sets(seen, unseen, "sensitivity", positive=COVID)


def seen_table(less: Mapping[str, Difference | None]) -> pd.DataFrame:
    """Return the differences, a row a system."""
    rows = [
        {
            "system": short_title(name),
            "trained on (%)": number(one.a),
            "not trained on (%)": number(one.b),
            "difference (points)": difference_words(one),
            "patients": one.n_patients,
        }
        for name, one in less.items()
        if one is not None
    ]
    return pd.DataFrame(rows)


def shift_words(task: str, groups: Iterable[SourceGroup], less: Mapping[str, Difference | None]) -> str:
    """Return which collections were never trained on, and for how many systems that shows."""
    unseen = [group.title for group in groups if group.covid and not group.trained]
    found = [one for one in less.values() if one is not None]
    lower, higher = sum(one.low > 0 for one in found), sum(one.high < 0 for one in found)
    neither = len(found) - lower - higher
    return (
        f"{sentence(TASKS[task])}: no network was trained on {joined(unseen)}. There COVID-19 is found less often than "
        f"in the collections of the training, by the interval, by {lower} of {len(found)} systems, and more often by "
        f"{higher}; for {neither} neither is shown."
    )
