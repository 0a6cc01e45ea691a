"""Figures of contrast enhancement: the images and their histograms.

References
----------
.. [1] A. Haghanifar et al., "COVID-CXNet: Detecting COVID-19 in Frontal Chest X-ray Images using Deep Learning",
   preprint, 2020, figures 2 and 3.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from covid_keras.preprocessing import beasf, clahe, equalize_adaptive, equalize_histogram
from covid_keras.reporting.pictures import show_radiograph
from covid_keras.reporting.style import MUTED, OURS_COLOUR, WIDTH, report_style

# Longest side in pixels, for which the disk of the adaptive equalisation is chosen.
SIDE = 320
COLUMNS = 4
GAMMAS = (0.5, 1, 1.5, 2, 3)
_HISTOGRAM_HEIGHT = 0.75  # inches
_BINS = 64


def enhancement_figure(image: np.ndarray, title: str = "Contrast enhancement") -> Figure:
    """Draw a radiograph and its HE, AHE and CLAHE versions ([1]_, figure 2).

    Parameters
    ----------
    image : ndarray, (H, W) or (H, W, 1)
        Integers 0..255. If a side is longer than 320 pixels, the image is shrunk first, keeping its aspect ratio.
    title : str

    Returns
    -------
    matplotlib.figure.Figure
        One column per image; below each its mean and the histogram of its grey levels.

    Raises
    ------
    UserError
        If the image is not one grey plane of integers 0..255.
    """
    plane = _shrunk(image)
    made = {"HE": equalize_histogram(plane), "AHE": equalize_adaptive(plane), "CLAHE": clahe(plane)}
    return _panels({"original": plane, **made}, title)


def beasf_figure(image: np.ndarray, gammas: Sequence[float] = GAMMAS, title: str = "BEASF") -> Figure:
    """Draw a radiograph, its CLAHE version, and BEASF with each gamma ([1]_, figure 3).

    Parameters
    ----------
    image, title
        As in `enhancement_figure`; the result is also alike, with four images per row.
    gammas : sequence of float
        The slopes; the networks are trained with 1.5.

    Raises
    ------
    UserError
        If the image is not one grey plane of integers 0..255, or a gamma is not finite.
    """
    plane = _shrunk(image)
    made = {f"BEASF, γ = {gamma:g}": beasf(plane, gamma) for gamma in gammas}
    return _panels({"original": plane, "CLAHE": clahe(plane), **made}, title)


def _shrunk(image: np.ndarray) -> np.ndarray:
    """Return the image (H, W), shrunk if a side exceeds `SIDE`."""
    image = np.asarray(image)
    plane = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if plane.ndim != 2 or plane.dtype != np.uint8 or max(plane.shape) <= SIDE:
        return plane  # invalid images are refused by the enhancement
    scale = SIDE / max(plane.shape)
    size = (max(1, round(plane.shape[1] * scale)), max(1, round(plane.shape[0] * scale)))
    return cv2.resize(plane, size, interpolation=cv2.INTER_AREA)


@report_style()
def _panels(pictures: Mapping[str, np.ndarray], title: str) -> Figure:
    """Draw images of one size, `COLUMNS` per row, with their histograms below on a common scale."""
    columns = min(COLUMNS, len(pictures))
    bands = -(-len(pictures) // columns)
    height, width = next(iter(pictures.values())).shape
    # Limit the height of the page for tall images.
    tall = WIDTH / COLUMNS * min(max(height / width, 0.5), 1.6)
    figure = Figure(figsize=(WIDTH, bands * (tall + _HISTOGRAM_HEIGHT + 0.55) + 0.4), layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.subplots(2 * bands, columns, squeeze=False, height_ratios=[tall, _HISTOGRAM_HEIGHT] * bands)
    shares = {name: _shares(picture) for name, picture in pictures.items()}
    highest = 1.05 * max(share.max() for share in shares.values())
    for place, (name, picture) in enumerate(pictures.items()):
        row, column = 2 * (place // columns), place % columns
        show_radiograph(grid[row, column], picture)
        grid[row, column].set_title(name, fontsize=9.5)
        _draw_shares(grid[row + 1, column], picture, shares[name], highest, first=column == 0)
    for empty in range(len(pictures), bands * columns):
        for axes in grid[2 * (empty // columns) :, empty % columns]:
            axes.set_visible(False)
    return figure


def _shares(picture: np.ndarray) -> np.ndarray:
    """Return the percentage of pixels in each of `_BINS` equal ranges of grey levels."""
    counts = np.bincount(picture.ravel() // (256 // _BINS), minlength=_BINS)
    return 100 * counts / picture.size


def _draw_shares(axes: Axes, picture: np.ndarray, shares: np.ndarray, highest: float, first: bool) -> None:
    """Draw one histogram, with axis labels only for the first in a row."""
    axes.stairs(shares, np.arange(_BINS + 1) * (256 / _BINS), fill=True, color=OURS_COLOUR)
    mean = float(picture.mean())
    axes.axvline(mean, color=MUTED, linewidth=1, linestyle="--")
    axes.set(xlim=(0, 256), ylim=(0, highest), xticks=(0, 128, 255))
    axes.set_xlabel(f"grey level (mean {mean:.0f})", fontsize=8)
    axes.tick_params(labelsize=8)
    if first:
        axes.set_ylabel("pixels (%)", fontsize=8)
    else:
        axes.set_yticklabels([])
