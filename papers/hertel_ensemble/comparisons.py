"""The numbers of the report on systems: segmenters, ensembles, validation and test, COVIDGR-1.0, literature.

Everything follows from predictions, records and printed numbers. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation import (
    Difference,
    PublishedCell,
    bootstrap_difference,
    difference_of_sets,
    load_published,
    summarise,
)
from covid_keras.evaluation.proportions import standard_error, wilson_interval
from covid_keras.evaluation.uncertainty import SHARES, mean_interval
from covid_keras.paper.registered import load_paper
from covid_keras.paper.unfreezing import HEAD
from covid_keras.reporting.differences import (
    MeasuredOf,
    Printed,
    PrintedOf,
    difference_of_printed,
    difference_words,
    forest_row,
    measured_cells,
    measured_of,
    printed_words,
    rows_tested,
    shared_test_rows,
    with_interval,
)
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING, number, published_number, with_bounds
from covid_keras.training.runfolder import Execution
from papers.hertel_ensemble import stages
from papers.hertel_ensemble.networks import NETWORKS as BUILT
from papers.hertel_ensemble.systems import COVID
from papers.hertel_ensemble.systems import TASKS as OF_PAPER

# Display names shared by the report's sections.
NETWORKS = {name: network.title for name, network in BUILT.items()}
ENSEMBLES = {"average": "weighted average", "vote": "majority vote"}
TASKS = {name: task.title for name, task in OF_PAPER.items()}
SEGMENTER_TITLES = {stages.NAME: "ResUNet", stages.UNET: "U-Net"}

PATTERNS = {1: "3-0", 2: "2-1", 3: "1-1-1"}  # votes, by how many classes are named
FEW_EXECUTIONS = 5
ONE_AGAINST_REST = {
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1_positive": "F1",
    "precision_positive": "PPV",
    "precision_negative": "NPV",
    "auc": "AUC",
}
COVIDGR_METRICS = ("accuracy", "sensitivity")
COMPARED_PAPER = COMPARED_SYSTEM = "covid_sdnet"
_KEYS = ["repeat", "fold", "image_id"]
_BEFORE = "accuracy_validation"
_CHILDREN = "networks trained on children's images: "  # as published.yaml names what the paper says of them
_AFTER_HEAD = "validation accuracy after these, {}"  # as published.yaml names what follows the frozen epochs
_FELL = "accuracies fell by at {}"  # the paper's claim, as its published cells name it


def systems_of(results: Results, task: str) -> list[str]:
    """Return the systems of a task that were run, networks first."""
    names = [f"{name}_{task}" for name in (*NETWORKS, *ENSEMBLES)]
    return [name for name in names if name in results.systems]


def short_title(system: str) -> str:
    """Return the name of a system without its task.

    >>> short_title("vgg19_multi"), short_title("vote_gr5"), short_title("densenet201_whole")
    ('VGG-19', 'majority vote', 'DenseNet-201')
    """
    return (NETWORKS | ENSEMBLES)[system.rpartition("_")[0]]


def mean_words(values: pd.Series, patients: pd.Series) -> str:
    """Return the mean of values of 0..1, such as true and false, in percent, with its interval by patient."""
    if values.empty:
        return NOTHING
    shares = 100 * values.to_numpy(np.float64)
    interval = mean_interval(shares, patients.to_numpy(), sure=SHARES)
    return with_bounds(shares.mean(), *interval, kind=interval.kind)


def cell_words(cell: PublishedCell) -> str:
    """Return a printed number in its own unit, marked if doubtful, or a text."""
    if cell.lost or cell.text:
        return cell.text
    unit = " %" if cell.unit == "percent" else ""
    spread = "" if cell.std is None else f" ± {published_number(cell.std, cell.unit)}"
    return f"{published_number(cell.mean, cell.unit)}{spread}{unit}" + "†" * bool(cell.doubt)


# --- the segmenters


def segmenter_table(ours: MeasuredOf, paper: PrintedOf) -> pd.DataFrame:
    """Return Dice and IoU of ResUNet and U-Net, ours and the paper's, one row per network, part and measure."""
    measures = (("dice", "Dice"), ("iou", "IoU"))
    rows = []
    for name, part, (measure, words) in product(stages.SEGMENTERS.names, ("train", "validation"), measures):
        key = name, f"{measure}_{part}"
        if one := ours.get(key):
            row = {"network": SEGMENTER_TITLES[name], "part": part, "measure": words, "ours": with_interval(one)}
            row |= {"images": one.n_images, "patients": one.n_patients}
            rows.append(row | {"paper": printed_words(paper.get(key))})
    return pd.DataFrame(rows)


