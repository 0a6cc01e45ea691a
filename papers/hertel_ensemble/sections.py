"""The parts of the report that only this paper has, from the counts of its tables to the radiologists beside it.

Each section is made of what was measured; one whose systems were not run is left out. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from covid_keras.evaluation import PublishedCell, summarise
from covid_keras.published.cells import LOST_TEXT
from covid_keras.reporting.differences import (
    DAGGER,
    MeasuredOf,
    PrintedOf,
    measured_of,
    printed_of,
    printed_words,
    with_interval,
)
from covid_keras.reporting.html import FigureEntry, Section, TableEntry
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import NOTHING, number, published_number, table_title
from papers.hertel_ensemble import stages
from papers.hertel_ensemble.covidgr import covidgr_section
from papers.hertel_ensemble.ensemble_sections import agreement_section, drop_section, ensembles_section
from papers.hertel_ensemble.figures import dice_figure
from papers.hertel_ensemble.mask_sections import masks_section
from papers.hertel_ensemble.source_sections import SPLITS, collection_words, divided_images, sources_section
from papers.hertel_ensemble.systems import NEGATIVE, NORMAL, PNEUMONIA
from papers.hertel_ensemble.tasks import TASKS, systems_of

COUNTED = {"2": "multi", "3": "binary", "4": "gr"}  # the paper's table of images, and whose they are
ONE_AGAINST_REST = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1_positive": "F1",
    "precision_positive": "PPV",
    "precision_negative": "NPV",
    "auc": "AUC",
}


def make_sections(results: Results) -> list[Section]:
    """Return the sections whose systems or stages were run, in the order of the paper."""
    made = (
        counts_section(results),
        segmentation_section(results),
        masks_section(results),
        ensembles_section(results),
        agreement_section(results),
        drop_section(results),
        classes_section(results),
        sources_section(results),
        covidgr_section(results),
        literature_section(results),
    )
    return [section for section in made if section is not None]


# --- the images of each part (Tables 1 to 4)


def counts_section(results: Results) -> Section | None:
    """Images and patients of each class, collection and part, beside what the paper states of its own."""
    tables = [table for name, task in COUNTED.items() for table in _count_tables(results, name, task)]
    if (ours := measured_of(results.measured)) and (masks := mask_counts(ours)):
        caption = "Radiographs with human lung masks on which Dice was measured."
        tables.insert(0, TableEntry("Images of Table 1 (segmentation)", caption, pd.DataFrame(masks)))
    if not tables:
        return None
    stated = stated_table(results.published, ("1", *COUNTED))
    tables.append(TableEntry("What the paper states of its images", STATED_CAPTION, stated))
    return Section("Images of each part", COUNTS_TEXT, tables)


COUNTS_TEXT = (
    "The paper counts its images in Tables 1 to 4, whose bodies are not in the text at hand: only the totals below are "
    "known. Ours are counted from the division of this run."
)
STATED_CAPTION = "Every number of Tables 1 to 4 that its text holds. " + DAGGER


def _count_tables(results: Results, name: str, task: str) -> list[TableEntry]:
    systems = systems_of(results, task)
    if not systems:
        return []
    cells = [cell for cell in results.published if cell.table == name]
    frame = count_table(results, systems[0], cells)
    caption = "Images (patients)" + (", of the first division." if results.split_of(systems[0]).repeats > 1 else ".")
    return [TableEntry(f"Images of {table_title(name)} ({TASKS[task]})", caption, frame)]


def count_table(results: Results, system: str, cells: Iterable[PublishedCell] = ()) -> pd.DataFrame:
    """Return a row a class and collection, and one a class of several collections; `cells` are the paper's table."""
    frame = divided_images(results, system)
    frame = frame[frame["part"] != ""]
    totals, rows = stated_totals(cells), []
    for name in results.classes_of(system):
        mine = frame[frame["called"] == name]
        groups = list(mine.groupby(["label", "source"], sort=False))
        if len(groups) != 1:
            own = totals.get(name.casefold(), LOST_TEXT)
            rows.append({"class": name, "collection": "all"} | _part_counts(mine) | {"paper, all parts": own})
        for (label, source), group in groups:
            row = {"class": "" if len(groups) > 1 else name, "collection": collection_words(label, source, name)}
            own = totals.get(name.casefold(), LOST_TEXT) if len(groups) == 1 else _of_collection(totals, label, name)
            rows.append(row | _part_counts(group) | {"paper, all parts": own})
    return pd.DataFrame(rows)


