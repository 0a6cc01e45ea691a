"""The parts of the report that only this paper has, from the view filter to what the authors call accuracy.

Each section is made of what was measured; one whose systems were not run is left out. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import read_table
from covid_keras.evaluation import (
    Difference,
    Measured,
    PublishedCell,
    apply_thresholds,
    bootstrap_difference,
    classes_of,
    difference_of_sets,
    summarise,
)
from covid_keras.evaluation.counts import accuracy, balanced_accuracy, summarise_counts
from covid_keras.evaluation.decisions import DECISION_THRESHOLD, is_positive
from covid_keras.evaluation.metrics import executions_of, percent
from covid_keras.evaluation.overlap import summarise_overlap
from covid_keras.reporting.differences import (
    DAGGER,
    MeasuredOf,
    Printed,
    difference_of_printed,
    difference_words,
    measured_of,
    printed_of,
    printed_words,
    rows_tested,
    shared_executions,
    shared_test_rows,
    with_interval,
)
from covid_keras.reporting.figures import roc_figure
from covid_keras.reporting.html import FigureEntry, Section, TableEntry
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import NOTHING, number
from papers.arias_vgg19 import stages
from papers.arias_vgg19.cohorts import available
from papers.arias_vgg19.experiment import CONTROLS, DEPTHS, EXPERIMENTS, PARTS, VIEW_OF, experiments_of
from papers.arias_vgg19.figures import ThresholdCurves, auc_figure, precision_recall_figure, threshold_figure
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS, VERDICTS
from papers.arias_vgg19.overlap import PARTS as MASK_PARTS
from papers.arias_vgg19.overlap import read_overlap

PUBLISHED_THRESHOLD = DECISION_THRESHOLD
VIEW_FILTERS = ("view16", "view19", "view_balanced", "view_all", "view")
LATERAL_POSITIVE = {
    "accuracy": "accuracy (%)",
    "balanced_accuracy": "balanced accuracy (%)",
    "specificity": "recall of frontal (%)",
    "sensitivity": "recall of lateral (%)",
}
UNKNOWN_VIEW = "unknown view"
FRONTAL_ONLY = ("chestxray14", "kermany")  # collections of frontal radiographs alone, whether or not they say so
FATES = ("frontal, let through", "frontal, refused", "lateral, refused", "lateral, slipped through")
UNKNOWN_FATES = (f"{UNKNOWN_VIEW}, let through", f"{UNKNOWN_VIEW}, refused")
COMPARED = (("e", "d"), ("d", "c"), ("e", "c"))
DIFFERENCES = ("accuracy", "auc", "sensitivity", "specificity")
CHANCE = 50.0  # percent: the AUC of a coin
FIGURE_3 = ("unet1", "unet3")
_STEPS = np.linspace(0, 1, 201)
# The two of three functions of a matrix that `covid_keras.evaluation.counts` does not hold.
_OF_THRESHOLD = {
    "accuracy": accuracy,
    "sensitivity": lambda confusion: percent(confusion[..., 1, 1], confusion[..., 1, :].sum(axis=-1)),
    "specificity": lambda confusion: percent(confusion[..., 0, 0], confusion[..., 0, :].sum(axis=-1)),
}


def make_sections(results: Results) -> list[Section]:
    """Return the sections whose systems or stages were run, in the order of the pipeline."""
    made = (
        view_section(results),
        parts_section(results),
        frame_section(results),
        threshold_section(results),
        unet_section(results),
        depth_section(results),
        faulty_section(results),
    )
    return [section for section in made if section is not None]


# --- what the sections share


def chosen_systems(systems: Iterable[str]) -> list[str]:
    """Return the systems of COVID-19 that validation chose (of VGG16 and VGG19), in the paper's order."""
    systems = set(systems)
    return [f"{name}_{part}" for name in EXPERIMENTS for part in PARTS if f"{name}_{part}" in systems]


def title_of(name: str, present: Collection[str] = ()) -> str:
    """Return how an experiment or a control is called; an experiment with its negatives among the labels `present`.

    >>> title_of("exp3", ["normal, elsewhere", "COVID-19, PA"])
    'Experiment 3 (against normal, elsewhere)'
    """
    if name in CONTROLS:
        return CONTROLS[name][0]
    title, _, negatives = EXPERIMENTS[name]
    against = "; ".join(label for label in negatives if label in present)
    return f"{title} (against {against})" if against else title


def labels_of(results: Results) -> list[str]:
    """Return the labels that the cohort of a run has images of."""
    return list(results.run.cohort.table["label"].unique())


def part_title(part: str) -> str:
    """Return how a part is called in legends and tables.

    >>> part_title("e")
    'e, lungs removed'
    """
    return f"{part}, {PARTS[part]}"


# --- the view filter


def view_section(results: Results) -> Section | None:
    """How well the view filter tells lateral radiographs, and what it lets through to the classifiers."""
    frames = {name: _of_both_views(results, name) for name in VIEW_FILTERS if name in results.systems}
    if not frames:
        return None
    section = Section("The view filter", VIEW_TEXT, tables=[view_table(results, frames)])
    if fates := _fates_of(results):
        frame = fate_table(fates, labels_of(results))
        section.tables.append(TableEntry("What the filter does to the experiments", FATES_CAPTION, frame))
    return section


