"""Where the COVID-19 images of training and test come from, and what that does to the sensitivity.

A collection is what the cohort's table calls so; as what the networks know it is told from the counts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covid_keras.evaluation import Difference, bootstrap_mean, difference_of_sets
from covid_keras.reporting.differences import difference_words, rows_tested
from covid_keras.reporting.forest import forest_figure
from covid_keras.reporting.html import FigureEntry, Section, TableEntry
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import NOTHING, number
from covid_keras.reporting.wording import with_bounds
from papers.hertel_ensemble.systems import COVID
from papers.hertel_ensemble.tasks import TASKS, joined, sentence, short_title, systems_of


def sources_section(results: Results) -> Section | None:
    """How often images of each collection are called COVID-19, and as what each collection was trained on."""
    tables, figures, said = [], [], []
    for task in ("multi", "binary", "gr"):
        systems = systems_of(results, task)
        if not systems:
            continue
        groups = source_groups(results, systems[0])
        frame = source_frame(results, systems, groups)
        title = f"Called {COVID} by collection: {TASKS[task]}"
        tables.append(TableEntry(title, SOURCE_CAPTION, source_table(frame, groups)))
        figures.append(FigureEntry(title, SOURCE_FIGURE_CAPTION, source_figure(frame, title)))
        collections = collections_of(results, systems[0])
        trained = trained_table(collections, results.classes_of(systems[0]))
        tables.append(TableEntry(f"Trained on, by collection: {TASKS[task]}", TRAINED_CAPTION, trained))
        less = {name: seen_less_unseen(results, name, groups) for name in systems}
        if any(less.values()):
            tables.append(
                TableEntry(f"Sensitivity, trained on less not: {TASKS[task]}", SEEN_CAPTION, seen_table(less))
            )
        said.append(" ".join(filter(None, (trained_words(task, collections), shift_words(less)))))
    if not tables:
        return None
    return Section("Where the COVID-19 images come from", "\n\n".join((SOURCE_TEXT, *said)), tables, figures)


SOURCE_TEXT = (
    "A collection has a look of its own, by its crop, contrast, posture and letters, and a network can learn the "
    "collection for the disease. It then finds COVID-19 in a collection that it was trained on as COVID-19, and "
    "overlooks it elsewhere: most of all in a collection that it was trained on under another class alone, for there "
    "the look itself speaks against COVID-19. That is another thing than a collection that it has never seen, and is "
    "told apart below by the images that were trained on. Masks remove a part of that look only. Collections also "
    "differ in how ill their patients are, so a difference between them is no proof of this; but this is what a source "
    "shift within the class looks like, and one accuracy over all of them hides it."
)
SOURCE_CAPTION = (
    f"Percent of the test images of a collection that are called {COVID}, with 95 % interval by patient: sensitivity "
    f"where they show {COVID}, false alarms where they do not. Training: images of this label and collection in the "
    "training part of the first execution; the next table has those of the collection's other classes. An interval of "
    "no width is a limit of the bootstrap on few images, not certainty."
)
SOURCE_FIGURE_CAPTION = f"Above the line images of {COVID}, below it false alarms."
TRAINED_CAPTION = (
    "Images of each collection in the training part of the first execution, by the class that the networks are taught, "
    f"and its images of {COVID} in the test part. One that was put together of others counts as one collection."
)
SEEN_CAPTION = (
    f"Sensitivity on {COVID} of collections whose {COVID} is in the training part less that on the others, percent and "
    "points with 95 % interval by patient. Some of the others may have been trained on under another class."
)


SPLITS = ("train", "validation", "test")


class SourceGroup(NamedTuple):
    """The images tested of one label and collection.

    `trained` of this label and collection are in the training part; `seen`: images of COVID-19 of the collection are,
    whatever their label in the cohort.
    """

    title: str
    covid: bool
    trained: int
    seen: bool
    image_ids: frozenset[str]


class Collection(NamedTuple):
    """A collection: its images in the training part by class, and how many of COVID-19 are tested."""

    name: str
    trained: dict[str, int]
    tested: int

    @property
    def others(self) -> dict[str, int]:
        """The classes other than COVID-19 under which it was trained on."""
        return {name: count for name, count in self.trained.items() if name != COVID and count}


def divided_images(results: Results, system: str) -> pd.DataFrame:
    """Return the cohort's images with `called` (the system's class) and `part` (of its first execution, "" none)."""
    cohort = results.run.cohort
    called = results.paper.system(system).labelled(cohort).table["label"].to_numpy()
    part = results.run.execution(system, 0, 0).division
    return cohort.table.assign(called=called, part=part)


def collection_words(label: str, source: str, name: str) -> str:
    """Return where images of a class are from, by the cohort's label and source.

    >>> collection_words("COVID-19, Cohen", "cohen", "COVID-19"), collection_words("normal", "cohen", "normal")
    ('COVID-19, Cohen (cohen)', 'cohen')
    """
    return source if label == name else f"{label} ({source})"


def source_groups(results: Results, system: str) -> list[SourceGroup]:
    """Return the groups of images that a system is tested on, COVID-19 first; the labels are the cohort's."""
    table = divided_images(results, system)
    tested = set(rows_tested(results.predictions_of(system))["image_id"])
    training = table[table["part"] == "train"]
    seen = set(training.loc[training["called"] == COVID, "source"])
    groups = []
    for (label, source), rows in table.groupby(["label", "source"], sort=False):
        ids = frozenset(rows["image_id"]) & tested
        if ids:
            covid, trained = rows["called"].iloc[0] == COVID, int((rows["part"] == "train").sum())
            groups.append(SourceGroup(f"{label} ({source})", covid, trained, source in seen, ids))
    return sorted(groups, key=lambda group: not group.covid)


