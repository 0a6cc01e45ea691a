"""Measure the share of heat in the lungs over the whole test set of a run's systems."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import pandas as pd

from covid_keras.data.pipeline import make_dataset
from covid_keras.explain.shares import heat_shares
from covid_keras.reporting.examples import lungs_as_fed
from covid_keras.reporting.heat_shares import SHARES, write_measured
from covid_keras.reporting.results import Results
from covid_keras.training.executions import Execution

if TYPE_CHECKING:
    import keras

_BATCH = 16


def measure_shares(results: Results) -> pd.DataFrame:
    """Measure the systems in `Results.heat_systems` and write the table into the run folder.

    Returns
    -------
    DataFrame
        `system` and the columns of `covid_keras.explain.heat_shares`: one row per test image of the system's first
        execution, for the predicted class as `System.evidence` explains it. Empty without such systems.

    Raises
    ------
    UserError
        If weights, images or masks are missing.
    """
    frames = [_shares_of(results, name) for name in results.heat_systems]
    if not frames:
        return pd.DataFrame()
    return write_measured(results.run.path / SHARES, pd.concat(frames, ignore_index=True), hashed=True)


def _shares_of(results: Results, name: str) -> pd.DataFrame:
    execution = results.executions_of(name)[0][0]
    frame, network = results.predictions_of(name), execution.network
    frame = frame[
        (frame["repeat"] == execution.repeat) & (frame["fold"] == execution.fold) & (frame["split"] == "test")
    ]
    found = [_shares_of_class(execution, network, part, str(said)) for said, part in frame.groupby("predicted")]
    return pd.concat(found).set_index("image_id").loc[frame["image_id"]].reset_index().assign(system=name)


def _shares_of_class(execution: Execution, network: keras.Model, frame: pd.DataFrame, said: str) -> pd.DataFrame:
    """Measure the images of an execution that are called `said`."""
    batches = _batches(execution, network, frame["image_id"], said)
    first = next(batches)
    return heat_shares(
        first.network,
        ((one.images, one.masks) for one in chain([first], batches)),
        first.index,
        image_ids=frame["image_id"].tolist(),
        patient_ids=frame["patient_id"].tolist(),
        layer=execution.system.heat_layer or None,
    )


class _Batch(NamedTuple):
    """Images (n, H, W, C) that a network takes, their lungs (n, H, W), and the output that is explained."""

    network: keras.Model
    images: np.ndarray
    masks: np.ndarray
    index: int


def _batches(execution: Execution, network: keras.Model, image_ids: pd.Series, said: str) -> Iterator[_Batch]:
    system, inputs, table = execution.system, execution.inputs, execution.cohort.table
    rows = pd.Index(table["image_id"]).get_indexer(image_ids)
    first, views = np.searchsorted(inputs.owner, rows), int((inputs.owner == rows[0]).sum())
    places = (first[:, None] + np.arange(views)).ravel()
    size = _BATCH * views
    fed = make_dataset(inputs.prepared, places, batch_size=size, scaling=system.scaling, channels=system.channels)
    for start, images in zip(range(0, len(rows), _BATCH), fed, strict=True):
        given = images.numpy()
        given = given.reshape(-1, views, *given.shape[1:])
        explained, shown, index = system.evidence(network, given, said, execution.scored)
        of_batch = table.iloc[rows[start : start + _BATCH]]
        lungs = [lungs_as_fed(row, execution.preparation) for row in of_batch.itertuples()]
        # A paper's own transformation may change the size.
        shape = shown.shape[2:0:-1]
        masks = np.stack([cv2.resize(one, shape, interpolation=cv2.INTER_NEAREST) for one in lungs])
        yield _Batch(explained, shown, masks, index)