def segmenter_difference(frame: pd.DataFrame) -> tuple[pd.DataFrame, Difference]:
    """Return the ResUNet minus the shipped U-Net, as a one-row table and as a difference in points of Dice.

    `frame` is as `papers.hertel_ensemble.stages.compared_masks` returns it, not empty.
    """
    found = stages.paired_difference(frame)
    means = [100 * frame[name].mean() for name in ("dice", "dice_shipped")]
    less = Difference("dice", *means, *(100 * found[name] for name in ("mean", "low", "high")), found["patients"])
    row = {
        "ResUNet": number(less.a),
        "shipped U-Net": number(less.b),
        "difference (points)": difference_words(less),
        "wins / losses / ties": " / ".join(str(found[name]) for name in ("wins", "losses", "ties")),
        "images": found["images"],
        "patients": less.n_patients,
    }
    return pd.DataFrame([row]), less


# --- what the ensembles gain, and how often the networks agree


class Gain(NamedTuple):
    """An ensemble minus one of its members, on the same test images."""

    task: str
    ensemble: str
    member: str
    less: Difference
    best_on: tuple[str, ...]  # of "validation", "test": where the member is the best single network

    @property
    def titles(self) -> tuple[str, str, str]:
        """The names of task, ensemble and member."""
        return TASKS[self.task], short_title(self.ensemble), short_title(self.member)


def weight_table(results: Results) -> pd.DataFrame:
    """Return weights and validation accuracies of every ensemble, one row per execution or, for many, one row."""
    rows = []
    for task, title in TASKS.items():
        for name, words in ENSEMBLES.items():
            system = f"{name}_{task}"
            facts = [fact for _, record in results.executions_of(system) for fact in record.get("combined", ())]
            if facts:
                members = [short_title(one) for one in results.paper.system(system).below]
                rows += weight_rows(f"{words}, {title}", members, facts)
    return pd.DataFrame(rows)


