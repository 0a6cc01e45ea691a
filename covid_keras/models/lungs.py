"""The shipped lung U-Net: radiographs in, lung masks of the same size out."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import cv2
import keras
import numpy as np

from covid_keras.common.errors import UserError
from covid_keras.models.registry import find_weights, load_registry, with_file
from covid_keras.models.unet import build_unet
from covid_keras.models.weights import load_weights
from covid_keras.preprocessing import equalize_adaptive, minmax_normalize, resize_truncated

DEFAULT_WEIGHTS = "lungs_unet16"
BATCH = 16
# Raise it whenever the same weights and threshold give another mask than before (`unet_input`, `clean_mask`,
# `probability_to_mask`): every mask that was kept is then made anew.
ALGORITHM = 1
# Islands smaller than this share of the largest marked region are no lung (a lung is never 10 % of the other).
MIN_ISLAND = 0.1
MODES = ("shipped", "authors")
# COVID-CXNet equalises at this size, against a disk of this radius.
EQUALISED_SIZE, EQUALISED_RADIUS = (320, 320), 40
# What counts as saturated: its authors ask for a float32 of exactly 1, which their network reaches since it is fed
# grey levels of 0..255 unscaled. The shipped one seldom does (see `LungSegmenter`).
SATURATED = 0.999


def unet_input(image: np.ndarray, size: int) -> np.ndarray:
    """Return a radiograph as the shipped U-Net takes it: square, min-max scaled.

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
    """Return a radiograph as `unet_input` does, locally equalised first, as COVID-CXNet feeds its U-Net.

    Parameters and result are those of `unet_input`. The image is brought to 320 x 320, each pixel equalised against
    the disk of radius 40 around it, and only then to the network's own size.
    """
    return unet_input(equalize_adaptive(resize_truncated(image, EQUALISED_SIZE), EQUALISED_RADIUS), size)


def clean_mask(mask: np.ndarray) -> np.ndarray:
    """Fill holes and drop small islands of a mask (H, W) of 0/255; an empty mask stays empty."""
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(mask)
    cv2.drawContours(filled, contours, -1, 255, thickness=cv2.FILLED)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    if count <= 1:
        return filled
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    keep = areas >= MIN_ISLAND * areas.max()
    return np.where(keep[labels], 255, 0).astype(np.uint8)


def saturated_mask(probability: np.ndarray, shape: tuple[int, int], threshold: float = SATURATED) -> np.ndarray:
    """Return the saturated pixels of the U-Net's map as a mask of the radiograph's own size, as COVID-CXNet takes them.

    Parameters
    ----------
    probability : ndarray of float32, shape (size, size), in 0..1
    shape : (int, int)
        Height and width of the radiograph.
    threshold : float
        Probability from which a pixel is saturated; exactly 1 in the authors' code.

    Returns
    -------
    ndarray of uint8, shape (H, W), 0 or 255
        Enlarged by the nearest pixel, neither filled nor freed of islands.
    """
    mask = np.where(probability >= threshold, 255, 0).astype(np.uint8)
    return cv2.resize(mask, (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST)


def probability_to_mask(
    probability: np.ndarray, shape: tuple[int, int], threshold: float = 0.5, clean: bool = True
) -> np.ndarray:
    """Turn the U-Net's probability map into a mask of the radiograph's own size.

    Parameters
    ----------
    probability : ndarray of float32, shape (size, size), in 0..1
    shape : (int, int)
        Height and width of the radiograph.
    threshold : float
        Probability from which a pixel is lung.
    clean : bool
        Fill holes and drop islands (see `clean_mask`).

    Returns
    -------
    ndarray of uint8, shape (H, W), 0 or 255
    """
    full = cv2.resize(probability, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    mask = np.where(full >= threshold, 255, 0).astype(np.uint8)
    return clean_mask(mask) if clean else mask


class LungSegmenter:
    """The lung U-Net; its file is checked at once, the network is built and loaded where it is first needed.

    Parameters
    ----------
    weights : str or Path
        Name in `weights/registry.yaml`, or a file of the same architecture.
    threshold : float, optional
        Probability from which a pixel is lung; the registry's where not given, and 0.999 in the authors' mode.
    clean : bool
        Fill holes and drop islands (see `clean_mask`); never done in the authors' mode.
    mode : {"shipped", "authors"}
        "authors" is COVID-CXNet's way (Haghanifar et al. 2020) with this network in place of theirs: the radiograph is
        locally equalised first (`equalized_input`) and only saturated pixels are lung (`saturated_mask`). Theirs must
        be exactly 1; the shipped network, which is fed as it was trained, gives 14 of 60 radiographs no such pixel
        and the others few, hence 0.999. A threshold of 1 is the letter.

    Raises
    ------
    UserError
        If the mode or the weights are unknown, or these altered (sha256); on first use, where they are of another
        architecture.
    """

    def __init__(
        self,
        weights: str | Path = DEFAULT_WEIGHTS,
        threshold: float | None = None,
        clean: bool = True,
        mode: str = "shipped",
    ) -> None:
        if mode not in MODES:
            raise UserError("segmentation mode", f"{mode!r} is unknown", f"Use one of {', '.join(MODES)}")
        is_file = Path(weights).is_file()
        entry = with_file(load_registry()[DEFAULT_WEIGHTS], weights) if is_file else find_weights(str(weights))
        if entry.builder != "build_unet":
            problem = "is a registered file, but of no lung U-Net"
            raise UserError(weights, problem, f"Use {DEFAULT_WEIGHTS} or an .h5 file")
        self.entry, self.mode, self.clean = entry, mode, clean and mode == "shipped"
        usual = entry.threshold if mode == "shipped" else SATURATED
        self.threshold = usual if threshold is None else threshold
        self.size = entry.input_shape[0]

    @functools.cached_property
    def model(self) -> keras.Model:
        """The network with its weights."""
        model = build_unet(self.entry.input_shape, **self.entry.arguments)
        load_weights(model, self.entry.path)
        return model

    @property
    def key(self) -> dict[str, object]:
        """What decides a mask besides the radiograph; for cache keys."""
        settings = {"threshold": self.threshold, "clean": self.clean, "algorithm": ALGORITHM}
        decided: dict[str, object] = {"sha256": self.entry.sha256, **settings}
        # Named only where it is another than what every mask was made by before there were two.
        return decided if self.mode == "shipped" else {**decided, "mode": self.mode}

    def probabilities(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return the lung probability, float32 (n, size, size) in 0..1, of uint8 radiographs (H, W) of any sizes."""
        fed = unet_input if self.mode == "shipped" else equalized_input
        found = [
            self.model.predict_on_batch(np.stack([fed(image, self.size) for image in images[start : start + BATCH]]))
            for start in range(0, len(images), BATCH)
        ]
        return np.concatenate(found)[..., 0] if found else np.empty((0, self.size, self.size), np.float32)

    def to_mask(self, probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Turn one probability map into a mask, uint8 (H, W) of 0/255, of the radiograph's own `shape`."""
        if self.mode == "authors":
            return saturated_mask(probability, shape, self.threshold)
        return probability_to_mask(probability, shape, self.threshold, self.clean)

    def masks(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return a mask, uint8 0/255, of each radiograph's own size."""
        return [self.to_mask(p, image.shape) for p, image in zip(self.probabilities(images), images, strict=True)]
