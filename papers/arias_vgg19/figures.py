"""Figures of this paper: precision and recall of the parts, accuracy by threshold, masks of the U-Nets."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from sklearn.metrics import average_precision_score, precision_recall_curve

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image, read_mask
from covid_keras.data.sources.darwin_v7 import LUNG
from covid_keras.inference.segmentation import overlay
from covid_keras.reporting.pictures import aspect, picture_grid, short_name, show_radiograph
from covid_keras.reporting.style import (
    LUNG_OUTLINE,
    MUTED,
    NARROW,
    OKABE_ITO,
    WIDTH,
    SeriesStyle,
    panel_grid,
    report_style,
    series_styles,
)
from papers.arias_vgg19.comparisons import STEPS, ThresholdCurves
from papers.arias_vgg19.overlap import read_overlap

SIDE = 320  # longest side of a picture in the report, pixels
Curve = tuple[np.ndarray, np.ndarray]
_PARTS_OF_SPLIT = {"validation": (OKABE_ITO["orange"], (0, (4, 1.5))), "test": (OKABE_ITO["blue"], "-")}


@report_style()
def precision_recall_figure(
    systems: Mapping[str, Sequence[Curve]], title: str = "Precision and recall", positive: str = "positive"
) -> Figure:
    """Draw the precision over the recall, one curve per system: the mean over executions at equal recall.

    Each execution is a pair: labels (n,) with 1 = positive, and scores (n,) of the positive class, which the axes call
    `positive`. `ValueError` if a system has no execution, or an execution holds only one class.
    """
    figure = Figure(figsize=(NARROW + 0.6, NARROW + 1.3 + 0.2 * len(systems)), layout="constrained")
    axes = figure.subplots()
    for name, style in series_styles(systems).items():
        _draw_precision(axes, name, systems[name], style)
    shares = [float(np.mean(labels)) for executions in systems.values() for labels, _ in executions]
    chance = float(np.mean(shares))
    axes.axhline(chance, linestyle="--", linewidth=1, color=MUTED, label=f"chance (share of positives {chance:.3f})")
    axes.set(
        xlim=(-0.01, 1.01),
        ylim=(-0.01, 1.05),
        title=title,
        xlabel=f"recall (share of {positive} that is found)",
        ylabel="precision (share of alarms that are right)",
    )
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center")
    return figure


def precision_at(labels: np.ndarray, scores: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Return the precision of the highest threshold that reaches each recall, shape of `recall`.

    The area below these steps is the average precision.

    >>> precision_at(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.6, 0.9]), np.array([0.25, 0.5, 0.75])).round(3)
    array([1.   , 1.   , 0.667])
    """
    precision, reached, _ = precision_recall_curve(labels, scores)
    # From the highest threshold down; recall then rises, and of equal recalls the first has the best precision.
    return precision[::-1][np.searchsorted(reached[::-1], recall - 1e-12)]


def _draw_precision(axes: Axes, name: str, executions: Sequence[Curve], style: SeriesStyle) -> None:
    if not len(executions):
        raise ValueError(f"system {name!r} has no execution to draw")
    if any(len(np.unique(labels)) != 2 for labels, _ in executions):
        raise ValueError(f"an execution of {name!r} holds one class only: it has no precision at each recall")
    grid = STEPS[1:]  # at a recall of 0 nothing is found, and precision is not defined
    curves = np.array([precision_at(labels, scores, grid) for labels, scores in executions])
    areas = [average_precision_score(labels, scores) for labels, scores in executions]
    label = f"{name}: average precision {np.mean(areas):.3f}"
    if len(executions) > 1:
        label += f" ± {np.std(areas, ddof=1):.3f} ({len(executions)} executions)"
        for curve in curves:
            axes.step(grid, curve, where="pre", color=style.colour, linewidth=0.6, alpha=0.35)
    axes.step(
        grid, curves.mean(axis=0), where="pre", color=style.colour, linestyle=style.line, linewidth=2.2, label=label
    )


