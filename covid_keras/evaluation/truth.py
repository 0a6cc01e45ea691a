"""Does a run on the phantom show what is known of the phantom?

Positives of extent 0 are drawn exactly like negatives: a network that looks at the lungs can call them positive no more
often than it raises false alarms. And the more opacity there is, the more often it must be found. A pipeline that mixes
up labels, leaks, or learns from something else than the opacities fails one of the two.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.data.cohort import SEVERITIES
from covid_keras.evaluation.metrics import rows_of_test

ALL = "all systems"
SHOWN, RISE_UNCLEAR, CONTRADICTED = "shown", "rise not clear", "contradicted"
_RESAMPLES, _LEVEL = 2000, 0.95


def known_truth(predictions: pd.DataFrame, positive: str, n: int = _RESAMPLES, seed: int = 0) -> pd.DataFrame:
    """Compare how often each severity is called positive with how often negatives are.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Of one or several systems, as read by `read_predictions`; severities known.
    positive : str
        The positive class.
    n, seed : int
        Bootstrap resamples of patients (percentile intervals of 95 %), and their seed.

    Returns
    -------
    pandas.DataFrame
        One row per system and one of all together. `false_alarms` and one column per severity: percent called positive;
        `excess`, `excess_low`, `excess_high`: Normal-PCR+ minus false alarms, points; `rise`, `rise_low`, `rise_high`:
        slope of the share called positive over the levels 0 (Normal-PCR+) to 3 (Severe), points a level; `verdict`:
        "contradicted" where the excess lies above 0 with its whole interval, or the rise below; "shown" where the
        rise lies above 0 with its whole interval; else "rise not clear".

    Raises
    ------
    UserError
        Where no severity is known.
    """
    rows = rows_of_test(predictions)
    group = rows["severity"].map({level: place for place, level in enumerate(SEVERITIES, 1)})
    group = group.where(rows["label"] == positive, 0)
    if not (group > 0).any():
        raise UserError("predictions", "know no severity", "Use a cohort with severities")
    rows = rows.assign(_group=group, _called=(rows["predicted"] == positive).astype(float)).dropna(subset=["_group"])
    parts = [*rows.groupby("system", sort=False), (ALL, rows)]
    return pd.DataFrame([{"system": name} | _one(part, n, seed) for name, part in parts])


def _one(rows: pd.DataFrame, n: int, seed: int) -> dict[str, float | str]:
    """Return one row of the table."""
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
        low, high = np.nanpercentile(resampled[name], [tail, 100 - tail])
        found |= {name: whole[name][0], f"{name}_low": low, f"{name}_high": high}
    if found["excess_low"] > 0 or found["rise_high"] < 0:
        return found | {"verdict": CONTRADICTED}
    return found | {"verdict": SHOWN if found["rise_low"] > 0 else RISE_UNCLEAR}


def _measures(count: np.ndarray, called: np.ndarray) -> dict[str, np.ndarray]:
    """Return shares (n, groups), excess (n,) and rise (n,) in percent of sums (n, groups)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = 100 * called / count
        level, positives = np.arange(len(SEVERITIES)), count[:, 1:]
        total = positives.sum(axis=1)
        mean_level = positives @ level / total
        mean_called = called[:, 1:].sum(axis=1) / total
        spread = positives @ level**2 / total - mean_level**2
        rise = 100 * (called[:, 1:] @ level / total - mean_level * mean_called) / spread
    return {"shares": shares, "excess": shares[:, 1] - shares[:, 0], "rise": rise}
