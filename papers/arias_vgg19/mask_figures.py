"""Figure 3 of the paper: the masks of U-Net 1 and of U-Net 3 side by side."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.sources.darwin_v7 import LUNG
from covid_keras.inference.segmentation import overlay
from covid_keras.reporting.pictures import short_name, show_radiograph
from covid_keras.reporting.style import LUNG_OUTLINE, OKABE_ITO, WIDTH, report_style
from papers.arias_vgg19.overlap import read_overlap
from papers.arias_vgg19.segmenters import PaperSegmenter

SIDE = 320  # longest side of a picture in the report, pixels
TITLE = "Lung masks of {names}"
CAPTION = (
    "Figure 3 of the paper: the masks of {names} beside the human one, of the validation images on which {first} is "
    "worst, middling and best by Dice. Outlined: the human mask; tinted: the network's, from a probability of "
    "{threshold:g} on, neither filled nor freed of islands. Dice is the true one, at the radiograph's own size."
)


def mask_figures(folders: Mapping[str, Path], cohort: Cohort) -> list[tuple[str, str, Figure]]:
    """Return figure 3 with title and caption.

    Parameters
    ----------
    folders : mapping
        Name of each network, such as "U-Net 1", to its folder as `train_segmenter` leaves it, trained on the same
        division. The first chooses the images: its worst, its median and its best of the validation part.
    cohort : Cohort
        The radiographs with human masks that they were trained on.

    Raises
    ------
    UserError
        Where a folder holds no finished training, or an image is missing.
    ValueError
        Where there is no network.
    """
    if not folders:
        raise ValueError("no segmenter to draw")
    tables = {name: read_overlap(folder).set_index("image_id") for name, folder in folders.items()}
    first = next(iter(folders))
    chosen = chosen_images(tables[first])
    segmenters = {name: PaperSegmenter(folder) for name, folder in folders.items()}
    rows = cohort.table.set_index("image_id")
    if unknown := [image for image in chosen.values() if image not in rows.index]:
        raise UserError(unknown[0], "is not in the cohort that the segmenters were trained on", "Train them again")
    drawn = []
    for word, image_id in chosen.items():
        image = read_image(rows.at[image_id, "path"])
        human = np.where(read_mask(rows.at[image_id, "mask_path"], image.shape) == LUNG, 255, 0).astype(np.uint8)
        masks = {
            f"{name}: Dice {tables[name].at[image_id, 'dice']:.3f}": segmenter.masks([image])[0]
            for name, segmenter in segmenters.items()
        }
        drawn.append((f"{short_name(image_id, 24)}\n({word})", image, human, masks))
    names = " and ".join(folders)
    caption = CAPTION.format(names=names, first=first, threshold=segmenters[first].threshold)
    return [(TITLE.format(names=names), caption, mask_grid(drawn, TITLE.format(names=names)))]


def chosen_images(table: pd.DataFrame) -> dict[str, str]:
    """Return the validation images that are worst, median and best by Dice; fewer where there are fewer.

    `table` is as `read_overlap` gives it, image ids as its index. Chosen by Dice alone, so that nobody picks the
    pretty ones; equals by their names.
    """
    ranked = table[table["part"] == "validation"].sort_index().sort_values("dice", kind="stable").index
    places = {"worst": 0, "best": len(ranked) - 1, "median": len(ranked) // 2}
    found: dict[str, str] = {}
    for word, place in places.items():
        if ranked[place] not in found.values():
            found[word] = ranked[place]
    return {word: found[word] for word in ("worst", "median", "best") if word in found}


@report_style()
def mask_grid(drawn: list[tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]], title: str) -> Figure:
    """Draw a row an image: the radiograph with the human mask outlined, then with each network's mask tinted as well.

    Parameters
    ----------
    drawn : list of (title, image, human mask, {title: mask})
        Images (H, W) uint8, masks of their size, 0 or 255.
    title : str
        Above all of them.
    """
    columns = 1 + len(drawn[0][3])
    ratios = [image.shape[0] / image.shape[1] for _, image, _, _ in drawn]
    height = sum(WIDTH / columns * ratio + 0.5 for ratio in ratios) + 0.9
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(len(drawn), columns, squeeze=False, height_ratios=ratios)
    for panels, (name, image, human, masks) in zip(grid, drawn, strict=True):
        small, outline = _small(image, cv2.INTER_AREA), _small(human, cv2.INTER_NEAREST)
        pictures = [small, *(overlay(small, _small(mask, cv2.INTER_NEAREST)) for mask in masks.values())]
        for axes, picture, words in zip(panels, pictures, (name, *masks), strict=True):
            show_radiograph(axes, picture, outline)
            axes.set_title(words, fontsize=8.5)
    handles = [
        Line2D([], [], color=LUNG_OUTLINE, label="human mask"),
        Patch(facecolor=OKABE_ITO["orange"], alpha=0.5, edgecolor=OKABE_ITO["orange"], label="network's mask"),
    ]
    figure.legend(handles=handles, loc="outside lower right", ncols=2)
    return figure


def _small(image: np.ndarray, interpolation: int) -> np.ndarray:
    scale = SIDE / max(image.shape)
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=interpolation)
