"""Where the user's image collections are."""

from __future__ import annotations

import os
from pathlib import Path

from covid_keras.common.errors import UserError

VARIABLE = "COVID_KERAS_DATA"
DEFAULT = Path("data")


def find_data(given: Path | None) -> Path | None:
    """Return the data root: `--data`, then the variable COVID_KERAS_DATA, then `data/`; None where there is none.

    Raises `UserError` if a folder was named that does not exist: a typing mistake must not end in the phantom.
    """
    for folder, origin in ((given, "--data"), (os.environ.get(VARIABLE), VARIABLE)):
        if folder:
            path = Path(folder).expanduser()
            if not path.is_dir():
                raise UserError(f"{origin} {folder}", "is no folder", "Name the folder that holds the collections")
            return path.resolve()
    return DEFAULT.resolve() if DEFAULT.is_dir() else None


def require_data(given: Path | None) -> Path:
    """Return the data root; raise `UserError` if none is found."""
    found = find_data(given)
    if found is None:
        remedy = "Name one with --data; `covid-keras data list` says how to get the collections"
        raise UserError("data folder", f"none found (no --data, no {VARIABLE}, no {DEFAULT}/)", remedy)
    return found
