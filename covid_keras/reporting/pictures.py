"""Figures of radiographs with lung outlines and heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from covid_keras.common.errors import printable
from covid_keras.explain.where import heat_in_lungs, lung_area_share
from covid_keras.reporting.style import HEAT_MAP, LUNG_OUTLINE, WIDTH, report_style

MAX_NAME = 26  # characters that fit above a picture
HEAT_WORDS = "heat (share of the map's maximum)"


@dataclass(frozen=True)
class Explanation:
    """A radiograph with heat maps for the predicted class and another one.

    Parameters
    ----------
    image : ndarray (H, W) uint8
        As the network saw it: cropped, and black where masked.
    factual, counterfactual : ndarray (H, W) float, 0..1
        Grad-CAM of the predicted class and of `other`.
    label, predicted, other : str
        True class, predicted class, and the class of the counterfactual map.
    score : float
        Score of the predicted class, 0 to 1.
    mask : ndarray (H, W), optional
        Lung mask (`mask > 0`), for the outline and the shares of heat.
    name : str
        Shown above the radiograph, such as the image's id.
    cells : tuple of (int, int)
        Rows and columns of each map before resizing; empty if unknown.
    """

    image: np.ndarray
    factual: np.ndarray
    counterfactual: np.ndarray
    label: str
    predicted: str
    other: str
    score: float
    mask: np.ndarray | None = None
    name: str = ""
    cells: tuple[tuple[int, int], ...] = ()


def picture_grid(
    title: str, ratios: Sequence[float], columns: int, words: float = 0.6, edge: float = 1.0
) -> tuple[Figure, np.ndarray]:
    """Return a figure with one row per image and its axes (rows, columns); raise `ValueError` without images.

    `ratios` are height / width of each row's pictures. `words` and `edge` are inches for the text around each row and
    around all rows.
    """
    if not len(ratios):
        raise ValueError("no image to draw")
    width = WIDTH / columns - 0.1
    height = sum(width * ratio + words for ratio in ratios) + edge
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    return figure, figure.subplots(len(ratios), columns, squeeze=False, height_ratios=ratios)


def aspect(image: np.ndarray) -> float:
    """Return height / width of a picture."""
    return image.shape[0] / image.shape[1]


@report_style()
def explanation_figure(cases: Sequence[Explanation], title: str = "Where the evidence lies (Grad-CAM)") -> Figure:
    """Draw one row per image: radiograph with the lungs outlined, factual map, counterfactual map.

    Below each map: the share of its heat in the lungs, and the lungs' share of the picture, which evenly spread heat
    would score. Below all maps: their number of cells.
    """
    figure, grid = picture_grid(title, [aspect(case.image) for case in cases], 3, words=0.66)
    for (plain, factual, counterfactual), case in zip(grid, cases, strict=True):
        right = "correct" if case.label == case.predicted else "wrong"
        words = f"true: {case.label}\npredicted: {case.predicted} ({case.score:.2f}, {right})"
        show_radiograph(plain, case.image, case.mask, short_name(case.name), words)
        show_heat(factual, case, case.factual, f"for {case.predicted} (predicted)")
        show_heat(counterfactual, case, case.counterfactual, f"for {case.other} (counterfactual)")
    colour_bar(figure, grid, "\n".join(filter(None, (HEAT_WORDS, cells_words(cases)))))
    return figure


def cells_words(cases: Sequence[Explanation]) -> str:
    """Return the number of cells of the maps before resizing, as text; "" if unknown.

    A map of few cells localises poorly, however smooth it looks.

    >>> nothing = np.zeros((8, 8))
    >>> cells_words([Explanation(nothing, nothing, nothing, "a", "a", "b", 0.9, cells=((4, 4), (4, 4)))])
    'each a map of 4 x 4 cells'
    """
    sizes = dict.fromkeys(size for case in cases for size in case.cells)
    return f"each a map of {' or '.join(f'{rows} x {columns}' for rows, columns in sizes)} cells" if sizes else ""


def short_name(name: str, longest: int = MAX_NAME) -> str:
    """Shorten a name to fit above a picture; its end is kept, since it identifies the image.

    >>> short_name("one/very/long/folder/image-0001.png", 16)
    '…/image-0001.png'
    """
    name = printable(name)
    return name if len(name) <= longest else f"…{name[1 - longest :]}"


def show_radiograph(
    axes: Axes, image: np.ndarray, mask: np.ndarray | None = None, title: str = "", below: str = "", **look
) -> None:
    """Draw a picture with text above and below it, its lungs (`mask > 0`) outlined.

    `look` is passed to `Axes.imshow`. Default: grey, 0 to 255.
    """
    axes.imshow(image, **(look or {"cmap": "gray", "vmin": 0, "vmax": 255}))
    if mask is not None and np.ptp(lungs := (np.asarray(mask) > 0).astype(float)) > 0:
        axes.contour(lungs, levels=[0.5], colors=LUNG_OUTLINE, linewidths=1.1)
    axes.set_title(title, fontsize=8.5)
    axes.set(xticks=[], yticks=[], xlabel=below)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def show_heat(axes: Axes, case: Explanation, heat: np.ndarray, title: str) -> None:
    show_radiograph(axes, _painted(case.image, heat), case.mask, title)
    if case.mask is None:
        return
    share, chance = heat_in_lungs(heat, case.mask), lung_area_share(case.mask)
    found = "no heat" if math.isnan(share) else f"{100 * share:.0f} % of the heat in the lungs"
    if chance == 0:
        found = "no lungs found"
    axes.set_xlabel(f"{found}\n(lungs: {100 * chance:.0f} % of the picture)")


def _painted(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the picture under its heat map, (H, W, 3) uint8. Cold regions show the anatomy."""
    opacity = 0.72 * np.sqrt(np.clip(heat, 0, 1))[..., None]
    colours = colormaps[HEAT_MAP](heat, bytes=True)[..., :3]
    return np.rint(opacity * colours + (1 - opacity) * image[..., None]).astype(np.uint8)


def colour_bar(
    figure: Figure,
    grid: Sequence[Axes],
    label: str = HEAT_WORDS,
    norm: Normalize | None = None,
    colours: str = HEAT_MAP,
) -> None:
    """Draw the colour bar of a figure's maps below them; `norm` defaults to 0 to 1."""
    scale = ScalarMappable(norm or Normalize(0, 1), colours)
    figure.colorbar(scale, ax=list(np.ravel(grid)), location="bottom", shrink=0.45, aspect=40, pad=0.02, label=label)