def _of_collection(totals: Mapping[str, str], label: str, name: str) -> str:
    """Return what is stated of a class of a collection, which the label names after a comma; else nothing."""
    collection = label.partition(", ")[2].casefold()
    if not collection:
        return NOTHING
    rows = (row for row in totals if collection in row and row.endswith(name.casefold()))
    return next((totals[row] for row in rows), NOTHING)


def _part_counts(frame: pd.DataFrame) -> dict[str, str]:
    parts = {name: frame[frame["part"] == name] for name in SPLITS} | {"all parts": frame}
    return {name: f"{len(rows):,} ({rows['patient_id'].nunique():,})" for name, rows in parts.items()}


def stated_totals(cells: Iterable[PublishedCell]) -> dict[str, str]:
    """Return the totals over all parts that a table of the paper states, by the name of the row in small letters."""
    stated = [cell for cell in cells if cell.unit == "count" and cell.column == "total" and not cell.lost]
    totals = {cell.row.casefold(): _cell_words(cell) for cell in stated}
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
            told = [(cell.column, _cell_words(cell)) for cell in cells if not cell.lost]
            told += [(lost, LOST_TEXT)] if lost else []
            rows += [{"table": table_title(name), "row": row, "column": one, "paper": words} for one, words in told]
        if not mine:
            rows.append({"table": table_title(name), "row": NOTHING, "column": NOTHING, "paper": LOST_TEXT})
    return pd.DataFrame(rows)


def _cell_words(cell: PublishedCell) -> str:
    if cell.lost or cell.text:
        return cell.text
    unit = " %" if cell.unit == "percent" else ""
    spread = "" if cell.std is None else f" ± {published_number(cell.std, cell.unit)}"
    return f"{published_number(cell.mean, cell.unit)}{spread}{unit}" + "†" * bool(cell.doubt)


def mask_counts(ours: MeasuredOf) -> list[dict[str, Any]]:
    """Return how many images with human masks the segmenter was measured on, a row a part."""
    found = {part: ours.get((stages.NAME, f"dice_{part}")) for part in ("train", "validation")}
    return [
        {"part": part, "images": f"{one.n_images:,}", "patients": f"{one.n_patients:,}", "paper": LOST_TEXT}
        for part, one in found.items()
        if one is not None
    ]


# --- the ResUNet


def segmentation_section(results: Results) -> Section:
    """Dice of the ResUNet, and the same images marked by the U-Net that the suite ships."""
    section = Section("The ResUNet", SEGMENTER_TEXT)
    ours, paper = measured_of(results.measured), printed_of(results.published)
    rows = segmenter_rows(ours, paper)
    if not rows or not stages.done(results.run):
        section.text = "The ResUNet was not trained in this run, and is not measured: " + NO_SEGMENTER
        return section
    section.tables.append(TableEntry("How well the masks fit", SEGMENTER_CAPTION, pd.DataFrame(rows)))
    frame = stages.compared_masks(results.run)
    if frame.empty:
        section.text += "\n\nNo image was marked by both networks."
        return section
    found = stages.paired_difference(frame)
    section.tables.append(TableEntry("The ResUNet less the shipped U-Net", PAIRED_CAPTION, paired_table(frame, found)))
    section.figures.append(
        FigureEntry("Dice of both networks", "Above the line the ResUNet is better.", dice_figure(frame))
    )
    section.text += "\n\n" + paired_words(found)
    return section


SEGMENTER_TEXT = (
    "The paper's pipeline begins with a ResUNet that marks the lungs; the classifiers see nothing else. It gives one "
    "Dice, and not of which images; here it is the mean over images, each at its own size, of the validation part, "
    "which has no patient of the training part but which chose the epoch."
)
NO_SEGMENTER = "the lungs that the classifiers were fed are marked as the first lines of this page say."
SEGMENTER_CAPTION = "Percent, mean over images with 95 % interval by patient. " + DAGGER
PAIRED_CAPTION = (
    "The same validation images, Dice in percent; difference in points with 95 % interval by patient. Wins: images on "
    "which the ResUNet's mask fits better. No patient of these images taught either network; the ResUNet's epoch was "
    "chosen on them, which favours it; the shipped U-Net's masks are filled and freed of islands, as it is used."
)


def segmenter_rows(ours: MeasuredOf, paper: PrintedOf) -> list[dict[str, Any]]:
    """Return Dice and IoU of the ResUNet, a row a part and measure, beside what the paper prints."""
    rows = []
    for part in ("train", "validation"):
        for measure, words in (("dice", "Dice"), ("iou", "IoU")):
            one = ours.get((stages.NAME, f"{measure}_{part}"))
            if one is not None:
                row = {"part": part, "measure": words, "ours": with_interval(one)}
                row |= {"images": one.n_images, "patients": one.n_patients}
                rows.append(row | {"paper": printed_words(paper.get((stages.NAME, one.metric)))})
    return rows


