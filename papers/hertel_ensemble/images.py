"""The report's numbers on images: counts per collection, masks, training images.

A collection is what the cohort's table calls so; what the networks know of it is told from the counts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.data.images import read_mask
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation import (
    Difference,
    Measured,
    PublishedCell,
    difference_of_sets,
    summarise,
)
from covid_keras.evaluation.uncertainty import SHARES, mean_interval
from covid_keras.published.cells import LOST_TEXT
from covid_keras.published.facts import table_title
from covid_keras.reporting.differences import MeasuredOf, difference_words, measured_of, rows_tested
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING, number, with_bounds
from papers.hertel_ensemble import stages
from papers.hertel_ensemble.comparisons import cell_words, mean_words, short_title
from papers.hertel_ensemble.systems import COVID, NEGATIVE, NORMAL, PNEUMONIA

SPLITS = ("train", "validation", "test")


def divided_images(results: Results, system: str) -> pd.DataFrame:
    """Return the cohort's images with `called` (the system's class) and `part` (of its first execution, "" none)."""
    cohort = results.run.cohort
    called = results.paper.system(system).labelled(cohort).table["label"].to_numpy()
    part = results.run.execution(system, 0, 0).division
    return cohort.table.assign(called=called, part=part)


def collection_title(label: str, source: str, name: str) -> str:
    """Return the origin of a class's images, from the cohort's label and source.

    >>> collection_title("COVID-19, Cohen", "cohen", "COVID-19"), collection_title("normal", "cohen", "normal")
    ('COVID-19, Cohen (cohen)', 'cohen')
    """
    return source if label == name else f"{label} ({source})"


class Group(NamedTuple):
    """The images of one class from one collection under one label of the cohort."""

    name: str
    label: str
    source: str
    rows: pd.DataFrame

    @property
    def collection(self) -> str:
        """Their origin."""
        return collection_title(self.label, self.source, self.name)


def groups_of(images: pd.DataFrame, classes: Iterable[str]) -> Iterator[Group]:
    """Yield the groups of `divided_images` that have a part, class by class."""
    images = images[images["part"] != ""]
    for name in classes:
        for (label, source), rows in images[images["called"] == name].groupby(["label", "source"], sort=False):
            yield Group(name, label, source, rows)


# --- the images of each part (Tables 1 to 4)


def count_table(results: Results, system: str, cells: Iterable[PublishedCell] = ()) -> pd.DataFrame:
    """Return one row per class and collection, and one per class of several collections; `cells` are the paper's."""
    images, totals, rows = divided_images(results, system), stated_totals(cells), []
    for name in results.classes_of(system):
        groups, own = list(groups_of(images, [name])), totals.get(name.casefold(), LOST_TEXT)
        alone = len(groups) == 1
        if not alone:
            counts = _part_counts(images[(images["called"] == name) & (images["part"] != "")])
            rows.append({"class": name, "collection": "all"} | counts | {"paper, all parts": own})
        for one in groups:
            row = {"class": name if alone else "", "collection": one.collection} | _part_counts(one.rows)
            rows.append(row | {"paper, all parts": own if alone else total_of_collection(totals, one.label, name)})
    return pd.DataFrame(rows)


def total_of_collection(totals: Mapping[str, str], label: str, name: str) -> str:
    """Return what is stated of a class of a collection, which the label names after a comma; else nothing."""
    collection = label.partition(", ")[2].casefold()
    rows = (row for row in totals if collection and collection in row and row.endswith(name.casefold()))
    return next((totals[row] for row in rows), NOTHING)


def _part_counts(frame: pd.DataFrame) -> dict[str, str]:
    parts = {name: frame[frame["part"] == name] for name in SPLITS} | {"all parts": frame}
    return {name: f"{len(rows):,} ({rows['patient_id'].nunique():,})" for name, rows in parts.items()}


def stated_totals(cells: Iterable[PublishedCell]) -> dict[str, str]:
    """Return the totals over all parts that a table of the paper states, by the name of the row in small letters."""
    stated = [cell for cell in cells if cell.unit == "count" and cell.column == "total" and not cell.lost]
    totals = {cell.row.casefold(): cell_words(cell) for cell in stated}
    if NORMAL in totals and PNEUMONIA not in totals:  # of COVIDGR-1.0 the normal images are the negative class
        totals.setdefault(NEGATIVE.casefold(), totals[NORMAL])
    return totals


