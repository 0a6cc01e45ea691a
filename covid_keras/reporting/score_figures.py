"""Figures of scores: precision-recall curve, calibration and histogram."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve

from covid_keras.reporting.style import MUTED, NARROW, OKABE_ITO, report_style, series_styles

Executions = Mapping[str, Sequence[tuple[np.ndarray, np.ndarray]]]
_GRID = np.linspace(0, 1, 201)


def _square(title: str, xlabel: str, ylabel: str, series: int) -> Figure:
    """Return a figure of one panel with both axes from 0 to 1."""
    figure = Figure(figsize=(NARROW + 0.6, NARROW + 1.3 + 0.2 * series), layout="constrained")
    limits = (-0.01, 1.01)
    figure.subplots().set(
        xlim=limits, ylim=limits, aspect="equal", title=textwrap.fill(title, 48), xlabel=xlabel, ylabel=ylabel
    )
    return figure


def _with_legend(figure: Figure) -> Figure:
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center")
    return figure


@report_style()
def precision_recall_figure(systems: Executions, title: str, positive: str) -> Figure:
    """Draw one precision-recall curve per system, averaged over executions, and the precision at chance.

    Parameters
    ----------
    systems : mapping
        System -> executions, each a pair: labels (n,) with 1 = positive, and scores (n,).
    title, positive : str

    Raises
    ------
    ValueError
        If an execution has no positives.
    """
    figure = _square(title, f"sensitivity (recall) for {positive}", "precision (PPV)", len(systems))
    axes = figure.axes[0]
    for name, style in series_styles(systems).items():
        curves, areas = [], []
        for labels, scores in systems[name]:
            if not np.any(labels):
                raise ValueError(f"an execution of {name!r} has no positives")
            precision, recall, _ = precision_recall_curve(labels, scores)
            # Step function: the precision at the next point that reaches each recall.
            curves.append(precision[::-1][np.searchsorted(recall[::-1], _GRID)])
            areas.append(average_precision_score(labels, scores))
        label = f"{name}: average precision {np.mean(areas):.3f}"
        axes.step(_GRID, np.mean(curves, axis=0), where="pre", color=style.colour, linestyle=style.line, label=label)
    share = float(np.mean([np.mean(labels) for labels, _ in next(iter(systems.values()))]))
    axes.axhline(share, linestyle="--", linewidth=1, color=MUTED, label=f"chance ({share:.3f})")
    return _with_legend(figure)


@report_style()
def calibration_figure(curves: Mapping[str, pd.DataFrame], title: str, positive: str) -> Figure:
    """Draw the share of positives against the mean score, per bin of scores.

    Parameters
    ----------
    curves : mapping
        System -> curve: `score`, `share`, `low` and `high` (interval of the share), 0..1, and `images`.
    title, positive : str
    """
    figure = _square(title, f"mean score for {positive}", f"share of {positive}", len(curves))
    axes = figure.axes[0]
    axes.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=MUTED, label="calibrated")
    for name, style in series_styles(curves).items():
        curve = curves[name]
        axes.plot(curve["score"], curve["share"], color=style.colour, linestyle=style.line, linewidth=1, alpha=0.6)
        spread = np.abs(curve[["low", "high"]].sub(curve["share"], axis=0)).fillna(0).to_numpy().T
        look = {"fmt": style.marker, "color": style.colour, "elinewidth": 1.4, "capsize": 2}
        label = f"{name} (95 % interval by patient)" if curve["low"].notna().any() else name
        axes.errorbar(curve["score"], curve["share"], yerr=spread, label=label, **look)
    return _with_legend(figure)


@report_style()
def score_figure(scores: Mapping[str, np.ndarray], title: str, positive: str, threshold: float | None) -> Figure:
    """Draw a histogram of the scores per class, as shares of the class's images.

    Parameters
    ----------
    scores : mapping
        Class -> scores of its images for `positive`, (n,), 0..1.
    title, positive : str
    threshold : float, optional
        Decision threshold; None if decisions do not follow from the scores.
    """
    figure = Figure(figsize=(NARROW + 1.6, NARROW), layout="constrained")
    axes = figure.subplots()
    edges = np.linspace(0, 1, 21)
    looks = zip((OKABE_ITO["blue"], OKABE_ITO["vermilion"]), ("-", (0, (5, 1.5))), strict=True)
    for (name, own), (colour, line) in zip(scores.items(), looks, strict=False):
        share = 100 * np.histogram(own, edges)[0] / max(1, len(own))
        axes.stairs(share, edges, color=colour, fill=True, alpha=0.2)
        axes.stairs(share, edges, color=colour, linestyle=line, linewidth=1.8, label=f"{name} ({len(own):,} images)")
    if threshold is not None:
        axes.axvline(threshold, linestyle=":", color=MUTED, label=f"threshold {threshold:g}")
    axes.set(xlim=(-0.01, 1.01), xlabel=f"score for {positive}", ylabel="share of the class's images (%)")
    axes.set_title(textwrap.fill(title, 60))
    return _with_legend(figure)