def paired_table(frame: pd.DataFrame, found: Mapping[str, Any]) -> pd.DataFrame:
    """Return the comparison of both segmenters in one row; `found` is as `stages.paired_difference` gives it."""
    low, high = (number(100 * found[name], signed=True) for name in ("low", "high"))
    row = {
        "ResUNet": number(100 * frame["dice"].mean()),
        "shipped U-Net": number(100 * frame["dice_shipped"].mean()),
        "difference (points)": f"{number(100 * found['mean'], signed=True)}\n[{low}, {high}]",
        "wins / losses / ties": " / ".join(str(found[name]) for name in ("wins", "losses", "ties")),
        "images": found["images"],
        "patients": found["patients"],
    }
    return pd.DataFrame([row])


def paired_words(found: Mapping[str, Any]) -> str:
    """Return which of the two segmenters fits better, as far as the interval tells."""
    if found["low"] > 0:
        return "The ResUNet's masks fit better than the shipped U-Net's."
    if found["high"] < 0:
        return "The shipped U-Net's masks fit better than the ResUNet's."
    return "Neither network's masks are shown to fit better."


# --- each class against the rest


def classes_section(results: Results) -> Section | None:
    """The metrics of Tables 8 and 9: each of three classes against the rest."""
    systems = [name for name in (*systems_of(results, "multi"), "densenet201_whole") if name in results.systems]
    if not systems:
        return None
    paper = printed_of(results.published)
    tables = [
        TableEntry(f"{name} against the rest", CLASSES_CAPTION, class_table(results, systems, name, paper))
        for name in results.classes_of(systems[0])
    ]
    return Section("Each class against the rest", CLASSES_TEXT, tables)


CLASSES_TEXT = (
    "Tables 8 to 11 of the paper give these metrics of the ensembles. Of two classes, they stand among the measured "
    "ones above: precision of the positive class is PPV, of the negative class NPV. The scores of a vote are shares of "
    "three votes, of which the paper draws no ROC curve: no AUC is given."
)
CLASSES_CAPTION = "Test images, percent, with 95 % interval by patient."


def class_table(results: Results, systems: Iterable[str], name: str, paper: PrintedOf) -> pd.DataFrame:
    """Return the metrics of one class against the rest, a row a system."""
    rows = []
    for system in systems:
        found = measured_of(summarise(results.predictions_of(system), positive=name))
        row = {"system": results.systems[system]}
        for metric, words in ONE_AGAINST_REST.items():
            voted = metric == "auc" and system.startswith("vote_")
            row[words] = NOTHING if voted else with_interval(found.get((system, metric)))
        rows.append(row | {"paper, sensitivity": printed_words(paper.get((system, f"recall_{name}")))})
    frame = pd.DataFrame(rows)
    return frame if frame["paper, sensitivity"].ne(NOTHING).any() else frame.drop(columns="paper, sensitivity")


# --- radiologists and literature (Tables 13 and 14)


def literature_section(results: Results) -> Section | None:
    """What the paper prints of others and of itself, beside ours."""
    ours = measured_of(results.measured)
    tables = []
    for name, title in (("13", "Radiologists"), ("14", "Literature")):
        frame = literature_table([cell for cell in results.published if cell.table == name], ours)
        if len(frame):
            tables.append(TableEntry(f"{title} ({table_title(name)})", LITERATURE_CAPTION, frame))
    return Section("Radiologists and literature", LITERATURE_TEXT, tables) if tables else None


LITERATURE_TEXT = (
    "Tables 13 and 14 set numbers of different patients side by side: the radiologists read images of their own "
    "hospitals, each of the other works has its own collections, and ours are those of this run. The populations "
    "differ, and with them the share of COVID-19 and how severe it is, and no answer to a single image is published: "
    "no paired test is possible, and that one number is above another does not show who reads better."
)
LITERATURE_CAPTION = (
    "As printed, in its own unit; ours in percent with 95 % interval by patient, where the row is the paper's own and "
    "its system was run. " + DAGGER
)


def literature_table(cells: Iterable[PublishedCell], ours: MeasuredOf) -> pd.DataFrame:
    """Return the cells of a table of the paper, a row each, with ours where there is a counterpart."""
    rows = []
    for cell in cells:
        one = ours.get((cell.system, cell.metric)) if cell.system else None
        row = {"who": cell.row, "what": cell.column, "paper": _cell_words(cell), "ours": with_interval(one)}
        rows.append(row | {"test images": NOTHING if one is None else f"{one.n_images:,}"})
    return pd.DataFrame(rows)
