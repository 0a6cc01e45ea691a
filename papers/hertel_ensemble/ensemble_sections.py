"""What the ensembles gain over their members, how often these agree, and what is left of validation accuracies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, PublishedCell, bootstrap_difference, difference_of_sets
from covid_keras.reporting.differences import (
    DAGGER,
    MeasuredOf,
    PrintedOf,
    difference_of_printed,
    difference_words,
    measured_of,
    printed_of,
    printed_words,
    rows_tested,
    shared_test_rows,
)
from covid_keras.reporting.forest import forest_figure
from covid_keras.reporting.html import FigureEntry, Section, TableEntry
from covid_keras.reporting.results import Results
from covid_keras.reporting.tables import NOTHING, number
from papers.hertel_ensemble.tasks import (
    ENSEMBLES,
    NETWORKS,
    TASKS,
    joined,
    mean_words,
    sentence,
    short_title,
    span_words,
    systems_of,
    verdict,
)

PATTERNS = {1: "3-0", 2: "2-1", 3: "1-1-1"}  # votes, by how many classes are named
FEW_EXECUTIONS = 5
_KEYS = ["repeat", "fold", "image_id"]
# The paper's claim, as its published cells name it.
_BEFORE = "accuracy_validation"
_FELL = "accuracies fell by at {}"


# --- what the ensembles gain


class Gain(NamedTuple):
    """An ensemble less one of its members, on the same test images."""

    task: str
    ensemble: str
    member: str
    less: Difference
    best_on: tuple[str, ...]  # of "validation", "test": where the member is the best single network


def ensembles_section(results: Results) -> Section | None:
    """The weights that were chosen, and what each ensemble gains over each network."""
    found = gains(results)
    if not found:
        return None
    paper = printed_of(results.published)
    weights = weight_table(results)
    tables = [TableEntry("Weights of the members", WEIGHTS_CAPTION, weights)] if len(weights) else []
    tables.append(TableEntry("Ensemble less member", GAIN_CAPTION, gain_table(found, paper)))
    drawn = forest_figure(gain_frame(found), "Ensemble less member", "accuracy, points, 95 % interval", 0, "no gain")
    text = "\n\n".join((ENSEMBLES_TEXT, " ".join(gain_words(one) for one in found if "test" in one.best_on)))
    figure = FigureEntry("Gain of the ensembles", "An interval that holds 0 shows no gain.", drawn)
    return Section("What the ensembles gain", text, tables, [figure])


ENSEMBLES_TEXT = (
    "Two ensembles are made of the same three networks: a weighted average of their scores and a majority vote. The "
    "paper's weights are not in its text; here those of the average are chosen on the validation part, so that its "
    "accuracy there is an optimistic one. Below, ensembles and networks are compared on the same test images, patients "
    "drawn with replacement. The best single network is the one that is best on this very test part, which favours it; "
    "the one that validation would have chosen is marked too."
)
WEIGHTS_CAPTION = (
    "Weight of each network and, after the stroke, its accuracy on the validation part (%). Of several executions the "
    "mean, and in brackets the smallest and the largest weight. A vote has no weights."
)
GAIN_CAPTION = (
    "Accuracy on test, points with 95 % interval by patient. Paper: difference of what it prints, which has no "
    "interval. " + DAGGER
)


def weight_table(results: Results) -> pd.DataFrame:
    """Return weights and validation accuracies of every ensemble, a row an execution, of many executions one row."""
    rows = []
    for task, title in TASKS.items():
        for name, words in ENSEMBLES.items():
            system = f"{name}_{task}"
            facts = [fact for _, record in results.executions_of(system) for fact in record.get("combined", ())]
            if facts:
                members = [short_title(one) for one in results.paper.system(system).below]
                rows += _weight_rows(f"{words}, {title}", members, facts)
    return pd.DataFrame(rows)


def _weight_rows(title: str, members: Sequence[str], facts: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    groups = [[fact] for fact in facts] if len(facts) <= FEW_EXECUTIONS else [facts]
    rows = []
    for group in groups:
        alone = f"repeat {group[0]['repeat'] + 1}, fold {group[0]['fold'] + 1}"
        row = {"ensemble": title, "execution": alone if len(group) == 1 else f"{len(group)} executions"}
        for place, member in enumerate(members):
            weights = [fact["weights"][place] for fact in group if fact["weights"] is not None]
            accuracy = _mean([fact["accuracy"][place] for fact in group if fact["accuracy"] is not None])
            row[member] = f"{_weight_words(weights)} / {number(accuracy)}"
        ensemble = [fact["accuracy_ensemble"] for fact in group if fact["accuracy_ensemble"] is not None]
        rows.append(row | {"ensemble on validation (%)": number(_mean(ensemble))})
    return rows


def _weight_words(weights: Sequence[float]) -> str:
    if not weights:
        return NOTHING
    spread = f" ({number(min(weights))} to {number(max(weights))})" if len(weights) > 1 else ""
    return f"{number(_mean(weights))}{spread}"


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else math.nan


def gains(results: Results) -> list[Gain]:
    """Return each ensemble less each of its members."""
    ours, found = measured_of(results.measured), []
    for task in TASKS:
        members = [name for name in systems_of(results, task) if name.rpartition("_")[0] in NETWORKS]
        best = {
            part: max(members, key=lambda name: _value(ours, name, metric), default="")
            for part, metric in (("validation", _BEFORE), ("test", "accuracy"))
            if any((name, metric) in ours for name in members)
        }
        for ensemble in (name for name in systems_of(results, task) if name not in members):
            for member in members:
                both = shared_test_rows(*(results.predictions_of(name) for name in (ensemble, member)))
                if len(both[0]):
                    less = bootstrap_difference(*both, "accuracy")
                    where = tuple(part for part, name in best.items() if name == member)
                    found.append(Gain(task, ensemble, member, less, where))
    return found


def _value(ours: MeasuredOf, system: str, metric: str) -> float:
    one = ours.get((system, metric))
    return -math.inf if one is None or math.isnan(one.mean) else one.mean


def gain_table(found: Iterable[Gain], paper: PrintedOf) -> pd.DataFrame:
    """Return the gains, a row each."""
    rows = [
        {
            "task": TASKS[one.task],
            "ensemble": short_title(one.ensemble),
            "network": short_title(one.member),
            "best single network on": " and ".join(one.best_on) or NOTHING,
            "ensemble (%)": number(one.less.a),
            "network (%)": number(one.less.b),
            "gain (points)": difference_words(one.less),
            "paper, gain": difference_of_printed(
                paper.get((one.ensemble, "accuracy")), paper.get((one.member, "accuracy"))
            ),
            "patients": one.less.n_patients,
        }
        for one in found
    ]
    return pd.DataFrame(rows)


def gain_frame(found: Iterable[Gain]) -> pd.DataFrame:
    """Return the gains as `forest_figure` takes them."""
    rows = [
        {"task": f"{short_title(one.ensemble)}, {TASKS[one.task]}", "part": f"less {short_title(one.member)}"}
        | {"mean": one.less.difference, "low": one.less.low, "high": one.less.high}
        for one in found
    ]
    return pd.DataFrame(rows)


def gain_words(one: Gain) -> str:
    """Return whether an ensemble is shown to be better than a network.

    >>> gain_words(Gain("multi", "vote_multi", "vgg19_multi", Difference("accuracy", 84, 82, 2, 1, 3, 9), ("test",)))
    'Majority vote, three classes: +2.00 points (+1.00 to +3.00) against VGG-19, the best single network: better.'
    """
    said = verdict(one.less, "better", "worse", "not shown to be better, nor to be worse")
    title = sentence(f"{short_title(one.ensemble)}, {TASKS[one.task]}")
    return f"{title}: {span_words(one.less)} against {short_title(one.member)}, the best single network: {said}."


# --- how often the networks agree


def agreement_section(results: Results) -> Section | None:
    """How often the three networks agree, and how right the ensembles then are."""
    rows = [row for task in TASKS for row in agreement_rows(agreement(results, task), task)]
    if not rows:
        return None
    table = TableEntry("Votes", AGREEMENT_CAPTION, pd.DataFrame(rows))
    return Section("How often the networks agree", AGREEMENT_TEXT, [table])


AGREEMENT_TEXT = (
    "An ensemble can be better than its members only on images on which they disagree. Where all three agree, both "
    "ensembles say what each of them says; where two agree, the vote follows them and the average need not; three "
    "opinions on one image, which only three classes allow, leave the vote to the rule for ties."
)
AGREEMENT_CAPTION = (
    "Test images of all executions together. Share of the images, and accuracy on them, in percent with 95 % interval "
    "by patient. Some network right: how often the true class has a vote at least, which no choice among the members "
    "exceeds."
)


def agreement(results: Results, task: str) -> pd.DataFrame:
    """Return, a row a test image of an execution that all three networks have, their votes and who is right.

    Columns `patient_id`, `pattern` ("3-0", "2-1", "1-1-1"), `some` (bool) and, of each ensemble that was run, bool by
    its system's name. Empty where a network was not run.
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
    """Return a row a pattern of votes that occurs."""
    rows = []
    for pattern in PATTERNS.values() if len(frame) else ():
        mine = frame["pattern"].eq(pattern)
        if not mine.any():
            continue
        row = {"task": TASKS[task], "votes": pattern, "images": f"{mine.sum():,}"}
        row["share (%)"] = mean_words(mine, frame["patient_id"])
        for name, words in ENSEMBLES.items():
            system = f"{name}_{task}"
            right = frame.loc[mine, system] if system in frame else pd.Series(dtype=float)
            row[f"{words} right (%)"] = mean_words(right, frame.loc[mine, "patient_id"])
        row["some network right (%)"] = mean_words(frame.loc[mine, "some"], frame.loc[mine, "patient_id"])
        rows.append(row)
    return rows


