"""Min-max normalisation and standardisation as the first layer of a network, with statistics in its weights."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
from keras import ops

MODES = ("global", "authors", "per_image")


@keras.saving.register_keras_serializable(package="covid_keras")
class Standardise(keras.layers.Layer):
    """Normalise each image to 0..1 by its minimum and maximum, then subtract a mean and divide by a std.

    Arias-Garzon et al. 2021, equations 1 and 2. The statistics are saved and loaded with the weights.

    Parameters
    ----------
    mode : {"global", "authors", "per_image"}
        "global": mean and std of all training images (as the paper says). "authors": in training the mean and std of
        each image, in inference their averages over the training images (as in the authors' code). "per_image": the
        mean and std of each image.

    Notes
    -----
    Input and output float (batch, H, W, C). Constant images become 0 in the first step; the authors' code drops them.
    """

    def __init__(self, mode: str = "global", **kwargs) -> None:
        if mode not in MODES:
            raise ValueError(f"mode must be one of {MODES}, not {mode!r}")
        super().__init__(**kwargs)
        self.mode = mode

    def build(self, input_shape) -> None:
        """Create the statistics: mean 0 and std 1 until `adapt` is called."""
        if self.mode != "per_image":
            self.mean = self.add_weight(shape=(), initializer="zeros", trainable=False, name="mean")
            self.std = self.add_weight(shape=(), initializer="ones", trainable=False, name="std")
        super().build(input_shape)

    def call(self, images, training: bool = False):
        """Return the standardised images."""
        images = minmax(images)
        if self.mode == "per_image" or (self.mode == "authors" and training):
            axes = (1, 2, 3)
            mean = ops.mean(images, axes, keepdims=True)
            return (images - mean) / _safe(ops.std(images, axes, keepdims=True))
        return (images - ops.cast(self.mean, images.dtype)) / ops.cast(self.std, images.dtype)

    def adapt(self, batches: Iterable[np.ndarray]) -> None:
        """Set mean and std in one pass over batches of training images, float (n, H, W, C) of any range.

        "global" computes them over all pixels; "authors" averages the values of the images.
        """
        if self.mode == "per_image":
            return
        means, squares, stds = [], [], []
        for batch in batches:
            images = np.asarray(minmax(np.asarray(batch, np.float32)), np.float64)
            means.append(images.mean(axis=(1, 2, 3)))
            squares.append((images**2).mean(axis=(1, 2, 3)))
            stds.append(images.std(axis=(1, 2, 3)))
        mean = float(np.concatenate(means).mean())
        if self.mode == "authors":
            std = float(np.concatenate(stds).mean())
        else:
            std = float(np.sqrt(max(np.concatenate(squares).mean() - mean**2, 0.0)))
        self.mean.assign(mean)
        self.std.assign(std or 1.0)

    def get_config(self) -> dict:
        """Return the layer's settings."""
        return super().get_config() | {"mode": self.mode}


def minmax(images):
    """Normalise each image of a batch (n, H, W, C) to 0..1 (equation 1); constant images become 0."""
    low = ops.min(images, (1, 2, 3), keepdims=True)
    return (images - low) / _safe(ops.max(images, (1, 2, 3), keepdims=True) - low)


def _safe(spread):
    """Replace a spread of 0 by 1."""
    return ops.where(spread > 0, spread, ops.ones_like(spread))