VIEW_TEXT = (
    "Part a of the pipeline refuses lateral radiographs before the classifiers see them. A filter that says frontal of "
    "every image has the accuracy of the first row and finds no lateral one: so the recall of each view is to be read, "
    "and their mean, the balanced accuracy, rather than the accuracy."
)
FATES_CAPTION = (
    "Test images of all executions that were offered to an experiment's classifiers, by what the filter of the same "
    "execution, which was not trained on them, said of them. The true view is the one that the collection's own table "
    "gives; it is unknown where that says nothing, unless the whole collection is frontal. A lateral radiograph that "
    "slips through is classified as any other; where only one class has lateral ones, it gives that class away."
)


def view_table(results: Results, frames: Mapping[str, pd.DataFrame]) -> TableEntry:
    """Return the filters' metrics below those of who always says frontal; `frames` are their predictions by name."""
    ours, paper = measured_of(results.measured), printed_of(results.published)
    first = next(iter(frames.values()))
    rows = [_view_row("always frontal", measured_of(always_frontal(first)), "always")]
    for name, frame in frames.items():
        whole = len(frame) == len(results.predictions_of(name))
        row = _view_row(results.systems[name], ours if whole else measured_of(_view_metrics(frame)), name)
        rows.append(row | {"paper, accuracy (%)": printed_words(paper.get((name, "accuracy")))})
    counts = rows_tested(first).drop_duplicates("image_id")["label"].value_counts()
    caption = (
        f"Test images: {counts.get(FRONTAL_CLASS, 0)} frontal and {counts.get(LATERAL_CLASS, 0)} lateral, all of the "
        "collection that the lateral ones are of: those of a collection without lateral images would only raise the "
        "recall of frontal, also of a filter that has learnt from both. Mean over executions with 95 % interval by "
        "patient; an interval of no width is a limit of the bootstrap, not certainty."
    )
    return TableEntry("Frontal or lateral", caption, pd.DataFrame(rows))


def _view_row(title: str, found: MeasuredOf, system: str) -> dict[str, str]:
    row = {"filter": title} | {w: with_interval(found.get((system, m))) for m, w in LATERAL_POSITIVE.items()}
    return row | {"AUC (%)": with_interval(found.get((system, "auc"))), "paper, accuracy (%)": NOTHING}


def _view_metrics(frame: pd.DataFrame) -> list[Measured]:
    return [*summarise(frame), *summarise_counts(frame, {"balanced_accuracy": balanced_accuracy})]


def _of_both_views(results: Results, system: str) -> pd.DataFrame:
    """Return a filter's predictions of the collections that have both views, with which the others are measured."""
    table, frame = results.run.cohort.table, results.predictions_of(system)
    return frame[frame["image_id"].isin(table.loc[table["label"].isin(list(VIEW_OF)), "image_id"])]


def always_frontal(predictions: pd.DataFrame) -> list[Measured]:
    """Return the metrics of who calls every test image of these predictions frontal, as system "always"."""
    said = predictions.assign(predicted=FRONTAL_CLASS, system="always")
    return summarise_counts(said, {**_OF_THRESHOLD, "balanced_accuracy": balanced_accuracy})


def true_views(table: pd.DataFrame) -> pd.Series:
    """Return the true view of each row of a cohort's table: "frontal", "lateral" or `UNKNOWN_VIEW`.

    The column `view` decides; where it says nothing, the label, then whether the collection (`source`) is frontal.
    """
    view, source = (table[name].fillna("").astype(str) for name in ("view", "source"))
    label = table["label"].map(VIEW_OF).fillna("")
    conditions = (view.str.startswith("L"), view.str.startswith(("PA", "AP")), label.ne(""), source.isin(FRONTAL_ONLY))
    answers = (LATERAL_CLASS, FRONTAL_CLASS, label, FRONTAL_CLASS)
    return pd.Series(np.select(conditions, answers, UNKNOWN_VIEW), index=table.index)


def fates(table: pd.DataFrame, frontal: np.ndarray) -> dict[str, int]:
    """Count what became of images.

    Parameters
    ----------
    table : DataFrame (n,)
        Rows of the cohort's table.
    frontal : ndarray of bool (n,)
        What the filter said of each.
    """
    frontal = np.asarray(frontal, bool)
    truly, lateral, unknown = (true_views(table).eq(v).to_numpy() for v in (FRONTAL_CLASS, LATERAL_CLASS, UNKNOWN_VIEW))
    each = (truly & frontal, truly & ~frontal, lateral & ~frontal, lateral & frontal)
    each = (*each, unknown & frontal, unknown & ~frontal)
    return {name: int(rows.sum()) for name, rows in zip((*FATES, *UNKNOWN_FATES), each, strict=True)}


def fate_table(counted: Mapping[tuple[str, str], Counter], present: Collection[str]) -> pd.DataFrame:
    """Return the counts, a row an (experiment, class), with how much of each view was let through.

    Unknown views have columns where there are any; `present` are the labels of the cohort.
    """
    unknown = [
        name for name in UNKNOWN_FATES if any(counts[one] for counts in counted.values() for one in UNKNOWN_FATES)
    ]
    rows = []
    for (experiment, name), counts in counted.items():
        passed, refused, stopped, slipped = (counts[fate] for fate in FATES)
        rows.append(
            {"experiment": title_of(experiment, present), "class": name, "offered": f"{sum(counts.values()):,}"}
            | {fate: f"{counts[fate]:,}" for fate in (*FATES, *unknown)}
            | {"frontal let through (%)": number(float(percent(passed, passed + refused)))}
            | {"lateral refused (%)": number(float(percent(stopped, stopped + slipped)))}
        )
    return pd.DataFrame(rows)


