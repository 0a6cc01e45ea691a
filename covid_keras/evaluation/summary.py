"""Summaries of metrics: mean and std over executions, with an interval, and their JSON form.

The std is the sample standard deviation (`DDOF` = 1) over executions. With 5 x 5-fold cross-validation these are 25
values that share patients and training images, so the std describes the spread between trainings and is not a standard
error. The interval is a bootstrap over patients of the mean over executions (see `covid_keras.evaluation.uncertainty`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import SEVERITIES
from covid_keras.evaluation.metrics import COUNT_KEYS, SEVERITY_PREFIX, decisions_of, per_execution, rows_of_test
from covid_keras.evaluation.predictions import EXECUTION_COLUMNS
from covid_keras.evaluation.uncertainty import BOOTSTRAP, LEVEL, RESAMPLES, Interval, bootstrap_intervals

DDOF = 1
_DECIMALS = 6
INTERVAL_WORDS = (
    "percentile bootstrap of the mean over executions, patients drawn with replacement; where a metric has"
    ' "interval": exact, of 0 or 100 %, Clopper-Pearson on patients; none of fewer than two patients'
)


@dataclass(frozen=True)
class Measured:
    """A metric of a system.

    Parameters
    ----------
    system, metric : str
        `metric` is a key of `compute_metrics`.
    mean, std : float
        Percent, over the executions in which the metric is defined; std is NaN for fewer than two.
    ddof : int
        Delta degrees of freedom of std.
    executions : int
        Number of executions in the mean.
    low, high : float
        Interval of the mean, percent.
    n_patients, n_images : int
        Distinct patients and images in the test rows; for `accuracy_<severity>`, of that level.
    level, resamples, seed
        Settings of the interval.
    interval : str
        "bootstrap"; "exact" at 0 and 100 %; "none" for fewer than two patients (`low` and `high` are NaN).
    """

    system: str
    metric: str
    mean: float
    std: float
    ddof: int
    executions: int
    low: float
    high: float
    n_patients: int
    n_images: int
    level: float = LEVEL
    resamples: int = RESAMPLES
    seed: int = 0
    interval: str = BOOTSTRAP


def summarise(
    predictions: pd.DataFrame,
    positive: str | None = None,
    threshold: float | None = None,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = LEVEL,
) -> list[Measured]:
    """Summarise the test metrics of systems over their executions.

    Parameters
    ----------
    predictions : pandas.DataFrame
        From `read_predictions`.
    positive, threshold
        As in `covid_keras.evaluation.metrics.decisions_of`.
    n, seed, level
        Number of resamples, seed and level of the interval.

    Returns
    -------
    list of Measured
        Systems in order of appearance, metrics in the order of `compute_metrics`.

    Raises
    ------
    UserError
        If a system has no test rows.
    """
    table = per_execution(predictions, positive, threshold)
    rows = rows_of_test(predictions)
    measured = []
    for system in dict.fromkeys(table["system"]):
        own, own_rows = table[table["system"] == system], rows[rows["system"] == system]
        intervals = bootstrap_intervals(own_rows, positive, threshold, n, seed, level)
        sizes = _sizes(own_rows, positive, threshold)
        for metric in _order(intervals):
            values, size = own[metric].to_numpy(np.float64), sizes.get(metric, sizes["accuracy"])
            measured.append(measured_of(system, metric, values, intervals[metric], size, (level, n, seed)))
    return measured


def measured_of(
    system: str,
    metric: str,
    values: np.ndarray,
    interval: Interval,
    sizes: tuple[int, int],
    drawing: tuple[float, int, int],
) -> Measured:
    """Summarise the values of a metric, one per execution, ignoring NaN.

    `sizes` are the numbers of patients and images, `drawing` is (level, resamples, seed) of the interval.
    """
    values = values[np.isfinite(values)]
    mean = float(values.mean()) if len(values) else float("nan")
    level, resamples, seed = drawing
    found = (mean, std_of(values), DDOF, len(values), *interval, *sizes)
    return Measured(system, metric, *found, level, resamples, seed, interval.kind)


def std_of(values: np.ndarray) -> float:
    """Return the std (ddof 1); NaN for fewer than two values."""
    return float(values.std(ddof=DDOF)) if len(values) > DDOF else float("nan")


def _order(names: Iterable[str]) -> list[str]:
    """Put severities last, mildest first, and keep the other order; executions may lack a level."""
    known = {SEVERITY_PREFIX + level: place for place, level in enumerate(SEVERITIES, 1)}
    return sorted(names, key=lambda name: known.get(name, len(known) + 1 if name.startswith(SEVERITY_PREFIX) else 0))


def _sizes(rows: pd.DataFrame, positive: str | None, threshold: float | None) -> dict[str, tuple[int, int]]:
    """Return the numbers of distinct (patients, images) in the test rows and per severity level."""
    patients, images = rows["patient_id"].to_numpy(object), rows["image_id"].to_numpy(object)
    masks = decisions_of(rows, positive, threshold).severity_rows()
    masks = {SEVERITY_PREFIX + level: mask for level, mask in masks.items()}
    masks["accuracy"] = np.ones(len(rows), bool)
    return {name: (len(set(patients[mask])), len(set(images[mask]))) for name, mask in masks.items()}


def metrics_json(
    measured: list[Measured], executions: pd.DataFrame, provenance: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Combine metrics, values per execution and provenance in a JSON-serialisable dict.

    Parameters
    ----------
    measured : list of Measured
        From `summarise`.
    executions : pandas.DataFrame
        From `per_execution`, for the same predictions.
    provenance : dict, optional
        JSON-serialisable: versions, revision, device, data fingerprint, time.

    Returns
    -------
    dict
        `provenance`; `std` and `interval` (descriptions); `systems`, which maps a system to `metrics` and `executions`.
        Numbers are rounded to six decimals; NaN becomes None.
    """
    systems: dict[str, Any] = {}
    for one in measured:
        entry = systems.setdefault(one.system, {"metrics": {}, "executions": []})
        entry["metrics"][one.metric] = {
            name: plain(value)
            for name, value in asdict(one).items()
            if name not in ("system", "metric") and (name, value) != ("interval", BOOTSTRAP)
        }
    for row in executions.to_dict("records"):
        system = row.pop("system")
        systems.setdefault(system, {"metrics": {}, "executions": []})["executions"].append(
            {name: plain(int(v) if _is_count(name, v) else v) for name, v in row.items()}
        )
    return {
        "provenance": provenance or {},
        "std": f"sample standard deviation over executions (ddof={DDOF})",
        "interval": INTERVAL_WORDS,
        "systems": systems,
    }


def _read(value: Any) -> Any:
    if not isinstance(value, int | float | None):
        raise TypeError(f"{value!r} is not a number")
    return float("nan") if value is None else value


def measured_from_json(value: dict[str, Any], where: str = "metrics") -> list[Measured]:
    """Read the result of `metrics_json`; raise `UserError` with subject `where` if the layout differs."""
    names = [field.name for field in fields(Measured) if field.name not in ("system", "metric", "interval")]
    try:
        return [
            Measured(system, metric, interval=entry.get("interval", BOOTSTRAP), **{k: _read(entry[k]) for k in names})
            for system, both in value["systems"].items()
            for metric, entry in both["metrics"].items()
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(where, f"is not a metrics file ({error!r})", "Run `covid-keras publish RUN` again") from error


def _is_count(name: str, value: Any) -> bool:
    return (name in COUNT_KEYS or name in EXECUTION_COLUMNS) and np.isfinite(value)


def plain(value: Any) -> Any:
    """Convert to a plain int, float or str; None for NaN."""
    if isinstance(value, float | np.floating):
        return round(float(value), _DECIMALS) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