def collections_of(results: Results, system: str) -> list[Collection]:
    """Return the collections that a system is trained on, or tested on for COVID-19; those tested first."""
    table = divided_images(results, system)
    tested = set(rows_tested(results.predictions_of(system))["image_id"])
    found = []
    for source, rows in table.groupby("source", sort=False):
        training = rows.loc[rows["part"] == "train", "called"]
        trained = {name: int((training == name).sum()) for name in results.classes_of(system)}
        covid = int((rows["image_id"].isin(tested) & rows["called"].eq(COVID)).sum())
        if covid or any(trained.values()):
            found.append(Collection(source, trained, covid))
    return sorted(found, key=lambda one: not one.tested)


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
        rows.append(row | {one.part: with_bounds(one.mean, one.low, one.high) for one in mine.itertuples()})
    return pd.DataFrame(rows)


def source_figure(frame: pd.DataFrame, title: str) -> Figure:
    """Draw the shares of `source_frame`."""
    return forest_figure(frame, title, f"called {COVID} (%), 95 % interval by patient")


def seen_less_unseen(results: Results, system: str, groups: Iterable[SourceGroup]) -> Difference | None:
    """Return the sensitivity on collections whose COVID-19 was trained on less that on others; None without both."""
    test = rows_tested(results.predictions_of(system))
    ids: dict[bool, set[str]] = {True: set(), False: set()}
    for group in groups:
        if group.covid:
            ids[group.seen] |= group.image_ids
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


def trained_table(collections: Iterable[Collection], classes: Iterable[str]) -> pd.DataFrame:
    """Return how many images of each class were trained on, a row a collection, and what that makes of its COVID-19."""
    classes = list(classes)
    rows = []
    for one in collections:
        row = {"collection": one.name} | {f"{name}, training": f"{one.trained[name]:,}" for name in classes}
        rows.append(
            row | {f"{COVID}, test": f"{one.tested:,}", f"its {COVID}": standing(one) if one.tested else NOTHING}
        )
    return pd.DataFrame(rows)


def standing(one: Collection) -> str:
    """Return as what the networks know a collection on whose COVID-19 they are tested.

    >>> standing(Collection("a", {"COVID-19": 0, "normal": 2}, 1)), standing(Collection("b", {"COVID-19": 0}, 1))
    ('trained on under another class alone', 'nothing trained on')
    """
    if one.trained.get(COVID):
        return "trained on"
    return "trained on under another class alone" if one.others else "nothing trained on"


def trained_words(task: str, collections: Iterable[Collection]) -> str:
    """Return as what each collection was trained on whose COVID-19 is tested, and what follows for its sensitivity."""
    tested = [one for one in collections if one.tested]
    total = sum(one.tested for one in tested)
    first, *others = [_collection_words(one, total) for one in tested]
    return " ".join((f"{sentence(TASKS[task])}: {first}", *map(sentence, others)))


def _collection_words(one: Collection, total: int) -> str:
    share = f"It supplies {one.tested:,} of the {total:,} images of {COVID} that are tested."
    others = joined(f'{count:,} as "{name}"' for name, count in one.others.items()) if one.others else ""
    if count := one.trained.get(COVID):
        known = f"images of {COVID} of {one.name} were trained on ({count:,})"
        if others:
            return f"{known}, and of other classes {others}. {share}"
        return (
            f"{known}, and none of another class: a network that recognises this collection has learnt it as {COVID}, "
            f"so a higher sensitivity there may be by design. {share}"
        )
    if others:
        return (
            f"of {one.name} no image of {COVID} was trained on, but other images of it were, {others}: a network that "
            f"recognises this collection has learnt it as one without {COVID}, so a lower sensitivity there is by "
            f"design, and not only because its {COVID} is unseen. {share}"
        )
    return f"of {one.name} no image of any class was trained on: the whole collection is unseen. {share}"


def shift_words(less: Mapping[str, Difference | None]) -> str:
    """Return for how many systems it shows that no COVID-19 of a collection was trained on; "" where all was."""
    found = [one for one in less.values() if one is not None]
    if not found:
        return ""
    lower, higher = sum(one.low > 0 for one in found), sum(one.high < 0 for one in found)
    neither = len(found) - lower - higher
    return (
        f"Where none of its {COVID} was trained on, it is found less often than in the collections where some was, by "
        f"the interval, by {lower} of {len(found)} systems, and more often by {higher}; for {neither} neither is shown."
    )