def _fates_of(results: Results) -> dict[tuple[str, str], Counter]:
    """Count over all executions of the filter that left their verdicts, a class of an experiment each."""
    table = results.run.cohort.table
    counted: dict[tuple[str, str], Counter] = {}
    run = {name.rpartition("_")[0] for name in results.systems}
    names = [name for name in EXPERIMENTS if name in run]
    for execution, _ in results.executions_of("view"):
        path = execution.folder / VERDICTS
        if not path.is_file():
            continue
        said = read_table(path, ("image_id", "frontal")).set_index("image_id")["frontal"]
        tested = results.run.part(execution.repeat, execution.fold).eq("test").to_numpy()
        for name in names:
            system = results.paper.system(next(one for one in results.systems if one.startswith(f"{name}_")))
            called = table["label"].map(system.relabel)
            for label in system.classes:
                mine = table[tested & called.eq(label).to_numpy() & table["image_id"].isin(said.index).to_numpy()]
                frontal = is_positive(said.loc[mine["image_id"]].to_numpy(np.float64))
                counted.setdefault((name, label), Counter()).update(fates(mine, frontal))
    return {key: counted[key] for key in sorted(counted, key=lambda key: names.index(key[0]))}


# --- with lungs and without


def parts_section(results: Results) -> Section | None:
    """What lungs alone and lungs removed do to each experiment, and whether e surpasses d as in the paper."""
    names = experiments_of(results.systems)
    if not names:
        return None
    section = Section("With lungs and without")
    paper, said = printed_of(results.published), []
    for name in names:
        found = part_differences(results, name)
        title = title_of(name, labels_of(results))
        section.tables.append(difference_table(title, name, found, paper))
        if name in EXPERIMENTS and (striking := found.get(("e", "d", "accuracy"))):
            printed = printed_difference(paper, name, "e", "d", "accuracy")
            beside = "" if printed == NOTHING else f" What the paper prints: {printed} points."
            said.append(f"{title}: {striking_words(striking)}{beside}")
        (section.figures if name in EXPERIMENTS else section.folded).extend(_curves(results, name, title))
    section.text = "\n\n".join((PARTS_TEXT, " ".join(said)))
    return section


PARTS_TEXT = (
    "The paper classifies each image three times: whole (part c), with all but the lungs blackened (d), and with the "
    "lungs blackened (e). Its striking result is that e, without what the mask holds for lung, is more accurate than "
    "d. Below, each difference is paired: both parts on the same images of the same executions, patients drawn with "
    "replacement."
)
DIFFERENCE_CAPTION = "Percentage points with 95 % interval by patient."
PAPER_CAPTION = (
    "Ours: the network that validation chose. Paper: differences of what it prints, accuracies of the network whose "
    "printed validation accuracy is higher in each part, sensitivity and specificity of its metric tables. " + DAGGER
)


def part_differences(results: Results, name: str) -> dict[tuple[str, str, str], Difference]:
    """Return the paired differences of an experiment's parts by (first, second, metric)."""
    found = {}
    for a, b in COMPARED:
        both = [results.predictions_of(f"{name}_{part}") for part in (a, b)]
        first, second = shared_test_rows(*both)
        if len(first):
            for metric in DIFFERENCES:
                found[a, b, metric] = bootstrap_difference(first, second, metric)
    return found


def striking_words(found: Difference) -> str:
    """Return whether the accuracy with the lungs removed surpasses that of the lungs alone.

    >>> striking_words(Difference("accuracy", 90, 80, 10, 7, 13, 50))
    'e is the more accurate by 10.00 points (7.00 to 13.00): the striking result shows.'
    """
    if np.isnan([found.difference, found.low, found.high]).any():
        return "not measured."
    span = f"{number(found.low)} to {number(found.high)}"
    if found.low > 0:
        return f"e is the more accurate by {number(found.difference)} points ({span}): the striking result shows."
    if found.high < 0:
        return (
            f"d is the more accurate by {number(-found.difference)} points ({number(-found.high)} to "
            f"{number(-found.low)}): the opposite of the striking result."
        )
    return f"e minus d is {number(found.difference, signed=True)} points ({span}): neither shows to be the better."


def difference_table(
    title: str,
    name: str,
    found: Mapping[tuple[str, str, str], Difference],
    paper: Mapping[tuple[str, str], Printed],
) -> TableEntry:
    """Return an experiment's differences, a row a pair of parts, a column a metric; `name` is the experiment's."""
    rows = []
    for a, b in COMPARED:
        row: dict[str, Any] = {"parts": f"{a} minus {b}"}
        for metric in DIFFERENCES:
            one = found.get((a, b, metric))
            row[metric if metric != "auc" else "AUC"] = NOTHING if one is None else difference_words(one)
        for metric in ("accuracy", "sensitivity", "specificity"):
            row[f"paper, {metric}"] = printed_difference(paper, name, a, b, metric)
        row["patients"] = max((found[key].n_patients for key in found if key[:2] == (a, b)), default=0)
        rows.append(row)
    frame = pd.DataFrame(rows)
    # A control has no counterpart in the paper.
    frame = frame.loc[:, [not (str(c).startswith("paper") and frame[c].eq(NOTHING).all()) for c in frame.columns]]
    compared = any(str(column).startswith("paper") for column in frame.columns)
    caption = f"{DIFFERENCE_CAPTION} {PAPER_CAPTION}" if compared else DIFFERENCE_CAPTION
    return TableEntry(f"Differences between the parts: {title}", caption, frame)


