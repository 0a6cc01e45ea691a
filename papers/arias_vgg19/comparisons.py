"""The numbers of this paper's report, from the view filter to the authors' accuracy.

Everything follows from predictions, records and printed numbers. Nothing here imports TensorFlow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.common.tables import read_table
from covid_keras.evaluation import (
    Difference,
    Measured,
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
    CHANCE,
    MeasuredOf,
    PrintedOf,
    difference_of_printed,
    difference_words,
    forest_row,
    measured_cells,
    measured_of,
    printed_of,
    printed_words,
    rows_tested,
    shared_executions,
    shared_test_rows,
    standing,
    with_interval,
)
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING, number
from papers.arias_vgg19.experiments import CONTROLS, EXPERIMENTS, PARTS, VIEW_OF
from papers.arias_vgg19.measures import faulty_accuracy
from papers.arias_vgg19.networks import FRONTAL_CLASS, LATERAL_CLASS, VERDICTS
from papers.arias_vgg19.overlap import PARTS as MASK_PARTS
from papers.arias_vgg19.systems import DEPTHS

VIEW_FILTERS = ("view16", "view19", "view_balanced", "view_all", "view")
LATERAL_POSITIVE = {
    "accuracy": "accuracy (%)",
    "balanced_accuracy": "balanced accuracy (%)",
    "specificity": "recall of frontal (%)",
    "sensitivity": "recall of lateral (%)",
    "auc": "AUC (%)",
}
UNKNOWN_VIEW = "unknown view"
FRONTAL_ONLY = ("chestxray14", "kermany")  # collections of frontal radiographs alone, whether or not they say so
# What became of an image: its true view, and whether the filter let it through.
FATES = {
    "frontal, let through": (FRONTAL_CLASS, True),
    "frontal, refused": (FRONTAL_CLASS, False),
    "lateral, refused": (LATERAL_CLASS, False),
    "lateral, slipped through": (LATERAL_CLASS, True),
    f"{UNKNOWN_VIEW}, let through": (UNKNOWN_VIEW, True),
    f"{UNKNOWN_VIEW}, refused": (UNKNOWN_VIEW, False),
}
# The conclusion's means, by their rows in `published.yaml`: what they are of, metric, network ("": the chosen one).
MEANS = {
    "all experiments: accuracy": ("test accuracy of VGG19", "accuracy", "19"),
    "all experiments: accuracy of the COVID-19 label at 0.5": (
        "accuracy as the authors compute it, network chosen on validation",
        "accuracy_faulty",
        "",
    ),
}
COMPARED = (("e", "d"), ("d", "c"), ("e", "c"))
DIFFERENCES = {"accuracy": "accuracy", "auc": "AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
STEPS = np.linspace(0, 1, 201)
# The two of three functions of a matrix that `covid_keras.evaluation.counts` does not hold.
_OF_THRESHOLD = {
    "accuracy": accuracy,
    "sensitivity": lambda confusion: percent(confusion[..., 1, 1], confusion[..., 1, :].sum(axis=-1)),
    "specificity": lambda confusion: percent(confusion[..., 0, 0], confusion[..., 0, :].sum(axis=-1)),
}
Thresholds = Mapping[tuple[str, int, int], float]


def chosen_systems(systems: Collection[str]) -> list[str]:
    """Return the COVID-19 systems chosen on validation (of VGG16 and VGG19), in the paper's order."""
    return [name for one in EXPERIMENTS for part in PARTS if (name := f"{one}_{part}") in systems]


def title_of(name: str, present: Collection[str] = ()) -> str:
    """Return the name of an experiment or a control; an experiment with its negatives among the labels `present`.

    >>> title_of("exp3", ["normal, elsewhere", "COVID-19, PA"])
    'Experiment 3 (against normal, elsewhere)'
    """
    if name in CONTROLS:
        return CONTROLS[name][0]
    title, _, negatives = EXPERIMENTS[name]
    against = "; ".join(label for label in negatives if label in present)
    return f"{title} (against {against})" if against else title


def labels_of(results: Results) -> list[str]:
    """Return the labels with images in a run's cohort."""
    return list(results.run.cohort.table["label"].unique())


