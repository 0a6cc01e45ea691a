"""CheXNet without fine-tuning: findings and heat maps (figure 14), and beside COVID-CXNet (figure 16).

CheXNet was trained with one sigmoid per finding on images of 224 pixels, standardised with ImageNet's mean and standard
deviation. The authors of COVID-CXNet used softmax over the findings, so that the fourteen outputs sum to 1 and the
largest looks certain, on images of 320 pixels scaled to 0..1. The figures show both readings.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet", arXiv 2006.13807, 2020, section 4.2, figures 14 and 16; size, scaling and
   activation as in the authors' code.
.. [2] P. Rajpurkar et al., "CheXNet", arXiv 1711.05225, 2017.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covid_keras.common.errors import UserError
from covid_keras.data.images import read_image
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import prepare_image
from covid_keras.explain import grad_cam
from covid_keras.models import build_chexnet
from covid_keras.models.cxnet import CHEXNET_FINDINGS
from covid_keras.reporting.explanations import HeatCase, heat_grid
from covid_keras.reporting.pictures import short_name
from covid_keras.reporting.prose import titled
from covid_keras.reporting.results import Pictures
from covid_keras.reporting.style import WIDTH, report_style, series_styles
from papers.covid_cxnet.cohorts import COVID, NORMAL
from papers.covid_cxnet.figures import ask, heat_of
from papers.covid_cxnet.networks import CHEXNET
from papers.covid_cxnet.settings import options_of

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples

_LOGGER = logging.getLogger(__name__)
_said = partial(titled, "papers.covid_cxnet", "report.md.j2")

PANELS = ("Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Consolidation")
# Of keras.applications and CheXNet's training: red, green, blue.
IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reading(NamedTuple):
    """How CheXNet is applied: last activation, and size and scaling of its input (see `images_for`)."""

    title: str
    activation: str
    side: int
    upstream_scaling: bool


AS_AUTHORS = Reading("as the authors: softmax, 320 pixels, 0 to 1", "softmax", 320, upstream_scaling=False)
AS_TRAINED = Reading(
    "as it was trained: sigmoid, 224 pixels, ImageNet's scaling", "sigmoid", 224, upstream_scaling=True
)


def images_for(paths: Sequence[str | Path], side: int = 320, upstream_scaling: bool = False) -> np.ndarray:
    """Return radiographs as input of CheXNet: grey in three channels, not enhanced, float32 (n, side, side, 3).

    Parameters
    ----------
    paths : sequence of str or Path
        The images, used whole; the aspect ratio is not kept.
    side : int
        Height and width in pixels.
    upstream_scaling : bool
        Standardise each channel with ImageNet's mean and standard deviation; else scale to 0..1.
    """
    # Nearest neighbour as in the authors' code; area averaging for the correct reading.
    preparation = Preparation(size=(side, side), interpolation="area" if upstream_scaling else "nearest")
    grey = np.stack([prepare_image(path, None, preparation) for path in paths])
    images = np.repeat(grey, 3, axis=-1).astype(np.float32) / 255
    if not upstream_scaling:
        return images
    return (images - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_SPREAD)


def probe(model: keras.Model, images: np.ndarray, batch_size: int = 8) -> pd.DataFrame:
    """Return CheXNet's findings on images.

    Parameters
    ----------
    model : keras.Model
        CheXNet from `covid_keras.models.build_chexnet`, with softmax or sigmoid.
    images : ndarray (n, H, W, 3) float
        From `images_for`.
    batch_size : int

    Returns
    -------
    pandas.DataFrame
        Probabilities, one row per image, one column per finding. With softmax a row sums to 1.

    Raises
    ------
    ValueError
        If the network does not have fourteen outputs.
    """
    if model.output_shape[-1] != len(CHEXNET_FINDINGS):
        raise ValueError(f"CheXNet has {len(CHEXNET_FINDINGS)} outputs, this network {model.output_shape[-1]}")
    found = [model.predict_on_batch(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return pd.DataFrame(np.concatenate(found), columns=list(CHEXNET_FINDINGS))


def finding_maps(model: keras.Model, image: np.ndarray, findings: Sequence[str] = PANELS) -> np.ndarray:
    """Return one Grad-CAM map per finding, of its logit, which does not depend on the last activation.

    `image` is (H, W, 3) float from `images_for`; the maps are (findings, H, W) float32, 0..1.
    """
    indices = [CHEXNET_FINDINGS.index(name) for name in findings]
    return grad_cam(model, np.repeat(image[None], len(indices), axis=0), indices)


def panels_figure(
    image: np.ndarray,
    maps: np.ndarray,
    probabilities: Mapping[str, float],
    title: str,
    findings: Sequence[str] = PANELS,
) -> Figure:
    """Draw the radiograph, (H, W) uint8, without heat, and with the map and probability of each finding.

    `maps` are (findings, H, W), 0..1, in the order of `findings`; `probabilities` has each finding.
    """
    plain = HeatCase(image, np.zeros(image.shape), "plain")
    cases = [
        HeatCase(image, heat, f"{name}, p = {probabilities[name]:.2f}")
        for name, heat in zip(findings, maps, strict=True)
    ]
    return heat_grid([plain, *cases], title, columns=4)


@report_style()
def findings_figure(
    readings: Mapping[str, pd.DataFrame], title: str = "What CheXNet finds without fine-tuning"
) -> Figure:
    """Draw the fourteen probabilities, one panel per reading, one dot per image, and the median of each class.

    `readings` maps the title of each reading to its result of `probe`, with the images' labels as index; there must be
    one, else `ValueError`.
    """
    if not readings:
        raise ValueError("no reading to draw")
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    places = np.arange(len(CHEXNET_FINDINGS))
    panels = figure.subplots(1, len(readings), sharey=True, squeeze=False)[0]
    for axes, (name, table) in zip(panels, readings.items(), strict=True):
        classes = list(table.groupby(level=0, sort=False))
        styles = series_styles([label for label, _ in classes])
        # Side by side, so that no mark hides another.
        for shift, (label, part) in zip(np.linspace(-0.17, 0.17, len(classes)), classes, strict=True):
            values, style = part[list(CHEXNET_FINDINGS)], styles[label]
            heights = np.tile(places + shift, len(part))
            axes.plot(values.to_numpy().ravel(), heights, ".", color=style.colour, markersize=3.5, alpha=0.4)
            text = f"{label}, median of {len(part)}"
            axes.plot(values.median(), places + shift, style.marker, color=style.colour, markersize=6.5, label=text)
        axes.set(xlim=(-0.03, 1.03), xlabel="probability", ylim=(len(places) - 0.5, -0.5))
        axes.set_title(name.replace(": ", ":\n"), fontsize=9)
    panels[0].set(yticks=places, yticklabels=[name.replace("_", " ").lower() for name in CHEXNET_FINDINGS])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def probe_pictures(examples: Examples) -> Pictures:
    """Return figure 14 for the test images, with maps of one COVID-19 and one normal example, and figure 16.

    Nothing without a file of CheXNet's weights, or with a file of another network.
    """
    weights = examples.protocol.files.get(CHEXNET)
    if weights is None or first_of_each(examples.cohort.table).empty:
        return []
    try:
        return [*_findings(examples, weights), *_beside_cxnet(examples, weights)]
    except UserError as error:
        _LOGGER.warning("CheXNet is not run on the examples: %s", error)
        return []


def first_of_each(table: pd.DataFrame, count: int = 1) -> pd.DataFrame:
    """Return the first `count` COVID-19 and normal images of a cohort's table, COVID-19 first."""
    return pd.concat([table[table["label"] == label].head(count) for label in (COVID, NORMAL)])