def printed_difference(paper: Mapping[tuple[str, str], Printed], name: str, a: str, b: str, metric: str) -> str:
    """Return what the paper prints of part `a` less that of part `b`; with a mark where either is doubtful."""
    pair = [paper.get((_printed_system(paper, f"{name}_{part}", metric), metric)) for part in (a, b)]
    return difference_of_printed(*pair)


def _printed_system(paper: Mapping[tuple[str, str], Printed], system: str, metric: str) -> str:
    """Return whose printed number stands for the chosen network: accuracies are printed of VGG16 and VGG19 alone."""
    if metric != "accuracy":
        return system
    known = [f"{system}{depth}" for depth in DEPTHS if (f"{system}{depth}", "accuracy_validation") in paper]
    return max(known, key=lambda one: paper[one, "accuracy_validation"].value, default=system)


def _curves(results: Results, name: str, title: str) -> list[FigureEntry]:
    """ROC and precision-recall of the three parts, each in one figure."""
    curves, positive = {}, ""
    for part in PARTS:
        frame = results.predictions_of(f"{name}_{part}")
        positive = classes_of(frame)[-1]
        if found := curves_of(frame, positive):
            curves[part_title(part)] = found
    if not curves:
        return []
    caption = "Test images of one execution." if max(map(len, curves.values())) == 1 else CURVE_CAPTION
    return [
        FigureEntry(f"ROC of the parts: {title}", caption, roc_figure(curves, f"ROC: {title}", positive)),
        FigureEntry(
            f"Precision and recall of the parts: {title}",
            f"{caption} Precision depends on the share of positives, the dashed line.",
            precision_recall_figure(curves, f"Precision and recall: {title}", positive),
        ),
    ]


CURVE_CAPTION = "Test images; thin: each execution, thick: their mean; ±: standard deviation over executions (ddof 1)."


def curves_of(frame: pd.DataFrame, positive: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (labels, scores) of the positive class of each execution's test images, without those of one class."""
    found = []
    for _, rows in executions_of(rows_tested(frame)):
        labels = rows["label"].eq(positive).to_numpy(np.int64)
        if len(np.unique(labels)) == 2:
            found.append((labels, rows[f"score_{positive}"].to_numpy(np.float64)))
    return found


# --- how much is the picture's frame


def frame_section(results: Results) -> Section | None:
    """What the parts tell where there is no COVID-19 to be told, beside the experiments."""
    ours, present = measured_of(results.measured), labels_of(results)
    names = [*EXPERIMENTS, *CONTROLS]
    tasks = [name for name in names if any(f"{name}_{part}" in results.systems for part in PARTS)]
    if not set(tasks) & set(CONTROLS):
        return None
    frame = auc_by_part(ours, tasks, present)
    entries = [FigureEntry("AUC by part", FOREST_CAPTION, auc_figure(frame))] if len(frame) else []
    tables = [TableEntry("Controls beside the experiments", FRAME_CAPTION, frame_table(ours, tasks, present))]
    found = set_beside(results, ours, tasks)
    if found:
        tables.append(TableEntry("AUC of the controls less that of the experiments", LESS_CAPTION, less_table(found)))
    text = "\n\n".join((FRAME_TEXT, *frame_words(ours, found), *follow_up_words(results.run.cohort.table, tasks)))
    return Section("How much is the picture's frame", text, tables=tables, figures=entries)


FRAME_TEXT = (
    "The controls give the same network, with the same three parts, tasks in which COVID-19 cannot help: the "
    "collection that a pneumonia comes from, whether a radiograph of COVID-19 is PA (the patient stands) or AP (mostly "
    "at the bedside), and pneumonia against no finding within one hospital. Part e is not free of disease: it blackens "
    "the mask and not the lungs, and a U-Net leaves out dense consolidation and cuts off borders, and where it finds "
    "no lung, nothing is blackened. What part e tells, it may tell by the frame, such as burnt-in letters, crop, "
    "contrast and posture, by the outline of the mask, or by disease that the mask leaves out.\n\n"
    "What a control tells is a lower bound of what there is to tell without COVID-19: a network of fewer images learns "
    "less. The whole image holds all that part e does but the outline of the mask: where a control tells more by part "
    "e than by part c, it is that outline which tells, or the network of part c has found less than there is. By the "
    "collection is meant all that the pneumonias of two collections differ by, their kinds, severity and postures too."
)
FRAME_CAPTION = (
    "Percent on test images, mean over executions with 95 % interval by patient. The controls are VGG16; of the "
    "experiments it is the network that validation chose."
)
LESS_CAPTION = (
    "The same part of a control and of an experiment, each on its own test images, in the executions that both have: "
    "AUC in percent, their difference in points with 95 % interval, patients of either side drawn with replacement. "
    "Reached: the control's AUC above chance (50 %) as a share of the experiment's, where the experiment's interval "
    "lies above chance; its uncertainty is that of the difference."
)
FOREST_CAPTION = "Above the line COVID-19 against the others, below it the controls, in which COVID-19 is no class."


def auc_by_part(ours: MeasuredOf, tasks: Sequence[str], present: Collection[str] = ()) -> pd.DataFrame:
    """Return the AUC of each part of each task, as `auc_figure` takes it."""
    rows = []
    for name in tasks:
        for part in PARTS:
            one = ours.get((f"{name}_{part}", "auc"))
            if one is not None and not np.isnan(one.mean):
                row = {"task": title_of(name, present), "control": name in CONTROLS, "part": part_title(part)}
                rows.append(row | {"mean": one.mean, "low": one.low, "high": one.high})
    return pd.DataFrame(rows, columns=["task", "control", "part", "mean", "low", "high"])


def frame_table(ours: MeasuredOf, tasks: Sequence[str], present: Collection[str] = ()) -> pd.DataFrame:
    """Return accuracy, balanced accuracy and AUC, a row a part of a task."""
    metrics = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}
    rows = []
    for name in tasks:
        for part in PARTS:
            system = f"{name}_{part}"
            if (system, "accuracy") in ours:
                row = {"task": title_of(name, present), "part": part_title(part)}
                row |= {words: with_interval(ours.get((system, metric))) for metric, words in metrics.items()}
                rows.append(row | {"images": ours[system, "accuracy"].n_images})
    return pd.DataFrame(rows)


