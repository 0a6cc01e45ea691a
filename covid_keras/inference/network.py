"""A registered network with everything between a radiograph's file and its outputs; no TensorFlow until loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from covid_keras import models
from covid_keras.data.preparation import Preparation, prepare_image
from covid_keras.models.registry import SCALINGS, WeightEntry

if TYPE_CHECKING:
    import keras


class RegisteredNetwork:
    """A registered network and the preparation of what it is fed.

    Parameters
    ----------
    entry : WeightEntry
        Of `covid_keras.models.registry.find_model` or `find_weights`: its file is verified.
    preparation : Preparation
    """

    model: keras.Model

    def __init__(self, entry: WeightEntry, preparation: Preparation) -> None:
        self.entry, self.preparation = entry, preparation

    def load(self) -> Self:
        """Build the network and load its weights; raise `UserError` where the file does not fit."""
        from covid_keras.models.weights import build_registered

        self.model = build_registered(self.entry)
        models.load_weights(self.model, self.entry.path)
        return self

    def network_input(self, paths: Sequence[Path], masks: Sequence[np.ndarray | None]) -> np.ndarray:
        """Return what the network is fed, float32 (n, H, W, C), of radiographs and their masks, uint8 (h, w) 0/255."""
        grey = [prepare_image(path, mask, self.preparation) for path, mask in zip(paths, masks, strict=True)]
        fed = np.stack(grey).astype(np.float32)
        if fed.shape[-1] != (channels := self.entry.input_shape[2]):
            fed = np.repeat(fed, channels, axis=-1)
        return fed / np.float32(SCALINGS[self.entry.scaling])

    def probabilities(self, fed: np.ndarray) -> np.ndarray:
        """Return the probability of each class, float64 (n, classes), of what `network_input` returns.

        A single output is the probability of the second of two classes.
        """
        outputs = np.asarray(self.model.predict_on_batch(fed), np.float64)
        return outputs if outputs.shape[1] > 1 else np.concatenate([1 - outputs, outputs], axis=1)
