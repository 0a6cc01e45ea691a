"""Common style of all figures: colour-blind-safe colours, sizes, deterministic files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# M. Okabe and K. Ito, "Color Universal Design", 2008, without black and yellow.
OKABE_ITO = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
}
INK = "#222222"
MUTED = "#6b7280"
ALARM = "#b91c1c"
GRID = "#e2e4e8"
PAPER_COLOUR = INK
OURS_COLOUR = OKABE_ITO["blue"]
LUNG_OUTLINE = OKABE_ITO["sky"]
COUNT_MAP = "cividis"
HEAT_MAP = "inferno"
# Diverging and colour-blind-safe; orange is above 0.
DIFFERENCE_MAP = "PuOr_r"
# Inches; the HTML page is about 9 inches wide at 100 %.
WIDTH = 8.0
NARROW = 4.6
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))

RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#9aa0a8",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.06,
    "figure.titlesize": 11.5,
    "figure.titleweight": "bold",
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    # Deterministic output, so that report pages can be compared.
    "svg.hashsalt": "covid_keras",
    "svg.fonttype": "path",
    # Names of files and classes may hold dollar signs.
    "text.parse_math": False,
}


def report_style() -> matplotlib.rc_context:
    """Return the context manager (or decorator) in which figures are drawn and saved."""
    return matplotlib.rc_context(RC)


class SeriesStyle(NamedTuple):
    """Look of one of many series: colour and marker are unique, colour and line too among the first eighteen."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


def series_styles(names: Iterable[str]) -> dict[str, SeriesStyle]:
    """Return a style per name, in order; after six, colours repeat with other markers and lines."""
    colours = list(OKABE_ITO.values())
    return {
        name: SeriesStyle(colours[i % 6], MARKERS[(i + i // 6) % 6], LINES[i // 6 % 3]) for i, name in enumerate(names)
    }


def panel_grid(
    count: int, most: int, title: str, size: Callable[[int, int], tuple[float, float]], **share: bool
) -> tuple[Figure, list[Axes], int]:
    """Return a figure with `count` panels, at most `most` per row, their axes, and the number of columns.

    `size(columns, rows)` gives width and height in inches; `share` is passed to `Figure.subplots`.
    """
    columns = min(most, count)
    rows = -(-count // columns)
    figure = Figure(figsize=size(columns, rows), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(rows, columns, squeeze=False, **share).ravel()
    for axes in grid[count:]:
        axes.set_visible(False)
    return figure, list(grid[:count]), columns


def name_looks(figure: Figure, panels: Sequence[Axes], loc: str = "outside upper right", columns: int = 2) -> None:
    """Draw one legend for all panels, outside them."""
    looks = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(looks.values(), looks.keys(), loc=loc, ncols=columns)