class Beside(NamedTuple):
    """One part of a control beside the same part of an experiment: their AUC, and control less experiment.

    `title` is the experiment's.
    """

    control: str
    part: str
    title: str
    own: Measured
    covid: Measured
    less: Difference


def set_beside(results: Results, ours: MeasuredOf, tasks: Sequence[str]) -> list[Beside]:
    """Return each part of the controls beside the same part of the experiments, where both have an AUC."""
    found = []
    for control in (name for name in tasks if name in CONTROLS):
        for part in ("e", "c", "d"):
            for name in (name for name in tasks if name in EXPERIMENTS):
                systems = [f"{one}_{part}" for one in (control, name)]
                own, covid = (ours.get((system, "auc")) for system in systems)
                if not _has_interval(own) or not _has_interval(covid):
                    continue
                frames = shared_executions(*(results.predictions_of(system) for system in systems))
                if len(frames[0]):
                    less = difference_of_sets(*frames, "auc")
                    found.append(Beside(control, part, title_of(name, labels_of(results)), own, covid, less))
    return found


def less_table(found: Iterable[Beside]) -> pd.DataFrame:
    """Return the comparisons, a row each."""
    rows = [
        {
            "control": title_of(one.control),
            "part": part_title(one.part),
            "AUC of the control": number(one.less.a),
            "experiment": one.title,
            "AUC of the experiment": number(one.less.b),
            "control less experiment (points)": difference_words(one.less),
            "reached (%)": _share_words(one),
        }
        for one in found
    ]
    return pd.DataFrame(rows)


def share_reached(one: Beside) -> float:
    """Return the control's AUC above chance in percent of the experiment's, at least 0; NaN where that has none."""
    if standing(one.covid) != "above":
        return float("nan")
    return float(percent(max(one.less.a - CHANCE, 0.0), one.less.b - CHANCE)) if one.less.b > CHANCE else float("nan")


def standing(one: Measured) -> str:
    """Return where the interval of an AUC lies: wholly "above" chance, wholly "below" it, or "across" it."""
    return "above" if one.low > CHANCE else "below" if one.high < CHANCE else "across"


def frame_words(ours: MeasuredOf, found: Iterable[Beside] = ()) -> list[str]:
    """Return what the parts of each control tell, and what follows for COVID-19; a paragraph a control or part."""
    said, found = [], list(found)
    for name in CONTROLS:
        words = {}
        for part in ("e", "c", "d"):
            one = ours.get((f"{name}_{part}", "auc"))
            if _has_interval(one):
                words[part] = control_words(name, part, one)
        if name == "source":  # what it tells apart are the experiments' classes too
            for part in words:
                words[part] = " ".join(
                    (words[part], *(beside_words(b) for b in found if (b.control, b.part) == (name, part)))
                )
            said += words.values()
        elif words:
            means = (
                FRAME_MEANS[name] if any(standing(ours[f"{name}_{part}", "auc"]) == "above" for part in words) else ""
            )
            said.append(" ".join((*words.values(), means)).strip())
    return said


CONTROL_TELLS = {
    "source": "the collections apart within pneumonia",
    "posture": "PA from AP within COVID-19",
    "finding": "pneumonia from no finding within one hospital",
}
# What it means where some part of a control tells its classes apart.
FRAME_MEANS = {
    "posture": (
        "AP radiographs are mostly of patients too ill to stand: wherever the classes of an experiment differ in "
        "posture, it can stand in for the diagnosis."
    ),
    "finding": (
        "The two classes differ in more than the finding: the sicker are imaged lying, with tubes and other devices, "
        "and more often, and the images of the two were not chosen alike. Any of these may be what is told, in part e "
        "too: it is no proof that pneumonia leaves traces outside the lungs."
    ),
}


def control_words(name: str, part: str, one: Measured) -> str:
    """Return whether a part of a control tells its classes apart."""
    auc, what = f"AUC of {_auc_words(one)}", CONTROL_TELLS[name]
    return {
        "above": f"Part {part} tells {what} with an {auc}.",
        "across": f"Part {part} is not shown to tell {what}: its {auc} does not exclude chance.",
        "below": (
            f"Part {part} is worse than chance at telling {what}, with an {auc}, as a network may be that is hardly "
            "trained or has learnt what does not carry over to the test images: nothing follows from it."
        ),
    }[standing(one)]


