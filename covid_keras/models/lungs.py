"""Segment the lungs with a shipped U-Net: without the heart (`lungs="fields"`) or with it ("whole")."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.models.registry import (
    DEFAULT_LUNGS,
    LUNG_NETWORKS,
    WeightEntry,
    find_weights,
    get_entry,
    with_file,
)
from covid_keras.models.unet import build_unet
from covid_keras.models.weights import load_weights
from covid_keras.preprocessing import equalize_adaptive, minmax_normalize, resize_truncated

BATCH = 16
# Increase it when the same weights and threshold give different masks (`unet_input`, `clean_mask`,
# `probability_to_mask`): cached masks are then recomputed.
ALGORITHM = 1
# Regions smaller than this fraction of the largest one are dropped (no lung is 10 % of the other).
MIN_ISLAND = 0.1
# Convention -> largest number of regions. Where a mask without the heart has a third one, it is mostly an arm, the
# stomach or the space beside the patient; masks of whole lungs hardly ever have one, and stay as they were.
LARGEST = {"fields": 2, "whole": None}
MODES = ("shipped", "authors")
# Image size and disk radius of COVID-CXNet's equalisation.
EQUALISED_SIZE, EQUALISED_RADIUS = (320, 320), 40
# Threshold for saturated pixels. The authors require exactly 1, which their network reaches because its input is not
# scaled to 0..1. The shipped network seldom reaches it (see `LungSegmenter`).
SATURATED = 0.999


def unet_input(image: np.ndarray, size: int) -> np.ndarray:
    """Return a radiograph as input of the shipped U-Net: square and min-max scaled.

    Parameters
    ----------
    image : ndarray of uint8, shape (H, W)
    size : int
        Side in pixels; the aspect ratio is not kept, as in the papers.

    Returns
    -------
    ndarray of float32, shape (size, size, 1), in 0..1
    """
    small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    return minmax_normalize(small).astype(np.float32)[..., None]


def equalized_input(image: np.ndarray, size: int) -> np.ndarray:
    """Equalise a radiograph locally as COVID-CXNet does, then apply `unet_input`.

    Parameters and result are those of `unet_input`. The image is resized to 320 x 320 and equalised with a disk of
    radius 40 before it is resized to the input size of the network.
    """
    return unet_input(equalize_adaptive(resize_truncated(image, EQUALISED_SIZE), EQUALISED_RADIUS), size)


def clean_mask(mask: np.ndarray, largest: int | None = None) -> np.ndarray:
    """Fill holes and drop small regions of a mask (H, W) of 0/255; an empty mask stays empty.

    At most the `largest` regions are kept, by area; all if None.
    """
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, contours, -1, 255, thickness=cv2.FILLED)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    if count <= 1:
        return filled
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= max(MIN_ISLAND * areas.max(), np.sort(areas)[-largest:][0] if largest else 0)
    return np.where(keep[labels], 255, 0).astype(np.uint8)


def saturated_mask(probability: np.ndarray, shape: tuple[int, int], threshold: float = SATURATED) -> np.ndarray:
    """Return the saturated pixels of a probability map as a mask of the radiograph's size, as in COVID-CXNet.

    Parameters
    ----------
    probability : ndarray of float32, shape (size, size), in 0..1
    shape : (int, int)
        Height and width of the radiograph.
    threshold : float
        Smallest probability of a saturated pixel; exactly 1 in the authors' code.

    Returns
    -------
    ndarray of uint8, shape (H, W), 0 or 255
        Resized by nearest neighbour, without `clean_mask`.
    """
    mask = np.where(probability >= threshold, 255, 0).astype(np.uint8)
    return cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)


def probability_to_mask(
    probability: np.ndarray,
    shape: tuple[int, int],
    threshold: float = 0.5,
    clean: bool = True,
    largest: int | None = None,
) -> np.ndarray:
    """Threshold a probability map to a mask of the radiograph's size.

    Parameters
    ----------
    probability : ndarray of float32, shape (size, size), in 0..1
    shape : (int, int)
        Height and width of the radiograph.
    threshold : float
        Probability from which a pixel is lung.
    clean, largest : bool, int
        Apply `clean_mask`, and its argument.

    Returns
    -------
    ndarray of uint8, shape (H, W), 0 or 255
    """
    full = cv2.resize(probability, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    mask = np.where(full >= threshold, 255, 0).astype(np.uint8)
    return clean_mask(mask, largest) if clean else mask


def require_lungs(lungs: str) -> str:
    """Return a convention of lung masks; raise `UserError` if it is unknown."""
    if lungs not in LUNG_NETWORKS:
        raise UserError("lungs", f"{lungs!r} is unknown", f"Use one of {', '.join(LUNG_NETWORKS)}")
    return lungs


def find_lung_network(weights: str | Path | None = None, lungs: str | None = None) -> tuple[WeightEntry, str]:
    """Return a lung network and its convention.

    Parameters
    ----------
    weights : str or Path, optional
        A name in `weights/registry.yaml`, or a file for the same architecture as the convention's network. Default:
        the convention's network.
    lungs : {"fields", "whole"}, optional
        Default: that of the registered name, else "whole".

    Raises
    ------
    UserError
        If the convention or the weights are unknown, they contradict each other, or the file is missing or altered.
    """
    if lungs is not None:
        require_lungs(lungs)
    if weights is not None and Path(weights).is_file():
        lungs = lungs or DEFAULT_LUNGS
        return with_file(get_entry(LUNG_NETWORKS[lungs]), weights), lungs
    name = LUNG_NETWORKS[lungs or DEFAULT_LUNGS] if weights is None else str(weights)
    entry, known = find_weights(name), {network: convention for convention, network in LUNG_NETWORKS.items()}
    if name not in known:
        raise UserError(name, "is registered, but not a lung U-Net", f"Use {', '.join(known)} or an .h5 file")
    if lungs not in (None, known[name]):
        problem = f"marks lungs by the convention {known[name]!r}, not {lungs!r}"
        raise UserError(name, problem, f"Use {LUNG_NETWORKS[lungs]}, or leave one of the two out")
    return entry, known[name]


class LungSegmenter:
    """A lung U-Net. The weight file is checked on creation; the network is loaded on first use.

    Parameters
    ----------
    weights : str or Path, optional
        A name in `weights/registry.yaml`, or a file for the same architecture. Default: the network for `lungs`.
    threshold : float, optional
        Smallest probability of lung. Default: the registered threshold, or 0.999 in the mode "authors".
    clean : bool
        Apply `clean_mask`; ignored in the mode "authors".
    mode : {"shipped", "authors"}
        "authors" follows COVID-CXNet (Haghanifar et al. 2020), with this network instead of theirs: the radiograph is
        equalised locally (`equalized_input`), and only saturated pixels are lung (`saturated_mask`). The authors
        require exactly 1; the default is 0.999, because the network for "whole" gives no pixel of exactly 1 for 14 of
        60 radiographs, and few for the others.
    lungs : {"fields", "whole"}, optional
        Convention: "fields" leaves out the heart and what lies behind it, like the masks of the papers by Tabik et al.,
        Haghanifar et al. and Arias-Garzon et al.; "whole" includes the lung behind the heart, like those of Hertel and
        Benlamri. Default: that of `weights`, else "whole".

    Raises
    ------
    UserError
        If mode, convention or weights are unknown or contradict each other, or the digest differs; on first use, if the
        architecture differs.
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        threshold: float | None = None,
        clean: bool = True,
        mode: str = "shipped",
        lungs: str | None = None,
    ) -> None:
        if mode not in MODES:
            raise UserError("segmentation mode", f"{mode!r} is unknown", f"Use one of {', '.join(MODES)}")
        self.entry, self.lungs = find_lung_network(weights, lungs)
        self.mode, self.clean = mode, clean and mode == "shipped"
        usual = self.entry.threshold if mode == "shipped" else SATURATED
        self.threshold = usual if threshold is None else threshold
        self.size = self.entry.input_shape[0]

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network with loaded weights."""
        model = build_unet(self.entry.input_shape, **self.entry.arguments)
        load_weights(model, self.entry.path)
        return model

    @property
    def key(self) -> dict[str, object]:
        """The settings that determine a mask, for cache keys."""
        settings = {"threshold": self.threshold, "clean": self.clean, "algorithm": ALGORITHM}
        decided: dict[str, object] = {"sha256": self.entry.sha256, **settings}
        # The original mode and convention are left out, to keep older cache keys valid. Without the convention, a file
        # of the user's own would have one key for both: its weights may fit either network.
        further = {"mode": (self.mode, "shipped"), "lungs": (self.lungs, "whole")}
        return decided | {name: value for name, (value, original) in further.items() if value != original}

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the lung probabilities, float32 (n, size, size), of uint8 radiographs (H, W) of any size."""
        fed = unet_input if self.mode == "shipped" else equalized_input
        found = [
            self.model.predict_on_batch(np.stack([fed(image, self.size) for image in images[start : start + BATCH]]))
            for start in range(0, len(images), BATCH)
        ]
        return np.concatenate(found)[..., 0] if found else np.empty((0, self.size, self.size), np.float32)

    def to_mask(self, probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Convert a probability map to a mask, uint8 (H, W) of 0/255, of size `shape`."""
        if self.mode == "authors":
            return saturated_mask(probability, shape, self.threshold)
        return probability_to_mask(probability, shape, self.threshold, self.clean, LARGEST[self.lungs])

    def masks(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return one mask per radiograph, uint8 0/255, of the same size."""
        return [self.to_mask(p, image.shape) for p, image in zip(self.probabilities(images), images, strict=True)]
