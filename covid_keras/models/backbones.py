"""Backbones of keras.applications with their initial weights, never random ones in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras

from covid_keras.common.errors import UserError
from covid_keras.models.weights import load_weights

_DOWNLOAD_FAILED = ("URL fetch failure", "Incomplete or corrupted file detected")


def load_backbone(
    name: str,
    make: Callable[[str | None], keras.Model],
    weights: str | Path,
    batchnorm_momentum: float | None = None,
) -> keras.Model:
    """Make a backbone with its initial weights, a file's included, and its batch normalisation's momentum.

    Parameters
    ----------
    name, make, weights
        As of `backbone_weights`; a file must hold exactly the backbone's tensors.
    batchnorm_momentum : float, optional
        As of `set_batchnorm_momentum`.

    Raises
    ------
    UserError
        If ImageNet weights cannot be downloaded, or the file is missing or does not fit.
    """
    base = backbone_weights(name, make, weights)
    if file := weight_file(weights):
        load_weights(base, file)
    set_batchnorm_momentum(base, batchnorm_momentum)
    return base


def set_batchnorm_momentum(model: keras.Model, momentum: float | None) -> None:
    """Set the momentum of the moving statistics of all batch normalisation in a flat model; None leaves it.

    From random weights a short training needs less than keras.applications' 0.99 (0.9, say): at 0.99 the statistics,
    which inference uses, are still those of the start after a hundred steps.
    """
    if momentum is None:
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def weight_file(weights: str | Path) -> Path | None:
    """Return the file that `weights` names, None for "imagenet" and "none"; raise `UserError` if it is missing."""
    if weights in ("imagenet", "none"):
        return None
    if not Path(weights).is_file():
        raise UserError(weights, "is not a weight file", "Give a path, or --weights imagenet, or --weights none")
    return Path(weights)


def backbone_weights(name: str, make: Callable[[str | None], keras.Model], weights: str | Path) -> keras.Model:
    """Make a backbone; say clearly where ImageNet weights cannot be had.

    Parameters
    ----------
    name : str
        For the message.
    make : callable
        Given "imagenet" or None, returns the backbone.
    weights : {"imagenet", "none"} or path
        For a path the backbone is made with random weights, for the caller to load.

    Raises
    ------
    UserError
        If the download fails, or the path is not a file.
    """
    weight_file(weights)
    try:
        return make("imagenet" if weights == "imagenet" else None)
    except Exception as error:
        # keras.utils.get_file raises bare Exception on a failed download, ValueError where another file came (a
        # proxy's page, say); anything else is a bug and goes on.
        if weights != "imagenet" or not any(words in str(error) for words in _DOWNLOAD_FAILED):
            raise
        remedy = "Give --weights FILE (keras.applications' notop .h5), or --weights none to train from scratch"
        raise UserError(f"{name} ImageNet weights", "could not be downloaded", remedy) from error
