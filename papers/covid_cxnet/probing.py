"""CheXNet without fine-tuning on COVID-19 radiographs (figure 14): findings and heat maps.

CheXNet was trained with one sigmoid per finding on 224 pixels, scaled by ImageNet's mean and spread. The authors of
COVID-CXNet ran it with softmax over the findings, so that the fourteen sum to 1 and the largest looks certain, on
320 pixels scaled to 0..1. Both readings are offered side by side.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet", arXiv 2006.13807, 2020, section 4.2 and figure 14; size, scaling and
   activation as in the authors' code.
.. [2] P. Rajpurkar et al., "CheXNet", arXiv 1711.05225, 2017.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import keras
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import Cohort
from covid_keras.data.images import read_image
from covid_keras.data.preparation import Preparation, prepare_image
from covid_keras.explain import grad_cam
from covid_keras.models import build_chexnet
from covid_keras.models.cxnet import CHEXNET_FINDINGS
from covid_keras.reporting.explanations import HeatCase, heat_grid
from covid_keras.reporting.pictures import short_name
from covid_keras.reporting.prose import titled
from covid_keras.reporting.style import WIDTH, report_style, series_styles
from papers.covid_cxnet.cohorts import COVID, NORMAL
from papers.covid_cxnet.networks import CHEXNET

if TYPE_CHECKING:
    from covid_keras.reporting.examples import Examples

_LOGGER = logging.getLogger(__name__)

PANELS = ("Atelectasis", "Infiltration", "Mass", "Nodule", "Pneumonia", "Consolidation")
# Of keras.applications and CheXNet's training: red, green, blue.
IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reading(NamedTuple):
    """How CheXNet is applied: its last activation, and size and scaling of its images (see `images_for`)."""

    title: str
    activation: str
    side: int
    upstream_scaling: bool


AS_AUTHORS = Reading("as the authors: softmax, 320 pixels, 0 to 1", "softmax", 320, upstream_scaling=False)
AS_TRAINED = Reading(
    "as it was trained: sigmoid, 224 pixels, ImageNet's scaling", "sigmoid", 224, upstream_scaling=True
)


def images_for(paths: Sequence[str | Path], side: int = 320, upstream_scaling: bool = False) -> np.ndarray:
    """Return radiographs as CheXNet's input: grey in three channels, not enhanced, float32 (n, side, side, 3).

    Parameters
    ----------
    paths : sequence of str or Path
        The images; the whole of each, its aspect not kept.
    side : int
        In pixels.
    upstream_scaling : bool
        Subtract ImageNet's mean and divide by its spread, channel by channel; else 0 to 1.
    """
    # The authors take the nearest pixel; a smaller size for a correct reading is averaged over areas.
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
        CheXNet as `covid_keras.models.build_chexnet` gives it, read by softmax or by sigmoid.
    images : ndarray (n, H, W, 3) float
        As `images_for` gives them.
    batch_size : int

    Returns
    -------
    pandas.DataFrame
        Probabilities, one row per image, one column per finding. With softmax a row sums to 1.

    Raises
    ------
    ValueError
        If the network has other outputs than CheXNet's fourteen.
    """
    if model.output_shape[-1] != len(CHEXNET_FINDINGS):
        raise ValueError(f"CheXNet has {len(CHEXNET_FINDINGS)} outputs, this network {model.output_shape[-1]}")
    found = [model.predict_on_batch(images[start : start + batch_size]) for start in range(0, len(images), batch_size)]
    return pd.DataFrame(np.concatenate(found), columns=list(CHEXNET_FINDINGS))