def beside_words(one: Beside) -> str:
    """Return what a part of the control of the collections means for the same part of an experiment."""
    if standing(one.own) == "below" or np.isnan([one.less.difference, one.less.low, one.less.high]).any():
        return ""
    if standing(one.covid) != "above":
        return (
            f"{one.title}: {_auc_words(one.covid)}, which is not shown to be above chance: nothing is to be explained."
        )
    low, high = (number(value, signed=True) for value in (one.less.low, one.less.high))
    less = f"control less experiment {number(one.less.difference, signed=True)} points ({low} to {high})"
    if not np.allclose([one.less.a, one.less.b], [one.own.mean, one.covid.mean]):  # of a partial run
        less += f" in the executions that both have ({number(one.less.a)} and {number(one.less.b)} %)"
    told = f"{one.title}: COVID-19 from the others with {_auc_words(one.covid)}, {less}"
    return f"{told}: {_follows(one)}."


def _follows(one: Beside) -> str:
    """Return what follows from a control that is not below chance for an experiment that is above it."""
    if standing(one.own) == "across":
        most = "may give as much as there is" if one.less.high >= 0 else "gives less than there is"
        return f"that the collection alone gives anything is not shown, nor excluded; it {most} on COVID-19"
    what = f"of what part {one.part} shows on COVID-19"
    if one.less.low > 0:
        return f"{what}, at least as much can be had from the collection alone"
    reached = f"the control reaches {_share_words(one)} % of the experiment's AUC above chance"
    if one.less.high >= 0:
        return (
            f"{reached} and may, by the interval, reach all of it; {what}, so much can be had from the collection alone"
        )
    return f"{reached}; so much can be had from the collection alone, the rest this control does not explain"


def _share_words(one: Beside) -> str:
    share = share_reached(one)
    return NOTHING if np.isnan(share) else f"{share:.0f}"


def follow_up_words(table: pd.DataFrame, tasks: Iterable[str]) -> list[str]:
    """Return how the classes of the control of the finding differ in follow-up, where the collection says it."""
    if "finding" not in tasks or "follow_up" not in table.columns:
        return []
    numbers = pd.to_numeric(table["follow_up"], errors="coerce")
    means = numbers.groupby(table["label"].map(CONTROLS["finding"][1])).mean().dropna()
    if len(means) < 2:
        return []
    told = " and ".join(f"{number(mean)} ({name})" for name, mean in means.items())
    return [f"The follow-up number of a radiograph in the series of its patient is on average {told}."]


def _has_interval(one: Measured | None) -> bool:
    return one is not None and bool(np.isfinite([one.mean, one.low, one.high]).all())


def _auc_words(one: Measured) -> str:
    return f"{number(one.mean)} % ({number(one.low)} to {number(one.high)})"


# --- the threshold


def threshold_section(results: Results) -> Section | None:
    """What a threshold chosen on validation makes of the accuracy on test."""
    rows, curves = [], {}
    for name in chosen_systems(results.systems):
        frame = results.predictions_of(name)
        if thresholds := best_thresholds(frame):
            rows += [{"system": results.systems[name]} | row for row in threshold_rows(frame, thresholds)]
            curves[results.systems[name]] = threshold_curves(frame, thresholds)
    if not rows:
        return None
    text = " ".join((THRESHOLD_TEXT, *threshold_claims(results.published)))
    table = TableEntry("At the threshold of validation", THRESHOLD_CAPTION, pd.DataFrame(rows))
    figure = threshold_figure(curves, PUBLISHED_THRESHOLD)
    return Section("The threshold", text, [table], [FigureEntry("Accuracy by threshold", CURVES_CAPTION, figure)])


THRESHOLD_TEXT = (
    "An image is called COVID-19 from a score on that its threshold sets; the paper's tables are at 0.5. Here the "
    "threshold with the best accuracy on validation is carried over to test: chosen on test itself it would promise "
    "more than it holds."
)
THRESHOLD_CAPTION = (
    "Test images, percent, mean over executions with 95 % interval by patient. The threshold of each execution is the "
    "one with the most right answers on its validation part; of equally good ones that nearest to 0.5. Gain: accuracy "
    "at it minus accuracy at 0.5, points, paired."
)
CURVES_CAPTION = "How far validation and test lie apart, and how flat the curve is where the threshold is chosen."


