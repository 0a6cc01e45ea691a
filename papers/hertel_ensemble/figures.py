"""Figures of this paper: two segmenters on the same images, heat with and without segmentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covid_keras.reporting.explanations import HeatCase
from covid_keras.reporting.pictures import aspect, colour_bar, picture_grid, short_name, show_heat, show_radiograph
from covid_keras.reporting.prose import titled
from covid_keras.reporting.style import MUTED, NARROW, OKABE_ITO, report_style
from papers.hertel_ensemble.systems import COVID

if TYPE_CHECKING:
    import keras

    from covid_keras.data.prepared_images import PreparedImages
    from covid_keras.paper.system import System
    from covid_keras.reporting.examples import Examples
    from covid_keras.training.executions import Execution

HEAT_LAYER = "relu"  # the last feature maps of DenseNet
FIGURE_11 = "With and without segmentation"


@report_style()
def dice_figure(frame: pd.DataFrame, title: str = "ResUNet and the shipped U-Net") -> Figure:
    """Draw `dice` against `dice_shipped`, 0..1, one point per image; raise `ValueError` for no image."""
    if frame.empty:
        raise ValueError("no image that both segmenters marked")
    figure = Figure(figsize=(NARROW, NARROW + 0.5), layout="constrained")
    axes = figure.subplots()
    low = max(0.0, float(frame[["dice", "dice_shipped"]].min().min()) - 0.01)
    axes.plot([low, 1], [low, 1], "--", color=MUTED, linewidth=1, label="equally good")
    axes.plot(
        frame["dice_shipped"], frame["dice"], "o", color=OKABE_ITO["blue"], markersize=4, alpha=0.5, label="an image"
    )
    axes.set(
        xlim=(low, 1.002),
        ylim=(low, 1.002),
        aspect="equal",
        title=title,
        xlabel="Dice of the shipped U-Net",
        ylabel="Dice of the ResUNet",
    )
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@dataclass(frozen=True, eq=False)
class Pair:
    """Inputs of the networks without and with masks for a radiograph, with their maps, all (H, W) in one geometry.

    The titles of `whole` and `segmented` say what the networks made of it.
    """

    name: str
    whole: HeatCase
    segmented: HeatCase


def segmentation_pictures(examples: Examples) -> list[tuple[str, str, Figure]]:
    """Return figure 11 for the examples of COVID-19; empty without any.

    The examples are of the network trained without masks, which comes after the one trained with masks on the same
    fold; `UserError` if that one's weights, or an image, are missing.
    """
    from covid_keras.data.prepared_images import prepare_cohort
    from covid_keras.explain.network import map_cells

    table, before = examples.cohort.table, examples.before
    shown = np.flatnonzero(examples.predictions["label"].eq(COVID).to_numpy() & table["mask_path"].ne("").to_numpy())
    if before is None or not len(shown):
        return []
    segmented = prepare_cohort(examples.cohort, before.preparation, before.run.cache)
    sides = (
        _explained(examples, shown, examples.execution, examples.network, examples.prepared),
        _explained(examples, shown, before, before.network, segmented),
    )
    pairs = [Pair(name, *both) for name, *both in zip(table["image_id"].iloc[shown], *sides, strict=True)]
    rows, columns = map_cells(examples.network, _layer(examples.system), examples.prepared.shape)
    words = titled("papers.hertel_ensemble", "report.md.j2", "figure_11", rows=rows, columns=columns)
    return [(*words, segmentation_figure(pairs))]


def _layer(system: System) -> str:
    return system.heat_layer or HEAT_LAYER


def _explained(
    examples: Examples, places: np.ndarray, execution: Execution, network: keras.Model, prepared: PreparedImages
) -> list[HeatCase]:
    """Return a network's inputs for some examples, its maps for COVID-19 and its probabilities."""
    from covid_keras.data.pipeline import make_dataset
    from covid_keras.explain import grad_cam
    from covid_keras.reporting.examples import lungs_as_fed

    system, index = execution.system, execution.classes.index(COVID)
    batches = make_dataset(prepared, places, scaling=system.scaling, channels=system.channels)
    fed = np.concatenate([batch.numpy() for batch in batches])
    scores = np.asarray(network.predict_on_batch(fed))[:, index]
    maps = grad_cam(network, fed, index, _layer(system))
    preparation = execution.preparation
    files = examples.cohort.table.iloc[places].itertuples()
    return [
        HeatCase(prepared.load(place)[..., 0], heat, f"p = {score:.2f}", lungs_as_fed(row, preparation))
        for place, heat, score, row in zip(places, maps, scores, files, strict=True)
    ]


@report_style()
def segmentation_figure(pairs: list[Pair], title: str = FIGURE_11) -> Figure:
    """Draw one row per image: radiograph, heat without masks, segmented radiograph, heat with masks.

    Under each map stands the share of its heat inside the lungs, and the lungs' share of the picture.
    """
    figure, grid = picture_grid(title, [aspect(pair.whole.image) for pair in pairs], 4, words=0.85)
    for (plain, before, cut, after), pair in zip(grid, pairs, strict=True):
        show_radiograph(plain, pair.whole.image, pair.whole.mask, f"(a) {short_name(pair.name, 15)}")
        show_heat(before, pair.whole, pair.whole.heat, f"(b) without masks\n{pair.whole.title}")
        show_radiograph(cut, pair.segmented.image, pair.segmented.mask, "(c) segmented")
        show_heat(after, pair.segmented, pair.segmented.heat, f"(d) with masks\n{pair.segmented.title}")
        for axes in (before, after):
            axes.set_xlabel(axes.get_xlabel().replace(" of the heat in the lungs", " of heat in lungs"), fontsize=7.5)
    colour_bar(figure, grid)
    return figure
