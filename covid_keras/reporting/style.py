"""One look for every figure: colours that colour-blind readers tell apart, sizes, and repeatable files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# M. Okabe and K. Ito, "Color Universal Design", 2008; black and yellow left out as series colours.
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
# Diverging, and told apart by every kind of colour blindness; orange is above 0.
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
    # The same figure gives the same bytes: report pages can be compared.
    "svg.hashsalt": "covid_keras",
    "svg.fonttype": "path",
}


def report_style() -> matplotlib.rc_context:
    """Return the context (also a decorator) in which figures are drawn and saved; rcParams come back."""
    return matplotlib.rc_context(RC)


class SeriesStyle(NamedTuple):
    """How one of many series is drawn: no two share colour and marker, none of the first eighteen colour and line."""

    colour: str
    marker: str
    line: str | tuple[int, tuple[float, ...]]


def series_styles(names: Iterable[str]) -> dict[str, SeriesStyle]:
    """Return a style for each name, in order; beyond six the colours repeat with other markers and other lines."""
    colours = list(OKABE_ITO.values())
    return {
        name: SeriesStyle(colours[i % 6], MARKERS[(i + i // 6) % 6], LINES[i // 6 % 3]) for i, name in enumerate(names)
    }


def panel_grid(
    count: int, most: int, title: str, size: Callable[[int, int], tuple[float, float]], **share: bool
) -> tuple[Figure, list[Axes], int]:
    """Return a figure with `count` panels, at most `most` side by side, their axes, and how many are side by side.

    `size` gives its width and height in inches for so many columns and rows; `share` is as `Figure.subplots` takes it.
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
    """Name each look of several panels once, in a legend outside all of them."""
    looks = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(looks.values(), looks.keys(), loc=loc, ncols=columns)
