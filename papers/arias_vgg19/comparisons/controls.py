"""The controls, which do not involve COVID-19, compared with the experiments."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from covid_keras.evaluation import Difference, Measured, difference_of_sets
from covid_keras.evaluation.metrics import percent
from covid_keras.reporting.differences import (
    CHANCE,
    MeasuredOf,
    difference_words,
    forest_row,
    measured_cells,
    shared_executions,
    standing,
)
from covid_keras.reporting.results import Results
from covid_keras.reporting.wording import NOTHING, number
from papers.arias_vgg19.comparisons.names import labels_of, part_title, title_of
from papers.arias_vgg19.experiments import CONTROLS, EXPERIMENTS, PARTS


class Beside(NamedTuple):
    """The AUC of one part of a control (`own`) and of an experiment (`covid`), and control minus experiment (`less`).

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
        """Whether the control's AUC is "above", "below" or "across" chance."""
        return standing(self.own, CHANCE)

    @property
    def covid_standing(self) -> str:
        """Whether the experiment's AUC is "above", "below" or "across" chance."""
        return standing(self.covid, CHANCE)

    @property
    def partial(self) -> bool:
        """Whether the difference is over only some of the executions of either."""
        return not np.allclose([self.less.a, self.less.b], [self.own.mean, self.covid.mean])

    @property
    def reached(self) -> float:
        """The control's AUC above chance in percent of the experiment's, at least 0; NaN if the latter has none."""
        if self.covid_standing != "above" or self.less.b <= CHANCE:
            return float("nan")
        return float(percent(max(self.less.a - CHANCE, 0.0), self.less.b - CHANCE))

    @property
    def reached_text(self) -> str:
        """`reached` as text without decimals."""
        return NOTHING if np.isnan(self.reached) else f"{self.reached:.0f}"


def auc_by_part(ours: MeasuredOf, tasks: Sequence[str], present: Collection[str] = ()) -> pd.DataFrame:
    """Return the AUC, one row per part of a task, as input of `covid_keras.reporting.forest.forest_figure`."""
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
    """Return one row per comparison of a control with an experiment."""
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
    """Return the data of the report's text: for each control with an AUC its `name`, `parts`, and whether any `tells`.

    Each part has `part`, `auc`, `standing` (relative to chance) and `beside`, the comparisons with experiments that
    allow a conclusion. Only the control "source" has them: like the experiments' classes, it differs in collection.
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
    means = table["follow_up"].groupby(table["label"].map(CONTROLS["finding"][1])).mean().dropna()
    return means.to_dict() if len(means) == 2 else {}