# --- from validation to test


def drop_section(results: Results) -> Section | None:
    """Test accuracy less validation accuracy of every system, beside the paper's."""
    paper, found = printed_of(results.published), {}
    for name in [name for task in TASKS for name in systems_of(results, task)]:
        frame = results.predictions_of(name)
        validation = frame[frame["split"] == "validation"]
        if len(validation) and len(rows_tested(frame)):
            found[name] = difference_of_sets(rows_tested(frame), validation.assign(split="test"), "accuracy")
    if not found:
        return None
    table = TableEntry("Test less validation", DROP_CAPTION, drop_table(found, paper))
    text = " ".join(filter(None, (drop_words(results.published, paper), fall_words(found.values()))))
    return Section("From validation to test", text, [table])


DROP_CAPTION = (
    "Accuracy in percent, mean over executions; difference in points with 95 % interval, patients of both parts drawn "
    "with replacement. " + DAGGER
)


def drop_table(found: Mapping[str, Difference], paper: PrintedOf) -> pd.DataFrame:
    """Return validation and test accuracy and their difference, a row a system."""
    rows = []
    for name, one in found.items():
        printed = [paper.get((name, metric)) for metric in (_BEFORE, "accuracy")]
        rows.append(
            {
                "task": TASKS[name.rpartition("_")[2]],
                "system": short_title(name),
                "validation": number(one.b),
                "test": number(one.a),
                "difference (points)": difference_words(one),
                "paper, validation": printed_words(printed[0]),
                "paper, test": printed_words(printed[1]),
                "paper, difference": difference_of_printed(*printed[::-1]),
            }
        )
    return pd.DataFrame(rows)