def weight_rows(title: str, members: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """Return the rows of one ensemble; `facts` are the combination records of its executions."""
    groups = [[fact] for fact in facts] if len(facts) <= FEW_EXECUTIONS else [facts]
    rows = []
    for group in groups:
        alone = f"repeat {group[0]['repeat'] + 1}, fold {group[0]['fold'] + 1}"
        row = {"ensemble": title, "execution": alone if len(group) == 1 else f"{len(group)} executions"}
        for place, member in enumerate(members):
            weights = [fact["weights"][place] for fact in group if fact["weights"] is not None]
            accuracy = _mean([fact["accuracy"][place] for fact in group if fact["accuracy"] is not None])
            spread = f" ({number(min(weights))} to {number(max(weights))})" if len(weights) > 1 else ""
            row[member] = f"{number(_mean(weights))}{spread} / {number(accuracy)}"
        ensemble = [fact["accuracy_ensemble"] for fact in group if fact["accuracy_ensemble"] is not None]
        rows.append(row | {"ensemble on validation (%)": number(_mean(ensemble))})
    return rows


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def gains(results: Results) -> list[Gain]:
    """Return each ensemble minus each of its members."""
    ours, found = measured_of(results.measured), []
    for task in TASKS:
        systems = systems_of(results, task)
        members = [name for name in systems if name.rpartition("_")[0] in NETWORKS]
        best = {
            part: max(members, key=lambda name: _value(ours, name, metric), default="")
            for part, metric in (("validation", _BEFORE), ("test", "accuracy"))
            if any((name, metric) in ours for name in members)
        }
        for ensemble in (name for name in systems if name not in members):
            for member in members:
                both = shared_test_rows(*(results.predictions_of(name) for name in (ensemble, member)))
                if len(both[0]):
                    where = tuple(part for part, name in best.items() if name == member)
                    found.append(Gain(task, ensemble, member, bootstrap_difference(*both, "accuracy"), where))
    return found


def _value(ours: MeasuredOf, system: str, metric: str) -> float:
    one = ours.get((system, metric))
    return -math.inf if one is None or math.isnan(one.mean) else one.mean


def gain_table(found: Iterable[Gain], paper: PrintedOf) -> pd.DataFrame:
    """Return the gains, one row each."""
    rows = []
    for one in found:
        row = dict(zip(("task", "ensemble", "network"), one.titles, strict=True))
        row |= {
            "best single network on": " and ".join(one.best_on) or NOTHING,
            "ensemble (%)": number(one.less.a),
            "network (%)": number(one.less.b),
            "gain (points)": difference_words(one.less),
            "paper, gain": difference_of_printed(
                *(paper.get((name, "accuracy")) for name in (one.ensemble, one.member))
            ),
        }
        rows.append(row | {"patients": one.less.n_patients})
    return pd.DataFrame(rows)


def gain_frame(found: Iterable[Gain]) -> pd.DataFrame:
    """Return the gains as `covid_keras.reporting.forest.forest_figure` takes them."""
    rows = [
        forest_row(f"{ensemble}, {task}", f"less {member}", one.less)
        for one in found
        for task, ensemble, member in [one.titles]
    ]
    return pd.DataFrame(rows)


def agreement(results: Results, task: str) -> pd.DataFrame:
    """Return the votes of the three networks, one row per common execution and test image.

    Columns `patient_id`, `pattern` ("3-0", "2-1", "1-1-1"), `some` (bool, a network is right) and, by the name of each
    ensemble that was run, whether it is right. Empty if a network was not run.
    """
    members = [f"{name}_{task}" for name in NETWORKS]
    if not set(members) <= set(results.systems):
        return pd.DataFrame()
    frames = {name: rows_tested(results.predictions_of(name)).set_index(_KEYS) for name in systems_of(results, task)}
    said = pd.concat({name: frame["predicted"] for name, frame in frames.items()}, axis=1, join="inner")
    truth = frames[members[0]].loc[said.index]
    found = pd.DataFrame({"patient_id": truth["patient_id"]}, index=said.index)
    found["pattern"] = said[members].nunique(axis=1).map(PATTERNS)
    right = said.eq(truth["label"], axis=0)
    found["some"] = right[members].any(axis=1)
    return found.join(right.drop(columns=members)).reset_index(drop=True)


def agreement_rows(frame: pd.DataFrame, task: str) -> list[dict[str, Any]]:
    """Return one row per pattern of votes that occurs."""
    rows = []
    for pattern in PATTERNS.values() if len(frame) else ():
        shown = frame["pattern"].eq(pattern)
        mine = frame[shown]
        if mine.empty:
            continue
        row = {"task": TASKS[task], "votes": pattern, "images": f"{len(mine):,}"}
        row["share (%)"] = mean_words(shown, frame["patient_id"])
        for name, words in ENSEMBLES.items():
            right = mine.get(f"{name}_{task}", pd.Series(dtype=float))
            row[f"{words} right (%)"] = mean_words(right, mine["patient_id"])
        rows.append(row | {"some network right (%)": mean_words(mine["some"], mine["patient_id"])})
    return rows


# --- from validation to test


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
        before, after = (paper.get((name, metric)) for metric in (_BEFORE, "accuracy"))
        row = {"task": TASKS[name.rpartition("_")[2]], "system": short_title(name)}
        row |= {"validation": number(one.b), "test": number(one.a), "difference (points)": difference_words(one)}
        row |= {"paper, validation": printed_words(before), "paper, test": printed_words(after)}
        rows.append(row | {"paper, difference": difference_of_printed(after, before)})
    return pd.DataFrame(rows)


def claimed_drop(published: Iterable[PublishedCell], paper: PrintedOf) -> dict[str, Any]:
    """Return the paper's claim on the difference and the systems that contradict it; empty without a claim.

    The claim is read from the published cells whose rows tell it: accuracies fell by `least` to `most` percent. Of the
    `systems` whose falls the paper prints, `outside` are those that are not between: (title, fall in points).
    """
    bounds = {word: cell.mean for cell in published for word in ("least", "most") if _FELL.format(word) in cell.row}
    if len(bounds) < 2:
        return {}
    pairs = {name: (paper[name, metric], paper.get((name, "accuracy"))) for name, metric in paper if metric == _BEFORE}
    fell = [(short_title(name), one.value - other.value) for name, (one, other) in pairs.items() if other is not None]
    outside = [one for one in fell if not bounds["least"] <= round(one[1], 6) <= bounds["most"]]
    return bounds | {"systems": len(fell), "outside": outside}


# --- children as negatives


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


# --- the head's stage


def head_table(results: Results) -> pd.DataFrame:
    """Return the validation accuracy after the head's last epoch of each network, mean over executions."""
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
    """Return the number of the head's epochs and the accuracy after the last; None without such a stage."""
    if (history := execution.history) is None:
        return None
    names = [stage.name for stage in execution.system.stages(execution.protocol)]
    if HEAD not in names:
        return None
    rows = history[history["stage"] == names.index(HEAD)]
    return (len(rows), float(rows["val_accuracy"].iloc[-1])) if len(rows) else None


# --- each class against the rest


def class_table(results: Results, systems: Iterable[str], name: str, paper: PrintedOf) -> pd.DataFrame:
    """Return the metrics of one class against the rest, one row per system."""
    rows = []
    for system in systems:
        found = measured_of(summarise(results.predictions_of(system), positive=name))
        row = {"system": results.systems[system]} | measured_cells(found, system, ONE_AGAINST_REST)
        if system.startswith("vote_"):
            row["AUC"] = NOTHING  # of three votes the paper draws no curve
        rows.append(row | {"paper, sensitivity": printed_words(paper.get((system, f"recall_{name}")))})
    frame = pd.DataFrame(rows)
    return frame if frame["paper, sensitivity"].ne(NOTHING).any() else frame.drop(columns="paper, sensitivity")


# --- COVIDGR-1.0: one division against folds and against COVID-SDNet (Table 12)


class Claim(NamedTuple):
    """A gain of the paper over COVID-SDNet, with the sampling error of `n` test images; percent and points."""

    metric: str
    printed: Printed
    other: float
    n: int

    @property
    def gain(self) -> float:
        """The printed number minus COVID-SDNet's."""
        return self.printed.value - self.other

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson interval of the printed number, 95 %."""
        return wilson_interval(self.printed.value, self.n)

    @property
    def within(self) -> bool:
        """Whether the gain is within the sampling error."""
        return self.interval[0] <= self.other <= self.interval[1]


def compared_cells() -> dict[str, PublishedCell]:
    """Return COVID-SDNet's results in its own paper, by metric; empty if that paper is not installed."""
    try:
        cells = load_published(load_paper(COMPARED_PAPER).folder / "published.yaml")
    except UserError:
        return {}
    found: dict[str, PublishedCell] = {}
    for cell in cells:
        if cell.system == COMPARED_SYSTEM and cell.metric and cell.std is not None:
            found.setdefault(cell.metric, cell)
    return found


def covidgr_table(ours: MeasuredOf, paper: PrintedOf, other: Mapping[str, PublishedCell]) -> pd.DataFrame:
    """Return accuracy and sensitivity of every system, one row each; the last row is COVID-SDNet's."""
    rows = []
    for name, title in (NETWORKS | ENSEMBLES).items():
        row = {"system": title}
        for task, words in (("gr", "one division"), ("gr5", "folds")):
            for metric in COVIDGR_METRICS:
                if one := ours.get((f"{name}_{task}", metric)):
                    spread = "" if task == "gr" or math.isnan(one.std) else f" ± {number(one.std)}"
                    row[f"{words}, {metric}"] = with_interval(one).replace("\n", f"{spread}\n")
        if len(row) > 1:
            row |= {f"paper, {metric}": printed_words(paper.get((f"{name}_gr", metric))) for metric in COVIDGR_METRICS}
            rows.append(row)
    printed = {
        f"folds, {m}": f"{number(other[m].mean)} ± {number(other[m].std)}" for m in COVIDGR_METRICS if m in other
    }
    if printed:
        rows.append({"system": "COVID-SDNet, as printed"} | printed)
    columns = [f"{words}, {metric}" for words in ("one division", "folds", "paper") for metric in COVIDGR_METRICS]
    return pd.DataFrame(rows, columns=["system", *columns]).fillna(NOTHING)


def counted_images(published: Iterable[PublishedCell]) -> dict[str, int]:
    """Return the denominators of accuracy and sensitivity on COVIDGR-1.0, from the totals of Table 4.

    Nothing where the paper's totals, or the share that it tests on, are not among its cells.
    """
    cells = [cell for cell in published if cell.table == "4" and not cell.lost]
    totals = {cell.row: cell.mean for cell in cells if cell.unit == "count" and cell.column == "total"}
    shares = [cell.mean / 100 for cell in cells if cell.unit == "percent" and cell.column == "test"]
    if COVID not in totals or not shares:
        return {}
    each = {name: round(shares[0] * total) for name, total in totals.items()}
    return {"accuracy": sum(each.values()), "sensitivity": each[COVID]}


def claims_of(paper: PrintedOf, other: Mapping[str, PublishedCell], images: Mapping[str, int]) -> list[Claim]:
    """Return the paper's gains over COVID-SDNet by metric; `images` from `counted_images`."""
    return [
        Claim(metric, printed, other[metric].mean, n)
        for metric, n in images.items()
        if metric in other and (printed := paper.get(("average_gr", metric)))
    ]


def claims_table(claims: Iterable[Claim]) -> pd.DataFrame:
    """Return the sampling errors of the claims, one row each."""
    rows = []
    for one in claims:
        error = standard_error(one.printed.value, one.n)
        row = {"metric": one.metric, "paper": printed_words(one.printed), "n": one.n, "standard error": number(error)}
        row |= {"interval": " to ".join(map(number, one.interval)), "COVID-SDNet": number(one.other)}
        row |= {"gain": number(one.gain, signed=True), "gain / standard error": number(one.gain / error, signed=True)}
        rows.append(row | {"within what n allows": "yes" if one.within else "no"})
    return pd.DataFrame(rows)


# --- radiologists and literature (Tables 13 and 14)


def literature_table(cells: Iterable[PublishedCell], ours: MeasuredOf) -> pd.DataFrame:
    """Return the cells of a table of the paper, one row each, with ours if there is a counterpart."""
    rows = []
    for cell in cells:
        one = ours.get((cell.system, cell.metric)) if cell.system else None
        row = {"who": cell.row, "what": cell.column, "paper": cell_words(cell), "ours": with_interval(one)}
        rows.append(row | {"test images": NOTHING if one is None else f"{one.n_images:,}"})
    return pd.DataFrame(rows)
