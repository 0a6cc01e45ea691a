"""A network's prediction on a radiograph as a value, a table row and text."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from covid_keras import DISCLAIMER
from covid_keras.common.errors import printable
from covid_keras.inference.view_check import FRONTAL, ViewVerdict
from covid_keras.models.registry import WeightEntry
from covid_keras.preprocessing import LungBox


class Heat(NamedTuple):
    """Share of the Grad-CAM heat in the lungs, for the predicted class, within the prediction's view.

    Attributes
    ----------
    in_lungs, by_chance : float
        Share of the heat on the lungs, and the lungs' share of the view, which evenly spread heat would have; 0 to 1.
        The first is NaN if no region raises the class's score.
    """

    in_lungs: float
    by_chance: float


@dataclass(frozen=True)
class Prediction:
    """A network's prediction on one radiograph.

    Attributes
    ----------
    image : Path
        The file; "array 2" for the second array given.
    predicted : str
        The predicted class; "" if there is an `error`.
    probabilities : dict of str to float
        Class -> probability, 0 to 1, in the order of the network's classes; empty if there is an `error`.
    doubt : str
        Why the picture may not be a frontal chest radiograph; "" without doubt.
    warnings : tuple of str
        Doubtful properties of the file, and how they were handled.
    error : str
        Why there is no prediction; "" if there is one.
    size : (int, int), optional
        Height and width of the radiograph in pixels. This and all further attributes are None if there is an `error`.
    lung_area : float, optional
        Share of the picture that is lung, 0 to 1.
    lung_box : LungBox, optional
        Bounding box of the lungs, in pixels of the radiograph; the whole picture if none were found.
    view : LungBox, optional
        The part of the radiograph that the network saw.
    heat : Heat, optional
        None unless heat maps are requested.
    verdict : ViewVerdict, optional
        Result of the view check; None without the check.
    """

    image: Path
    predicted: str = ""
    probabilities: dict[str, float] = field(default_factory=dict)
    doubt: str = ""
    warnings: tuple[str, ...] = ()
    error: str = ""
    size: tuple[int, int] | None = None
    lung_area: float | None = None
    lung_box: LungBox | None = None
    view: LungBox | None = None
    heat: Heat | None = None
    verdict: ViewVerdict | None = None


class Answer(NamedTuple):
    """A prediction with the arrays to draw it.

    Attributes
    ----------
    prediction : Prediction
    heatmap : str
        File name of the figure, relative to the output folder; "" without heat map.
    image, mask : ndarray of uint8, shape (H, W), optional
        The whole radiograph and its lungs (0/255).
    heat : ndarray of float32, optional
        In 0..1, in the size of the network's input; it covers the prediction's `view`.
    """

    prediction: Prediction
    heatmap: str = ""
    image: np.ndarray | None = None
    mask: np.ndarray | None = None
    heat: np.ndarray | None = None


@dataclass(frozen=True)
class Predictions:
    """The answers of a call, without pixels, in the order of its images, and the output folder."""

    entry: WeightEntry
    answers: tuple[Answer, ...]
    folder: Path

    @property
    def rows(self) -> tuple[Prediction, ...]:
        """The predictions."""
        return tuple(answer.prediction for answer in self.answers)

    @property
    def failed(self) -> list[tuple[Path, str]]:
        """The pictures without a prediction, and why."""
        return [(row.image, row.error) for row in self.rows if row.error]

    def alarms(self) -> list[str]:
        """Return one line per score that may be meaningless, to be shown first."""
        return [f"{printable(row.image)}: {doubt_words(row)}" for row in self.rows if row.doubt and not row.error]

    def lines(self) -> list[str]:
        """Return the result as lines of text: images, limits of the network, disclaimer."""
        lines = [line for answer in self.answers for line in describe(answer, self.entry)]
        return [*lines, *limits_of(self.entry), DISCLAIMER]


def row_of(answer: Answer, entry: WeightEntry) -> dict[str, object]:
    """Return an answer as a table row; the columns are the same with and without a prediction."""
    row = answer.prediction
    height, width = row.size or (None, None)
    boxes = [(name, box or (None,) * 4) for name, box in (("lungs", row.lung_box), ("view", row.view))]
    return {
        "image": str(row.image),
        "predicted": row.predicted,
        **{f"probability_{name}": row.probabilities.get(name) for name in entry.classes},
        "checked_view": row.verdict.view if row.verdict else "",
        "checked_view_probability": _number(row.verdict.probability) if row.verdict else None,
        "doubt": row.doubt,
        "warnings": list(row.warnings),
        "error": row.error,
        "height": height,
        "width": width,
        "lung_area": row.lung_area,
        **{f"{name}_{side}": value for name, box in boxes for side, value in zip(LungBox._fields, box, strict=True)},
        "heat_in_lungs": _number(row.heat.in_lungs) if row.heat else None,
        "lungs_in_view": row.heat.by_chance if row.heat else None,
        "heatmap": answer.heatmap,
    }


def _number(value: float) -> float | None:
    """Replace NaN, which JSON lacks, by None."""
    return None if math.isnan(value) else value


def describe_decision(row: Prediction, entry: WeightEntry) -> str:
    """Return the probability of the second of two classes, or of each class, and the predicted class."""
    if len(entry.classes) > 2:
        return ", ".join(f"{name} {value:.3f}" for name, value in row.probabilities.items()) + f": {row.predicted}"
    name = entry.classes[1]
    side = "at or above" if row.predicted == name else "below"
    return f"{name} {row.probabilities[name]:.3f}, {side} the threshold {entry.threshold:g}: {row.predicted}"


def describe(answer: Answer, entry: WeightEntry) -> list[str]:
    """Return a line on one image (probability, decision, lungs, heat) and one per warning."""
    row = answer.prediction
    warnings = [f"  warning: {warning}" for warning in row.warnings]
    if row.error or row.lung_area is None:
        return [f"{printable(row.image)}: not predicted, {row.error}", *warnings]
    parts = [describe_decision(row, entry), f"lungs {100 * row.lung_area:.0f} % of the picture"]
    if row.verdict and row.verdict.view == FRONTAL:
        parts.append(f"view: {row.verdict.view} ({row.verdict.probability:.3f})")
    if row.heat:
        parts.append(heat_words(row))
    if row.doubt:
        parts.insert(0, doubt_words(row))
    return [f"{printable(row.image)}: " + "; ".join(parts), *warnings]


def limits_of(entry: WeightEntry) -> list[str]:
    """Return the limits of the network from its registry entry."""
    return [f"Limits of the network: {entry.limits}"] if entry.limits else []


def doubt_words(row: Prediction) -> str:
    """Return why the score of a picture may be meaningless."""
    return f"DOUBTFUL, {row.doubt}: the score may be meaningless"


def heat_words(row: Prediction) -> str:
    """Return the share of the heat in the lungs, and the share by chance."""
    if row.heat is None or row.lung_box is None or row.lung_box.whole:
        return "no lungs to compare the heat with"
    if math.isnan(row.heat.in_lungs):
        return f"no region supports {row.predicted}"
    chance = f"by chance {100 * row.heat.by_chance:.0f} %"
    return f"{100 * row.heat.in_lungs:.0f} % of the heat for {row.predicted} in the lungs ({chance})"