def stated_table(published: Iterable[PublishedCell], names: Iterable[str]) -> pd.DataFrame:
    """Return the cells of some tables of the paper; the lost ones of a row together, in a line of their own."""
    published, rows = list(published), []
    for name in names:
        mine = [cell for cell in published if cell.table == name]
        for row in dict.fromkeys(cell.row for cell in mine):
            cells = [cell for cell in mine if cell.row == row]
            lost = ", ".join(cell.column for cell in cells if cell.lost)
            told = [(cell.column, cell_words(cell)) for cell in cells if not cell.lost]
            rows += [(name, row, *one) for one in (*told, *([(lost, LOST_TEXT)] if lost else []))]
        if not mine:
            rows.append((name, NOTHING, NOTHING, LOST_TEXT))
    frame = pd.DataFrame(rows, columns=["table", "row", "column", "paper"])
    return frame.assign(table=frame["table"].map(table_title))


def mask_counts(ours: MeasuredOf) -> pd.DataFrame:
    """Return the number of images with human masks on which the segmenter was measured, one row per part."""
    found = {part: ours.get((stages.NAME, f"dice_{part}")) for part in ("train", "validation")}
    rows = [
        {"part": part, "images": f"{one.n_images:,}", "patients": f"{one.n_patients:,}", "paper": LOST_TEXT}
        for part, one in found.items()
        if one is not None
    ]
    return pd.DataFrame(rows)


# --- what the masks alone may tell


def taught_table(images: pd.DataFrame, classes: Iterable[str]) -> pd.DataFrame:
    """Return the number of `taught` (bool) images of each part, one row per class and collection."""
    rows = []
    for one in groups_of(images, classes):
        parts = {part: one.rows.loc[one.rows["part"] == part, "taught"] for part in SPLITS}
        counts = {part: f"{mine.sum():,} of {len(mine):,}" if len(mine) else NOTHING for part, mine in parts.items()}
        rows.append({"class": one.name, "collection": one.collection} | counts)
    return pd.DataFrame(rows)


def taught_groups(images: pd.DataFrame, classes: Iterable[str]) -> list[dict[str, Any]]:
    """Return `title`, images `taught` and `images` of each class and collection of the test part."""
    return [
        {
            "title": one.collection if one.collection.startswith(one.name) else f"{one.name} ({one.collection})",
            "taught": int(one.rows["taught"].sum()),
            "images": len(one.rows),
        }
        for one in groups_of(images[images["part"] == "test"], classes)
    ]


def mask_share(path: str) -> float:
    """Return the share of the picture inside a mask, 0..1, as the classifiers' masking takes it; NaN for no file."""
    if not Path(path).is_file():
        return float("nan")
    return float((read_mask(path) > Preparation.mask_threshold).mean())


def share_table(images: pd.DataFrame, classes: Iterable[str]) -> pd.DataFrame:
    """Return the mean `share` (0..1) in percent with its interval, one row per class and collection."""
    rows = [
        {"class": one.name, "collection": one.collection}
        | {"share of the picture (%)": mean_words(one.rows["share"], one.rows["patient_id"])}
        | {"images": len(one.rows), "patients": one.rows["patient_id"].nunique()}
        for one in groups_of(images, classes)
    ]
    return pd.DataFrame(rows)


def share_auc(images: pd.DataFrame) -> Measured | None:
    """Return the AUC of the `share` (0..1) alone for COVID-19 against all else; None if one of them is missing.

    In percent, with its 95 % interval by bootstrap over patients: the larger the share, the likelier COVID-19; equal
    shares count half.
    """
    covid = images["called"].eq(COVID)
    if covid.all() or not covid.any():
        return None
    frame = images[["image_id", "patient_id"]].assign(system="share", repeat=0, fold=0, split="test", severity="")
    frame["label"] = np.where(covid, COVID, NEGATIVE)
    frame["predicted"] = NEGATIVE  # nothing is decided; the AUC asks for no threshold
    frame[f"score_{NEGATIVE}"], frame[f"score_{COVID}"] = 1 - images["share"], images["share"]
    return measured_of(summarise(frame, positive=COVID))["share", "auc"]


# --- where the COVID-19 images come from


class SourceGroup(NamedTuple):
    """The test images of one label and collection.

    `trained` of this label and collection are in the training part; `seen`: images of COVID-19 of the collection are,
    whatever their label in the cohort.
    """

    title: str
    covid: bool
    trained: int
    seen: bool
    image_ids: frozenset[str]