def fall_words(found: Iterable[Difference]) -> str:
    """Return of how many systems a fall, or a rise, is shown.

    >>> fall_words([Difference("accuracy", 80, 84, -4, -6, -2, 9), Difference("accuracy", 80, 81, -1, -3, 1, 9)])
    'Of 2 systems of ours 1 are shown to fall, by the interval, and 0 to rise.'
    """
    found = list(found)
    fell, rose = sum(one.high < 0 for one in found), sum(one.low > 0 for one in found)
    return f"Of {len(found)} systems of ours {fell} are shown to fall, by the interval, and {rose} to rise."


def drop_words(published: Iterable[PublishedCell], paper: PrintedOf) -> str:
    """Return what the paper says of the difference, and for whom its own numbers say otherwise; "" where it is silent.

    The claim is read from the published cells whose rows tell it.
    """
    bounds = {word: cell.mean for cell in published for word in ("least", "most") if _FELL.format(word) in cell.row}
    if len(bounds) < 2:
        return ""
    low, high = bounds["least"], bounds["most"]
    said = f"The paper says that test accuracies fell by {low:g} to {high:g} % below those of validation."
    pairs = {name: (paper[name, metric], paper.get((name, "accuracy"))) for name, metric in paper if metric == _BEFORE}
    fell = {name: one.value - other.value for name, (one, other) in pairs.items() if other is not None}
    outside = [name for name, drop in fell.items() if not low <= round(drop, 6) <= high]
    if not fell or not outside:
        return said
    told = [f"{short_title(name)} ({number(-fell[name], signed=True)} points)" for name in outside]
    return f"{said} By what it prints that is not so for {joined(told)}, {len(outside)} of {len(fell)}."
