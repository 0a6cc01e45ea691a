"""Locate the user's image collections."""

from __future__ import annotations

import os
from pathlib import Path

from covid_keras.common.errors import UserError
from covid_keras.common.files import expanded

VARIABLE = "COVID_KERAS_DATA"
DEFAULT = Path("data")


def find_data(given: Path | None) -> Path | None:
    """Return the data root: `--data`, else COVID_KERAS_DATA, else `data/`; None if not found.

    Raises `UserError` if a named folder does not exist, so that a typo does not fall back to the phantom.
    """
    for folder, origin in ((given, "--data"), (os.environ.get(VARIABLE), VARIABLE)):
        if folder:
            path = expanded(folder)
            if not path.is_dir():
                raise UserError(
                    f"{origin} {folder}", "is not a folder", "Name the folder that contains the collections"
                )
            return path.resolve()
    return DEFAULT.resolve() if DEFAULT.is_dir() else None


def require_data(given: Path | None) -> Path:
    """Return the data root; raise `UserError` if it is not found."""
    found = find_data(given)
    if found is None:
        remedy = "Name one with --data; `covid-keras data list` shows how to get the collections"
        raise UserError("data folder", f"not found (no --data, {VARIABLE} or {DEFAULT}/)", remedy)
    return found
