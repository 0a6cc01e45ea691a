"""Spread of metrics over trainings with different seeds.

Only the seed differs, so the spread reflects initial weights, augmentation and batch order, but not the choice of
patients; for the latter, see `covid_keras.evaluation.uncertainty`.
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
        From `per_execution`; the executions of a system differ in their seed.
    metrics : iterable of str, optional
        Columns to summarise. Default: `seed_metrics`.

    Returns
    -------
    pandas.DataFrame
        One row per system and metric, with the columns `SEED_COLUMNS`: the number `n` of executions in which the metric
        is defined, mean, std (ddof 1; NaN for fewer than two), min, max, and the percentiles `PERCENTILES` as `low` and
        `high` (interpolated, so close to min and max for few seeds). All but `n` are in percent. Metrics that a system
        does not have are left out.

    Raises
    ------
    UserError
        If `executions` has another format or lacks a column of `metrics`.
    """
    if "system" not in executions.columns or executions.empty:
        raise UserError("executions", "have no metrics of systems", "Pass the result of per_execution")
    chosen = list(metrics) if metrics is not None else seed_metrics(executions)
    if unknown := [name for name in chosen if name not in executions.columns]:
        known = ", ".join(seed_metrics(executions))
        raise UserError(unknown[0], "is not a metric of these executions", f"Use one of {known} and others")
    rows = [
        _summary(str(system), name, own[name].to_numpy(np.float64))
        for system, own in executions.groupby("system", sort=False)
        for name in chosen
        if own[name].notna().any()
    ]
    return pd.DataFrame(rows, columns=list(SEED_COLUMNS))


def seed_metrics(executions: pd.DataFrame) -> list[str]:
    """Return the available metrics out of accuracy, F1 (positive class or each class) and AUC."""
    f1 = [name for name in executions.columns if name.startswith("f1_") and name != "f1_negative"]
    return [name for name in ("accuracy", *f1, "auc") if name in executions.columns]


def _summary(system: str, metric: str, values: np.ndarray) -> tuple[str | int | float, ...]:
    values = values[np.isfinite(values)]
    low, high = np.percentile(values, PERCENTILES)
    return (system, metric, len(values), float(values.mean()), std_of(values), values.min(), values.max(), low, high)
