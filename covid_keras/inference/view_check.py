"""Check whether a picture is a frontal chest radiograph, before `covid-keras predict` scores it.

Three questions, in this order.

1. Is it a chest radiograph? No if the file is in colour (more than one tint; a radiograph on blue film passes), the
   shipped lung U-Net is unsure of its mask (haze), or the marked region is black against its surroundings, like air in
   a CT slice (darkness).
2. Is it lateral? Yes if the registered view network, after the filter of Arias-Garzon et al. 2021, gives a probability
   of 0.5 or more.
3. Are the lungs frontal? They must be two, side by side, large enough (`doubt_of`) and without deep dents (solidity).

Measured with the shipped U-Net, for questions 1 and 3 without the view network:

=========================================================== ======= =======
pictures                                                    refused of
=========================================================== ======= =======
frontal, COVID-19 Image Data Collection                           1     453
frontal, COVID-CXNet                                              4     898
frontal, NIH ChestX-ray14 subset                                  9     906
frontal, Montgomery                                               1     138
frontal, Shenzhen                                                 0     562
frontal, JSRT                                                     0     247
lateral, COVID-19 Image Data Collection                          39      39
CT slices, COVID-19 Image Data Collection                        34      57
pictures of skimage, scikit-learn and matplotlib, made grey      30      30
parts cut out of these at random, made grey                     174     178
=========================================================== ======= =======

15 of 3204 frontal radiographs (0.5 %) are refused, and 23 of 57 CT slices pass. The limits were chosen on these
pictures, to refuse at most 1 % of the frontal ones of each collection. In radiographs of high contrast, as
Montgomery's, lungs are as black as in most CT slices: a limit of darkness that refuses more slices refuses such
radiographs too.

Colour is not in the table, since all radiographs are grey; 13 of the 14 coloured pictures exceed its limit. Of 99
frontal radiographs of the first three collections, 95 were refused when rotated by 90 degrees, 95 as negatives, 57
upside down and 21 in a black margin that leaves them 42 % of the picture. Other parts of the body were not tested.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image

from covid_keras.common.errors import UserError
from covid_keras.data.images import Radiograph, read_radiograph
from covid_keras.data.preparation import Preparation
from covid_keras.evaluation.decisions import is_positive
from covid_keras.inference.network import RegisteredNetwork
from covid_keras.models import registry
from covid_keras.models.registry import SCALINGS, WeightEntry

if TYPE_CHECKING:
    from covid_keras.models.lungs import LungSegmenter

VIEW_WEIGHTS = "arias_view"
FRONTAL, LATERAL, NONE = "frontal", "lateral", "none"
# Limits of `colour_of` and `LungSigns`. Haze is at most 0.126, 0.143 and 0.217 in the three collections of frontal
# radiographs, and at least 0.161 in every whole picture of something else. The median darkness is 0.39 in Montgomery's
# radiographs and 0.40 in CT slices; 0.49 is exceeded by 1 of 3204 radiographs and by 10 of 57 slices.
_MOST_COLOUR, _MOST_HAZE, _MOST_DARKNESS, _LEAST_SOLIDITY = 3.0, 0.16, 0.49, 0.79
# In frontal radiographs, the shipped U-Net marks two lungs, at least 12 % of the picture, nearly always with at least a
# third on either side of the middle. On the COVID-19 Image Data Collection and the NIH subset, these limits reject 2 of
# 853 frontal radiographs and 36 of 38 lateral ones, but only 12 of 57 CT slices, which show two lungs too.
_LEAST_AREA, _LEAST_HALF = 0.10, 0.25
# Width of the bands of luma.
_BAND = 16


class Network(Protocol):
    """The interface of the view network used by `check_view`."""

    def lateral_probability(self, image: np.ndarray) -> float:
        """Return the probability, 0 to 1, that a radiograph, uint8 (H, W), is lateral."""


@dataclass(frozen=True)
class ViewVerdict:
    """The result of `check_view`.

    Attributes
    ----------
    view : {"frontal", "lateral", "none"}
        "none": not a chest radiograph, or without two lungs.
    probability : float
        The view network's probability of that view; NaN for "none".
    reason : str
        Why it is refused, worded to follow "FILE: "; "" for a frontal radiograph.
    """

    view: str
    probability: float
    reason: str = ""

    @property
    def doubt(self) -> str:
        """The reason, worded as a noun phrase; "" for a frontal radiograph."""
        return self.reason.removeprefix("is ")


class ViewNetwork(RegisteredNetwork):
    """The registered view network.

    Parameters
    ----------
    entry : WeightEntry
        With two or more classes, one of them "lateral", and a softmax output. Without `preparation`, the whole
        radiograph is resized.

    Raises
    ------
    UserError
        If the entry lacks the class or a builder, or is inconsistent.
    """

    def __init__(self, entry: WeightEntry) -> None:
        if LATERAL not in entry.classes or not entry.builder or entry.scaling not in SCALINGS:
            problem = "is not a view network (class 'lateral', builder, scaling)"
            raise UserError(entry.name, problem, "Correct the registry's entry")
        whole = Preparation(size=tuple(entry.input_shape[:2]))
        super().__init__(entry, entry.input_preparation() if entry.preparation else whole)

    def lateral_probability(self, image: np.ndarray | str | Path) -> float:
        """Return the probability, 0 to 1, that a radiograph, uint8 (H, W) or a file, is lateral."""
        return float(self.probabilities(self.network_input([image], [None]))[0, self.entry.classes.index(LATERAL)])


def find_view_network() -> ViewNetwork:
    """Return the registered view network with verified weights, not yet loaded.

    Raises
    ------
    UserError
        If none is registered, or its file is missing or altered.
    """
    if VIEW_WEIGHTS not in registry.load_registry():
        problem = f"needs the view network {VIEW_WEIGHTS}, which is not registered"
        raise UserError("--check-view", problem, "Use --no-check-view")
    return ViewNetwork(registry.find_weights(VIEW_WEIGHTS))


def refusal(path: str | Path, verdict: ViewVerdict) -> UserError:
    """Return the error of a picture that is not a frontal chest radiograph."""
    remedy = "Leave it out, or score it with --score-doubtful (in Python: score_doubtful=True)"
    return UserError(path, verdict.reason, remedy)


def check_view(
    radiograph: Radiograph, view_network: Network, segmenter: LungSegmenter, lungs: np.ndarray | None = None
) -> ViewVerdict:
    """Classify a picture as a frontal chest radiograph, a lateral one, or neither.

    Parameters
    ----------
    radiograph : Radiograph
    view_network : Network
        See `find_view_network`; run only if the picture seems to be a chest radiograph.
    segmenter : LungSegmenter
        The shipped U-Net for whole lungs; the limits were chosen for its masks.
    lungs : ndarray of float32, shape (size, size), optional
        The U-Net's probabilities, if already computed.
    """
    if colour_spread(radiograph.colours) > _MOST_COLOUR:
        return ViewVerdict(NONE, math.nan, "is not a radiograph: it is in colour")
    signs = lung_signs(radiograph.pixels, segmenter, lungs)
    if signs.haze > _MOST_HAZE:
        return ViewVerdict(NONE, math.nan, "is not a chest radiograph: the lung network is unsure of its mask")
    if signs.darkness > _MOST_DARKNESS:
        return ViewVerdict(NONE, math.nan, "is not a chest radiograph: its lungs are black, as in a CT slice")
    lateral = view_network.lateral_probability(radiograph.pixels)
    if is_positive(lateral):
        return ViewVerdict(LATERAL, lateral, f"is a lateral radiograph (probability {lateral:.3f})")
    doubt = signs.doubt or ("lungs of odd shape" if signs.solidity < _LEAST_SOLIDITY else "")
    if doubt:
        return ViewVerdict(NONE, math.nan, f"is not a frontal chest radiograph: {doubt}")
    return ViewVerdict(FRONTAL, 1 - lateral)


# --- the lungs


class LungSigns(NamedTuple):
    """Properties of a picture derived from the lung U-Net's output.

    Attributes
    ----------
    haze : float
        Uncertainty of the mask: sum of p (1 - p) / sum of p over all pixels, p the lung probability. 0 is certain; 1 if
        nothing is marked.
    darkness : float
        How much darker the lungs are than the rest of their bounding box, -1 to 1 in units of the picture's grey range.
    solidity : float
        Area divided by convex hull of the two largest lungs, the lower of the two values, 0 to 1; 0 without two lungs.
    doubt : str
        See `doubt_of`.
    """

    haze: float
    darkness: float
    solidity: float
    doubt: str


def lung_signs(image: np.ndarray, segmenter: LungSegmenter, lungs: np.ndarray | None = None) -> LungSigns:
    """Return the signs of a picture, uint8 (H, W), computed at the U-Net's input size.

    `lungs` are the U-Net's probabilities, if already computed.
    """
    from covid_keras.models.lungs import unet_input

    probability = segmenter.probabilities([image])[0] if lungs is None else lungs
    mask = segmenter.to_mask(probability, probability.shape)
    return signs_of(unet_input(image, segmenter.size)[..., 0], probability, mask)


def signs_of(grey: np.ndarray, probability: np.ndarray, mask: np.ndarray) -> LungSigns:
    """Return the signs, from the U-Net's input and output, both float32 (size, size) in 0..1, and its mask."""
    total = float(probability.sum(dtype=np.float64))
    haze = float((probability * (1 - probability)).sum(dtype=np.float64)) / total if total > 0 else 1.0
    return LungSigns(haze, _darkness(grey, mask > 0), _solidity(mask), doubt_of(mask))


