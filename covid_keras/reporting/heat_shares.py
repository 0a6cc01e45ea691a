"""Tables that a report measures with the networks: read and write them, compare shares of heat in the lungs.

They lie in the run folder and are published with the predictions, so that pages are made without TensorFlow.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from covid_keras.common.files import MOST_SIDECAR, read_bytes, require_intact, sha256_of, write_text
from covid_keras.common.tables import REMEDY, read_written, write_table
from covid_keras.explain.shares import MEASURES, compare_shares

SHARES, COSTS = "heat-shares.csv", "costs.csv"


# Columns that tables of these names have, by the end of the name.
_TEXT = ("image_id", "patient_id", "system")
_NUMBERS = {SHARES: MEASURES, COSTS: ("parameters", "flops", "milliseconds", "ratio")}


def read_measured(path: Path, remedy: str = REMEDY) -> pd.DataFrame:
    """Read the table of `measure_shares` or `measure_costs`; empty if there is none.

    Raises `UserError` with the remedy if it is damaged, or not the one whose hash lies beside it.
    """
    if not path.is_file():
        return pd.DataFrame()
    if _hash_of(path).is_file():
        recorded = read_bytes(_hash_of(path), MOST_SIDECAR).decode(errors="replace").strip()
        require_intact(path, recorded or "none", remedy)
    numbers = next((names for end, names in _NUMBERS.items() if path.name.endswith(end)), ())
    return read_written(path, remedy, ("system",) if numbers else (), numbers, dtype=dict.fromkeys(_TEXT, str))


def write_measured(path: Path, table: pd.DataFrame, hashed: bool = False) -> pd.DataFrame:
    """Write such a table, `hashed` in a run folder; return it as it is read again."""
    write_table(path, table, "%.6g")
    if hashed:
        write_text(_hash_of(path), sha256_of(path) + "\n")
    return read_measured(path)


def _hash_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


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
