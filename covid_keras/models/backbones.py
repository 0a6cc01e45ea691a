"""Backbones of keras.applications with initial weights; there is no silent fallback to random weights."""

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
    """Build a backbone, load its initial weights and set the momentum of its batch normalisation.

    Parameters
    ----------
    name, make, weights
        See `backbone_weights`; a file must hold exactly the tensors of the backbone.
    batchnorm_momentum : float, optional
        See `set_batchnorm_momentum`.

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
    """Set the momentum of all batch normalisation in a flat model; None keeps it.

    Short trainings from random weights need less than the 0.99 of keras.applications, such as 0.9. With 0.99 the moving
    statistics, used in inference, are still close to their initial values after a hundred steps.
    """
    if momentum is None:
        return
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum


def weight_file(weights: str | Path) -> Path | None:
    """Return `weights` as a path, None for "imagenet" and "none"; raise `UserError` if the file is missing."""
    if weights in ("imagenet", "none"):
        return None
    if not Path(weights).is_file():
        raise UserError(weights, "is not a weight file", "Give a path, or --weights imagenet, or --weights none")
    return Path(weights)


def backbone_weights(name: str, make: Callable[[str | None], keras.Model], weights: str | Path) -> keras.Model:
    """Build a backbone; raise a clear error if ImageNet weights are not available.

    Parameters
    ----------
    name : str
        Name for error messages.
    make : callable
        Builds the backbone, given "imagenet" or None.
    weights : {"imagenet", "none"} or path
        For a path the backbone gets random weights; the caller loads the file.

    Raises
    ------
    UserError
        If the download fails, or the path is not a file.
    """
    weight_file(weights)
    try:
        return make("imagenet" if weights == "imagenet" else None)
    except Exception as error:
        # keras.utils.get_file raises Exception on a failed download and ValueError on a wrong file, such as a proxy's
        # page; other errors are bugs.
        if weights != "imagenet" or not any(words in str(error) for words in _DOWNLOAD_FAILED):
            raise
        remedy = "Download its file by hand (address: covid-keras weights list), then: covid-keras weights add FILE"
        raise UserError(f"{name} ImageNet weights", "could not be downloaded", remedy) from error
