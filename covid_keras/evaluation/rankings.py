"""Systems tested on the same images: differences, drops from one test to another, and ranks with their uncertainty.

All tables are computed under the same draws of patients (with all their images, in all tests) and, where several
trainings test the same images, of trainings. A difference of two tables is therefore paired as far as they share
patients or trainings. The thresholds, chosen on validation, belong to the trainings and are drawn along with them.
Ranks follow from the same draws [1]_.

References
----------
.. [1] H. Goldstein, D. J. Spiegelhalter, League tables and their limitations: statistical issues in comparisons of
   institutional performance, J. R. Stat. Soc. A 159(3), 1996.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from covid_keras.common.errors import UserError
from covid_keras.evaluation.estimates import USUAL, Drawing, Estimate, Sample, estimate_of, with_times
from covid_keras.evaluation.metrics import executions_of, per_execution, rows_of_test
from covid_keras.evaluation.own_tables import OwnPredictions
from covid_keras.evaluation.thresholds import choose_threshold
from covid_keras.evaluation.uncertainty import DIFFERENCES, LEVEL, SHARES

RANK_COLUMNS = ("system", "value", "rank", "first", "low", "high")
Key = TypeVar("Key", bound=Hashable)
Thresholds = Mapping[tuple[int, int], float]


@dataclass(frozen=True)
class Drawn:
    """A metric, or a difference, and its values under the draws.

    Attributes
    ----------
    metric : str
    value : float
        Mean over executions.
    draws : ndarray of float64, shape (resamples,)
        NaN where undefined; aligned with those of other results of the same call.
    patients : int
        Number of patients that contribute.
    sure : tuple of float
        See `covid_keras.evaluation.uncertainty.interval_of`.
    """

    metric: str
    value: float
    draws: np.ndarray
    patients: int
    sure: tuple[float, ...] = SHARES

    def less(self, other: Drawn) -> Drawn:
        """Return this minus another metric under the same draws."""
        # Identical decisions have a difference of exactly 0; two systems that are always right may still differ.
        sure = DIFFERENCES if {self.value, other.value} <= set(SHARES) else ()
        value, draws = self.value - other.value, self.draws - other.draws
        return Drawn(self.metric, value, draws, min(self.patients, other.patients), sure)

    def estimate(self, level: float = LEVEL) -> Estimate:
        """Return the value with its interval."""
        return estimate_of(self.metric, self.value, self.draws, self.patients, self.sure, level)


def draw_metrics(
    tables: Mapping[Key, pd.DataFrame],
    positive: str | None = None,
    thresholds: Mapping[Key, Thresholds] | None = None,
    drawing: Drawing = USUAL,
) -> dict[Key, dict[str, Drawn]]:
    """Compute the metrics of several tables under the same draws.

    Parameters
    ----------
    tables : mapping
        Key, such as system and test -> predictions of one system; only test rows are used. Patients are drawn from all
        tables together.
    positive : str, optional
        The positive class. Default: the last of two.
    thresholds : mapping, optional
        Key -> (repeat, fold) -> threshold, as from `thresholds_of`. Default: the column `predicted` decides.
    drawing : Drawing

    Returns
    -------
    dict
        Key -> metric -> `Drawn`: the metrics of `compute_metrics`, in percent, and `brier`, 0..1.

    Raises
    ------
    UserError
        If a table has no test rows or several systems.
    """
    rows = {key: rows_of_test(table) for key, table in tables.items()}
    for key, table in rows.items():
        if table["system"].nunique() > 1:
            raise UserError(f"predictions of {key}", "have several systems", "Choose the rows of one system")
    patients = pd.Index(sorted(set().union(*(table["patient_id"] for table in rows.values()))))
    samples = {
        key: Sample.of(OwnPredictions(table), positive, (thresholds or {}).get(key), patients)
        for key, table in rows.items()
    }
    return {key: _drawn(sample, drawing) for key, sample in samples.items()}


def _drawn(sample: Sample, drawing: Drawing) -> dict[str, Drawn]:
    once, bearing = sample.compact(sample.once()), sample.bearing()
    chunks = [
        sample.compact(*chunk) for chunk in with_times(drawing.weights(len(sample.patients)), sample.times(drawing))
    ]
    return {
        name: Drawn(
            name,
            float(value[0]),
            np.concatenate([chunk[name] for chunk in chunks]) if chunks else np.empty(0),
            bearing.get(name, bearing["accuracy"]),
        )
        for name, value in once.items()
    }


def thresholds_of(
    table: pd.DataFrame, positive: str | None = None, rule: str = "specificity", target: float | None = 90.0
) -> dict[tuple[int, int], float]:
    """Choose the threshold of each execution of a system on its validation rows: maps (repeat, fold) to it.

    See `covid_keras.evaluation.choose_threshold`; executions without validation rows of both classes are left out.
    """
    found = {}
    for (_, repeat, fold), rows in executions_of(table[table["split"] == "validation"]):
        if rows["label"].nunique() > 1:
            found[repeat, fold] = choose_threshold(rows, positive, rule, target)
    return found


def best_on_validation(tables: Mapping[Key, pd.DataFrame], positive: str | None = None) -> Key | None:
    """Return the key with the largest AUC on validation rows, mean over executions; None if it is unknown for one."""
    found = {}
    for key, table in tables.items():
        rows = table[table["split"] == "validation"]
        if rows.empty:
            return None
        found[key] = float(per_execution(rows.assign(split="test"), positive)["auc"].mean())
    return max(found, key=found.__getitem__) if found and np.isfinite(list(found.values())).all() else None


def rank_systems(drawn: Mapping[str, Drawn], level: float = LEVEL) -> pd.DataFrame:
    """Rank systems by a metric whose largest value is best.

    Parameters
    ----------
    drawn : mapping
        System -> one metric, all under the same draws. Draws in which a system is undefined are ignored.
    level : float
        0.95 for a 95 % interval.

    Returns
    -------
    pandas.DataFrame
        Columns `RANK_COLUMNS`, best first: `value`; `rank`, 1 is best and equal values share the better rank; `first`,
        the share of draws, 0..1, in which it is first (shared equally among equals); `low` and `high`, the interval of
        its rank.
    """
    values = np.array([one.value for one in drawn.values()])
    draws = np.stack([one.draws for one in drawn.values()], axis=1)
    draws = draws[np.isfinite(draws).all(axis=1)]
    best = draws == draws.max(axis=1, initial=-np.inf, keepdims=True)
    ranks = rankdata(-draws, method="min", axis=1)
    if len(draws):
        first = (best / best.sum(axis=1, keepdims=True)).mean(axis=0)
        low, high = np.quantile(ranks, [(1 - level) / 2, (1 + level) / 2], axis=0, method="inverted_cdf").astype(int)
    else:
        first, low, high = (np.full(len(values), np.nan) for _ in range(3))
    own = rankdata(-values, method="min").astype(int)
    frame = pd.DataFrame(dict(zip(RANK_COLUMNS, (list(drawn), values, own, first, low, high), strict=True)))
    return frame.sort_values("rank", kind="stable", ignore_index=True)