def part_title(part: str) -> str:
    """Return the name of a part in legends and tables.

    >>> part_title("e")
    'e, lungs removed'
    """
    return f"{part}, {PARTS[part]}"


# --- the view filter


def view_frames(results: Results) -> dict[str, pd.DataFrame]:
    """Return each filter's predictions on the collection that has both views."""
    table = results.run.cohort.table
    both = table.loc[table["label"].isin(list(VIEW_OF)), "image_id"]
    frames = {name: results.predictions_of(name) for name in VIEW_FILTERS if name in results.systems}
    return {name: frame[frame["image_id"].isin(both)] for name, frame in frames.items()}


def view_table(results: Results, frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return the metrics of the baseline (every image called frontal) and of the filters."""
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
    return summarise_counts(said, {**_OF_THRESHOLD, "balanced_accuracy": balanced_accuracy})


def true_views(table: pd.DataFrame) -> np.ndarray:
    """Return the true view of each row of a cohort's table, (n,): "frontal", "lateral" or `UNKNOWN_VIEW`.

    From the column `view`, else the label, else whether the collection (`source`) is all frontal.
    """
    view, source = (table[name].fillna("").astype(str) for name in ("view", "source"))
    label = table["label"].map(VIEW_OF).fillna("")
    conditions = (view.str.startswith("L"), view.str.startswith(("PA", "AP")), label.ne(""), source.isin(FRONTAL_ONLY))
    return np.select(conditions, (LATERAL_CLASS, FRONTAL_CLASS, label, FRONTAL_CLASS), UNKNOWN_VIEW)


def filter_answers(results: Results) -> pd.DataFrame:
    """Return the filter's answer to each test image of an experiment, over all executions with saved answers.

    One row per image and execution: `experiment`, `class`, `view` (the true one), `passed` (bool).
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
    """Return the counts, one row per experiment and class, with the share of each view that passed.

    Unknown views have columns if there are any; `present` are the labels of the cohort.
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


# --- with lungs and without


def part_differences(results: Results, name: str) -> dict[tuple[str, str, str], Difference]:
    """Return the paired differences of an experiment's parts by (first, second, metric)."""
    found = {}
    for a, b in COMPARED:
        first, second = shared_test_rows(*(results.predictions_of(f"{name}_{part}") for part in (a, b)))
        if len(first):
            found |= {(a, b, metric): bootstrap_difference(first, second, metric) for metric in DIFFERENCES}
    return found


def difference_table(name: str, found: Mapping[tuple[str, str, str], Difference], paper: PrintedOf) -> pd.DataFrame:
    """Return an experiment's differences, one row per pair of parts; a control has no counterpart in the paper."""
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
    """Return the paper's number for part `a` minus that for part `b`, marked if either is doubtful."""
    pair = [paper.get((_printed_system(paper, f"{name}_{part}", metric), metric)) for part in (a, b)]
    return difference_of_printed(*pair)


def _printed_system(paper: PrintedOf, system: str, metric: str) -> str:
    """Return the system whose printed number stands for the chosen network, since accuracies are per VGG."""
    if metric != "accuracy":
        return system
    known = [f"{system}{depth}" for depth in DEPTHS if (f"{system}{depth}", "accuracy_validation") in paper]
    return max(known, key=lambda one: paper[one, "accuracy_validation"].value, default=system)


def curves_of(frame: pd.DataFrame, positive: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (labels, scores) of the positive class per execution's test images, skipping executions with one class."""
    found = []
    for _, rows in executions_of(rows_tested(frame)):
        labels = rows["label"].eq(positive).to_numpy(np.int64)
        if len(np.unique(labels)) == 2:
            found.append((labels, rows[f"score_{positive}"].to_numpy(np.float64)))
    return found


# --- how much is the picture's frame


class Beside(NamedTuple):
    """One part of a control and of an experiment: their AUC, and control minus experiment.

    `title` is the experiment's.
    """

    control: str
    part: str
    title: str
    own: Measured
    covid: Measured
    less: Difference

    @property
    def own_standing(self) -> str:
        """Position of the control's AUC relative to chance."""
        return standing(self.own, CHANCE)

    @property
    def covid_standing(self) -> str:
        """Position of the experiment's AUC relative to chance."""
        return standing(self.covid, CHANCE)

    @property
    def partial(self) -> bool:
        """Whether only some executions are common to both."""
        return not np.allclose([self.less.a, self.less.b], [self.own.mean, self.covid.mean])

    @property
    def reached(self) -> float:
        """The control's AUC above chance in percent of the experiment's, at least 0; NaN if that has none."""
        if self.covid_standing != "above" or self.less.b <= CHANCE:
            return float("nan")
        return float(percent(max(self.less.a - CHANCE, 0.0), self.less.b - CHANCE))

    @property
    def reached_text(self) -> str:
        """The same, as text without decimals."""
        return NOTHING if np.isnan(self.reached) else f"{self.reached:.0f}"


def auc_by_part(ours: MeasuredOf, tasks: Sequence[str], present: Collection[str] = ()) -> pd.DataFrame:
    """Return the AUC of each part of each task, as `covid_keras.reporting.forest.forest_figure` takes it."""
    rows = [
        forest_row(title_of(name, present), part_title(part), one, control=name in CONTROLS)
        for name in tasks
        for part in PARTS
        if (one := ours.get((f"{name}_{part}", "auc"))) and not np.isnan(one.mean)
    ]
    return pd.DataFrame(rows)


def control_table(ours: MeasuredOf, tasks: Sequence[str], present: Collection[str] = ()) -> pd.DataFrame:
    """Return accuracy, balanced accuracy and AUC, one row per part of a task."""
    metrics = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "auc": "AUC"}
    rows = [
        {"task": title_of(name, present), "part": part_title(part)}
        | measured_cells(ours, system, metrics)
        | {"images": ours[system, "accuracy"].n_images}
        for name in tasks
        for part in PARTS
        if ((system := f"{name}_{part}"), "accuracy") in ours
    ]
    return pd.DataFrame(rows)


def set_beside(results: Results, ours: MeasuredOf, tasks: Sequence[str]) -> list[Beside]:
    """Pair each part of the controls with the same part of the experiments, if both have an AUC."""
    found = []
    for control in (name for name in tasks if name in CONTROLS):
        for part in ("e", "c", "d"):
            for name in (name for name in tasks if name in EXPERIMENTS):
                systems = [f"{one}_{part}" for one in (control, name)]
                own, covid = (ours.get((system, "auc")) for system in systems)
                if own is None or covid is None or "unknown" in (standing(own), standing(covid)):
                    continue
                frames = shared_executions(*(results.predictions_of(system) for system in systems))
                if len(frames[0]):
                    less = difference_of_sets(*frames, "auc")
                    found.append(Beside(control, part, title_of(name, labels_of(results)), own, covid, less))
    return found


def less_table(found: Iterable[Beside]) -> pd.DataFrame:
    """Return the comparisons, one row each."""
    rows = [
        {
            "control": title_of(one.control),
            "part": part_title(one.part),
            "AUC of the control": number(one.less.a),
            "experiment": one.title,
            "AUC of the experiment": number(one.less.b),
            "control less experiment (points)": difference_words(one.less),
            "reached (%)": one.reached_text,
        }
        for one in found
    ]
    return pd.DataFrame(rows)


def told_controls(ours: MeasuredOf, found: Iterable[Beside] = ()) -> list[dict[str, Any]]:
    """Return the text's data per control with an AUC: `name`, `parts`, and whether any part `tells`.

    A part has `part`, `auc`, `standing` (by chance) and, of the collections, which are the experiments' classes too,
    `beside`: the comparisons from which something may follow.
    """
    found, told = list(found), []
    for name in CONTROLS:
        parts = []
        for part in ("e", "c", "d"):
            one = ours.get((f"{name}_{part}", "auc"))
            if one is not None and (where := standing(one, CHANCE)) != "unknown":
                beside = [b for b in found if (b.control, b.part) == (name, part) and name == "source"]
                beside = [b for b in beside if b.own_standing != "below" and standing(b.less) != "unknown"]
                parts.append({"part": part, "auc": one, "standing": where, "beside": beside})
        if parts:
            told.append({"name": name, "parts": parts, "tells": any(one["standing"] == "above" for one in parts)})
    return told


def follow_ups(table: pd.DataFrame, tasks: Collection[str]) -> dict[str, float]:
    """Return the mean follow-up number per class of the control "finding", if both classes have one."""
    if "finding" not in tasks or "follow_up" not in table.columns:
        return {}
    numbers = pd.to_numeric(table["follow_up"], errors="coerce")
    means = numbers.groupby(table["label"].map(CONTROLS["finding"][1])).mean().dropna()
    return means.to_dict() if len(means) == 2 else {}


# --- the threshold


class ThresholdCurves(NamedTuple):
    """Mean accuracies of one system over executions at t thresholds, 0..1.

    `accuracy` maps "validation" and "test" to percent, shape (t,); `chosen` is the choice of each execution.
    """

    thresholds: np.ndarray
    accuracy: Mapping[str, np.ndarray]
    chosen: tuple[float, ...]


def right_answers(positive: np.ndarray, scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Count the correct decisions of `score >= threshold`, int64, shape of `thresholds`.

    >>> right_answers(np.array([False, True, True]), np.array([0.2, 0.4, 0.9]), np.array([0.1, 0.3, 0.5]))
    array([2, 3, 2])
    """
    of_positives, of_others = np.sort(scores[positive]), np.sort(scores[~positive])
    return len(of_positives) - np.searchsorted(of_positives, thresholds) + np.searchsorted(of_others, thresholds)


def best_threshold(positive: np.ndarray, scores: np.ndarray) -> float:
    """Return the most accurate threshold (a score or 0.5); among ties, the one nearest to 0.5."""
    candidates = np.unique(np.r_[scores, DECISION_THRESHOLD])
    right = right_answers(positive, scores, candidates)
    best = candidates[right == right.max()]
    return float(best[np.argmin(np.abs(best - DECISION_THRESHOLD))])


def best_thresholds(frame: pd.DataFrame) -> Thresholds:
    """Return the threshold chosen on validation for each execution that has a validation part."""
    validation = frame[frame["split"] == "validation"]
    return {key: best_threshold(*_answers(rows)) for key, rows in executions_of(validation)}


def threshold_rows(frame: pd.DataFrame, thresholds: Thresholds) -> list[dict[str, str]]:
    """Return one system's test metrics: one row at 0.5, one at the thresholds of its executions."""
    test = pd.concat([rows for key, rows in executions_of(rows_tested(frame)) if key in thresholds])
    chosen = ", ".join(number(thresholds[key]) for key in sorted(thresholds))
    both = {f"{DECISION_THRESHOLD:g}": DECISION_THRESHOLD, f"chosen: {chosen}": thresholds}
    decided = [apply_thresholds(test, given) for given in both.values()]
    gains = [NOTHING, difference_words(bootstrap_difference(*decided[::-1], "accuracy"))]
    rows = []
    for words, predictions, gain in zip(both, decided, gains, strict=True):
        found = {one.metric: one for one in summarise_counts(predictions, _OF_THRESHOLD)}
        metrics = {f"{metric} (%)": with_interval(found[metric]) for metric in _OF_THRESHOLD}
        rows.append({"threshold": words} | metrics | {"gain in accuracy (points)": gain})
    return rows


def threshold_curves(frame: pd.DataFrame, thresholds: Thresholds) -> ThresholdCurves:
    """Return the mean accuracy over executions at each threshold, on validation and on test."""
    means = {}
    for part in ("validation", "test"):
        rows = frame[frame["split"] == part]
        answers = [_answers(own) for key, own in executions_of(rows) if key in thresholds]
        if answers:
            means[part] = np.mean([100 * right_answers(*one, STEPS) / len(one[0]) for one in answers], axis=0)
    return ThresholdCurves(STEPS, means, tuple(thresholds.values()))


def _answers(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Return whether each image is positive, bool, and the scores of the positive (last) class, float64."""
    positive = classes_of(rows)[-1]
    return rows["label"].eq(positive).to_numpy(), rows[f"score_{positive}"].to_numpy(np.float64)


# --- the three U-Nets, VGG16 or VGG19, and the two accuracies


def unet_title(name: str) -> str:
    """Return the name of a U-Net.

    >>> unet_title("unet1")
    'U-Net 1'
    """
    return name.replace("unet", "U-Net ")


def unet_table(tables: Mapping[str, pd.DataFrame], ours: MeasuredOf, paper: PrintedOf) -> pd.DataFrame:
    """Return one row per U-Net, part and measure; `tables` are the overlaps of the images by U-Net."""
    rows = []
    for name, table in tables.items():
        for part in MASK_PARTS:
            mine = table[table["part"] == part]
            if mine.empty:
                continue
            found = summarise_overlap(mine)
            for measure, words in (("dice", "Dice"), ("iou", "IoU")):
                row = {"network": unet_title(name), "part": part, "measure": words, "images": found["images"]}
                keys = {"true mean": "mean", "5th percentile": "p5", "worst": "min", "best": "max"}
                row |= {words: number(found[f"{measure}_{key}"], unit="ratio") for words, key in keys.items()}
                key = name, f"{measure}_published_{part}"
                row["authors' function"] = with_interval(ours.get(key), "ratio")
                rows.append(row | {"paper": printed_words(paper.get(key), "ratio")})
    return pd.DataFrame(rows)


def depth_table(
    picked: Mapping[str, Sequence[str]], titles: Mapping[str, str], ours: MeasuredOf, paper: PrintedOf
) -> pd.DataFrame:
    """Return one row per choice: how often each depth, and the accuracies of both on validation and test."""
    rows = []
    for name, chosen in picked.items():
        both = {depth: f"{name}{depth}" for depth in DEPTHS}
        row = {"system": titles[name], "chosen, 16 / 19": " / ".join(str(chosen.count(one)) for one in both.values())}
        for words, metric in (("validation", "accuracy_validation"), ("test", "accuracy")):
            row |= {f"{words}, VGG{depth}": with_interval(ours.get((one, metric))) for depth, one in both.items()}
        row |= {f"paper, VGG{depth}": printed_words(paper.get((one, "accuracy"))) for depth, one in both.items()}
        rows.append(row)
    return pd.DataFrame(rows)


def mean_table(results: Results) -> pd.DataFrame:
    """Return the conclusion's means over the tests of Experiments 1 to 3, ours over those that were run."""
    rows = []
    for printed, (words, metric, depth) in MEANS.items():
        names = [f"{one}_{part}{depth}" for one in EXPERIMENTS if one != "comparison" for part in PARTS]
        run = [name for name in names if name in results.systems]
        if not run:
            continue
        # As the executions of one system: their mean, with all tests resampled together by patient.
        frames = [results.predictions_of(name) for name in run]
        pooled = [one.assign(system="all", repeat=one["repeat"] + 1000 * i) for i, one in enumerate(frames)]
        function = {"accuracy": accuracy, "accuracy_faulty": faulty_accuracy}[metric]
        (found,) = summarise_counts(pd.concat(pooled, ignore_index=True), {metric: function})
        cell = next(one for one in results.published if one.row == printed)
        row = {"mean of": words, "tests of ours": f"{len(run)} of {len(names)}", "ours (%)": with_interval(found)}
        rows.append(row | {"paper (%)": f"{cell.mean:g}{'†' if cell.doubt else ''}"})
    return pd.DataFrame(rows)


def faulty_table(titles: Mapping[str, str], ours: MeasuredOf, paper: PrintedOf) -> pd.DataFrame:
    """Return one row per system: accuracy, the authors' accuracy, their difference, and what the paper prints."""
    columns, rows = {"accuracy": "accuracy", "accuracy_faulty": "as the authors compute it"}, []
    for name, title in titles.items():
        true, faulty = (ours.get((name, metric)) for metric in columns)
        row = {"system": title} | measured_cells(ours, name, columns)
        row["change (points)"] = number(faulty.mean - true.mean, signed=True) if true and faulty else NOTHING
        rows.append(row | {"paper, as the authors compute it": printed_words(paper.get((name, "accuracy_faulty")))})
    return pd.DataFrame(rows)