class Collection(NamedTuple):
    """A collection: its training images by class, and its number of COVID-19 test images."""

    name: str
    trained: dict[str, int]
    tested: int

    @property
    def covid(self) -> int:
        """The number of COVID-19 training images."""
        return self.trained.get(COVID, 0)

    @property
    def others(self) -> dict[str, int]:
        """The other classes under which it was trained on."""
        return {name: count for name, count in self.trained.items() if name != COVID and count}

    @property
    def standing(self) -> str:
        """What the networks saw of it.

        >>> Collection("a", {"COVID-19": 0, "normal": 2}, 1).standing, Collection("b", {"COVID-19": 0}, 1).standing
        ('trained on under another class alone', 'nothing trained on')
        """
        known = "trained on under another class alone" if self.others else "nothing trained on"
        return "trained on" if self.covid else known


def tested_images(results: Results, system: str) -> pd.DataFrame:
    """Return `divided_images` with `tested` (bool): whether the system is tested on them in any execution."""
    divided = divided_images(results, system)
    return divided.assign(tested=divided["image_id"].isin(rows_tested(results.predictions_of(system))["image_id"]))


def source_groups(images: pd.DataFrame) -> list[SourceGroup]:
    """Return the groups of `tested_images` that are tested, COVID-19 first; the labels are the cohort's."""
    seen = set(images.loc[images["part"].eq("train") & images["called"].eq(COVID), "source"])
    groups = []
    for (label, source), rows in images.groupby(["label", "source"], sort=False):
        if ids := frozenset(rows.loc[rows["tested"], "image_id"]):
            covid, trained = rows["called"].iloc[0] == COVID, int((rows["part"] == "train").sum())
            groups.append(SourceGroup(f"{label} ({source})", covid, trained, source in seen, ids))
    return sorted(groups, key=lambda group: not group.covid)


def collections_of(images: pd.DataFrame, classes: Iterable[str]) -> list[Collection]:
    """Return the collections of `tested_images` that are trained on, or tested on for COVID-19; those tested first."""
    classes, found = list(classes), []
    for source, rows in images.groupby("source", sort=False):
        training = rows.loc[rows["part"] == "train", "called"]
        trained = {name: int((training == name).sum()) for name in classes}
        covid = int((rows["tested"] & rows["called"].eq(COVID)).sum())
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
                interval = mean_interval(values, mine["patient_id"].to_numpy(), sure=SHARES)
                row = {"task": group.title, "control": not group.covid, "part": short_title(system)}
                row |= {"mean": values.mean(), "low": interval[0], "high": interval[1], "interval": interval.kind}
                rows.append(row | {"images": mine["image_id"].nunique(), "patients": mine["patient_id"].nunique()})
    return pd.DataFrame(rows)


def source_table(frame: pd.DataFrame, groups: Iterable[SourceGroup]) -> pd.DataFrame:
    """Return one row per group and one column per system."""
    rows = []
    for group in groups:
        mine = frame[frame["task"] == group.title]
        row = {"label (collection)": group.title, "training": f"{group.trained:,}"}
        row |= {"test (patients)": f"{mine['images'].iloc[0]:,} ({mine['patients'].iloc[0]:,})"}
        rows.append(
            row | {one.part: with_bounds(one.mean, one.low, one.high, kind=one.interval) for one in mine.itertuples()}
        )
    return pd.DataFrame(rows)


def seen_less_unseen(results: Results, system: str, groups: Iterable[SourceGroup]) -> Difference | None:
    """Return the sensitivity on collections whose COVID-19 was trained on minus that on others; None without both."""
    test = rows_tested(results.predictions_of(system))
    groups = [group for group in groups if group.covid]
    seen, unseen = (
        test[test["image_id"].isin(frozenset().union(*(one.image_ids for one in groups if one.seen == known)))]
        for known in (True, False)
    )
    if seen.empty or unseen.empty:
        return None
    return difference_of_sets(seen, unseen, "sensitivity", positive=COVID)


def seen_table(less: Mapping[str, Difference]) -> pd.DataFrame:
    """Return the differences, one row per system."""
    rows = [
        {
            "system": short_title(name),
            "trained on (%)": number(one.a),
            "not trained on (%)": number(one.b),
            "difference (points)": difference_words(one),
            "patients": one.n_patients,
        }
        for name, one in less.items()
    ]
    return pd.DataFrame(rows)


def trained_table(collections: Iterable[Collection], classes: Iterable[str]) -> pd.DataFrame:
    """Return the training images of each class, one row per collection, and the status of its COVID-19."""
    classes = list(classes)
    rows = [
        {"collection": one.name}
        | {f"{name}, training": f"{one.trained[name]:,}" for name in classes}
        | {f"{COVID}, test": f"{one.tested:,}", f"its {COVID}": one.standing if one.tested else NOTHING}
        for one in collections
    ]
    return pd.DataFrame(rows)