@report_style()
def threshold_figure(
    systems: Mapping[str, ThresholdCurves], published: float = 0.5, title: str = "Accuracy by threshold"
) -> Figure:
    """Draw the accuracy over the threshold on validation and on test, one panel per system (title to curves).

    `published` is the threshold of the tables, drawn in every panel; `ValueError` for no system.
    """
    if not systems:
        raise ValueError("no system whose threshold could be drawn")

    def size(across: int, down: int) -> tuple[float, float]:
        return max(NARROW, WIDTH * across / 3), 0.9 + 2.1 * down

    figure, grid, columns = panel_grid(len(systems), 3, title, size, sharex=True, sharey=True)
    for axes, (name, curves) in zip(grid, systems.items(), strict=True):
        _draw_thresholds(axes, curves, published)
        axes.set_title(textwrap.fill(name, 30), fontsize=9)
    for axes in grid[-columns:]:
        axes.set(xlabel="threshold (score, 0 to 1)", xticks=(0, 0.5, 1))
        axes.tick_params(labelbottom=True)
    for axes in grid[::columns]:
        axes.set_ylabel("accuracy (%)")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_thresholds(axes: Axes, curves: ThresholdCurves, published: float) -> None:
    for part, (colour, line) in _PARTS_OF_SPLIT.items():
        if part in curves.accuracy:
            values = curves.accuracy[part]
            axes.plot(curves.thresholds, values, color=colour, linestyle=line, label=f"{part}, mean over executions")
    axes.axvline(published, color=MUTED, linestyle="--", linewidth=1, label=f"threshold {published:g}")
    # At the foot of the panel, whatever the accuracies are.
    axes.plot(
        curves.chosen,
        np.full(len(curves.chosen), 0.03),
        "|",
        color=OKABE_ITO["vermilion"],
        markersize=9,
        markeredgewidth=1.6,
        transform=axes.get_xaxis_transform(),
        label="chosen on validation, an execution each",
    )
    axes.set_xlim(-0.02, 1.02)


# --- the masks of the U-Nets (figure 3)


def mask_figure(folders: Mapping[str, Path], cohort: Cohort) -> tuple[Figure, float]:
    """Return figure 3 of the paper, the masks of several U-Nets side by side, and the threshold for lung pixels.

    Parameters
    ----------
    folders : mapping
        Name of each network, such as "U-Net 1" -> folder of its training; at least one, all with the same split. The
        images are the worst, median and best validation images of the first.
    cohort : Cohort
        The radiographs with human masks used for training.

    Raises
    ------
    UserError
        If a folder holds no finished training, or an image is missing.
    """
    from covid_keras.training.trained_segmenter import TrainedSegmenter  # with TensorFlow
    from papers.arias_vgg19.segmenters import UNetKind

    tables = {name: read_overlap(folder).set_index("image_id") for name, folder in folders.items()}
    first = next(iter(folders))
    chosen = chosen_images(tables[first])
    segmenters = {name: TrainedSegmenter(UNetKind(), folder) for name, folder in folders.items()}
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
    return mask_grid(drawn, f"Lung masks of {' and '.join(folders)}"), segmenters[first].threshold


def chosen_images(table: pd.DataFrame) -> dict[str, str]:
    """Return the validation images with the worst, median and best Dice (fewer if there are fewer images).

    `table` is from `read_overlap`, indexed by image id. Images are chosen by Dice alone, ties by id, so that the choice
    is objective.
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
    """Draw one row per image: the radiograph with the human mask outlined, then with each network's mask tinted too.

    `drawn` holds (title, image, human mask, {title: mask}): images (H, W) uint8, masks of their size, 0 or 255.
    """
    figure, grid = picture_grid(title, [aspect(image) for _, image, _, _ in drawn], 1 + len(drawn[0][3]))
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