def right_answers(positive: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count the right answers of `score >= threshold`, int64, shape of `thresholds`.

    >>> right_answers(np.array([False, True, True]), np.array([0.2, 0.4, 0.9]), np.array([0.1, 0.3, 0.5]))
    array([2, 3, 2])
    """
    of_positives, of_others = np.sort(scores[positive]), np.sort(scores[~positive])
    return len(of_positives) - np.searchsorted(of_positives, thresholds) + np.searchsorted(of_others, thresholds)


def best_threshold(positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the threshold with the most right answers, a score or 0.5; of equally good ones that nearest to 0.5."""
    candidates = np.unique(np.r_[scores, PUBLISHED_THRESHOLD])
    right = right_answers(positive, scores, candidates)
    best = candidates[right == right.max()]
    return float(best[np.argmin(np.abs(best - PUBLISHED_THRESHOLD))])


def best_thresholds(frame: pd.DataFrame) -> dict[tuple[str, int, int], float]:
    """Return the threshold of each execution, chosen on its validation part alone; none for one without that part."""
    validation = frame[frame["split"] == "validation"]
    return {key: best_threshold(*_answers(rows)) for key, rows in executions_of(validation)}


def threshold_rows(frame: pd.DataFrame, thresholds: Mapping[tuple[str, int, int], float]) -> list[dict[str, str]]:
    """Return one system's metrics on test: a row at 0.5, a row at the thresholds of its executions."""
    test = pd.concat([rows for key, rows in executions_of(rows_tested(frame)) if key in thresholds])
    chosen = ", ".join(number(thresholds[key]) for key in sorted(thresholds))
    both = {f"{PUBLISHED_THRESHOLD:g}": PUBLISHED_THRESHOLD, f"chosen: {chosen}": thresholds}
    decided = [apply_thresholds(test, given) for given in both.values()]
    gains = [NOTHING, difference_words(bootstrap_difference(*decided[::-1], "accuracy"))]
    rows = []
    for words, predictions, gain in zip(both, decided, gains, strict=True):
        found = {one.metric: one for one in summarise_counts(predictions, _OF_THRESHOLD)}
        metrics = {f"{metric} (%)": with_interval(found[metric]) for metric in _OF_THRESHOLD}
        rows.append({"threshold": words} | metrics | {"gain in accuracy (points)": gain})
    return rows


def threshold_curves(frame: pd.DataFrame, thresholds: Mapping[tuple[str, int, int], float]) -> ThresholdCurves:
    """Return the mean accuracy over executions at each threshold, on validation and on test."""
    means = {}
    for part in ("validation", "test"):
        rows = frame[frame["split"] == part]
        answers = [_answers(own) for key, own in executions_of(rows) if key in thresholds]
        if answers:
            curves = [100 * right_answers(*one, _STEPS) / len(one[0]) for one in answers]
            means[part] = np.mean(curves, axis=0)
    return ThresholdCurves(_STEPS, means, tuple(thresholds.values()))


def threshold_claims(published: Iterable[PublishedCell]) -> list[str]:
    """Return what the paper says of other thresholds, where its published cells hold it."""
    said = [cell for cell in published if "threshold" in cell.row and cell.unit == "percent"]
    return [f"The paper says of its own: {cell.row} {cell.mean:g} %, and not on which part it chose." for cell in said]


def _answers(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return who is positive, bool, and the scores of the positive class (the last), float64."""
    positive = classes_of(rows)[-1]
    return rows["label"].eq(positive).to_numpy(), rows[f"score_{positive}"].to_numpy(np.float64)


# --- the three U-Nets


def unet_section(results: Results) -> Section | None:
    """True Dice and IoU of the U-Nets beside what the authors' functions give and the paper prints."""
    folders = stages.done(results.run) if stages.named(results.run.protocol) else {}
    if not folders:
        return None
    tables = {name: read_overlap(folder) for name, folder in folders.items()}
    frame = unet_table(tables, measured_of(results.measured), printed_of(results.published))
    section = Section("The three U-Nets", UNET_TEXT, [TableEntry("How well the masks fit", UNET_CAPTION, frame)])
    section.figures += _mask_figures(results, folders)
    if not section.figures:
        section.text += "\n\n" + NO_MASKS_DRAWN
    return section


NO_MASKS_DRAWN = (
    "The masks themselves (figure 3 of the paper) are not drawn: the radiographs with human masks are not where the "
    "run found them, or neither U-Net 1 nor U-Net 3 was trained."
)


UNET_TEXT = (
    "What the paper prints as Dice is an average over pixels, in which a wrong pixel still counts one half and the "
    "background counts as much as the lungs; its IoU is that of a whole batch. Neither is the Dice or IoU of an image, "
    "and the two do not belong to one another. The true ones are those of each image at its own size; what the "
    "paper prints is to be compared with the authors' function alone."
)
UNET_CAPTION = (
    "Ratios, 0 to 1; the authors' function with 95 % interval by patient. 5th percentile, worst and best: over images. "
    + DAGGER
)


def unet_table(
    tables: Mapping[str, pd.DataFrame], ours: MeasuredOf, paper: Mapping[tuple[str, str], Printed]
) -> pd.DataFrame:
    """Return a row a U-Net, part and measure; `tables` are the overlaps of the images by U-Net."""
    rows = []
    for name, table in tables.items():
        for part in MASK_PARTS:
            mine = table[table["part"] == part]
            if mine.empty:
                continue
            found = summarise_overlap(mine)
            for measure, words in (("dice", "Dice"), ("iou", "IoU")):
                row = {"network": unet_title(name), "part": part, "measure": words}
                row |= {"images": found["images"]}
                keys = {"true mean": "mean", "5th percentile": "p5", "worst": "min", "best": "max"}
                row |= {words: _ratio(found[f"{measure}_{key}"]) for words, key in keys.items()}
                metric = f"{measure}_published_{part}"
                row["authors' function"] = _ratio_interval(ours.get((name, metric)))
                row["paper"] = _printed_ratio(paper.get((name, metric)))
                rows.append(row)
    return pd.DataFrame(rows)


def _ratio(value: float) -> str:
    return number(value, unit="ratio")


def _ratio_interval(one: Measured | None) -> str:
    if one is None:
        return NOTHING
    mean, low, high = (_ratio(value / 100) for value in (one.mean, one.low, one.high))
    return f"{mean}\n[{low}, {high}]"


def _printed_ratio(one: Printed | None) -> str:
    return NOTHING if one is None else _ratio(one.value / 100) + "†" * bool(one.doubt)


def _mask_figures(results: Results, folders: Mapping[str, Path]) -> list[FigureEntry]:
    """The masks of the U-Nets that the paper's figure 3 shows, where the images are at hand."""
    shown = {unet_title(name): folders[name] for name in FIGURE_3 if name in folders}
    try:
        cohort = stages.mask_cohort(results.run.protocol, _data_of(results), stages.cache_of(results.run))
        if not shown or not all(Path(path).is_file() for path in cohort.table["path"]):
            return []
    except UserError:  # a report is made of predictions alone too, on a machine without the collections
        return []
    from papers.arias_vgg19.mask_figures import mask_figures  # with TensorFlow

    return [FigureEntry(*drawn) for drawn in mask_figures(shown, cohort)]


def _data_of(results: Results) -> Path | None:
    """Return the data root that the run's images lie in, the narrowest that holds all collections; None for none."""
    first = Path(results.run.cohort.table["path"].iloc[0])
    return next((folder for folder in first.parents if available(results.run.protocol, folder) is None), None)


def unet_title(name: str) -> str:
    """Return how a U-Net is called.

    >>> unet_title("unet1")
    'U-Net 1'
    """
    return name.replace("unet", "U-Net ")


# --- VGG16 or VGG19


def depth_section(results: Results) -> Section | None:
    """Which of the two networks validation chose, and how both do."""
    names = [name for name in ("view", *chosen_systems(results.systems)) if name in results.systems]
    if not names:
        return None
    picked = {name: [record.get("chosen", "") for _, record in results.executions_of(name)] for name in names}
    ours, paper = measured_of(results.measured), printed_of(results.published)
    frame = depth_table(picked, results.systems, ours, paper)
    return Section("VGG16 or VGG19", depth_words(picked), [TableEntry("Both networks", DEPTH_CAPTION, frame)])


DEPTH_CAPTION = (
    "Percent, mean over executions with 95 % interval by patient; the last columns are what the paper prints of its "
    "test images. Chosen: in how many executions VGG16 / VGG19 had more right answers on validation, of equals the "
    "smaller cross-entropy. " + DAGGER
)


def depth_words(picked: Mapping[str, Sequence[str]]) -> str:
    """Return how often each depth was chosen.

    >>> depth_words({"view": ["view16", "view19"], "exp1_c": ["exp1_c19", "exp1_c19"]})[:74]
    'Of 4 choices on validation 1 fell on VGG16 and 3 on VGG19. The paper takes'
    """
    counts = Counter(depth for chosen in picked.values() for depth in DEPTHS for one in chosen if one.endswith(depth))
    told = " and ".join(f"{counts[depth]} {'fell ' * (depth == next(iter(DEPTHS)))}on VGG{depth}" for depth in DEPTHS)
    return (
        f"Of {sum(counts.values())} choices on validation {told}. The paper takes VGG19 for the better one throughout; "
        "in the authors' code VGG16 starts with a first layer two thirds of which are empty."
    )


def depth_table(
    picked: Mapping[str, Sequence[str]],
    titles: Mapping[str, str],
    ours: MeasuredOf,
    paper: Mapping[tuple[str, str], Printed],
) -> pd.DataFrame:
    """Return a row a choice: how often each depth, and the accuracies of both on validation and test."""
    rows = []
    for name, chosen in picked.items():
        row = {"system": titles[name]}
        row["chosen, 16 / 19"] = " / ".join(str(sum(one == f"{name}{depth}" for one in chosen)) for depth in DEPTHS)
        for words, metric in (("validation", "accuracy_validation"), ("test", "accuracy")):
            for depth in DEPTHS:
                row[f"{words}, VGG{depth}"] = with_interval(ours.get((f"{name}{depth}", metric)))
        for depth in DEPTHS:
            row[f"paper, VGG{depth}"] = printed_words(paper.get((f"{name}{depth}", "accuracy")))
        rows.append(row)
    return pd.DataFrame(rows)


# --- accuracy as the authors compute it


def faulty_section(results: Results) -> Section | None:
    """The accuracy beside what the authors' code calls so."""
    names = chosen_systems(results.systems)
    if not names:
        return None
    ours, paper = measured_of(results.measured), printed_of(results.published)
    frame = faulty_table({name: results.systems[name] for name in names}, ours, paper)
    return Section("Accuracy as the authors compute it", FAULTY_TEXT, [TableEntry("Two accuracies", DAGGER, frame)])


FAULTY_TEXT = (
    "The authors' code takes the false positives for the false negatives too, so that the accuracy of the metric "
    "tables is (TP + TN) / (TP + TN + 2 FP). It leaves out whoever is overlooked and counts every false alarm twice: "
    "above the true accuracy where there are more overlooked than false alarms, below it where there are fewer. "
    "Percent, mean over executions with 95 % interval by patient."
)


def faulty_table(titles: Mapping[str, str], ours: MeasuredOf, paper: Mapping[tuple[str, str], Printed]) -> pd.DataFrame:
    """Return a row a system: accuracy, the authors' accuracy, their difference, and what the paper prints."""
    rows = []
    for name, title in titles.items():
        true, faulty = (ours.get((name, metric)) for metric in ("accuracy", "accuracy_faulty"))
        change = NOTHING if true is None or faulty is None else number(faulty.mean - true.mean, signed=True)
        rows.append(
            {
                "system": title,
                "accuracy": with_interval(true),
                "as the authors compute it": with_interval(faulty),
                "change (points)": change,
                "paper, as the authors compute it": printed_words(paper.get((name, "accuracy_faulty"))),
            }
        )
    return pd.DataFrame(rows)
