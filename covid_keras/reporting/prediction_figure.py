"""The figure of one prediction: the radiograph with its lungs, and the Grad-CAM heat map."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from covid_keras import DISCLAIMER
from covid_keras.inference.answers import Answer, describe_decision, doubt_words, heat_words, limits_of
from covid_keras.models.registry import WeightEntry
from covid_keras.preprocessing import LungBox
from covid_keras.reporting.pictures import Explanation, colour_bar, short_name, show_heat, show_radiograph
from covid_keras.reporting.renderer import write_figure
from covid_keras.reporting.style import ALARM, INK, MUTED, OKABE_ITO, WIDTH, report_style

DPI = 150
_SIDE = 640  # longest side drawn, pixels: more is not visible at this DPI
_LETTERS = 118  # characters per line of the notes
_HEADLINE = 90  # characters per line above the pictures
_NAME = 48  # characters that fit above a picture


@report_style()
def prediction_figure(
    case: Explanation, view: LungBox, title: str, words: str, notes: Sequence[str] = (), alarm: str = ""
) -> Figure:
    """Draw the radiograph with its lungs and the box that the network saw, and with the heat map.

    Parameters
    ----------
    case : Explanation
        With a mask; its `factual` map (h, w) covers the view only. Label, score and counterfactual are not drawn.
    view : LungBox
        What the network saw, in pixels of the radiograph; the box is drawn unless it is the whole picture.
    title, words : str
        The decision; the text below the heat map.
    notes : sequence of str
        Shown at the bottom, above the disclaimer.
    alarm : str
        Why the decision may be meaningless. Shown at the top in red; the decision then moves to the bottom.
    """
    notes = (title, *notes) if alarm else notes
    lines = [line for note in (*notes, DISCLAIMER) for line in textwrap.wrap(note, _LETTERS)]
    image, mask, heat = _drawable(case, view)
    panel = WIDTH / 2 - 0.15
    figure = Figure(
        figsize=(WIDTH, panel * image.shape[0] / image.shape[1] + 1.75 + 0.16 * len(lines)), layout="constrained"
    )
    headline, colour = ("\n".join(textwrap.wrap(alarm, _HEADLINE)), ALARM) if alarm else (title, INK)
    figure.suptitle(headline, x=0.01, ha="left", color=colour)
    plain, hot = figure.subplots(1, 2)
    below = "outlined: the lungs found" + ("" if view.whole else "; box: what the network saw")
    show_radiograph(plain, image, mask, short_name(case.name, _NAME), below)
    drawn = Explanation(image, heat, heat, case.label, case.predicted, case.other, case.score, mask, case.name)
    show_heat(hot, drawn, heat, f"Grad-CAM for {case.predicted}")
    hot.set_xlabel("\n".join(textwrap.wrap(words, _NAME)))
    for axes in (plain, hot):
        _outline(axes, view, image.shape[0] / case.image.shape[0], image.shape[1] / case.image.shape[1])
    colour_bar(figure, [plain, hot], "heat (share of the maximum)")
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=MUTED)
    return figure


def draw_prediction(path: Path, answer: Answer, entry: WeightEntry) -> None:
    """Write the figure of an answer with heat as PNG, atomically."""
    row = answer.prediction
    case = Explanation(
        image=answer.image,
        factual=answer.heat,
        counterfactual=answer.heat,
        label="",
        predicted=row.predicted,
        other="",
        score=row.probabilities[row.predicted],
        mask=answer.mask,
        name=row.image.name,
    )
    made_by = f"Network: {entry.title}; weights {entry.sha256[:12]}."
    notes = [*(f"Warning: {warning}" for warning in row.warnings), made_by, *limits_of(entry)]
    alarm = doubt_words(row) if row.doubt else ""
    figure = prediction_figure(case, row.view, describe_decision(row, entry), heat_words(row), notes, alarm)
    write_figure(path, figure, DPI)


def _drawable(case: Explanation, view: LungBox) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return radiograph, lungs and heat of the whole picture, at the size drawn."""
    heat = np.zeros(case.image.shape, np.float32)
    rows, columns = view.slices
    heat[rows, columns] = cv2.resize(case.factual, (view.right - view.left, view.bottom - view.top))
    scale = min(1.0, _SIDE / max(case.image.shape))
    size = tuple(max(1, round(side * scale)) for side in reversed(case.image.shape))
    return (
        cv2.resize(case.image, size, interpolation=cv2.INTER_AREA),
        cv2.resize(case.mask, size, interpolation=cv2.INTER_NEAREST),
        np.clip(cv2.resize(heat, size, interpolation=cv2.INTER_LINEAR), 0, 1),
    )


def _outline(axes: Axes, view: LungBox, down: float, across: float) -> None:
    """Draw the view's box on a radiograph scaled by `down` and `across`."""
    if view.whole:
        return
    corner = view.left * across - 0.5, view.top * down - 0.5
    size = (view.right - view.left) * across, (view.bottom - view.top) * down
    axes.add_patch(Rectangle(corner, *size, fill=False, edgecolor=OKABE_ITO["orange"], linewidth=1.3))
