"""Figures of the comparison: ranks, calibration by method, AUC against cost."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covid_keras.reporting.style import (
    INK,
    MUTED,
    OURS_COLOUR,
    WIDTH,
    name_looks,
    panel_grid,
    report_style,
    series_styles,
)

LABEL_GAP = 0.045  # smallest distance of two labels, as a fraction of the axis


@report_style()
def rank_figure(ranks: Mapping[str, pd.DataFrame], title: str) -> Figure:
    """Draw ranks with their intervals, one panel per test; a label says how often a system is first.

    Parameters
    ----------
    ranks : mapping
        Test -> columns `system` (as displayed), `rank`, `low`, `high` and `first`, best first.
    """
    lines = max(len(frame) for frame in ranks.values())
    figure, grid, _ = panel_grid(len(ranks), 2, title, lambda across, down: (WIDTH, down * (1.0 + 0.27 * lines)))
    for axes, (test, frame) in zip(grid, ranks.items(), strict=True):
        heights = np.arange(len(frame))
        axes.hlines(heights, frame["low"], frame["high"], color=OURS_COLOUR, linewidth=2.4, alpha=0.5)
        axes.plot(frame["rank"], heights, "o", color=OURS_COLOUR, markersize=6)
        for height, row in zip(heights, frame.itertuples(), strict=True):
            axes.annotate(
                f"{100 * row.first:.0f} %",
                (1.01, height),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                color=INK if row.first >= 0.005 else MUTED,
            )
        axes.annotate("first", (1.01, -0.9), xycoords=("axes fraction", "data"), fontsize=8, color=MUTED)
        axes.set(
            yticks=heights,
            yticklabels=[textwrap.fill(name, 26) for name in frame["system"]],
            ylim=(lines - 0.5, -1.3),
            xlim=(0.5, lines + 0.5),
            xlabel="rank by AUC (1 is best), 95 % interval",
        )
        axes.set_title(test, fontsize=9.5)
        axes.tick_params(axis="y", length=0, labelsize=7.5)
        axes.grid(axis="y", visible=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure


@report_style()
def calibration_panels(curves: Mapping[str, Mapping[str, pd.DataFrame]], title: str, positive: str) -> Figure:
    """Draw calibration curves, one panel per system, one line per test.

    Parameters
    ----------
    curves : mapping
        System, as displayed -> test -> `score`, `share`, `low` and `high`, 0..1.
    """
    tests = list(dict.fromkeys(test for one in curves.values() for test in one))
    looks = series_styles(tests)
    figure, grid, columns = panel_grid(
        len(curves), 4, title, lambda across, down: (WIDTH, 0.9 + 2.0 * down), sharex=True, sharey=True
    )
    for place, (axes, (name, by_test)) in enumerate(zip(grid, curves.items(), strict=True)):
        axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=MUTED, label="calibrated")
        for test, curve in by_test.items():
            style = looks[test]
            spread = np.abs(curve[["low", "high"]].sub(curve["share"], axis=0)).fillna(0).to_numpy().T
            axes.errorbar(
                curve["score"],
                curve["share"],
                yerr=spread,
                color=style.colour,
                marker=style.marker,
                linestyle=style.line,
                markersize=3.5,
                linewidth=1,
                elinewidth=0.9,
                label=test,
            )
        axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        axes.set_title(textwrap.fill(name, 24), fontsize=8)
        axes.set_ylabel(f"share of {positive}" if place % columns == 0 else "", fontsize=8)
        last = place + columns >= len(curves)
        axes.set_xlabel("mean score" if last else "", fontsize=8)
        axes.tick_params(labelbottom=last)  # also where the row below is shorter
    name_looks(figure, grid, loc="outside lower center", columns=len(tests) + 1)
    return figure


@report_style()
def cost_figure(frame: pd.DataFrame, title: str, ylabel: str) -> Figure:
    """Draw accuracy against cost, each system with its name beside the figure, where no two names overlap.

    Parameters
    ----------
    frame : DataFrame
        Columns `system` (as displayed), `flops`, `value`, `low`, `high` (percent) and `floor` (bool).
    """
    figure = Figure(figsize=(WIDTH, max(4.2, 1.2 + 0.29 * len(frame))), layout="constrained")
    axes, names = figure.subplots(1, 2, width_ratios=(2.4, 1), sharey=True, gridspec_kw={"wspace": 0})
    frame = frame.sort_values("value", ascending=False, ignore_index=True)
    for kind, look in ((False, {"marker": "o"}), (True, {"marker": "s", "markerfacecolor": "white"})):
        rows = frame[frame["floor"] == kind]
        spread = np.abs(rows[["low", "high"]].sub(rows["value"], axis=0)).fillna(0).to_numpy().T
        axes.errorbar(rows["flops"], rows["value"], yerr=spread, linestyle="", color=OURS_COLOUR, elinewidth=1, **look)
    low, high = frame[["low", "value"]].min().min(), frame[["high", "value"]].max().max()
    room = max(high - low, 1.0)
    low, high = low - 0.06 * room, high + 0.06 * room
    axes.set(xscale="log", xlabel="operations per image", ylabel=ylabel, title=title, ylim=(low, high))
    right = axes.get_xlim()[1] * 1.5
    axes.set_xlim(right=right)
    heights = spread_apart(frame["value"].to_numpy(), low, high, LABEL_GAP)
    for row, height in zip(frame.itertuples(), heights, strict=True):
        _name(axes, names, row, right, height)
    names.set(xlim=(0, 1))
    names.axis("off")
    return figure


def _name(axes: Axes, names: Axes, row, right: float, height: float) -> None:
    """Write a system's name at the right, with a line to its mark."""
    axes.plot([row.flops, right], [row.value, height], color=MUTED, linewidth=0.5, alpha=0.6, zorder=1)
    names.text(0.02, height, row.system, va="center", fontsize=8, color=MUTED if row.floor else INK)


def spread_apart(values: Sequence[float] | np.ndarray, low: float, high: float, gap: float) -> np.ndarray:
    """Return positions for labels close to descending values, at least `gap` * (high - low) apart and within the range.

    If there are too many for that, they are spread evenly.

    >>> spread_apart([5.0, 5.0, 1.0], 0, 10, 0.1).tolist()
    [5.5, 4.5, 1.0]
    """
    wanted = np.asarray(values, np.float64)
    least = min(gap * (high - low), (high - low) / max(1, len(wanted)))
    # Groups of touching labels are centred on the mean of their values, as in isotonic regression.
    groups: list[list[float]] = []  # sum of values at the first label, number
    for place, value in enumerate(wanted):
        groups.append([value + place * least, 1])
        while len(groups) > 1 and groups[-2][0] / groups[-2][1] < groups[-1][0] / groups[-1][1]:
            total, count = groups.pop()
            groups[-1] = [groups[-1][0] + total, groups[-1][1] + count]
    free = np.concatenate([np.full(int(count), total / count) for total, count in groups]) if groups else wanted
    steps = least * np.arange(len(wanted))
    return np.clip(free, low + least / 2 + steps[-1:], high - least / 2) - steps if len(wanted) else wanted
