"""What `run.json` and `execution.json` hold, and how they are read and compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from covid_keras.common.errors import UserError
from covid_keras.common.files import read_record
from covid_keras.common.settings import CountOrZero, NotNegative, build


@dataclass(frozen=True)
class RunRecord:
    """What every `run.json` holds."""

    identity: dict[str, Any]
    paper: str
    profile: str
    settings: dict[str, Any]
    cohort_fingerprint: str
    classes: tuple[str, ...]
    files: dict[str, str]
    provenance: dict[str, Any]


@dataclass(frozen=True)
class ExecutionRecord:
    """What every `execution.json` holds."""

    predictions_sha256: str
    seconds: NotNegative
    epochs: CountOrZero
    best_epoch: int
    versions: dict[str, Any]
    machine: dict[str, Any]
    device: dict[str, Any]
    revision: str


def checked_record(path: Path, schema: type, remedy: str) -> dict[str, Any]:
    """Read a JSON mapping that has the fields of a schema, of their types, beside others.

    Raises `UserError` with the remedy if the file is missing or damaged.
    """
    names = [field.name for field in dataclasses.fields(schema)]
    try:
        record = read_record(path, tuple(names))
        build(schema, {name: record[name] for name in names}, path)
    except UserError as error:
        raise UserError(error.subject, error.problem, remedy) from error
    return record


def first_difference(old: Any, new: Any, place: str = "") -> str | None:
    """Return the first difference of two nested mappings as text, or None."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            inside = f"{place}.{key}" if place else str(key)
            if found := first_difference(old.get(key), new.get(key), inside):
                return found
        return None
    return None if old == new else f"{place} is {old!r} there and {new!r} here"
