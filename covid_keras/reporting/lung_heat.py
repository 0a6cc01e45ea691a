"""Measure the share of heat in the lungs over the whole test set of a run's systems."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from covid_keras.common.files import atomic_path
from covid_keras.data.pipeline import make_dataset
from covid_keras.explain.shares import heat_shares
from covid_keras.reporting.examples import lungs_as_fed
from covid_keras.reporting.heat_shares import SHARES, read_shares
from covid_keras.reporting.results import Results
from covid_keras.training.runfolder import Execution

_BATCH = 16


def measure_shares(results: Results) -> pd.DataFrame:
    """Measure the systems in `Results.heat_pairs` and write the table into the run folder.

    Returns
    -------
    DataFrame
        `system` and the columns of `covid_keras.explain.heat_shares`: one row per test image of the system's first
        execution, for the predicted class. Empty without such pairs.

    Raises
    ------
    UserError
        If weights, images or masks are missing.
    """
    names = list(dict.fromkeys(name for pair in results.heat_pairs for name in pair))
    frames = [_shares_of(results, name) for name in names]
    if not frames:
        return pd.DataFrame()
    table = pd.concat(frames, ignore_index=True)
    with atomic_path(results.run.path / SHARES) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")
    return read_shares(results.run.path / SHARES)


def _shares_of(results: Results, name: str) -> pd.DataFrame:
    execution = results.executions_of(name)[0][0]
    frame = results.predictions_of(name)
    frame = frame[
        (frame["repeat"] == execution.repeat) & (frame["fold"] == execution.fold) & (frame["split"] == "test")
    ]
    shares = heat_shares(
        execution.network,
        _batches(results, execution, frame),
        image_ids=frame["image_id"].tolist(),
        patient_ids=frame["patient_id"].tolist(),
        layer=results.paper.system(name).heat_layer or None,
    )
    return shares.assign(system=name)


def _batches(results: Results, execution: Execution, frame: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield batches of network inputs and lung masks in the same geometry."""
    run, system, preparation = results.run, execution.system, execution.preparation
    prepared = system.feed(execution, run.cohort, execution.division, execution.prepared).prepared
    rows = pd.Index(run.cohort.table["image_id"]).get_indexer(frame["image_id"])
    fed = make_dataset(prepared, rows, batch_size=_BATCH, scaling=system.scaling, channels=system.channels)
    for start, images in zip(range(0, len(rows), _BATCH), fed, strict=True):
        of_batch = run.cohort.table.iloc[rows[start : start + _BATCH]]
        masks = [lungs_as_fed(row.path, row.mask_path, preparation) for row in of_batch.itertuples()]
        yield images.numpy(), np.stack(masks)
