"""Tables that a report measures with the networks: read and write them, compare shares of heat in the lungs.

They lie in the run folder and are published with the predictions, so that pages are made without TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covid_keras.common.files import write_text
from covid_keras.common.tables import read_written
from covid_keras.explain.shares import compare_shares

SHARES, COSTS = "heat-shares.csv", "costs.csv"


def read_measured(path: Path) -> pd.DataFrame:
    """Read the table of `measure_shares` or `measure_costs`; empty if there is none."""
    if not path.is_file():
        return pd.DataFrame()
    return read_written(path, dtype={"image_id": str, "patient_id": str})


def write_measured(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Write such a table; return it as it is read again."""
    write_text(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n"))
    return read_measured(path)


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