def finding_maps(model: keras.Model, image: np.ndarray, findings: Sequence[str] = PANELS) -> np.ndarray:
    """Return one Grad-CAM map per finding, of its logit, which does not depend on the last activation.

    `image` is (H, W, 3) float, as `images_for` gives it; the maps are (findings, H, W) float32, 0..1.
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
    """Draw the radiograph, (H, W) uint8, plain and with the map and probability of each finding.

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
    """Draw the fourteen probabilities, one panel per reading, one mark per image.

    `readings` maps the title of each reading to its result of `probe`, with the images' names as index; there must be
    one, else `ValueError`.
    """
    if not readings:
        raise ValueError("no reading to draw")
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    places = np.arange(len(CHEXNET_FINDINGS))
    panels = figure.subplots(1, len(readings), sharey=True, squeeze=False)[0]
    for axes, (name, table) in zip(panels, readings.items(), strict=True):
        styles = series_styles(table.index)
        # Side by side, so that no mark hides another.
        for shift, (image, row) in zip(np.linspace(-0.15, 0.15, len(table)), table.iterrows(), strict=True):
            values, style = row[list(CHEXNET_FINDINGS)].to_numpy(dtype=float), styles[image]
            label = short_name(str(image), 40)
            axes.plot(values, places + shift, style.marker, color=style.colour, markersize=6.5, label=label)
        axes.set(xlim=(-0.03, 1.03), xlabel="probability", ylim=(len(places) - 0.5, -0.5))
        axes.set_title(name.replace(": ", ":\n"), fontsize=9)
    panels[0].set(yticks=places, yticklabels=[name.replace("_", " ").lower() for name in CHEXNET_FINDINGS])
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower right", ncols=2)
    return figure


def probe_pictures(examples: Examples) -> list[tuple[str, str, Figure]]:
    """Return figure 14 for one COVID-19 and one normal example.

    Nothing where the user gave no file of CheXNet's weights, or one that holds another network's.
    """
    rows, files = chosen_rows(examples.cohort), examples.protocol.files
    if CHEXNET not in files or rows.empty:
        return []
    try:
        return pictures_of(rows, files[CHEXNET])
    except UserError as error:
        _LOGGER.warning("CheXNet is not asked about the examples: %s", error)
        return []


def chosen_rows(cohort: Cohort) -> pd.DataFrame:
    """Return the first COVID-19 and the first normal image, if any."""
    first = cohort.table.drop_duplicates("label").set_index("label", drop=False)
    return first.loc[[name for name in (COVID, NORMAL) if name in first.index]]


def pictures_of(
    rows: pd.DataFrame, weights: str | Path, readings: Sequence[Reading] = (AS_AUTHORS, AS_TRAINED)
) -> list[tuple[str, str, Figure]]:
    """Return the probabilities of some images by each reading, and the maps of each by the first reading.

    `rows` are of a cohort's table, `weights` as `covid_keras.models.build_chexnet` takes them; `UserError` if the
    file is missing or is not CheXNet's.
    """
    names = [f"{row.image_id} ({row.label})" for row in rows.itertuples()]
    tables: dict[str, pd.DataFrame] = {}
    for reading in readings:
        chexnet = build_chexnet((reading.side, reading.side, 3), reading.activation, weights)
        images = images_for(rows["path"].tolist(), reading.side, reading.upstream_scaling)
        tables[reading.title] = table = probe(chexnet, images).set_axis(names)
        if reading is readings[0]:
            panels = [
                _panels(chexnet, path, image, table.loc[name], f"CheXNet on {short_name(name, 50)}")
                for name, path, image in zip(names, rows["path"], images, strict=True)
            ]
    prose = "papers.covid_cxnet", "report.md.j2"
    maps = titled(*prose, "findings", reading=readings[0].title)
    return [(*titled(*prose, "probing"), findings_figure(tables)), *((*maps, figure) for figure in panels)]


def _panels(chexnet: keras.Model, path: str, image: np.ndarray, probabilities: pd.Series, title: str) -> Figure:
    grey = cv2.resize(read_image(path), image.shape[1::-1], interpolation=cv2.INTER_AREA)
    return panels_figure(grey, finding_maps(chexnet, image), probabilities, title)
