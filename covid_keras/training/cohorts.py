"""What the cohorts of all papers share: their settings in a protocol, and whether their collections are at hand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from covid_keras.data.sources import get_source
from covid_keras.errors import UserError
from covid_keras.settings import build
from covid_keras.training.protocol import Protocol


def cohort_settings(protocol: Protocol, kinds: Mapping[str, type]) -> Any:
    """Return the protocol's cohort as an instance of the class that its `kind` names, checked.

    Raises
    ------
    UserError
        Where the kind is none of `kinds`, or a setting is unknown or of the wrong type.
    """
    kind = str(protocol.cohort.get("kind"))
    if kind not in kinds:
        raise UserError("protocol.yaml", f"cohort.kind is {kind!r}", f"It must be one of {', '.join(kinds)}")
    return build(kinds[kind], protocol.cohort, "protocol.yaml", "cohort")


def missing_collection(names: Iterable[str], data: Path | None) -> str | None:
    """Return None where all collections named lie below the data root, else which one does not."""
    for name in names:
        if data is None:
            return "no data folder"
        if get_source(name).locate(data) is None:
            return f"no {get_source(name).CARD.title} below {data}"
    return None


def require_data(protocol: Protocol, data: Path | None) -> Path:
    """Return the data root of a profile of real radiographs; raise `UserError` where there is none."""
    if data is None:
        raise UserError(
            f"profile {protocol.profile!r}",
            "needs real radiographs and no data folder was found",
            "Give --data DIR or set COVID_KERAS_DATA; `covid-keras data list` says how to get them",
        )
    return data


def drawn(table: pd.DataFrame, count: int, rng: np.random.Generator, what: str) -> pd.DataFrame:
    """Draw so many rows in the table's order, all for 0; raise `UserError` where there are fewer."""
    if count > len(table):
        raise UserError(
            "cohort", f"asks for {count} {what}, there are {len(table)}", "Change the counts in protocol.yaml"
        )
    return table.iloc[np.sort(rng.permutation(len(table))[: count or len(table)])]
