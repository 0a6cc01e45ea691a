"""Backbones of keras.applications with their initial weights, never random ones in silence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras

from covid_keras.errors import UserError

_DOWNLOAD_FAILED = ("URL fetch failure", "Incomplete or corrupted file detected")


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
        Where the download fails, or the path is no file.
    """
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise UserError(weights, "is no weight file", "Give a path, or --weights imagenet, or --weights none")
    try:
        return make("imagenet" if weights == "imagenet" else None)
    except Exception as error:
        # keras.utils.get_file raises bare Exception on a failed download, ValueError where another file came (a
        # proxy's page, say); anything else is a bug and goes on.
        if weights != "imagenet" or not any(words in str(error) for words in _DOWNLOAD_FAILED):
            raise
        raise UserError(
            f"{name} ImageNet weights",
            "could not be downloaded",
            "Give --weights FILE (keras.applications' notop .h5), or --weights none to train from scratch",
        ) from error
