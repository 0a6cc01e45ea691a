"""Spread over seeds, and the effect of a leaking split: tables and a figure for the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covid_keras.evaluation.seeds import seed_summary
from covid_keras.evaluation.uncertainty import Difference
from covid_keras.published.cells import PublishedCell
from covid_keras.reporting.differences import difference_words
from covid_keras.reporting.document import TableEntry
from covid_keras.reporting.prose import prose
from covid_keras.reporting.style import INK, OURS_COLOUR, PAPER_COLOUR, WIDTH, name_looks, panel_grid, report_style
from covid_keras.reporting.wording import NOTHING, interval, number


def seed_table(
    executions: pd.DataFrame,
    published: Iterable[PublishedCell] = (),
    titles: Mapping[str, str] | None = None,
    metrics: Iterable[str] | None = None,
    title: str = "Spread over seeds",
) -> TableEntry:
    """Return the spread of each metric over a system's seeds, and the paper's number.

    Parameters
    ----------
    executions : DataFrame
        From `per_execution`; systems with one execution are left out.
    published : iterable of PublishedCell
        The paper's numbers, used as in `published_values`.
    titles : mapping, optional
        System -> displayed name.
    metrics : iterable of str, optional
        As in `covid_keras.evaluation.seeds.seed_summary`.

    Returns
    -------
    TableEntry
        One row per system and metric; empty if no system has several seeds.
    """
    repeated = _repeated(executions)
    printed = published_values(published)
    rows = [
        {
            "system": (titles or {}).get(one["system"], one["system"]),
            "metric": one["metric"].replace("_", " "),
            "seeds": str(one["n"]),
            "mean ± std": f"{number(one['mean'])} ± {number(one['std'])}",
            "smallest to largest": f"{number(one['min'])} to {number(one['max'])}",
            "2.5 to 97.5 %": f"{number(one['low'])} to {number(one['high'])}",
            "paper": _printed_words(printed.get((one["system"], one["metric"]))),
        }
        for one in (seed_summary(repeated, metrics).to_dict("records") if len(repeated) else [])
    ]
    return TableEntry(title, prose("covid_keras.reporting", "report.md", "seeds"), pd.DataFrame(rows, dtype=str))


def leak_table(
    differences: Iterable[tuple[str, Difference]],
    published: Iterable[PublishedCell] = (),
    titles: Mapping[str, str] | None = None,
    title: str = "Split by image (as published) or by patient",
) -> TableEntry:
    """Return the effect of splitting by image instead of by patient.

    Parameters
    ----------
    differences : iterable of (str, Difference)
        System, and its metric split by image (`a`) minus split by patient (`b`), from `difference_of_sets`.
    published, titles
        As in `seed_table`.
    """
    printed = published_values(published)
    rows = [
        {
            "system": (titles or {}).get(name, name),
            "metric": found.metric.replace("_", " "),
            "paper": _printed_words(printed.get((name, found.metric))),
            "by image": number(found.a),
            "by patient": number(found.b),
            "difference": difference_words(found),
            "patients": f"{found.n_patients:,}",
        }
        for name, found in differences
    ]
    return TableEntry(title, prose("covid_keras.reporting", "report.md", "leaks"), pd.DataFrame(rows, dtype=str))


def published_values(published: Iterable[PublishedCell]) -> dict[tuple[str, str], tuple[float, float, float]]:
    """Return {(system, metric): (value, low, high)} in percent; the bounds are NaN without a printed interval.

    The first cell of a metric with an interval counts, else the first cell.
    """
    found: dict[tuple[str, str], tuple[float, float, float]] = {}
    for cell in published:
        key, scale = (cell.system, cell.metric), 100 if cell.compared_unit == "ratio" else 1
        bare = cell.low is None or cell.high is None
        if cell.lost or not all(key) or (key in found and (bare or not np.isnan(found[key][1]))):
            continue
        low, high = (np.nan, np.nan) if bare else (scale * cell.low, scale * cell.high)
        found[key] = (scale * cell.value, low, high)
    return found


@report_style()
def seed_figure(
    executions: pd.DataFrame,
    published: Iterable[PublishedCell] = (),
    titles: Mapping[str, str] | None = None,
    metrics: Iterable[str] | None = None,
    title: str = "Spread over seeds",
) -> Figure:
    """Draw every seed as a dot, one panel per metric, one line per system, with the paper's value and interval.

    Parameters
    ----------
    executions, published, titles, metrics
        As in `seed_table`.

    Raises
    ------
    ValueError
        If no system has several seeds.
    """
    repeated = _repeated(executions)
    if repeated.empty:
        raise ValueError("no system has several seeds to draw")
    shown, printed = seed_summary(repeated, metrics), published_values(published)
    systems, panels = list(dict.fromkeys(shown["system"])), list(dict.fromkeys(shown["metric"]))
    height = 0.7 + 0.42 * len(systems)
    figure, grid, _ = panel_grid(
        len(panels), 3, title, lambda across, down: (WIDTH + 0.6, down * height + 0.9), sharey=True
    )
    names = [(titles or {}).get(system, system) for system in systems]
    for axes, metric in zip(grid, panels, strict=True):
        for place, system in enumerate(systems):
            values = repeated.loc[repeated["system"] == system, metric].dropna().to_numpy(np.float64)
            _draw_seeds(axes, place, values, printed.get((system, metric)))
        axes.set_title(metric.replace("_", " "), fontsize=9.5)
        axes.set(yticks=range(len(systems)), yticklabels=names, ylim=(len(systems) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        axes.margins(x=0.08)
    figure.supxlabel("percent", fontsize=9.5)
    name_looks(figure, grid, columns=3)
    return figure


def _draw_seeds(axes: Axes, place: int, values: np.ndarray, paper: tuple[float, float, float] | None) -> None:
    """Draw one system's seeds and their mean, and above them the paper's value."""
    if len(values):
        # Different heights keep seeds with equal values visible.
        heights = place + 0.16 + np.linspace(-0.1, 0.1, len(values))
        axes.plot(values, heights, "o", color=OURS_COLOUR, markersize=4, alpha=0.65, markeredgewidth=0, label="a seed")
        axes.plot(
            values.mean(), place + 0.16, "|", color=INK, markersize=13, markeredgewidth=1.6, label="mean of seeds"
        )
    if paper is not None:
        value, low, high = paper
        # Drawn separately: a printed interval may not contain its value.
        axes.plot([low, high], [place - 0.18] * 2, color=PAPER_COLOUR, linewidth=0.9)
        look = {"color": PAPER_COLOUR, "markerfacecolor": "white", "markersize": 5}
        axes.plot(value, place - 0.18, "D", label="paper, interval if printed", **look)


def _repeated(executions: pd.DataFrame) -> pd.DataFrame:
    """Return the executions of systems with several."""
    return executions[executions.groupby("system")["system"].transform("size") > 1]


def _printed_words(paper: tuple[float, float, float] | None) -> str:
    if paper is None:
        return NOTHING
    value, low, high = paper
    return f"{number(value)} {interval(low, high)}".rstrip()
