"""Check predictions on the phantom against its known truth.

Positives of extent 0 are drawn exactly like negatives, so a network that looks at the lungs calls them positive only as
often as negatives (false alarms). Larger opacities must be found more often, and positives of extent 3 or more must
rank above negatives. A pipeline that mixes up labels, leaks, or learns from anything but the opacities fails at least
one of the three.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import SEVERITIES
from covid_keras.evaluation.metrics import per_execution, rows_of_test
from covid_keras.evaluation.predictions import score_columns
from covid_keras.evaluation.uncertainty import bootstrap_intervals

SHOWN, UNCLEAR, CONTRADICTED = "shown", "not clear", "contradicted"
# The severities of extent 3 to 8.
CLEAR = ("Moderate", "Severe")
_RESAMPLES, _LEVEL, _CHANCE = 1000, 0.95, 50.0


def known_truth(predictions: pd.DataFrame, positive: str, n: int = _RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Compare scores and decisions of positives, by severity, with those of negatives.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Predictions of one or several systems with severities, as read by `read_predictions`.
    positive : str
        The positive class. A system without this class, such as a view classifier, is judged only by the AUC of its own
        classes.
    n, seed : int
        Number of bootstrap resamples of patients (for 95 % percentile intervals), and their seed.

    Returns
    -------
    pandas.DataFrame
        One row per system. `auc`, `auc_low`, `auc_high`: AUC of positives of extent 3 or more against all negatives,
        percent. `false_alarms`: negatives called positive, percent; one column per severity: its positives called
        positive, percent. `excess`, `excess_low`, `excess_high`: Normal-PCR+ minus false alarms, percentage points.
        `rise`, `rise_low`, `rise_high`: slope of the share called positive over the levels 0 (Normal-PCR+) to 3
        (Severe), percentage points per level. Values without images are NaN.

        `verdict`: "contradicted" if the whole interval of the excess is above 0, of the rise below 0, or of the AUC
        below 50; "shown" if the whole intervals of AUC and rise are above 50 and 0; else "not clear".

    Raises
    ------
    UserError
        If no positive has a severity.
    """
    rows = rows_of_test(predictions)
    if not ((rows["label"] == positive) & rows["severity"].isin(SEVERITIES)).any():
        raise UserError("predictions", "lack severities of positives", "Use a cohort with severities")
    return pd.DataFrame(
        [{"system": name} | _row(part, positive, n, seed) for name, part in rows.groupby("system", sort=False)]
    )


def _row(rows: pd.DataFrame, positive: str, n: int, seed: int) -> dict[str, float | str]:
    rows = rows.dropna(axis="columns", how="all")
    of_extent = f"score_{positive}" in rows.columns
    found = _areas(_clear(rows, positive) if of_extent else rows, positive if of_extent else None, n, seed)
    if of_extent:
        found |= _shares(rows, positive, n, seed)
    bounds = {"rise_low": np.nan, "rise_high": np.nan, "excess_low": np.nan} | found
    if bounds["excess_low"] > 0 or bounds["rise_high"] < 0 or bounds["auc_high"] < _CHANCE:
        return found | {"verdict": CONTRADICTED}
    rises = bounds["rise_low"] > 0 or not of_extent
    return found | {"verdict": SHOWN if rises and bounds["auc_low"] > _CHANCE else UNCLEAR}


def _clear(rows: pd.DataFrame, positive: str) -> pd.DataFrame:
    """Return positives of extent 3 or more and all negatives; negatives become one class, "other"."""
    is_positive = rows["label"] == positive
    kept = rows[~is_positive | rows["severity"].isin(CLEAR)]
    names = {column: kept[column].where(kept[column] == positive, "other") for column in ("label", "predicted")}
    score = kept[f"score_{positive}"]
    scores = {f"score_{positive}": score, "score_other": 1 - score}
    return kept.drop(columns=score_columns(kept)).assign(**names, **scores)


def _areas(rows: pd.DataFrame, positive: str | None, n: int, seed: int) -> dict[str, float]:
    """Return the AUC (with more than two classes, the mean over classes) and its interval."""
    values = per_execution(rows, positive)["auc"]
    low, high = bootstrap_intervals(rows, positive, n=n, seed=seed)["auc"]
    return {"auc": float(values.mean()), "auc_low": low, "auc_high": high}


def _shares(rows: pd.DataFrame, positive: str, n: int, seed: int) -> dict[str, float]:
    """Return the shares called positive, excess and rise, with their intervals."""
    places = {level: place for place, level in enumerate(SEVERITIES, 1)}
    group = rows["severity"].map(places).where(rows["label"] == positive, 0)
    called_positive = (rows["predicted"] == positive).astype(float)
    rows = rows.assign(_group=group, _called=called_positive).dropna(subset=["_group"])
    codes, patients = pd.factorize(rows["patient_id"])
    shape, groups = (len(patients), len(SEVERITIES) + 1), rows["_group"].astype(int)
    count, called = np.zeros(shape), np.zeros(shape)
    np.add.at(count, (codes, groups), 1)
    np.add.at(called, (codes, groups), rows["_called"])
    weights = np.random.default_rng(seed).multinomial(len(patients), np.full(len(patients), 1 / len(patients)), n)
    whole, resampled = _measures(count.sum(0)[None], called.sum(0)[None]), _measures(weights @ count, weights @ called)
    tail = 50 * (1 - _LEVEL)
    found: dict[str, float] = {"false_alarms": whole["shares"][0, 0]}
    found |= {level: whole["shares"][0, place] for place, level in enumerate(SEVERITIES, 1)}
    for name in ("excess", "rise"):
        known = resampled[name][~np.isnan(resampled[name])]
        low, high = np.percentile(known, [tail, 100 - tail]) if len(known) else (np.nan, np.nan)
        found |= {name: whole[name][0], f"{name}_low": low, f"{name}_high": high}
    return found


def _measures(count: np.ndarray, called: np.ndarray) -> dict[str, np.ndarray]:
    """Return shares (n, groups), excess (n,) and rise (n,) in percent, from counts of images (n, groups)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = 100 * called / count
        level, positives = np.arange(len(SEVERITIES)), count[:, 1:]
        total = positives.sum(axis=1)
        mean_level = positives @ level / total
        mean_called = called[:, 1:].sum(axis=1) / total
        spread = positives @ level**2 / total - mean_level**2
        rise = 100 * (called[:, 1:] @ level / total - mean_level * mean_called) / spread
    return {"shares": shares, "excess": shares[:, 1] - shares[:, 0], "rise": rise}
