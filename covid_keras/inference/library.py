"""`covid_keras.predict` and `covid_keras.segment`: the commands as Python functions, without writing files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from covid_keras import models
from covid_keras.common.quiet import import_tensorflow
from covid_keras.inference.answers import Prediction
from covid_keras.inference.inputs import items_of, require_readable
from covid_keras.inference.network import RegisteredNetwork
from covid_keras.inference.prediction import Predictor
from covid_keras.inference.segmentation import masks_of, require_threshold
from covid_keras.inference.view_check import find_view_network
from covid_keras.models.registry import find_model

Radiograph: TypeAlias = "str | os.PathLike[str] | np.ndarray"

# Networks loaded last, by kind, with their settings, so that a loop over pictures loads them once.
_loaded: dict[str, tuple[str, Any]] = {}


def predict(
    images: Radiograph | Iterable[Radiograph],
    model: str = "covid_cxnet",
    *,
    weights: str | Path | None = None,
    run: str | None = None,
    check_view: bool = True,
    score_doubtful: bool = False,
    skip_unreadable: bool = False,
) -> Prediction | list[Prediction]:
    """Score chest radiographs with a trained network. For research only, not for diagnosis.

    Parameters
    ----------
    images : str, path, ndarray or iterable of them
        Files (PNG, JPEG, TIFF, BMP or DICOM), folders of them, or arrays (H, W) of any integer or floating-point type,
        bright = dense. Grey levels are stretched from their minimum to their maximum.
    model : str
        A registered network; `covid-keras weights list` lists them.
    weights : str or Path, optional
        A file of the same network in place of the registered one.
    run : str, optional
        In place of `model` a network that `covid-keras reproduce` trained, "RUN:SYSTEM" or "RUN:SYSTEM:EXECUTION" (see
        `covid_keras.inference.run_network.find_run_network`).
    check_view : bool
        Refuse images that are not frontal chest radiographs.
    score_doubtful : bool
        Also score images that the check refuses; `Prediction.doubt` gives the reason.
    skip_unreadable : bool
        Return a `Prediction` with an `error` for an unreadable or refused picture instead of raising.

    Returns
    -------
    Prediction or list of Prediction
        A single one for one file or array, else a list in the order of the pictures. Attributes include
        `probabilities`, `predicted`, `doubt` and `warnings`.

    Raises
    ------
    UserError
        If a picture cannot be read or is refused (`errors` lists all), or the model or its weights cannot be used.

    Examples
    --------
    >>> found = covid_keras.predict("chest.png")  # doctest: +SKIP
    >>> found.predicted, found.probabilities["COVID-19"]  # doctest: +SKIP
    ('normal', 0.031)
    """
    items, single = items_of(images)
    network = _trained(run) if run else RegisteredNetwork(find_model(model, weights))
    view_network = find_view_network() if check_view else None
    if not skip_unreadable:
        require_readable(items)
    import_tensorflow()
    key = repr((network.entry, view_network and view_network.entry))
    predictor = _keep("predict", key, lambda: Predictor(network, view_network).load())
    answers = predictor.answers(items, score_doubtful=score_doubtful, skip_unreadable=skip_unreadable)
    found = [answer.prediction for answer in answers]
    return found[0] if single else found


def segment(
    images: Radiograph | Iterable[Radiograph],
    *,
    lungs: str | None = None,
    weights: str | Path | None = None,
    threshold: float | None = None,
    skip_unreadable: bool = False,
) -> np.ndarray | list[np.ndarray | None]:
    """Mark the lungs of chest radiographs.

    Parameters
    ----------
    images : str, path, ndarray or iterable of them
        As for `predict`.
    lungs : {"fields", "whole"}, optional
        Convention: "fields" leaves out the heart and what lies behind it, "whole" includes the lung behind the heart.
        Default: that of `weights`, else "whole".
    weights : str or Path, optional
        A registered lung network, or a file of the same network. Default: the network for `lungs`.
    threshold : float, optional
        Probability threshold for lung pixels, 0 to 1. Default: the registry's.
    skip_unreadable : bool
        Return None for an unreadable picture instead of raising.

    Returns
    -------
    ndarray of uint8, shape (H, W), or list of them
        255 in the lungs, else 0, in the radiograph's own size; a single mask for one file or array.

    Raises
    ------
    UserError
        If a picture cannot be read (`errors` lists all), or the weights cannot be used or are of another convention.
    """
    require_threshold(threshold)
    items, single = items_of(images)
    if not skip_unreadable:
        require_readable(items)
    import_tensorflow()
    segmenter = models.LungSegmenter(weights, threshold, lungs=lungs)
    segmenter = _keep("segment", repr(segmenter.key), lambda: segmenter)
    masks = [mask for _, mask in masks_of(items, segmenter, skip_unreadable)]
    return masks[0] if single else masks


def _trained(run: str) -> RegisteredNetwork:
    from covid_keras.inference.run_network import find_run_network  # pandas and all that trains, seldom needed

    return find_run_network(run)


def _keep(kind: str, key: str, load: Callable[[], Any]) -> Any:
    if kind not in _loaded or _loaded[kind][0] != key:
        _loaded[kind] = (key, load())
    return _loaded[kind][1]
