"""Figures of numbers: confusion, ROC, learning curves, accuracy per severity, paper against ours.

Every function returns a `matplotlib.figure.Figure`, without pyplot and its global state.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from sklearn.metrics import auc, roc_curve

from covid_keras.data.cohort import SEVERITIES
from covid_keras.evaluation.summary import Measured
from covid_keras.published.cells import PublishedCell
from covid_keras.reporting.style import (
    COUNT_MAP,
    MUTED,
    NARROW,
    OKABE_ITO,
    OURS_COLOUR,
    PAPER_COLOUR,
    WIDTH,
    SeriesStyle,
    name_looks,
    panel_grid,
    report_style,
    series_styles,
)

_PANELS = (("loss", "loss"), ("accuracy", "accuracy (%)"))
_PARTS = (
    ("training", "", OKABE_ITO["orange"], (0, (4, 1.5))),
    ("validation", "val_", OKABE_ITO["blue"], "-"),
)
LOG_RANGE = 100
# Up to this number of executions, each curve is drawn; more are drawn as a band.
THIN_CURVES = 10
# Up to this number of systems, a ROC figure shows their spread; with more, the spreads would overlap.
FEW_SERIES = 3


@report_style()
def confusion_panels(
    matrices: Mapping[str, np.ndarray], classes: Sequence[str], title: str = "Confusion matrices"
) -> Figure:
    """Draw the confusion matrices of systems tested on the same images, one panel per system.

    Each cell shows the count and the percentage of its row (the true class).

    Parameters
    ----------
    matrices : mapping
        System -> counts, (K, K) or (executions, K, K); row = true class, column = predicted class. Executions are
        summed.
    classes : sequence of K str
    """
    if not matrices:
        raise ValueError("no confusion matrix to draw")
    side = 2.6 + 0.5 * max(0, len(classes) - 2)
    title = textwrap.fill(title, 34 * min(3, len(matrices)))
    figure, grid, columns = panel_grid(
        len(matrices), 3, title, lambda across, down: (max(NARROW, across * side), down * (side + 0.1) + 0.9)
    )
    drawn = [_draw_confusion(axes, matrix, classes) for axes, matrix in zip(grid, matrices.values(), strict=True)]
    for place, (axes, name) in enumerate(zip(grid, matrices, strict=True)):
        axes.set_title(textwrap.fill(name, 28), fontsize=9)
        # Label the outer axes only.
        axes.set_xlabel("predicted class" if place + columns >= len(matrices) else "")
        axes.set_ylabel("true class" if place % columns == 0 else "")
    label = _share_label(max(executions for _, executions in drawn))
    figure.colorbar(drawn[0][0], ax=grid, location="bottom", shrink=0.5, aspect=40, pad=0.03, label=label)
    return figure


def _draw_confusion(axes: Axes, matrix: np.ndarray, classes: Sequence[str]) -> tuple[AxesImage, int]:
    """Draw one matrix; return its image, for the colour bar, and the number of executions summed."""
    matrix = np.asarray(matrix)
    executions = len(matrix) if matrix.ndim == 3 else 1
    counts = matrix.sum(axis=0) if matrix.ndim == 3 else matrix
    if counts.shape != (len(classes), len(classes)):
        raise ValueError(f"confusion matrix of {len(classes)} classes must be square (got shape {matrix.shape})")
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap=COUNT_MAP, vmin=0, vmax=100)
    for (row, column), percent in np.ndenumerate(share):
        text, colour = f"{counts[row, column]:,}\n{percent:.1f} %", "black" if percent > 55 else "white"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=11)
    places = range(len(classes))
    axes.set(xticks=places, yticks=places, xticklabels=classes, yticklabels=classes)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return image, executions


def _share_label(executions: int) -> str:
    return f"share of the true class (%), {'1 execution' if executions == 1 else f'sum of {executions} executions'}"


@report_style()
def roc_figure(
    systems: Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]],
    title: str = "ROC",
    positive: str = "positive",
) -> Figure:
    """Draw one ROC curve per system: the mean over executions of the sensitivity at equal false positive rates.

    Parameters
    ----------
    systems : mapping
        System -> executions, each a pair: labels (n,) with 1 = positive, and scores (n,) of the positive class. For up
        to three systems, up to ten executions are drawn as thin lines, more as a band of one standard deviation
        (ddof 1).
    positive : str
        Name of the positive class, for the axis label.

    Raises
    ------
    ValueError
        If a system has no execution, or an execution holds only one class.
    """
    figure = Figure(figsize=(NARROW + 0.6, NARROW + 1.3 + 0.2 * len(systems)), layout="constrained")
    axes = figure.subplots()
    for place, (name, style) in enumerate(series_styles(systems).items()):
        _draw_roc(axes, name, systems[name], style, place / max(1, len(systems)), alone=len(systems) <= FEW_SERIES)
    axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=MUTED, label="chance (AUC 0.500)")
    axes.set(
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.01),
        aspect="equal",
        title=textwrap.fill(title, 48),
        xlabel="false positive rate (1 − specificity)",
        ylabel=f"sensitivity for {positive}",
    )
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center")
    return figure


def _draw_roc(
    axes: Axes,
    name: str,
    executions: Sequence[tuple[np.ndarray, np.ndarray]],
    style: SeriesStyle,
    offset: float,
    alone: bool,
) -> None:
    """Draw one system; `offset` (0 to 1) shifts its markers, and `alone` draws its spread."""
    if not len(executions):
        raise ValueError(f"system {name!r} has no execution to draw")
    grid = np.linspace(0, 1, 201)
    curves, areas = [], []
    for labels, scores in executions:
        false_positive, true_positive = _roc(name, labels, scores)
        areas.append(auc(false_positive, true_positive))
        curves.append(np.interp(grid, false_positive, true_positive))
        if alone and 1 < len(executions) <= THIN_CURVES:
            axes.plot(false_positive, true_positive, color=style.colour, linewidth=0.6, alpha=0.35)
    mean = np.mean(curves, axis=0)
    label = f"{name}: AUC {np.mean(areas):.3f}"
    if len(executions) > 1:
        label += f" ± {np.std(areas, ddof=1):.3f} ({len(executions)} executions)"
    # The mean may be above 0 at a false positive rate of 0; every ROC curve starts at (0, 0).
    axes.plot(
        np.r_[0, grid],
        np.r_[0, mean],
        color=style.colour,
        linestyle=style.line,
        linewidth=2.2 if alone else 1.6,
        marker=None if alone else style.marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        markevery=(10 + int(30 * offset), 30),
        label=label,
    )
    if alone and len(executions) > THIN_CURVES:
        spread = np.std(curves, axis=0, ddof=1)
        low, high = np.clip(mean - spread, 0, 1), np.clip(mean + spread, 0, 1)
        axes.fill_between(grid, low, high, color=style.colour, alpha=0.15, linewidth=0)


def _roc(name: str, labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the false and true positive rates of an execution at every threshold."""
    if len(np.unique(labels)) != 2:
        raise ValueError(f"an execution of {name!r} has one class only, so its ROC curve is undefined")
    false_positive, true_positive, _ = roc_curve(labels, scores)
    return false_positive, true_positive


