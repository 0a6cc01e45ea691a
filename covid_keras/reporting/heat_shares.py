"""Tables that a report measures with the networks: read and write them, compare shares of heat in the lungs.

They lie in the run folder and are published with the predictions, so that pages are made without TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covid_keras.common.tables import REMEDY, read_written, write_table
from covid_keras.explain.shares import MEASURES, compare_shares

SHARES, COSTS = "heat-shares.csv", "costs.csv"


# Columns that tables of these names have, by the end of the name.
_TEXT = ("image_id", "patient_id", "system")
_NUMBERS = {SHARES: MEASURES, COSTS: ("parameters", "flops", "milliseconds", "ratio")}


def read_measured(path: Path, remedy: str = REMEDY) -> pd.DataFrame:
    """Read the table of `measure_shares` or `measure_costs`; empty if there is none.

    Raises `UserError` with the remedy if it is damaged.
    """
    if not path.is_file():
        return pd.DataFrame()
    numbers = next((names for end, names in _NUMBERS.items() if path.name.endswith(end)), ())
    return read_written(path, remedy, ("system",) if numbers else (), numbers, dtype=dict.fromkeys(_TEXT, str))


def write_measured(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Write such a table; return it as it is read again."""
    return read_measured(write_table(path, table, "%.6g"))


def compared_shares(table: pd.DataFrame, pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
    """Return one record per pair and measure: both means and their paired difference with its interval by patient."""
    if table.empty:
        return []
    frames = dict(list(table.groupby("system")))
    return [
        {"a_system": a, "b_system": b} | record
        for a, b in pairs
        if {a, b} <= set(frames)
        for record in compare_shares(frames[a], frames[b]).to_dict("records")
    ]
