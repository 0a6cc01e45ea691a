"""The table of shares of heat in the lungs over a whole test set: read it and compare systems."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covid_keras.common.errors import UserError
from covid_keras.explain.shares import compare_shares

SHARES = "heat-shares.csv"


def read_shares(path: Path) -> pd.DataFrame:
    """Read the table of `measure_shares`; empty if there is none."""
    if not path.is_file():
        return pd.DataFrame()
    try:
        return pd.read_csv(path, dtype={"image_id": str, "patient_id": str})
    except (OSError, ValueError) as error:
        raise UserError(path, f"is not a readable CSV table ({error})", "Rebuild the report") from error


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
