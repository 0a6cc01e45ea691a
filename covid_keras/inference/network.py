"""A registered network with its input preparation. TensorFlow is imported on loading."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from covid_keras import models
from covid_keras.data.preparation import Preparation
from covid_keras.data.prepared_images import prepare_image
from covid_keras.models.registry import SCALINGS, WeightEntry

if TYPE_CHECKING:
    import keras


class RegisteredNetwork:
    """A registered network and the preparation of its input.

    Subclasses for other networks override `load`, which sets `model`, and `probabilities`.

    Parameters
    ----------
    entry : WeightEntry
        From `covid_keras.models.registry.find_model` or `find_weights`, which verify the file.
    preparation : Preparation, optional
        Default: the entry's own.

    Raises
    ------
    UserError
        If the entry lacks an input preparation or is inconsistent.
    """

    model: keras.Model

    def __init__(self, entry: WeightEntry, preparation: Preparation | None = None) -> None:
        self.entry, self.preparation = entry, preparation or entry.input_preparation()

    def load(self) -> Self:
        """Build the network and load its weights; raise `UserError` if the file does not fit."""
        from covid_keras.models.weights import build_registered

        self.model = build_registered(self.entry)
        models.load_weights(self.model, self.entry.path)
        return self

    def lungs(self, images: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return the masks, uint8 (h, w) 0/255, that this network goes by, of radiographs and the shipped U-Net's."""
        return list(masks)

    def network_input(
        self, images: Sequence[np.ndarray | str | Path], masks: Sequence[np.ndarray | None]
    ) -> np.ndarray:
        """Return the network's input, float32 (n, H, W, C), from radiographs and masks, uint8 (h, w) 0/255."""
        grey = [prepare_image(image, mask, self.preparation) for image, mask in zip(images, masks, strict=True)]
        fed = np.stack(grey).astype(np.float32)
        if fed.shape[-1] != (channels := self.entry.input_shape[2]):
            fed = np.repeat(fed, channels, axis=-1)
        return fed / np.float32(SCALINGS[self.entry.scaling])

    def probabilities(self, fed: np.ndarray) -> np.ndarray:
        """Return class probabilities, float64 (n, classes), for the output of `network_input`.

        A single network output is the probability of the second of two classes.
        """
        outputs = np.asarray(self.model.predict_on_batch(fed), np.float64)
        return outputs if outputs.shape[1] > 1 else np.concatenate([1 - outputs, outputs], axis=1)

    def heat(self, fed: np.ndarray, decided: Sequence[int]) -> Sequence[np.ndarray]:
        """Return a Grad-CAM map, float32 0..1, of each image for the class decided for."""
        from covid_keras.explain import grad_cam

        return grad_cam(self.model, fed, decided)
