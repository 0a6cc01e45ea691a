"""Figures of explanations: grids of heat, LIME beside Grad-CAM, text concealed, heat in the lungs of whole sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from covid_keras.explain.lime_map import LimeExplanation
from covid_keras.explain.shares import compare_shares
from covid_keras.explain.where import heat_in_lungs
from covid_keras.reporting.pictures import colour_bar, short_name, show_heat, show_radiograph
from covid_keras.reporting.style import INK, MUTED, OKABE_ITO, WIDTH, report_style

# The paper's colours; the signs and the hatching say the same to those who cannot tell them apart.
SUPPORTS, OPPOSES = "#1a9641", "#d7191c"
_SIDES = ((1, SUPPORTS, "+", "..", "supports the class (+)"), (-1, OPPOSES, "−", "////", "opposes it (−)"))
_MEASURES = {
    "heat_in_lungs": "share of heat in the lungs",
    "lung_area": "lungs' share of the picture",
    "enrichment": "share of heat / share of area",
    "beyond_chance": "(share − area) / (1 − area)",
}
_SHOWN_POINTS = 400


@dataclass(frozen=True, eq=False)
class HeatCase:
    """A radiograph with one heat map.

    Parameters
    ----------
    image : ndarray (H, W) uint8
    heat : ndarray (H, W) float, 0..1
    title : str
        Such as "for COVID-19, p = 0.93".
    mask : ndarray (H, W), optional
        Lung mask; without it no outline and no shares.
    name : str
        The image's id.
    lime : LimeExplanation, optional
        In the geometry of the image; needed by `lime_figure` alone.
    """

    image: np.ndarray
    heat: np.ndarray
    title: str
    mask: np.ndarray | None = None
    name: str = ""
    lime: LimeExplanation | None = None


@dataclass(frozen=True, eq=False)
class ConcealedCase:
    """A radiograph before and after its text is concealed.

    Parameters
    ----------
    before, after : ndarray (H, W) uint8
    heat_before, heat_after : ndarray (H, W) float, 0..1
    text : ndarray (H, W) bool
        What was concealed.
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
        Images in a row.
    plain : bool
        Whether each radiograph is shown without heat, too, to the left of its map.
    """
    _require(cases)
    columns = min(columns, len(cases))
    per_case = 2 if plain else 1
    figure, grid = _picture_grid(title, [case.image for case in cases], columns, per_case)
    for place, case in enumerate(cases):
        axes = grid[place * per_case : (place + 1) * per_case]
        if plain:
            show_radiograph(axes[0], case.image, case.mask, short_name(case.name))
        heading = case.title if plain or not case.name else f"{short_name(case.name)}\n{case.title}"
        show_heat(axes[-1], case, case.heat, heading)
    _hide(grid[len(cases) * per_case :])
    colour_bar(figure, grid)
    return figure


@report_style()
def lime_figure(cases: Sequence[HeatCase], title: str = "Grad-CAM and LIME") -> Figure:
    """Draw a row an image: radiograph, Grad-CAM, and the superpixels that support (green) or oppose (red) the class.

    The superpixels carry a sign and a hatching as well. Under them stands how well LIME's linear model fits.

    Raises
    ------
    ValueError
        Where there is no case, or one without a LIME explanation of its image.
    """
    _require(cases)
    for case in cases:
        if case.lime is None or case.lime.segments.shape != case.image.shape:
            raise ValueError(f"image {case.name!r} has no LIME explanation of its shape {case.image.shape}")
    figure, grid = _picture_grid(title, [case.image for case in cases], 1, 3)
    for place, case in enumerate(cases):
        plain, heat, superpixels = grid[3 * place : 3 * place + 3]
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
        # Padded, so that a superpixel at the border is closed there.
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
    """Draw a row an image: radiograph and heat before, radiograph and heat after its text is concealed.

    Outlined is the text; under the pictures stand the probabilities, under the maps the share of heat on the text.
    """
    _require(cases)
    figure, grid = _picture_grid(title, [case.before for case in cases], 1, 4)
    for place, case in enumerate(cases):
        parts = (
            ("before", case.before, case.heat_before, case.probability_before),
            ("concealed", case.after, case.heat_after, case.probability_after),
        )
        for half, (when, image, heat, probability) in enumerate(parts):
            picture, map_ = grid[4 * place + 2 * half : 4 * place + 2 * half + 2]
            heading = when if half else f"{short_name(case.name, 18)}\n{when}".strip()
            show_radiograph(picture, image, case.text, heading, f"p = {probability:.2f}")
            show_heat(map_, HeatCase(image, heat, ""), heat, f"heat, {when}")
            share = heat_in_lungs(heat, case.text)
            map_.set_xlabel("no heat" if np.isnan(share) else f"{100 * share:.0f} % of it on the text")
    colour_bar(figure, grid)
    return figure


@report_style()
def shares_figure(
    frames: Mapping[str, pd.DataFrame],
    title: str = "Heat in the lungs over the test set",
    n: int = 1000,
    seed: int = 0,
) -> Figure:
    """Draw how much of each system's heat lies in the lungs, raw and relative to their area, and the differences.

    Above, a box and a point an image; the hollow diamond is the share that heat spread evenly would have on
    average. Below, the paired mean difference of every further system to the first, with its 95 % interval by
    bootstrap over patients.

    Parameters
    ----------
    frames : mapping
        Two systems or more, each to its result of `covid_keras.explain.heat_shares`.
    n, seed
        As `covid_keras.explain.compare_shares` takes them.
    """
    if len(frames) < 2:
        raise ValueError("two systems at least are compared")
    names = list(frames)
    shown = ("heat_in_lungs", "beyond_chance")
    figure = Figure(figsize=(WIDTH, 3.7 + 0.5 * len(names)), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    above, below = figure.subplots(2, 2, height_ratios=[2.4, 0.35 + 0.35 * len(names)])
    colours = dict(zip(names, list(OKABE_ITO.values()) * len(names), strict=False))
    differences = {name: compare_shares(frames[name], frames[names[0]], n, seed) for name in names[1:]}
    for measure, distribution, forest in zip(shown, above, below, strict=True):
        _draw_distribution(distribution, frames, measure, colours)
        _draw_differences(forest, differences, measure, names[0], colours)
    return figure


def _draw_distribution(
    axes: Axes, frames: Mapping[str, pd.DataFrame], measure: str, colours: Mapping[str, str]
) -> None:
    rng = np.random.default_rng(0)
    for place, (name, frame) in enumerate(frames.items()):
        values = frame[measure].dropna().to_numpy(dtype=float)
        few = rng.choice(values, min(len(values), _SHOWN_POINTS), replace=False)
        at = place + rng.uniform(-0.16, 0.16, len(few))
        axes.plot(at, few, "o", color=colours[name], markersize=2.6, alpha=0.35, markeredgewidth=0)
        ink = {"color": INK, "linewidth": 1.1}
        axes.boxplot(
            [values], positions=[place], widths=0.5, showfliers=False, boxprops=ink, medianprops=ink, whiskerprops=ink,
            capprops=ink,
        )  # fmt: skip
        chance = frame["lung_area"].mean() if measure == "heat_in_lungs" else 0.0
        axes.plot(place, chance, "D", color=MUTED, markerfacecolor="white", markersize=6, zorder=4)
    axes.set(
        xticks=range(len(frames)), xticklabels=[short_name(name, 18) for name in frames], ylabel=_MEASURES[measure]
    )
    axes.set_xlabel("hollow diamond: heat spread evenly", fontsize=8.5)
    axes.grid(axis="x", visible=False)


def _draw_differences(
    axes: Axes, differences: Mapping[str, pd.DataFrame], measure: str, first: str, colours: Mapping[str, str]
) -> None:
    axes.axvline(0, color=MUTED, linewidth=0.9)
    for place, (name, table) in enumerate(differences.items()):
        row = table.set_index("measure").loc[measure]
        spread = [[row["difference"] - row["low"]], [row["high"] - row["difference"]]]
        axes.errorbar(row["difference"], place, xerr=spread, fmt="o", color=colours[name], elinewidth=1.8)
        text = f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f}), {row['n_patients']:.0f} patients"
        axes.text(0.5, place + 0.34, text, transform=axes.get_yaxis_transform(), ha="center", va="center", fontsize=7.5)
    labels = [short_name(name, 18) for name in differences]
    axes.set(yticks=range(len(labels)), yticklabels=labels, ylim=(len(labels) - 0.35, -0.6))
    axes.set_xlabel(f"mean difference to {short_name(first, 18)}", fontsize=8.5)
    axes.margins(x=0.25)
    axes.tick_params(axis="y", length=0)


def _require(cases: Sequence) -> None:
    if not len(cases):
        raise ValueError("no image to explain")


def _picture_grid(title: str, images: Sequence[np.ndarray], columns: int, per_case: int) -> tuple[Figure, np.ndarray]:
    """Return a figure of the page's width and its axes, `per_case` for each image, row by row."""
    rows = -(-len(images) // columns)
    ratios = [image.shape[0] / image.shape[1] for image in images]
    heights = [max(ratios[row * columns : (row + 1) * columns]) for row in range(rows)]
    width = WIDTH / (columns * per_case) - 0.1
    figure = Figure(figsize=(WIDTH, sum(width * ratio + 0.75 for ratio in heights) + 1.0), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure, figure.subplots(rows, columns * per_case, squeeze=False, height_ratios=heights).ravel()


def _hide(grid: Sequence[Axes]) -> None:
    for axes in grid:
        axes.set_visible(False)
