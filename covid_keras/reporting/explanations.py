"""Figures of explanations: grids of heat maps, LIME beside Grad-CAM, concealed text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from covid_keras.explain.lime_map import LimeExplanation
from covid_keras.explain.where import heat_in_lungs
from covid_keras.reporting.pictures import aspect, colour_bar, picture_grid, short_name, show_heat, show_radiograph
from covid_keras.reporting.style import report_style

# The paper's colours; signs and hatching make them readable without colour.
SUPPORTS, OPPOSES = "#1a9641", "#d7191c"
_SIDES = ((1, SUPPORTS, "+", "..", "supports the class (+)"), (-1, OPPOSES, "−", "////", "opposes it (−)"))


@dataclass(frozen=True, eq=False)
class HeatCase:
    """A radiograph with one heat map.

    Parameters
    ----------
    image : ndarray (H, W) uint8
    heat : ndarray (H, W) float, 0..1
    title : str
        For example "for COVID-19, p = 0.93".
    mask : ndarray (H, W), optional
        Lung mask, for the outline and the shares of heat.
    name : str
        Image id.
    lime : LimeExplanation, optional
        In the geometry of the image; required by `lime_figure`.
    """

    image: np.ndarray
    heat: np.ndarray
    title: str
    mask: np.ndarray | None = None
    name: str = ""
    lime: LimeExplanation | None = None


@dataclass(frozen=True, eq=False)
class ConcealedCase:
    """A radiograph before and after concealing its text.

    Parameters
    ----------
    before, after : ndarray (H, W) uint8
    heat_before, heat_after : ndarray (H, W) float, 0..1
    text : ndarray (H, W) bool
        The concealed pixels.
    probability_before, probability_after : float
    name : str
    """

    before: np.ndarray
    after: np.ndarray
    heat_before: np.ndarray
    heat_after: np.ndarray
    text: np.ndarray
    probability_before: float
    probability_after: float
    name: str = ""


@report_style()
def heat_grid(
    cases: Sequence[HeatCase], title: str = "Where the evidence lies (Grad-CAM)", columns: int = 3, plain: bool = False
) -> Figure:
    """Draw a grid of heat maps over their radiographs.

    Parameters
    ----------
    cases : sequence of HeatCase
    columns : int
        Images per row.
    plain : bool
        Also show each radiograph without heat, to the left of its map.
    """
    per_case = 2 if plain else 1
    ratios = [aspect(case.image) for case in cases]
    heights = [max(ratios[start : start + columns]) for start in range(0, len(cases), columns)]
    figure, rows = picture_grid(title, heights, min(columns, len(cases)) * per_case, words=0.75)
    grid = rows.ravel()
    for place, case in enumerate(cases):
        axes = grid[place * per_case : (place + 1) * per_case]
        if plain:
            show_radiograph(axes[0], case.image, case.mask, short_name(case.name))
        heading = case.title if plain or not case.name else f"{short_name(case.name)}\n{case.title}"
        show_heat(axes[-1], case, case.heat, heading)
    for axes in grid[len(cases) * per_case :]:
        axes.set_visible(False)
    colour_bar(figure, grid)
    return figure


@report_style()
def lime_figure(cases: Sequence[HeatCase], title: str = "Grad-CAM and LIME") -> Figure:
    """Draw one row per image: radiograph, Grad-CAM, and the superpixels that support (green) or oppose (red) the class.

    Superpixels also have a sign and a hatching. The fit of LIME's linear model is shown below.

    Raises
    ------
    ValueError
        If `cases` is empty, or a case has no LIME explanation of its image.
    """
    for case in cases:
        if case.lime is None or case.lime.segments.shape != case.image.shape:
            raise ValueError(f"image {case.name!r} has no LIME explanation of its shape {case.image.shape}")
    figure, grid = picture_grid(title, [aspect(case.image) for case in cases], 3, words=0.75)
    for (plain, heat, superpixels), case in zip(grid, cases, strict=True):
        show_radiograph(plain, case.image, case.mask, short_name(case.name))
        show_heat(heat, case, case.heat, case.title)
        show_radiograph(
            superpixels,
            case.image,
            title=f"LIME, {len(case.lime.heaviest)} heaviest superpixels",
            below=f"p = {case.lime.probability:.2f}; linear fit R² = {case.lime.fit:.2f}",
        )
        _paint_superpixels(superpixels, case.lime)
    patches = [Patch(facecolor=to_rgba(colour, 0.45), hatch=h, label=label) for _, colour, _, h, label in _SIDES]
    figure.legend(handles=patches, loc="outside lower right", ncols=2)
    return figure


def _paint_superpixels(axes: Axes, lime: LimeExplanation) -> None:
    for sign, colour, mark, hatch, _ in _SIDES:
        where = (lime.signs == sign).astype(float)
        if not where.any():
            continue
        # Padding closes the contours of superpixels at the border.
        padded = np.pad(where, 1)
        at = [np.arange(-1, side + 1) for side in where.shape[::-1]]
        filled = axes.contourf(*at, padded, levels=[0.5, 1.5], colors=[to_rgba(colour, 0.45)], hatches=[hatch])
        filled.set(edgecolor=to_rgba(colour, 0.8), linewidth=0)
        for segment in lime.heaviest[np.sign(lime.weights[lime.heaviest]) == sign]:
            outline = np.pad((lime.segments == segment).astype(float), 1)
            axes.contour(*at, outline, levels=[0.5], colors=[colour], linewidths=1.2)
            rows, columns = np.nonzero(lime.segments == segment)
            axes.text(columns.mean(), rows.mean(), mark, color="white", ha="center", va="center", weight="bold")
    axes.set(xlim=(-0.5, lime.segments.shape[1] - 0.5), ylim=(lime.segments.shape[0] - 0.5, -0.5))


@report_style()
def concealment_figure(cases: Sequence[ConcealedCase], title: str = "Text concealed") -> Figure:
    """Draw one row per image: radiograph and heat before and after concealing its text.

    The text is outlined. Probabilities and the share of heat on the text are shown below.
    """
    figure, grid = picture_grid(title, [aspect(case.before) for case in cases], 4, words=0.75)
    for row, case in zip(grid, cases, strict=True):
        parts = (
            ("before", case.before, case.heat_before, case.probability_before),
            ("concealed", case.after, case.heat_after, case.probability_after),
        )
        for half, (when, image, heat, probability) in enumerate(parts):
            picture, map_ = row[2 * half : 2 * half + 2]
            heading = when if half else f"{short_name(case.name, 18)}\n{when}".strip()
            show_radiograph(picture, image, case.text, heading, f"p = {probability:.2f}")
            show_heat(map_, HeatCase(image, heat, ""), heat, f"heat, {when}")
            share = heat_in_lungs(heat, case.text)
            map_.set_xlabel("no heat" if np.isnan(share) else f"{100 * share:.0f} % of it on the text")
    colour_bar(figure, grid)
    return figure