@report_style()
def learning_panels(
    systems: Mapping[str, tuple[Sequence[Mapping[str, Sequence[float]]], Sequence[int]]],
    title: str = "Learning curves",
) -> Figure:
    """Draw loss and accuracy over epochs, training and validation, one row per system; mark the best epochs.

    Parameters
    ----------
    systems : mapping
        System -> (histories, best epochs). A history maps `loss`, `val_loss`, `accuracy` (0 to 1) and `val_accuracy`
        to one value per epoch; missing quantities are not drawn. Best epochs are counted from 1, one per history.
    """
    if not systems:
        raise ValueError("no history to draw")
    figure = Figure(figsize=(WIDTH, 1.0 + 1.75 * len(systems)), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(len(systems), len(_PANELS), squeeze=False)
    for place, (name, (histories, best)) in enumerate(systems.items(), 1):
        row = grid[place - 1]
        for axes, (key, label) in zip(row, _PANELS, strict=True):
            axes.set_visible(key in histories[0])
            if key in histories[0]:
                _draw_histories(axes, histories, key, label, best)
                axes.set_xlabel("epoch" if place == len(systems) else "")
        row[0].set_title(name, fontsize=9.5)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _draw_histories(
    axes: Axes,
    histories: Sequence[Mapping[str, Sequence[float]]],
    key: str,
    label: str,
    best_epochs: Sequence[int],
) -> None:
    """Draw one quantity of all executions."""
    for index, (history, best) in enumerate(zip(histories, best_epochs, strict=True)):
        _draw_history(axes, history, key, best, first=index == 0, alone=len(histories) == 1)
    axes.set(xlabel="epoch", ylabel=label)
    axes.xaxis.get_major_locator().set_params(integer=True)
    if key == "loss":
        _scale_loss(axes)


def _scale_loss(axes: Axes) -> None:
    """Start the axis at 0, or make it logarithmic if the range exceeds `LOG_RANGE`."""
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    values = values[np.isfinite(values) & (values > 0)]
    if len(values) and values.max() > LOG_RANGE * values.min():
        axes.set(yscale="log", ylabel="loss (log scale)")
    else:
        axes.set_ylim(bottom=0)


def _draw_history(
    axes: Axes, history: Mapping[str, Sequence[float]], key: str, best: int, first: bool, alone: bool
) -> None:
    scale = 100 if key == "accuracy" else 1
    look = {"linewidth": 1.8, "alpha": 1.0} if alone else {"linewidth": 1.0, "alpha": 0.65}
    for name, prefix, colour, style in _PARTS:
        if prefix + key not in history:
            continue
        values = scale * np.asarray(history[prefix + key], dtype=float)
        epochs, label = np.arange(1, len(values) + 1), name if first else None
        axes.plot(epochs, values, color=colour, linestyle=style, label=label, **look)
        if name == "validation":
            label = "best epoch (validation)" if first else None
            mark = {"color": OKABE_ITO["vermilion"], "markersize": 6, "markeredgecolor": "white", "zorder": 5}
            axes.plot(best, values[best - 1], "o", label=label, **mark)


@report_style()
def severity_figure(
    measured: Iterable[Measured],
    published: Iterable[PublishedCell] = (),
    names: Mapping[str, str] | None = None,
    levels: Sequence[str] = SEVERITIES,
    title: str = "Accuracy per severity",
) -> Figure:
    """Draw the accuracy per severity, one panel per system: ours with its 95 % interval, the paper's mean ± std.

    Parameters
    ----------
    measured : iterable of Measured
    published : iterable of PublishedCell
        Only the metrics `accuracy_<level>` of both are drawn; a system may be in only one of them.
    names : mapping, optional
        System -> displayed name.
    levels : sequence of str
        Severities in the order of the axis.
    """
    rows = [(one.system, one.metric, "ours", one.mean, one.low, one.high) for one in measured]
    for cell in published:
        spread = cell.std or 0.0
        rows.append((cell.system, cell.metric, "paper", cell.mean, cell.mean - spread, cell.mean + spread))
    frame = pd.DataFrame(rows, columns=["system", "metric", "whose", "mean", "low", "high"])
    frame = frame[frame["metric"].isin(f"accuracy_{level}" for level in levels) & frame["system"].ne("")]
    if frame.empty:
        raise ValueError(f"no accuracy of the severities {', '.join(levels)} to draw")
    # Leave out severities that were not tested.
    levels = [level for level in levels if f"accuracy_{level}" in set(frame["metric"])]
    frame = frame.assign(place=frame["metric"].map({f"accuracy_{level}": at for at, level in enumerate(levels)}))
    frame = frame.sort_values("place", kind="stable")
    systems = list(dict.fromkeys(row[0] for row in rows if row[0] in set(frame["system"])))
    figure, grid, columns = panel_grid(
        len(systems),
        4,
        title,
        lambda across, down: (max(NARROW, WIDTH * across / 4 + 0.6), 2.3 * down + 1.1),
        sharex=True,
        sharey=True,
    )
    for place, (axes, system) in enumerate(zip(grid, systems, strict=True)):
        _draw_severities(axes, frame[frame["system"] == system], levels)
        axes.set_title("\n".join(textwrap.wrap((names or {}).get(system, system), 24)), fontsize=9)
        if place + columns >= len(systems):  # a label of the whole figure would overlap the legend
            axes.set_xlabel("severity of the positives", fontsize=8.5)
    figure.supylabel("accuracy (%)", fontsize=9.5)
    name_looks(figure, grid, "outside lower center")
    return figure


def _draw_severities(axes: Axes, part: pd.DataFrame, levels: Sequence[str]) -> None:
    """Draw one system's accuracies, joined by a line to show the trend."""
    for whose, colour, shift, line in (("paper", PAPER_COLOUR, -0.12, "--"), ("ours", OURS_COLOUR, 0.12, "-")):
        mine = part[part["whose"] == whose]
        axes.plot(mine["place"] + shift, mine["mean"], line, color=colour, linewidth=0.9, alpha=0.6)
        _draw_points(axes, mine["place"] + shift, mine, whose, colour)
    axes.set(
        xticks=range(len(levels)),
        xticklabels=levels,
        yticks=range(0, 101, 25),
        ylim=(-4, 104),
        xlim=(-0.55, len(levels) - 0.45),
    )
    axes.tick_params(axis="x", labelrotation=45, labelsize=8, labelbottom=True)
    axes.grid(axis="x", visible=False)


_DIAMOND = {"marker": "D", "markerfacecolor": "white", "markersize": 5, "elinewidth": 0.9}
_LOOKS = {
    "paper": ("paper (mean ± std)", _DIAMOND),
    "printed": ("paper (bar: the std or interval it prints)", _DIAMOND),
    "refuted": ("paper, not possible as printed", {"marker": "x", "markersize": 5.5, "elinewidth": 0.9}),
    "ours": ("ours (95 % interval)", {"marker": "o", "markersize": 6, "elinewidth": 1.8}),
}


def _draw_points(
    axes: Axes,
    at: pd.Series,
    part: pd.DataFrame,
    whose: str,
    colour: str,
    along_x: bool = False,
) -> None:
    """Draw `mean` with `low` to `high`: the paper's as hollow diamonds, ours as dots."""
    part, at = part[part["mean"].notna()], at[part["mean"].notna()]
    if part.empty:
        return
    spread = np.abs(part[["low", "high"]].sub(part["mean"], axis=0)).fillna(0).to_numpy().T
    name, look = _LOOKS[whose]
    places, error = ((part["mean"], at), "xerr") if along_x else ((at, part["mean"]), "yerr")
    axes.errorbar(*places, **{error: spread}, linestyle="none", color=colour, label=name, **look)


@report_style()
def comparison_figure(frame: pd.DataFrame, title: str = "Paper against ours") -> Figure:
    """Draw a dot plot, one panel per metric, one line per system: paper mean ± std, ours with its 95 % interval.

    Parameters
    ----------
    frame : DataFrame
        A comparison in percent, usually one table of the paper. Cells without a number of ours show the paper's only:
        the comparison target (`target`).
    """
    if frame.empty:
        raise ValueError("no cell to draw")
    systems, metrics = list(dict.fromkeys(frame["row"])), list(dict.fromkeys(frame["column"]))
    height = 0.62 + 0.36 * len(systems)
    figure, grid, _ = panel_grid(
        len(metrics), 4, title, lambda across, down: (WIDTH + 0.6, down * height + 0.8), sharey=True
    )
    for axes, metric in zip(grid, metrics, strict=True):
        _draw_metric(axes, frame[frame["column"] == metric], systems)
        axes.set_title(metric, fontsize=9.5)
    figure.supxlabel("percent", fontsize=9.5)
    name_looks(figure, grid)
    return figure


def _draw_metric(axes: Axes, part: pd.DataFrame, systems: list[str]) -> None:
    place = part["row"].map(systems.index)
    spread = part["paper_std"].fillna(0)
    mean = part["target"]
    paper = pd.DataFrame({"mean": mean, "low": mean - spread, "high": mean + spread})
    ours = part[["low", "high"]].assign(mean=part["ours"])
    _draw_points(axes, place - 0.15, paper, "paper", PAPER_COLOUR, along_x=True)
    _draw_points(axes, place + 0.15, ours, "ours", OURS_COLOUR, along_x=True)
    axes.set(yticks=range(len(systems)), yticklabels=systems, ylim=(len(systems) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.margins(x=0.08)


@report_style()
def headline_figure(panels: Mapping[str, pd.DataFrame], title: str, xlabel: str) -> Figure:
    """Draw one metric of several papers on one axis, one panel per paper and one line per system.

    Parameters
    ----------
    panels : mapping
        Panel title -> rows of a comparison in one unit; `row` is the system's name. The paper's number is the
        comparison target (`target`), its bar the printed interval, else the std. `refuted`: impossible as printed.
    title, xlabel : str

    Raises
    ------
    ValueError
        If there are no panels, or a panel has no rows.
    """
    if not panels or any(frame.empty for frame in panels.values()):
        raise ValueError("no number to draw")
    left, right = _two_columns({name: len(frame) for name, frame in panels.items()})
    lines = max(sum(len(panels[name]) + 2 for name in column) for column in (left, right))
    figure = Figure(figsize=(1.35 * WIDTH, 1.0 + 0.3 * lines), layout="constrained")
    figure.suptitle(title)
    columns = figure.add_gridspec(1, 2 if right else 1)
    for place, column in enumerate(filter(None, (left, right))):
        heights = [len(panels[name]) + 1 for name in column]
        cells = columns[place].subgridspec(len(column), 1, height_ratios=heights)
        for cell, name in zip(cells, column, strict=True):
            _draw_headline(figure.add_subplot(cell, sharex=figure.axes[0] if figure.axes else None), name, panels[name])
        figure.axes[-1].set_xlabel(xlabel)
    name_looks(figure, figure.axes, "outside lower center", columns=3)
    return figure


def _two_columns(lines: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Divide panels (name to number of lines) into a left and a right column of similar height, keeping the order."""
    names = list(lines)
    heights = [sum(lines[name] + 2 for name in names[:place]) for place in range(len(names) + 1)]
    cut = min(range(1, len(names) + 1), key=lambda place: max(heights[place], heights[-1] - heights[place]))
    return names[:cut], names[cut:]


def _draw_headline(axes: Axes, name: str, frame: pd.DataFrame) -> None:
    """Draw one panel of `headline_figure`."""
    place = pd.Series(range(len(frame)), index=frame.index)
    spread = frame["paper_std"].fillna(0)
    low = frame["paper_low"].fillna(frame["target"] - spread)
    high = frame["paper_high"].fillna(frame["target"] + spread)
    paper = pd.DataFrame({"mean": frame["target"], "low": low, "high": high})
    ours = frame[["low", "high"]].assign(mean=frame["ours"])
    for whose, wanted in (("printed", ~frame["refuted"]), ("refuted", frame["refuted"])):
        _draw_points(axes, place[wanted] - 0.16, paper[wanted], whose, PAPER_COLOUR, along_x=True)
    _draw_points(axes, place + 0.16, ours, "ours", OURS_COLOUR, along_x=True)
    names = [textwrap.fill(row, 34, break_on_hyphens=False) for row in frame["row"]]
    axes.set(yticks=place, yticklabels=names, ylim=(len(frame) - 0.4, -0.6), title=name)
    axes.tick_params(axis="y", length=0)
