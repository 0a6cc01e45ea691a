"""Systems trained again with other seeds: how far their numbers spread.

Everything but the seed is the same, so the spread is that of initial weights, augmentation and the order of batches,
and not that of other patients: for those, and for two divisions of the images, see
`covid_keras.evaluation.uncertainty`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.evaluation.summary import std_of

PERCENTILES = (2.5, 97.5)
SEED_COLUMNS = ("system", "metric", "n", "mean", "std", "min", "max", "low", "high")


def seed_summary(executions: pd.DataFrame, metrics: Iterable[str] | None = None) -> pd.DataFrame:
    """Summarise each system's metrics over its executions.

    Parameters
    ----------
    executions : pandas.DataFrame
        As `per_execution` returns it, one row per execution; those of a system differ by their seed.
    metrics : iterable of str, optional
        Columns to summarise; by default `seed_metrics`.

    Returns
    -------
    pandas.DataFrame
        One row per system and metric, systems as they appear, the columns `SEED_COLUMNS`: `n` executions in which the
        metric is defined, mean, std (ddof 1; NaN for fewer than two), min, max, and in `low` and `high` the
        percentiles `PERCENTILES` (interpolated, so of few seeds they lie close to min and max). All but `n` in
        percent. What a system never has, such as the class of another experiment, is left out.

    Raises
    ------
    UserError
        If `executions` is another table, or lacks a column of `metrics`.
    """
    if "system" not in executions.columns or executions.empty:
        raise UserError("executions", "hold no metrics of a system", "Pass what per_execution returns")
    chosen = list(metrics) if metrics is not None else seed_metrics(executions)
    if unknown := [name for name in chosen if name not in executions.columns]:
        known = ", ".join(seed_metrics(executions))
        raise UserError(unknown[0], "is no metric of these executions", f"Choose among {known} and others")
    rows = [
        _summary(str(system), name, own[name].to_numpy(np.float64))
        for system, own in executions.groupby("system", sort=False)
        for name in chosen
        if own[name].notna().any()
    ]
    return pd.DataFrame(rows, columns=list(SEED_COLUMNS))


def seed_metrics(executions: pd.DataFrame) -> list[str]:
    """Return accuracy, F1 (of the positive class, or of each class) and AUC, as far as they are there."""
    f1 = [name for name in executions.columns if name.startswith("f1_") and name != "f1_negative"]
    return [name for name in ("accuracy", *f1, "auc") if name in executions.columns]


def _summary(system: str, metric: str, values: np.ndarray) -> tuple[str | int | float, ...]:
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, PERCENTILES)
    return (system, metric, len(values), float(values.mean()), std_of(values), values.min(), values.max(), low, high)