def _findings(examples: Examples, weights: str) -> Pictures:
    """Return the probabilities on the test images by each reading, and maps of two examples by the first one."""
    execution, shown = examples.execution, first_of_each(examples.cohort.table)
    asked = first_of_each(execution.cohort.table[execution.part == "test"], options_of(examples.protocol).probed)
    tables: dict[str, pd.DataFrame] = {}
    panels: list[Figure] = []
    for reading in (AS_AUTHORS, AS_TRAINED):
        chexnet = _chexnet(reading, weights)
        images = images_for(asked["path"].tolist(), reading.side, reading.upstream_scaling)
        tables[reading.title] = probe(chexnet, images).set_axis(asked["label"])
        if reading is AS_AUTHORS:
            panels = [_panels(chexnet, row) for row in shown.itertuples()]
    maps = _said("findings", reading=AS_AUTHORS.title)
    words = _said("probing", found=_most_probable(tables[AS_AUTHORS.title]))
    return [(*words, findings_figure(tables)), *((*maps, figure) for figure in panels)]


def _most_probable(table: pd.DataFrame) -> str:
    """Return, as text, in how many images of each class which finding is most often the most probable one."""
    first = table.idxmax(axis=1).groupby(level=0, sort=False)
    return "; ".join(
        f"{label}: {names.mode()[0].replace('_', ' ').lower()} in {(names == names.mode()[0]).sum()} of {len(names)}"
        for label, names in first
    )


def _beside_cxnet(examples: Examples, weights: str) -> Pictures:
    """Return figure 16 of the first COVID-19 example: CheXNet's most probable finding, and COVID-CXNet's class."""
    one = next((one for one in ask(examples) if one.label == COVID), None)
    if one is None:
        return []
    path = examples.cohort.table.set_index("image_id").loc[one.name, "path"]
    chexnet = _chexnet(AS_AUTHORS, weights)
    (image,) = images_for([path], AS_AUTHORS.side)
    probabilities = probe(chexnet, image[None]).iloc[0]
    (heat,) = finding_maps(chexnet, image, [probabilities.idxmax()])
    before = cv2.resize(heat, one.image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    (after,) = heat_of(grad_cam, [one])
    titles = (
        f"CheXNet: {probabilities.idxmax().lower()}, p = {probabilities.max():.2f}",
        f"COVID-CXNet: {one.predicted}, p = {one.probability:.2f}",
    )
    cases = [HeatCase(one.image, map_, title) for map_, title in zip((before, after), titles, strict=True)]
    return [(*_said("beside"), heat_grid(cases, f"Before and after fine-tuning, {short_name(one.name, 50)}", 2))]


def _chexnet(reading: Reading, weights: str) -> keras.Model:
    return build_chexnet((reading.side, reading.side, 3), reading.activation, weights)


def _panels(chexnet: keras.Model, row) -> Figure:
    """Draw the maps of one image, a row of a cohort's table, as the authors read CheXNet."""
    (image,) = images_for([row.path], AS_AUTHORS.side)
    grey = cv2.resize(read_image(row.path), image.shape[1::-1], interpolation=cv2.INTER_AREA)
    title = f"CheXNet on {short_name(f'{row.image_id} ({row.label})', 50)}"
    return panels_figure(grey, finding_maps(chexnet, image), probe(chexnet, image[None]).iloc[0], title)
