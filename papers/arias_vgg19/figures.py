"""Figures that only this paper has: precision and recall of the parts, their AUC by task, accuracy by threshold."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from covid_keras.reporting.forest import forest_figure
from covid_keras.reporting.style import MUTED, NARROW, OKABE_ITO, WIDTH, SeriesStyle, report_style, series_styles

Curve = tuple[np.ndarray, np.ndarray]
_CHANCE = 50.0  # percent: the AUC of a coin
_PARTS_OF_SPLIT = {"validation": (OKABE_ITO["orange"], (0, (4, 1.5))), "test": (OKABE_ITO["blue"], "-")}


@dataclass(frozen=True)
class ThresholdCurves:
    """What the threshold does to one system.

    Attributes
    ----------
    thresholds : ndarray (t,)
        0..1.
    accuracy : dict
        "validation" and "test" to the mean accuracy over executions at each threshold, percent, shape (t,).
    chosen : tuple of float
        The threshold that validation chose in each execution.
    """

    thresholds: np.ndarray
    accuracy: Mapping[str, np.ndarray]
    chosen: tuple[float, ...]


@report_style()
def precision_recall_figure(
    systems: Mapping[str, Sequence[Curve]], title: str = "Precision and recall", positive: str = "positive"
) -> Figure:
    """Draw the precision over the recall, a curve a system: the mean over executions at equal recall.

    Parameters
    ----------
    systems : mapping
        System to its executions, each a pair: labels (n,) with 1 = positive, and scores (n,) of the positive.
    positive : str
        Name of the positive class, for the axes.

    Raises
    ------
    ValueError
        Where a system has no execution, or an execution holds only one class.
    """
    figure = Figure(figsize=(NARROW + 0.6, NARROW + 1.3 + 0.2 * len(systems)), layout="constrained")
    axes = figure.subplots()
    for name, style in series_styles(systems).items():
        _draw_precision(axes, name, systems[name], style)
    shares = [float(np.mean(labels)) for executions in systems.values() for labels, _ in executions]
    chance = float(np.mean(shares))
    axes.axhline(chance, linestyle="--", linewidth=1, color=MUTED, label=f"chance (share of positives {chance:.3f})")
    axes.set(
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.05),
        title=title,
        xlabel=f"recall (share of {positive} that is found)",
        ylabel="precision (share of alarms that are right)",
    )
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center")
    return figure


def precision_at(labels: np.ndarray, scores: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Return the precision of the highest threshold that reaches each recall, shape of `recall`.

    The area below these steps is the average precision.

    >>> precision_at(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.6, 0.9]), np.array([0.25, 0.5, 0.75])).round(3)
    array([1.   , 1.   , 0.667])
    """
    precision, reached, _ = precision_recall_curve(labels, scores)
    # From the highest threshold down; recall then rises, and of equal recalls the first has the best precision.
    return precision[::-1][np.searchsorted(reached[::-1], recall - 1e-12)]


def _draw_precision(axes: Axes, name: str, executions: Sequence[Curve], style: SeriesStyle) -> None:
    if not len(executions):
        raise ValueError(f"system {name!r} has no execution to draw")
    if any(len(np.unique(labels)) != 2 for labels, _ in executions):
        raise ValueError(f"an execution of {name!r} holds one class only: it has no precision at each recall")
    grid = np.linspace(0, 1, 201)[1:]  # at a recall of 0 nothing is found, and precision is not defined
    curves = np.array([precision_at(labels, scores, grid) for labels, scores in executions])
    areas = [average_precision_score(labels, scores) for labels, scores in executions]
    label = f"{name}: average precision {np.mean(areas):.3f}"
    if len(executions) > 1:
        label += f" ± {np.std(areas, ddof=1):.3f} ({len(executions)} executions)"
        for curve in curves:
            axes.step(grid, curve, where="pre", color=style.colour, linewidth=0.6, alpha=0.35)
    axes.step(
        grid, curves.mean(axis=0), where="pre", color=style.colour, linestyle=style.line, linewidth=2.2, label=label
    )


def auc_figure(frame: pd.DataFrame, title: str = "AUC by part") -> Figure:
    """Draw AUC with its interval, a line a task and a mark a part, the tasks of COVID-19 apart from the controls.

    `frame` is as `covid_keras.reporting.forest.forest_figure` takes it, in percent.
    """
    words = f"chance ({_CHANCE:.0f} %)"
    return forest_figure(frame, title, "AUC (%), mean over executions with 95 % interval", _CHANCE, words)


@report_style()
def threshold_figure(
    systems: Mapping[str, ThresholdCurves], published: float = 0.5, title: str = "Accuracy by threshold"
) -> Figure:
    """Draw the accuracy over the threshold on validation and on test, a panel a system.

    Parameters
    ----------
    systems : mapping
        Title to curves.
    published : float
        The threshold of the tables, drawn in every panel.

    Raises
    ------
    ValueError
        For no system.
    """
    if not systems:
        raise ValueError("no system whose threshold could be drawn")
    columns = min(3, len(systems))
    rows = -(-len(systems) // columns)
    figure = Figure(figsize=(max(NARROW, WIDTH * columns / 3), 0.9 + 2.1 * rows), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes, (name, curves) in zip(grid, systems.items(), strict=False):
        _draw_thresholds(axes, curves, published)
        axes.set_title(textwrap.fill(name, 30), fontsize=9)
    for axes in grid[len(systems) :]:
        axes.set_visible(False)
    for axes in grid[max(0, len(systems) - columns) : len(systems)]:
        axes.set(xlabel="threshold (score, 0 to 1)", xticks=(0, 0.5, 1))
        axes.tick_params(labelbottom=True)
    for axes in grid[::columns]:
        axes.set_ylabel("accuracy (%)")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_thresholds(axes: Axes, curves: ThresholdCurves, published: float) -> None:
    for part, (colour, line) in _PARTS_OF_SPLIT.items():
        if part in curves.accuracy:
            values = curves.accuracy[part]
            axes.plot(curves.thresholds, values, color=colour, linestyle=line, label=f"{part}, mean over executions")
    axes.axvline(published, color=MUTED, linestyle="--", linewidth=1, label=f"threshold {published:g}")
    # At the foot of the panel, whatever the accuracies are.
    axes.plot(
        curves.chosen,
        np.full(len(curves.chosen), 0.03),
        "|",
        color=OKABE_ITO["vermilion"],
        markersize=9,
        markeredgewidth=1.6,
        transform=axes.get_xaxis_transform(),
        label="chosen on validation, an execution each",
    )
    axes.set_xlim(-0.02, 1.02)