def doubt_of(mask: np.ndarray) -> str:
    """Return why a lung mask, uint8 (H, W), is unlike that of a frontal chest radiograph, or ""."""
    marked = (mask > 0).astype(np.uint8)
    if not marked.any():
        return "no lungs found"
    middle, area = marked.shape[1] // 2, marked.mean()
    half = min(marked[:, :middle].sum(), marked[:, middle:].sum()) / marked.sum()
    if area < _LEAST_AREA:
        return "lungs too small"
    if cv2.connectedComponents(marked)[0] < 3 or half < _LEAST_HALF:  # the background counts as a component
        return "not two lungs side by side"
    return ""


def _darkness(grey: np.ndarray, lungs: np.ndarray) -> float:
    left, top, width, height = cv2.boundingRect(lungs.astype(np.uint8))
    box = np.s_[top : top + height, left : left + width]
    grey, lungs = grey[box], lungs[box]
    if lungs.all():  # also true for an empty box
        return 0.0
    return float(grey[~lungs].mean() - grey[lungs].mean())


def _solidity(mask: np.ndarray) -> float:
    contours, _ = cv2.findContours((mask > 0).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    lungs = sorted(contours, key=cv2.contourArea)[-2:]
    hulls = [cv2.contourArea(cv2.convexHull(lung)) for lung in lungs]
    if len(lungs) < 2 or not min(hulls):
        return 0.0
    return min(cv2.contourArea(lung) / hull for lung, hull in zip(lungs, hulls, strict=True))


# --- the colours


def colour_of(path: str | Path) -> float:
    """Return how far a file's colours deviate from a single tint: 0 for grey, also stored as RGB.

    Parameters
    ----------
    path : str or Path
        A file that `covid_keras.data.read_image` reads.

    Returns
    -------
    float
        Mean distance, in the Cb-Cr plane (ITU-R 601, 0..255), of the pixels from the mean of equally bright pixels, in
        the picture reduced to 256 pixels per side. Blue film and sepia are near 0. Coloured letters or arrows count by
        their area.
    """
    return colour_spread(read_radiograph(path).colours)


def colour_spread(colours: np.ndarray | None) -> float:
    """Return the same for a radiograph's `colours`, uint8 (h, w, 3); 0 for None."""
    if colours is None:
        return 0.0
    ycc = np.asarray(Image.fromarray(colours).convert("YCbCr"), np.float64)
    luma, *chroma = np.moveaxis(ycc.reshape(-1, 3), 1, 0)
    band = (luma // _BAND).astype(int)
    counts = np.maximum(np.bincount(band), 1)
    off = [plane - (np.bincount(band, plane) / counts)[band] for plane in chroma]
    return float(np.hypot(*off).mean())
