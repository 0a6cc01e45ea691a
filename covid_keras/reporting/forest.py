"""Forest plot: means with intervals, one line per task and one mark per series."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from covid_keras.reporting.style import INK, MUTED, WIDTH, report_style, series_styles


@report_style()
def forest_figure(
    frame: pd.DataFrame, title: str, xlabel: str, reference: float | None = None, reference_label: str = ""
) -> Figure:
    """Draw means with their intervals.

    Parameters
    ----------
    frame : DataFrame
        Columns `task`, `part` (the series), `mean`, `low`, `high` and optionally `control` (bool). Tasks are drawn in
        order of appearance, with a line above the first one whose rows are all controls.
    title, xlabel : str
    reference : float, optional
        Position of the dashed line, such as no difference; `reference_label` names it.

    Raises
    ------
    ValueError
        If `frame` is empty.
    """
    if frame.empty:
        raise ValueError("no mean to draw")
    tasks, parts = list(dict.fromkeys(frame["task"])), list(dict.fromkeys(frame["part"]))
    # Room for the marks of all series.
    height = max(0.55, 0.17 * len(parts))
    figure = Figure(figsize=(WIDTH, 1.5 + height * len(tasks) + 0.2 * (len(parts) // 4)), layout="constrained")
    axes = figure.subplots()
    if reference is not None:
        axes.axvline(reference, color=MUTED, linestyle="--", linewidth=1, label=reference_label)
    step = min(0.22, 0.8 / len(parts))
    for place, (part, style) in enumerate(series_styles(parts).items()):
        rows = frame[frame["part"] == part]
        heights = rows["task"].map(tasks.index) + step * (place - (len(parts) - 1) / 2)
        spread = rows[["low", "high"]].sub(rows["mean"], axis=0).abs().fillna(0).to_numpy().T
        axes.errorbar(
            rows["mean"], heights, xerr=spread, fmt=style.marker, color=style.colour, markersize=6, label=part
        )
    apart = [task for task in tasks if "control" in frame and frame.loc[frame["task"] == task, "control"].all()]
    if 0 < len(apart) < len(tasks):
        axes.axhline(tasks.index(apart[0]) - 0.5, color=INK, linewidth=0.8)
    axes.set(
        title=title,
        xlabel=xlabel,
        yticks=range(len(tasks)),
        yticklabels=[textwrap.fill(task, 30) for task in tasks],
        ylim=(len(tasks) - 0.5, -0.5),
    )
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    handles, labels = axes.get_legend_handles_labels()
    lines = -(-len(labels) // 4)
    figure.legend(handles, labels, loc="outside lower center", ncols=-(-len(labels) // lines))
    return figure
